// SPDX-License-Identifier: GPL-2.0-only
//! Directory entries: finding a name, inserting, removing and retargeting entries, reading a directory from a cookie.
//! It changes one directory's tree and `size` (the number of entries) and nothing else: links, times and parent pointers are
//! [`crate::namei`]'s, which calls it.
//!
//! An entry's key is its cookie: the name's hash and a collision index. The entries of one hash are at most
//! [`COLLISIONS`] neighbours in the tree, with gaps where one was removed, because a cookie never changes while its entry
//! lives; a new entry takes the lowest gap. So lookup, insertion and removal cost one descent however large the directory is.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
#[cfg(test)]
use crate::test_hash::first_cookie;
use crate::tree::{self, Which};
use layout::btree::Key;
#[cfg(not(test))]
use layout::dirent::first_cookie;
use layout::dirent::{check_name, Dirent, COLLISIONS, DIRENT_MAX, FIRST_COOKIE};
use layout::inode::{FileType, Inode};
use layout::{ino, NAME_MAX};

pub mod parents;
pub mod path;

/// An entry, without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The inode.
    pub ino: u64,
    /// Its type.
    pub file_type: FileType,
    /// Key of the entry in its directory, and readdir's position of it.
    pub cookie: u64,
}

/// Cookie of `.`, which no tree holds.
pub const DOT: u64 = 0;
/// Cookie of `..`, which no tree holds: see [`parents::parent_of`].
pub const DOT_DOT: u64 = 1;

/// What lies at the cookies of a name's hash.
struct Probe {
    found: Option<Entry>,
    /// Lowest cookie without an entry, if any; complete only if nothing was found.
    free: Option<u64>,
}

fn probe<R: ReadBlocks>(io: &R, dir: &Inode, name: &[u8]) -> Result<Probe> {
    let first = first_cookie(&io.sb().raw.hash_seed, name);
    let last = first.saturating_add(COLLISIONS.saturating_sub(1));
    let mut free = first;
    let mut found = None;
    tree::walk(io, dir, Which::Data, &Key::one(first), |key, value| {
        let cookie = key.a();
        if cookie > last {
            return Ok(false);
        }
        if cookie == free {
            free = free.saturating_add(1);
        }
        let entry = Dirent::parse(value).map_err(Error::at(0))?;
        if entry.name == name {
            found = Some(Entry {
                ino: entry.ino,
                file_type: entry.file_type,
                cookie,
            });
        }
        Ok(found.is_none())
    })?;
    Ok(Probe {
        found,
        free: (free <= last).then_some(free),
    })
}

/// Whether `name` may stand in a directory. Clean [`Error::NameTooLong`], [`Error::Range`].
pub fn check(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    check_name(name).map_err(|e| Error::Range(e.0))
}

/// Looks for `name` (not `.` and `..`) in `dir`.
///
/// Errors: clean [`Error::NotDirectory`], [`Error::NameTooLong`], [`Error::Range`].
pub fn lookup<R: ReadBlocks>(io: &R, dir: &Inode, name: &[u8]) -> Result<Option<Entry>> {
    if !dir.is_dir() {
        return Err(Error::NotDirectory);
    }
    check(name)?;
    Ok(probe(io, dir, name)?.found)
}

/// The cookie that a new entry `name` of `dir` would get.
///
/// Errors: as [`lookup`]; clean [`Error::Exists`], [`Error::HashFull`].
pub(crate) fn new_cookie<R: ReadBlocks>(io: &R, dir: &Inode, name: &[u8]) -> Result<u64> {
    if !dir.is_dir() {
        return Err(Error::NotDirectory);
    }
    check(name)?;
    let probe = probe(io, dir, name)?;
    if probe.found.is_some() {
        return Err(Error::Exists);
    }
    probe.free.ok_or(Error::HashFull)
}

/// Gives the entries of `dir` whose cookies are `from` or larger to `f`, in the order of their cookies, until it returns
/// `Ok(false)`. `.` and `..` are the caller's to make up, at [`DOT`] and [`DOT_DOT`].
///
/// An entry keeps its cookie as long as it lives and cookies do not depend on other entries' removal, so a reader that comes back
/// with the last cookie plus one sees every entry that was there all the time exactly once. The next position after the
/// largest possible cookie, 2^63 - 1, does not fit a loff_t; no entry can follow it.
///
/// `f` runs while a block of the directory is held: it must not change the directory.
pub fn read<R: ReadBlocks>(
    io: &R,
    dir: &Inode,
    from: u64,
    mut f: impl FnMut(u64, &Dirent<'_>) -> Result<bool>,
) -> Result<()> {
    if !dir.is_dir() {
        return Err(Error::NotDirectory);
    }
    let from = Key::one(from.max(FIRST_COOKIE));
    tree::walk(io, dir, Which::Data, &from, |key, value| {
        f(key.a(), &Dirent::parse(value).map_err(Error::at(0))?)
    })
}

/// Whether a directory holds no entries. [`Error::Corrupt`] if its size says otherwise than its tree.
pub fn is_empty<R: ReadBlocks>(io: &R, dir: &Inode) -> Result<bool> {
    let mut empty = true;
    read(io, dir, 0, |_, _| {
        empty = false;
        Ok(false)
    })?;
    if empty != (dir.size == 0) {
        let block = io.sb().geometry.inode_place(dir.ino).map_or(0, |p| p.block);
        return Err(Error::corrupt(
            block,
            "size of a directory is not the number of its entries",
        ));
    }
    Ok(empty)
}

/// Inserts an entry at a cookie that [`new_cookie`] gave.
pub(crate) fn insert<T: Transaction>(
    cx: &mut Cx<'_, T>,
    dir: &mut Inode,
    cookie: u64,
    entry: &Dirent<'_>,
) -> Result<()> {
    let mut buf = [0; DIRENT_MAX];
    let value = entry.write(&mut buf).map_err(|e| Error::Internal(e.0))?;
    tree::insert(cx, dir, Which::Data, &Key::one(cookie), value)?;
    dir.size = dir.size.saturating_add(1);
    Ok(())
}

/// Makes the entry at `cookie` lead to another inode; name and cookie stay.
pub(crate) fn retarget<T: Transaction>(
    cx: &mut Cx<'_, T>,
    dir: &mut Inode,
    cookie: u64,
    entry: &Dirent<'_>,
) -> Result<()> {
    let mut buf = [0; DIRENT_MAX];
    let value = entry.write(&mut buf).map_err(|e| Error::Internal(e.0))?;
    tree::replace(cx, dir, Which::Data, &Key::one(cookie), value)
}

/// Removes the entry at `cookie`.
pub(crate) fn remove<T: Transaction>(
    cx: &mut Cx<'_, T>,
    dir: &mut Inode,
    cookie: u64,
) -> Result<()> {
    let size = dir.size.checked_sub(1).ok_or(Error::corrupt(
        crate::inode::home_block(cx.io, dir.ino),
        "size of a directory is not the number of its entries",
    ))?;
    tree::remove(cx, dir, Which::Data, &Key::one(cookie))?;
    dir.size = size;
    Ok(())
}

/// Loads the directory `ino`, for an operation on one of its names.
///
/// Errors: clean [`Error::NotDirectory`]; [`Error::NotFound`] if it was removed and is only open still; [`Error::Stale`].
pub(crate) fn load_into<R: ReadBlocks>(io: &R, ino: u64, dir: &mut Inode) -> Result<()> {
    crate::inode::load_into(io, ino, dir)?;
    if !dir.is_dir() {
        return Err(Error::NotDirectory);
    }
    if dir.links == 0 {
        return Err(Error::NotFound);
    }
    Ok(())
}

/// Whether `ino` is the root directory.
pub(crate) fn is_root(ino: u64) -> bool {
    ino == ino::ROOT
}
