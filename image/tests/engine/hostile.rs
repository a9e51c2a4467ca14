// SPDX-License-Identifier: GPL-2.0-only
//! Damaged and malicious filesystems: whatever a block holds, reading and writing must come to an end without panic. Half of the damage is sealed again, so that the
//! checksums do not catch it. HOSTILE_ROUNDS sets how many are tried.

use std::rc::Rc;

use crate::common::{formatted, step, Model, Random};
use engine::inode::{NewInode, SetAttributes};
use engine::namei::RenameFlags;
use image::checksum::crc32;
use image::device::{Device, MemDevice};
use image::ops::NewRecord;
use image::{superblock, Image, Mode};
use layout::block::{seal, BlockKind};
use layout::inode::mode;
use layout::superblock::Super;
use layout::{Block, BLOCK_SIZE};

/// Entries of one directory and inodes in all that a walk looks at: damage can make directories contain each other.
const WALK_LIMIT: usize = 20_000;

#[test]
fn damaged_filesystems_give_errors_and_no_panic() {
    let rounds = std::env::var("HOSTILE_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(400);
    let base = populated();
    let sb = superblock::read(&base, 0).unwrap();
    let targets: Vec<u64> = base.written_blocks();
    let mut refused = 0;
    for seed in 0..rounds {
        let mut random = Random::new(seed);
        let device = Rc::new(base.clone());
        let block = targets[random.below(targets.len() as u64) as usize];
        damage(&device, &sb, block, &targets, &mut random);
        println!("round {seed}: block {block}");
        for mode in [Mode::ReadOnly, Mode::NoReplay] {
            match Image::open_device(Box::new(Rc::clone(&device)), mode) {
                Ok(image) => walk(&image),
                Err(_) => refused += 1,
            }
        }
        if let Ok(mut image) = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite) {
            change(&mut image, &mut random);
            let _ = image.close();
            if let Ok(image) = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadOnly) {
                walk(&image);
            }
        }
    }
    println!("{rounds} damaged filesystems, {refused} times refused at once");
}

/// A filesystem with some of everything, and transactions in its journal.
fn populated() -> MemDevice {
    let device = Rc::new(formatted(8000));
    let open = || Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    let mut image = open();
    let mut model = Model::default();
    let mut random = Random::new(4711);
    for _ in 0..300 {
        step(&mut image, &mut model, &mut Model::default(), &mut random);
    }
    image.mkdir("/large").unwrap();
    for n in 0..400 {
        image
            .symlink(format!("/large/{n} {}", "n".repeat(100)), b"target")
            .unwrap();
    }
    image.close().unwrap();
    let mut image = open();
    for _ in 0..30 {
        step(&mut image, &mut model, &mut Model::default(), &mut random);
    }
    image.sync().unwrap();
    drop(image);
    Rc::into_inner(device).unwrap()
}

fn damage(device: &MemDevice, sb: &Super, block: u64, others: &[u64], random: &mut Random) {
    let mut data = [0; BLOCK_SIZE];
    let offset = block * BLOCK_SIZE as u64;
    device.read_at(offset, &mut data).unwrap();
    match random.below(8) {
        0 => data.fill(0),
        1 => data
            .iter_mut()
            .for_each(|byte| *byte = random.below(256) as u8),
        2 => {
            let other = others[random.below(others.len() as u64) as usize];
            device
                .read_at(other * BLOCK_SIZE as u64, &mut data)
                .unwrap();
        }
        3..=4 => {
            // A number somewhere becomes extreme.
            let at = random.below(BLOCK_SIZE as u64 / 8) as usize * 8;
            let value =
                [0, 1, u64::MAX, 1 << 47, block, random.below(9000)][random.below(6) as usize];
            let width = [2, 4, 8][random.below(3) as usize];
            data[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        _ => {
            // Some bytes, rather where something is than in the empty rest.
            for _ in 0..=random.below(4) {
                let used: Vec<usize> = (0..BLOCK_SIZE).filter(|&i| data[i] != 0).collect();
                let at = match used.len() {
                    0 => random.below(BLOCK_SIZE as u64) as usize,
                    n => used[random.below(n as u64) as usize],
                };
                data[at] = random.below(256) as u8;
            }
        }
    }
    if random.below(4) != 0 {
        reseal(&mut data, sb, block);
    }
    device.write_at(offset, &data).unwrap();
}

/// Makes the checksums right again.
fn reseal(data: &mut Block, sb: &Super, block: u64) {
    let magic = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
    let geometry = &sb.geometry;
    let group = geometry.group_of(block);
    let table = geometry.inode_table(group)..geometry.data_start(group);
    if block == 0 {
        if let Ok(raw) = zerocopy::FromBytes::read_from_bytes(&data[1024..2048]) {
            let raw: layout::superblock::RawSuper = raw;
            data[1024..2048].copy_from_slice(&raw.sealed(0, crc32));
        }
    } else if table.contains(&block) {
        seal(BlockKind::InodeTable, data, sb.seed, crc32);
    } else if let Some(kind) = BlockKind::ALL
        .into_iter()
        .find(|kind| kind.magic() == Some(magic))
    {
        seal(kind, data, sb.seed, crc32);
    }
}

/// Reads everything that can be reached; errors are fine.
fn walk(image: &Image) {
    let Ok(root) = image.resolve("/") else { return };
    let mut seen = std::collections::HashSet::new();
    let mut pending = vec![root];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = image.list(&directory) else {
            continue;
        };
        for entry in entries.into_iter().take(WALK_LIMIT) {
            if seen.len() > WALK_LIMIT || !seen.insert(entry.ino) {
                continue;
            }
            let Ok(inode) = image.inode(entry.ino) else {
                continue;
            };
            let _ = image.path_of(entry.ino);
            let _ = image.read_link(&inode);
            let mut buf = vec![0; 10_000];
            for offset in [0, 5000, inode.size.saturating_sub(10_000)] {
                let _ = image.read_at(&inode, offset, &mut buf);
            }
            if let Ok(records) = image.records(&inode) {
                for record in records.iter().take(100) {
                    if let Ok(index) = image.read(|io| engine::vector::load(io, record.index)) {
                        let _ = image.get_record(&inode, &index, record.label);
                    }
                }
            }
            let _ = image.read(|io| engine::xattr::list(io, &inode, |_, _, _| Ok(true)));
            if inode.is_dir() {
                pending.push(inode);
            }
        }
    }
    for index in image.list_indexes().unwrap_or_default() {
        let mut position = engine::vector::ScanPos::default();
        let mut buf = vec![0; 1 << 16];
        let mut batches = 0;
        while let Ok(Some(batch)) = image.read(|io| {
            engine::vector::scan(io, &index, &mut position, &mut buf).map(|b| b.map(|b| b.count()))
        }) {
            batches += 1;
            assert!(batches < 100_000, "{batch} slots, and no end");
        }
    }
}

/// Changes this and that; errors are fine.
fn change(image: &mut Image, random: &mut Random) {
    let mut paths = vec!["/many".to_string(), "/large".to_string()];
    for directory in ["/", "/many", "/large"] {
        let Ok(inode) = image.resolve(directory) else {
            continue;
        };
        for entry in image.list(&inode).unwrap_or_default().into_iter().take(500) {
            paths.push(format!(
                "{directory}/{}",
                String::from_utf8_lossy(&entry.name)
            ));
        }
    }
    let new = NewInode {
        mode: mode::REGULAR | 0o600,
        ..NewInode::default()
    };
    for n in 0..40 {
        let path = paths[random.below(paths.len() as u64) as usize].clone();
        let ino = image.resolve_no_follow(&path).map_or(5, |inode| inode.ino);
        let _ = match random.below(12) {
            0 => image.create(format!("{path}/{n}"), &new).map(drop),
            1 => image.create(format!("/new {n}"), &new).map(drop),
            2 => image.write_at(
                ino,
                random.below(20_000),
                &vec![1; random.below(20_000) as usize],
            ),
            3 => image.set_size(ino, random.below(20_000)).map(drop),
            4 | 5 => image.unlink(&path),
            6 => image.rmdir(&path),
            7 => {
                let other = paths[random.below(paths.len() as u64) as usize].clone();
                let flags = [RenameFlags::Replace, RenameFlags::Exchange][random.below(2) as usize];
                image.rename(&path, &other, flags)
            }
            8 => image.link(ino, format!("/link {n}")).map(drop),
            9 => image.find_index(b"index").and_then(|index| {
                let elements = vec![0; index.vector_bytes()];
                let record = NewRecord {
                    label: random.below(100),
                    tag: n,
                    elements: &elements,
                };
                image.put_records(ino, index.id, &[record])
            }),
            10 => image
                .find_index(b"index")
                .and_then(|index| image.delete_record(ino, index.id, random.below(100))),
            _ => image
                .set_attributes(
                    ino,
                    &SetAttributes {
                        mode: Some(0o755),
                        ..Default::default()
                    },
                )
                .map(drop),
        };
    }
    if random.below(4) == 0 {
        let _ = image
            .find_index(b"index")
            .and_then(|index| image.drop_index(index.id));
    }
}
