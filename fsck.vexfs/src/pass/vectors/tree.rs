// SPDX-License-Identifier: GPL-2.0-only
//! The part of pass 6 that reads search trees: every partition reached once and in its place, entries and locations leading to each other, places
//! without entries erased, and every code computed again from the vector itself.

use super::Found;
use crate::check::Check;
use crate::problem::{Code, Problem};
use image::checksum::crc32;
use layout::block::{read_header, BlockKind};
use layout::ino;
use layout::partition::{
    get_centroid, get_entry, reference, referred_child, referred_record, unit_of, Header, Shape,
};
use layout::segment::{verify_slot, SLOT_HEADER};
use layout::vector::Index;
use layout::{Block, BLOCK_SIZE};
use std::collections::BTreeMap;
use vector::ann::Rotation;
use vector::{Compute, Kind, Userspace};

/// What the search tree is held to in a segment.
pub struct Located {
    /// Bytes of a slot.
    pub size: usize,
    /// Whether each slot is in use.
    pub used: Vec<bool>,
    /// The leaf that has each slot's entry, 0 for none. Made 0 when the entry is found.
    pub locations: Vec<u64>,
    /// The node of each slot, 0 for none.
    pub nodes: Vec<u64>,
}

/// Checks the trees of all indexes.
pub fn run(check: &mut Check<'_>, found: &mut Found) {
    let indexes: Vec<Index> = found.indexes.values().copied().collect();
    for index in indexes {
        let Ok(shape) = Shape::new(index.dim) else {
            continue;
        };
        let kind = Kind::from_codes(index.element as u32, index.metric as u32, index.dim);
        let Ok(kind) = kind else {
            continue;
        };
        let mine = (index.id, 0)..=(index.id, u64::MAX);
        let segments = found.located.range_mut(mine);
        let segments: BTreeMap<u64, &mut Located> =
            segments.map(|((_, start), l)| (*start, l)).collect();
        // Without all of its segments, nothing can be said of what entries lead to.
        let whole = segments.len() as u64 == u64::from(index.segments);
        let mut tree = Tree {
            check,
            index,
            shape,
            kind,
            segments,
            whole: whole && !index.dropping && !found.bad.contains(&index.id),
            signs: vec![0; Rotation::memory(&shape)],
            partitions: 0,
            entries: 0,
            lost: false,
        };
        tree.run();
    }
}

/// A tree that is being walked.
struct Tree<'a, 'b, 's> {
    check: &'a mut Check<'b>,
    index: Index,
    shape: Shape,
    kind: Kind,
    segments: BTreeMap<u64, &'s mut Located>,
    /// Whether entries can be compared with records.
    whole: bool,
    signs: Vec<u16>,
    partitions: u64,
    entries: u64,
    /// A partition could not be used: counts mean nothing.
    lost: bool,
}

impl Tree<'_, '_, '_> {
    fn report(&mut self, code: Code, block: u64, what: impl Into<String>) {
        let problem = Problem::new(code).index(self.index.id).block(block);
        self.check.report(problem.detail(what));
    }

    fn run(&mut self) {
        let tree = self.index.tree;
        if tree.root != 0 {
            self.partition(tree.root, tree.height - 1, 0);
        }
        if self.lost {
            return;
        }
        let mut compare = |what: &str, stored: u64, real: u64| {
            if stored != real {
                let problem = Problem::new(Code::IndexTree).index(self.index.id);
                let what = format!("{what}: {stored}, not {real}");
                self.check.report(problem.detail(what));
            }
        };
        compare("partitions", u64::from(tree.partitions), self.partitions);
        if !self.whole {
            return;
        }
        compare("entries", tree.entries, self.entries);
        let mut left = Vec::new();
        for (start, segment) in &self.segments {
            let slots = segment.locations.iter().enumerate();
            left.extend(
                slots
                    .filter(|(slot, leaf)| **leaf != 0 && segment.used[*slot])
                    .map(|(slot, leaf)| {
                        (*leaf, format!("none for slot {slot} of segment {start}"))
                    }),
            );
        }
        for (leaf, what) in left {
            self.report(Code::PartitionEntry, leaf, what);
        }
    }

    /// The blocks of a partition, and what it says of itself.
    fn read(&mut self, start: u64, level: u8, parent: u64) -> Result<(Vec<Block>, Header), String> {
        let mut blocks = Vec::with_capacity(self.shape.blocks());
        for number in start..start + self.shape.blocks() as u64 {
            let block = self
                .check
                .reader
                .block(number, BlockKind::Partition)
                .map_err(|why| format!("block {number}: {why}"))?;
            let owner = read_header(&block, BlockKind::Partition).map_or(0, |h| h.owner);
            if owner != u64::from(self.index.id) {
                return Err(format!("block {number} is another index's"));
            }
            blocks.push(*block);
        }
        let unit = unit_of(&blocks[0], 0).ok_or("short block")?;
        let h = Header::read(&self.shape, unit).map_err(|e| e.0)?;
        let expected = (self.index.id, level, parent);
        if (h.index, h.level, h.parent) != expected {
            return Err(format!(
                "index, level and parent are {:?}, not {expected:?}",
                (h.index, h.level, h.parent)
            ));
        }
        if h.entries == 0 && level != 0 && !self.index.dropping {
            return Err("no entries".into());
        }
        Ok((blocks, h))
    }

    /// Checks a partition and all below. Returns its centroid, if it can be used.
    fn partition(&mut self, start: u64, level: u8, parent: u64) -> Option<Vec<u32>> {
        self.partitions += 1;
        let len = self.shape.blocks() as u64;
        if !self.check.reader.sb.geometry.is_data(start, len) {
            self.lost = true;
            self.check.lost_blocks = true;
            self.report(Code::PartitionBad, start, "no data blocks");
            return None;
        }
        if !self.check.mark(start, len, ino::INDEX_TABLE) {
            self.lost = true;
            return None;
        }
        let (blocks, header) = match self.read(start, level, parent) {
            Ok(read) => read,
            Err(why) => {
                self.lost = true;
                self.whole = false;
                // What is below it is not known.
                self.check.lost_blocks |= level != 0;
                self.report(Code::PartitionBad, start, why);
                return None;
            }
        };
        let padded = self.shape.padded();
        let (mut centroid, mut code) = (vec![0; padded], vec![0; padded]);
        get_centroid(&self.shape, &blocks[..], &mut centroid).ok()?;
        let entries = usize::from(header.entries);
        for n in 0..self.shape.capacity() {
            let factors = get_entry(&self.shape, &blocks[..], n, &mut code).ok()?;
            let refers = reference(&self.shape, &blocks[..], n).ok()?;
            if n >= entries {
                let zero = code.iter().all(|u| *u == 0);
                if !zero || refers != 0 || factors.iter().any(|f| *f != 0) {
                    self.report(Code::PartitionNotErased, start, format!("place {n}"));
                }
                continue;
            }
            let vector = if level == 0 {
                self.entries += 1;
                self.record(start, refers)
            } else {
                match referred_child(refers) {
                    Some(child) => self.partition(child, level - 1, start),
                    None => {
                        self.lost = true;
                        self.check.lost_blocks = true;
                        self.report(
                            Code::PartitionBad,
                            start,
                            format!("entry {n} leads nowhere"),
                        );
                        None
                    }
                }
            };
            let Some(vector) = vector.filter(|_| !self.index.dropping) else {
                continue;
            };
            let (mut expected, mut result) = (vec![0; padded], Ok([0; 5]));
            Userspace::detect().with_fpu(&mut |fpu| {
                result = fpu.encode(self.kind.metric(), &vector, &centroid, &mut expected);
            });
            if result != Ok(factors) || code != expected {
                self.report(Code::PartitionCode, start, format!("entry {n}"));
            }
        }
        Some(centroid)
    }

    /// The vector of a leaf's entry, in rotated space, if the entry leads to a record that leads back.
    fn record(&mut self, leaf: u64, refers: u64) -> Option<Vec<u32>> {
        if !self.whole {
            return None;
        }
        let (start, slot) = referred_record(refers);
        let what = format!("entry for slot {slot} of segment {start}");
        let at = slot as usize;
        let found = self
            .segments
            .get_mut(&start)
            .filter(|s| s.used.get(at) == Some(&true) && s.locations.get(at) == Some(&leaf));
        let Some(segment) = found else {
            self.report(Code::PartitionEntry, leaf, what);
            return None;
        };
        segment.locations[at] = 0;
        let kind = (&self.index, &self.shape, &self.kind);
        rotated(self.check, kind, &mut self.signs, segment, start, slot)
    }
}

/// The vector of the record in a slot, in rotated space; `None` if it cannot be read, which has been reported.
pub fn rotated(
    check: &Check<'_>,
    (index, shape, kind): (&Index, &Shape, &Kind),
    signs: &mut [u16],
    segment: &Located,
    start: u64,
    slot: u32,
) -> Option<Vec<u32>> {
    let at = slot as usize;
    let from = at * segment.size;
    let size = segment.size;
    let first = from / BLOCK_SIZE;
    let blocks = (from + size).div_ceil(BLOCK_SIZE) - first;
    let mut data = vec![0; blocks * BLOCK_SIZE];
    // What cannot be read, or fails its checksum, has been reported.
    check.reader.run(start + 1 + first as u64, &mut data).ok()?;
    let slot = &data[from - first * BLOCK_SIZE..][..size];
    verify_slot(slot, check.reader.sb.seed, crc32).ok()?;
    let elements = &slot[SLOT_HEADER..][..index.vector_bytes()];
    let mut out = vec![0; shape.padded()];
    let rotation = Rotation::derive(shape, index.tree.rotation, signs).ok()?;
    let mut result = Ok(());
    Userspace::detect().with_fpu(&mut |fpu| {
        result = fpu.rotate(&rotation, kind, elements, &mut out);
    });
    result.ok().map(|()| out)
}
