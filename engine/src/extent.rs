// SPDX-License-Identifier: GPL-2.0-only
//! Where file data lies: mapping of logical blocks, iteration over extents, data and holes. It may change nothing; that is
//! the business of [`crate::extent_write`] (allocation, conversion, inline data) and [`crate::extent_free`] (truncation, punching
//! holes), which are re-exported here.
//!
//! What holds of every extent tree: extents do not overlap, none is empty, each lies in the data area of one group. Neighbours that
//! could be one extent usually are, but nothing depends on it.

use crate::error::{Error, Result};
use crate::inode::home_block;
use crate::io::ReadBlocks;
use crate::tree::{self, Which};
use layout::btree::{Key, TreeKind};
use layout::extent::Extent;
use layout::inode::{ForkFormat, Inode};
use layout::BLOCK_SIZE;

pub use crate::extent_free::{punch_credits, punch_step, truncate_credits, truncate_step};
pub use crate::extent_write::{
    allocate, allocate_credits, check_room_to_convert, convert, convert_credits, mark_unwritten,
    resize_inline, set_inline, uninline, uninline_credits,
};

/// What a logical block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// It lies in this extent (the whole extent is given, not only its part from the block on).
    Extent(Extent),
    /// It is in a hole.
    Hole {
        /// Blocks from the one asked for to the next extent, `u64::MAX` if there is none.
        len: u64,
    },
    /// The data is in the inode.
    Inline,
}

/// Whether the data fork of `inode` may hold extents.
pub(crate) fn check_kind(inode: &Inode) -> Result<()> {
    match inode.data_tree() {
        Some(TreeKind::Extent) => Ok(()),
        _ => Err(Error::Internal(
            "extents asked of an inode without file data",
        )),
    }
}

/// Reads an entry. Checked beyond [`Extent::parse`]: that the blocks are data blocks of one group.
pub(crate) fn parse<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    key: &Key,
    value: &[u8],
) -> Result<Extent> {
    let e = Extent::parse(key.a(), value)
        .map_err(|x| Error::corrupt(home_block(io, inode.ino), x.0))?;
    if !io.sb().geometry.is_data(e.start, u64::from(e.len)) {
        return Err(Error::corrupt(
            e.start,
            "extent of a file lies outside the data area of a group",
        ));
    }
    Ok(e)
}

/// The extent with the largest first block up to `logical`.
pub(crate) fn at_or_before<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    logical: u64,
) -> Result<Option<Extent>> {
    tree::at_or_before(io, inode, Which::Data, &Key::one(logical), |k, v| {
        parse(io, inode, k, v)
    })
}

/// The extent with the smallest first block from `logical` on.
pub(crate) fn at_or_after<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    logical: u64,
) -> Result<Option<Extent>> {
    let mut found = None;
    tree::walk(io, inode, Which::Data, &Key::one(logical), |k, v| {
        found = Some(parse(io, inode, k, v)?);
        Ok(false)
    })?;
    Ok(found)
}

/// The first extent that has blocks in `from..to`.
pub(crate) fn first_in<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    from: u64,
    to: u64,
) -> Result<Option<Extent>> {
    if from >= to {
        return Ok(None);
    }
    if let Some(e) = at_or_before(io, inode, from)? {
        if e.logical_end() > from {
            return Ok(Some(e));
        }
    }
    Ok(at_or_after(io, inode, from)?.filter(|e| e.logical < to))
}

/// Whether `b` continues `a` in the file and on disk, in the same state, so that one extent can stand for both. It stays within one
/// group then: every group begins with its own metadata, so data blocks of two groups never touch.
pub(crate) fn joins(a: &Extent, b: &Extent) -> bool {
    a.logical_end() == b.logical
        && a.start.saturating_add(u64::from(a.len)) == b.start
        && a.unwritten == b.unwritten
        && a.len.checked_add(b.len).is_some()
}

/// What logical block `logical` of a file is.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn map<R: ReadBlocks>(io: &R, inode: &Inode, logical: u64) -> Result<Mapping> {
    check_kind(inode)?;
    if inode.data.format == ForkFormat::Inline {
        return Ok(Mapping::Inline);
    }
    if let Some(e) = at_or_before(io, inode, logical)? {
        if e.logical_end() > logical {
            return Ok(Mapping::Extent(e));
        }
    }
    let next = at_or_after(io, inode, logical)?;
    Ok(Mapping::Hole {
        len: next.map_or(u64::MAX, |e| e.logical.saturating_sub(logical)),
    })
}

/// Whether the file has blocks that lie wholly beyond byte `size`.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn reaches_beyond<R: ReadBlocks>(io: &R, inode: &Inode, size: u64) -> Result<bool> {
    check_kind(inode)?;
    if inode.data.format == ForkFormat::Inline {
        return Ok(false);
    }
    let keep = size.div_ceil(BLOCK_SIZE as u64);
    Ok(at_or_before(io, inode, u64::MAX)?.is_some_and(|last| last.logical_end() > keep))
}

/// Gives the extents that have blocks from `from` on, in order, to `f`, until it returns `Ok(false)`. Nothing for inline data.
pub fn for_each<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    from: u64,
    mut f: impl FnMut(&Extent) -> Result<bool>,
) -> Result<()> {
    check_kind(inode)?;
    let first = at_or_before(io, inode, from)?.filter(|e| e.logical_end() > from);
    let start = first.map_or(from, |e| e.logical);
    let mut last = 0u64;
    tree::walk(io, inode, Which::Data, &Key::one(start), |k, v| {
        let e = parse(io, inode, k, v)?;
        if e.logical < last {
            return Err(Error::corrupt(
                home_block(io, inode.ino),
                "extents of a file overlap",
            ));
        }
        last = e.logical_end();
        f(&e)
    })
}

/// The first block from `from` on that holds written data (SEEK_DATA as far as the disk knows: dirty page cache over holes and
/// unwritten extents is the caller's). Inline data is block 0.
pub fn seek_data<R: ReadBlocks>(io: &R, inode: &Inode, from: u64) -> Result<Option<u64>> {
    if let Some(data) = inode.data.inline() {
        return Ok((from == 0 && !data.is_empty()).then_some(0));
    }
    let mut found = None;
    for_each(io, inode, from, |e| {
        if e.unwritten {
            return Ok(true);
        }
        found = Some(e.logical.max(from));
        Ok(false)
    })?;
    Ok(found)
}

/// The first block from `from` on that holds no written data.
pub fn seek_hole<R: ReadBlocks>(io: &R, inode: &Inode, from: u64) -> Result<u64> {
    if let Some(data) = inode.data.inline() {
        return Ok(if from == 0 && !data.is_empty() {
            1
        } else {
            from
        });
    }
    let mut at = from;
    for_each(io, inode, from, |e| {
        if e.unwritten || e.logical > at {
            return Ok(false);
        }
        at = e.logical_end();
        Ok(true)
    })?;
    Ok(at)
}
