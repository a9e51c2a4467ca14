// SPDX-License-Identifier: GPL-2.0-only
//! Giving blocks to files: allocation of unwritten extents, conversion between unwritten and written, and the way of
//! data out of the inode. It may not free blocks.
//!
//! # Why conversion finds its tree nodes on a full disk
//! Conversion runs when data has reached the disk; failing it would lose what write(2) took long ago. Splitting an extent may
//! need tree nodes, and those come from [`crate::space::Space::meta_reserve`], which allocation of data, privileged or not, and every
//! operation that creates things leave alone; only conversion, truncation and punching take from it, and the latter two
//! give back more than they take. What sequential writing into an extent needs is nothing at all: the written part grows
//! by taking from the unwritten part, and the number of extents stays the same. Only writes scattered over preallocated
//! space use nodes up, one for every 36 splits at worst (a leaf block holds 144 extents, half full 72, and one split makes two).
//! [`check_room_to_convert`] lets a write(2) into preallocated space fail with ENOSPC while half of the reserve is left
//! for what is already in flight.

use crate::budget;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::extent::{at_or_after, at_or_before, check_kind, first_in, joins, map, Mapping};
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
use crate::tree::{self, Which};
use layout::btree::Key;
use layout::extent::{Extent, MAX_LOGICAL};
use layout::geometry::GROUP_BLOCKS;
use layout::inode::{Fork, ForkFormat, Inode, INLINE_MAX};

/// Extents whose state one call of [`convert`] or [`mark_unwritten`] changes at most.
const CONVERT_EXTENTS: u32 = 2;
/// Extents that one call of them looks at.
const CONVERT_LOOKS: u32 = 16;

/// Blocks that [`allocate`] may change, the inode itself excluded: the allocation, and a removal and an insertion to merge.
pub fn allocate_credits(inode: &Inode) -> u32 {
    budget::credits(inode, Which::Data, 2).saturating_add(ALLOC_CREDITS)
}

/// Blocks that one call of [`convert`] or [`mark_unwritten`] may change, the inode itself excluded: an extent in the
/// middle costs one replace in place and two insertions, one that merges two removals or a removal and an insertion.
pub fn convert_credits(inode: &Inode) -> u32 {
    budget::credits(inode, Which::Data, CONVERT_EXTENTS.saturating_mul(2))
        .saturating_add(CONVERT_EXTENTS)
}

/// Blocks that [`uninline`] may change, the inode itself excluded.
pub fn uninline_credits() -> u32 {
    ALLOC_CREDITS
}

/// Where block `logical` would best lie on disk: where it would if the extent before it, or the one after it, reached that
/// far, else in the inode's group.
fn goal<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    logical: u64,
    prev: Option<Extent>,
    next: Option<Extent>,
) -> u64 {
    let geo = &io.sb().geometry;
    if let Some(p) = prev {
        let end = p.start.saturating_add(u64::from(p.len));
        let gap = logical.saturating_sub(p.logical_end());
        // Room for the hole, so that filling it later keeps the file contiguous; but not in another group for its sake.
        let spaced = end.saturating_add(gap);
        if geo.is_data(spaced, 1) && geo.group_of(spaced) == geo.group_of(p.start) {
            return spaced;
        }
        return end;
    }
    if let Some(n) = next {
        let spaced = n.start.saturating_sub(n.logical.saturating_sub(logical));
        if geo.is_data(spaced, 1) && geo.group_of(spaced) == geo.group_of(n.start) {
            return spaced;
        }
        return n.start;
    }
    geo.inode_place(inode.ino)
        .map_or(0, |p| geo.data_start(p.group))
}

/// Makes sure that logical block `logical` has a place on disk, and as many of the `len - 1` blocks after it as one contiguous
/// run gives and as lie in the same hole. New blocks are unwritten. Returns the extent that holds `logical`, which may be larger
/// than what was asked for, or written, if it was there before.
///
/// Errors: clean [`Error::NoSpace`], [`Error::TooLarge`] beyond the largest file, [`Error::Range`] for inline data
/// ([`uninline`] first) or `len` 0; the dirty ones. The caller stores the inode.
pub fn allocate<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    logical: u64,
    len: u64,
) -> Result<Extent> {
    let io = cx.io;
    let hole = match map(io, inode, logical)? {
        Mapping::Extent(e) => return Ok(e),
        Mapping::Inline => return Err(Error::Range("file data lies in its inode")),
        Mapping::Hole { len } => len,
    };
    let below_limit = MAX_LOGICAL.saturating_sub(logical);
    if below_limit == 0 {
        return Err(Error::TooLarge);
    }
    if len == 0 {
        return Err(Error::Range("allocation of no blocks"));
    }
    let prev = match logical.checked_sub(1) {
        Some(l) => at_or_before(io, inode, l)?,
        None => None,
    };
    let next = at_or_after(io, inode, logical)?;
    let meta = budget::new_blocks(inode, Which::Data, 2);
    let room = space::available_for_data(cx).saturating_sub(meta);
    if room == 0 {
        return Err(Error::NoSpace);
    }
    let want = len.min(hole).min(below_limit).min(GROUP_BLOCKS).min(room);
    let near = goal(io, inode, logical, prev, next);
    let want = u32::try_from(want).unwrap_or(u32::MAX);
    let (start, got) = space::alloc(cx, near, 1, want)?;
    let new = Extent {
        logical,
        start,
        len: got,
        unwritten: true,
    };
    inode.blocks = inode.blocks.saturating_add(u64::from(got));
    attach(cx, inode, new, prev, next).map_err(Error::late)
}

fn replace<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, e: &Extent) -> Result<()> {
    tree::replace(cx, inode, Which::Data, &Key::one(e.logical), &e.to_bytes())
}

fn insert<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, e: &Extent) -> Result<()> {
    tree::insert(cx, inode, Which::Data, &Key::one(e.logical), &e.to_bytes())
}

fn remove<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, e: &Extent) -> Result<()> {
    tree::remove(cx, inode, Which::Data, &Key::one(e.logical))
}

/// Puts a new extent between its neighbours, merged with those that it continues.
fn attach<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    new: Extent,
    prev: Option<Extent>,
    next: Option<Extent>,
) -> Result<Extent> {
    let mut e = new;
    if let Some(n) = next.filter(|n| joins(&e, n)) {
        remove(cx, inode, &n)?;
        e.len = e.len.saturating_add(n.len);
    }
    if let Some(p) = prev.filter(|p| joins(p, &e)) {
        e = Extent {
            len: p.len.saturating_add(e.len),
            ..p
        };
        replace(cx, inode, &e)?;
    } else {
        insert(cx, inode, &e)?;
    }
    Ok(e)
}

/// Marks the blocks `logical..logical + len` as written, where they are allocated; holes in the range stay. Does a bounded part and
/// returns the block up to which it got: call again from there, in a transaction of its own, until that is the end.
///
/// Errors: clean [`Error::NoSpace`] only if the metadata reserve is used up (see the module's documentation); the dirty
/// ones. The caller stores the inode.
pub fn convert<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    logical: u64,
    len: u64,
) -> Result<u64> {
    set_state(cx, inode, logical, len, false)
}

/// The reverse of [`convert`], for FALLOC_FL_ZERO_RANGE: the blocks stay allocated and read as zeros.
pub fn mark_unwritten<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    logical: u64,
    len: u64,
) -> Result<u64> {
    set_state(cx, inode, logical, len, true)
}

fn set_state<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    logical: u64,
    len: u64,
    unwritten: bool,
) -> Result<u64> {
    check_kind(inode)?;
    let end = logical.saturating_add(len);
    let mut at = logical;
    let mut changed = 0u32;
    for _ in 0..CONVERT_LOOKS {
        let Some(e) = first_in(cx.io, inode, at, end)? else {
            return Ok(end);
        };
        if e.unwritten != unwritten {
            if changed == CONVERT_EXTENTS {
                break;
            }
            let need = budget::new_blocks(inode, Which::Data, 2);
            match space::require_reserve(cx, need) {
                Err(no) if changed == 0 => return Err(no),
                Err(_) => break,
                Ok(()) => {}
            }
            change(cx, inode, e, at, end, unwritten).map_err(Error::late)?;
            changed = changed.saturating_add(1);
        }
        at = e.logical_end().min(end);
        if at == end {
            break;
        }
    }
    Ok(at)
}

/// Gives the part of `e` in `from..to` another state and merges it with neighbours that are in that state already.
fn change<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    e: Extent,
    from: u64,
    to: u64,
    unwritten: bool,
) -> Result<()> {
    let a = e.logical.max(from);
    let b = e.logical_end().min(to);
    let head = u32::try_from(a.saturating_sub(e.logical)).unwrap_or(u32::MAX);
    let tail = u32::try_from(e.logical_end().saturating_sub(b)).unwrap_or(u32::MAX);
    let len = e
        .len
        .checked_sub(head)
        .and_then(|l| l.checked_sub(tail))
        .filter(|l| *l != 0)
        .ok_or(Error::Internal("conversion of an extent outside the range"))?;
    let mut mid = Extent {
        logical: a,
        start: e.start.saturating_add(u64::from(head)),
        len,
        unwritten,
    };
    if tail == 0 {
        let next = at_or_after(cx.io, inode, e.logical_end())?;
        if let Some(n) = next.filter(|n| joins(&mid, n)) {
            remove(cx, inode, &n)?;
            mid.len = mid.len.saturating_add(n.len);
        }
    }
    if head != 0 {
        replace(cx, inode, &Extent { len: head, ..e })?;
        insert(cx, inode, &mid)?;
    } else {
        let prev = match e.logical.checked_sub(1) {
            Some(l) => at_or_before(cx.io, inode, l)?,
            None => None,
        };
        if let Some(p) = prev.filter(|p| joins(p, &mid)) {
            remove(cx, inode, &e)?;
            let len = p.len.saturating_add(mid.len);
            replace(cx, inode, &Extent { len, ..p })?;
        } else {
            replace(cx, inode, &mid)?;
        }
    }
    if tail != 0 {
        let rest = Extent {
            logical: b,
            start: mid.start.saturating_add(u64::from(mid.len)),
            len: tail,
            unwritten: e.unwritten,
        };
        insert(cx, inode, &rest)?;
    }
    Ok(())
}

/// Whether a write into allocated but unwritten blocks may be promised: clean [`Error::NoSpace`] if so little is left that the
/// conversions already on their way should have it.
pub fn check_room_to_convert<T: Transaction>(cx: &Cx<'_, T>) -> Result<()> {
    space::require_reserve(cx, cx.space.meta_reserve / 2)
}

/// Puts `data` into the inode, as all that the file holds, and sets its size. Memory only; the caller stores the inode.
///
/// Errors: clean [`Error::TooLarge`] above [`INLINE_MAX`] bytes, [`Error::Range`] if the file has blocks.
pub fn set_inline(inode: &mut Inode, data: &[u8]) -> Result<()> {
    check_kind(inode)?;
    match inode.data.format {
        ForkFormat::Empty | ForkFormat::Inline => {}
        ForkFormat::Leaf | ForkFormat::Tree => return Err(Error::Range("the file has blocks")),
    }
    if data.is_empty() {
        inode.data = Fork::EMPTY;
    } else {
        inode.data.set_inline(data).ok_or(Error::TooLarge)?;
    }
    inode.size = data.len() as u64;
    Ok(())
}

/// Cuts inline data to `size` bytes, or fills it up with zeros to that size. Memory only; the caller stores the inode.
///
/// Errors: clean [`Error::TooLarge`] above [`INLINE_MAX`] ([`uninline`] first), [`Error::Range`] if the data is not inline.
pub fn resize_inline(inode: &mut Inode, size: u64) -> Result<()> {
    check_kind(inode)?;
    let size = usize::try_from(size).map_err(|_| Error::TooLarge)?;
    if size > INLINE_MAX {
        return Err(Error::TooLarge);
    }
    let old = inode
        .data
        .inline()
        .ok_or(Error::Range("file data does not lie in its inode"))?;
    let mut new = [0u8; INLINE_MAX];
    let keep = old.get(..size).unwrap_or(old);
    layout::bytes::put(&mut new, 0, keep).ok_or(Error::TooLarge)?;
    set_inline(inode, new.get(..size).ok_or(Error::TooLarge)?)
}

/// Moves inline data out of the inode: block 0 of the file gets a place on disk, returned, which counts as written. The caller
/// reads the bytes from [`Fork::inline`] before, and has them on disk there, followed by zeros, before the transaction
/// commits. `None`, and no block, if the inline data is empty. The size stays. The caller stores the inode.
///
/// Errors: clean [`Error::NoSpace`], [`Error::Range`] if the data is not inline; the dirty ones.
pub fn uninline<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode) -> Result<Option<u64>> {
    check_kind(inode)?;
    let data = inode
        .data
        .inline()
        .ok_or(Error::Range("file data does not lie in its inode"))?;
    if data.is_empty() {
        inode.data = Fork::EMPTY;
        return Ok(None);
    }
    let near = goal(cx.io, inode, 0, None, None);
    let (start, _) = space::alloc(cx, near, 1, 1)?;
    inode.data = Fork::EMPTY;
    inode.blocks = inode.blocks.saturating_add(1);
    let e = Extent {
        logical: 0,
        start,
        len: 1,
        unwritten: false,
    };
    // A first entry always fits the fork, so this takes no further block.
    insert(cx, inode, &e).map_err(Error::late)?;
    Ok(Some(start))
}
