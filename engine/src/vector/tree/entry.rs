// SPDX-License-Identifier: GPL-2.0-only
//! Single entries of a partition: appended, removed, replaced. Every function changes one partition and keeps its number of entries right;
//! what refers to it, locations and parents, is its caller's.

use super::edit::Edit;
use super::node::Node;
use crate::error::{Error, Result};
use crate::io::Transaction;
use layout::partition::{clear_entry, copy_entry, put_entry, Shape, FACTORS};
use layout::vector::Index;

/// An entry to be written.
#[derive(Clone, Copy)]
pub(crate) struct New<'a> {
    /// One number below 32 for each dimension.
    pub code: &'a [u8],
    /// Its factors.
    pub factors: [u32; FACTORS],
    /// What it refers to.
    pub reference: u64,
}

/// Blocks that one append may change.
pub(crate) fn append_credits(shape: &Shape) -> u32 {
    shape.entry_blocks() as u32
}

/// Blocks that one removal may change: the last entry takes the place.
pub(crate) fn remove_credits(shape: &Shape) -> u32 {
    (shape.entry_blocks() as u32).saturating_mul(2)
}

/// Appends an entry to a partition that has room.
#[inline(never)]
pub(crate) fn append<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    start: u64,
    new: &New<'_>,
) -> Result<()> {
    let mut edit = Edit::new(io, index, shape, start);
    let mut header = edit.header()?;
    let place = usize::from(header.entries);
    if place >= shape.capacity() {
        return Err(Error::Internal("no room for an entry"));
    }
    let r = put_entry(
        shape,
        &mut edit,
        place,
        new.code,
        &new.factors,
        new.reference,
    );
    edit.check(r)?;
    header.entries = header.entries.saturating_add(1);
    edit.set_header(&header)
}

/// Writes entry `place` anew.
#[inline(never)]
pub(crate) fn replace<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    start: u64,
    place: usize,
    new: &New<'_>,
) -> Result<()> {
    let mut edit = Edit::new(io, index, shape, start);
    let r = put_entry(
        shape,
        &mut edit,
        place,
        new.code,
        &new.factors,
        new.reference,
    );
    edit.check(r)
}

/// Removes the entry with this reference from the partition at `start`, of level `level`, and erases it. Returns how many are left.
#[inline(never)]
pub(crate) fn remove<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    reference: u64,
) -> Result<usize> {
    let place = find(io, index, shape, (start, level), reference)?;
    take_out(io, index, shape, start, place)
}

/// Which entry of the partition at `start`, of level `level`, has this reference.
#[inline(never)]
fn find<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    reference: u64,
) -> Result<usize> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    node.load_packs(io)?;
    node.find(reference)?.ok_or(Error::corrupt(
        start,
        "an entry is not in the partition that it should be in",
    ))
}

/// Removes entry `place` of a partition, the last one taking its place. Returns how many are left.
#[inline(never)]
fn take_out<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    start: u64,
    place: usize,
) -> Result<usize> {
    let mut edit = Edit::new(io, index, shape, start);
    let mut header = edit.header()?;
    let last = usize::from(header.entries).saturating_sub(1);
    if place < last {
        let r = copy_entry(shape, &mut edit, last, place);
        edit.check(r)?;
    }
    let r = clear_entry(shape, &mut edit, last);
    edit.check(r)?;
    header.entries = header.entries.saturating_sub(1);
    edit.set_header(&header)?;
    Ok(last)
}
