// SPDX-License-Identifier: GPL-2.0-only
//! Faults: an I/O error at every single block access of every operation, and metadata that is well-formed but lies.

use super::check::check;
use super::common::{MemFs, MemIo};
use super::directed::{directory, file, make};
use super::ops::{op, Op};
use super::program::Program;
use crate::dir::path;
use crate::inode::{self, NewInode};
use crate::io::ReadBlocks;
use crate::namei::{self, RenameFlags};
use crate::orphan::{self, Cursor};
use crate::xattr::{self, SetFlags};
use crate::{dir, tree, Cx, Error, Result};
use layout::attr::{parent_key, Namespace};
use layout::block::BlockKind;
use layout::btree::Key;
use layout::ino::ROOT;
use layout::inode::{mode, FileType};
use proptest::prelude::*;

/// A filesystem with trees of several levels: a large directory `d`, a file `f` of many names and attributes, directories
/// `x` and `y`, a file `g` in `x`.
struct Places {
    fs: MemFs,
    d: u64,
    f: u64,
    x: u64,
    y: u64,
}

fn places() -> Places {
    let mut fs = MemFs::new(9000, 512, 4);
    let d = make(&mut fs, ROOT, b"d", &directory()).unwrap().ino;
    let x = make(&mut fs, ROOT, b"x", &directory()).unwrap().ino;
    let y = make(&mut fs, ROOT, b"y", &directory()).unwrap().ino;
    let f = make(&mut fs, d, b"f", &file()).unwrap().ino;
    make(&mut fs, x, b"g", &file()).unwrap();
    fs.with(|cx| {
        for n in 0..300 {
            namei::link(cx, f, d, format!("{n:-<100}").as_bytes())?;
        }
        for n in 0..20u8 {
            xattr::set(cx, f, Namespace::User, &[n + 1], &[n; 2000], SetFlags::Any)?;
        }
        Ok(())
    })
    .unwrap();
    Places { fs, d, f, x, y }
}

#[test]
fn an_io_error_at_any_access_undoes_the_operation() {
    type Run = fn(&mut Cx<'_, MemIo>, &[u64; 4]) -> Result<()>;
    let operations: [(&str, Run); 11] = [
        ("create", |cx, [d, ..]| {
            namei::create(cx, *d, &[b'n'; 200], &file()).map(|_| ())
        }),
        ("mkdir", |cx, [d, ..]| {
            namei::create(cx, *d, &[b'n'; 200], &directory()).map(|_| ())
        }),
        ("symlink", |cx, [d, ..]| {
            let new = NewInode {
                mode: mode::SYMLINK | 0o777,
                target: &[b't'; 4000],
                ..NewInode::default()
            };
            namei::create(cx, *d, b"s", &new).map(|_| ())
        }),
        ("link", |cx, [d, f, ..]| {
            namei::link(cx, *f, *d, b"link").map(|_| ())
        }),
        ("tmpfile", |cx, [d, ..]| {
            namei::tmpfile(cx, *d, &file()).map(|_| ())
        }),
        ("unlink", |cx, [_, _, x, _]| {
            namei::unlink(cx, *x, b"g").map(|_| ())
        }),
        ("rmdir", |cx, _| namei::rmdir(cx, ROOT, b"y").map(|_| ())),
        ("rename over a directory", |cx, _| {
            namei::rename(cx, ROOT, b"d", ROOT, b"y", RenameFlags::Replace).map(|_| ())
        }),
        ("exchange", |cx, [d, _, x, _]| {
            namei::rename(cx, *d, b"f", *x, b"g", RenameFlags::Exchange).map(|_| ())
        }),
        ("set a large attribute", |cx, [_, f, ..]| {
            xattr::set(cx, *f, Namespace::User, &[3], &[1; 20_000], SetFlags::Any).map(|_| ())
        }),
        ("remove an attribute", |cx, [_, f, ..]| {
            xattr::remove(cx, *f, Namespace::User, &[3]).map(|_| ())
        }),
    ];
    for (what, run) in operations {
        let mut p = places();
        let at = [p.d, p.f, p.x, p.y];
        let before: Vec<_> = check(&p.fs).inodes.values().map(|f| f.inode).collect();
        let mut n = 0;
        loop {
            p.fs.fail_in(Some(n));
            match p.fs.with(|cx| run(cx, &at)) {
                Ok(()) => break,
                Err(Error::Io { .. }) => {}
                Err(e) => panic!("{what} after {n} accesses: {e:?}"),
            }
            if n % 8 == 0 {
                let now: Vec<_> = check(&p.fs).inodes.values().map(|f| f.inode).collect();
                assert_eq!(now, before);
            }
            n += 1;
        }
        assert!(n > 4, "{what} took {n} accesses only");
        check(&p.fs);
    }
}

/// Changes an inode as no operation would.
fn forge(fs: &mut MemFs, ino: u64, f: impl Fn(&mut layout::inode::Inode)) {
    fs.with(|cx| {
        let mut i = inode::load(cx.io, ino)?;
        f(&mut i);
        inode::store(cx, &i)
    })
    .unwrap();
}

fn corrupt<X: std::fmt::Debug>(r: Result<X>) {
    assert!(matches!(r, Err(Error::Corrupt { .. })), "{r:?}");
}

#[test]
fn a_circle_of_directories_is_found() {
    let mut fs = MemFs::new(9000, 512, 4);
    let mut dirs = vec![make(&mut fs, ROOT, b"d0", &directory()).unwrap().ino];
    for n in 1..40 {
        let above = dirs[n - 1];
        dirs.push(make(&mut fs, above, b"d", &directory()).unwrap().ino);
    }
    // The first one's parent becomes the last one.
    fs.with(|cx| {
        let mut i = inode::load(cx.io, dirs[0])?;
        let mut key = Key::MIN;
        tree::walk(cx.io, &i, tree::Which::Attr, &Key::MIN, |k, _| {
            key = *k;
            Ok(false)
        })?;
        tree::remove(cx, &mut i, tree::Which::Attr, &key)?;
        let forged = parent_key(dirs[39], key.b());
        tree::insert(cx, &mut i, tree::Which::Attr, &forged, b"d0")?;
        inode::store(cx, &i)
    })
    .unwrap();
    for d in [dirs[0], dirs[20], dirs[39]] {
        corrupt(path::is_below(&fs.io, d, 5000));
        corrupt(path::any(&fs.io, d, &mut vec![0; 1 << 20]));
        let r = fs.with(|cx| namei::create(cx, ROOT, b"n", &directory()));
        let new = r.map_or_else(|_| dir_entry(&fs, b"n"), |l| l.inode.ino);
        assert_ne!(new, 0);
        corrupt(fs.with(|cx| namei::rename(cx, ROOT, b"n", d, b"n", RenameFlags::Replace)));
    }
}

fn dir_entry(fs: &MemFs, name: &[u8]) -> u64 {
    let root = inode::load(&fs.io, ROOT).unwrap();
    dir::lookup(&fs.io, &root, name)
        .unwrap()
        .map_or(0, |e| e.ino)
}

#[test]
fn entries_that_lie_are_damage_and_not_missing_files() {
    let lie = |entry: (u64, FileType)| {
        let mut fs = MemFs::new(9000, 512, 4);
        let f = make(&mut fs, ROOT, b"f", &file()).unwrap().ino;
        fs.with(|cx| {
            let mut root = inode::load(cx.io, ROOT)?;
            let at = dir::lookup(cx.io, &root, b"f")?.ok_or(Error::NotFound)?;
            let e = layout::dirent::Dirent {
                ino: if entry.0 == 0 { f } else { entry.0 },
                file_type: entry.1,
                name: b"f",
            };
            dir::retarget(cx, &mut root, at.cookie, &e)?;
            inode::store(cx, &root)
        })
        .unwrap();
        corrupt(fs.with(|cx| namei::unlink(cx, ROOT, b"f")));
        corrupt(fs.with(|cx| namei::rmdir(cx, ROOT, b"f")));
        corrupt(fs.with(|cx| namei::rename(cx, ROOT, b"f", ROOT, b"g", RenameFlags::Replace)));
        check_untouched(&fs);
    };
    lie((0, FileType::Directory));
    lie((200, FileType::Regular));
    lie((u64::MAX, FileType::Regular));
    lie((ROOT, FileType::Directory));
    // A name without its parent pointer: another file's.
    lie((2, FileType::Regular));
}

/// A refused operation changed nothing: the one file is still there.
fn check_untouched(fs: &MemFs) {
    let root = inode::load(&fs.io, ROOT).unwrap();
    assert_eq!(root.size, 1);
    assert!(dir::lookup(&fs.io, &root, b"f").unwrap().is_some());
}

#[test]
fn counts_that_lie_are_damage() {
    let mut p = places();
    forge(&mut p.fs, p.y, |i| i.size = 1);
    corrupt(p.fs.with(|cx| namei::rmdir(cx, ROOT, b"y")));
    forge(&mut p.fs, p.y, |i| {
        i.size = 0;
        i.links = 3;
    });
    corrupt(p.fs.with(|cx| namei::rmdir(cx, ROOT, b"y")));
    forge(&mut p.fs, p.x, |i| i.size = 0);
    corrupt(p.fs.with(|cx| namei::unlink(cx, p.x, b"g")));
    forge(&mut p.fs, p.f, |i| i.blocks += 1);
    p.fs.with(|cx| {
        let mut f = inode::load(cx.io, p.f)?;
        f.links = 0;
        inode::store(cx, &f)?;
        orphan::add(cx, p.f)
    })
    .unwrap();
    let mut cursor = Cursor::default();
    loop {
        match p.fs.with(|cx| orphan::finish_step(cx, p.f, &mut cursor)) {
            Ok(orphan::Progress::More) => {}
            r => break corrupt(r),
        }
    }
}

/// Where to lie: block by number modulo the blocks there are, byte, new value.
type Lie = (usize, usize, u8);
/// A call: which, two inode numbers, two names.
type Call = (u8, u64, u64, u8, u8);

/// Calls the engine with numbers that may mean anything; the result is not known, only that there is one.
fn call(fs: &mut MemFs, &(what, a, b, m, n): &Call) -> Result<()> {
    let (which, m, n) = (m, super::ops::name(m), super::ops::name(n));
    match what {
        0 => fs.with(|cx| namei::create(cx, a, &n, &file())).map(|_| ()),
        1 => fs
            .with(|cx| namei::create(cx, a, &n, &directory()))
            .map(|_| ()),
        2 => fs.with(|cx| namei::link(cx, b, a, &n)).map(|_| ()),
        3 => fs.with(|cx| namei::unlink(cx, a, &n)).map(|_| ()),
        4 => fs.with(|cx| namei::rmdir(cx, a, &n)).map(|_| ()),
        5 => fs
            .with(|cx| namei::rename(cx, a, &m, b, &n, RenameFlags::Replace))
            .map(|_| ()),
        6 => fs
            .with(|cx| namei::rename(cx, a, &m, b, &n, RenameFlags::Exchange))
            .map(|_| ()),
        7 => fs
            .with(|cx| xattr::set(cx, a, Namespace::User, &n, &[1; 5000], SetFlags::Any))
            .map(|_| ()),
        8 => fs
            .with(|cx| xattr::remove(cx, a, Namespace::User, &n))
            .map(|_| ()),
        9 if which % 2 == 0 => fs.with(|cx| namei::set_size(cx, a, b)).map(|_| ()),
        9 => fs.with(|cx| namei::cut_size(cx, a, b)).map(|_| ()),
        10 => {
            let Some(ino) = orphan::first(&fs.io, a)? else {
                return Ok(());
            };
            let mut cursor = Cursor::default();
            for _ in 0..200 {
                match fs.with(|cx| orphan::finish_step(cx, ino, &mut cursor))? {
                    orphan::Progress::More => {}
                    orphan::Progress::Done => return Ok(()),
                }
            }
            panic!("finishing inode {ino} does not end");
        }
        _ => {
            let i = inode::load(&fs.io, a)?;
            path::any(&fs.io, a, &mut [0; 4096])?;
            xattr::list(&fs.io, &i, |_, _, _| Ok(true))?;
            if i.is_dir() {
                dir::read(&fs.io, &i, 0, |_, _| Ok(true))?;
                dir::parents::parent_of(&fs.io, &i)?;
                path::is_below(&fs.io, a, b)?;
            }
            Ok(())
        }
    }
}

/// Lies in nodes and inodes, all with right checksums. The engine must neither panic nor run for ever, and what the test filesystem holds every
/// transaction to stays true: no clean error after a change, no malformed block committed, counts in step with bitmaps.
fn hostile(ops: &[Op], lies: &[Lie], calls: &[Call]) {
    let mut p = Program::new(9);
    for op in ops {
        p.step(op, None);
    }
    let mut fs = p.fs;
    let geo = fs.io.sb().geometry;
    let mut blocks: Vec<(u64, BlockKind)> = fs
        .metadata_blocks()
        .into_iter()
        .filter(|b| fs.io.read(*b, BlockKind::Node).is_ok())
        .map(|b| (b, BlockKind::Node))
        .collect();
    for b in 0..u64::from(fs.groups[0].desc.itable_init) {
        blocks.push((geo.inode_table(0) + b, BlockKind::InodeTable));
    }
    for (b, at, v) in lies {
        let (block, kind) = blocks[b % blocks.len()];
        fs.poke(block, kind, |data| data[at % 4096] = *v);
    }
    for c in calls {
        let _ = call(&mut fs, c);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lying_metadata_ends_in_errors(
        ops in prop::collection::vec(op(12), 40..160),
        lies in prop::collection::vec((0usize..10_000, 0usize..4096, 0u8..=255), 1..8),
        calls in prop::collection::vec(
            (0u8..12, prop_oneof![8 => 1u64..80, 1 => 0..u64::MAX], 1u64..80, 0u8..12, 0u8..12),
            30..120,
        ),
    ) {
        hostile(&ops, &lies, &calls);
    }
}
