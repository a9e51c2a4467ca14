// SPDX-License-Identifier: GPL-2.0-only
//! Runs of blocks that are read together again and again: the partitions of search trees. One look-up gives all of a run. It may not know what is in the blocks,
//! nor read them: that is [`crate::blocks`], which must say when one of them changes. Where nothing changes, runs have memory of their own, without the blocks that
//! hold nothing.

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
    memory: Memory,
}

/// Where the blocks of a run are.
#[derive(Debug)]
enum Memory {
    /// Each shared with the cache of blocks, which changes them.
    Shared(Box<[Rc<Contents>]>),
    /// Together, those that hold something, in their order. `places` says which of them each block is.
    Own {
        places: Box<[Option<u8>]>,
        blocks: Box<[Contents]>,
    },
}

/// A block that holds nothing.
static NOTHING: Contents = Contents::zero();

impl Kept {
    fn block(&self, n: usize) -> Option<&Contents> {
        match &self.memory {
            Memory::Shared(blocks) => Some(blocks.get(n)?),
            Memory::Own { places, blocks } => match places.get(n)? {
                Some(place) => blocks.get(usize::from(*place)),
                None => Some(&NOTHING),
            },
        }
    }

    /// Blocks of memory that nobody else has.
    fn owned(&self) -> usize {
        match &self.memory {
            Memory::Shared(_) => 0,
            Memory::Own { blocks, .. } => blocks.len(),
        }
    }
}

/// A shared guard of a run. Of a block that holds nothing, the header may be zeros, too.
#[derive(Clone, Debug, Default)]
pub struct BlockRun(Option<Rc<Kept>>);

impl Run for BlockRun {
    fn block(&self, n: usize) -> Option<&Block> {
        Some(self.0.as_ref()?.block(n)?)
    }
}

/// All runs that are kept, by their first blocks.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: ByNumber<Rc<Kept>>,
    /// Blocks that they have for themselves.
    owned: usize,
}

impl Runs {
    /// The run of these blocks, if it is kept.
    pub(crate) fn get(&self, wanted: &Extent) -> Option<BlockRun> {
        let kept = self.runs.get(&wanted.start)?;
        (kept.extent == *wanted).then(|| BlockRun(Some(Rc::clone(kept))))
    }

    /// Keeps a run whose blocks are shared with the cache of blocks.
    pub(crate) fn keep(&mut self, extent: Extent, blocks: Vec<Rc<Contents>>) -> BlockRun {
        self.insert(Kept {
            extent,
            memory: Memory::Shared(blocks.into()),
        })
    }

    /// Keeps a run of blocks that never change: those that hold something, `places` says which of them each block is. If that makes more than `limit` blocks, half of
    /// the others go.
    pub(crate) fn keep_own(
        &mut self,
        extent: Extent,
        places: Box<[Option<u8>]>,
        blocks: Box<[Contents]>,
        limit: usize,
    ) -> BlockRun {
        if self.owned.saturating_add(blocks.len()) > limit {
            let mut excess = self.owned / 2;
            self.runs.retain(|_, kept| {
                let keep = excess == 0;
                excess = excess.saturating_sub(kept.owned());
                keep
            });
            self.owned = self.runs.values().map(|kept| kept.owned()).sum();
        }
        self.insert(Kept {
            extent,
            memory: Memory::Own { places, blocks },
        })
    }

    fn insert(&mut self, kept: Kept) -> BlockRun {
        let kept = Rc::new(kept);
        self.owned += kept.owned();
        let old = self.runs.insert(kept.extent.start, Rc::clone(&kept));
        self.owned -= old.map_or(0, |old| old.owned());
        BlockRun(Some(kept))
    }

    /// Keeps the run from `start` on no longer. Returns whether somebody has a guard of it.
    pub(crate) fn end(&mut self, start: u64) -> bool {
        let kept = self.runs.remove(&start);
        self.owned -= kept.as_ref().map_or(0, |kept| kept.owned());
        kept.is_some_and(|kept| Rc::strong_count(&kept) > 1)
    }

    /// Keeps no run any longer.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.owned = 0;
    }
}
