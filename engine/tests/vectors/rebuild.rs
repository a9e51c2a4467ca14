// SPDX-License-Identifier: GPL-2.0-only
//! Completing a search tree that misses records, and taking one down, beside puts and deletes.

use crate::memory::Memory;
use crate::tree::{fragmented, recall, Clusters};
use crate::world::World;
use engine::vector::tree::{
    self, complete_credits, complete_step, is_complete, take_down_credits, take_down_step,
    Completion,
};
use engine::{Error, Result};

impl World {
    /// Takes steps to complete the tree of an index, at most `steps` of them. Returns whether it got to the end.
    pub fn complete(&mut self, id: u32, steps: usize) -> Result<bool> {
        let mut memory = Memory::new(&self.index(id));
        let mut at = Completion::default();
        for _ in 0..steps {
            if at.done {
                return Ok(true);
            }
            let mut next = Completion::from_word(at.to_word());
            assert_eq!(next, at);
            let credits = complete_credits(&self.index(id))?;
            let r = self.step("complete", credits, |cx| {
                complete_step(cx, id, &mut next, &mut memory.builder())
            });
            match r {
                Ok(()) => at = next,
                Err(Error::Full { partition }) => {
                    let plan = tree::plan_room(&self.fs.io, id, partition, &mut memory.builder())?;
                    self.carry_out(id, partition, plan, &mut memory)?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(at.done)
    }

    /// Takes steps to take the tree of an index down. Returns whether it is gone.
    pub fn take_down(&mut self, id: u32, steps: usize) -> Result<bool> {
        for _ in 0..steps {
            let credits = take_down_credits(&self.index(id))?;
            if self.step("take down", credits, |cx| take_down_step(cx, id))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Records that were put without entries get them, and are found then as if they had had them all the time.
#[test]
fn what_is_missing_is_entered() {
    for (dim, records) in [(1, 900), (16, 2500), (384, 700), (4096, 130)] {
        let mut w = World::new(60_000, 2);
        let id = w.create("t", dim).unwrap();
        let mut clusters = Clusters::new(dim, 12, u64::from(dim));
        // Every third has an entry from the beginning.
        for label in 0..records {
            w.tree = label % 3 == 0;
            let ino = w.inos[label as usize % 2];
            w.put(ino, id, label, 0, &clusters.next()).unwrap();
        }
        let before = w.index(id);
        assert_eq!(
            before.tree.entries,
            records / 3 + u64::from(records % 3 != 0)
        );
        w.verify_right(id);
        // In the middle it is right, too.
        assert!(!w.complete(id, records as usize / 24).unwrap());
        assert!(w.index(id).tree.entries > before.tree.entries);
        w.check();
        assert!(w.complete(id, 10_000).unwrap());
        assert!(is_complete(&w.index(id)));
        w.check();
        let queries: Vec<_> = (0..20).map(|_| clusters.next()).collect();
        let few = recall(&w, id, &queries, 10, 6);
        let all = recall(&w, id, &queries, 10, w.index(id).tree.partitions as usize);
        println!(
            "dimension {dim}: recall@10 {few:.3} in 6 leaves, {all:.3} in all; {:?}",
            w.tightest
        );
        assert!(few >= 0.85 && all >= 0.99, "{few}, {all}");
        w.wind_up();
    }
}

/// A tree that is taken down gives its space back, and one that is built again is worth as much.
#[test]
fn a_tree_is_taken_down_and_built_again() {
    let mut w = World::with_tree(20_000, 1);
    let id = w.create("t", 16).unwrap();
    let ino = w.inos[0];
    let mut clusters = Clusters::new(16, 20, 8);
    for label in 0..4000 {
        w.put(ino, id, label, 0, &clusters.next()).unwrap();
    }
    let (before, used) = (w.index(id), w.fs.used_blocks().len());
    let queries: Vec<_> = (0..30).map(|_| clusters.next()).collect();
    let found = recall(&w, id, &queries, 10, 6);
    let blocks = layout::partition::Shape::new(16).unwrap().blocks();
    let mut steps = 0;
    while !w.take_down(id, 1).unwrap() {
        w.verify_right(id);
        if steps % 16 == 0 {
            w.check();
        }
        assert!(!is_complete(&w.index(id)), "searches look at all records");
        steps += 1;
    }
    w.check();
    let bare = w.index(id);
    assert_eq!(
        (bare.tree.root, bare.tree.partitions, bare.tree.entries),
        (0, 0, 0)
    );
    assert_eq!(bare.records, 4000);
    assert_eq!(bare.tree.rotation, before.tree.rotation);
    assert_ne!(bare.tree.changes, before.tree.changes);
    let freed = before.tree.partitions as usize * blocks;
    assert_eq!(w.fs.used_blocks().len(), used - freed);
    assert!(w.take_down(id, 1).unwrap(), "nothing is left to do");
    assert!(w.complete(id, 10_000).unwrap());
    w.check();
    let again = recall(&w, id, &queries, 10, 6);
    println!("recall@10 {found:.3} before, {again:.3} after {steps} steps down and up");
    assert!(again >= found - 0.02, "{again}, {found} before");
    w.wind_up();
}

/// Puts and deletes go on between the steps.
#[test]
fn a_rebuild_goes_beside_changes() {
    let mut w = World::with_tree(20_000, 1);
    let id = w.create("t", 16).unwrap();
    let ino = w.inos[0];
    let mut clusters = Clusters::new(16, 8, 4);
    let mut label = 0;
    let mut change = |w: &mut World, clusters: &mut Clusters, count: u64| {
        for _ in 0..count {
            w.put(ino, id, label, 0, &clusters.next()).unwrap();
            if label >= 1500 {
                w.delete(ino, id, label - 1500).unwrap();
            }
            label += 1;
        }
    };
    change(&mut w, &mut clusters, 1500);
    for round in 0..3 {
        // Fewer come than go, so it is gone in the end.
        while !w.take_down(id, 1).unwrap() {
            change(&mut w, &mut clusters, 9);
        }
        w.check();
        while !is_complete(&w.index(id)) {
            w.complete(id, 3).unwrap();
            change(&mut w, &mut clusters, 7);
            w.tidy(id, 1).unwrap();
        }
        w.check();
        let index = w.index(id);
        assert_eq!((index.records, index.tree.entries), (1500, 1500), "{round}");
    }
    w.wind_up();
}

/// Without a run of blocks for a partition nothing can be entered; once there is one, everything can.
#[test]
fn a_fragmented_disk_is_mended() {
    let (mut w, id, taken) = fragmented();
    let mut clusters = Clusters::new(1000, 5, 1);
    for label in 0..150 {
        w.put(w.inos[0], id, label, 0, &clusters.next()).unwrap();
    }
    assert_eq!(w.index(id).tree.entries, 0);
    assert_eq!(w.complete(id, 1000), Err(Error::NoSpace));
    assert_eq!(w.index(id).tree.root, 0);
    w.verify_right(id);
    for (start, len) in &taken {
        if *len == 8 {
            w.fs.with(|cx| engine::space::free(cx, *start + 6, 2))
                .unwrap();
        } else {
            w.fs.with(|cx| engine::space::free(cx, *start, *len))
                .unwrap();
        }
    }
    // Segments lie in the holes, so it is not all free, but enough.
    assert_eq!(w.complete(id, 1000), Ok(true));
    assert!(is_complete(&w.index(id)));
    w.verify_right(id);
    w.check();
    w.wind_up();
}
