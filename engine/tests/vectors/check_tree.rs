// SPDX-License-Identifier: GPL-2.0-only
//! Every rule of the search tree, checked on what lies on disk: every partition reached once, headers and parents, entries and locations leading to each other,
//! counts, erased places, and every code computed again from the exact vector.

use crate::check::Slots;
use crate::common::MemIo;
use engine::io::ReadBlocks;
use layout::block::{read_header, BlockKind};
use layout::partition::{
    get_centroid, get_entry, reference, referred_child, referred_record, Header, Shape, UNIT,
};
use layout::vector::Index;
use layout::Block;
use std::collections::BTreeMap;
use vector::ann::Rotation;
use vector::{Compute, Kind, Userspace};

/// What is known of a tree while it is walked.
struct Walk<'a> {
    io: &'a MemIo,
    index: &'a Index,
    shape: Shape,
    kind: Kind,
    compute: Userspace,
    segments: &'a BTreeMap<u64, Slots>,
    signs: Vec<u16>,
    /// Blocks of all partitions.
    blocks: Vec<u64>,
    partitions: u32,
    entries: u64,
}

/// Checks the tree of an index whose segments were read. Returns the blocks of its partitions.
pub fn check(io: &MemIo, index: &Index, segments: &BTreeMap<u64, Slots>) -> Vec<u64> {
    let shape = Shape::new(index.dim).unwrap();
    let mut walk = Walk {
        io,
        index,
        shape,
        kind: Kind::from_codes(index.element as u32, index.metric as u32, index.dim).unwrap(),
        compute: Userspace::portable(),
        segments,
        signs: vec![0; Rotation::memory(&shape)],
        blocks: Vec::new(),
        partitions: 0,
        entries: 0,
    };
    let tree = index.tree;
    if tree.root != 0 {
        walk.partition(tree.root, tree.height - 1, 0);
    }
    assert_eq!(
        walk.partitions, tree.partitions,
        "partitions of index {}",
        index.id
    );
    if index.dropping {
        return walk.blocks;
    }
    assert_eq!(walk.entries, tree.entries, "entries of index {}", index.id);
    let mut located = 0;
    for (start, s) in segments {
        for (slot, leaf) in s.locations.iter().enumerate() {
            let used = s.used.iter().any(|(n, ..)| *n as usize == slot);
            assert!(
                used || *leaf == 0,
                "free slot {slot} of segment {start} has a location"
            );
            located += u64::from(*leaf != 0);
        }
    }
    assert_eq!(located, tree.entries, "every location has its entry");
    walk.blocks
}

impl Walk<'_> {
    /// Checks a partition and all below. Returns its centroid.
    fn partition(&mut self, start: u64, level: u8, parent: u64) -> Vec<u32> {
        let id = u64::from(self.index.id);
        let blocks: Vec<Block> = (start..start + self.shape.blocks() as u64)
            .map(|b| {
                let data = self.io.read(b, BlockKind::Partition).unwrap();
                assert_eq!(read_header(&data, BlockKind::Partition).unwrap().owner, id);
                self.blocks.push(b);
                *data
            })
            .collect();
        self.partitions += 1;
        let unit: &[u8; UNIT] = blocks[0][UNIT..2 * UNIT].try_into().unwrap();
        let h = Header::read(&self.shape, unit).unwrap();
        assert_eq!(
            (h.index, h.level, h.parent),
            (self.index.id, level, parent),
            "partition {start}"
        );
        let mut centroid = vec![0; self.shape.padded()];
        get_centroid(&self.shape, &blocks[..], &mut centroid).unwrap();
        let entries = usize::from(h.entries);
        if !self.index.dropping {
            assert!(entries != 0 || level == 0, "partition {start} is empty");
        }
        let mut code = vec![0; self.shape.padded()];
        for n in entries..self.shape.capacity() {
            let factors = get_entry(&self.shape, &blocks[..], n, &mut code).unwrap();
            let nothing = reference(&self.shape, &blocks[..], n).unwrap();
            let zero = code.iter().all(|u| *u == 0);
            assert!(
                zero && factors == [0; 5] && nothing == 0,
                "entry {n} of {start} is not erased"
            );
        }
        for n in 0..entries {
            let refers = reference(&self.shape, &blocks[..], n).unwrap();
            let vector = if level == 0 {
                self.entries += 1;
                if self.index.dropping {
                    continue;
                }
                self.record(start, refers)
            } else {
                let child = referred_child(refers).expect("reference of a child");
                self.partition(child, level - 1, start)
            };
            let mut expected = vec![0; self.shape.padded()];
            let mut expected_factors = [0; 5];
            self.compute.with_fpu(&mut |fpu| {
                expected_factors = fpu
                    .encode(self.kind.metric(), &vector, &centroid, &mut expected)
                    .unwrap();
            });
            let factors = get_entry(&self.shape, &blocks[..], n, &mut code).unwrap();
            assert!(
                code == expected && factors == expected_factors,
                "entry {n} of partition {start}, level {level}: code differs"
            );
        }
        centroid
    }

    /// The vector of a leaf's entry, in rotated space.
    fn record(&mut self, leaf: u64, refers: u64) -> Vec<u32> {
        let (start, slot) = referred_record(refers);
        let s = self.segments.get(&start).expect("segment of an entry");
        assert_eq!(
            s.locations[slot as usize], leaf,
            "slot {slot} of segment {start}"
        );
        let (_, _, bytes) = s
            .used
            .iter()
            .find(|(n, ..)| *n == slot)
            .expect("entry of a free slot");
        let mut out = vec![0; self.shape.padded()];
        let rotation =
            Rotation::derive(&self.shape, self.index.tree.rotation, &mut self.signs).unwrap();
        self.compute.with_fpu(&mut |fpu| {
            let elements = &bytes[..self.index.vector_bytes()];
            fpu.rotate(&rotation, &self.kind, elements, &mut out)
                .unwrap();
        });
        out
    }
}
