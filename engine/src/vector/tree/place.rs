// SPDX-License-Identifier: GPL-2.0-only
//! Where the entry of a record goes when the record is put, and taking the entry out again when it is removed. Slots and the vector map are
//! not its business.

use super::descend::{descend, Wanted};
use super::entry::{self, New};
use super::memory::{part, prepare, rotate, Builder};
use super::node::read_centroid;
use super::{metric, shape, with_fpu};
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::vector::graph::RECORD_CREDITS;
use crate::vector::location::{self, LOCATION_CREDITS};
use crate::vector::segment::Segment;
use layout::partition::{record_reference, Shape, FACTORS, MAX_PARTITION_BLOCKS};
use layout::vector::{Index, MAX_DIM};

/// Where an entry will go, and its factors; its code is in the builder's memory.
pub(crate) struct Placed {
    leaf: u64,
    factors: [u32; FACTORS],
}

/// Blocks that putting an entry, in place of another perhaps, may change, here and in a graph.
pub(crate) fn put_credits(index: &Index) -> Result<u32> {
    let shape = shape(index)?;
    Ok(entry::append_credits(&shape)
        .saturating_add(entry::remove_credits(&shape))
        .saturating_add(LOCATION_CREDITS)
        .saturating_add(RECORD_CREDITS))
}

/// Blocks that taking an entry out may change.
pub(crate) fn remove_credits(index: &Index) -> Result<u32> {
    Ok(entry::remove_credits(&shape(index)?)
        .saturating_add(LOCATION_CREDITS)
        .saturating_add(RECORD_CREDITS))
}

/// The same for any index.
pub(crate) fn most_remove_credits() -> u32 {
    // The largest dimension has the longest entries.
    Shape::new(MAX_DIM).map_or(MAX_PARTITION_BLOCKS as u32, |shape| {
        entry::remove_credits(&shape)
            .saturating_add(LOCATION_CREDITS)
            .saturating_add(RECORD_CREDITS)
    })
}

impl Builder<'_, '_> {
    /// Finds the leaf for a vector and computes its code. Changes nothing. `old` is the leaf of the entry that will be removed before, 0 if there is none.
    ///
    /// Errors: clean [`Error::Full`] if the leaf has no room, or there is none yet; [`Error::Corrupt`], [`Error::Io`].
    #[inline(never)]
    pub(crate) fn place<R: ReadBlocks>(
        &mut self,
        io: &R,
        index: &Index,
        elements: &[u8],
        old: u64,
    ) -> Result<Placed> {
        if index.tree.root == 0 {
            return Err(Error::Full { partition: 0 });
        }
        let shape = shape(index)?;
        let m = &mut self.memory;
        let rotated = part(m.rotated, shape.padded())?;
        rotate(self.compute, index, &shape, m.signs, elements, rotated)?;
        let query = prepare(self.compute, index, &shape, rotated, m.table, m.bytes)?;
        let wanted = Wanted {
            level: 0,
            elsewhere: 0,
        };
        let target = descend(io, self.compute, index, &shape, &query, m.noted, wanted)?.ok_or(
            Error::corrupt(index.tree.root, "search tree without a leaf"),
        )?;
        if target.full && target.start != old {
            return Err(Error::Full {
                partition: target.start,
            });
        }
        let centroid = part(m.centres, shape.padded())?;
        read_centroid(io, index, &shape, (target.start, 0), centroid)?;
        let code = part(m.code, shape.padded())?;
        let factors = with_fpu(self.compute, |fpu| {
            fpu.encode(metric(index), query.rotated(), centroid, code)
        })?;
        Ok(Placed {
            leaf: target.start,
            factors,
        })
    }

    /// Writes the entry of the record in slot `slot`, which has none.
    #[inline(never)]
    pub(crate) fn enter<T: Transaction>(
        &mut self,
        io: &T,
        index: &Index,
        segment: &Segment,
        slot: u32,
        placed: &Placed,
    ) -> Result<()> {
        let shape = shape(index)?;
        let new = New {
            code: part(self.memory.code, shape.padded())?,
            factors: placed.factors,
            reference: record_reference(segment.at.start, slot),
        };
        entry::append(io, index, &shape, placed.leaf, &new)?;
        location::set(io, segment, slot, placed.leaf)
    }
}

/// Takes out the entry of the record in slot `slot`. Returns whether there was one.
#[inline(never)]
pub(crate) fn leave<T: Transaction>(
    io: &T,
    index: &Index,
    segment: &Segment,
    slot: u32,
) -> Result<bool> {
    let leaf = location::get(io, segment, slot)?;
    if leaf == 0 {
        return Ok(false);
    }
    let reference = record_reference(segment.at.start, slot);
    entry::remove(io, index, &shape(index)?, (leaf, 0), reference)?;
    location::set(io, segment, slot, 0)?;
    Ok(true)
}
