// SPDX-License-Identifier: GPL-2.0-only
//! The memory of inodes: a slab whose objects hold the kernel's `struct inode` with a filesystem's own data beside it.
//!
//! It gives and takes memory; who may look at what is in it, and when, is the business of [`super::inode`] and [`super::new_inode`].

use super::{bindings, code, FileSystem, Result};
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What the slab holds: the filesystem's data, the queue of completed writes, and the kernel's inode.
#[repr(C)]
pub(super) struct Slot<T: FileSystem> {
    pub(super) data: UnsafeCell<Option<T::INode>>,
    pub(super) completions: Opaque<bindings::rvfs_completions>,
    pub(super) inode: Opaque<bindings::inode>,
}

/// The slot around an inode.
///
/// # Safety
///
/// `inode` must come from [`alloc_inode`] for `T`.
pub(super) unsafe fn slot_of<T: FileSystem>(inode: *mut bindings::inode) -> *mut Slot<T> {
    // SAFETY: The inode is a field of a slot, by the caller's promise.
    unsafe { inode.byte_sub(core::mem::offset_of!(Slot<T>, inode)).cast() }
}

/// Makes the slab.
pub(super) fn create_cache<T: FileSystem>(
    name: &'static CStr,
) -> Result<NonNull<bindings::kmem_cache>> {
    let mut args = bindings::kmem_cache_args {
        align: core::mem::align_of::<Slot<T>>() as u32,
        ctor: Some(construct::<T>),
        // SAFETY: All zeros are the defaults.
        ..unsafe { core::mem::zeroed() }
    };
    // SAFETY: The name lives for ever, and the arguments are valid.
    let cache = unsafe {
        bindings::__kmem_cache_create_args(
            name.as_char_ptr(),
            core::mem::size_of::<Slot<T>>() as u32,
            &mut args,
            bindings::RVFS_SLAB_FLAGS,
        )
    };
    NonNull::new(cache).ok_or(code::ENOMEM)
}

unsafe extern "C" fn construct<T: FileSystem>(object: *mut c_void) {
    let slot: *mut Slot<T> = object.cast();
    // SAFETY: The slab gives memory for one slot.
    unsafe { bindings::inode_init_once((*slot).inode.get()) };
}

pub(super) unsafe extern "C" fn alloc_inode<T: FileSystem>(
    sb: *mut bindings::super_block,
) -> *mut bindings::inode {
    // SAFETY: The super block is of a registered type.
    let info = unsafe { super::fs_type::TypeInfo::of(sb) };
    // SAFETY: The cache is this type's.
    let slot: *mut Slot<T> = unsafe { bindings::rvfs_alloc_inode_sb(sb, info.inode_cache) }.cast();
    if slot.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: The memory is ours, and constructed but for this field; the queue is made when the inode turns out to be a file.
    unsafe {
        (&raw mut (*slot).data).write(UnsafeCell::new(None));
        (*slot).inode.get()
    }
}

/// The inode was evicted, nobody has a reference. Walks without references may still look at the kernel's part, never at ours.
pub(super) unsafe extern "C" fn destroy_inode<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: The inode is in a slot, and nobody has a reference to its data.
    unsafe { *(*slot_of::<T>(inode)).data.get() = None };
}

pub(super) unsafe extern "C" fn free_inode<T: FileSystem>(inode: *mut bindings::inode) {
    // The cache is found by the memory: this runs after a grace period, when the super block may be gone.
    // SAFETY: The inode is in a slot of a slab cache, and nobody looks at it any more.
    unsafe { bindings::kfree(slot_of::<T>(inode).cast()) };
}
