// SPDX-License-Identifier: GPL-2.0-only
//! Parent pointers: for every directory entry that names an inode, the inode's attribute tree holds (directory, cookie) ->
//! name. This file keeps one inode's pointers; that they and the entries agree is [`crate::namei`]'s business.
//!
//! A directory has exactly one, which is its `..`; the root has none and is its own parent; inodes without links have none.

use crate::cx::Cx;
use crate::dir::is_root;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use layout::attr::{parent_key, parse_parent_key};
use layout::dirent::check_name;
use layout::inode::Inode;

/// One name of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent<'a> {
    /// The directory.
    pub dir: u64,
    /// Cookie of the entry there.
    pub cookie: u64,
    /// The name there.
    pub name: &'a [u8],
}

/// Where an iteration over an inode's names stands; the default is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    dir: u64,
    cookie: u64,
}

impl Position {
    /// Just after the name at `cookie` in directory `dir`.
    pub fn after(dir: u64, cookie: u64) -> Position {
        // A cookie is below 2^63.
        Position {
            dir,
            cookie: cookie.saturating_add(1),
        }
    }
}

/// Gives the names of `inode` from `from` on to `f`, ordered by directory and cookie, until it returns `Ok(false)`.
///
/// `f` runs while a block of the inode's attribute tree is held: it must not change that.
pub fn each<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    from: Position,
    mut f: impl FnMut(Parent<'_>) -> Result<bool>,
) -> Result<()> {
    let from = parent_key(from.dir, from.cookie);
    tree::walk(io, inode, Which::Attr, &from, |key, name| {
        let Some((dir, cookie)) = parse_parent_key(key) else {
            return Ok(false);
        };
        check_name(name).map_err(Error::at(0))?;
        f(Parent { dir, cookie, name })
    })
}

/// The directory that holds directory `dir`; the root is its own.
///
/// Errors: clean [`Error::Stale`] if `dir` was removed, [`Error::NotDirectory`]; [`Error::Corrupt`] if there is none.
pub fn parent_of<R: ReadBlocks>(io: &R, dir: &Inode) -> Result<u64> {
    if !dir.is_dir() {
        return Err(Error::NotDirectory);
    }
    if is_root(dir.ino) {
        return Ok(dir.ino);
    }
    if dir.links == 0 {
        return Err(Error::Stale);
    }
    let mut parent = None;
    each(io, dir, Position::default(), |p| {
        parent = Some(p.dir);
        Ok(false)
    })?;
    parent.ok_or(orphaned(io, dir))
}

/// The error for a directory in use that has no parent pointer.
pub(crate) fn orphaned<R: ReadBlocks>(io: &R, dir: &Inode) -> Error {
    let block = io.sb().geometry.inode_place(dir.ino).map_or(0, |p| p.block);
    Error::corrupt(block, "a directory has no parent pointer")
}

/// Adds a name.
pub(crate) fn add<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    dir: u64,
    cookie: u64,
    name: &[u8],
) -> Result<()> {
    tree::insert(cx, inode, Which::Attr, &parent_key(dir, cookie), name)
}

/// Removes a name.
pub(crate) fn remove<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    dir: u64,
    cookie: u64,
) -> Result<()> {
    match tree::remove(cx, inode, Which::Attr, &parent_key(dir, cookie)) {
        Err(Error::NotFound) => Err(Error::corrupt(
            crate::inode::home_block(cx.io, inode.ino),
            "an entry's inode has no parent pointer for it",
        )),
        other => other,
    }
}
