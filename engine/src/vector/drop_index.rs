// SPDX-License-Identifier: GPL-2.0-only
//! Freeing what a dropped index leaves, in bounded steps: the map entries of its records, its segments, at last itself.
//!
//! Slots are not erased one by one: their segment is freed as a whole. So while an index is dropped, slots in use may have no map
//! entry any more (but every map entry has its slot), which is also what makes a step after a crash harmless.

use super::index::{self, table_block};
use super::record::{freed_segment_credits, leave, look_up};
use super::segment::{self, Segment, SlotReader};
use super::{map, table, STORE_SYSTEM_CREDITS};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use layout::inode::Slot;
use layout::segment::SlotHeader;
use layout::vector::{index_key, record_key, Index, SlotAddr};

/// Slots that one step may look at for each record that it may remove.
const LOOKS_PER_RECORD: u32 = 16;

/// How far dropping an index got. Losing it (in a crash) only costs looking at some slots again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropPos {
    segment: u32,
    slot: u32,
}

/// Blocks that one [`drop_step`] may change for `max` records.
pub fn drop_credits<R: ReadBlocks>(io: &R, max: u32) -> Result<u32> {
    let each = tree::credits(&map(io)?, Which::Data).saturating_add(STORE_CREDITS);
    Ok(each
        .saturating_mul(max)
        .saturating_add(freed_segment_credits(io)?)
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Goes on dropping index `id`, which [`super::drop_begin`] was called for: removes up to `max` records, or frees one segment,
/// or the index itself. Returns whether that was the last. Begin with the default position, after a crash too.
///
/// Changes `vectors` of the records' inodes on disk; no transaction may hold copies of inodes across this.
///
/// Errors: clean [`Error::NotFound`], [`Error::Range`] if the index is in use; the dirty ones. Needs no space.
pub fn drop_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    id: u32,
    pos: &mut DropPos,
    max: u32,
) -> Result<bool> {
    let mut index = index::load_any(cx.io, id)?.ok_or(Error::NotFound)?;
    if !index.dropping {
        return Err(Error::Range("index is in use"));
    }
    let Some(s) = segment::next(cx.io, &table(cx.io)?, &index, 0)? else {
        return last_step(cx, &index).map_err(Error::late).map(|()| true);
    };
    if pos.segment != s.number {
        *pos = DropPos {
            segment: s.number,
            slot: 0,
        };
    }
    let more = remove_records(cx, &mut index, &s, pos, max).map_err(Error::late)?;
    let mut table = table(cx.io)?;
    if !more {
        segment::free(cx, &mut table, &mut index, &s).map_err(Error::late)?;
    }
    index::write(cx, &mut table, &index).map_err(Error::late)?;
    inode::store(cx, &table).map_err(Error::late)?;
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

/// Removes up to `max` records of a segment from the map. Returns whether there may be more.
fn remove_records<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    s: &Segment,
    pos: &mut DropPos,
    max: u32,
) -> Result<bool> {
    let io = cx.io;
    let (bits, h) = s.header(io)?;
    let mut reader = SlotReader::new(io, s);
    let mut left = max;
    let mut looks = max.saturating_mul(LOOKS_PER_RECORD);
    while let Some(slot) = segment::next_slot(&bits, pos.slot, h.slots, true) {
        if left == 0 || looks == 0 {
            return Ok(true);
        }
        looks = looks.saturating_sub(1);
        let header = reader.header(slot)?;
        let key = record_key(header.ino, index.id, header.label);
        let here = SlotAddr {
            segment: s.number,
            slot,
        };
        // Another transaction may have got here before a crash, or the record's inode ended meanwhile.
        if look_up(io, &map(io)?, &key)? == Some(here) {
            leave(cx, &key)?;
            uncount(cx, &header)?;
            index.records = index.records.checked_sub(1).ok_or(Error::corrupt(
                s.at.start,
                "index counts fewer records than it has",
            ))?;
            left = left.saturating_sub(1);
        }
        pos.slot = slot.saturating_add(1);
    }
    Ok(false)
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
        crate::extent::home_block(cx.io, &owner),
        "inode counts fewer vector records than it has",
    ))?;
    inode::store(cx, &owner)
}
