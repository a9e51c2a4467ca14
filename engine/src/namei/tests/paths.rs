// SPDX-License-Identifier: GPL-2.0-only
//! Paths: permissions on the way, buffers too small, deep directories.

use super::check::check;
use super::common::{MemFs, MemIo};
use super::directed::{directory, entry, file, make};
use crate::dir::parents::Position;
use crate::dir::path::{self, PathSearch};
use crate::namei::{self, RenameFlags};
use crate::{inode, Cx, Error};
use layout::ino::{self, ROOT};
use layout::inode::Inode;

/// Two directories `/open` and `/shut/deep`, and a file with a name in each.
fn two_places(fs: &mut MemFs) -> (Inode, u64) {
    let open = make(fs, ROOT, b"open", &directory()).unwrap().ino;
    let shut = make(fs, ROOT, b"shut", &directory()).unwrap().ino;
    let deep = make(fs, shut, b"deep", &directory()).unwrap().ino;
    let f = make(fs, deep, b"secret", &file()).unwrap().ino;
    fs.with(|cx| namei::link(cx, f, open, b"public")).unwrap();
    (inode::load(&fs.io, f).unwrap(), shut)
}

#[test]
fn a_path_is_given_only_through_directories_that_may_be_searched() {
    let mut fs = MemFs::new(9000, 512, 1);
    let (f, shut) = two_places(&mut fs);
    let mut buf = [0; 64];
    let mut search = |tries, deny: u64| {
        let mut position = Position::default();
        let mut asked = Vec::new();
        let r = path::find(&fs.io, &f, &mut position, tries, &mut buf, |d| {
            asked.push(d.ino);
            Ok(d.ino != deny)
        });
        match r {
            Ok(PathSearch::Found(at)) => (Some(buf[at..].to_vec()), asked),
            Ok(PathSearch::None { too_long: false }) => (None, asked),
            other => panic!("{other:?}"),
        }
    };
    let (path, asked) = search(9, shut);
    assert_eq!(path.as_deref(), Some(&b"/open/public"[..]));
    assert_eq!(asked.last(), Some(&ROOT), "the root is asked for, too");
    assert_eq!(search(9, ROOT).0, None);
    let open = entry(&fs, ROOT, b"open").unwrap().ino;
    assert_eq!(
        search(9, open).0.as_deref(),
        Some(&b"/shut/deep/secret"[..])
    );
    let err = path::find(&fs.io, &f, &mut Position::default(), 9, &mut buf, |_| {
        Err(Error::NoMemory)
    });
    assert_eq!(err, Err(Error::NoMemory), "the caller's errors come back");
}

#[test]
fn path_buffers_too_small_are_told_apart_from_missing_names() {
    let mut fs = MemFs::new(9000, 512, 1);
    let (f, shut) = two_places(&mut fs);
    let whole = b"/open/public".len();
    for n in 0..40 {
        let mut buf = vec![0; n];
        let mut position = Position::default();
        let r = path::find(
            &fs.io,
            &f,
            &mut position,
            9,
            &mut buf,
            |d| Ok(d.ino != shut),
        );
        let want = if n < whole {
            PathSearch::None { too_long: true }
        } else {
            PathSearch::Found(n - whole)
        };
        assert_eq!(r, Ok(want), "buffer of {n}");
    }
    assert_eq!(
        path::any(&fs.io, f.ino, &mut [0; 11]),
        Err(Error::BufferTooSmall)
    );
    let mut one = [0];
    assert_eq!((path::any(&fs.io, ROOT, &mut one), one), (Ok(0), *b"/"));
    assert_eq!(path::any(&fs.io, ROOT, &mut []), Err(Error::BufferTooSmall));
    let tmp = fs.with(|cx| namei::tmpfile(cx, ROOT, &file())).unwrap().ino;
    assert_eq!(path::any(&fs.io, tmp, &mut [0; 99]), Err(Error::NotFound));
}

#[test]
fn deep_directories_need_neither_stack_nor_luck() {
    let mut fs = MemFs::new(9000, 4096, 1);
    let depth = 3000u64;
    let deepest = fs
        .with(|cx: &mut Cx<'_, MemIo>| {
            let mut at = ROOT;
            for _ in 0..depth {
                at = namei::create(cx, at, b"d", &directory())?.inode.ino;
            }
            Ok(at)
        })
        .unwrap();
    assert_eq!(path::is_below(&fs.io, deepest, ROOT + ino::FIRST), Ok(true));
    let mut buf = vec![0; 2 * depth as usize];
    assert_eq!(path::any(&fs.io, deepest, &mut buf), Ok(0));
    assert!(buf.chunks(2).all(|c| c == b"/d"));
    let r = fs.with(|cx| namei::rename(cx, ROOT, b"d", deepest, b"x", RenameFlags::Replace));
    assert_eq!(r.map(|_| ()), Err(Error::Loop));
    make(&mut fs, ROOT, b"y", &directory()).unwrap();
    fs.with(|cx| namei::rename(cx, ROOT, b"y", deepest, b"y", RenameFlags::Replace))
        .unwrap();
    let r = fs.with(|cx| namei::rename(cx, deepest, b"y", ROOT, b"d", RenameFlags::Exchange));
    assert_eq!(r.map(|_| ()), Err(Error::Loop));
    check(&fs);
}
