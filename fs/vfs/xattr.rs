// SPDX-License-Identifier: GPL-2.0-only
//! Extended attributes: `user.`, `trusted.` and `security.` names.
//!
//! The kernel checks who may touch which name before it calls. Values go through the kernel's buffers of up to 64 KiB.

use super::{attr::IdMap, bindings, code, length, status, INode, INodeOperations, Result};
use core::marker::PhantomData;
use kernel::prelude::*;

/// The part of a name before the first dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// `user.`: permissions of the file decide.
    User,
    /// `trusted.`: for CAP_SYS_ADMIN.
    Trusted,
    /// `security.`: security modules decide.
    Security,
}

impl Namespace {
    /// The prefix with its dot.
    pub(crate) const fn prefix(self) -> &'static CStr {
        match self {
            Namespace::User => c"user.",
            Namespace::Trusted => c"trusted.",
            Namespace::Security => c"security.",
        }
    }
}

/// How a value may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetMode {
    /// It may exist or not.
    Any,
    /// It must not exist (`EEXIST`).
    Create,
    /// It must exist (`ENODATA`).
    Replace,
}

/// A filesystem with extended attributes.
pub(crate) trait XattrOperations: INodeOperations {
    /// Gives the value's length, and copies the value into `out` unless that is empty.
    ///
    /// Errors: `ENODATA`, `ERANGE` if `out` is too small.
    fn get_xattr(inode: &INode<Self>, ns: Namespace, name: &[u8], out: &mut [u8]) -> Result<usize>;

    /// Sets a value, or removes it (`None`). Called with the inode's lock held.
    fn set_xattr(
        inode: &INode<Self>,
        idmap: IdMap<'_>,
        ns: Namespace,
        name: &[u8],
        value: Option<&[u8]>,
        mode: SetMode,
    ) -> Result;
}

/// Collects names for listxattr(2).
pub(crate) struct ListXattr<'a> {
    out: &'a mut [u8],
    used: usize,
    /// Nobody wants the names, only their length.
    measure: bool,
    trusted: bool,
}

impl ListXattr<'_> {
    /// Adds `ns` and `name`. Names of `trusted.` are left out for tasks that may not see them. Errors: `ERANGE` if there is no more room.
    pub(crate) fn add(&mut self, ns: Namespace, name: &[u8]) -> Result {
        if ns == Namespace::Trusted && !self.trusted {
            return Ok(());
        }
        let prefix = ns.prefix().to_bytes();
        let end = self
            .used
            .checked_add(prefix.len())
            .and_then(|n| n.checked_add(name.len()))
            .and_then(|n| n.checked_add(1))
            .ok_or(code::E2BIG)?;
        if !self.measure {
            let room = self.out.get_mut(self.used..end).ok_or(code::ERANGE)?;
            let name = Iterator::chain(prefix.iter(), name);
            for (to, from) in room.iter_mut().zip(Iterator::chain(name, &[0])) {
                *to = *from;
            }
        }
        self.used = end;
        Ok(())
    }
}

pub(super) unsafe extern "C" fn list_callback<T: INodeOperations>(
    dentry: *mut bindings::dentry,
    buffer: *mut c_char,
    size: usize,
) -> isize {
    // SAFETY: The dentry has an inode of this type.
    let Some(inode) = (unsafe { INode::<T>::from_raw(bindings::rvfs_d_inode(dentry)) }) else {
        return code::EIO.to_errno() as isize;
    };
    let measure = buffer.is_null() || size == 0;
    let out: &mut [u8] = if measure {
        &mut []
    } else {
        // SAFETY: The kernel gives a buffer of this size.
        unsafe { core::slice::from_raw_parts_mut(buffer.cast(), size) }
    };
    // SAFETY: Asks about the current task.
    let trusted = unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) };
    let mut list = ListXattr {
        out,
        used: 0,
        measure,
        trusted,
    };
    length(T::list_xattrs(inode, &mut list).map(|()| list.used))
}

/// The handlers of `T`; each knows its namespace by `flags`.
struct HandlerTable<T>(PhantomData<T>);

impl<T: XattrOperations> HandlerTable<T> {
    const fn handler(ns: Namespace) -> bindings::xattr_handler {
        bindings::xattr_handler {
            name: core::ptr::null(),
            prefix: ns.prefix().as_ptr().cast(),
            flags: ns as c_int,
            list: None,
            get: Some(get::<T>),
            set: Some(set::<T>),
        }
    }

    const USER: bindings::xattr_handler = Self::handler(Namespace::User);
    const TRUSTED: bindings::xattr_handler = Self::handler(Namespace::Trusted);
    const SECURITY: bindings::xattr_handler = Self::handler(Namespace::Security);
    const TABLE: [*const bindings::xattr_handler; 4] = [
        &Self::USER,
        &Self::TRUSTED,
        &Self::SECURITY,
        core::ptr::null(),
    ];
}

/// The handlers of `T`, ended by a null pointer.
pub(super) fn handlers<T: XattrOperations>() -> *const *const bindings::xattr_handler {
    let table: &'static [*const bindings::xattr_handler; 4] = &HandlerTable::<T>::TABLE;
    table.as_ptr()
}

/// # Safety
///
/// `handler` must be one of [`HandlerTable`].
unsafe fn namespace(handler: *const bindings::xattr_handler) -> Namespace {
    // SAFETY: By the caller's promise.
    match unsafe { (*handler).flags } {
        f if f == Namespace::User as c_int => Namespace::User,
        f if f == Namespace::Trusted as c_int => Namespace::Trusted,
        _ => Namespace::Security,
    }
}

unsafe extern "C" fn get<T: XattrOperations>(
    handler: *const bindings::xattr_handler,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: The handler is ours, the inode of this type, the name ends with a zero byte, and the buffer is null or of this size.
    unsafe {
        let Some(inode) = INode::<T>::from_raw(inode) else {
            return code::EIO.to_errno();
        };
        let out: &mut [u8] = if buffer.is_null() || size == 0 {
            &mut []
        } else {
            core::slice::from_raw_parts_mut(buffer.cast(), size)
        };
        let name = CStr::from_char_ptr(name).to_bytes();
        match T::get_xattr(inode, namespace(handler), name, out) {
            Ok(n) => c_int::try_from(n).unwrap_or(code::E2BIG.to_errno()),
            Err(e) => e.to_errno(),
        }
    }
}

unsafe extern "C" fn set<T: XattrOperations>(
    handler: *const bindings::xattr_handler,
    idmap: *mut kernel::bindings::mnt_idmap,
    _dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    name: *const c_char,
    buffer: *const c_void,
    size: usize,
    flags: c_int,
) -> c_int {
    let mode = match flags as u32 & (bindings::XATTR_CREATE | bindings::XATTR_REPLACE) {
        bindings::XATTR_CREATE => SetMode::Create,
        bindings::XATTR_REPLACE => SetMode::Replace,
        _ => SetMode::Any,
    };
    // SAFETY: As in `get`; the buffer is null to remove the value.
    unsafe {
        let Some(inode) = INode::<T>::from_raw(inode) else {
            return code::EIO.to_errno();
        };
        let value =
            (!buffer.is_null()).then(|| core::slice::from_raw_parts(buffer.cast::<u8>(), size));
        let name = CStr::from_char_ptr(name).to_bytes();
        status(T::set_xattr(
            inode,
            IdMap::from_raw(idmap),
            namespace(handler),
            name,
            value,
            mode,
        ))
    }
}
