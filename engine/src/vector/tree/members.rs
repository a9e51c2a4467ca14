// SPDX-License-Identifier: GPL-2.0-only
//! The members of a partition: exact vectors, from which codes are made anew, and who must be told when an entry moves to another partition.

use super::edit::Edit;
use super::memory::{part, rotate, row_mut, Builder};
use super::node::{read_centroid, Node};
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::vector::location;
use crate::vector::segment::{self, Segment, SlotReader};
use layout::partition::{referred_child, referred_record, Shape};
use layout::vector::Index;

/// The slot that a leaf's reference leads to.
#[inline(never)]
pub(crate) fn slot<R: ReadBlocks>(io: &R, index: &Index, reference: u64) -> Result<(Segment, u32)> {
    let (start, slot) = referred_record(reference);
    if start == 0 {
        return Err(Error::corrupt(start, "entry of a leaf leads nowhere"));
    }
    let (segment, _) = segment::at_block(io, index, start)?;
    let (bits, h) = segment.header(io)?;
    if slot >= h.slots || !segment::is_used(&bits, slot) {
        return Err(Error::corrupt(
            start,
            "entry of a leaf leads to a free slot",
        ));
    }
    Ok((segment, slot))
}

/// The child that a reference above the leaves leads to.
pub(crate) fn child(from: u64, reference: u64) -> Result<u64> {
    referred_child(reference).ok_or(Error::corrupt(from, "entry of a partition leads nowhere"))
}

/// Reads the vector of the entry with this reference, in a partition of level `level`, into row `n`, in rotated space.
#[inline(never)]
pub(crate) fn read_row<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    builder: &mut Builder<'_, '_>,
    (start, level): (u64, u8),
    reference: u64,
    n: usize,
) -> Result<()> {
    let m = &mut builder.memory;
    let out = row_mut(m.rows, shape.padded(), n)?;
    let Some(below) = level.checked_sub(1) else {
        let (segment, slot) = slot(io, index, reference)?;
        let raw = part(m.raw, index.vector_bytes())?;
        SlotReader::new(io, &segment).parts(slot, raw)?;
        return rotate(builder.compute, index, shape, m.signs, raw, out);
    };
    read_centroid(io, index, shape, (child(start, reference)?, below), out)
}

/// Notes the references of all entries of a partition, and reads their vectors into the first rows. Returns how many, and the partition's parent.
#[inline(never)]
pub(crate) fn read_all<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    builder: &mut Builder<'_, '_>,
    at: (u64, u8),
) -> Result<(usize, u64)> {
    let (count, parent) = references(io, index, shape, builder, at)?;
    for n in 0..count {
        let reference = builder.memory.references.get(n).copied().unwrap_or(0);
        read_row(io, index, shape, builder, at, reference, n)?;
    }
    Ok((count, parent))
}

/// Notes the references of all entries of a partition. Returns how many, and the partition's parent.
#[inline(never)]
fn references<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    builder: &mut Builder<'_, '_>,
    (start, level): (u64, u8),
) -> Result<(usize, u64)> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    node.load_packs(io)?;
    let count = node.entries();
    let references = part(builder.memory.references, count)?;
    for (n, place) in references.iter_mut().enumerate() {
        *place = node.reference(n)?;
    }
    Ok((count, node.header.parent))
}

/// Tells whom a reference leads to that its entry is in another partition now: a slot's location, or a child's parent.
pub(crate) fn moved<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    level: u8,
    reference: u64,
    now: u64,
) -> Result<()> {
    if level == 0 {
        let (segment, slot) = slot(io, index, reference)?;
        return location::set(io, &segment, slot, now);
    }
    set_parent(io, index, shape, child(now, reference)?, now)
}

/// Sets the parent of a partition.
#[inline(never)]
pub(crate) fn set_parent<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    start: u64,
    parent: u64,
) -> Result<()> {
    let mut edit = Edit::new(io, index, shape, start);
    let mut header = edit.header()?;
    header.parent = parent;
    edit.set_header(&header)
}
