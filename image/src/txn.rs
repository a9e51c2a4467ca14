// SPDX-License-Identifier: GPL-2.0-only
//! An open transaction on [`Blocks`]. It remembers what every block was before, so that dropping it unfinished leaves no trace. Finished transactions
//! collect in a batch that is committed as one: as jbd2 does, and for the same reason.

use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use engine::io::{Extent, ReadBlocks, Reuse, Transaction};
use engine::{Error, Result};
use layout::block::BlockKind;
use layout::superblock::Super;

use crate::blocks::{BlockMut, BlockRef, Blocks, Slot};
use crate::contents::Contents;
use crate::runs::{BlockRun, ByNumber};

/// An open transaction. Dropped without [`Txn::finish`], it is undone. There is one at a time.
pub struct Txn<'a> {
    blocks: &'a Blocks,
    undo: RefCell<Undo>,
}

/// What a block was before the transaction.
struct Before {
    /// `None`: it was not cached.
    contents: Option<(BlockKind, Rc<Contents>)>,
    dirty: bool,
    revoked: bool,
}

#[derive(Default)]
struct Undo {
    blocks: ByNumber<Before>,
    freed: Vec<(u64, u32, Reuse)>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(blocks: &'a Blocks) -> Self {
        Self {
            blocks,
            undo: RefCell::default(),
        }
    }

    /// Reads file data: [`Blocks::read_data`].
    ///
    /// # Errors
    /// As there.
    pub fn read_data(&self, start: u64, buf: &mut [u8]) -> Result<()> {
        self.blocks.read_data(start, buf)
    }

    /// Writes file data, at once and for good: only into blocks that this transaction allocated, or that the file may have overwritten in place.
    ///
    /// # Errors
    /// Those of [`Blocks::write_data`].
    pub fn write_data(&self, start: u64, buf: &[u8]) -> Result<()> {
        self.blocks.write_data(start, buf)
    }

    /// Keeps the changes.
    pub(crate) fn finish(self) {
        self.undo.take();
    }

    /// Whether something was changed.
    pub(crate) fn has_changes(&self) -> bool {
        let undo = self.undo.borrow();
        !undo.blocks.is_empty() || !undo.freed.is_empty()
    }

    /// Number of blocks changed: what jbd2 would take from the handle's credits.
    pub(crate) fn changed(&self) -> usize {
        let batch = self.blocks.batch().borrow();
        let undo = self.undo.borrow();
        undo.blocks
            .keys()
            .filter(|block| batch.dirty.contains_key(block))
            .count()
    }

    fn check_writable(&self) -> Result<()> {
        if self.blocks.is_writable() {
            Ok(())
        } else {
            Err(Error::ReadOnly)
        }
    }

    /// Remembers what `block` is, the first time; `slot` is its cache entry.
    fn remember(&self, block: u64, slot: Option<&Rc<Slot>>) -> Result<()> {
        let mut undo = self.undo.borrow_mut();
        if undo.blocks.contains_key(&block) {
            return Ok(());
        }
        let contents = match slot {
            None => None,
            Some(slot) => {
                let data = slot
                    .data()
                    .ok_or(Error::Internal("block changed by two at once"))?;
                Some((slot.kind(), data))
            }
        };
        let batch = self.blocks.batch().borrow();
        let before = Before {
            contents,
            dirty: batch.dirty.contains_key(&block),
            revoked: batch.revoked.contains(&block),
        };
        undo.blocks.insert(block, before);
        Ok(())
    }

    /// Makes `slot` part of the batch.
    fn dirty(&self, block: u64, slot: &Rc<Slot>) -> Result<()> {
        let mut batch = self.blocks.batch().borrow_mut();
        let batch = &mut *batch;
        // Full only counts for blocks that are not there yet, most of which are.
        let most = || self.blocks.limit(batch.revoked.len());
        let count = batch.dirty.len();
        match batch.dirty.entry(block) {
            Entry::Occupied(mut place) => {
                place.insert(Rc::clone(slot));
            }
            Entry::Vacant(_) if count >= most() => return Err(Error::TooBig),
            Entry::Vacant(place) => {
                place.insert(Rc::clone(slot));
            }
        }
        batch.revoked.remove(&block);
        Ok(())
    }
}

impl Drop for Txn<'_> {
    fn drop(&mut self) {
        let undo = self.undo.take();
        let mut batch = self.blocks.batch().borrow_mut();
        for (block, before) in undo.blocks {
            match before.contents {
                Some((kind, data)) => {
                    let slot = Slot::new(kind, data);
                    if before.dirty {
                        batch.dirty.insert(block, Rc::clone(&slot));
                    } else {
                        batch.dirty.remove(&block);
                    }
                    self.blocks.insert(block, slot);
                }
                None => {
                    batch.dirty.remove(&block);
                    self.blocks.remove(block);
                }
            }
            if before.revoked {
                batch.revoked.insert(block);
            } else {
                batch.revoked.remove(&block);
            }
        }
        for (start, len, reuse) in undo.freed {
            if reuse == Reuse::AtHome {
                batch.erased.retain(|freed| *freed != (start, len));
            }
            // These bits were set by this transaction and by nothing else.
            let undone = batch.deferred.set(start, len, false);
            debug_assert!(undone.is_ok());
        }
    }
}

impl ReadBlocks for Txn<'_> {
    type Ref = BlockRef;
    type Run = BlockRun;

    fn sb(&self) -> &Super {
        self.blocks.sb()
    }

    fn read(&self, block: u64, kind: BlockKind) -> Result<BlockRef> {
        self.blocks.read(block, kind)
    }

    fn read_run(&self, wanted: Extent, run: &mut BlockRun) -> Result<()> {
        self.blocks.read_run(wanted, run)
    }

    fn copy_slots(&self, block: u64, at: usize, out: &mut [u8], all: u64) -> Result<()> {
        self.blocks.copy_slots(block, at, out, all)
    }

    fn crc32(&self) -> layout::Crc32 {
        self.blocks.crc32()
    }
}

impl Transaction for Txn<'_> {
    type Mut = BlockMut;

    fn modify(&self, block: u64, kind: BlockKind) -> Result<BlockMut> {
        self.check_writable()?;
        let slot = self.blocks.slot(block, kind)?;
        if slot.is_held() {
            return Err(Error::Internal(
                "block to be changed is held by somebody else",
            ));
        }
        self.blocks.end_run(&slot)?;
        self.remember(block, Some(&slot))?;
        self.dirty(block, &slot)?;
        slot.lend()
    }

    fn create(&self, block: u64, kind: BlockKind) -> Result<BlockMut> {
        self.check_writable()?;
        self.blocks.check_place(block, kind)?;
        let old = self.blocks.cached(block);
        if old.as_ref().is_some_and(|slot| slot.is_held()) {
            return Err(Error::Internal("new block is held by somebody else"));
        }
        if let Some(slot) = &old {
            self.blocks.end_run(slot)?;
        }
        self.remember(block, old.as_ref())?;
        let slot = Slot::new(kind, Rc::new(Contents::zero()));
        self.dirty(block, &slot)?;
        self.blocks.insert(block, Rc::clone(&slot));
        slot.lend()
    }

    fn forget(&self, block: u64, kind: BlockKind) -> Result<()> {
        self.check_writable()?;
        let old = self.blocks.cached(block);
        if let Some(slot) = &old {
            if slot.is_held() {
                return Err(Error::Internal("block to be freed is held by somebody"));
            }
            self.blocks.end_run(slot)?;
            if slot.kind() != kind {
                return Err(Error::corrupt(
                    block,
                    "block is used as two kinds of metadata",
                ));
            }
        }
        self.remember(block, old.as_ref())?;
        self.blocks.remove(block);
        let mut batch = self.blocks.batch().borrow_mut();
        batch.dirty.remove(&block);
        batch.revoked.insert(block);
        Ok(())
    }

    fn defer_free(&self, start: u64, len: u32, reuse: Reuse) -> Result<()> {
        self.check_writable()?;
        let mut batch = self.blocks.batch().borrow_mut();
        batch.deferred.set(start, len, true)?;
        if reuse == Reuse::AtHome {
            batch.erased.push((start, len));
        }
        self.undo.borrow_mut().freed.push((start, len, reuse));
        Ok(())
    }

    fn deferred(&self, group: u32, word: u32) -> u64 {
        self.blocks.deferred(group, word)
    }

    fn deferred_in(&self, group: u32) -> u32 {
        self.blocks.deferred_in(group)
    }

    fn deferred_total(&self) -> u64 {
        self.blocks.deferred_total()
    }
}
