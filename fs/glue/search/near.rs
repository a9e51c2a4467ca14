// SPDX-License-Identifier: GPL-2.0-only
//! The search tree's answer to one query: candidates by their codes, in steps under the metadata lock, and their exact distances, without it. It may
//! not know who may see what.

use super::filter::Conditions;
use super::pass::Comparer;
use crate::glue::error::read_failed;
use crate::glue::ioctl::{kind, request};
use crate::glue::tree::QueryMemory;
use crate::glue::VexFs;
use crate::vfs::{code, task, Result, SuperBlock};
use ::vector::{Candidate, Queries, TopK};
use engine::vector::tree::{Effort, Fetched, Progress, Search};
use engine::vector::{self, Batch};
use engine::Error;
use kernel::prelude::*;
use layout::segment::slot_size;
use layout::vector::Index;

/// Partitions that are looked at in one hold of the metadata lock.
const STEPS: usize = 16;
/// How often a search begins anew because the tree changed under it. Each time it does twice as much in one hold of the lock.
const ATTEMPTS: u32 = 6;
/// Bytes of records that are copied in one hold of the metadata lock, unless one is longer.
const FETCHED: usize = 512 * 1024;

/// What a hold of the lock led to.
enum Step {
    More,
    Found,
    /// The tree changed: what was found is worth nothing.
    Changed,
    Done,
}

/// Memory for searches of one index with one effort.
pub(super) struct Seeker {
    memory: QueryMemory,
    buf: KVVec<u8>,
    effort: Effort,
    /// The index as it was when it was loaded last, and the metadata's state then.
    loaded: Option<(u64, Index)>,
}

impl Seeker {
    /// Takes memory.
    pub(super) fn new(index: &Index, effort: Effort) -> Result<Self> {
        let stride = slot_size(index.vector_bytes());
        let bytes = effort
            .wanted
            .saturating_mul(stride)
            .min(FETCHED.max(stride));
        Ok(Self {
            memory: QueryMemory::new(index, effort.probes, effort.wanted)?,
            buf: request::buffer(bytes)?,
            effort,
            loaded: None,
        })
    }

    /// Collects the nearest of the records that the tree leads to and that meet the conditions on records, in `memory`. `None` if writers
    /// never left the tree alone for long enough.
    ///
    /// Errors: `EINVAL` if `query` is no vector of the index, `EINTR` after a fatal signal, `ENOENT` if the index was dropped, `ENOMEM`, `EIO`, `EUCLEAN`.
    #[inline(never)]
    pub(super) fn seek<'m>(
        &mut self,
        sb: &SuperBlock<VexFs>,
        index: &Index,
        query: &[u8],
        comparer: &mut Comparer,
        conditions: &Conditions,
        memory: &'m mut [Candidate],
    ) -> Result<Option<TopK<'m>>> {
        let mut norms = [0u64];
        let prepared = Queries::prepare(comparer.fpu(), &kind(index)?, query, &mut norms)
            .map_err(|_| code::EINVAL)?;
        let failed = |e| read_failed(sb, layout::ino::INDEX_TABLE, e);
        let lent = self.memory.lend();
        let mut search =
            Search::new(comparer.fpu(), index, query, self.effort.probes, lent).map_err(failed)?;
        let (mut steps, mut attempt) = (STEPS, 0);
        let mut top = TopK::new(memory);
        let mut found = false;
        // The tree's state when the present attempt began.
        let mut state = None;
        loop {
            if task::fatal_signal_pending() {
                return Err(code::EINTR);
            }
            let mut batch: Option<Batch<'_>> = None;
            let fpu = comparer.fpu();
            let (buf, loaded) = (&mut self.buf, &mut self.loaded);
            let step = sb.mount().read_often(|io| -> Result<Step, Error> {
                let now = sb.mount().state();
                if loaded.as_ref().is_none_or(|(then, _)| *then != now) {
                    *loaded = Some((now, vector::load(io, index.id)?));
                }
                let Some((_, index)) = loaded else {
                    return Err(Error::Internal("index not loaded"));
                };
                if *state.get_or_insert(index.tree.changes) != index.tree.changes {
                    return Ok(Step::Changed);
                }
                if !found {
                    let mut left = steps;
                    while search.step(io, fpu, index)? == Progress::More {
                        left = left.saturating_sub(1);
                        if left == 0 {
                            return Ok(Step::More);
                        }
                    }
                }
                Ok(match search.fetch(io, index, buf)? {
                    Fetched::Batch(b) => {
                        batch = Some(b);
                        Step::Found
                    }
                    Fetched::Done => Step::Done,
                    Fetched::Changed => Step::Changed,
                })
            });
            match step.map_err(failed)? {
                Step::More => {}
                Step::Found => {
                    found = true;
                    if let Some(batch) = batch {
                        let one = core::slice::from_mut(&mut top);
                        comparer
                            .compare(&batch, &prepared, one, &mut |r| Ok(conditions.admits(r)))?;
                    }
                    if search.is_fetched() {
                        return Ok(Some(top));
                    }
                }
                Step::Done => return Ok(Some(top)),
                Step::Changed => {
                    attempt = u32::saturating_add(attempt, 1);
                    if attempt >= ATTEMPTS {
                        return Ok(None);
                    }
                    steps = steps.saturating_mul(2);
                    state = None;
                    found = false;
                    top.clear();
                }
            }
            task::cond_resched();
        }
    }
}
