// SPDX-License-Identifier: GPL-2.0-only
//! Files that a request names by descriptor, and what an open file says about how it was opened.

use super::{bindings, code, FileRef, INodeOperations, Result, SuperBlock};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A file behind a descriptor of the current task, of the filesystem that it was looked up for. Dropping it may close the file: not inside a
/// handle, nor under a lock.
///
/// # Invariants
///
/// Owns a reference to `file`, whose inode belongs to a super block of `T`.
pub(crate) struct OpenFile<T: INodeOperations> {
    file: NonNull<bindings::file>,
    _type: core::marker::PhantomData<T>,
}

impl<T: INodeOperations> OpenFile<T> {
    /// Looks descriptor `fd` up.
    ///
    /// Errors: `EBADF` if it is not open (or only for its path), `EXDEV` if it is a file of another filesystem than `sb`.
    pub(crate) fn get(sb: &SuperBlock<T>, fd: i32) -> Result<Self> {
        let fd = c_uint::try_from(fd).map_err(|_| code::EBADF)?;
        // SAFETY: Any number may be looked up.
        let file = NonNull::new(unsafe { bindings::fget(fd) }).ok_or(code::EBADF)?;
        // SAFETY: The reference is ours; the inode of an open file is valid.
        let same = unsafe { (*bindings::rvfs_file_inode(file.as_ptr())).i_sb } == sb.as_ptr();
        if !same {
            // SAFETY: The reference is ours and not used again.
            unsafe { bindings::fput(file.as_ptr()) };
            return Err(code::EXDEV);
        }
        // INVARIANT: The reference is ours, and `sb` is of type `T`.
        Ok(Self {
            file,
            _type: core::marker::PhantomData,
        })
    }

    /// The file, for as long as this lives.
    pub(crate) fn file(&self) -> Result<FileRef<'_, T>> {
        // SAFETY: The file is open and of a mount of `T`, by the invariant.
        unsafe { FileRef::from_raw(self.file.as_ptr()) }
    }
}

impl<T: INodeOperations> Drop for OpenFile<T> {
    fn drop(&mut self) {
        // SAFETY: The reference is ours, by the invariant, and not used again.
        unsafe { bindings::fput(self.file.as_ptr()) };
    }
}

impl<T: INodeOperations> FileRef<'_, T> {
    /// Whether it was opened for reading.
    pub(crate) fn is_readable(&self) -> bool {
        // SAFETY: The file is open.
        unsafe { (*self.as_ptr()).f_mode & bindings::RVFS_FMODE_READ != 0 }
    }

    /// Number of the inode at the root of the mount that the file was opened through: the filesystem's root directory, or for a bind
    /// mount the directory or file that is mounted.
    pub(crate) fn mount_root(&self) -> u64 {
        // SAFETY: The file is open, so its mount and the mount's root are valid.
        unsafe { bindings::rvfs_file_mount_root(self.as_ptr()) }
    }
}
