// SPDX-License-Identifier: GPL-2.0-only
//! Metadata blocks in the buffer cache: verified when they come from disk, read through shared guards, changed through exclusive
//! guards inside a journal handle, sealed when their transaction commits.
//!
//! It may not know what a block means; the caller says its *kind*, a small number, and brings the functions that verify and seal.
//!
//! # Who may look at a block when
//!
//! [`Buffers`] stands for the right to look at all metadata blocks of a device. `&Buffers` gives shared guards. `&mut Buffers`
//! opens an [`Update`], the only way to exclusive guards; while it lives nobody has a shared guard from outside. Inside an update
//! several guards live at once, so a table of borrows decides at run time, as `RefCell` does. Put [`Buffers`] behind a
//! [`super::RwSemaphore`] and the compiler checks the rest. Guards cannot outlive the lock or the handle that they were made under.

use super::borrow::{BorrowSlot, BorrowTable};
use super::kept::{BlockRun, KeptBlock, KeptBlocks, Label};
use super::{bindings, code, to_result, BlockAside, BlockDevice, BlockSeal, Handle, Result};
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use kernel::prelude::*;

/// Kinds of blocks are numbers below this.
pub(crate) const MAX_KINDS: u32 = 16;

/// A reference to a buffer head with `SIZE` bytes of data that are up to date.
///
/// # Invariants
///
/// `bh` is valid, owned once by this value, mapped to `SIZE` bytes, and was up to date when this value was made.
struct Buffer<const SIZE: usize> {
    bh: NonNull<bindings::buffer_head>,
}

impl<const SIZE: usize> Buffer<SIZE> {
    fn block(&self) -> u64 {
        // SAFETY: The buffer is valid, by the invariant; the number does not change while a reference is held.
        unsafe { (*self.bh.as_ptr()).b_blocknr }
    }

    fn data(&self) -> *mut [u8; SIZE] {
        // SAFETY: The buffer is valid, by the invariant; the pointer does not change while a reference is held.
        unsafe { (*self.bh.as_ptr()).b_data.cast() }
    }

    fn verified_as(&self, kind: u32) -> bool {
        // SAFETY: The buffer is valid; the bits from `RVFS_BH_VERIFIED` on are free for the filesystem's use.
        unsafe { bindings::rvfs_buffer_test(self.bh.as_ptr(), bindings::RVFS_BH_VERIFIED + kind) }
    }

    fn set_verified(&self, kind: u32) {
        // SAFETY: As in `verified_as`.
        unsafe { bindings::rvfs_buffer_set(self.bh.as_ptr(), bindings::RVFS_BH_VERIFIED + kind) };
    }

    fn clear_verified(&self) {
        for kind in 0..MAX_KINDS {
            if self.verified_as(kind) {
                // SAFETY: As in `verified_as`.
                unsafe {
                    bindings::rvfs_buffer_clear(self.bh.as_ptr(), bindings::RVFS_BH_VERIFIED + kind)
                };
            }
        }
    }
}

impl<const SIZE: usize> Drop for Buffer<SIZE> {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference, by the invariant.
        unsafe { bindings::rvfs_put_bh(self.bh.as_ptr()) };
    }
}

/// The metadata blocks of one device. See the module's text.
///
/// # Invariants
///
/// There is one value per mounted device, made by [`super::NewSuperBlock::take_buffers`]. `borrows` is used only by an [`Update`],
/// of which there is at most one, and by its guards, all on one thread.
pub(crate) struct Buffers<const SIZE: usize> {
    /// Before the device, which has to be there when the last buffer is put.
    kept: KeptBlocks,
    device: BlockDevice,
    blocks: u64,
    /// The block that [`BlockAside`] stands for.
    aside: Option<u64>,
    borrows: BorrowTable,
}

// SAFETY: The device may be used on any thread, and the table of borrows is only used through `&mut self`.
unsafe impl<const SIZE: usize> Send for Buffers<SIZE> {}
// SAFETY: Methods that take `&self` do not use the table of borrows, by the invariant.
unsafe impl<const SIZE: usize> Sync for Buffers<SIZE> {}

impl<const SIZE: usize> Buffers<SIZE> {
    /// # Safety
    ///
    /// There must be no other value for the device.
    pub(super) unsafe fn new(device: BlockDevice, kept: KeptBlocks) -> Self {
        let blocks = device.size() / SIZE as u64;
        // INVARIANT: The only one, by the caller's promise.
        Self {
            kept,
            device,
            blocks,
            aside: None,
            borrows: BorrowTable::new(),
        }
    }

    /// The device.
    pub(crate) fn device(&self) -> &BlockDevice {
        &self.device
    }

    /// Number of whole blocks of the device.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Sets `block` aside: it can be changed outside of the journal, and there are no guards of it any more.
    ///
    /// Errors: `EINVAL` beyond the device, `EBUSY` the second time, `EIO`.
    pub(crate) fn set_aside(&mut self, block: u64) -> Result<BlockAside<SIZE>> {
        if block >= self.blocks {
            return Err(code::EINVAL);
        }
        if self.aside.is_some() {
            return Err(code::EBUSY);
        }
        let buffer = core::mem::ManuallyDrop::new(self.get(block)?);
        self.aside = Some(block);
        // SAFETY: The reference of the buffer moves on; guards of earlier times borrowed `self`, and there will be no others.
        Ok(unsafe { BlockAside::from_raw(buffer.bh, self.device.clone()) })
    }

    /// Whether there may be a guard of the block. Errors: `ERANGE`.
    fn check(&self, block: u64) -> Result {
        if block >= self.blocks || self.aside == Some(block) {
            return Err(code::ERANGE);
        }
        Ok(())
    }

    fn get(&self, block: u64) -> Result<Buffer<SIZE>> {
        self.check(block)?;
        // SAFETY: The device is open, and the block lies on it.
        let bh = unsafe {
            bindings::__bread_gfp(
                self.device.as_ptr(),
                block,
                SIZE as u32,
                bindings::RVFS_GFP_MOVABLE,
            )
        };
        // INVARIANT: `__bread_gfp` gives a reference to an up-to-date buffer of the size asked for.
        Ok(Buffer {
            bh: NonNull::new(bh).ok_or(code::EIO)?,
        })
    }

    /// Reads `block` as a block of `kind`. `verify` is called unless the block passed it for this kind since it came from disk.
    ///
    /// Errors: `ERANGE` beyond the device and for the block set aside, `EIO`, and what `verify` gives.
    pub(crate) fn read<E: From<Error>>(
        &self,
        block: u64,
        kind: u32,
        verify: impl FnOnce(&[u8; SIZE]) -> Result<(), E>,
    ) -> Result<BlockRef<'_, SIZE>, E> {
        let buffer = self.verified(block, kind, verify)?;
        Ok(BlockRef {
            held: Held::Buffer(buffer),
            _lock: PhantomData,
        })
    }

    /// As [`Buffers::read`] for a block that may be at hand. If it is not, and will be read `again` and again, it is kept there. `label` is of `kind`.
    pub(crate) fn read_kept<E: From<Error>>(
        &self,
        block: u64,
        (kind, label): (u32, Label),
        again: bool,
        verify: impl FnOnce(&[u8; SIZE]) -> Result<(), E>,
    ) -> Result<BlockRef<'_, SIZE>, E> {
        if let Some(kept) = self.kept.block(block, label) {
            return Ok(BlockRef {
                held: Held::Kept(kept),
                _lock: PhantomData,
            });
        }
        let buffer = self.verified(block, kind, verify)?;
        if again {
            // SAFETY: The buffer is that of the block, valid, up to date, and has just been verified.
            unsafe { self.kept.keep(block, label, buffer.bh) };
        }
        Ok(BlockRef {
            held: Held::Buffer(buffer),
            _lock: PhantomData,
        })
    }

    /// A block that is at hand with this label, if it is.
    pub(crate) fn at_hand(&self, block: u64, label: Label) -> Option<BlockRef<'_, SIZE>> {
        Some(BlockRef {
            held: Held::Kept(self.kept.block(block, label)?),
            _lock: PhantomData,
        })
    }

    /// Makes `run` the guard of `count` blocks from `start` on, which are kept at hand. Those that are not yet are read as by [`Buffers::read`], with
    /// their number for `verify`, and shown to `accept`: what that found, `label` says of all of them.
    ///
    /// Errors, with the number of the block: as [`Buffers::read`], those of `accept`, `ENOMEM`, `EINVAL` for more than
    /// [`super::kept::MAX_RUN`] blocks.
    pub(crate) fn read_run<'a, E: From<Error>>(
        &'a self,
        (start, count): (u64, usize),
        (kind, label): (u32, Label),
        verify: impl Fn(u64, &[u8; SIZE]) -> Result<(), E>,
        accept: impl Fn(u64, &[u8; SIZE]) -> Result<(), E>,
        run: &mut BlockRun<'a, SIZE>,
    ) -> Result<(), (u64, E)> {
        let end = start.saturating_add(count as u64);
        let mut ahead = false;
        let read = |block| {
            if !core::mem::replace(&mut ahead, true) {
                // The others are probably not there either.
                self.prefetch(block, end.saturating_sub(block) as u32);
            }
            let buffer = self.verified(block, kind, |data| verify(block, data))?;
            // SAFETY: As in `verified`.
            accept(block, unsafe { &*buffer.data() })?;
            Ok(buffer)
        };
        // SAFETY: What is kept is of our device. As long as `self` is borrowed there is no update, and so nobody who changes or ends blocks. `read` gives
        // the buffer of its block, valid, up to date, verified and accepted.
        unsafe { run.fill(&self.kept, (start, count), label, read, |buffer| buffer.bh) }
    }

    fn verified<E: From<Error>>(
        &self,
        block: u64,
        kind: u32,
        verify: impl FnOnce(&[u8; SIZE]) -> Result<(), E>,
    ) -> Result<Buffer<SIZE>, E> {
        if kind >= MAX_KINDS {
            return Err(code::EINVAL.into());
        }
        let buffer = self.get(block)?;
        if !buffer.verified_as(kind) {
            // SAFETY: The data is valid, and no exclusive guard of the block exists: outside of an update because `&self` is
            // borrowed, inside of one because the table of borrows was asked first.
            verify(unsafe { &*buffer.data() })?;
            buffer.set_verified(kind);
        }
        Ok(buffer)
    }

    /// Starts reading `len` blocks from `start` without waiting. Blocks beyond the device are ignored.
    pub(crate) fn prefetch(&self, start: u64, len: u32) {
        let end = start.saturating_add(u64::from(len)).min(self.blocks);
        for block in start..end {
            // SAFETY: The device is open, and the block lies on it.
            unsafe { bindings::__breadahead(self.device.as_ptr(), block, SIZE as u32) };
        }
    }

    /// Opens the changing side, for blocks changed under `handle`.
    ///
    /// Errors: `EXDEV` if the handle's journal is that of another device.
    pub(crate) fn update<'a, S: BlockSeal<SIZE>>(
        &'a mut self,
        handle: &'a Handle<'a, S, SIZE>,
    ) -> Result<Update<'a, S, SIZE>> {
        // jbd2 would take the buffers for blocks of its own device.
        if handle.journal().device().as_ptr() != self.device.as_ptr() {
            return Err(code::EXDEV);
        }
        // Guards of an earlier update cannot exist any more, as they would borrow `self`; leaked ones are not reachable.
        self.borrows.clear();
        Ok(Update {
            buffers: self,
            handle,
            _not_send: PhantomData,
        })
    }
}

/// The changing side of [`Buffers`], inside one journal handle.
pub(crate) struct Update<'a, S: BlockSeal<SIZE>, const SIZE: usize> {
    buffers: &'a Buffers<SIZE>,
    handle: &'a Handle<'a, S, SIZE>,
    _not_send: PhantomData<*mut ()>,
}

impl<'a, S: BlockSeal<SIZE>, const SIZE: usize> Update<'a, S, SIZE> {
    /// The handle that changes belong to.
    pub(crate) fn handle(&self) -> &'a Handle<'a, S, SIZE> {
        self.handle
    }

    /// As [`Buffers::prefetch`].
    pub(crate) fn prefetch(&self, start: u64, len: u32) {
        self.buffers.prefetch(start, len);
    }

    /// Keeps blocks at hand no longer, because they become something else.
    fn end_kept(&self, start: u64, count: u64) {
        // SAFETY: An update is the only user of the buffers, so there are no runs, and it does not read what is kept.
        unsafe { self.buffers.kept.end(start, count) };
    }

    /// Drops cached copies of blocks that hold file data from now on, so that none of them is ever written over it.
    pub(crate) fn forget_aliases(&self, start: u64, len: u64) {
        self.end_kept(start, len);
        // SAFETY: The device is open.
        unsafe { bindings::clean_bdev_aliases(self.buffers.device.as_ptr(), start, len) };
    }

    /// As [`Buffers::read`]. Errors: also `EDEADLK` if an exclusive guard of the block exists.
    pub(crate) fn read<E: From<Error>>(
        &self,
        block: u64,
        kind: u32,
        verify: impl FnOnce(&[u8; SIZE]) -> Result<(), E>,
    ) -> Result<BufRef<'a, SIZE>, E> {
        let slot = self.buffers.borrows.share(block)?;
        let buffer = self.buffers.verified(block, kind, verify)?;
        Ok(BufRef {
            buffer,
            _slot: slot,
            _lock: PhantomData,
        })
    }

    /// Gives a block to change, after reading and verifying it as [`Buffers::read`] does. It is sealed when the transaction
    /// commits, and counts against the handle's credits the first time.
    ///
    /// Errors: `EDEADLK` if a guard of the block exists; what jbd2 says (`EROFS` after an abort, `ENOSPC` without credits).
    pub(crate) fn modify<E: From<Error>>(
        &self,
        block: u64,
        kind: u32,
        verify: impl FnOnce(&[u8; SIZE]) -> Result<(), E>,
    ) -> Result<BufMut<'a, SIZE>, E> {
        let slot = self.buffers.borrows.exclude(block)?;
        let buffer = self.buffers.verified(block, kind, verify)?;
        // SAFETY: The handle is open and the buffer valid.
        to_result(unsafe {
            bindings::jbd2_journal_get_write_access(self.handle.as_ptr(), buffer.bh.as_ptr())
        })?;
        self.journalled(buffer, kind, slot).map_err(Into::into)
    }

    /// Gives a block that was just allocated, filled with zeros, without reading it.
    ///
    /// Errors: as [`Update::modify`].
    pub(crate) fn create(&self, block: u64, kind: u32) -> Result<BufMut<'a, SIZE>> {
        let slot = self.buffers.borrows.exclude(block)?;
        self.buffers.check(block)?;
        if kind >= MAX_KINDS {
            return Err(code::ERANGE);
        }
        self.end_kept(block, 1);
        // SAFETY: The device is open, and the block lies on it.
        let bh = unsafe { bindings::rvfs_getblk(self.buffers.device.as_ptr(), block, SIZE as u32) };
        // INVARIANT: The reference is ours; the buffer is brought up to date before anybody looks at it.
        let buffer = Buffer {
            bh: NonNull::new(bh).ok_or(code::ENOMEM)?,
        };
        // SAFETY: The buffer is valid. It is locked while it is filled, and no guard of it exists.
        unsafe { bindings::rvfs_lock_buffer(bh) };
        // SAFETY: The handle is open, the buffer valid and locked, as the function demands of a buffer that is not up to date.
        let result = to_result(unsafe {
            bindings::jbd2_journal_get_create_access(self.handle.as_ptr(), bh)
        });
        if result.is_ok() {
            buffer.clear_verified();
            // SAFETY: The data is `SIZE` bytes, and nobody looks at it.
            unsafe {
                core::ptr::write_bytes(buffer.data().cast::<u8>(), 0, SIZE);
                bindings::rvfs_set_buffer_uptodate(bh);
            }
        }
        // SAFETY: The buffer was locked above.
        unsafe { bindings::unlock_buffer(bh) };
        result?;
        buffer.set_verified(kind);
        self.journalled(buffer, kind, slot)
    }

    fn journalled(
        &self,
        buffer: Buffer<SIZE>,
        kind: u32,
        slot: BorrowSlot<'a>,
    ) -> Result<BufMut<'a, SIZE>> {
        let bh = buffer.bh.as_ptr();
        let trigger = self
            .handle
            .journal()
            .seals()
            .trigger(kind)
            .ok_or(code::EINVAL)?;
        // SAFETY: The handle has write access to the buffer; the trigger lives as long as the journal,
        // which owns it.
        unsafe { bindings::jbd2_journal_set_triggers(bh, trigger) };
        // The commit waits for the handle, so telling jbd2 before the change is as good as telling it after, and an error comes
        // before anything was changed.
        // SAFETY: The handle has write access to the buffer.
        to_result(unsafe { bindings::jbd2_journal_dirty_metadata(self.handle.as_ptr(), bh) })?;
        Ok(BufMut {
            buffer,
            _slot: slot,
            _lock: PhantomData,
        })
    }

    /// Block `block` is free from now on: it leaves the transaction if it was changed in it, and older copies of it in the
    /// journal will not be replayed.
    ///
    /// Errors: `EDEADLK` if a guard of the block exists; what jbd2 says.
    pub(crate) fn forget(&self, block: u64) -> Result {
        let _slot = self.buffers.borrows.exclude(block)?;
        self.buffers.check(block)?;
        self.end_kept(block, 1);
        // SAFETY: The device is open and the block lies on it.
        let bh = unsafe { bindings::rvfs_getblk(self.buffers.device.as_ptr(), block, SIZE as u32) };
        let buffer: Buffer<SIZE> = Buffer {
            bh: NonNull::new(bh).ok_or(code::ENOMEM)?,
        };
        buffer.clear_verified();
        // `jbd2_journal_revoke` consumes a reference.
        // SAFETY: The buffer is valid.
        unsafe { bindings::rvfs_get_bh(bh) };
        // SAFETY: The handle is open and the buffer valid.
        to_result(unsafe { bindings::jbd2_journal_revoke(self.handle.as_ptr(), block, bh) })
    }
}

/// What a shared guard keeps its block in memory by.
enum Held<const SIZE: usize> {
    Buffer(Buffer<SIZE>),
    /// Of a device with blocks of `SIZE` bytes.
    Kept(KeptBlock),
}

/// A shared guard of one block, outside of an update.
pub(crate) struct BlockRef<'a, const SIZE: usize> {
    held: Held<SIZE>,
    _lock: PhantomData<(&'a Buffers<SIZE>, *mut ())>,
}

impl<const SIZE: usize> BlockRef<'_, SIZE> {
    /// The block's number.
    pub(crate) fn block(&self) -> u64 {
        match &self.held {
            Held::Buffer(buffer) => buffer.block(),
            Held::Kept(kept) => kept.block,
        }
    }
}

impl<const SIZE: usize> Deref for BlockRef<'_, SIZE> {
    type Target = [u8; SIZE];

    fn deref(&self) -> &[u8; SIZE] {
        let data = match &self.held {
            Held::Buffer(buffer) => buffer.data(),
            Held::Kept(kept) => kept.data.as_ptr().cast(),
        };
        // SAFETY: The data is valid while the reference to the buffer, or to the chunk that has one, is held: what is kept is not ended while
        // somebody may look at blocks. No exclusive guard of the block exists (see the module's text). What may write meanwhile is the seal at commit: it
        // stores a checksum, which is only looked at by the verification before the first guard, and by nobody through a guard; a race that is harmless in
        // the kernel's memory model.
        unsafe { &*data }
    }
}

/// A shared guard of one block inside an update.
pub(crate) struct BufRef<'a, const SIZE: usize> {
    buffer: Buffer<SIZE>,
    _slot: BorrowSlot<'a>,
    _lock: PhantomData<(&'a Buffers<SIZE>, *mut ())>,
}

impl<const SIZE: usize> BufRef<'_, SIZE> {
    /// The block's number.
    pub(crate) fn block(&self) -> u64 {
        self.buffer.block()
    }
}

impl<const SIZE: usize> Deref for BufRef<'_, SIZE> {
    type Target = [u8; SIZE];

    fn deref(&self) -> &[u8; SIZE] {
        // SAFETY: The data is valid while the reference to the buffer is held. No exclusive guard of the block exists, by the table of borrows; for
        // the seal see `BlockRef::deref`.
        unsafe { &*self.buffer.data() }
    }
}

/// An exclusive guard of one block: what is written through it belongs to the transaction.
pub(crate) struct BufMut<'a, const SIZE: usize> {
    buffer: Buffer<SIZE>,
    _slot: BorrowSlot<'a>,
    _lock: PhantomData<(&'a mut Buffers<SIZE>, *mut ())>,
}

impl<const SIZE: usize> Deref for BufMut<'_, SIZE> {
    type Target = [u8; SIZE];

    fn deref(&self) -> &[u8; SIZE] {
        // SAFETY: The data is valid, and this is its only guard, by the table of borrows. The seal does not run while the handle
        // is open.
        unsafe { &*self.buffer.data() }
    }
}

impl<const SIZE: usize> DerefMut for BufMut<'_, SIZE> {
    fn deref_mut(&mut self) -> &mut [u8; SIZE] {
        // SAFETY: As in `deref`.
        unsafe { &mut *self.buffer.data() }
    }
}
