// SPDX-License-Identifier: GPL-2.0-only
//! Searching the tree of an index of an image. Which of the records found are nearest by their exact distances, and which of them count, is the caller's.

use engine::vector::tree::{Fetched, Progress};
use engine::vector::Batch;
use engine::Error;
use layout::segment::MAX_SLOT_SIZE;
use layout::vector::Index;
use vector::Userspace;

use crate::error::Result;
use crate::image::Image;
use crate::tree_memory::QueryMemory;

/// Bytes of records that are handed out at once.
const BATCH: usize = 64 * 1024;

impl Image {
    /// Gives the `wanted` records of `index` that seem nearest to `query`, a validated vector, to `take`, in batches, after looking at `probes` leaves of its search tree.
    /// Records without an entry there are not found ([`engine::vector::tree::is_complete`]).
    ///
    /// # Errors
    /// Those of [`engine::vector::tree::Search`]; those of `take`.
    pub fn nearest(
        &self,
        index: &Index,
        query: &[u8],
        probes: usize,
        wanted: usize,
        mut take: impl FnMut(&Batch<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut memory = QueryMemory::new(index, probes, wanted)?;
        let compute = Userspace::detect();
        let mut search = memory.search(index, query, probes)?;
        while self.read(|io| search.step(io, &compute, index))? == Progress::More {}
        let mut buffer = vec![0; BATCH.max(MAX_SLOT_SIZE)];
        loop {
            match self.read(|io| search.fetch(io, index, &mut buffer))? {
                Fetched::Batch(batch) => take(&batch)?,
                Fetched::Done => return Ok(()),
                Fetched::Changed => {
                    return Err(Error::Internal("index changed under a search of its own").into())
                }
            }
        }
    }
}
