// SPDX-License-Identifier: GPL-2.0-only
//! Which blocks something was found to use: one bitmap a group, made when the group's first block is marked, so that memory follows use and
//! not the size of the filesystem.

use layout::geometry::{Geometry, GROUP_BLOCKS};
use std::collections::BTreeMap;

const WORDS: usize = (GROUP_BLOCKS / 64) as usize;

/// A group's bits; bit n of word w is block `w * 64 + n` of the group.
type Bits = Box<[u64; WORDS]>;

/// Blocks in use.
pub struct Usage {
    geometry: Geometry,
    groups: BTreeMap<u32, Bits>,
}

/// What marking came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// All blocks were free before.
    New,
    /// This block, the first of them, was in use already; the others are marked now.
    Shared(u64),
}

impl Usage {
    /// Nothing in use.
    pub fn new(geometry: Geometry) -> Usage {
        Usage {
            geometry,
            groups: BTreeMap::new(),
        }
    }

    /// Marks a run; the caller has checked that it lies in the data area of one group.
    pub fn mark(&mut self, start: u64, len: u64) -> Marked {
        let group = self.geometry.group_of(start);
        let base = self.geometry.group_start(group);
        let bits = self
            .groups
            .entry(group)
            .or_insert_with(|| Box::new([0; WORDS]));
        let (first, end) = (start - base, (start - base + len).min(GROUP_BLOCKS));
        let mut shared = None;
        let mut at = first;
        while at < end {
            let bit = at % 64;
            let n = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - n)) << bit;
            let word = &mut bits[(at / 64) as usize];
            let both = *word & mask;
            if both != 0 && shared.is_none() {
                shared = Some(base + (at - bit) + u64::from(both.trailing_zeros()));
            }
            *word |= mask;
            at += n;
        }
        shared.map_or(Marked::New, Marked::Shared)
    }

    /// Word `n` of a group.
    pub fn word(&self, group: u32, n: u32) -> u64 {
        let bits = self.groups.get(&group);
        bits.and_then(|b| b.get(n as usize)).copied().unwrap_or(0)
    }

    /// Blocks in use of a group.
    pub fn count(&self, group: u32) -> u32 {
        let bits = self.groups.get(&group);
        bits.map_or(0, |b| b.iter().map(|w| w.count_ones()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::format::{plan, Options};

    #[test]
    fn runs_across_words_and_overlaps() {
        let geometry = plan(&Options::new(100_000)).unwrap().geometry;
        let mut usage = Usage::new(geometry);
        let base = geometry.group_start(1);
        assert_eq!(usage.mark(base + 60, 100), Marked::New);
        assert_eq!(usage.count(1), 100);
        assert_eq!(usage.mark(base + 159, 1), Marked::Shared(base + 159));
        assert_eq!(usage.mark(base + 160, 1), Marked::New);
        assert_eq!(usage.mark(base, 64), Marked::Shared(base + 60));
        assert_eq!(usage.count(1), 161);
        assert_eq!((usage.word(1, 0), usage.word(1, 3)), (u64::MAX, 0));
        assert_eq!(usage.mark(base, 32_512), Marked::Shared(base));
        assert_eq!(usage.count(1), 32_512);
        assert_eq!(usage.count(0), 0);
    }
}
