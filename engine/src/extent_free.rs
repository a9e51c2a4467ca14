// SPDX-License-Identifier: GPL-2.0-only
//! Taking blocks from files, in bounded steps: truncation and punching holes. It may not zero parts of blocks nor change
//! sizes; that is the caller's.
//!
//! A step is a transaction. Whoever truncates puts the inode into the orphan tree, with its new size, before the first step, so
//! that a crash between two steps leaves nothing behind.

use crate::budget;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::extent::{at_or_before, check_kind, first_in};
use crate::io::Transaction;
use crate::space::{self, ALLOC_CREDITS};
use crate::tree::{self, Which};
use layout::btree::Key;
use layout::extent::Extent;
use layout::inode::{Fork, ForkFormat, Inode};

/// Blocks that [`truncate_step`] may change for `max_frees` extents, the inode itself excluded.
pub fn truncate_credits(inode: &Inode, max_frees: u32) -> u32 {
    tree::credits(inode, Which::Data)
        .saturating_add(ALLOC_CREDITS)
        .saturating_mul(max_frees)
}

/// Blocks that [`punch_step`] may change for `max_frees` extents, the inode itself excluded.
pub fn punch_credits(inode: &Inode, max_frees: u32) -> u32 {
    // Only the last extent can need an insertion besides its removal.
    truncate_credits(inode, max_frees).saturating_add(budget::credits(inode, Which::Data, 2))
}

/// Frees `len` data blocks of `inode` from `start`; a part of one extent, so of one group.
fn release<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    start: u64,
    len: u64,
) -> Result<()> {
    let n = u32::try_from(len).map_err(|_| Error::Internal("more blocks than an extent has"))?;
    space::free(cx, start, n)?;
    inode.blocks = inode.blocks.saturating_sub(len);
    Ok(())
}

fn replace<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, e: &Extent) -> Result<()> {
    tree::replace(cx, inode, Which::Data, &Key::one(e.logical), &e.to_bytes())
}

/// Shortens `e` to the part before `to`, which it must have, and returns what to free.
fn cut<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    e: Extent,
    to: u64,
) -> Result<(u64, u64)> {
    let keep = to.saturating_sub(e.logical);
    let len = u32::try_from(keep).map_err(|_| Error::Internal("an extent cut behind its end"))?;
    replace(cx, inode, &Extent { len, ..e })?;
    Ok((
        e.start.saturating_add(keep),
        u64::from(e.len).saturating_sub(keep),
    ))
}

/// Frees blocks from logical block `keep` on, from the end of the file backwards, at most `max_frees` extents. Returns whether
/// nothing beyond `keep` is left. Inline data goes if `keep` is 0 (the caller sets the size). The caller stores the inode.
///
/// Errors: the dirty ones. Needs no space.
pub fn truncate_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    keep: u64,
    max_frees: u32,
) -> Result<bool> {
    check_kind(inode)?;
    if inode.data.format == ForkFormat::Inline {
        if keep == 0 {
            inode.data = Fork::EMPTY;
        }
        return Ok(true);
    }
    let mut left = max_frees;
    loop {
        let last = at_or_before(cx.io, inode, u64::MAX)?;
        let Some(e) = last.filter(|e| e.logical_end() > keep) else {
            return Ok(true);
        };
        if left == 0 {
            return Ok(false);
        }
        left = left.saturating_sub(1);
        let (start, len) = if e.logical < keep {
            cut(cx, inode, e, keep).map_err(Error::late)?
        } else {
            tree::remove(cx, inode, Which::Data, &Key::one(e.logical)).map_err(Error::late)?;
            (e.start, u64::from(e.len))
        };
        release(cx, inode, start, len).map_err(Error::late)?;
    }
}

/// Frees the blocks `from..to`, at most `max_frees` extents. Returns whether nothing is left there. The caller stores the inode.
///
/// Errors: clean [`Error::NoSpace`] if an extent must be split and even the metadata reserve is used up, [`Error::Range`] for
/// inline data; the dirty ones.
pub fn punch_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    from: u64,
    to: u64,
    max_frees: u32,
) -> Result<bool> {
    check_kind(inode)?;
    if inode.data.format == ForkFormat::Inline {
        return Err(Error::Range("file data lies in its inode"));
    }
    let mut done = 0u32;
    loop {
        let Some(e) = first_in(cx.io, inode, from, to)? else {
            return Ok(true);
        };
        if done == max_frees {
            return Ok(false);
        }
        if e.logical_end() > to {
            // The part behind the hole becomes an extent of its own.
            match space::require_reserve(cx, budget::new_blocks(inode, Which::Data, 1)) {
                Err(no) if done == 0 => return Err(no),
                Err(_) => return Ok(false),
                Ok(()) => {}
            }
        }
        punch(cx, inode, e, from, to).map_err(Error::late)?;
        done = done.saturating_add(1);
    }
}

/// Takes the part of `e` in `from..to` out of the file.
fn punch<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    e: Extent,
    from: u64,
    to: u64,
) -> Result<()> {
    let (start, mut len) = if e.logical < from {
        cut(cx, inode, e, from)?
    } else {
        tree::remove(cx, inode, Which::Data, &Key::one(e.logical))?;
        (e.start, u64::from(e.len))
    };
    let behind = e.logical_end().saturating_sub(to);
    if behind != 0 {
        len = len.saturating_sub(behind);
        let rest = Extent {
            logical: to,
            start: start.saturating_add(len),
            len: u32::try_from(behind)
                .map_err(|_| Error::Internal("more blocks than an extent has"))?,
            unwritten: e.unwritten,
        };
        let key = Key::one(rest.logical);
        tree::insert(cx, inode, Which::Data, &key, &rest.to_bytes())?;
    }
    release(cx, inode, start, len)
}
