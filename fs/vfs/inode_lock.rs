// SPDX-License-Identifier: GPL-2.0-only
//! The locks that the kernel has in every inode: the one that writers and changers of attributes take, and the one that keeps page faults
//! out. As guards; it may not decide who takes which when.

use super::{bindings, FileSystem, INode};
use core::marker::PhantomData;

enum LockKind {
    Exclusive,
    Shared,
    Invalidate,
    InvalidateShared,
}

/// A lock of an inode, given back when dropped.
pub(crate) struct INodeLock<'a, T: FileSystem> {
    inode: &'a INode<T>,
    kind: LockKind,
    _not_send: PhantomData<*mut ()>,
}

impl<T: FileSystem> Drop for INodeLock<'_, T> {
    fn drop(&mut self) {
        let inode = self.inode.as_ptr();
        // SAFETY: The lock was taken in this way by this task.
        unsafe {
            match self.kind {
                LockKind::Exclusive => bindings::rvfs_inode_unlock(inode),
                LockKind::Shared => bindings::rvfs_inode_unlock_shared(inode),
                LockKind::Invalidate => bindings::rvfs_invalidate_unlock(inode),
                LockKind::InvalidateShared => bindings::rvfs_invalidate_unlock_shared(inode),
            }
        }
    }
}

impl<T: FileSystem> INode<T> {
    /// Waits for the lock that writers and changers of attributes take.
    pub(crate) fn lock(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_inode_lock(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::Exclusive,
            _not_send: PhantomData,
        }
    }

    /// As [`INode::lock`], or `None` instead of waiting.
    pub(crate) fn try_lock(&self) -> Option<INodeLock<'_, T>> {
        // SAFETY: The inode is valid.
        let locked = unsafe { bindings::rvfs_inode_trylock(self.as_ptr()) };
        // Only made where it is owned: dropping it unlocks.
        locked.then(|| INodeLock {
            inode: self,
            kind: LockKind::Exclusive,
            _not_send: PhantomData,
        })
    }

    /// Waits for the same lock, shared.
    pub(crate) fn lock_shared(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_inode_lock_shared(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::Shared,
            _not_send: PhantomData,
        }
    }

    /// As [`INode::lock_shared`], or `None` instead of waiting.
    pub(crate) fn try_lock_shared(&self) -> Option<INodeLock<'_, T>> {
        // SAFETY: The inode is valid.
        let locked = unsafe { bindings::rvfs_inode_trylock_shared(self.as_ptr()) };
        // Only made where it is owned: dropping it unlocks.
        locked.then(|| INodeLock {
            inode: self,
            kind: LockKind::Shared,
            _not_send: PhantomData,
        })
    }

    /// Waits for the lock that keeps page faults and read-ahead out while blocks are taken from the file.
    pub(crate) fn lock_invalidate(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_invalidate_lock(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::Invalidate,
            _not_send: PhantomData,
        }
    }

    /// The same lock, shared: page faults.
    pub(crate) fn lock_invalidate_shared(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_invalidate_lock_shared(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::InvalidateShared,
            _not_send: PhantomData,
        }
    }

    /// Waits for direct I/O to end. Hold the lock exclusively, so that none begins.
    pub(crate) fn wait_for_direct_io(&self) {
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_dio_wait(self.as_ptr()) };
    }
}
