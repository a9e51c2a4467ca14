// SPDX-License-Identifier: GPL-2.0-only
//! Rebuilding a search tree beside searches and puts: entering records that have no entry, and taking a tree down so that all of its records have none. Both in bounded
//! steps, each a transaction after which the index is right: whoever must see all records asks [`super::is_complete`], and compares all of them until it says yes.
//! It may not touch a record.

use super::edit::{self, Edit};
use super::entry;
use super::memory::Builder;
use super::node::Node;
use super::split::write_index;
use super::{is_complete, members, shape};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space::ALLOC_CREDITS;
use crate::vector::index;
use crate::vector::location::{self, LOCATION_CREDITS};
use crate::vector::segment::{self, Segment, SlotReader};
use crate::vector::{table, STORE_SYSTEM_CREDITS};
use core::mem::take;
use layout::partition::{child_reference, clear_entry, record_reference, Shape, MAX_HEIGHT};
use layout::segment::BLOCK_LOCATIONS;
use layout::vector::{Index, Tree};

/// Records that one [`complete_step`] enters.
const ENTER: u32 = 8;
/// Slots in use that it looks at: those of some blocks of locations.
const LOOK_AT: u32 = BLOCK_LOCATIONS * 8;
/// Entries that one [`take_down_step`] removes.
const REMOVE: u32 = 64;

/// How far a search for records without an entry got. Begin with the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    segment: u32,
    slot: u32,
    /// All segments were seen, or every record has its entry.
    pub done: bool,
}

impl Completion {
    /// As a word, for those who go on later; not once it is done.
    pub fn to_word(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.slot)
    }

    /// From a word, which may be anybody's: a place that does not exist is one in front of the next that does.
    pub fn from_word(word: u64) -> Completion {
        Completion {
            segment: (word >> 32) as u32,
            slot: word as u32,
            done: false,
        }
    }
}

/// Blocks that one [`complete_step`] may change.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn complete_credits(index: &Index) -> Result<u32> {
    Ok(entry::append_credits(&shape(index)?)
        .saturating_add(LOCATION_CREDITS)
        .saturating_mul(ENTER)
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Enters up to eight records that have no entry into the search tree, from `at` on. When it is done, records can still be without one that were put so
/// behind its back: [`super::is_complete`] says so.
///
/// Errors: clean [`Error::NotFound`] if the index is gone, [`Error::Full`] if [`super::make_room`] has to come first; the dirty ones. After an error nothing was
/// entered, and `at` may have moved on over records that need nothing.
pub fn complete_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    id: u32,
    at: &mut Completion,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let mut index = index::load(cx.io, id)?;
    if is_complete(&index) {
        at.done = true;
        return Ok(());
    }
    let mut entered = 0u32;
    let mut left = LOOK_AT;
    while entered < ENTER {
        let Some((segment, slot)) = next_missing(cx.io, &index, at, &mut left)? else {
            break;
        };
        match enter(cx.io, &index, &segment, slot, builder) {
            Ok(()) => entered = entered.saturating_add(1),
            Err(e) if e.is_clean() && entered != 0 => break,
            Err(e) if entered != 0 => return Err(e.late()),
            Err(e) => return Err(e),
        }
        at.slot = slot.saturating_add(1);
    }
    if entered != 0 {
        index.tree.entries = index.tree.entries.saturating_add(u64::from(entered));
        write_index(cx, &index).map_err(Error::late)?;
    }
    Ok(())
}

/// The next slot in use without an entry, to which `at` moves; `None` if `left` slots were looked at, or there is none.
#[inline(never)]
fn next_missing<R: ReadBlocks>(
    io: &R,
    index: &Index,
    at: &mut Completion,
    left: &mut u32,
) -> Result<Option<(Segment, u32)>> {
    let table = table(io)?;
    while *left != 0 {
        let Some(s) = segment::next(io, &table, index, at.segment)? else {
            at.done = true;
            return Ok(None);
        };
        if s.number != at.segment {
            (at.segment, at.slot) = (s.number, 0);
        }
        let (bits, h) = s.header(io)?;
        while let Some(slot) = segment::next_slot(&bits, at.slot, h.slots, true) {
            at.slot = slot;
            if *left == 0 {
                return Ok(None);
            }
            if location::get(io, &s, slot)? == 0 {
                return Ok(Some((s, slot)));
            }
            *left = left.saturating_sub(1);
            at.slot = slot.saturating_add(1);
        }
        // Cannot wrap: no segment has the highest number.
        (at.segment, at.slot) = (s.number.saturating_add(1), 0);
    }
    Ok(None)
}

/// Enters the record of a slot.
#[inline(never)]
fn enter<T: Transaction>(
    io: &T,
    index: &Index,
    segment: &Segment,
    slot: u32,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let raw = take(&mut builder.memory.raw);
    let result = enter_vector(io, index, (segment, slot), raw, builder);
    builder.memory.raw = raw;
    result
}

/// The same, the vector going through `raw`.
fn enter_vector<T: Transaction>(
    io: &T,
    index: &Index,
    (segment, slot): (&Segment, u32),
    raw: &mut [u8],
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let short = Error::Internal("workspace too small for its index");
    let raw = raw.get_mut(..index.vector_bytes()).ok_or(short)?;
    SlotReader::new(io, segment).parts(slot, raw)?;
    let placed = builder.place(io, index, raw, 0)?;
    builder
        .enter(io, index, segment, slot, &placed)
        .map_err(Error::late)
}

/// Blocks that one [`take_down_step`] may change.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn take_down_credits(index: &Index) -> Result<u32> {
    let shape = shape(index)?;
    // The leaf may be the only one of those above it, up to the root.
    let freed = (shape.blocks() as u32)
        .saturating_add(entry::remove_credits(&shape))
        .saturating_add(ALLOC_CREDITS);
    Ok(LOCATION_CREDITS
        .saturating_mul(REMOVE)
        .saturating_add(freed.saturating_mul(u32::from(index.tree.height)))
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Removes up to 64 entries from the last leaf of a search tree, whose records have none then, and frees the leaf with the last of them. Returns whether the tree is
/// gone. What is put between steps gets its entry, so under a load of puts that may never be: the caller counts.
///
/// Errors: clean [`Error::NotFound`] if the index is gone; the dirty ones. Needs no space.
pub fn take_down_step<T: Transaction>(cx: &mut Cx<'_, T>, id: u32) -> Result<bool> {
    let mut index = index::load(cx.io, id)?;
    if index.tree.root == 0 {
        return Ok(true);
    }
    let shape = shape(&index)?;
    let leaf = last_leaf(cx.io, &index, &shape)?;
    let (removed, left) = remove_last(cx.io, &index, &shape, leaf).map_err(Error::late)?;
    let entries = index.tree.entries.checked_sub(u64::from(removed));
    index.tree.entries = entries.ok_or(Error::corrupt(
        index.tree.root,
        "index counts fewer entries than its search tree has",
    ))?;
    if left == 0 {
        free_upwards(cx, &mut index, &shape, leaf).map_err(Error::late)?;
    }
    index.tree.changes = index.tree.changes.wrapping_add(1);
    write_index(cx, &index).map_err(Error::late)?;
    Ok(index.tree.root == 0)
}

/// The leaf that the last entry of every partition leads to.
#[inline(never)]
fn last_leaf<R: ReadBlocks>(io: &R, index: &Index, shape: &Shape) -> Result<u64> {
    let mut start = index.tree.root;
    let mut node = Node::closed(index, shape);
    for level in (1..index.tree.height).rev() {
        node.open(io, start, level)?;
        node.load_packs(io)?;
        start = node.child(node.entries().saturating_sub(1))?;
    }
    Ok(start)
}

/// Removes the last entries of a leaf. Returns how many, and how many are left.
#[inline(never)]
fn remove_last<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    leaf: u64,
) -> Result<(u32, u16)> {
    let mut removed = 0u32;
    while removed < REMOVE {
        let Some(reference) = last_reference(io, index, shape, leaf)? else {
            break;
        };
        let (segment, slot) = members::slot(io, index, reference)?;
        if location::get(io, &segment, slot)? != leaf
            || record_reference(segment.at.start, slot) != reference
        {
            return Err(Error::corrupt(
                leaf,
                "entry of a record whose location names another leaf",
            ));
        }
        location::set(io, &segment, slot, 0)?;
        clear_last(io, index, shape, leaf)?;
        removed = removed.saturating_add(1);
    }
    let mut node = Node::closed(index, shape);
    node.open(io, leaf, 0)?;
    Ok((removed, node.header.entries))
}

/// The reference of the last entry of a leaf, if it has any.
#[inline(never)]
fn last_reference<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    leaf: u64,
) -> Result<Option<u64>> {
    let mut node = Node::closed(index, shape);
    node.open(io, leaf, 0)?;
    let Some(last) = node.entries().checked_sub(1) else {
        return Ok(None);
    };
    node.load_packs(io)?;
    node.reference(last).map(Some)
}

/// Erases the last entry of a leaf, which has one.
#[inline(never)]
fn clear_last<T: Transaction>(io: &T, index: &Index, shape: &Shape, leaf: u64) -> Result<()> {
    let mut edit = Edit::new(io, index, shape, leaf);
    let mut header = edit.header()?;
    header.entries = header.entries.saturating_sub(1);
    let r = clear_entry(shape, &mut edit, usize::from(header.entries));
    edit.check(r)?;
    edit.set_header(&header)
}

/// Frees a leaf without entries, and those above it that lose their only one; with the root goes the tree.
#[inline(never)]
fn free_upwards<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    shape: &Shape,
    leaf: u64,
) -> Result<()> {
    let mut start = leaf;
    for level in 0..MAX_HEIGHT {
        let parent = parent_of(cx.io, index, shape, (start, level))?;
        edit::free(cx, shape, start)?;
        let partitions = index.tree.partitions.checked_sub(1);
        index.tree.partitions = partitions.ok_or(Error::corrupt(
            start,
            "index counts fewer partitions than it has",
        ))?;
        if parent == 0 {
            if (index.tree.partitions, index.tree.entries) != (0, 0) {
                return Err(Error::corrupt(
                    start,
                    "the last partition has gone, and the index counts more",
                ));
            }
            index.tree = Tree {
                rotation: index.tree.rotation,
                changes: index.tree.changes,
                ..Tree::default()
            };
            return Ok(());
        }
        let above = (parent, level.saturating_add(1));
        if entry::remove(cx.io, index, shape, above, child_reference(start))? != 0 {
            return Ok(());
        }
        start = parent;
    }
    Err(Error::corrupt(start, "search tree without an end"))
}

/// The partition above another.
#[inline(never)]
fn parent_of<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
) -> Result<u64> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    Ok(node.header.parent)
}
