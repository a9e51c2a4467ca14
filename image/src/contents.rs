// SPDX-License-Identifier: GPL-2.0-only
//! The contents of a block in memory. Nothing here does anything.

use std::ops::{Deref, DerefMut};

use layout::{Block, BLOCK_SIZE};

/// The bytes of a block where lines of the processor's caches begin: the units of partitions (`layout::partition`) are looked at one line at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Contents(Block);

impl Contents {
    /// Zeros.
    #[must_use]
    pub const fn zero() -> Self {
        Self([0; BLOCK_SIZE])
    }
}

impl From<Block> for Contents {
    fn from(block: Block) -> Self {
        Self(block)
    }
}

impl Deref for Contents {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.0
    }
}

impl DerefMut for Contents {
    fn deref_mut(&mut self) -> &mut Block {
        &mut self.0
    }
}
