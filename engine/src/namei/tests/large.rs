// SPDX-License-Identifier: GPL-2.0-only
//! Large directories: what an operation costs in block accesses, and what a reader sees while the directory changes.

use super::check::check;
use super::common::MemFs;
use super::directed::{directory, file};
use crate::namei::{self, RenameFlags};
use crate::orphan;
use crate::tree::{height, Which};
use crate::{dir, inode, Result};
use layout::ino::ROOT;
use std::collections::{BTreeMap, BTreeSet};

const ENTRIES: u64 = 60_000;

fn name(n: u64) -> Vec<u8> {
    format!("a file with number {n}").into_bytes()
}

/// A directory of [`ENTRIES`] links to a few files.
fn large() -> (MemFs, u64, Vec<u64>) {
    let mut fs = MemFs::new(66_000, 256, 3);
    let d = fs
        .with(|cx| namei::create(cx, ROOT, b"large", &directory()))
        .unwrap()
        .inode
        .ino;
    let files: Vec<u64> = (0..50)
        .map(|n| {
            let l = fs.with(|cx| namei::create(cx, d, &name(n), &file()));
            l.unwrap().inode.ino
        })
        .collect();
    for from in (50..ENTRIES).step_by(500) {
        fs.with(|cx| {
            for n in from..(from + 500).min(ENTRIES) {
                namei::link(cx, files[n as usize % 50], d, &name(n))?;
            }
            Ok(())
        })
        .unwrap();
    }
    (fs, d, files)
}

#[test]
fn operations_in_a_large_directory_touch_a_handful_of_blocks() {
    let (mut fs, d, files) = large();
    let inode = inode::load(&fs.io, d).unwrap();
    assert_eq!(inode.size, ENTRIES);
    let levels = u64::from(height(&inode, Which::Data));
    let file = inode::load(&fs.io, files[0]).unwrap();
    let file_levels = u64::from(height(&file, Which::Attr));
    assert!((2..=4).contains(&levels), "{levels} levels");

    let cost = |fs: &MemFs, f: &mut dyn FnMut()| {
        let before = fs.reads();
        f();
        fs.reads() - before
    };
    for n in (0..ENTRIES).step_by(997) {
        let mut found = None;
        let reads = cost(&fs, &mut || {
            found = dir::lookup(&fs.io, &inode, &name(n)).unwrap();
        });
        assert_eq!(found.map(|e| e.ino), Some(files[n as usize % 50]));
        // A hash may lie across two leaves.
        assert!(reads <= 2 * levels, "{reads} reads in a lookup");
    }
    let missing = cost(&fs, &mut || {
        assert_eq!(dir::lookup(&fs.io, &inode, b"missing"), Ok(None));
    });
    assert!(
        missing <= 2 * levels,
        "{missing} reads in a lookup without success"
    );

    // Each tree is descended to look, and descended to change, with some blocks read a second time to be changed.
    let most = 12 * (levels + file_levels) + 40;
    let mut ops = |what: &str, f: &mut dyn FnMut(&mut MemFs) -> Result<()>| {
        let before = fs.reads();
        // The checks of the test filesystem at commit are not the engine's cost.
        f(&mut fs).unwrap();
        let reads = fs.reads() - before;
        let changed = fs.changed();
        assert!(
            reads <= most,
            "{what}: {reads} reads, at most {most} expected"
        );
        assert!(changed <= 30, "{what}: {changed} blocks changed");
    };
    ops("create", &mut |fs| {
        fs.with(|cx| namei::create(cx, d, b"new", &super::directed::file()).map(|_| ()))
    });
    ops("link", &mut |fs| {
        fs.with(|cx| namei::link(cx, files[1], d, b"link").map(|_| ()))
    });
    ops("unlink", &mut |fs| {
        fs.with(|cx| namei::unlink(cx, d, &name(777)).map(|_| ()))
    });
    ops("rename", &mut |fs| {
        fs.with(|cx| namei::rename(cx, d, &name(5), d, b"r", RenameFlags::Replace).map(|_| ()))
    });
    ops("rename away", &mut |fs| {
        fs.with(|cx| namei::rename(cx, d, &name(6), ROOT, b"r", RenameFlags::Replace).map(|_| ()))
    });
    ops("rmdir of a full directory", &mut |fs| {
        let r = fs.with(|cx| namei::rmdir(cx, ROOT, b"large"));
        assert_eq!(r.map(|_| ()), Err(crate::Error::NotEmpty));
        Ok(())
    });
    check(&fs);
}

#[test]
fn a_reader_sees_every_lasting_entry_once_while_others_come_and_go() {
    let (mut fs, d, files) = large();
    let mut seen = BTreeMap::new();
    let mut next = 0;
    let mut removed = BTreeSet::new();
    let mut round = 0u64;
    loop {
        let inode = inode::load(&fs.io, d).unwrap();
        let mut batch = 0;
        dir::read(&fs.io, &inode, next, |cookie, e| {
            *seen.entry(e.name.to_vec()).or_insert(0) += 1;
            next = cookie + 1;
            batch += 1;
            Ok(batch < 1500)
        })
        .unwrap();
        if batch == 0 {
            break;
        }
        // Between two reads every third name of some range goes and new ones come.
        fs.with(|cx| {
            for n in 0..200 {
                let gone = round * 600 + n * 3;
                if gone < ENTRIES {
                    namei::unlink(cx, d, &name(gone))?;
                    removed.insert(name(gone));
                }
                namei::link(cx, files[0], d, &name(ENTRIES + round * 200 + n))?;
            }
            Ok(())
        })
        .unwrap();
        round += 1;
    }
    assert!(round > 30);
    for n in 0..ENTRIES {
        let times = seen.get(&name(n)).copied().unwrap_or(0);
        if removed.contains(&name(n)) {
            assert!(times <= 1);
        } else {
            assert_eq!(times, 1, "entry {n}");
        }
    }
    assert!(seen.values().all(|n| *n == 1));
    check(&fs);
}

#[test]
fn a_large_directory_can_be_emptied_and_leaves_nothing() {
    let (mut fs, d, _) = large();
    for from in (0..ENTRIES).step_by(500) {
        fs.with(|cx| {
            for n in from..(from + 500).min(ENTRIES) {
                namei::unlink(cx, d, &name(n))?;
            }
            Ok(())
        })
        .unwrap();
    }
    fs.with(|cx| namei::rmdir(cx, ROOT, b"large")).unwrap();
    while let Some(ino) = orphan::first(&fs.io, 0).unwrap() {
        super::directed::finish(&mut fs, ino);
    }
    assert_eq!(check(&fs).inodes.len(), 1);
    assert!(fs.used_blocks().is_empty());
}
