// SPDX-License-Identifier: GPL-2.0-only
//! The peer of the engine's allocator: for every group two trees of its free extents in memory, one by place and one by
//! length, as XFS has them on disk. The bitmap is changed as well, as it would be the truth on disk.

use engine::bitmap;
use layout::geometry::Geometry;
use layout::Block;
use std::collections::{BTreeMap, BTreeSet};

/// Groups that are looked at for a longer run once a usable one is known: the engine's number.
const LOOK_FURTHER: u32 = 8;

struct Group {
    bits: Box<Block>,
    by_place: BTreeMap<u32, u32>,
    by_length: BTreeSet<(u32, u32)>,
}

impl Group {
    fn insert(&mut self, start: u32, len: u32) {
        let (mut start, mut len) = (start, len);
        if let Some((&s, &l)) = self.by_place.range(..start).next_back() {
            if s + l == start {
                self.remove(s, l);
                (start, len) = (s, len + l);
            }
        }
        if let Some((&s, &l)) = self.by_place.range(start + len..).next() {
            if s == start + len {
                self.remove(s, l);
                len += l;
            }
        }
        self.by_place.insert(start, len);
        self.by_length.insert((len, start));
    }

    fn remove(&mut self, start: u32, len: u32) {
        self.by_place.remove(&start);
        self.by_length.remove(&(len, start));
    }

    /// The run at `goal` if it is long enough, else the shortest that is, else the longest.
    fn find(&self, goal: u32, want: u32) -> Option<(u32, u32)> {
        if let Some((&start, &len)) = self.by_place.range(..=goal).next_back() {
            if start + len >= goal + want {
                return Some((goal, start + len - goal));
            }
        }
        let fit = self.by_length.range((want, 0)..).next();
        let best = fit.or_else(|| self.by_length.iter().next_back())?;
        Some((best.1, best.0))
    }
}

/// Free space of all groups.
pub struct Trees {
    geometry: Geometry,
    groups: Vec<Group>,
    freed: Vec<(u64, u32)>,
}

impl Trees {
    /// Reads the bitmaps of all groups, as a mount would. `bitmap_of` gives the block, or `None` where nothing is in use.
    pub fn build(geometry: Geometry, mut bitmap_of: impl FnMut(u32) -> Option<Box<Block>>) -> Self {
        let groups = (0..geometry.groups)
            .map(|g| {
                let begin = (geometry.data_start(g) - geometry.group_start(g)) as u32;
                let end = (geometry.group_end(g) - geometry.group_start(g)) as u32;
                let bits = bitmap_of(g).unwrap_or_else(|| {
                    let mut bits = Box::new([0; layout::BLOCK_SIZE]);
                    let _ = bitmap::set(&mut bits, 0, begin);
                    bits
                });
                let mut group = Group {
                    bits,
                    by_place: BTreeMap::new(),
                    by_length: BTreeSet::new(),
                };
                let mut at = begin;
                while let Some((start, len)) =
                    bitmap::next_run(at, end, u32::MAX, |n| bitmap::word(&group.bits, n))
                {
                    group.by_place.insert(start, len);
                    group.by_length.insert((len, start));
                    at = start + len;
                }
                group
            })
            .collect();
        Self {
            geometry,
            groups,
            freed: Vec::new(),
        }
    }

    /// Free extents of all groups.
    pub fn extents(&self) -> usize {
        self.groups.iter().map(|g| g.by_place.len()).sum()
    }

    /// Allocates at most `max` blocks near `goal`.
    pub fn alloc(&mut self, goal: u64, max: u32) -> Option<(u64, u32)> {
        let goal = goal.clamp(self.geometry.system_end, self.geometry.blocks - 1);
        let first = self.geometry.group_of(goal);
        let groups = self.geometry.groups;
        let mut best: Option<(u32, u32, u32)> = None;
        let mut further = 0;
        for i in 0..groups {
            let g = (first + i) % groups;
            let group = self.groups.get(g as usize)?;
            let from = if i == 0 {
                (goal - self.geometry.group_start(g)) as u32
            } else {
                0
            };
            let least = best.map_or(1, |b| b.2 + 1);
            if group.by_length.last().is_some_and(|l| l.0 >= least) {
                if let Some((start, len)) = group.find(from, max) {
                    best = Some((g, start, len));
                }
            }
            if let Some(found) = best {
                if found.2 >= max || further >= LOOK_FURTHER {
                    break;
                }
                further += 1;
            }
        }
        let (g, start, found) = best?;
        let len = found.min(max);
        let group = self.groups.get_mut(g as usize)?;
        let (&whole, &whole_len) = group.by_place.range(..=start).next_back()?;
        group.remove(whole, whole_len);
        if whole < start {
            group.by_place.insert(whole, start - whole);
            group.by_length.insert((start - whole, whole));
        }
        let rest = whole + whole_len - (start + len);
        if rest > 0 {
            group.by_place.insert(start + len, rest);
            group.by_length.insert((rest, start + len));
        }
        bitmap::set(&mut group.bits, start, len)?;
        Some((self.geometry.group_start(g) + u64::from(start), len))
    }

    /// Frees blocks when the transaction commits.
    pub fn free(&mut self, start: u64, len: u32) {
        self.freed.push((start, len));
    }

    /// Ends a transaction.
    pub fn commit(&mut self) {
        for (start, len) in std::mem::take(&mut self.freed) {
            let g = self.geometry.group_of(start);
            let first = (start - self.geometry.group_start(g)) as u32;
            if let Some(group) = self.groups.get_mut(g as usize) {
                let _ = bitmap::clear(&mut group.bits, first, len);
                group.insert(first, len);
            }
        }
    }
}
