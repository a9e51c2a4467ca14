// SPDX-License-Identifier: GPL-2.0-only
//! Orphans: inodes that somebody must finish. The tree of reserved inode [`ino::ORPHANS`] names them; an inode enters it in the
//! transaction that leaves work undone, and leaves it in the transaction that does the last of it. So the same steps serve eviction,
//! truncation, and recovery at mount.
//!
//! What finishing means follows from the inode alone. Without links: its vector records, data, attributes and at last the inode are
//! freed. With links: blocks beyond its size and vector records of earlier epochs are.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ialloc::INODE_CREDITS;
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use crate::vector::RecordPos;
use crate::{dir, extent, vector};
use layout::btree::Key;
use layout::inode::{FileType, ForkFormat, Inode};
use layout::vector::record_key;
use layout::{ino, BLOCK_SIZE};

/// Vector records removed in one step, and most that are removed at once when their file goes.
pub const STEP_RECORDS: u32 = 8;
/// Extents freed in one step.
pub const STEP_EXTENTS: u32 = 16;
/// Attribute entries removed in one step.
pub const STEP_ATTRIBUTES: u32 = 8;

/// Whether work is left after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call again, in another transaction.
    More,
    /// The inode is finished and no orphan any more.
    Done,
}

/// How far the work on one inode has come, from one step to the next. Losing it costs time only.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    /// Data beyond the size is freed.
    trimmed: bool,
    /// Dead records before this one are removed.
    records: RecordPos,
}

impl Default for Cursor {
    fn default() -> Self {
        Cursor {
            trimmed: false,
            records: RecordPos::START,
        }
    }
}

/// The first orphan with a number of at least `from`.
#[inline(never)]
pub fn first<R: ReadBlocks>(io: &R, from: u64) -> Result<Option<u64>> {
    let mut table = inode::BLANK;
    load_table(io, &mut table)?;
    let mut found = None;
    tree::walk(io, &table, Which::Data, &Key::one(from), |key, _| {
        found = Some(key.a());
        Ok(false)
    })?;
    Ok(found)
}

/// Whether `ino` is an orphan.
#[inline(never)]
pub fn contains<R: ReadBlocks>(io: &R, ino: u64) -> Result<bool> {
    let mut table = inode::BLANK;
    load_table(io, &mut table)?;
    let found = tree::get(io, &table, Which::Data, &Key::one(ino), |_| Ok(()))?;
    Ok(found.is_some())
}

fn load_table<R: ReadBlocks>(io: &R, table: &mut Inode) -> Result<()> {
    inode::load_named_into(io, ino::ORPHANS, table)
}

/// Makes `ino` an orphan; nothing happens if it is one.
#[inline(never)]
pub(crate) fn add<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64) -> Result<()> {
    let mut table = inode::BLANK;
    load_table(cx.io, &mut table)?;
    match tree::insert(cx, &mut table, Which::Data, &Key::one(ino), &[]) {
        Err(Error::Exists) => return Ok(()),
        other => other?,
    }
    table.size = table.size.saturating_add(1);
    inode::store(cx, &table)
}

/// Makes `ino` an orphan no longer. Clean [`Error::NotFound`].
#[inline(never)]
pub(crate) fn remove<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64) -> Result<()> {
    let mut table = inode::BLANK;
    load_table(cx.io, &mut table)?;
    tree::remove(cx, &mut table, Which::Data, &Key::one(ino))?;
    table.size = table.size.checked_sub(1).ok_or(Error::corrupt(
        inode::home_block(cx.io, ino::ORPHANS),
        "the orphan tree has more entries than its inode counts",
    ))?;
    inode::store(cx, &table)
}

/// Blocks that making `ino` an orphan, or none, may change.
#[inline(never)]
pub(crate) fn table_credits<R: ReadBlocks>(io: &R) -> Result<u32> {
    let mut table = inode::BLANK;
    load_table(io, &mut table)?;
    Ok(tree::credits(&table, Which::Data).saturating_add(STORE_CREDITS))
}

/// Blocks that making an inode an orphan may allocate.
#[inline(never)]
pub(crate) fn new_blocks<R: ReadBlocks>(io: &R) -> Result<u64> {
    let mut table = inode::BLANK;
    load_table(io, &mut table)?;
    Ok(tree::new_blocks(&table, Which::Data))
}

/// Blocks that one [`finish_step`] or [`trim_step`] on this inode may change. A step frees records, data or attributes, not
/// several of them.
pub fn finish_credits<R: ReadBlocks>(io: &R, inode: &Inode) -> Result<u32> {
    let heaviest = vector::reclaim_credits(io, STEP_RECORDS)?
        .max(extent::truncate_credits(inode, STEP_EXTENTS))
        .max(tree::credits(inode, Which::Attr).saturating_mul(STEP_ATTRIBUTES));
    Ok(heaviest
        .saturating_add(table_credits(io)?)
        .saturating_add(INODE_CREDITS)
        .saturating_add(STORE_CREDITS))
}

/// Does one bounded step of the work that is left with orphan `ino`, for eviction and recovery. The caller sees to it that nobody uses an
/// inode without links any more, and that nobody extends one with links until it is done.
///
/// Errors: clean [`Error::NotFound`] if it is no orphan.
pub fn finish_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    ino: u64,
    cursor: &mut Cursor,
) -> Result<Progress> {
    let mut inode = inode::BLANK;
    load_into(cx.io, ino, &mut inode)?;
    if inode.links == 0 {
        finish_unlinked(cx, &mut inode, cursor)
    } else {
        trim(cx, &mut inode, cursor)
    }
}

/// As [`finish_step`], but for a file in use, after [`crate::namei::set_size`] or [`crate::namei::cut_size`]: frees what lies beyond the size and dead records, and
/// never the inode. One without links stays an orphan when that is done.
pub fn trim_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    ino: u64,
    cursor: &mut Cursor,
) -> Result<Progress> {
    let mut inode = inode::BLANK;
    load_into(cx.io, ino, &mut inode)?;
    trim(cx, &mut inode, cursor)
}

fn load_into<R: ReadBlocks>(io: &R, ino: u64, to: &mut Inode) -> Result<()> {
    if !contains(io, ino)? {
        return Err(Error::NotFound);
    }
    inode::load_named_into(io, ino, to)
}

fn trim<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    cursor: &mut Cursor,
) -> Result<Progress> {
    if !cursor.trimmed {
        let keep = inode.size.div_ceil(BLOCK_SIZE as u64);
        cursor.trimmed = truncate(cx, inode, keep)?;
        inode::store(cx, inode)?;
        // Most files have no records: then this is the end.
        if !cursor.trimmed || has_records(cx.io, inode.ino)? {
            return Ok(Progress::More);
        }
    } else if !reclaim(cx, inode, cursor)? {
        return Ok(Progress::More);
    }
    if inode.links != 0 {
        remove(cx, inode.ino).map_err(Error::late)?;
    }
    Ok(Progress::Done)
}

fn finish_unlinked<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    cursor: &mut Cursor,
) -> Result<Progress> {
    // The tree is empty then, so there is nothing to free in it.
    if inode.is_dir() && !dir::is_empty(cx.io, inode)? {
        return Err(Error::corrupt(
            inode::home_block(cx.io, inode.ino),
            "a removed directory is not empty",
        ));
    }
    // Records put while it was open without a name carry the present epoch.
    if vector::kill(inode) {
        cursor.records = RecordPos::START;
    }
    if has_records(cx.io, inode.ino)? {
        if reclaim(cx, inode, cursor)? && has_records(cx.io, inode.ino)? {
            return Err(Error::Internal("dead vector records were not removed"));
        }
    } else if inode.data.format == ForkFormat::Tree {
        truncate(cx, inode, 0)?;
    } else if inode.attr.format == ForkFormat::Tree {
        drop_attributes(cx, inode)?;
    } else {
        // What extents the inode itself holds are few, and what attributes it holds need no work.
        if !truncate(cx, inode, 0)? || inode.blocks != 0 {
            return Err(Error::corrupt(
                inode::home_block(cx.io, inode.ino),
                "an inode counts more blocks than it has",
            ));
        }
        inode::free(cx, inode)?;
        remove(cx, inode.ino).map_err(Error::late)?;
        return Ok(Progress::Done);
    }
    inode::store(cx, inode)?;
    Ok(Progress::More)
}

/// Frees data blocks from logical block `keep` on; whether all are freed.
pub(crate) fn truncate<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    keep: u64,
) -> Result<bool> {
    let mapped = matches!(inode.data.format, ForkFormat::Leaf | ForkFormat::Tree);
    if inode.file_type() != FileType::Regular || !mapped {
        return Ok(true);
    }
    extent::truncate_step(cx, inode, keep, STEP_EXTENTS).map_err(Error::late)
}

/// Removes dead vector records; whether all are removed.
#[inline(never)]
fn reclaim<T: Transaction>(cx: &mut Cx<'_, T>, inode: &Inode, cursor: &mut Cursor) -> Result<bool> {
    let next =
        vector::reclaim_step(cx, inode, cursor.records, STEP_RECORDS).map_err(Error::late)?;
    cursor.records = next.unwrap_or(RecordPos::START);
    Ok(next.is_none())
}

/// Removes some entries of an attribute tree, from its beginning, of an inode without links.
fn drop_attributes<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode) -> Result<()> {
    for _ in 0..STEP_ATTRIBUTES {
        if inode.attr.format != ForkFormat::Tree {
            break;
        }
        let mut first = None;
        tree::walk(cx.io, inode, Which::Attr, &Key::MIN, |key, _| {
            first = Some(*key);
            Ok(false)
        })?;
        let key = first.ok_or(Error::corrupt(
            inode::home_block(cx.io, inode.ino),
            "a tree without entries has nodes",
        ))?;
        tree::remove(cx, inode, Which::Attr, &key).map_err(Error::late)?;
    }
    Ok(())
}

/// Whether the vector map has records of `ino`, dead or alive.
#[inline(never)]
fn has_records<R: ReadBlocks>(io: &R, ino: u64) -> Result<bool> {
    let mut map = inode::BLANK;
    inode::load_named_into(io, ino::VECTOR_MAP, &mut map)?;
    let mut found = false;
    tree::walk(io, &map, Which::Data, &record_key(ino, 0, 0), |key, _| {
        found = key.a() == ino;
        Ok(false)
    })?;
    Ok(found)
}

/// The inode lost its last link or its contents: its vector records die at once, and are removed at once if they are few. Returns
/// whether some are left to remove, for which the inode must be an orphan.
pub(crate) fn kill_records<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode) -> Result<bool> {
    let few = at_once(inode);
    if !vector::kill(inode) {
        return Ok(false);
    }
    Ok(!few || !reclaim(cx, inode, &mut Cursor::default())?)
}

fn at_once(inode: &Inode) -> bool {
    inode.vectors <= u64::from(STEP_RECORDS)
}

/// Blocks that [`kill_records`] may change, the inode itself not counted.
pub(crate) fn kill_credits<R: ReadBlocks>(io: &R, inode: &Inode) -> Result<u32> {
    if inode.vectors == 0 || !at_once(inode) {
        return Ok(0);
    }
    vector::reclaim_credits(io, STEP_RECORDS)
}
