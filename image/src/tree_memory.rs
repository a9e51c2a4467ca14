// SPDX-License-Identifier: GPL-2.0-only
//! Memory for operations on the search trees of indexes, which the engine wants from its caller, and floating point for them.

use engine::vector::graph::GraphMemory;
use engine::vector::tree::{Builder, Lengths, Near, Search, SearchMemory, Workspace};
use layout::graph::MAX_FRESH;
use layout::partition::FACTORS;
use layout::vector::Index;
use vector::ann::Noted;
use vector::Userspace;

/// What a [`Builder`] works in.
pub struct TreeMemory {
    compute: Userspace,
    signs: Vec<u16>,
    rotated: Vec<u32>,
    table: Vec<u8>,
    bytes: Vec<u8>,
    rows: Vec<u32>,
    centres: Vec<u32>,
    keys: Vec<u32>,
    side: Vec<u8>,
    references: Vec<u64>,
    code: Vec<u8>,
    codes: Vec<u8>,
    factors: Vec<[u32; FACTORS]>,
    raw: Vec<u8>,
    noted: Box<Noted>,
}

impl TreeMemory {
    /// Of these lengths.
    #[must_use]
    pub fn new(lengths: &Lengths) -> Self {
        Self {
            compute: Userspace::detect(),
            signs: vec![0; lengths.signs],
            rotated: vec![0; lengths.rotated],
            table: vec![0; lengths.table],
            bytes: vec![0; lengths.bytes],
            rows: vec![0; lengths.rows],
            centres: vec![0; lengths.centres],
            keys: vec![0; lengths.members],
            side: vec![0; lengths.members],
            references: vec![0; lengths.members],
            code: vec![0; lengths.code],
            codes: vec![0; lengths.codes],
            factors: vec![[0; FACTORS]; lengths.members],
            raw: vec![0; lengths.raw],
            noted: Box::default(),
        }
    }

    /// A builder in it.
    pub fn builder(&mut self) -> Builder<'_, '_> {
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
        Builder::new(&self.compute, memory)
    }
}

/// What a [`Search`] works in.
pub struct QueryMemory {
    /// Floating point.
    pub compute: Userspace,
    signs: Vec<u16>,
    rotated: Vec<u32>,
    table: Vec<u8>,
    bytes: Vec<u8>,
    partitions: Vec<Near>,
    found: Vec<Near>,
    noted: Box<Noted>,
}

impl QueryMemory {
    /// For searches of `index` that look at `probes` leaves for `wanted` records.
    ///
    /// # Errors
    /// Those of [`Search::lengths`].
    pub fn new(index: &Index, probes: usize, wanted: usize) -> engine::Result<Self> {
        let (signs, [rotated, table, bytes]) = Search::lengths(index)?;
        Ok(Self {
            compute: Userspace::detect(),
            signs: vec![0; signs],
            rotated: vec![0; rotated],
            table: vec![0; table],
            bytes: vec![0; bytes],
            partitions: vec![Near::default(); Search::partitions(probes)],
            found: vec![Near::default(); wanted],
            noted: Box::default(),
        })
    }

    /// A search in it.
    ///
    /// # Errors
    /// Those of [`Search::new`].
    pub fn search(
        &mut self,
        index: &Index,
        query: &[u8],
        probes: usize,
    ) -> engine::Result<Search<'_>> {
        let memory = SearchMemory {
            signs: &mut self.signs,
            rotated: &mut self.rotated,
            table: &mut self.table,
            bytes: &mut self.bytes,
            partitions: &mut self.partitions,
            found: &mut self.found,
            noted: &mut self.noted,
        };
        Search::new(&self.compute, index, query, probes, memory)
    }
}

/// What a search of a graph works in.
pub struct GraphQueryMemory {
    signs: Vec<u16>,
    rotated: Vec<u32>,
    table: Vec<u8>,
    bytes: Vec<u8>,
    beam: Vec<Near>,
    visited: Vec<u64>,
    found: Vec<Near>,
}

impl GraphQueryMemory {
    /// For searches of `index` with a beam of `beam` nodes for `wanted` records.
    ///
    /// # Errors
    /// Those of [`Search::lengths`].
    pub fn new(index: &Index, beam: usize, wanted: usize) -> engine::Result<Self> {
        let (signs, [rotated, table, bytes]) = Search::lengths(index)?;
        Ok(Self {
            signs: vec![0; signs],
            rotated: vec![0; rotated],
            table: vec![0; table],
            bytes: vec![0; bytes],
            beam: vec![Near::default(); GraphMemory::beam(beam)],
            visited: vec![0; GraphMemory::visited(beam)],
            found: vec![Near::default(); wanted + MAX_FRESH],
        })
    }

    /// It, for one search.
    pub fn lend(&mut self) -> GraphMemory<'_> {
        GraphMemory {
            signs: &mut self.signs,
            rotated: &mut self.rotated,
            table: &mut self.table,
            bytes: &mut self.bytes,
            beam: &mut self.beam,
            visited: &mut self.visited,
            found: &mut self.found,
        }
    }
}
