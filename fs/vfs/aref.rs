// SPDX-License-Identifier: GPL-2.0-only
//! Owned references to objects that the kernel counts references of, such as inodes. It may not know what they are.

use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;

/// An owned reference. Dropping the last one to an inode may evict it, which may start a transaction: never drop one inside a
/// handle or under a lock that eviction needs.
///
/// # Invariants
///
/// Owns one reference to a valid value.
pub(crate) struct ARef<I: Counted> {
    ptr: NonNull<I>,
}

/// What [`ARef`] counts references of.
///
/// # Safety
///
/// The value must stay valid as long as there is a reference.
pub(crate) unsafe trait Counted {
    /// Takes a reference.
    fn get(&self);
    /// Gives one back.
    ///
    /// # Safety
    ///
    /// The caller owns a reference and does not use it any more.
    unsafe fn put(this: NonNull<Self>);
}

// SAFETY: References may move between threads if the value may be shared.
unsafe impl<I: Counted + Sync + Send> Send for ARef<I> {}
// SAFETY: As above.
unsafe impl<I: Counted + Sync + Send> Sync for ARef<I> {}

impl<I: Counted> ARef<I> {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and the caller own a reference that it does not use any more.
    pub(super) unsafe fn from_raw(ptr: NonNull<I>) -> Self {
        // INVARIANT: By the caller's promise.
        Self { ptr }
    }

    /// Gives up the reference without putting it.
    pub(super) fn into_raw(this: Self) -> NonNull<I> {
        ManuallyDrop::new(this).ptr
    }
}

impl<I: Counted> Clone for ARef<I> {
    fn clone(&self) -> Self {
        self.get();
        // INVARIANT: Just taken.
        Self { ptr: self.ptr }
    }
}

impl<I: Counted> Deref for ARef<I> {
    type Target = I;

    fn deref(&self) -> &I {
        // SAFETY: The value is valid while this reference is owned.
        unsafe { self.ptr.as_ref() }
    }
}

impl<I: Counted> From<&I> for ARef<I> {
    fn from(value: &I) -> Self {
        value.get();
        // INVARIANT: Just taken.
        Self {
            ptr: NonNull::from(value),
        }
    }
}

impl<I: Counted> Drop for ARef<I> {
    fn drop(&mut self) {
        // SAFETY: This owns a reference.
        unsafe { I::put(self.ptr) };
    }
}
