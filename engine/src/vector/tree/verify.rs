// SPDX-License-Identifier: GPL-2.0-only
//! Holding a search tree to the records of its index, in bounded steps between which the index may change: first every partition, then every slot in use. Each
//! step is right by itself, whatever happened since the one before; only the totals need an index that stood still, and comparing them is the caller's.
//! It may not change or repair anything.

use super::memory::{part, Builder};
use super::node::Node;
use super::path::Path;
use super::{members, metric, shape, with_fpu};
use crate::error::{Error, Result};
use crate::io::ReadBlocks;
use crate::vector::index;
use crate::vector::segment::{self, Segment, SlotReader};
use crate::vector::{location, table};
use layout::partition::{child_reference, get_entry, record_reference, Shape, FACTORS};
use layout::vector::Index;

/// Slots in use that one step looks at.
const SLOTS: usize = 64;

/// What is being gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Tree,
    Slots,
    Done,
}

/// How far a verification got. Begin with the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    phase: Phase,
    path: Path,
    segment: u32,
    slot: u32,
}

impl Verification {
    /// Whether everything was seen.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// As words, for those who go on later.
    pub fn to_words(self) -> [u64; 4] {
        let [a, b] = self.path.to_words();
        let at = u64::from(self.segment) << 32 | u64::from(self.slot);
        [self.phase as u64, a, b, at]
    }

    /// From words, which may be anybody's: a place that does not exist is one in front of the next that does.
    pub fn from_words([phase, a, b, at]: [u64; 4]) -> Verification {
        Verification {
            phase: match phase {
                0 => Phase::Tree,
                1 => Phase::Slots,
                _ => Phase::Done,
            },
            path: Path::from_words([a, b]),
            segment: (at >> 32) as u32,
            slot: at as u32,
        }
    }
}

/// What was seen. If nothing changed from the first step to the last, the numbers are those of the index, and as many records are `missing` as it has more records than
/// entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Partitions.
    pub partitions: u64,
    /// Entries of leaves.
    pub entries: u64,
    /// Slots in use.
    pub records: u64,
    /// Those of them without an entry.
    pub missing: u64,
}

/// Verifies the partitions on the next way from the root to a leaf that were on none before, or some slots. What holds of a partition: its header says what its place
/// demands, entries are different, lead to a child that names it or a record whose location does, have the code of that centroid or vector to the last bit, and
/// places without an entry are erased. Of a slot in use: its checksum is right, and if its location names a leaf, that has its entry and is part of the tree.
///
/// Errors: clean [`Error::NotFound`] if the index is gone; [`Error::Corrupt`] with the block and what is wrong in it, which is the outcome of the verification;
/// [`Error::Io`].
pub fn verify_step<R: ReadBlocks>(
    io: &R,
    id: u32,
    at: &mut Verification,
    seen: &mut Seen,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let index = index::load(io, id)?;
    let shape = shape(&index)?;
    match at.phase {
        Phase::Tree if index.tree.root == 0 => at.phase = Phase::Slots,
        Phase::Tree => {
            if !way(io, &index, &shape, &mut at.path, seen, builder)? {
                at.phase = Phase::Slots;
            }
        }
        Phase::Slots => slots(io, &index, &shape, at, seen)?,
        Phase::Done => {}
    }
    Ok(())
}

/// Goes down one way. Returns whether there is another.
#[inline(never)]
fn way<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    path: &mut Path,
    seen: &mut Seen,
    builder: &mut Builder<'_, '_>,
) -> Result<bool> {
    let mut way = Path::way();
    let (mut start, mut above) = (index.tree.root, 0);
    for level in (0..index.tree.height).rev() {
        if path.is_first(level) {
            let entries = partition(io, index, shape, (start, level), above, builder)?;
            seen.partitions = seen.partitions.saturating_add(1);
            if level == 0 {
                seen.entries = seen.entries.saturating_add(entries as u64);
            }
        }
        if level != 0 {
            above = start;
            start = next_child(io, index, shape, (start, level), path, &mut way)?;
        }
    }
    Ok(path.advance(&way))
}

/// The child that the way leads to.
#[inline(never)]
fn next_child<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    path: &Path,
    way: &mut super::path::Way,
) -> Result<u64> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    node.load_packs(io)?;
    node.child(path.child(way, level, node.entries()))
}

/// Verifies a partition whose parent is `above`. Returns how many entries it has.
#[inline(never)]
fn partition<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    above: u64,
    builder: &mut Builder<'_, '_>,
) -> Result<usize> {
    let bad = |what| Error::corrupt(start, what);
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    if node.header.parent != above {
        return Err(bad("partition names another parent than the one it has"));
    }
    if level != 0 && node.entries() == 0 {
        return Err(bad("partition above the leaves without entries"));
    }
    node.load(io, 0, shape.blocks())?;
    node.centroid(part(builder.memory.centres, shape.padded())?)?;
    for n in 0..node.entries() {
        let reference = node.reference(n)?;
        if node.find(reference)? != Some(n) {
            return Err(bad("two entries of a partition lead to the same place"));
        }
        leads_back(io, index, shape, (start, level), reference)?;
        let factors = code_of(io, index, shape, (start, level), reference, builder)?;
        let m = &mut builder.memory;
        let found = part(m.codes, shape.padded())?;
        let stored = get_entry(shape, &node, n, found).map_err(|e| Error::Internal(e.0))?;
        if stored != factors || found != part(m.code, shape.padded())? {
            return Err(bad("code of an entry is not that of its vector"));
        }
    }
    for n in node.entries()..shape.capacity() {
        let code = part(builder.memory.codes, shape.padded())?;
        let factors = get_entry(shape, &node, n, code).map_err(|e| Error::Internal(e.0))?;
        let reference = layout::partition::reference(shape, &node, n);
        let reference = reference.map_err(|e| Error::Internal(e.0))?;
        if reference != 0 || factors != [0; FACTORS] || code.iter().any(|u| *u != 0) {
            return Err(bad("place without an entry is not erased"));
        }
    }
    Ok(node.entries())
}

/// Holds the record or child that an entry leads to, to naming the entry's partition.
#[inline(never)]
fn leads_back<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    reference: u64,
) -> Result<()> {
    let Some(below) = level.checked_sub(1) else {
        let (segment, slot) = members::slot(io, index, reference)?;
        if location::get(io, &segment, slot)? != start {
            return Err(Error::corrupt(
                start,
                "entry of a record whose location names another leaf",
            ));
        }
        return Ok(());
    };
    let child = members::child(start, reference)?;
    let mut node = Node::closed(index, shape);
    node.open(io, child, below)?;
    if node.header.parent != start {
        return Err(Error::corrupt(
            child,
            "partition names another parent than the one it has",
        ));
    }
    Ok(())
}

/// Makes the code of what an entry leads to anew, in the workspace's `code`. Returns the factors.
#[inline(never)]
fn code_of<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    at: (u64, u8),
    reference: u64,
    builder: &mut Builder<'_, '_>,
) -> Result<[u32; FACTORS]> {
    members::read_row(io, index, shape, builder, at, reference, 0)?;
    let m = &mut builder.memory;
    let vector = part(m.rows, shape.padded())?;
    let centroid = part(m.centres, shape.padded())?;
    let code = part(m.code, shape.padded())?;
    with_fpu(builder.compute, |fpu| {
        fpu.encode(metric(index), vector, centroid, code)
    })
}

/// Verifies the next slots in use, of one segment.
#[inline(never)]
fn slots<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    at: &mut Verification,
    seen: &mut Seen,
) -> Result<()> {
    let Some(s) = segment::next(io, &table(io)?, index, at.segment)? else {
        at.phase = Phase::Done;
        return Ok(());
    };
    if s.number != at.segment {
        (at.segment, at.slot) = (s.number, 0);
    }
    let (bits, h) = s.header(io)?;
    let mut reader = SlotReader::new(io, &s);
    for _ in 0..SLOTS {
        let Some(slot) = segment::next_slot(&bits, at.slot, h.slots, true) else {
            // Cannot wrap: no segment has the highest number.
            (at.segment, at.slot) = (s.number.saturating_add(1), 0);
            break;
        };
        reader.header(slot)?;
        seen.records = seen.records.saturating_add(1);
        match location::get(io, &s, slot)? {
            0 => seen.missing = seen.missing.saturating_add(1),
            leaf => is_entered(io, index, shape, &s, slot, leaf)?,
        }
        at.slot = slot.saturating_add(1);
    }
    Ok(())
}

/// Holds a leaf to having the entry of a slot, and the tree to having the leaf.
#[inline(never)]
fn is_entered<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    segment: &Segment,
    slot: u32,
    leaf: u64,
) -> Result<()> {
    let block = segment.location_block(slot);
    let mut start = leaf;
    // Who names it.
    let mut below = block;
    let mut reference = record_reference(segment.at.start, slot);
    let mut node = Node::closed(index, shape);
    for level in 0..index.tree.height {
        node.open(io, start, level)?;
        node.load_packs(io)?;
        if node.find(reference)?.is_none() {
            let what = match level {
                0 => "location names a leaf without an entry of its slot",
                _ => "partition names a parent without an entry of it",
            };
            return Err(Error::corrupt(below, what));
        }
        if node.header.parent == 0 {
            break;
        }
        reference = child_reference(start);
        below = start;
        start = node.header.parent;
    }
    if start != index.tree.root {
        return Err(Error::corrupt(
            block,
            "location names a leaf that is not in the search tree",
        ));
    }
    Ok(())
}
