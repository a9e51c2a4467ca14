// SPDX-License-Identifier: GPL-2.0-only
//! Memory: what the kernel crate's vectors learned over time.

use kernel::alloc::{AllocError, Flags, KVVec};

/// A vector of `len` zero bytes.
///
/// 7.3 has `Vec::zeroed`, which asks the allocator for zeroed pages.
///
/// # Errors
/// There is no memory.
#[cfg(linux_since = "7.3")]
pub(crate) fn zeroed_bytes(len: usize, flags: Flags) -> Result<KVVec<u8>, AllocError> {
    KVVec::zeroed(len, flags)
}

/// A vector of `len` zero bytes.
///
/// # Errors
/// There is no memory.
#[cfg(not(linux_since = "7.3"))]
pub(crate) fn zeroed_bytes(len: usize, flags: Flags) -> Result<KVVec<u8>, AllocError> {
    KVVec::from_elem(0, len, flags)
}
