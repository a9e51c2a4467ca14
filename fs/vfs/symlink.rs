// SPDX-License-Identifier: GPL-2.0-only
//! Symbolic links.

use super::{attr, bindings, code, INode, INodeOperations, Result};
use core::marker::PhantomData;
use kernel::prelude::*;

/// What a symbolic link can do.
pub(crate) trait SymlinkOperations: INodeOperations {
    /// Gives the target, without a zero byte. May sleep.
    fn target(inode: &INode<Self>) -> Result<KVec<u8>>;
}

struct Table<T>(PhantomData<T>);

impl<T: SymlinkOperations> Table<T> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(get_link::<T>),
        ..attr::common_operations::<T>()
    };
}

/// `inode_operations` of symbolic links.
pub(super) fn inode_operations<T: SymlinkOperations>() -> *const bindings::inode_operations {
    &Table::<T>::TABLE
}

unsafe extern "C" fn get_link<T: SymlinkOperations>(
    dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    done: *mut bindings::delayed_call,
) -> *const c_char {
    // A walk without references asks again with one.
    if dentry.is_null() {
        return code::ECHILD.to_ptr();
    }
    // SAFETY: The inode is a symbolic link of this type with a reference.
    let Some(inode) = (unsafe { INode::<T>::from_raw(inode) }) else {
        return code::EIO.to_ptr();
    };
    let target = T::target(inode).and_then(|mut target| {
        target.push(0, GFP_KERNEL)?;
        Ok(target)
    });
    match target {
        Ok(target) => {
            let (text, _, _) = target.into_raw_parts();
            // SAFETY: The call is valid; the text is freed by it when the walk is done.
            unsafe {
                (*done).fn_ = Some(free_link);
                (*done).arg = text.cast();
            }
            text.cast()
        }
        Err(e) => e.to_ptr(),
    }
}

unsafe extern "C" fn free_link(text: *mut c_void) {
    // SAFETY: The text is a vector's memory, which comes from kmalloc.
    unsafe { bindings::kfree(text) };
}
