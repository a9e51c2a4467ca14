// SPDX-License-Identifier: GPL-2.0-only
//! Single cases that random programs do not reach: limits, full hashes, full disks, times, handles.

use super::check::check;
use super::common::MemFs;
use crate::inode::{self, NewInode, SetAttributes};
use crate::namei::{self, RenameFlags};
use crate::orphan::{self, Cursor, Progress};
use crate::test_hash;
use crate::vector::{self, NewIndex};
use crate::xattr::{self, SetFlags};
use crate::{dir, extent, Error, Result};
use layout::attr::{Namespace, XATTR_COLLISIONS};
use layout::dirent::COLLISIONS;
use layout::ino::ROOT;
use layout::inode::{mode, Inode, Time, FLAG_IMMUTABLE, FLAG_NODUMP, FLAG_SYSTEM};
use layout::vector::{Element, Metric};

pub fn file() -> NewInode<'static> {
    NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    }
}

pub fn directory() -> NewInode<'static> {
    NewInode {
        mode: mode::DIRECTORY | 0o755,
        ..NewInode::default()
    }
}

pub fn make(fs: &mut MemFs, dir: u64, name: &[u8], new: &NewInode<'_>) -> Result<Inode> {
    fs.with(|cx| namei::create(cx, dir, name, new))
        .map(|l| l.inode)
}

pub fn entry(fs: &MemFs, dir: u64, name: &[u8]) -> Option<dir::Entry> {
    dir::lookup(&fs.io, &inode::load(&fs.io, dir).unwrap(), name).unwrap()
}

pub fn finish(fs: &mut MemFs, ino: u64) {
    let mut cursor = Cursor::default();
    while fs.with(|cx| orphan::finish_step(cx, ino, &mut cursor)) == Ok(Progress::More) {}
    assert!(!orphan::contains(&fs.io, ino).unwrap());
}

#[test]
fn a_full_hash_is_a_clean_error_and_gaps_are_filled_first() {
    test_hash::weaken(Some(1));
    let mut fs = MemFs::new(9000, 512, 1);
    let name = |n: u64| format!("file {n}").into_bytes();
    for n in 0..COLLISIONS {
        make(&mut fs, ROOT, &name(n), &file()).unwrap();
    }
    let first = entry(&fs, ROOT, &name(0)).unwrap().cookie;
    for n in 0..COLLISIONS {
        assert_eq!(entry(&fs, ROOT, &name(n)).unwrap().cookie, first + n);
    }
    let full = Err(Error::HashFull);
    assert_eq!(make(&mut fs, ROOT, b"one more", &file()).map(|_| ()), full);
    let there = make(&mut fs, ROOT, &name(9), &file()).map(|_| ());
    assert_eq!(
        there,
        Err(Error::Exists),
        "a name that is there is found first"
    );
    let r = fs.with(|cx| namei::rename(cx, ROOT, &name(3), ROOT, b"other", RenameFlags::Replace));
    assert_eq!(r.map(|_| ()), full);
    for n in [200, 7, 100] {
        fs.with(|cx| namei::unlink(cx, ROOT, &name(n))).unwrap();
    }
    make(&mut fs, ROOT, b"gap", &file()).unwrap();
    assert_eq!(entry(&fs, ROOT, b"gap").unwrap().cookie, first + 7);
    assert_eq!(entry(&fs, ROOT, &name(255)).unwrap().cookie, first + 255);
    check(&fs);
    test_hash::weaken(None);
}

#[test]
fn a_full_attribute_hash_is_a_clean_error() {
    test_hash::weaken(Some(1));
    let mut fs = MemFs::new(9000, 512, 1);
    let f = make(&mut fs, ROOT, b"f", &file()).unwrap().ino;
    let set = |fs: &mut MemFs, n: u64, len: usize| {
        fs.with(|cx| {
            let name = n.to_string().into_bytes();
            xattr::set(cx, f, Namespace::User, &name, &vec![1; len], SetFlags::Any)
        })
        .map(|_| ())
    };
    for n in 0..XATTR_COLLISIONS {
        set(&mut fs, n, (n as usize % 4) * 1000).unwrap();
    }
    assert_eq!(set(&mut fs, 64, 1), Err(Error::HashFull));
    set(&mut fs, 63, 5000).unwrap();
    fs.with(|cx| xattr::remove(cx, f, Namespace::User, b"31"))
        .unwrap();
    set(&mut fs, 64, 1).unwrap();
    assert_eq!(check(&fs).inodes[&f].xattrs.len(), 64);
    test_hash::weaken(None);
}

#[test]
fn bad_names_and_bad_wishes_are_refused() {
    let mut fs = MemFs::new(9000, 512, 1);
    let mut refused = |name: &[u8], new: &NewInode<'_>| {
        let before = fs.space.free_inodes;
        let e = make(&mut fs, ROOT, name, new).unwrap_err();
        assert!(e.is_clean());
        assert_eq!(fs.space.free_inodes, before);
        e
    };
    assert_eq!(refused(&[b'x'; 256], &file()), Error::NameTooLong);
    for name in [&b""[..], b".", b"..", b"a/b", b"nul\0"] {
        assert!(
            matches!(refused(name, &file()), Error::Range(_)),
            "{name:?}"
        );
    }
    let link = |target| NewInode {
        mode: mode::SYMLINK | 0o777,
        target,
        ..NewInode::default()
    };
    assert!(matches!(refused(b"l", &link(b"")), Error::Range(_)));
    assert!(matches!(refused(b"l", &link(b"a\0b")), Error::Range(_)));
    assert_eq!(refused(b"l", &link(&[b'a'; 4096])), Error::NameTooLong);
    let odd = [
        NewInode {
            mode: 0o644,
            ..file()
        },
        NewInode {
            target: b"x",
            ..file()
        },
        NewInode { rdev: 5, ..file() },
        NewInode {
            flags: FLAG_SYSTEM,
            ..file()
        },
        NewInode {
            flags: 1 << 31,
            ..file()
        },
    ];
    for new in odd {
        assert!(matches!(refused(b"x", &new), Error::Range(_)), "{new:?}");
    }
    let f = make(&mut fs, ROOT, b"f", &file()).unwrap().ino;
    let r = fs.with(|cx| namei::create(cx, f, b"x", &file()));
    assert_eq!(r.map(|_| ()), Err(Error::NotDirectory));
    let r = fs.with(|cx| namei::create(cx, 7, b"x", &file()));
    assert_eq!(r.map(|_| ()), Err(Error::Stale));
    let r = fs.with(|cx| xattr::set(cx, f, Namespace::User, b"", b"", SetFlags::Any));
    assert!(matches!(r, Err(Error::Range(_))));
    let big = vec![0; 65537];
    let r = fs.with(|cx| xattr::set(cx, f, Namespace::User, b"n", &big, SetFlags::Any));
    assert_eq!(r.map(|_| ()), Err(Error::TooLarge));
    let set = SetAttributes {
        mtime: Some(Time {
            sec: 0,
            nsec: 1_000_000_000,
        }),
        ..SetAttributes::default()
    };
    let r = fs.with(|cx| inode::set_attributes(cx, f, &set));
    assert!(matches!(r, Err(Error::Range(_))));
    check(&fs);
}

#[test]
fn links_stop_at_the_limit() {
    let mut fs = MemFs::new(9000, 512, 1);
    let f = make(&mut fs, ROOT, b"f", &file()).unwrap().ino;
    make(&mut fs, ROOT, b"d", &directory()).unwrap();
    let limit = |fs: &mut MemFs, ino| {
        fs.with(|cx| {
            let mut i = inode::load(cx.io, ino)?;
            i.links = layout::LINK_MAX;
            inode::store(cx, &i)
        })
        .unwrap();
    };
    limit(&mut fs, f);
    let r = fs.with(|cx| namei::link(cx, f, ROOT, b"g"));
    assert_eq!(r.map(|_| ()), Err(Error::TooManyLinks));
    let sub = make(&mut fs, ROOT, b"full", &directory()).unwrap().ino;
    limit(&mut fs, sub);
    let r = fs.with(|cx| namei::create(cx, sub, b"x", &directory()));
    assert_eq!(r.map(|_| ()), Err(Error::TooManyLinks));
    for flags in [RenameFlags::Replace, RenameFlags::NoReplace] {
        let r = fs.with(|cx| namei::rename(cx, ROOT, b"d", sub, b"d", flags));
        assert_eq!(r.map(|_| ()), Err(Error::TooManyLinks));
    }
    make(&mut fs, sub, b"file", &file()).unwrap();
    let r = fs.with(|cx| namei::rename(cx, ROOT, b"d", sub, b"file", RenameFlags::Exchange));
    assert_eq!(r.map(|_| ()), Err(Error::TooManyLinks));
}

#[test]
fn a_full_disk_refuses_cleanly_and_can_be_emptied() {
    let mut fs = MemFs::new(1600, 256, 1);
    let mut names = Vec::new();
    // Attributes of 3,000 bytes take a block each.
    let end = loop {
        let name = format!("{:-<200}", names.len()).into_bytes();
        let r = fs.with_privilege(false, |cx| namei::create(cx, ROOT, &name, &file()));
        let f = match r {
            Ok(l) => l.inode.ino,
            Err(e) => break e,
        };
        names.push(name);
        for n in 0..4 {
            let attr = [b'a' + n];
            let r = fs.with_privilege(false, |cx| {
                xattr::set(cx, f, Namespace::User, &attr, &[n; 3000], SetFlags::Any)
            });
            assert!(matches!(r, Ok(_) | Err(Error::NoSpace)), "{r:?}");
        }
    };
    assert_eq!(end, Error::NoSpace);
    let moved = fs.with_privilege(false, |cx| {
        namei::rename(
            cx,
            ROOT,
            &names[0],
            ROOT,
            &[b'm'; 250],
            RenameFlags::Replace,
        )
    });
    assert_eq!(moved.map(|_| ()), Err(Error::NoSpace));
    check(&fs);
    for name in &names {
        let r = fs.with_privilege(false, |cx| namei::unlink(cx, ROOT, name));
        let gone = r.expect("removing needs no space").inode.ino;
        finish(&mut fs, gone);
    }
    let snap = check(&fs);
    assert_eq!(snap.inodes.len(), 1);
    assert_eq!(fs.used_blocks().len(), 0);
}

#[test]
fn inodes_run_out_cleanly_and_numbers_come_back_with_new_generations() {
    let mut fs = MemFs::new(3000, 16 + 8, 1);
    let mut made = Vec::new();
    let end = loop {
        match make(&mut fs, ROOT, made.len().to_string().as_bytes(), &file()) {
            Ok(i) => made.push(i),
            Err(e) => break e,
        }
    };
    assert_eq!((end, made.len()), (Error::NoInodes, 9));
    let old = made[4];
    fs.with(|cx| namei::unlink(cx, ROOT, b"4")).unwrap();
    assert_eq!(
        make(&mut fs, ROOT, b"x", &file()).map(|_| ()),
        Err(Error::NoInodes)
    );
    finish(&mut fs, old.ino);
    let gone = inode::load_handle(&fs.io, old.ino, old.generation);
    assert_eq!(gone, Err(Error::Stale));
    let new = make(&mut fs, ROOT, b"x", &file()).unwrap();
    assert_eq!(new.ino, old.ino);
    assert_ne!(new.generation, old.generation);
    assert_eq!(
        inode::load_handle(&fs.io, old.ino, old.generation),
        Err(Error::Stale)
    );
    assert_eq!(inode::load_handle(&fs.io, new.ino, new.generation), Ok(new));
    check(&fs);
}

#[test]
fn handles_from_users_never_reach_what_they_must_not() {
    let mut fs = MemFs::new(70_000, 512, 1);
    let root = inode::load(&fs.io, ROOT).unwrap();
    assert_eq!(inode::load_handle(&fs.io, ROOT, root.generation), Ok(root));
    let f = make(&mut fs, ROOT, b"f", &file()).unwrap();
    for number in [
        0,
        2,
        3,
        4,
        5,
        15,
        f.ino + 1,
        300,
        600,
        1024,
        1537,
        1 << 40,
        u64::MAX,
    ] {
        for generation in [0, 1, 2] {
            let r = inode::load_handle(&fs.io, number, generation);
            assert_eq!(r, Err(Error::Stale), "inode {number}");
        }
    }
}

#[test]
fn times_and_versions_follow_posix() {
    let mut fs = MemFs::new(9000, 512, 1);
    let a = make(&mut fs, ROOT, b"a", &directory()).unwrap();
    let b = make(&mut fs, ROOT, b"b", &directory()).unwrap();
    let f = make(&mut fs, a.ino, b"f", &file()).unwrap();
    let g = make(&mut fs, b.ino, b"g", &file()).unwrap();
    let now = |fs: &MemFs, i: &Inode| inode::load(&fs.io, i.ino).unwrap();
    assert_eq!(
        (f.atime, f.mtime, f.ctime, f.btime),
        (f.btime, f.btime, f.btime, fs.now.before(1))
    );
    assert_eq!(
        now(&fs, &a).mtime,
        f.btime,
        "creating changes the directory"
    );

    let r = fs
        .with(|cx| namei::rename(cx, a.ino, b"f", b.ino, b"g", RenameFlags::Replace))
        .unwrap();
    let t = fs.now;
    let new_dir = r.new_dir.unwrap();
    assert_eq!((r.old_dir.mtime, r.old_dir.ctime), (t, t));
    assert_eq!((new_dir.mtime, new_dir.ctime), (t, t));
    assert_eq!((r.source.mtime, r.source.ctime), (f.mtime, t));
    let target = r.target.unwrap();
    assert_eq!(
        (target.ino, target.links, target.mtime, target.ctime),
        (g.ino, 0, g.mtime, t)
    );
    assert!(r.source.version > f.version && new_dir.version > b.version);

    let linked = fs.with(|cx| namei::link(cx, f.ino, a.ino, b"h")).unwrap();
    let t = fs.now;
    assert_eq!((linked.inode.mtime, linked.inode.ctime), (f.mtime, t));
    assert_eq!((linked.dir.mtime, linked.dir.ctime), (t, t));

    let x = fs
        .with(|cx| xattr::set(cx, f.ino, Namespace::User, b"n", b"v", SetFlags::Any))
        .unwrap();
    assert_eq!((x.mtime, x.ctime), (f.mtime, fs.now));

    let atime = SetAttributes {
        atime: Some(Time { sec: 5, nsec: 6 }),
        ..SetAttributes::default()
    };
    let y = fs
        .with(|cx| inode::set_attributes(cx, f.ino, &atime))
        .unwrap();
    assert_eq!(
        (y.atime, y.ctime, y.version),
        (Time { sec: 5, nsec: 6 }, x.ctime, x.version)
    );

    let sized = fs.with(|cx| namei::set_size(cx, f.ino, 1 << 40)).unwrap();
    assert_eq!((sized.inode.size, sized.unfinished), (1 << 40, false));
    assert_eq!((sized.inode.mtime, sized.inode.ctime), (fs.now, fs.now));
    let too_large = fs.with(|cx| namei::set_size(cx, f.ino, u64::MAX));
    assert_eq!(too_large.map(|_| ()), Err(Error::TooLarge));
    check(&fs);
}

trait Before {
    fn before(self, transactions: i64) -> Time;
}

impl Before for Time {
    /// The time of an earlier transaction: the test filesystem's clock ticks once in each.
    fn before(self, transactions: i64) -> Time {
        Time {
            sec: self.sec - transactions,
            ..self
        }
    }
}

#[test]
fn new_inodes_take_what_their_directory_passes_on() {
    let mut fs = MemFs::new(9000, 512, 1);
    let d = make(&mut fs, ROOT, b"d", &directory()).unwrap().ino;
    let set = SetAttributes {
        flags: Some(FLAG_NODUMP | FLAG_IMMUTABLE),
        project: Some(7),
        default_index: Some(3),
        ..SetAttributes::default()
    };
    fs.with(|cx| inode::set_attributes(cx, d, &set)).unwrap();
    let f = make(&mut fs, d, b"f", &file()).unwrap();
    assert_eq!((f.flags, f.project, f.default_index), (FLAG_NODUMP, 7, 3));
    let own = NewInode {
        project: 8,
        default_index: 4,
        ..directory()
    };
    let s = make(&mut fs, d, b"s", &own).unwrap();
    assert_eq!((s.flags, s.project, s.default_index), (FLAG_NODUMP, 8, 4));
    let p = NewInode {
        mode: mode::FIFO | 0o600,
        ..NewInode::default()
    };
    assert_eq!(make(&mut fs, d, b"p", &p).unwrap().default_index, 0);
}

#[test]
fn a_temporary_file_lives_as_long_as_it_is_linked() {
    let mut fs = MemFs::new(9000, 512, 1);
    let t = fs.with(|cx| namei::tmpfile(cx, ROOT, &file())).unwrap();
    assert_eq!(orphan::first(&fs.io, 0), Ok(Some(t.ino)));
    fs.with(|cx| namei::link(cx, t.ino, ROOT, b"kept")).unwrap();
    assert_eq!(orphan::first(&fs.io, 0), Ok(None));
    check(&fs);
    // What was unlinked cannot come back once it is finished, and what is no orphan cannot be finished.
    fs.with(|cx| namei::unlink(cx, ROOT, b"kept")).unwrap();
    finish(&mut fs, t.ino);
    let r = fs.with(|cx| namei::link(cx, t.ino, ROOT, b"late"));
    assert_eq!(r.map(|_| ()), Err(Error::Stale));
    let r = fs.with(|cx| orphan::finish_step(cx, ROOT, &mut Cursor::default()));
    assert_eq!(r, Err(Error::NotFound));
    let dir = NewInode { ..directory() };
    let r = fs.with(|cx| namei::tmpfile(cx, ROOT, &dir));
    assert!(matches!(r, Err(Error::Range(_))));
}

#[test]
fn a_size_that_is_cut_frees_nothing_before_it_is_trimmed() {
    let mut fs = MemFs::new(9000, 512, 1);
    let f = make(&mut fs, ROOT, b"f", &file()).unwrap().ino;
    let empty = fs.with(|cx| namei::cut_size(cx, f, 0)).unwrap();
    assert!(!empty.unfinished);
    // Four blocks of data, and four allocated beyond the size.
    let before = fs
        .with(|cx| {
            let mut i = inode::load(cx.io, f)?;
            extent::allocate(cx, &mut i, 0, 8)?;
            i.size = 4 * 4096;
            inode::store(cx, &i)?;
            Ok(i.blocks)
        })
        .unwrap();
    let grown = fs.with(|cx| namei::cut_size(cx, f, 5 * 4096)).unwrap();
    assert_eq!(
        (grown.unfinished, grown.inode.blocks, grown.inode.size),
        (true, before, 5 * 4096)
    );
    finish(&mut fs, f);
    check(&fs);
    assert_eq!(inode::load(&fs.io, f).unwrap().blocks, before - 3);
    // Nothing lies beyond: the inode is no orphan for a moment.
    let same = fs.with(|cx| namei::cut_size(cx, f, 5 * 4096 - 1)).unwrap();
    assert!(!same.unfinished && orphan::first(&fs.io, 0) == Ok(None));
    let cut = fs.with(|cx| namei::cut_size(cx, f, 1)).unwrap();
    assert_eq!((cut.unfinished, cut.inode.blocks), (true, before - 3));
    assert_eq!(orphan::first(&fs.io, 0), Ok(Some(f)));
    let mut cursor = Cursor::default();
    let trimmed = fs.with(|cx| orphan::trim_step(cx, f, &mut cursor));
    // One step is enough for a file with few extents and no records.
    assert_eq!(trimmed, Ok(Progress::Done));
    assert_eq!(inode::load(&fs.io, f).unwrap().blocks, 1);
    check(&fs);
}

#[test]
fn what_a_crash_left_of_a_truncation_is_finished_at_the_next_mount() {
    let mut fs = MemFs::new(9000, 512, 1);
    let index = NewIndex {
        name: b"i",
        dim: 2,
        element: Element::F32,
        metric: Metric::L2,
        mode: 0o600,
        uid: 0,
        gid: 0,
    };
    let mut index = fs.with(|cx| vector::create(cx, &index)).unwrap();
    let f = make(&mut fs, ROOT, b"f", &file()).unwrap().ino;
    let mut put = |fs: &mut MemFs, label| {
        fs.with(|cx| {
            let mut i = inode::load(cx.io, f)?;
            vector::put(cx, &mut i, &mut index, label, 0, &[0; 8], None)?;
            inode::store(cx, &i)
        })
        .unwrap();
    };
    for label in 0..100 {
        put(&mut fs, label);
    }
    fs.with(|cx| {
        let mut i = inode::load(cx.io, f)?;
        for b in (0..200).step_by(2) {
            extent::allocate(cx, &mut i, b, 1)?;
        }
        i.size = 200 * 4096;
        inode::store(cx, &i)
    })
    .unwrap();
    let r = fs.with(|cx| namei::set_size(cx, f, 0)).unwrap();
    assert!(r.unfinished && r.inode.blocks > 0 && r.inode.size == 0);
    // A record put after the truncation lives.
    put(&mut fs, 5);
    let mut cursor = Cursor::default();
    for _ in 0..2 {
        let r = fs.with(|cx| orphan::trim_step(cx, f, &mut cursor));
        assert_eq!(r, Ok(Progress::More));
    }
    check(&fs);
    // The crash: nothing is remembered but what was committed.
    assert_eq!(orphan::first(&fs.io, 0), Ok(Some(f)));
    finish(&mut fs, f);
    assert_eq!(orphan::first(&fs.io, 0), Ok(None));
    let snap = check(&fs);
    assert_eq!(
        (snap.inodes[&f].inode.blocks, snap.inodes[&f].inode.links),
        (0, 1)
    );
    assert_eq!(
        snap.records[&f], 1,
        "the live record stays, the dead ones are gone"
    );
}
