// SPDX-License-Identifier: GPL-2.0-only
//! What a filesystem does to the page cache of a file: cutting, zeroing, writing out. It may not know where data lies; that is
//! asked through [`super::mapping`].

use super::mapping::Tables;
use super::{bindings, code, to_result, INode, MappingOperations, Result};

impl<T: MappingOperations> INode<T> {
    /// Sets the size in memory and drops what the page cache has beyond it. Hold the inode's lock and the invalidate lock.
    pub(crate) fn truncate_to(&self, size: u64) {
        // SAFETY: The inode is valid.
        unsafe {
            bindings::truncate_setsize(self.as_ptr(), i64::try_from(size).unwrap_or(i64::MAX))
        };
    }

    /// Drops what the page cache has of bytes `start..end`, writing nothing; partial pages are filled with zeros there.
    pub(crate) fn drop_cache(&self, start: u64, end: u64) {
        let (Ok(start), Ok(end)) = (i64::try_from(start), i64::try_from(end)) else {
            return;
        };
        if start < end {
            // SAFETY: The inode is valid.
            unsafe { bindings::truncate_pagecache_range(self.as_ptr(), start, end - 1) };
        }
    }

    /// Fills the rest of the block from byte `pos` on with zeros through the page cache, unless `pos` starts a block or nothing is there.
    /// Says whether something was filled.
    pub(crate) fn zero_block_tail(&self, pos: u64) -> Result<bool> {
        let pos = i64::try_from(pos).map_err(|_| code::EINVAL)?;
        let mut zeroed = false;
        // SAFETY: The inode is valid; the tables are this type's.
        to_result(unsafe {
            bindings::rvfs_iomap_truncate_page(
                self.as_ptr(),
                pos,
                &mut zeroed,
                Tables::<T>::map(),
                Tables::<T>::write(),
            )
        })?;
        Ok(zeroed)
    }

    /// Fills `len` bytes from `pos` with zeros through the page cache, where there is something else. Hold the inode's lock.
    pub(crate) fn zero_range(&self, pos: u64, len: u64) -> Result {
        let (pos, len) = (
            i64::try_from(pos).map_err(|_| code::EINVAL)?,
            i64::try_from(len).map_err(|_| code::EINVAL)?,
        );
        // SAFETY: The inode is valid; the tables are this type's.
        to_result(unsafe {
            bindings::rvfs_iomap_zero_range(
                self.as_ptr(),
                pos,
                len,
                Tables::<T>::map(),
                Tables::<T>::write(),
            )
        })
    }

    /// Writes out bytes `start..end` of the page cache and waits, completion included.
    pub(crate) fn write_and_wait(&self, start: u64, end: u64) -> Result {
        let start = i64::try_from(start).map_err(|_| code::EINVAL)?;
        let last = i64::try_from(end).unwrap_or(i64::MAX).saturating_sub(1);
        // SAFETY: The inode is valid.
        to_result(unsafe {
            bindings::filemap_write_and_wait_range((*self.as_ptr()).i_mapping, start, last)
        })
    }

    /// Whether the page cache has something that is not on the device.
    pub(crate) fn has_unwritten_cache(&self) -> bool {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_mapping_dirty_or_writeback(self.as_ptr()) }
    }

    /// Tells the page cache that the file has grown from `from` to `to`, so that writes through old mappings fault again.
    pub(crate) fn cache_extended(&self, from: u64, to: u64) {
        let (Ok(from), Ok(to)) = (i64::try_from(from), i64::try_from(to)) else {
            return;
        };
        // SAFETY: The inode is valid, and its lock is held by those who change its size.
        unsafe { bindings::pagecache_isize_extended(self.as_ptr(), from, to) };
    }
}
