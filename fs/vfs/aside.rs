// SPDX-License-Identifier: GPL-2.0-only
//! A block that is set aside from the others: changed in place in the buffer cache, outside of the journal, and written at once.
//!
//! That is how a filesystem keeps its super block: who reads the mounted device through its page cache sees what is on it, and bytes of the
//! block that are somebody else's (a boot loader's) stay. It may not know what is in the block.

use super::{bindings, code, to_result, BlockDevice, Result};
use core::ptr::NonNull;

/// One block of `SIZE` bytes, kept in memory. Made by [`super::Buffers::set_aside`].
///
/// # Invariants
///
/// `bh` is valid, owned once by this value and mapped to `SIZE` bytes, and [`super::Buffers`] gives no guard of it.
pub(crate) struct BlockAside<const SIZE: usize> {
    bh: NonNull<bindings::buffer_head>,
    _device: BlockDevice,
}

// SAFETY: The functions of the buffer cache may be called on any thread.
unsafe impl<const SIZE: usize> Send for BlockAside<SIZE> {}
// SAFETY: As above; the data is only looked at and changed under the buffer's lock.
unsafe impl<const SIZE: usize> Sync for BlockAside<SIZE> {}

impl<const SIZE: usize> BlockAside<SIZE> {
    /// # Safety
    ///
    /// `bh` must keep the type's invariants.
    pub(super) unsafe fn from_raw(bh: NonNull<bindings::buffer_head>, device: BlockDevice) -> Self {
        // INVARIANT: By the caller's promise.
        Self {
            bh,
            _device: device,
        }
    }

    fn locked<X>(&self, f: impl FnOnce(*mut u8) -> X) -> X {
        let bh = self.bh.as_ptr();
        // SAFETY: The buffer is valid.
        unsafe { bindings::rvfs_lock_buffer(bh) };
        // SAFETY: The buffer is valid, so it has data.
        let x = f(unsafe { (*bh).b_data }.cast());
        // SAFETY: Locked above.
        unsafe { bindings::unlock_buffer(bh) };
        x
    }

    /// Copies the block.
    pub(crate) fn read(&self, out: &mut [u8; SIZE]) {
        self.locked(|data| {
            // SAFETY: The data is `SIZE` bytes, which a copy may read whoever else writes to the device.
            unsafe { core::ptr::copy_nonoverlapping(data, out.as_mut_ptr(), SIZE) };
        });
    }

    /// Writes `bytes` at byte `at` of the block and the block to the device, after all that the device has reported as written before.
    /// Durable on return. Needs no memory, may be called with a handle open. Writes by several tasks need a lock around them.
    ///
    /// Errors: `EINVAL` if the bytes do not fit, `EIO`.
    pub(crate) fn write(&self, at: usize, bytes: &[u8]) -> Result {
        if at.checked_add(bytes.len()).is_none_or(|end| end > SIZE) {
            return Err(code::EINVAL);
        }
        let bh = self.bh.as_ptr();
        self.locked(|data| {
            // SAFETY: The bytes fit, as was just looked at; the buffer's lock keeps other users of the buffer out.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), data.add(at), bytes.len()) };
            // An earlier write that failed has left the buffer not up to date; its data is what it should be.
            // SAFETY: The buffer is valid.
            unsafe { bindings::rvfs_set_buffer_uptodate(bh) };
        });
        // SAFETY: The buffer is valid, and this value owns a reference.
        to_result(unsafe {
            bindings::mark_buffer_dirty(bh);
            bindings::__sync_dirty_buffer(bh, bindings::RVFS_DURABLE_WRITE)
        })
    }
}

impl<const SIZE: usize> Drop for BlockAside<SIZE> {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference.
        unsafe { bindings::rvfs_put_bh(self.bh.as_ptr()) };
    }
}
