// SPDX-License-Identifier: GPL-2.0-only
//! Memory and floating-point time for the engine's work on search trees. It counts as the caller's.

use crate::compat::zeroed_bytes;
use crate::glue::mount::Failure;
use crate::vfs::{KernelFpu, Result};
use ::vector::ann::Noted;
use engine::vector::graph::{BuildMemory, LinkMemory};
use engine::vector::tree::{Builder, Lengths, Near, Search, SearchMemory, Workspace};
use kernel::prelude::*;
use layout::partition::FACTORS;
use layout::vector::Index;

/// Zeroed memory for `len` values.
fn zeros<X: Clone + Default>(len: usize) -> Result<KVVec<X>> {
    Ok(KVVec::from_elem(X::default(), len, GFP_KERNEL_ACCOUNT)?)
}

/// On the heap: it is too large for a stack that has far to go.
#[inline(never)]
fn noted() -> Result<KBox<Noted>> {
    Ok(KBox::new(Noted::new(), GFP_KERNEL_ACCOUNT)?)
}

/// What a [`Builder`] works in.
pub(in crate::glue) struct TreeMemory {
    fpu: KernelFpu,
    signs: KVVec<u16>,
    rotated: KVVec<u32>,
    table: KVVec<u8>,
    bytes: KVVec<u8>,
    rows: KVVec<u32>,
    centres: KVVec<u32>,
    keys: KVVec<u32>,
    side: KVVec<u8>,
    references: KVVec<u64>,
    code: KVVec<u8>,
    codes: KVVec<u8>,
    factors: KVVec<[u32; FACTORS]>,
    raw: KVVec<u8>,
    noted: KBox<Noted>,
}

impl TreeMemory {
    /// Enough to put records of `index`, as long as no partition is divided: some kilobytes.
    pub(in crate::glue) fn for_putting(index: &Index) -> Result<Self> {
        let lengths = Lengths::of(index).map_err(|_| crate::vfs::code::EIO)?;
        Self::new(&Lengths {
            rows: 0,
            members: 0,
            codes: 0,
            ..lengths
        })
    }

    /// Enough to verify a tree: some kilobytes.
    pub(in crate::glue) fn for_verifying(index: &Index) -> Result<Self> {
        let lengths = Lengths::of(index).map_err(|_| crate::vfs::code::EIO)?;
        // One vector, and one code beside that which is made of it.
        Self::new(&Lengths {
            rows: lengths.code,
            members: 0,
            codes: lengths.code,
            ..lengths
        })
    }

    /// Enough for everything: up to two megabytes.
    pub(super) fn for_dividing(index: &Index) -> Result<Self, Failure> {
        let lengths = Lengths::of(index).map_err(Failure::Clean)?;
        Self::new(&lengths).map_err(Failure::Kernel)
    }

    #[inline(never)]
    fn new(lengths: &Lengths) -> Result<Self> {
        Ok(Self {
            fpu: KernelFpu::new(),
            signs: zeros(lengths.signs)?,
            rotated: zeros(lengths.rotated)?,
            table: zeroed_bytes(lengths.table, GFP_KERNEL_ACCOUNT)?,
            bytes: zeroed_bytes(lengths.bytes, GFP_KERNEL_ACCOUNT)?,
            rows: zeros(lengths.rows)?,
            centres: zeros(lengths.centres)?,
            keys: zeros(lengths.members)?,
            side: zeroed_bytes(lengths.members, GFP_KERNEL_ACCOUNT)?,
            references: zeros(lengths.members)?,
            code: zeroed_bytes(lengths.code, GFP_KERNEL_ACCOUNT)?,
            codes: zeroed_bytes(lengths.codes, GFP_KERNEL_ACCOUNT)?,
            factors: zeros(lengths.members)?,
            raw: zeroed_bytes(lengths.raw, GFP_KERNEL_ACCOUNT)?,
            noted: noted()?,
        })
    }

    /// A builder in it.
    pub(in crate::glue) fn builder(&mut self) -> Builder<'_, '_> {
        let memory = Workspace {
            signs: &mut self.signs,
            rotated: &mut self.rotated,
            table: &mut self.table,
            bytes: &mut self.bytes,
            rows: &mut self.rows,
            centres: &mut self.centres,
            keys: &mut self.keys,
            side: &mut self.side,
            references: &mut self.references,
            code: &mut self.code,
            codes: &mut self.codes,
            factors: &mut self.factors,
            raw: &mut self.raw,
            noted: &mut self.noted,
        };
        Builder::new(&self.fpu, memory)
    }
}

/// Tombstones that a sweep erases in one round over all nodes.
const LISTED: usize = 4096;

/// What a sweep of a graph works in: up to two megabytes.
pub(super) struct LinkSpace {
    fpu: KernelFpu,
    list: KVVec<u64>,
    centre: KVVec<u32>,
    rows: KVVec<u32>,
    keys: KVVec<u32>,
    parts: KVVec<u32>,
    references: KVVec<u64>,
    code: KVVec<u8>,
}

impl LinkSpace {
    /// For the graph of `index`.
    pub(super) fn new(index: &Index) -> Result<Self> {
        let lengths = Lengths::of(index).map_err(|_| crate::vfs::code::EIO)?;
        let candidates = BuildMemory::CANDIDATES;
        Ok(Self {
            fpu: KernelFpu::new(),
            list: zeros(LISTED)?,
            centre: zeros(lengths.code)?,
            rows: zeros(lengths.code.saturating_mul(candidates))?,
            keys: zeros(candidates)?,
            parts: zeros(candidates)?,
            references: zeros(candidates)?,
            code: zeroed_bytes(lengths.code, GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// The list of tombstones, time on the floating-point unit, and memory for choosing neighbours.
    pub(super) fn lend(&mut self) -> (&mut [u64], &KernelFpu, LinkMemory<'_>) {
        let memory = LinkMemory {
            centre: &mut self.centre,
            rows: &mut self.rows,
            keys: &mut self.keys,
            parts: &mut self.parts,
            references: &mut self.references,
            code: &mut self.code,
        };
        (&mut self.list, &self.fpu, memory)
    }
}

/// What a [`Search`] works in.
pub(in crate::glue) struct QueryMemory {
    signs: KVVec<u16>,
    rotated: KVVec<u32>,
    table: KVVec<u8>,
    bytes: KVVec<u8>,
    partitions: KVVec<Near>,
    found: KVVec<Near>,
    noted: KBox<Noted>,
}

impl QueryMemory {
    /// For searches of `index` that look at `probes` leaves for `wanted` records.
    pub(in crate::glue) fn new(index: &Index, probes: usize, wanted: usize) -> Result<Self> {
        let (signs, [rotated, table, bytes]) =
            Search::lengths(index).map_err(|_| crate::vfs::code::EIO)?;
        Ok(Self {
            signs: zeros(signs)?,
            rotated: zeros(rotated)?,
            table: zeroed_bytes(table, GFP_KERNEL_ACCOUNT)?,
            bytes: zeroed_bytes(bytes, GFP_KERNEL_ACCOUNT)?,
            partitions: zeros(Search::partitions(probes))?,
            found: zeros(wanted)?,
            noted: noted()?,
        })
    }

    /// As the engine takes it.
    pub(in crate::glue) fn lend(&mut self) -> SearchMemory<'_> {
        SearchMemory {
            signs: &mut self.signs,
            rotated: &mut self.rotated,
            table: &mut self.table,
            bytes: &mut self.bytes,
            partitions: &mut self.partitions,
            found: &mut self.found,
            noted: &mut self.noted,
        }
    }
}
