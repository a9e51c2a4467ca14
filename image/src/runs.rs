// SPDX-License-Identifier: GPL-2.0-only
//! Runs of blocks that are read together again and again: the partitions of search trees. One look-up gives all of a run. It may not know what is in the blocks,
//! nor read them: that is [`crate::blocks`], which must say when one of them changes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use engine::io::{Extent, Run};
use layout::Block;

use crate::contents::Contents;

/// Hashes block numbers: a multiplication, whose upper half decides. Nobody gains from an image whose numbers collide but its own searches' slowness.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }
    fn write_u64(&mut self, number: u64) {
        let product = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

/// A map from block numbers.
pub(crate) type ByNumber<V> = HashMap<u64, V, BuildHasherDefault<NumberHasher>>;

/// What is kept of a run.
#[derive(Debug)]
struct Kept {
    extent: Extent,
    blocks: Box<[Rc<Contents>]>,
}

/// A shared guard of a run.
#[derive(Clone, Debug, Default)]
pub struct BlockRun(Option<Rc<Kept>>);

impl Run for BlockRun {
    fn block(&self, n: usize) -> Option<&Block> {
        let block = self.0.as_ref()?.blocks.get(n)?;
        Some(&***block)
    }
}

/// All runs that are kept, by their first blocks.
#[derive(Debug, Default)]
pub(crate) struct Runs(ByNumber<Rc<Kept>>);

impl Runs {
    /// The run of these blocks, if it is kept.
    pub(crate) fn get(&self, wanted: &Extent) -> Option<BlockRun> {
        let kept = self.0.get(&wanted.start)?;
        (kept.extent == *wanted).then(|| BlockRun(Some(Rc::clone(kept))))
    }

    /// Keeps a run.
    pub(crate) fn keep(&mut self, extent: Extent, blocks: Vec<Rc<Contents>>) -> BlockRun {
        let kept = Rc::new(Kept {
            extent,
            blocks: blocks.into(),
        });
        self.0.insert(extent.start, Rc::clone(&kept));
        BlockRun(Some(kept))
    }

    /// Keeps the run from `start` on no longer. Returns whether somebody has a guard of it.
    pub(crate) fn end(&mut self, start: u64) -> bool {
        let kept = self.0.remove(&start);
        kept.is_some_and(|kept| Rc::strong_count(&kept) > 1)
    }

    /// Keeps no run any longer.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
