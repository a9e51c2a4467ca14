// SPDX-License-Identifier: GPL-2.0-only
//! Walking the units of a partition, which lie 63 to a block.

use super::{UNIT, UNITS};

/// Unit `at` of a partition.
///
/// # Safety
/// `blocks` must point to as many pointers to blocks as that unit lies in, and the unit exist.
#[inline(always)]
pub(super) unsafe fn unit(blocks: *const *const u8, at: usize) -> *const u8 {
    // SAFETY: by the caller; a block has a header and 63 units of 64 bytes.
    unsafe { (*blocks.add(at / UNITS)).add(UNIT + at % UNITS * UNIT) }
}

/// A position in a partition.
pub(super) struct Units {
    blocks: *const *const u8,
    block: usize,
    unit: usize,
}

impl Units {
    /// At unit `at`.
    ///
    /// # Safety
    /// `blocks` must point to as many pointers to blocks as the units to be asked for lie in.
    #[inline(always)]
    pub(super) unsafe fn at(blocks: *const *const u8, at: usize) -> Units {
        Units {
            blocks,
            block: at / UNITS,
            unit: at % UNITS,
        }
    }

    /// The unit here; moves to the one after it.
    ///
    /// # Safety
    /// The unit must exist.
    #[inline(always)]
    pub(super) unsafe fn next(&mut self) -> *const u8 {
        // SAFETY: one unit exists, by the caller.
        unsafe { self.run(1).0 }
    }

    /// Moves over `count` units, which need not exist.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: usize) {
        self.unit += count;
        while self.unit >= UNITS {
            self.unit -= UNITS;
            self.block += 1;
        }
    }

    /// The unit here and how many follow it in memory, itself counted, `most` at
    /// most (and at least one); moves behind them.
    ///
    /// # Safety
    /// `most` units must exist.
    #[inline(always)]
    pub(super) unsafe fn run(&mut self, most: usize) -> (*const u8, usize) {
        let left = UNITS - self.unit;
        let run = if most < left { most } else { left };
        // SAFETY: the unit exists, so its block has a pointer and 64 * 64 bytes.
        let p = unsafe { (*self.blocks.add(self.block)).add(UNIT + self.unit * UNIT) };
        self.unit += run;
        if self.unit == UNITS {
            self.unit = 0;
            self.block += 1;
        }
        (p, run)
    }
}
