// SPDX-License-Identifier: GPL-2.0-only
//! Verifying a search tree: what is right passes, also while it changes, and every kind of damage is found and named with its block.

use crate::memory::Memory;
use crate::tree::Clusters;
use crate::world::World;
use engine::io::ReadBlocks;
use engine::vector::tree::{verify_step, Seen, Verification};
use engine::{Error, Result};
use layout::block::BlockKind;
use layout::partition::{Header, Shape, UNIT};
use layout::segment::{location, put_location, slot_area_blocks, slot_size};

impl World {
    /// Verifies an index, which nothing changes meanwhile.
    pub fn verify(&self, id: u32) -> Result<Seen> {
        let mut memory = Memory::new(&self.index(id));
        let (mut at, mut seen) = (Verification::default(), Seen::default());
        while !at.is_done() {
            verify_step(&self.fs.io, id, &mut at, &mut seen, &mut memory.builder())?;
            assert_eq!(Verification::from_words(at.to_words()), at);
        }
        Ok(seen)
    }

    /// Verifies an index that must be right, totals included.
    pub fn verify_right(&self, id: u32) {
        let index = self.index(id);
        let seen = self.verify(id).unwrap();
        let expected = Seen {
            partitions: index.tree.partitions.into(),
            entries: index.tree.entries,
            records: index.records,
            missing: index.records - index.tree.entries,
        };
        assert_eq!(seen, expected);
    }
}

/// A tree of two levels above its leaves would take long to make; one will do.
fn planted() -> (World, u32) {
    let mut w = World::with_tree(20_000, 1);
    let id = w.create("t", 24).unwrap();
    let mut clusters = Clusters::new(24, 6, 5);
    for label in 0..500 {
        w.put(w.inos[0], id, label, 0, &clusters.next()).unwrap();
    }
    w.verify_right(id);
    (w, id)
}

/// First blocks of all leaves.
fn leaves(w: &World, id: u32) -> Vec<u64> {
    let index = w.index(id);
    let shape = Shape::new(index.dim).unwrap();
    let used = w.fs.used_blocks();
    let is_leaf = |start: &u64| {
        // Other blocks are of other kinds, or no first ones.
        w.fs.io
            .read(*start, BlockKind::Partition)
            .ok()
            .and_then(|b| Header::read(&shape, &b[UNIT..2 * UNIT].try_into().unwrap()).ok())
            .is_some_and(|h| h.index == id && h.level == 0 && h.parent == index.tree.root)
    };
    let found: Vec<u64> = used.into_iter().filter(is_leaf).collect();
    assert_eq!(found.len() + 1, index.tree.partitions as usize);
    found
}

#[track_caller]
fn expect(w: &World, id: u32, block: u64, said: &str) {
    match w.verify(id) {
        Err(Error::Corrupt { block: b, what }) if b == block && what == said => {}
        other => panic!("{other:?} in place of block {block}: {said}"),
    }
}

/// Byte `at` of the unit `unit` of a partition.
fn place(start: u64, unit: usize, at: usize) -> (u64, usize) {
    (start + (unit / 63) as u64, UNIT + unit % 63 * UNIT + at)
}

#[test]
fn damaged_partitions_are_found() {
    let (w, id) = planted();
    let shape = Shape::new(24).unwrap();
    let leaves = leaves(&w, id);
    let root = w.index(id).tree.root;
    let flip = |(block, at): (u64, usize), bit: u8| {
        w.fs.poke(block, BlockKind::Partition, |b| b[at] ^= bit);
    };
    let code = "code of an entry is not that of its vector";
    for leaf in [leaves[0], *leaves.last().unwrap()] {
        // Of the centroid: every code was made against another; so was the leaf's in the root.
        for (unit, at) in [(1, 0), (1, 63)] {
            flip(place(leaf, unit, at), 0x10);
            match w.verify(id) {
                Err(Error::Corrupt { block, what }) => {
                    assert!((block == leaf || block == root) && what == code, "{what}");
                }
                other => panic!("{other:?}"),
            }
            flip(place(leaf, unit, at), 0x10);
        }
        // Of the sign bits of the first pack, and of the bits below them.
        for unit in [shape.packs_at(), shape.extended_at()] {
            flip(place(leaf, unit, 0), 1);
            expect(&w, id, leaf, code);
            flip(place(leaf, unit, 0), 1);
        }
        // The parent.
        flip(place(leaf, 0, 8), 1);
        match w.verify(id) {
            Err(Error::Corrupt { block, what }) => assert!(
                block == leaf && what == "partition names another parent than the one it has",
                "{block}: {what}"
            ),
            other => panic!("{other:?}"),
        }
        flip(place(leaf, 0, 8), 1);
        // One entry less, which is not erased.
        let count = place(leaf, 0, 6);
        w.fs.poke(count.0, BlockKind::Partition, |b| b[count.1] -= 1);
        expect(&w, id, leaf, "place without an entry is not erased");
        w.fs.poke(count.0, BlockKind::Partition, |b| b[count.1] += 1);
    }
    w.verify_right(id);
}

/// Two entries that lead to the same record, and one that leads to a free slot.
#[test]
fn wrong_references_are_found() {
    let (mut w, id) = planted();
    let shape = Shape::new(24).unwrap();
    let leaf = leaves(&w, id)[0];
    // References are the last units of a pack: found by what they hold.
    let data = w.fs.io.read(leaf, BlockKind::Partition).unwrap();
    let blocks = [*data];
    let first = layout::partition::reference(&shape, &blocks[..], 0).unwrap();
    let second = layout::partition::reference(&shape, &blocks[..], 1).unwrap();
    let at = |value: u64| {
        let bytes = value.to_le_bytes();
        let found = data.windows(8).position(|w| w == bytes);
        found.expect("a reference in the first block")
    };
    let (a, b) = (at(first), at(second));
    drop(data);
    let put = |w: &World, at: usize, value: u64| {
        w.fs.poke(leaf, BlockKind::Partition, |b| {
            b[at..at + 8].copy_from_slice(&value.to_le_bytes());
        });
    };
    put(&w, b, first);
    expect(
        &w,
        id,
        leaf,
        "two entries of a partition lead to the same place",
    );
    put(&w, b, second);
    w.verify_right(id);
    // The slot of the last record is free once the record is gone.
    let (segment, slot) = layout::partition::referred_record(first);
    put(&w, a, 0);
    expect(&w, id, 0, "entry of a leaf leads nowhere");
    put(&w, a, layout::partition::record_reference(segment, 60_000));
    expect(&w, id, segment, "entry of a leaf leads to a free slot");
    put(&w, a, layout::partition::record_reference(segment, slot));
    w.verify_right(id);
    w.check();
    let _ = w.tidy(id, 1);
}

#[test]
fn wrong_locations_are_found() {
    let (w, id) = planted();
    let index = w.index(id);
    let leaves = leaves(&w, id);
    let s = w.segments(id)[0];
    let block = s.start + 1 + slot_area_blocks(s.slots, slot_size(index.vector_bytes()) as u32);
    let set = |leaf: u64| {
        w.fs.poke(block, BlockKind::Locations, |b| {
            put_location(b, 3, leaf).unwrap();
        });
    };
    let right = location(&w.fs.io.read(block, BlockKind::Locations).unwrap(), 3).unwrap();
    let other = leaves.iter().copied().find(|leaf| *leaf != right).unwrap();
    let said = "entry of a record whose location names another leaf";
    // An entry that its record knows nothing of is found from its leaf.
    for wrong in [0, other] {
        set(wrong);
        expect(&w, id, right, said);
    }
    // Without the tree that would say so, from the record.
    let from_slots = |w: &World| {
        let mut memory = Memory::new(&index);
        let mut at = Verification::from_words([1, 0, 0, 0]);
        let mut seen = Seen::default();
        while !at.is_done() {
            verify_step(&w.fs.io, id, &mut at, &mut seen, &mut memory.builder())?;
        }
        Ok(seen)
    };
    let said = "location names a leaf without an entry of its slot";
    assert_eq!(from_slots(&w), Err(Error::Corrupt { block, what: said }));
    set(index.tree.root);
    assert!(matches!(from_slots(&w), Err(Error::Corrupt { .. })));
    set(right);
    assert_eq!(from_slots(&w).unwrap().records, 500);
    // A leaf that the root has no entry of any more: its records are named by the leaf's block.
    let root = index.tree.root;
    let shape = Shape::new(24).unwrap();
    let count = place(root, 0, 6);
    w.fs.poke(count.0, BlockKind::Partition, |b| b[count.1] -= 1);
    let lost = from_slots(&w);
    assert!(
        matches!(lost, Err(Error::Corrupt { block, what })
            if leaves.contains(&block) && what == "partition names a parent without an entry of it"),
        "{lost:?}"
    );
    expect(&w, id, root, "place without an entry is not erased");
    w.fs.poke(count.0, BlockKind::Partition, |b| b[count.1] += 1);
    assert!(shape.capacity() > leaves.len());
    w.verify_right(id);
}

/// Whatever is in the words, a verification comes to an end, and what is right stays right.
#[test]
fn any_place_is_one() {
    let (w, id) = planted();
    let mut memory = Memory::new(&w.index(id));
    let mut random = crate::tree::Random::new(9);
    for _ in 0..200 {
        let mut words = [0; 4].map(|_: u64| random.next() >> (random.next() % 64));
        words[0] %= 4;
        let mut at = Verification::from_words(words);
        let mut seen = Seen::default();
        for _ in 0..1000 {
            verify_step(&w.fs.io, id, &mut at, &mut seen, &mut memory.builder()).unwrap();
            if at.is_done() {
                break;
            }
        }
        assert!(at.is_done(), "{words:?}");
    }
    w.fs.fail_in(Some(10));
    assert!(matches!(w.verify(id), Err(Error::Io { .. })));
    w.fs.fail_in(None);
}

/// Records come and go, partitions are divided and dissolved between the steps: no step finds anything wrong.
#[test]
fn a_tree_that_changes_is_right_at_every_step() {
    let mut w = World::with_tree(20_000, 1);
    let id = w.create("t", 16).unwrap();
    let ino = w.inos[0];
    let mut clusters = Clusters::new(16, 10, 3);
    for label in 0..1500 {
        w.put(ino, id, label, 0, &clusters.next()).unwrap();
    }
    let (mut label, mut steps) = (1500, 0);
    for _ in 0..4 {
        let (mut at, mut seen) = (Verification::default(), Seen::default());
        while !at.is_done() {
            for _ in 0..20 {
                w.put(ino, id, label, 0, &clusters.next()).unwrap();
                w.delete(ino, id, label - 1500).unwrap();
                label += 1;
            }
            w.tidy(id, 2).unwrap();
            let mut memory = Memory::new(&w.index(id));
            verify_step(&w.fs.io, id, &mut at, &mut seen, &mut memory.builder()).unwrap();
            steps += 1;
        }
    }
    println!("{steps} steps, {label} records put");
    assert!(steps > 100 && w.index(id).tree.height >= 2);
    w.verify_right(id);
}
