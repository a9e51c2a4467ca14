// SPDX-License-Identifier: GPL-2.0-only
//! How a file is mapped into memory.

use crate::vfs::bindings;
use kernel::ffi::c_int;

/// A file that can be mapped into memory.
pub(crate) trait MapCallback {
    /// The file is being mapped; gives the operations of the mapping, which live for ever.
    ///
    /// # Safety
    /// `file` is open and one that this serves.
    unsafe fn map(file: *mut bindings::file) -> *const bindings::vm_operations_struct;
}

/// A table of functions that has those for `M` alone.
///
/// 6.16 has `mmap_prepare`, which gets a description of a mapping that is not made yet.
#[cfg(linux_since = "6.16")]
pub(crate) const fn mappable<M: MapCallback>() -> bindings::file_operations {
    bindings::file_operations {
        mmap_prepare: Some(mmap_prepare::<M>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    }
}

/// A table of functions that has those for `M` alone.
#[cfg(not(linux_since = "6.16"))]
pub(crate) const fn mappable<M: MapCallback>() -> bindings::file_operations {
    bindings::file_operations {
        mmap: Some(mmap::<M>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    }
}

#[cfg(linux_since = "6.16")]
unsafe extern "C" fn mmap_prepare<M: MapCallback>(
    description: *mut bindings::vm_area_desc,
) -> c_int {
    // SAFETY: The description is valid, and its file is open.
    unsafe { (*description).vm_ops = M::map((*description).file) };
    0
}

#[cfg(not(linux_since = "6.16"))]
unsafe extern "C" fn mmap<M: MapCallback>(
    file: *mut bindings::file,
    area: *mut bindings::vm_area_struct,
) -> c_int {
    // SAFETY: The area is being made, and its file is open.
    unsafe { (*area).vm_ops = M::map(file) };
    0
}
