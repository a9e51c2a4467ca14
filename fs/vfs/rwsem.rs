// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's read-write semaphore as a Rust lock: many readers or one writer, both may sleep.

use super::bindings;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use kernel::prelude::*;
use kernel::types::Opaque;

/// Data behind a read-write semaphore.
#[pin_data]
pub(crate) struct RwSemaphore<T> {
    #[pin]
    sem: Opaque<bindings::rw_semaphore>,
    data: UnsafeCell<T>,
}

// SAFETY: The data moves with the lock.
unsafe impl<T: Send> Send for RwSemaphore<T> {}
// SAFETY: The lock gives shared access to several threads (`Sync`) and exclusive access to one at a time (`Send`).
unsafe impl<T: Send + Sync> Sync for RwSemaphore<T> {}

impl<T> RwSemaphore<T> {
    /// An unlocked semaphore around `data`.
    pub(crate) fn new(data: T) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `sem` is memory for a semaphore that stays where it is.
            sem <- Opaque::ffi_init(|sem| unsafe { bindings::rvfs_init_rwsem(sem) }),
            data: UnsafeCell::new(data),
        })
    }

    /// The same for one that is taken before others made by [`RwSemaphore::new`]: the kernel's checks of the order of locks take
    /// all that are made in one place for one.
    pub(crate) fn new_outer(data: T) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `sem` is memory for a semaphore that stays where it is.
            sem <- Opaque::ffi_init(|sem| unsafe { bindings::rvfs_init_outer_rwsem(sem) }),
            data: UnsafeCell::new(data),
        })
    }

    /// Waits for shared access. A thread must not take it twice: a waiting writer between would deadlock.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        // SAFETY: The semaphore was initialised by `new`.
        unsafe { bindings::down_read(self.sem.get()) };
        ReadGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }

    /// Waits for exclusive access.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        // SAFETY: The semaphore was initialised by `new`.
        unsafe { bindings::down_write(self.sem.get()) };
        WriteGuard {
            lock: self,
            _not_send: PhantomData,
        }
    }
}

/// Shared access; ends when dropped.
pub(crate) struct ReadGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The semaphore is held for reading, so nobody has exclusive access.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard stands for one `down_read` of this thread.
        unsafe { bindings::up_read(self.lock.sem.get()) };
    }
}

/// Exclusive access; ends when dropped.
pub(crate) struct WriteGuard<'a, T> {
    lock: &'a RwSemaphore<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: The semaphore is held for writing.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The semaphore is held for writing, so this guard alone has access.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The guard stands for one `down_write` of this thread.
        unsafe { bindings::up_write(self.lock.sem.get()) };
    }
}
