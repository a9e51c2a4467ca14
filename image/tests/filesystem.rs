// SPDX-License-Identifier: GPL-2.0-only
//! An image through its life: made, filled, closed, opened again; transactions that are given up; reading without changing the device.

use std::rc::Rc;

use engine::inode::NewInode;
use engine::namei::RenameFlags;
use image::device::{Device, Fault, FaultDevice, MemDevice};
use image::format::{self, Options};
use image::{Error, Image, Mode};
use layout::inode::{mode, FileType};
use layout::BLOCK_SIZE;

const FILE: NewInode<'static> = NewInode {
    mode: mode::REGULAR | 0o644,
    uid: 0,
    gid: 0,
    rdev: 0,
    flags: 0,
    project: 0,
    default_index: 0,
    target: &[],
};

/// A new filesystem in memory.
fn formatted(blocks: u64) -> MemDevice {
    let device = MemDevice::new(blocks * BLOCK_SIZE as u64);
    let options = Options {
        uuid: [7; 16],
        hash_seed: [9; 16],
        journal_blocks: Some(1024),
        ..Options::new(blocks)
    };
    format::format(&device, &options).unwrap();
    device
}

fn open(device: &Rc<MemDevice>, mode: Mode) -> Image {
    Image::open_device(Box::new(Rc::clone(device)), mode).unwrap()
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(seed | 1).wrapping_add(i >> 8) ^ seed) as u8)
        .collect()
}

fn contents(image: &Image, path: &str) -> Vec<u8> {
    image
        .read_all(&image.resolve(path).unwrap(), 1 << 30)
        .unwrap()
}

fn names(image: &Image, path: &str) -> Vec<String> {
    let mut names: Vec<_> = image
        .list(&image.resolve(path).unwrap())
        .unwrap()
        .into_iter()
        .map(|entry| String::from_utf8(entry.name).unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_there_after_closing_and_opening() {
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    let free = image.space().free_blocks;
    image.mkdir("a").unwrap();
    image.mkdir("/a/b").unwrap();
    let files: Vec<(String, Vec<u8>)> = [0, 1, 168, 169, 4096, 4097, 100_000, 9 << 20]
        .iter()
        .map(|&len| (format!("a/b/file {len}"), pattern(len as u64, len)))
        .collect();
    for (path, data) in &files {
        let file = image.create(path, &FILE).unwrap();
        image.write_at(file.ino, 0, data).unwrap();
    }
    image.symlink("a/link", b"b/file 4097").unwrap();
    image.symlink("a/absolute", b"/a/b").unwrap();
    let linked = image.resolve("a/b/file 168").unwrap();
    image.link(linked.ino, "a/second name").unwrap();
    image.close().unwrap();

    let mut image = open(&device, Mode::ReadWrite);
    assert!(image.replay().is_empty());
    for (path, data) in &files {
        assert_eq!(&contents(&image, path), data, "{path}");
    }
    assert_eq!(contents(&image, "a/link"), pattern(4097, 4097));
    assert_eq!(
        contents(&image, "a/absolute/../b/./file 169"),
        pattern(169, 169)
    );
    assert_eq!(
        image.resolve_no_follow("a/link").unwrap().file_type(),
        FileType::Symlink
    );
    assert_eq!(image.resolve("a/second name").unwrap().links, 2);
    assert_eq!(
        image.path_of(image.resolve("a/link").unwrap().ino).unwrap(),
        b"/a/b/file 4097"
    );
    assert_eq!(names(&image, "a"), ["absolute", "b", "link", "second name"]);

    for (path, _) in &files {
        image.unlink(path).unwrap();
    }
    for path in ["a/link", "a/absolute", "a/second name"] {
        image.unlink(path).unwrap();
    }
    image.rmdir("a/b").unwrap();
    image.rmdir("a").unwrap();
    image.sync().unwrap();
    assert_eq!(image.space().free_blocks, free, "every block came back");
    image.close().unwrap();
}

#[test]
fn writes_at_any_place_read_back_and_truncation_leaves_no_trace() {
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    let ino = image.create("file", &FILE).unwrap().ino;
    let mut model: Vec<u8> = Vec::new();
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    for n in 0..400 {
        let largest = if n < 40 { 200 } else { 60_000 };
        let at = next(largest) as usize;
        if next(4) == 0 {
            image.set_size(ino, at as u64).unwrap();
            model.resize(at, 0);
        } else {
            let data = pattern(n, next(largest / 2) as usize);
            image.write_at(ino, at as u64, &data).unwrap();
            if !data.is_empty() {
                model.resize(model.len().max(at + data.len()), 0);
                model[at..at + data.len()].copy_from_slice(&data);
            }
        }
        if next(20) == 0 {
            drop(image);
            image = open(&device, Mode::ReadWrite);
            // Not synced: the file may be older. Start over from what is there.
            match image.resolve("file") {
                Ok(file) => model = image.read_all(&file, 1 << 30).unwrap(),
                Err(_) => {
                    assert_eq!(image.create("file", &FILE).unwrap().ino, ino);
                    model.clear();
                }
            }
        }
        assert_eq!(contents(&image, "file"), model, "after step {n}");
        let (from, mut buf) = (next(70_000) as usize, vec![1; next(9000) as usize]);
        let len = image
            .read_at(&image.inode(ino).unwrap(), from as u64, &mut buf)
            .unwrap();
        let expected = model.get(from..).unwrap_or(&[]);
        assert_eq!(buf[..len], expected[..expected.len().min(buf.len())]);
    }
}

#[test]
fn a_transaction_that_is_given_up_leaves_no_trace() {
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    image.mkdir("kept").unwrap();
    let before = (image.space().free_blocks, image.space().free_inodes);
    let error = image
        .with_txn(|cx| {
            let new = NewInode {
                mode: mode::DIRECTORY | 0o700,
                ..NewInode::default()
            };
            for n in 0..50 {
                engine::namei::create(cx, layout::ino::ROOT, format!("lost {n}").as_bytes(), &new)?;
            }
            engine::namei::rmdir(cx, layout::ino::ROOT, b"kept")?;
            Err::<(), _>(engine::Error::Internal("given up by the test"))
        })
        .unwrap_err();
    assert!(
        matches!(error, Error::Engine(engine::Error::Internal(_))),
        "{error}"
    );
    assert_eq!(names(&image, "/"), ["kept"]);
    assert_eq!(
        (image.space().free_blocks, image.space().free_inodes),
        before
    );
    image.mkdir("next").unwrap();
    image.close().unwrap();
    assert_eq!(names(&open(&device, Mode::ReadOnly), "/"), ["kept", "next"]);
}

#[test]
fn what_was_synced_survives_without_close_and_what_was_not_does_not() {
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    image.mkdir("synced").unwrap();
    image.sync().unwrap();
    image.mkdir("lost").unwrap();
    drop(image);
    let image = open(&device, Mode::ReadWrite);
    assert_eq!(image.replay().transactions, 1);
    assert_eq!(names(&image, "/"), ["synced"]);
}

#[test]
fn reading_replays_in_memory_and_does_not_change_the_device() {
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    image.mkdir("in the journal").unwrap();
    image.sync().unwrap();
    drop(image);
    let everything = |device: &MemDevice| {
        let blocks = device.written_blocks();
        let data: Vec<Vec<u8>> = blocks
            .iter()
            .map(|block| {
                let mut data = vec![0; BLOCK_SIZE];
                device
                    .read_at(block * BLOCK_SIZE as u64, &mut data)
                    .unwrap();
                data
            })
            .collect();
        (blocks, data)
    };
    let before = everything(&device);
    let mut image = open(&device, Mode::ReadOnly);
    assert_eq!(names(&image, "/"), ["in the journal"]);
    assert!(matches!(image.mkdir("x"), Err(Error::ReadOnly)));
    image.close().unwrap();
    assert!(names(&open(&device, Mode::NoReplay), "/").is_empty());
    assert!(everything(&device) == before, "the device was changed");
}

#[test]
fn rename_replaces_exchanges_and_refuses() {
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    for (name, len) in [("a", 10), ("b", 50_000)] {
        let ino = image.create(name, &FILE).unwrap().ino;
        image.write_at(ino, 0, &pattern(len as u64, len)).unwrap();
    }
    assert!(matches!(
        image.rename("a", "b", RenameFlags::NoReplace),
        Err(Error::Engine(engine::Error::Exists))
    ));
    image.rename("a", "b", RenameFlags::Exchange).unwrap();
    assert_eq!(contents(&image, "b"), pattern(10, 10));
    image.rename("b", "a", RenameFlags::Replace).unwrap();
    assert_eq!(contents(&image, "a"), pattern(10, 10));
    assert_eq!(names(&image, "/"), ["a"]);
    image.mkdir("d").unwrap();
    image.mkdir("d/e").unwrap();
    assert!(matches!(
        image.rename("d", "d/e/f", RenameFlags::Replace),
        Err(Error::Engine(engine::Error::Loop))
    ));
}

#[test]
fn a_full_filesystem_says_so_and_freed_space_is_found_again() {
    let device = Rc::new(formatted(3000));
    let mut image = open(&device, Mode::ReadWrite);
    let data = pattern(3, 1 << 20);
    let mut made = Vec::new();
    for round in 0..3 {
        for n in 0.. {
            let path = format!("{round}-{n}");
            let ino = image.create(&path, &FILE).unwrap().ino;
            made.push(path);
            match image.write_at(ino, 0, &data) {
                Ok(()) => {}
                Err(Error::Engine(engine::Error::NoSpace)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(made.len() > 3, "{made:?}");
        // Not committed: the space is found only because the batch is committed when it is needed.
        for path in made.drain(..) {
            image.unlink(&path).unwrap();
        }
    }
    image.close().unwrap();
}

#[test]
fn an_io_error_at_any_read_undoes_the_operation_and_the_image_can_be_used_after_it() {
    let base = Rc::new(formatted(40_000));
    let mut image = open(&base, Mode::ReadWrite);
    image.mkdir("d").unwrap();
    let ino = image.create("d/f", &FILE).unwrap().ino;
    image.write_at(ino, 0, &pattern(1, 100_000)).unwrap();
    image.sync().unwrap();
    let free = image.space().free_blocks;
    image.close().unwrap();
    let mut failed = 0;
    for n in 0.. {
        let device = Rc::new(FaultDevice::new(MemDevice::clone(&base)));
        let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        device.set(Fault::Read(n), false);
        let result = image.unlink("d/f");
        device.clear();
        let Err(error) = result else { break };
        assert!(matches!(error, Error::Io { .. }), "{error}");
        failed += 1;
        match image.resolve("d/f") {
            Ok(_) => {
                assert_eq!(
                    contents(&image, "d/f"),
                    pattern(1, 100_000),
                    "read {n} failed"
                );
                image.unlink("d/f").unwrap();
            }
            // The name was gone already; what is left is finished by the next to open it.
            Err(error) => assert!(error.is_not_found(), "{error}"),
        }
        image.close().unwrap();
        let image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        assert!(image.space().free_blocks > free + 20, "read {n} failed");
        assert!(names(&image, "d").is_empty());
    }
    assert!(failed > 1, "{failed}");
}

#[test]
fn the_super_block_is_found_in_a_backup_when_the_first_is_gone() {
    let device = Rc::new(formatted(200_000));
    device.write_at(1024, &[0; 1024]).unwrap();
    assert!(matches!(
        Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadOnly),
        Err(Error::Super { block: 0, .. })
    ));
    let (sb, block) = image::superblock::find(&*device).unwrap();
    assert_ne!(block, 0);
    let mut image = Image::open_with(Box::new(Rc::clone(&device)), sb, Mode::ReadWrite).unwrap();
    image.mkdir("found").unwrap();
    image.close().unwrap();
    // Closing writes block 0.
    assert_eq!(names(&open(&device, Mode::ReadOnly), "/"), ["found"]);
}

#[test]
fn a_tree_is_copied_in_as_it_is() {
    let host = tempfile::tempdir().unwrap();
    let root = host.path().join("tree");
    std::fs::create_dir_all(root.join("x/y")).unwrap();
    std::fs::write(root.join("x/one"), pattern(1, 10)).unwrap();
    std::fs::write(root.join("x/y/two"), pattern(2, 1_000_000)).unwrap();
    std::fs::hard_link(root.join("x/one"), root.join("again")).unwrap();
    std::os::unix::fs::symlink("x/y/two", root.join("link")).unwrap();
    std::fs::File::create(root.join("sparse"))
        .unwrap()
        .set_len(20 << 20)
        .unwrap();
    let device = Rc::new(formatted(40_000));
    let mut image = open(&device, Mode::ReadWrite);
    let report = image
        .copy_in(&root, "copy".as_ref(), Default::default())
        .unwrap();
    assert_eq!(
        (
            report.directories,
            report.files,
            report.links,
            report.others
        ),
        (3, 3, 1, 1)
    );
    image.close().unwrap();
    let image = open(&device, Mode::ReadOnly);
    assert_eq!(contents(&image, "copy/x/one"), pattern(1, 10));
    assert_eq!(contents(&image, "copy/link"), pattern(2, 1_000_000));
    assert_eq!(
        image.resolve("copy/again").unwrap().ino,
        image.resolve("copy/x/one").unwrap().ino
    );
    let sparse = image.resolve("copy/sparse").unwrap();
    assert_eq!((sparse.size, sparse.blocks), (20 << 20, 0));
    let modified = std::fs::metadata(root.join("x"))
        .unwrap()
        .modified()
        .unwrap();
    let seconds = modified
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(image.resolve("copy/x").unwrap().mtime.sec as u64, seconds);
}
