// SPDX-License-Identifier: GPL-2.0-only
//! The k nearest candidates seen so far, in memory that the caller brings.
//!
//! # Results that are never short
//! A candidate that the caller of a search may not see must not take a place
//! from one that he may. There are two ways, and both give exactly the k nearest
//! permitted candidates:
//! - **On admission** (one pass): ask [`TopK::admits`] for every candidate, check
//!   permission only if it answers yes, then [`TopK::offer`]. In a scan of n
//!   candidates in random order that is about `k * ln(n / k)` checks.
//! - **Afterwards** (several passes): collect, drop what is not permitted, and if
//!   fewer than wanted remain and the collection was full, scan again with
//!   [`TopK::after`] the last rank seen. Passes are disjoint and in order, so
//!   their permitted results, one after the other, are the result.

use crate::Distance;

/// The place of a candidate in the order of results: nearest first, and among
/// equally distant ones by inode, then by label. Within one index no two
/// candidates have the same rank, so results do not depend on the order of the
/// scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    /// Distance to the query.
    pub distance: Distance,
    /// Inode number of the file that carries the record.
    pub inode: u64,
    /// The record's label.
    pub label: u64,
}

/// A record that may become a hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the order of results.
    pub rank: Rank,
    /// The record's user tag.
    pub tag: u64,
    /// Where the record is, in whatever terms the caller likes; never looked at.
    pub location: u64,
}

/// The k nearest of the candidates offered.
///
/// # Invariants
/// The first `len` entries of `entries` are a binary heap whose root is the
/// farthest; `len` is at most the slice's length. All of their ranks are greater
/// than `after`, if that is given, and their distances valid.
#[derive(Debug)]
pub struct TopK<'a> {
    entries: &'a mut [Candidate],
    len: usize,
    after: Option<Rank>,
}

impl<'a> TopK<'a> {
    /// Collects the `entries.len()` nearest. What the slice holds is overwritten.
    pub fn new(entries: &'a mut [Candidate]) -> TopK<'a> {
        TopK {
            entries,
            len: 0,
            after: None,
        }
    }

    /// Collects the nearest among those that rank behind `last`.
    pub fn after(entries: &'a mut [Candidate], last: Rank) -> TopK<'a> {
        TopK {
            entries,
            len: 0,
            after: Some(last),
        }
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Candidates collected.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is collected.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether k are collected, so that further ones displace others.
    pub const fn is_full(&self) -> bool {
        self.len == self.entries.len()
    }

    /// The farthest collected candidate: what a new one has to beat once the
    /// collection is full.
    pub fn farthest(&self) -> Option<&Candidate> {
        self.collected().first()
    }

    /// Whether a candidate of this rank would be collected.
    ///
    /// A scan asks this before it spends anything else on the candidate.
    pub fn admits(&self, rank: &Rank) -> bool {
        if !rank.distance.is_valid() || self.after.is_some_and(|after| *rank <= after) {
            return false;
        }
        if !self.is_full() {
            return true;
        }
        self.farthest()
            .is_some_and(|farthest| *rank < farthest.rank)
    }

    /// Collects `candidate` if it is among the k nearest so far, which may
    /// displace the farthest. Answers whether it was.
    pub fn offer(&mut self, candidate: Candidate) -> bool {
        if !self.admits(&candidate.rank) {
            return false;
        }
        if self.is_full() {
            sink(self.entries, self.len, candidate);
        } else {
            self.len = self.len.saturating_add(1);
            rise(self.entries, self.len, candidate);
        }
        true
    }

    /// Offers everything that `other` has collected.
    pub fn merge(&mut self, other: &TopK<'_>) {
        for candidate in other.collected() {
            self.offer(*candidate);
        }
    }

    /// The candidates collected, in no particular order but for the first, which
    /// is the farthest.
    pub fn collected(&self) -> &[Candidate] {
        self.entries.get(..self.len).unwrap_or(&[])
    }

    /// The candidates collected, nearest first.
    pub fn into_sorted(self) -> &'a mut [Candidate] {
        let TopK { entries, len, .. } = self;
        // The second half of heapsort: take the farthest off the heap and put it
        // where the heap has just ended.
        let mut heap = len;
        while heap > 1 {
            heap = heap.saturating_sub(1);
            let (Some(&farthest), Some(&last)) = (entries.first(), entries.get(heap)) else {
                break; // heap < len <= entries.len()
            };
            sink(entries, heap, last);
            put(entries, heap, farthest);
        }
        entries.get_mut(..len).unwrap_or_default()
    }
}

/// Writes an entry that exists.
fn put(entries: &mut [Candidate], at: usize, candidate: Candidate) {
    if let Some(entry) = entries.get_mut(at) {
        *entry = candidate;
    }
}

/// Puts `candidate` in place of the root of the heap `entries[..len]` and moves
/// it down to where it belongs.
fn sink(entries: &mut [Candidate], len: usize, candidate: Candidate) {
    let mut hole = 0usize;
    loop {
        let left = hole.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let Some(heap) = entries.get(..len) else {
            return;
        };
        let (child, farther) = match (heap.get(left), heap.get(right)) {
            (Some(l), Some(r)) if r.rank > l.rank => (right, *r),
            (Some(l), _) => (left, *l),
            (None, _) => break,
        };
        if farther.rank <= candidate.rank {
            break;
        }
        put(entries, hole, farther);
        hole = child;
    }
    put(entries, hole, candidate);
}

/// Puts `candidate` at the end of the heap `entries[..len]`, whose last entry is
/// free, and moves it up to where it belongs.
fn rise(entries: &mut [Candidate], len: usize, candidate: Candidate) {
    let mut hole = len.saturating_sub(1);
    while hole > 0 {
        let parent = hole.saturating_sub(1) / 2;
        let Some(&above) = entries.get(parent) else {
            return;
        };
        if above.rank >= candidate.rank {
            break;
        }
        put(entries, hole, above);
        hole = parent;
    }
    put(entries, hole, candidate);
}
