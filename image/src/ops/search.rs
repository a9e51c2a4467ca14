// SPDX-License-Identifier: GPL-2.0-only
//! Searching the tree or the graph of an index of an image. Which of the records found are nearest by their exact distances, and which of them count, is the caller's.

use engine::vector::graph;
use engine::vector::tree::{Fetched, Progress};
use engine::vector::Batch;
use engine::Error;
use layout::segment::slot_size;
use layout::vector::Index;
use vector::Userspace;

use crate::error::Result;
use crate::image::Image;
use crate::tree_memory::{GraphQueryMemory, QueryMemory};

/// Bytes of records that are handed out at once, at most (and one record at least).
const BATCH: usize = 64 * 1024;

/// Searches of an index, one after the other, in memory that they share.
pub struct Searcher {
    compute: Userspace,
    memory: QueryMemory,
    buffer: Vec<u8>,
    probes: usize,
}

impl Searcher {
    /// For searches of `index` that look at `probes` leaves of its tree for `wanted` records.
    ///
    /// # Errors
    /// Those of [`engine::vector::tree::Search::lengths`].
    pub fn new(index: &Index, probes: usize, wanted: usize) -> Result<Self> {
        let slot = slot_size(index.vector_bytes());
        let bytes = wanted.saturating_mul(slot).clamp(slot, BATCH.max(slot));
        Ok(Self {
            compute: Userspace::detect(),
            memory: QueryMemory::new(index, probes, wanted)?,
            buffer: vec![0; bytes],
            probes,
        })
    }

    /// Gives the records of `index` that seem nearest to `query`, a validated vector, to `take`, in batches.
    /// Records without an entry in the tree are not found ([`engine::vector::tree::is_complete`]).
    ///
    /// # Errors
    /// Those of [`engine::vector::tree::Search`]; those of `take`.
    pub fn nearest(
        &mut self,
        image: &Image,
        index: &Index,
        query: &[u8],
        mut take: impl FnMut(&Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut search = self.memory.search(index, query, self.probes)?;
        while image.read(|io| search.step(io, &self.compute, index))? == Progress::More {}
        loop {
            match image.read(|io| search.fetch(io, index, &mut self.buffer))? {
                Fetched::Batch(batch) => take(&batch)?,
                Fetched::Done => return Ok(()),
                Fetched::Changed => {
                    return Err(Error::Internal("index changed under a search of its own").into())
                }
            }
        }
    }
}

/// Searches of an index's graph, one after the other, in memory that they share.
pub struct GraphSearcher {
    compute: Userspace,
    memory: GraphQueryMemory,
    buffer: Vec<u8>,
    beam: usize,
    wanted: usize,
}

impl GraphSearcher {
    /// For searches of `index` with a beam of `beam` nodes for `wanted` records.
    ///
    /// # Errors
    /// Those of [`engine::vector::tree::Search::lengths`].
    pub fn new(index: &Index, beam: usize, wanted: usize) -> Result<Self> {
        let slot = slot_size(index.vector_bytes());
        let bytes = wanted.saturating_mul(slot).clamp(slot, BATCH.max(slot));
        Ok(Self {
            compute: Userspace::detect(),
            memory: GraphQueryMemory::new(index, beam, wanted)?,
            buffer: vec![0; bytes],
            beam,
            wanted,
        })
    }

    /// Gives the records of `index` that seem nearest to `query`, a validated vector, and those without a node, to `take`, in batches. The graph
    /// [is searched](engine::vector::graph::is_searched).
    ///
    /// # Errors
    /// Those of [`engine::vector::graph::nearest`]; those of `take`.
    pub fn nearest(
        &mut self,
        image: &Image,
        index: &Index,
        query: &[u8],
        mut take: impl FnMut(&Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let much = (self.beam, self.wanted);
        let memory = self.memory.lend();
        let mut found =
            image.read(|io| graph::nearest(io, &self.compute, index, query, much, memory))?;
        while let Some(batch) = image.read(|io| found.fetch(io, index, &mut self.buffer))? {
            take(&batch)?;
        }
        Ok(())
    }
}
