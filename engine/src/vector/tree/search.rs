// SPDX-License-Identifier: GPL-2.0-only
//! Finding the records that are probably nearest to a query: a beam through the levels, then the leaves that seem nearest, some partitions in a step; at last
//! the records themselves, for their exact distances, which somebody else computes. It may not know who may see what.
//!
//! Between two steps the index may change. Records put, removed or overwritten meanwhile may be found or not, as in a scan; when partitions or
//! segments come or go, which `changes` of the index tells, the search begins anew, for what it remembers may lead nowhere. Whoever wants it to come
//! to an end beside a busy writer takes more steps in one hold of the lock.

use super::fetch::copy_records;
use super::memory::{part, prepare, rotate};
use super::shape;
use super::view::View;
use crate::error::{Error, Result};
use crate::io::ReadBlocks;
use crate::vector::scan::Batch;
use ::vector::ann::{Noted, Query, QueryMemory, Rotation, NO_LIMIT};
use ::vector::Compute;
use core::cmp::Ordering;
use layout::partition::Shape;
use layout::vector::Index;

/// Something that was found: a partition to be looked at, or a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// Estimate of its distance; smaller is nearer.
    pub key: u32,
    /// First block of a partition, or reference of a record.
    pub what: u64,
}

impl Ord for Near {
    /// By distance, then by what it is.
    fn cmp(&self, o: &Near) -> Ordering {
        // One comparison without branches: this is most of what keeping candidates in order takes.
        let whole = |n: &Near| u128::from(n.key) << 64 | u128::from(n.what);
        whole(self).cmp(&whole(o))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, o: &Near) -> Option<Ordering> {
        Some(self.cmp(o))
    }
}

/// Memory of a search; lengths as said, or longer.
#[derive(Debug)]
pub struct SearchMemory<'m> {
    /// As [`super::Lengths`] says.
    pub signs: &'m mut [u16],
    /// As [`super::Lengths`] says.
    pub rotated: &'m mut [u32],
    /// As [`super::Lengths`] says.
    pub table: &'m mut [u8],
    /// As [`super::Lengths`] says.
    pub bytes: &'m mut [u8],
    /// Partitions to be looked at: [`Search::partitions`] of the probes.
    pub partitions: &'m mut [Near],
    /// Records: as many as are wanted.
    pub found: &'m mut [Near],
    /// Entries that the query takes an interest in.
    pub noted: &'m mut Noted,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do.
    More,
    /// The records are found; now [`Search::fetch`] gives them.
    Done,
}

/// What [`Search::fetch`] gave.
#[derive(Clone, Copy, Debug)]
pub enum Fetched<'a> {
    /// Records, in no order.
    Batch(Batch<'a>),
    /// There are no more.
    Done,
    /// The index changed: what was fetched before is not all, or not the best. The search begins anew with the next step.
    Changed,
}

/// The nearest of what was offered: a heap with the farthest on top while it grows, then in order.
///
/// # Invariants
/// `len <= most <= items.len()`. The first `len` of `items` are a heap (none is less than those at twice its place and one or two more), until
/// [`Nearest::sort`]; they ascend after it.
#[derive(Debug)]
struct Nearest<'m> {
    items: &'m mut [Near],
    len: usize,
    /// How many are of interest.
    most: usize,
}

impl<'m> Nearest<'m> {
    fn new(items: &'m mut [Near]) -> Nearest<'m> {
        Nearest {
            most: items.len(),
            items,
            len: 0,
        }
    }

    /// Forgets all; `most` are of interest from now on, or as many as there is room for.
    fn clear(&mut self, most: usize) {
        self.len = 0;
        self.most = most.min(self.items.len());
    }

    /// The smallest key that is of no interest.
    fn limit(&self) -> u32 {
        match self.items.first() {
            Some(farthest) if self.len == self.most && self.len != 0 => farthest.key,
            _ => NO_LIMIT,
        }
    }

    /// Takes something in, if it is near enough.
    fn offer(&mut self, new: Near) {
        if self.len < self.most {
            self.len = self.len.saturating_add(1);
            self.rise(new);
        } else if self.get(0).is_some_and(|farthest| new < farthest) {
            // The farthest makes place.
            self.sink(self.len, new);
        }
    }

    /// Puts `new` at the last place, or above it.
    fn rise(&mut self, new: Near) {
        let mut hole = self.len.saturating_sub(1);
        while let Some(up) = hole.checked_sub(1).map(|n| n / 2) {
            match self.items.get(up).copied() {
                Some(above) if above < new => self.set(hole, above),
                _ => break,
            }
            hole = up;
        }
        self.set(hole, new);
    }

    /// Puts `new` on top of the first `len`, or below.
    fn sink(&mut self, len: usize, new: Near) {
        let mut hole = 0usize;
        loop {
            let left = hole.saturating_mul(2).saturating_add(1);
            let heap = self.items.get(..len).unwrap_or(&[]);
            let (child, greater) = match (heap.get(left), heap.get(left.saturating_add(1))) {
                (Some(l), Some(r)) if l < r => (left.saturating_add(1), *r),
                (Some(l), _) => (left, *l),
                (None, _) => break,
            };
            if greater <= new {
                break;
            }
            self.set(hole, greater);
            hole = child;
        }
        self.set(hole, new);
    }

    fn set(&mut self, n: usize, near: Near) {
        if let Some(place) = self.items.get_mut(n) {
            *place = near;
        }
    }

    /// Puts them in order, nearest first. Nothing may be offered after that.
    fn sort(&mut self) {
        for end in (1..self.len).rev() {
            if let (Some(farthest), Some(last)) = (self.get(0), self.get(end)) {
                self.sink(end, last);
                self.set(end, farthest);
            }
        }
    }

    fn get(&self, n: usize) -> Option<Near> {
        self.items.get(..self.len)?.get(n).copied()
    }
}

/// A search of one query.
#[derive(Debug)]
pub struct Search<'m> {
    id: u32,
    shape: Shape,
    query: Query<'m>,
    noted: &'m mut Noted,
    /// Leaves looked at.
    probes: usize,
    /// Partitions of the present level.
    level: Nearest<'m>,
    /// Those of the next level.
    below: Nearest<'m>,
    /// Records.
    found: Nearest<'m>,
    /// How many of the present level were looked at.
    at: usize,
    /// How many records were fetched.
    fetched: usize,
    /// Whether the records are in order.
    sorted: bool,
    /// The present level.
    height: u8,
    /// `changes` of the index when it began; `None`: to begin.
    changes: Option<u64>,
    /// Partitions looked at in all.
    seen: u64,
}

/// At least this many partitions of every level above the leaves are looked at.
const LEAST: usize = 4;
/// Partitions looked at in one step.
const AT_ONCE: usize = 8;
/// So many times fewer partitions of a level are looked at than of the one below.
const NARROW: u32 = 2;

impl<'m> Search<'m> {
    /// Length of [`SearchMemory::partitions`] for that many leaves.
    pub const fn partitions(probes: usize) -> usize {
        let most = if probes < LEAST { LEAST } else { probes };
        most.saturating_mul(2)
    }

    /// Begins a search for the records nearest to `vector`, elements as the index has them, which the caller has validated. `probes` leaves are looked
    /// at, at least one; as many records are wanted as [`SearchMemory::found`] has room for.
    ///
    /// Errors: [`Error::Range`] if `vector` is not one of the index; [`Error::Internal`] if the memory is too small.
    pub fn new(
        compute: &dyn Compute,
        index: &Index,
        vector: &[u8],
        probes: usize,
        memory: SearchMemory<'m>,
    ) -> Result<Search<'m>> {
        if vector.len() != index.vector_bytes() {
            return Err(Error::Range("vector of the wrong length for its index"));
        }
        let shape = shape(index)?;
        let rotated = part(memory.rotated, shape.padded())?;
        rotate(compute, index, &shape, memory.signs, vector, rotated)?;
        let query = prepare(compute, index, &shape, rotated, memory.table, memory.bytes)?;
        let probes = probes.max(1);
        let lists = part(memory.partitions, Self::partitions(probes))?;
        let half = lists.len() / 2;
        let (level, below) = lists
            .split_at_mut_checked(half)
            .ok_or(Error::Internal("a list without a half"))?;
        Ok(Search {
            id: index.id,
            shape,
            query,
            noted: memory.noted,
            probes,
            level: Nearest::new(level),
            below: Nearest::new(below),
            found: Nearest::new(memory.found),
            at: 0,
            fetched: 0,
            sorted: false,
            height: 0,
            changes: None,
            seen: 0,
        })
    }

    /// Entries of [`SearchMemory`]'s `signs`, `rotated`, `table` and `bytes` for an index.
    ///
    /// Errors: [`Error::Internal`] for a dimension that no index has.
    pub fn lengths(index: &Index) -> Result<(usize, [usize; 3])> {
        let shape = shape(index)?;
        Ok((Rotation::memory(&shape), QueryMemory::lengths(&shape)))
    }

    /// What was found, in any order, after [`Progress::Done`].
    pub(crate) fn found(&self) -> &[Near] {
        self.found.items.get(..self.found.len).unwrap_or(&[])
    }

    /// Partitions looked at.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Whether [`Search::fetch`] has given all records since the search began last: the next call, if the index is as it was, gives [`Fetched::Done`].
    pub fn is_fetched(&self) -> bool {
        self.changes.is_some() && self.fetched >= self.found.len
    }

    /// How many partitions of a level are looked at.
    fn width(&self, level: u8) -> usize {
        let shift = NARROW.saturating_mul(u32::from(level));
        let width = self.probes.checked_shr(shift).unwrap_or(0);
        if level == 0 {
            self.probes
        } else {
            width.max(LEAST)
        }
    }

    fn begin(&mut self, index: &Index) {
        self.changes = Some(index.tree.changes);
        self.height = index.tree.height.saturating_sub(1);
        self.at = 0;
        self.fetched = 0;
        self.sorted = false;
        self.below.clear(self.width(self.height.saturating_sub(1)));
        self.found.clear(usize::MAX);
        self.level.clear(1);
        if index.tree.root != 0 {
            self.level.offer(Near {
                key: 0,
                what: index.tree.root,
            });
        }
    }

    /// Goes down one level. Returns whether there is one.
    fn descend(&mut self) -> bool {
        let Some(height) = self.height.checked_sub(1) else {
            return false;
        };
        core::mem::swap(&mut self.level, &mut self.below);
        self.level.sort();
        self.height = height;
        self.below.clear(self.width(height.saturating_sub(1)));
        self.at = 0;
        true
    }

    /// Opens the partition that is to be looked at next on this level, if there is one.
    fn open<R: ReadBlocks>(&self, io: &R, view: &mut View<R>) -> Result<()> {
        match self.level.get(self.at) {
            Some(next) => view.open(io, self.id, &self.shape, next.what, self.height),
            None => {
                view.close();
                Ok(())
            }
        }
    }

    /// Looks at the next partitions, [`AT_ONCE`] at most. `index` was just loaded.
    ///
    /// Errors: [`Error::Internal`] if it is another index; [`Error::Corrupt`], [`Error::Io`].
    pub fn step<R: ReadBlocks>(
        &mut self,
        io: &R,
        compute: &dyn Compute,
        index: &Index,
    ) -> Result<Progress> {
        if index.id != self.id {
            return Err(Error::Internal("search goes on in another index"));
        }
        if self.changes != Some(index.tree.changes) {
            self.begin(index);
        }
        let (mut view, mut next) = (View::closed(), View::closed());
        for _ in 0..AT_ONCE {
            core::mem::swap(&mut view, &mut next);
            next.close();
            if !view.is_open() {
                self.open(io, &mut view)?;
            }
            if !view.is_open() {
                if self.descend() {
                    continue;
                }
                if !self.sorted {
                    self.found.sort();
                    self.sorted = true;
                }
                return Ok(Progress::Done);
            }
            self.at = self.at.saturating_add(1);
            self.seen = self.seen.saturating_add(1);
            self.open(io, &mut next)?;
            self.look(compute, &view, next.is_open().then_some(&next))?;
        }
        Ok(Progress::More)
    }

    /// Looks at a partition; `next` comes after it.
    fn look<R: ReadBlocks>(
        &mut self,
        compute: &dyn Compute,
        view: &View<R>,
        next: Option<&View<R>>,
    ) -> Result<()> {
        let leaf = self.height == 0;
        let list = if leaf {
            &mut self.found
        } else {
            &mut self.below
        };
        let (limit, most) = (list.limit(), list.most);
        view.probe(compute, &self.query, limit, most, next, self.noted)?;
        for (entry, key) in self.noted.iter() {
            if key < list.limit() {
                let what = if leaf {
                    view.reference(&self.shape, entry)?
                } else {
                    view.child(&self.shape, entry)?
                };
                list.offer(Near { key, what });
            }
        }
        Ok(())
    }

    /// Copies the next records that were found into `buf`, after [`Progress::Done`], nearest by estimate first. `index` was just loaded.
    ///
    /// Errors: [`Error::BufferTooSmall`] if `buf` holds not even one slot; [`Error::Corrupt`], [`Error::Io`].
    pub fn fetch<'b, R: ReadBlocks>(
        &mut self,
        io: &R,
        index: &Index,
        buf: &'b mut [u8],
    ) -> Result<Fetched<'b>> {
        if index.id != self.id || self.changes != Some(index.tree.changes) {
            self.changes = None;
            return Ok(Fetched::Changed);
        }
        let found = self.found.items.get_mut(self.fetched..self.found.len);
        let found = found.unwrap_or_default();
        if found.is_empty() {
            return Ok(Fetched::Done);
        }
        let (seen, batch) = copy_records(io, index, found, buf)?;
        self.fetched = self.fetched.saturating_add(seen);
        Ok(Fetched::Batch(batch))
    }
}
