// SPDX-License-Identifier: GPL-2.0-only
//! Values that only C looks into.

use kernel::init::{pin_init_from_closure, PinInit};
pub use kernel::types::*;

/// What [`Opaque`] learned.
pub trait OpaqueExt<T>: Sized {
    /// 7.2: all zeros, which must be valid for what is done with it.
    fn zeroed() -> Self;

    /// 6.13: initialised by a function that may fail.
    fn try_ffi_init<E>(initialise: impl FnOnce(*mut T) -> Result<(), E>) -> impl PinInit<Self, E>;
}

impl<T> OpaqueExt<T> for Opaque<T> {
    fn zeroed() -> Self {
        // SAFETY: An `Opaque` may hold anything, initialised or not.
        unsafe { core::mem::zeroed() }
    }

    fn try_ffi_init<E>(initialise: impl FnOnce(*mut T) -> Result<(), E>) -> impl PinInit<Self, E> {
        // SAFETY: An `Opaque` may hold anything, so it is initialised whatever the function does. It is not moved by this.
        unsafe { pin_init_from_closure(move |slot: *mut Self| initialise(Self::raw_get(slot))) }
    }
}
