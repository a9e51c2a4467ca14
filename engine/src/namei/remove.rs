// SPDX-License-Identifier: GPL-2.0-only
//! Taking names away: unlink and rmdir. An inode that loses its last link becomes an orphan in the same transaction and
//! its vector records die in it; blocks and inode are freed when the caller finishes the orphan, after the last close.

use super::load_entry;
use crate::cx::Cx;
use crate::dir::{self, parents, Entry};
use crate::error::{Error, Result};
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use crate::{orphan, space};
use layout::inode::Inode;

/// What is left after a name was removed.
#[derive(Clone, Copy, Debug)]
pub struct Removed {
    /// The directory.
    pub dir: Inode,
    /// The inode that lost its name. Without links it is an orphan: see [`orphan::finish_step`].
    pub inode: Inode,
}

impl Removed {
    const BLANK: Removed = Removed {
        dir: inode::BLANK,
        inode: inode::BLANK,
    };
}

/// Removes `name`, which is no directory's, from directory `dir`.
///
/// Errors, clean: [`Error::NotFound`], [`Error::IsDirectory`], [`Error::NotDirectory`], [`Error::NameTooLong`], [`Error::Range`],
/// [`Error::Stale`]; [`Error::NoSpace`] only if even the metadata reserve is used up.
pub fn unlink<T: Transaction>(cx: &mut Cx<'_, T>, dir: u64, name: &[u8]) -> Result<Removed> {
    let mut at = Removed::BLANK;
    let entry = load(cx.io, dir, name, &mut at)?;
    if at.inode.is_dir() {
        return Err(Error::IsDirectory);
    }
    take_away(cx, &mut at, &entry)?;
    Ok(at)
}

/// Removes the empty directory `name` from directory `dir`.
///
/// Errors, clean: [`Error::NotFound`], [`Error::NotDirectory`] (of `dir` or of what `name` names), [`Error::NotEmpty`],
/// [`Error::NameTooLong`], [`Error::Range`], [`Error::Stale`]; [`Error::NoSpace`] as [`unlink`].
pub fn rmdir<T: Transaction>(cx: &mut Cx<'_, T>, dir: u64, name: &[u8]) -> Result<Removed> {
    let mut at = Removed::BLANK;
    let entry = load(cx.io, dir, name, &mut at)?;
    check_removable(cx.io, &at.inode)?;
    take_away(cx, &mut at, &entry)?;
    Ok(at)
}

/// Loads the directory and what `name` names in it.
fn load<R: ReadBlocks>(io: &R, dir: u64, name: &[u8], at: &mut Removed) -> Result<Entry> {
    dir::load_into(io, dir, &mut at.dir)?;
    let entry = dir::lookup(io, &at.dir, name)?.ok_or(Error::NotFound)?;
    load_entry(io, &entry, &mut at.inode)?;
    Ok(entry)
}

/// Whether a directory can be removed.
///
/// Errors, clean: [`Error::NotDirectory`], [`Error::NotEmpty`].
pub(super) fn check_removable<R: ReadBlocks>(io: &R, inode: &Inode) -> Result<()> {
    if !inode.is_dir() {
        return Err(Error::NotDirectory);
    }
    if !dir::is_empty(io, inode)? {
        return Err(Error::NotEmpty);
    }
    if inode.links != 2 {
        return Err(Error::corrupt(
            inode::home_block(io, inode.ino),
            "an empty directory counts subdirectories",
        ));
    }
    Ok(())
}

fn take_away<T: Transaction>(cx: &mut Cx<'_, T>, at: &mut Removed, entry: &Entry) -> Result<()> {
    space::require_reserve(cx, orphan::new_blocks(cx.io)?)?;
    dir::remove(cx, &mut at.dir, entry.cookie)?;
    lose_name(cx, &mut at.dir, &mut at.inode, entry.cookie)?;
    inode::touch_contents(&mut at.dir, cx.now);
    inode::store(cx, &at.inode)?;
    inode::store(cx, &at.dir)
}

/// The entry of `dir` at `cookie` names `inode` no longer: parent pointer, links, orphan, records. The caller has changed the entry,
/// has seen to it that there is space for an orphan, and stores both inodes.
pub(super) fn lose_name<T: Transaction>(
    cx: &mut Cx<'_, T>,
    dir: &mut Inode,
    inode: &mut Inode,
    cookie: u64,
) -> Result<()> {
    parents::remove(cx, inode, dir.ino, cookie).map_err(Error::late)?;
    if inode.is_dir() {
        inode::drop_link(cx.io, dir)?;
        inode.links = 0;
    } else {
        inode::drop_link(cx.io, inode)?;
    }
    inode::touch(inode, cx.now);
    if inode.links == 0 {
        orphan::add(cx, inode.ino).map_err(Error::late)?;
        orphan::kill_records(cx, inode)?;
    }
    Ok(())
}

/// Blocks that removing a name of `inode` from `dir` by [`unlink`] or [`rmdir`] may change.
pub fn remove_credits<R: ReadBlocks>(io: &R, dir: &Inode, inode: &Inode) -> Result<u32> {
    Ok(tree::credits(dir, Which::Data)
        .saturating_add(lose_credits(io, inode)?)
        .saturating_add(STORE_CREDITS.saturating_mul(2)))
}

/// Blocks that [`lose_name`] may change, without those of the directory.
pub(super) fn lose_credits<R: ReadBlocks>(io: &R, inode: &Inode) -> Result<u32> {
    Ok(tree::credits(inode, Which::Attr)
        .saturating_add(orphan::table_credits(io)?)
        .saturating_add(orphan::kill_credits(io, inode)?))
}
