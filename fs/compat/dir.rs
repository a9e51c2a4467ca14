// SPDX-License-Identifier: GPL-2.0-only
//! Callbacks of directories whose signature changed.

use kernel::bindings;
use kernel::ffi::c_int;

/// What `inode_operations::create` and `mkdir` do.
pub(crate) trait MakeCallbacks {
    /// Makes a regular file for `dentry` in `dir`; returns 0 or a negative error.
    ///
    /// # Safety
    /// The arguments are those of a call of `inode_operations::create` by the VFS.
    unsafe fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> c_int;

    /// Makes a directory for `dentry` itself in `dir`; returns 0 or a negative error.
    ///
    /// # Safety
    /// The arguments are those of a call of `inode_operations::mkdir` by the VFS.
    unsafe fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> c_int;
}

/// The type of the member `create`.
#[cfg(linux_since = "7.3")]
pub(crate) type Create = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    u16,
) -> c_int;

/// The type of the member `create`. Before 7.3 it says whether the file must not exist, which local filesystems need not know:
/// the VFS holds the directory's lock and has looked.
#[cfg(not(linux_since = "7.3"))]
pub(crate) type Create = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    u16,
    bool,
) -> c_int;

/// The function for the member `create` that calls `C`.
pub(crate) const fn create_callback<C: MakeCallbacks>() -> Option<Create> {
    Some(create::<C>)
}

#[cfg(linux_since = "7.3")]
unsafe extern "C" fn create<C: MakeCallbacks>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: u16,
) -> c_int {
    // SAFETY: The VFS calls this as `create`.
    unsafe { C::create(idmap, dir, dentry, mode) }
}

#[cfg(not(linux_since = "7.3"))]
unsafe extern "C" fn create<C: MakeCallbacks>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: u16,
    _excl: bool,
) -> c_int {
    // SAFETY: The VFS calls this as `create`.
    unsafe { C::create(idmap, dir, dentry, mode) }
}

/// What the member `mkdir` returns: since 6.15 another dentry than the one that was asked for, if the directory came to have one.
#[cfg(linux_since = "6.15")]
pub(crate) type Made = *mut bindings::dentry;

/// What the member `mkdir` returns.
#[cfg(not(linux_since = "6.15"))]
pub(crate) type Made = c_int;

/// The type of the member `mkdir`.
pub(crate) type Mkdir = unsafe extern "C" fn(
    *mut bindings::mnt_idmap,
    *mut bindings::inode,
    *mut bindings::dentry,
    u16,
) -> Made;

/// The function for the member `mkdir` that calls `C`.
pub(crate) const fn mkdir_callback<C: MakeCallbacks>() -> Option<Mkdir> {
    Some(mkdir::<C>)
}

unsafe extern "C" fn mkdir<C: MakeCallbacks>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: u16,
) -> Made {
    // SAFETY: The VFS calls this as `mkdir`.
    made(unsafe { C::mkdir(idmap, dir, dentry, mode) })
}

#[cfg(linux_since = "6.15")]
fn made(result: c_int) -> Made {
    match result {
        0 => core::ptr::null_mut(),
        error => kernel::error::Error::from_errno(error).to_ptr(),
    }
}

#[cfg(not(linux_since = "6.15"))]
fn made(result: c_int) -> Made {
    result
}
