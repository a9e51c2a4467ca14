// SPDX-License-Identifier: GPL-2.0-only
//! Operations on names: each changes directories, inodes, parent pointers and orphans together, in one transaction, and
//! gives back the inodes as they are now. This file makes names; [`remove`] takes them away, [`rename`] moves them, [`size`] changes
//! the size of files.
//!
//! Every operation first looks at everything it needs and checks its space, so that its clean errors come before its first change;
//! it then works on copies of the inodes and stores them last. Permissions, sticky bits, immutable flags and quotas are the
//! caller's: nothing here asks who is calling.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ialloc::INODE_CREDITS;
use crate::inode::{self, NewInode, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use crate::{dir, orphan, space, symlink};
use dir::parents;
use layout::dirent::Dirent;
use layout::ino;
use layout::inode::{FileType, Inode, Time, FLAG_NOATIME, FLAG_NODUMP, FLAG_SYNC};

pub mod remove;
pub mod rename;
pub mod size;
#[cfg(test)]
mod tests;

pub use remove::{rmdir, unlink, Removed};
pub use rename::{rename, rename_into, RenameFlags, Renamed};
pub use size::{cut_size, set_size, Resized};

/// Flags that new inodes take from their directory.
const INHERITED_FLAGS: u32 = FLAG_SYNC | FLAG_NODUMP | FLAG_NOATIME;

/// What [`create`] made, and [`link`] linked.
#[derive(Clone, Copy, Debug)]
pub struct Linked {
    /// The directory.
    pub dir: Inode,
    /// The inode.
    pub inode: Inode,
}

impl Linked {
    const BLANK: Linked = Linked {
        dir: inode::BLANK,
        inode: inode::BLANK,
    };
}

/// Checks what the caller wants and makes the inode, without number.
fn prepare(inode: &mut Inode, new: &NewInode<'_>, dir: &Inode, now: Time) -> Result<()> {
    let file_type = FileType::from_mode(new.mode).ok_or(Error::Range("unknown file type"))?;
    if (file_type == FileType::Symlink) == new.target.is_empty() {
        return Err(Error::Range(
            "a symbolic link needs a target, and nothing else may have one",
        ));
    }
    if new.target.len() > symlink::TARGET_MAX {
        return Err(Error::NameTooLong);
    }
    if new.target.contains(&0) {
        return Err(Error::Range("the target of a symbolic link holds NUL"));
    }
    if new.rdev != 0 && !matches!(file_type, FileType::Char | FileType::Block) {
        return Err(Error::Range("only device nodes have a device number"));
    }
    if new.flags & !(layout::inode::KNOWN_FLAGS & !layout::inode::FLAG_SYSTEM) != 0 {
        return Err(Error::Range("unknown inode flags"));
    }
    inode::begin(inode, new, now);
    inode.flags |= dir.flags & INHERITED_FLAGS;
    inode.project = if new.project == 0 {
        dir.project
    } else {
        new.project
    };
    if inode.default_index == 0 && matches!(file_type, FileType::Regular | FileType::Directory) {
        inode.default_index = dir.default_index;
    }
    Ok(())
}

/// Makes an inode and its first name, `name` in directory `dir_ino`. Its mode says what it is; a symbolic link's target goes with it, a
/// device's number too. Flags, project and default index come from the directory where `new` leaves them open.
///
/// Errors, clean: [`Error::Exists`], [`Error::NotDirectory`], [`Error::NotFound`] (the directory was removed), [`Error::NameTooLong`],
/// [`Error::Range`], [`Error::TooManyLinks`], [`Error::HashFull`], [`Error::NoSpace`], [`Error::NoInodes`], [`Error::Stale`].
pub fn create<T: Transaction>(
    cx: &mut Cx<'_, T>,
    dir_ino: u64,
    name: &[u8],
    new: &NewInode<'_>,
) -> Result<Linked> {
    let mut at = Linked::BLANK;
    let Linked { dir, inode } = &mut at;
    dir::load_into(cx.io, dir_ino, dir)?;
    let cookie = dir::new_cookie(cx.io, dir, name)?;
    prepare(inode, new, dir, cx.now)?;
    let is_dir = inode.is_dir();
    if is_dir && !inode::can_link(dir) {
        return Err(Error::TooManyLinks);
    }
    let need = tree::new_blocks(dir, Which::Data)
        .saturating_add(tree::new_blocks(inode, Which::Attr))
        .saturating_add(symlink::new_blocks(inode, new.target.len()));
    space::require(cx, need)?;
    inode::enlist(cx, inode, dir.ino)?;
    let entry = Dirent {
        ino: inode.ino,
        file_type: inode.file_type(),
        name,
    };
    dir::insert(cx, dir, cookie, &entry).map_err(Error::late)?;
    parents::add(cx, inode, dir.ino, cookie, name).map_err(Error::late)?;
    if !new.target.is_empty() {
        symlink::write(cx, inode, new.target).map_err(Error::late)?;
    }
    inode.links = if is_dir { 2 } else { 1 };
    if is_dir {
        inode::add_link(dir)?;
    }
    inode::touch_contents(dir, cx.now);
    inode::store(cx, inode)?;
    inode::store(cx, dir)?;
    Ok(at)
}

/// Blocks that [`create`] may change in directory `dir` (as it is now), for a target of `target_len` bytes.
pub fn create_credits(dir: &Inode, target_len: usize) -> u32 {
    let blank = inode::BLANK;
    // The target's chunks may have made the attribute tree higher before the name enters it, or the other way round.
    tree::credits(dir, Which::Data)
        .saturating_add(tree::credits(&blank, Which::Attr).saturating_mul(2))
        .saturating_add(symlink::credits(&blank, target_len))
        .saturating_add(INODE_CREDITS)
        .saturating_add(STORE_CREDITS.saturating_mul(2))
}

/// Makes an inode without a name (O_TMPFILE) near directory `dir_ino`: an orphan from its birth, which [`link`] can give a name.
/// It may be neither a directory nor a symbolic link.
///
/// Errors, clean: as [`create`], but for those that come from the name.
pub fn tmpfile<T: Transaction>(
    cx: &mut Cx<'_, T>,
    dir_ino: u64,
    new: &NewInode<'_>,
) -> Result<Inode> {
    let mut at = Linked::BLANK;
    let Linked { dir, inode } = &mut at;
    dir::load_into(cx.io, dir_ino, dir)?;
    prepare(inode, new, dir, cx.now)?;
    if matches!(inode.file_type(), FileType::Directory | FileType::Symlink) {
        return Err(Error::Range("a directory or symbolic link needs a name"));
    }
    space::require(cx, orphan::new_blocks(cx.io)?)?;
    inode::enlist(cx, inode, dir.ino)?;
    orphan::add(cx, inode.ino).map_err(Error::late)?;
    inode::store(cx, inode)?;
    Ok(at.inode)
}

/// Blocks that [`tmpfile`] may change.
pub fn tmpfile_credits<R: ReadBlocks>(io: &R) -> Result<u32> {
    Ok(orphan::table_credits(io)?
        .saturating_add(INODE_CREDITS)
        .saturating_add(STORE_CREDITS))
}

/// Gives inode `ino` one more name, `name` in directory `dir_ino`. An inode without links must be a [`tmpfile`] that never had one (the
/// caller knows) and whose truncations are finished; it is an orphan no longer.
///
/// Errors, clean: [`Error::IsDirectory`], [`Error::TooManyLinks`], [`Error::Stale`], and those of [`create`] that come from
/// directory, name and space.
pub fn link<T: Transaction>(
    cx: &mut Cx<'_, T>,
    ino: u64,
    dir_ino: u64,
    name: &[u8],
) -> Result<Linked> {
    let mut at = Linked::BLANK;
    let Linked { dir, inode } = &mut at;
    dir::load_into(cx.io, dir_ino, dir)?;
    inode::load_into(cx.io, ino, inode)?;
    if inode.is_dir() {
        return Err(Error::IsDirectory);
    }
    if !inode::can_link(inode) {
        return Err(Error::TooManyLinks);
    }
    let cookie = dir::new_cookie(cx.io, dir, name)?;
    let need =
        tree::new_blocks(dir, Which::Data).saturating_add(tree::new_blocks(inode, Which::Attr));
    space::require(cx, need)?;
    if inode.links == 0 {
        orphan::remove(cx, ino)?;
    }
    let entry = Dirent {
        ino,
        file_type: inode.file_type(),
        name,
    };
    dir::insert(cx, dir, cookie, &entry).map_err(Error::late)?;
    parents::add(cx, inode, dir.ino, cookie, name).map_err(Error::late)?;
    inode::add_link(inode)?;
    inode::touch(inode, cx.now);
    inode::touch_contents(dir, cx.now);
    inode::store(cx, inode)?;
    inode::store(cx, dir)?;
    Ok(at)
}

/// Blocks that [`link`] may change.
pub fn link_credits<R: ReadBlocks>(io: &R, inode: &Inode, dir: &Inode) -> Result<u32> {
    let orphans = if inode.links == 0 {
        orphan::table_credits(io)?
    } else {
        0
    };
    Ok(tree::credits(dir, Which::Data)
        .saturating_add(tree::credits(inode, Which::Attr))
        .saturating_add(orphans)
        .saturating_add(STORE_CREDITS.saturating_mul(2)))
}

/// The inode that an entry names, held to what the entry says of it.
fn load_entry<R: ReadBlocks>(io: &R, entry: &dir::Entry, inode: &mut Inode) -> Result<()> {
    if entry.ino < ino::FIRST {
        return Err(Error::corrupt(
            inode::home_block(io, entry.ino),
            "a directory entry names a reserved inode",
        ));
    }
    inode::load_named_into(io, entry.ino, inode)?;
    if inode.file_type() != entry.file_type {
        return Err(Error::corrupt(
            inode::home_block(io, entry.ino),
            "a directory entry gives its inode another type",
        ));
    }
    if inode.links == 0 {
        return Err(Error::corrupt(
            inode::home_block(io, entry.ino),
            "a directory entry names an inode without links",
        ));
    }
    Ok(())
}
