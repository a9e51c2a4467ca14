// SPDX-License-Identifier: GPL-2.0-only
//! Comparing records with queries, and one pass over all records of an index: copied in steps under the metadata lock, compared without it. It may
//! not know who may see what; it asks.

use crate::glue::error::read_failed;
use crate::glue::ioctl::request;
use crate::glue::VexFs;
use crate::vfs::{code, task, KernelFpu, Result, SuperBlock};
use ::vector::{Candidate, Compute, Distance, Queries, Rank, TopK};
use engine::vector::{self, Batch, ScanPos};
use kernel::prelude::*;
use layout::segment::{slot_size, SlotHeader, MAX_SLOT_SIZE};
use layout::vector::Index;

/// Bytes of records that are copied in one hold of the metadata lock.
const STEP: usize = 256 * 1024;
/// Bytes of records that are compared with a query in one section with vector registers.
const SECTION: usize = 64 * 1024;
/// Distances that are computed before they are looked at.
const DISTANCES: usize = 64 * 1024;

/// Compares records of one index with queries: memory and vector unit.
pub(super) struct Comparer {
    out: KVVec<Distance>,
    /// Records that are compared at a time.
    section: usize,
    fpu: KernelFpu,
    computed: u64,
}

impl Comparer {
    /// For up to `queries` queries of `index`.
    pub(super) fn new(index: &Index, queries: usize) -> Result<Self> {
        let stride = slot_size(index.vector_bytes());
        let section = (SECTION.checked_div(stride).unwrap_or(1))
            .min(DISTANCES.checked_div(queries).unwrap_or(1))
            .max(1);
        let distances = section.saturating_mul(queries);
        Ok(Self {
            out: KVVec::from_elem(Distance::INVALID, distances, GFP_KERNEL_ACCOUNT)?,
            section,
            fpu: KernelFpu::new(),
            computed: 0,
        })
    }

    /// The vector unit.
    pub(super) fn fpu(&self) -> &KernelFpu {
        &self.fpu
    }

    /// Distances computed so far.
    pub(super) fn computed(&self) -> u64 {
        self.computed
    }

    /// Offers the records of a batch to the collection of every query, `collections` being in the order of `queries`. A record that would be
    /// collected is shown to `admit` first, if it refuses, the record is left out.
    ///
    /// Errors: those of `admit`; `EIO` if the vector unit was refused.
    pub(super) fn compare(
        &mut self,
        batch: &Batch<'_>,
        queries: &Queries<'_>,
        collections: &mut [TopK<'_>],
        admit: &mut impl FnMut(&SlotHeader) -> Result<bool>,
    ) -> Result {
        let mut first = 0usize;
        while first < batch.count() {
            let count = batch.count().saturating_sub(first).min(self.section);
            let out = self
                .out
                .get_mut(..count.saturating_mul(queries.count()))
                .ok_or(code::EINVAL)?;
            let at = first
                .saturating_mul(batch.stride())
                .saturating_add(Batch::ELEMENTS);
            ::vector::Batch::new(queries.kind(), batch.bytes(), at, batch.stride(), count)
                .and_then(|vectors| self.fpu.distances(queries, &vectors, out))
                .map_err(|_| code::EIO)?;
            self.computed = self.computed.saturating_add(out.len() as u64);
            let mut rest = &*out;
            for collection in collections.iter_mut() {
                let (row, behind) = rest.split_at_checked(count).ok_or(code::EINVAL)?;
                rest = behind;
                collect(batch, first, row, collection, admit)?;
            }
            first = first.saturating_add(count);
            task::cond_resched();
        }
        if self.fpu.was_refused() {
            return Err(code::EIO);
        }
        Ok(())
    }
}

/// Memory for passes.
pub(super) struct Scanner {
    buf: KVVec<u8>,
}

impl Scanner {
    /// Takes memory.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            buf: request::buffer(STEP.max(MAX_SLOT_SIZE))?,
        })
    }

    /// Offers every record of `index` to the collection of every query, as [`Comparer::compare`] does.
    ///
    /// Errors: `EINTR` after a fatal signal, `ENOENT` if the index was dropped; those of the comparison.
    pub(super) fn pass(
        &mut self,
        comparer: &mut Comparer,
        sb: &SuperBlock<VexFs>,
        index: &Index,
        queries: &Queries<'_>,
        collections: &mut [TopK<'_>],
        mut admit: impl FnMut(&SlotHeader) -> Result<bool>,
    ) -> Result {
        let mut pos = ScanPos::default();
        loop {
            if task::fatal_signal_pending() {
                return Err(code::EINTR);
            }
            let step = sb.mount().read(|io| {
                let index = vector::load(io, index.id)?;
                vector::scan(io, &index, &mut pos, &mut self.buf)
            });
            let Some(batch) = step.map_err(|e| read_failed(sb, layout::ino::INDEX_TABLE, e))?
            else {
                break;
            };
            comparer.compare(&batch, queries, collections, &mut admit)?;
        }
        Ok(())
    }
}

/// Offers records of a batch, from number `first` on, with their distances to one query.
fn collect(
    batch: &Batch<'_>,
    first: usize,
    distances: &[Distance],
    collection: &mut TopK<'_>,
    admit: &mut impl FnMut(&SlotHeader) -> Result<bool>,
) -> Result {
    for (n, distance) in distances.iter().enumerate() {
        // Nearly all end here.
        let bound = collection
            .farthest()
            .map(|c| c.rank.distance)
            .filter(|_| collection.is_full());
        if bound.is_some_and(|bound| *distance > bound) {
            continue;
        }
        let Some(record) = batch.header(first.saturating_add(n)) else {
            continue;
        };
        let rank = Rank {
            distance: *distance,
            inode: record.ino,
            label: record.label,
        };
        if collection.admits(&rank) && admit(&record)? {
            let location = u64::from(record.generation) << 32 | u64::from(record.epoch);
            collection.offer(Candidate {
                rank,
                tag: record.tag,
                location,
            });
        }
    }
    Ok(())
}

/// The record that a candidate of index `id` was made of.
pub(super) fn record(id: u32, c: &Candidate) -> SlotHeader {
    SlotHeader {
        ino: c.rank.inode,
        label: c.rank.label,
        tag: c.tag,
        generation: (c.location >> 32) as u32,
        epoch: c.location as u32,
        index: id,
    }
}
