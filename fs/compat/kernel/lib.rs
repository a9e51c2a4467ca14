// SPDX-License-Identifier: GPL-2.0-only
//! The `kernel` crate of today for kernels whose own is older: everything that theirs has, and under the names of today what came
//! later. On such a kernel fs/Kbuild gives this crate to the module as `kernel`.
//!
//! Each item says in which version it is known to be there. It knows nothing of filesystems, and holds what the module needs, no more.

#![no_std]

pub use kernel::*;

pub mod alloc;
pub mod module;
pub mod seq_file;
pub mod types;

/// 7.2: formatting that the kernel crate extends; here it is `core`'s.
pub use core::fmt;

pub use self::module::{InPlaceModule, ModuleMetadata};

/// What the prelude of today has.
pub mod prelude {
    pub use kernel::prelude::*;

    /// 7.2: the C types are in the prelude.
    pub use kernel::ffi::{
        c_char, c_int, c_long, c_longlong, c_schar, c_short, c_uchar, c_uint, c_ulong, c_ulonglong,
        c_ushort, c_void,
    };

    pub use crate::alloc::VecExt as _;
    pub use crate::module;
    pub use crate::str::{CStr, CStrExt as _};
    pub use crate::types::OpaqueExt as _;

    /// 7.2: zerocopy is part of the kernel.
    pub use zerocopy::{FromBytes, IntoBytes};
}

/// Names of today for types of C.
pub mod bindings {
    pub use kernel::bindings::*;

    /// 6.17: file attributes in the kernel have a name of their own.
    pub use kernel::bindings::fileattr as file_kattr;
}

/// 7.2: strings of C are `core`'s.
pub mod str {
    pub use core::ffi::CStr;
    use kernel::ffi::c_char;
    pub use kernel::str::*;

    /// What `core` has for `core`'s own `c_char`, for the kernel's.
    pub trait CStrExt {
        /// The string behind `pointer`.
        ///
        /// # Safety
        /// `pointer` points to a string that ends with a zero byte, lives for `'a` and does not change.
        unsafe fn from_char_ptr<'a>(pointer: *const c_char) -> &'a Self;

        /// A pointer to the first byte.
        fn as_char_ptr(&self) -> *const c_char;
    }

    impl CStrExt for CStr {
        unsafe fn from_char_ptr<'a>(pointer: *const c_char) -> &'a Self {
            // SAFETY: By the caller's promise.
            unsafe { CStr::from_ptr(pointer.cast()) }
        }

        fn as_char_ptr(&self) -> *const c_char {
            self.as_ptr().cast()
        }
    }
}

/// 7.2: a user's address has a type of its own.
pub mod uaccess {
    pub use kernel::uaccess::*;

    /// Makes addresses of users; [`UserSlice::new`] takes numbers.
    pub enum UserPtr {}

    impl UserPtr {
        /// The address `address`.
        pub fn from_addr(address: usize) -> usize {
            address
        }
    }
}
