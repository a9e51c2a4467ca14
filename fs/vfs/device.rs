// SPDX-License-Identifier: GPL-2.0-only
//! The block device under a mount, as a reference that keeps it open.
//!
//! Offers size, flush and synchronous transfers of whole blocks that go past the page cache. May not know what is on the device.

use super::{bindings, code, to_result, Result};
use core::ptr::NonNull;

/// A reference to an open block device.
///
/// # Invariants
///
/// `file` is an open file of a block device, and this value owns one reference to it.
pub(crate) struct BlockDevice {
    file: NonNull<bindings::file>,
}

// SAFETY: The functions of C that take a block device may be called on any thread.
unsafe impl Send for BlockDevice {}
// SAFETY: As above; none of them needs exclusive access.
unsafe impl Sync for BlockDevice {}

impl BlockDevice {
    /// Takes a reference.
    ///
    /// # Safety
    ///
    /// `file` must be the open file of a block device.
    pub(super) unsafe fn from_file(file: *mut bindings::file) -> Result<Self> {
        // SAFETY: The file is open, by the caller's promise.
        let file = unsafe { bindings::rvfs_get_file(file) };
        // INVARIANT: The reference was just taken.
        Ok(Self {
            file: NonNull::new(file).ok_or(code::ENODEV)?,
        })
    }

    /// The device.
    pub(super) fn as_ptr(&self) -> *mut bindings::block_device {
        // SAFETY: The file is open, by the type's invariant.
        unsafe { bindings::rvfs_file_bdev(self.file.as_ptr()) }
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The device is open.
        unsafe { bindings::rvfs_bdev_bytes(self.as_ptr()) }
    }

    /// Whether it cannot be written.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The device is open.
        unsafe { bindings::rvfs_bdev_read_only(self.as_ptr()) }
    }

    /// Makes everything that the device reported as written durable. Sleeps.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: The device is open.
        to_result(unsafe { bindings::blkdev_issue_flush(self.as_ptr()) })
    }

    /// Writes `data`, whole 512-byte sectors, at byte `pos` and waits for it. It goes past the buffer cache: the range must not be
    /// cached there (see [`super::Update::forget_aliases`]).
    pub(crate) fn write(&self, pos: u64, data: &mut [u8]) -> Result {
        self.transfer(pos, data, bindings::RVFS_REQ_OP_WRITE)
    }

    /// Reads whole 512-byte sectors at byte `pos` into `data`, past the buffer cache.
    pub(crate) fn read(&self, pos: u64, data: &mut [u8]) -> Result {
        self.transfer(pos, data, bindings::RVFS_REQ_OP_READ)
    }

    fn transfer(&self, pos: u64, data: &mut [u8], op: i32) -> Result {
        if data.len() % 512 != 0 || pos % 512 != 0 {
            return Err(code::EINVAL);
        }
        // SAFETY: The device is open, and `data` is valid for reading and writing its length; the call waits for the transfer.
        to_result(unsafe {
            bindings::rvfs_bdev_rw_virt(
                self.as_ptr(),
                pos / 512,
                data.as_mut_ptr().cast(),
                data.len(),
                op as u32,
            )
        })
    }

    /// Writes zeros over `len` bytes at `pos`, both multiples of the block size, and waits.
    pub(crate) fn zero(&self, pos: u64, len: u64) -> Result {
        // SAFETY: The device is open.
        to_result(unsafe {
            bindings::blkdev_issue_zeroout(
                self.as_ptr(),
                pos / 512,
                len / 512,
                bindings::RVFS_GFP_NOFS,
                0,
            )
        })
    }

    /// Freezes the filesystem on it and lets it go again: all that was written before is durable then. May not be called with a write to
    /// the filesystem announced.
    ///
    /// Errors: what the filesystem says, `EBUSY` while it is unmounted.
    pub(crate) fn freeze_and_thaw(&self) -> Result {
        // SAFETY: The device is open.
        to_result(unsafe { bindings::bdev_freeze(self.as_ptr()) })?;
        // SAFETY: Pairs with the call above.
        to_result(unsafe { bindings::bdev_thaw(self.as_ptr()) })
    }

    /// Writes out all dirty pages of the device's own page cache and waits.
    pub(crate) fn sync(&self) -> Result {
        // SAFETY: The device is open.
        to_result(unsafe { bindings::sync_blockdev(self.as_ptr()) })
    }
}

impl Clone for BlockDevice {
    fn clone(&self) -> Self {
        // SAFETY: The file is open, by the type's invariant.
        unsafe { bindings::rvfs_get_file(self.file.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self { file: self.file }
    }
}

impl Drop for BlockDevice {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference, by the type's invariant.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}
