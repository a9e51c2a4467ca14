// SPDX-License-Identifier: GPL-2.0-only
//! Who guards which block inside an update: what `RefCell` does for one value, for blocks by number.

use super::{code, Result};
use core::cell::{Cell, UnsafeCell};
use core::marker::PhantomData;

/// Number of blocks that may be guarded at once in an update.
const MAX_BORROWS: usize = 64;

/// One entry: the block, and how many shared guards it has, or -1 for an exclusive one; 0 is a free entry.
#[derive(Clone, Copy)]
struct Borrow {
    block: u64,
    count: i32,
}

/// Who guards what inside an update.
pub(super) struct BorrowTable {
    entries: [Cell<Borrow>; MAX_BORROWS],
    _not_sync: PhantomData<UnsafeCell<()>>,
}

impl BorrowTable {
    /// Nothing guarded.
    pub(super) fn new() -> Self {
        Self {
            entries: [const { Cell::new(Borrow { block: 0, count: 0 }) }; MAX_BORROWS],
            _not_sync: PhantomData,
        }
    }

    /// Forgets all guards; none may be in use.
    pub(super) fn clear(&mut self) {
        for entry in &self.entries {
            entry.set(Borrow { block: 0, count: 0 });
        }
    }

    /// The entry of `block`, or else a free one.
    fn find(&self, block: u64) -> Result<&Cell<Borrow>> {
        let mut free = None;
        for entry in &self.entries {
            let e = entry.get();
            if e.count == 0 {
                free = free.or(Some(entry));
            } else if e.block == block {
                return Ok(entry);
            }
        }
        free.ok_or(code::EDEADLK)
    }

    /// A shared guard of `block`. Errors: `EDEADLK` if it has an exclusive one, or too many blocks are guarded.
    pub(super) fn share(&self, block: u64) -> Result<BorrowSlot<'_>> {
        let entry = self.find(block)?;
        let count = entry.get().count;
        if count < 0 {
            return Err(code::EDEADLK);
        }
        entry.set(Borrow {
            block,
            count: count.saturating_add(1),
        });
        Ok(BorrowSlot { entry })
    }

    /// The only guard of `block`. Errors: `EDEADLK` as above, or if it has a guard.
    pub(super) fn exclude(&self, block: u64) -> Result<BorrowSlot<'_>> {
        let entry = self.find(block)?;
        if entry.get().count != 0 {
            return Err(code::EDEADLK);
        }
        entry.set(Borrow { block, count: -1 });
        Ok(BorrowSlot { entry })
    }
}

/// One borrow, given back when dropped.
pub(super) struct BorrowSlot<'a> {
    entry: &'a Cell<Borrow>,
}

impl Drop for BorrowSlot<'_> {
    fn drop(&mut self) {
        let Borrow { block, count } = self.entry.get();
        self.entry.set(Borrow {
            block,
            count: if count > 0 { count - 1 } else { 0 },
        });
    }
}
