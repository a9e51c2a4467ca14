// SPDX-License-Identifier: GPL-2.0-only
//! What is tried after what, until every query of a request has its hits.
//!
//! Asking for permission costs far more than a distance, so it is asked for what is returned, not for what is looked at. The nearest records are
//! collected whoever may see them, some more than are wanted; then, nearest first, those that are not visible or not alive any more are left out.
//!
//! The search tree comes first, if it has all records, and if all of it would not be looked at anyway. A query that is short of hits then has more of
//! the tree looked at, four times as much, and so on; what is left in the end goes the way of exact queries: through all records, for all such queries
//! together. Whoever is short after that although there were more records has them all looked at once more, behind the last record that was
//! seen, and is asked for before they are collected. So results are never short, whoever asks, and who may see most files pays one pass and one
//! question a hit.

use super::filter::Conditions;
use super::near::Seeker;
use super::pass::{self, Comparer, Scanner};
use super::table::Table;
use super::visible::Visible;
use super::VexFs;
use crate::glue::ioctl::{self, request};
use crate::vfs::{code, Result, SuperBlock};
use ::vector::{Candidate, Distance, Kind, Queries, Rank, TopK};
use core::mem::size_of;
use core::ops::Range;
use engine::vector::tree::{self, Aim, Effort};
use kernel::prelude::*;
use layout::vector::Index;
use uapi::Hit;
use zerocopy::{FromZeros, IntoBytes};

/// Queries whose hits are remembered at a time, though only those of one count: it costs less than to forget after each.
const TURNS: usize = 8;

/// What the caller asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    /// Queries.
    pub(super) count: usize,
    /// Hits of each.
    pub(super) k: usize,
    /// All records are to be compared.
    pub(super) exact: bool,
    /// How much of the search tree is to be looked at, if not.
    pub(super) aim: Aim,
}

/// What became of a query so far.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Hits found.
    found: usize,
    /// The last record that was looked at; all hits up to it are found.
    last: Option<Rank>,
    /// There is nothing more to find.
    complete: bool,
}

/// Hits as they will be returned, and what is left to do.
pub(super) struct Results {
    /// Hits wanted of each query.
    k: usize,
    /// `k` for each query.
    hits: KVVec<Hit>,
    progress: KVVec<Progress>,
    /// Records that are hits, by inode and label: in which turn they became that, the last time. A record that was deleted and put again during a
    /// pass is seen in both places.
    seen: Table<usize>,
    /// Turns of queries so far.
    turn: usize,
}

/// A request on its way.
pub(super) struct Rounds<'a> {
    sb: &'a SuperBlock<VexFs>,
    index: &'a Index,
    kind: Kind,
    queries: &'a [u8],
    wanted: Wanted,
    conditions: &'a Conditions,
    comparer: Comparer,
    pub(super) visible: Visible<'a>,
    pub(super) results: Results,
}

impl<'a> Rounds<'a> {
    /// `queries` are vectors of the index, end to end; what they are is not checked yet.
    pub(super) fn new(
        sb: &'a SuperBlock<VexFs>,
        index: &'a Index,
        queries: &'a [u8],
        wanted: Wanted,
        conditions: &'a Conditions,
        visible: Visible<'a>,
    ) -> Result<Self> {
        let Wanted { count, k, .. } = wanted;
        Ok(Self {
            sb,
            index,
            kind: ioctl::kind(index)?,
            queries,
            wanted,
            conditions,
            comparer: Comparer::new(index, count)?,
            visible,
            results: Results {
                k,
                hits: KVVec::from_elem(
                    Hit::new_zeroed(),
                    count.saturating_mul(k),
                    GFP_KERNEL_ACCOUNT,
                )?,
                progress: KVVec::from_elem(Progress::default(), count, GFP_KERNEL_ACCOUNT)?,
                seen: Table::new(usize::MAX)?,
                turn: 0,
            },
        })
    }

    /// Distances computed.
    pub(super) fn computed(&self) -> u64 {
        self.comparer.computed()
    }

    /// Answers all queries.
    ///
    /// Errors: `EINVAL` if a query is no vector of the index; `EINTR`, `ENOENT`, `ENOMEM`, `EIO`, `EUCLEAN`.
    pub(super) fn run(&mut self) -> Result {
        // A condition on files may leave few of them.
        let mut ask_first = self.conditions.asks_files();
        if !self.wanted.exact {
            ask_first |= self.near()?;
        }
        while self.results.progress.iter().any(|p| !p.complete) {
            self.round(ask_first)?;
            ask_first = true;
        }
        Ok(())
    }

    /// Candidates for `k` hits, as long as most of them are visible.
    fn room(&self) -> usize {
        self.wanted
            .k
            .saturating_add(self.wanted.k / 4)
            .saturating_add(16)
    }

    /// Asks the search tree. Queries that it was not enough for are not complete afterwards, and begin again. Returns whether there is one whose
    /// candidates were not visible, so that it is better to ask before records are collected.
    #[inline(never)]
    fn near(&mut self) -> Result<bool> {
        let index = self.index;
        let mut effort = Effort::of(index, self.wanted.aim, self.wanted.k);
        if !tree::is_complete(index) || index.records <= effort.wanted as u64 {
            return Ok(false);
        }
        let mut short = false;
        while effort.pays(index) {
            let mut seeker = Seeker::new(index, effort)?;
            let mut memory =
                KVVec::from_elem(Candidate::default(), effort.wanted, GFP_KERNEL_ACCOUNT)?;
            for query in 0..self.wanted.count {
                if self.results.is_complete(query) {
                    continue;
                }
                let vector = self.query(query)?;
                let found = seeker.seek(
                    self.sb,
                    index,
                    vector,
                    &mut self.comparer,
                    self.conditions,
                    &mut memory,
                )?;
                if let Some(found) = found {
                    self.results.reset(query)?;
                    self.results.take(
                        query,
                        index,
                        found,
                        &mut self.visible,
                        (true, self.conditions.farthest),
                    )?;
                }
            }
            if self.results.progress.iter().all(|p| p.complete) {
                return Ok(false);
            }
            short = true;
            effort = effort.more();
        }
        for query in 0..self.wanted.count {
            if !self.results.is_complete(query) {
                self.results.reset(query)?;
            }
        }
        Ok(short)
    }

    /// The vector of a query.
    fn query(&self, number: usize) -> Result<&'a [u8]> {
        let start = number.saturating_mul(self.index.vector_bytes());
        self.queries
            .get(start..start.saturating_add(self.index.vector_bytes()))
            .ok_or(code::EINVAL)
    }

    /// Goes once through all records of the index for all queries that are not complete.
    #[inline(never)]
    fn round(&mut self, ask_first: bool) -> Result {
        let (index, k) = (self.index, self.wanted.k);
        // Without asking first some more are collected, in place of those that the caller may not see.
        let room = if ask_first { k } else { self.room() };
        let open = self.results.progress.iter().filter(|p| !p.complete).count();
        let mut candidates = KVVec::from_elem(
            Candidate::default(),
            open.saturating_mul(room),
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut collections = KVVec::<TopK<'_>>::with_capacity(open, GFP_KERNEL_ACCOUNT)?;
        let mut bytes = KVVec::<u8>::with_capacity(
            open.saturating_mul(index.vector_bytes()),
            GFP_KERNEL_ACCOUNT,
        )?;
        let mut rest = candidates.as_mut_slice();
        for (query, p) in self.results.progress.iter().enumerate() {
            if p.complete {
                continue;
            }
            let wanted = if ask_first {
                k.saturating_sub(p.found)
            } else {
                room
            };
            let (memory, behind) = core::mem::take(&mut rest)
                .split_at_mut_checked(wanted)
                .ok_or(code::EINVAL)?;
            rest = behind;
            let collection = match p.last {
                Some(last) => TopK::after(memory, last),
                None => TopK::new(memory),
            };
            collections.push(collection, GFP_KERNEL_ACCOUNT)?;
            bytes.extend_from_slice(self.query(query)?, GFP_KERNEL_ACCOUNT)?;
        }
        let mut norms = KVVec::from_elem(0u64, open, GFP_KERNEL_ACCOUNT)?;
        let prepared = Queries::prepare(self.comparer.fpu(), &self.kind, &bytes, &mut norms)
            .map_err(|_| code::EINVAL)?;
        let (visible, conditions) = (&mut self.visible, self.conditions);
        Scanner::new()?.pass(
            &mut self.comparer,
            self.sb,
            index,
            &prepared,
            &mut collections,
            |record| Ok(conditions.admits(record) && (!ask_first || visible.admits(record)?)),
        )?;
        let mut collections = collections.into_iter();
        for query in 0..self.wanted.count {
            if !self.results.is_complete(query) {
                let collection = collections.next().ok_or(code::EINVAL)?;
                let more = collection.is_full();
                self.results.take(
                    query,
                    index,
                    collection,
                    &mut self.visible,
                    (more, self.conditions.farthest),
                )?;
            }
        }
        Ok(())
    }
}

impl Results {
    fn is_complete(&self, query: usize) -> bool {
        self.progress.get(query).is_none_or(|p| p.complete)
    }

    /// A query begins again.
    fn reset(&mut self, query: usize) -> Result {
        *self.progress.get_mut(query).ok_or(code::EINVAL)? = Progress::default();
        Ok(())
    }

    /// Makes hits of what was collected for a query, none that is farther away than `farthest`. `more`: there are records that were not collected.
    #[inline(never)]
    fn take(
        &mut self,
        query: usize,
        index: &Index,
        collection: TopK<'_>,
        visible: &mut Visible<'_>,
        (more, farthest): (bool, Option<Distance>),
    ) -> Result {
        let start = query.saturating_mul(self.k);
        let hits = self
            .hits
            .get_mut(start..start.saturating_add(self.k))
            .ok_or(code::EINVAL)?;
        let progress = self.progress.get_mut(query).ok_or(code::EINVAL)?;
        self.turn = self.turn.wrapping_add(1);
        // What queries before this one found is of no use.
        self.seen.trim(self.k.saturating_mul(TURNS));
        let mut too_far = false;
        for hit in hits.iter().take(progress.found) {
            self.seen.insert(hit.inode, hit.label, self.turn)?;
        }
        for candidate in collection.into_sorted() {
            let Some(hit) = hits.get_mut(progress.found) else {
                break;
            };
            let rank = candidate.rank;
            if farthest.is_some_and(|farthest| rank.distance > farthest) {
                too_far = true;
                break;
            }
            progress.last = Some(rank);
            if self.seen.get(rank.inode, rank.label) == Some(self.turn) {
                continue;
            }
            let record = pass::record(index.id, candidate);
            let Some(place) = visible.path(&record)? else {
                continue;
            };
            *hit = Hit {
                inode: rank.inode,
                label: rank.label,
                tag: candidate.tag,
                distance: rank.distance.to_f64_bits(),
                generation: record.generation,
                // Those that do not fit are not returned.
                path_offset: place.offset as u32,
                path_len: place.len as u32,
                reserved0: 0,
            };
            progress.found = progress.found.saturating_add(1);
            self.seen.insert(rank.inode, rank.label, self.turn)?;
        }
        progress.complete = progress.found == self.k || too_far || !more;
        Ok(())
    }

    /// Writes hits and their numbers to the caller's arrays.
    pub(super) fn write(&self, hits: u64, counts: u64) -> Result {
        let mut found = KVVec::<u32>::with_capacity(self.progress.len(), GFP_KERNEL_ACCOUNT)?;
        // Hits that follow each other are written together.
        let mut rows = 0..0usize;
        for (query, progress) in self.progress.iter().enumerate() {
            let start = query.saturating_mul(self.k);
            if rows.end != start {
                self.write_rows(hits, rows)?;
                rows = start..start;
            }
            rows.end = start.saturating_add(progress.found);
            found.push(progress.found as u32, GFP_KERNEL_ACCOUNT)?;
        }
        self.write_rows(hits, rows)?;
        request::write(counts, 0, found.as_bytes())
    }

    /// Writes some hits to their places in the caller's array.
    fn write_rows(&self, hits: u64, rows: Range<usize>) -> Result {
        let offset = rows.start.saturating_mul(size_of::<Hit>());
        let rows = self.hits.get(rows).ok_or(code::EINVAL)?;
        request::write(hits, offset, rows.as_bytes())
    }
}
