// SPDX-License-Identifier: GPL-2.0-only
//! Freeing what a dropped index leaves, in bounded steps: its graph, its search tree, its records, with their slots erased and their segments freed one after the other, at last
//! itself. A step leaves nothing behind that the next one would have to know of, so a crash between two costs nothing.

use super::graph;
use super::index::{self, table_block};
use super::record::{
    freed_segment_credits, look_up, remove, remove_credits, MAX_LOCATION_BLOCKS, MAX_SLOT_BLOCKS,
};
use super::segment::{self, Segment, SlotReader};
use super::tree::clear;
use super::{map, table, STORE_SYSTEM_CREDITS};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use layout::inode::Slot;
use layout::segment::SlotHeader;
use layout::vector::{index_key, record_key, Index, SlotAddr};

/// Blocks that one [`drop_step`] may change for `max` records.
pub fn drop_credits<R: ReadBlocks>(io: &R, max: u32) -> Result<u32> {
    let each = remove_credits(io, MAX_SLOT_BLOCKS)?.saturating_add(STORE_CREDITS);
    Ok(each
        .saturating_mul(max)
        .saturating_add(freed_segment_credits(io, MAX_LOCATION_BLOCKS)?)
        .max(clear::STEP_CREDITS)
        .max(graph::clear_credits(io)?)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Goes on dropping index `id`, which [`super::drop_begin`] was called for: frees a part of its graph or one partition of its search tree, or removes up to `max` records and at most
/// one segment, or the index itself. Returns whether that was the last; after a crash too.
///
/// Changes `vectors` of the records' inodes on disk; no transaction may hold copies of inodes across this.
///
/// Errors: clean [`Error::NotFound`], [`Error::Range`] if the index is in use; the dirty ones. Needs no space.
pub fn drop_step<T: Transaction>(cx: &mut Cx<'_, T>, id: u32, max: u32) -> Result<bool> {
    let mut index = index::load_any(cx.io, id)?.ok_or(Error::NotFound)?;
    if !index.dropping {
        return Err(Error::Range("index is in use"));
    }
    if index.graph != 0 {
        graph::clear_step(cx, &mut index)?;
        return Ok(false);
    }
    if index.tree.root != 0 {
        clear::step(cx, &mut index).map_err(Error::late)?;
        return Ok(false);
    }
    let Some(s) = segment::next(cx.io, &table(cx.io)?, &index, 0)? else {
        return last_step(cx, &index).map_err(Error::late).map(|()| true);
    };
    for _ in 0..max {
        if remove_first(cx, &mut index, s.number).map_err(Error::late)? {
            break;
        }
    }
    Ok(false)
}

/// Removes the index itself.
fn last_step<T: Transaction>(cx: &mut Cx<'_, T>, index: &Index) -> Result<()> {
    let mut table = table(cx.io)?;
    if index.records != 0 || index.segments != 0 || index.free_slots != 0 {
        return Err(Error::corrupt(
            table_block(cx.io, &table),
            "index counts records or segments and has none",
        ));
    }
    tree::remove(cx, &mut table, Which::Data, &index_key(index.id))?;
    inode::store(cx, &table)
}

/// Removes the first record of segment `number`. Returns whether that was its last, and the segment is freed.
fn remove_first<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    number: u32,
) -> Result<bool> {
    let io = cx.io;
    let table = table(io)?;
    let s = segment::load(io, &table, index, number)?.ok_or(Error::corrupt(
        table_block(io, &table),
        "a segment is gone that has records",
    ))?;
    let (slot, header) = first_slot(io, &s)?;
    let key = record_key(header.ino, index.id, header.label);
    let here = SlotAddr {
        segment: number,
        slot,
    };
    if look_up(io, &map(io)?, &key)? != Some(here) {
        // Its map entry may be gone before the slot: the format allows that of an index that is being dropped.
        return release(cx, index, here);
    }
    uncount(cx, &header)?;
    remove(cx, index, &key, here)
}

/// Erases a slot that has no map entry.
fn release<T: Transaction>(cx: &mut Cx<'_, T>, index: &mut Index, addr: SlotAddr) -> Result<bool> {
    let mut table = table(cx.io)?;
    let freed = segment::release_slot(cx, &mut table, index, addr)?;
    index::write(cx, &mut table, index)?;
    inode::store(cx, &table)?;
    Ok(freed)
}

/// The first slot of a segment that is in use, and its header.
fn first_slot<R: ReadBlocks>(io: &R, s: &Segment) -> Result<(u32, SlotHeader)> {
    let (bits, h) = s.header(io)?;
    let slot = segment::next_slot(&bits, 0, h.slots, true)
        .ok_or(Error::corrupt(s.at.start, "segment without records"))?;
    let header = SlotReader::new(io, s).header(slot)?;
    Ok((slot, header))
}

/// Takes a record off its inode's count, if it was live.
fn uncount<T: Transaction>(cx: &mut Cx<'_, T>, header: &SlotHeader) -> Result<()> {
    let Slot::Used(mut owner) = inode::load_slot(cx.io, header.ino)? else {
        return Ok(());
    };
    if owner.generation != header.generation || owner.vector_epoch != header.epoch {
        return Ok(());
    }
    owner.vectors = owner.vectors.checked_sub(1).ok_or(Error::corrupt(
        inode::home_block(cx.io, owner.ino),
        "inode counts fewer vector records than it has",
    ))?;
    inode::store(cx, &owner)
}
