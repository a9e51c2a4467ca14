// SPDX-License-Identifier: GPL-2.0-only
//! Random programs.

use crate::world::{elements, World};
use engine::Error;
use proptest::prelude::*;

const FILES: usize = 4;
/// From one element to slots that are larger than two blocks.
const DIMS: [u32; 6] = [1, 3, 96, 384, 2500, 4096];

#[derive(Clone, Debug)]
enum Op {
    Create(u8, usize),
    Put(usize, usize, u64, u64),
    /// Many records at once.
    Fill(usize, usize, u64, u8),
    Delete(usize, usize, u64),
    /// Delete a range of labels.
    Clear(usize, usize, u64, u8),
    Kill(usize),
    Reclaim(usize, u32, usize),
    Reborn(usize),
    DropBegin(usize),
    DropStep(usize, u32),
    Tidy(usize, usize),
    TakeDown(usize, usize),
    Complete(usize, usize),
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let (f, i, label) = (0..FILES, 0..8usize, 0u64..40);
    prop_oneof![
        2 => (0u8..6, 0..DIMS.len()).prop_map(|(n, d)| Op::Create(n, d)),
        4 => (f.clone(), i.clone(), label.clone(), any::<u64>())
            .prop_map(|(f, i, l, t)| Op::Put(f, i, l, t)),
        3 => (f.clone(), i.clone(), label.clone(), 1u8..60)
            .prop_map(|(f, i, l, n)| Op::Fill(f, i, l, n)),
        3 => (f.clone(), i.clone(), label.clone()).prop_map(|(f, i, l)| Op::Delete(f, i, l)),
        1 => (f.clone(), i.clone(), label, 1u8..60).prop_map(|(f, i, l, n)| Op::Clear(f, i, l, n)),
        2 => f.clone().prop_map(Op::Kill),
        2 => (f.clone(), 1u32..8, 1..5usize).prop_map(|(f, m, s)| Op::Reclaim(f, m, s)),
        1 => f.prop_map(Op::Reborn),
        1 => i.clone().prop_map(Op::DropBegin),
        2 => (i, 1u32..12).prop_map(|(i, m)| Op::DropStep(i, m)),
        1 => (0..8usize, 1..30usize).prop_map(|(i, n)| Op::Tidy(i, n)),
        1 => (0..8usize, 1..5usize).prop_map(|(i, n)| Op::TakeDown(i, n)),
        1 => (0..8usize, 1..20usize).prop_map(|(i, n)| Op::Complete(i, n)),
        1 => Just(Op::Crash),
    ]
}

impl World {
    fn nth_index(&self, n: usize) -> Option<u32> {
        let len = self.indexes.len();
        (len != 0).then(|| *self.indexes.keys().nth(n % len).unwrap())
    }

    fn put_one(&mut self, f: usize, id: u32, label: u64, tag: u64) -> Result<(), Error> {
        let data = elements(self.index(id).dim, tag);
        self.put(self.inos[f], id, label, tag, &data)
    }

    fn run(&mut self, op: &Op) -> Result<(), Error> {
        match *op {
            Op::Create(n, d) => {
                let name = format!("index {n}");
                let exists = self.indexes.values().any(|m| m.name == name);
                match self.create(&name, DIMS[d]) {
                    Ok(_) => assert!(!exists),
                    Err(Error::Exists) => assert!(exists),
                    Err(e) => return Err(e),
                }
            }
            Op::Put(f, i, label, tag) => {
                if let Some(id) = self.nth_index(i) {
                    self.put_one(f, id, label, tag)?;
                }
            }
            Op::Fill(f, i, label, n) => {
                if let Some(id) = self.nth_index(i) {
                    for l in label..label + u64::from(n) {
                        self.put_one(f, id, l, l)?;
                    }
                }
            }
            Op::Delete(f, i, label) => {
                if let Some(id) = self.nth_index(i) {
                    self.delete(self.inos[f], id, label)?;
                }
            }
            Op::Clear(f, i, label, n) => {
                if let Some(id) = self.nth_index(i) {
                    for l in label..label + u64::from(n) {
                        self.delete(self.inos[f], id, l)?;
                    }
                }
            }
            Op::Kill(f) => {
                self.kill(self.inos[f])?;
            }
            Op::Reclaim(f, max, steps) => {
                self.reclaim(self.inos[f], max, steps)?;
            }
            Op::Reborn(f) => self.reborn(self.inos[f])?,
            Op::DropBegin(i) => {
                if let Some(id) = self.nth_index(i) {
                    self.drop_begin(id)?;
                }
            }
            Op::DropStep(i, max) => {
                let len = self.dropping.len().max(1);
                if let Some(id) = self.dropping.iter().nth(i % len).copied() {
                    self.drop_step(id, max)?;
                }
            }
            Op::Tidy(i, steps) => {
                if let Some(id) = self.nth_index(i) {
                    self.tidy(id, steps)?;
                }
            }
            Op::TakeDown(i, steps) => {
                if let Some(id) = self.nth_index(i) {
                    self.take_down(id, steps)?;
                }
            }
            Op::Complete(i, steps) => {
                if let Some(id) = self.nth_index(i) {
                    self.complete(id, steps)?;
                }
            }
            Op::Crash => self.crash(),
        }
        Ok(())
    }

    /// Drops every index to the end and reclaims every inode: nothing may remain.
    pub fn wind_up(&mut self) {
        for ino in self.inos.clone() {
            self.reborn(ino).unwrap();
            self.check();
        }
        for id in self.indexes.keys().copied().collect::<Vec<_>>() {
            self.drop_begin(id).unwrap();
        }
        for id in self.dropping.iter().copied().collect::<Vec<_>>() {
            while !self.drop_step(id, 7).unwrap() {}
            self.check();
        }
        assert!(self.fs.used_blocks().is_empty(), "all blocks come back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree_with_the_model(tree: bool, ops in proptest::collection::vec(op(), 1..80)) {
        let mut w = World::new(16384, FILES);
        w.tree = tree;
        for op in &ops {
            match w.run(op) {
                Ok(()) | Err(Error::NoSpace) => {}
                Err(e) => panic!("{op:?}: {e}"),
            }
            w.check();
        }
        w.wind_up();
    }

    #[test]
    fn programs_on_a_small_full_disk_fail_cleanly(tree: bool, ops in proptest::collection::vec(op(), 20..120)) {
        let mut w = World::new(1024 + 700, FILES);
        w.tree = tree;
        let mut refused = 0;
        for op in &ops {
            match w.run(op) {
                Ok(()) => {}
                Err(Error::NoSpace) => {
                    prop_assert!(matches!(
                        op,
                        Op::Create(..) | Op::Put(..) | Op::Fill(..) | Op::Complete(..)
                    ));
                    refused += 1;
                }
                Err(e) => panic!("{op:?}: {e}"),
            }
            w.check();
        }
        let _ = refused;
        w.wind_up();
    }
}
