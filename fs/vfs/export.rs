// SPDX-License-Identifier: GPL-2.0-only
//! File handles (open_by_handle_at(2), NFS): inode number and generation, and those of the parent when asked for.

use super::{bindings, code, ARef, FileSystem, INode, Result, SuperBlock};
use core::marker::PhantomData;
use kernel::prelude::*;

/// A filesystem whose inodes can be found by number.
pub(crate) trait ExportOperations: FileSystem {
    /// Finds an inode that is in use. The number comes from outside and may be anything.
    ///
    /// Errors: `ESTALE` if the inode is not in use, or its generation is another.
    fn inode_by_handle(
        sb: &SuperBlock<Self>,
        ino: u64,
        generation: u32,
    ) -> Result<ARef<INode<Self>>>;

    /// Finds the directory that a directory is in.
    fn parent(dir: &INode<Self>) -> Result<ARef<INode<Self>>>;

    /// Makes what is recorded of an inode durable, for NFS.
    fn commit_metadata(inode: &INode<Self>) -> Result;
}

/// One inode in a handle: number in two words, generation in one.
const WORDS: usize = 3;

struct Table<T>(PhantomData<T>);

impl<T: ExportOperations> Table<T> {
    const TABLE: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(encode),
        fh_to_dentry: Some(fh_to_dentry::<T>),
        fh_to_parent: Some(fh_to_parent::<T>),
        get_parent: Some(get_parent::<T>),
        commit_metadata: Some(commit_metadata::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };
}

/// `export_operations` of `T`.
pub(super) fn operations<T: ExportOperations>() -> *const kernel::bindings::export_operations {
    let table: &'static bindings::export_operations = &Table::<T>::TABLE;
    core::ptr::from_ref(table).cast()
}

unsafe extern "C" fn encode(
    inode: *mut bindings::inode,
    fh: *mut u32,
    max_words: *mut c_int,
    parent: *mut bindings::inode,
) -> c_int {
    let words = if parent.is_null() { WORDS } else { 2 * WORDS };
    // SAFETY: The kernel gives `max_words` words to fill.
    let room = unsafe { *max_words };
    // SAFETY: As above.
    unsafe { *max_words = words as c_int };
    if usize::try_from(room).unwrap_or(0) < words {
        return bindings::fid_type_FILEID_INVALID as c_int;
    }
    // SAFETY: There is room for `words` words.
    let out = unsafe { core::slice::from_raw_parts_mut(fh, words) };
    for (chunk, inode) in out.chunks_exact_mut(WORDS).zip([inode, parent]) {
        // SAFETY: Both inodes are valid, as there is a second chunk only if there is a parent.
        let (ino, generation) = unsafe { ((*inode).i_ino, (*inode).i_generation) };
        for (to, from) in chunk
            .iter_mut()
            .zip([ino as u32, (ino >> 32) as u32, generation])
        {
            *to = from;
        }
    }
    if parent.is_null() {
        bindings::fid_type_FILEID_INO64_GEN as c_int
    } else {
        bindings::fid_type_FILEID_INO64_GEN_PARENT as c_int
    }
}

/// Finds the `nth` inode of a handle.
///
/// # Safety
///
/// `sb` must be mounted and of type `T`; `fid` must have `len` words.
unsafe fn decode<T: ExportOperations>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    nth: usize,
) -> *mut bindings::dentry {
    // SAFETY: By the caller's promise.
    let words = unsafe {
        core::slice::from_raw_parts(fid.cast::<u32>(), usize::try_from(len).unwrap_or(0))
    };
    let Some(&[low, high, generation]) = words.chunks_exact(WORDS).nth(nth) else {
        return core::ptr::null_mut();
    };
    let ino = u64::from(high) << 32 | u64::from(low);
    // SAFETY: By the caller's promise.
    let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
    match T::inode_by_handle(sb, ino, generation) {
        // SAFETY: The reference is consumed.
        Ok(inode) => unsafe { bindings::d_obtain_alias(ARef::as_raw(inode)) },
        Err(e) => e.to_ptr(),
    }
}

unsafe extern "C" fn fh_to_dentry<T: ExportOperations>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    let known = [
        bindings::fid_type_FILEID_INO64_GEN,
        bindings::fid_type_FILEID_INO64_GEN_PARENT,
    ];
    if !known.contains(&(kind as u32)) {
        return core::ptr::null_mut();
    }
    // SAFETY: Called by the kernel for a mounted super block, with a handle of this length.
    unsafe { decode::<T>(sb, fid, len, 0) }
}

unsafe extern "C" fn fh_to_parent<T: ExportOperations>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    if kind as u32 != bindings::fid_type_FILEID_INO64_GEN_PARENT {
        return core::ptr::null_mut();
    }
    // SAFETY: As in `fh_to_dentry`.
    unsafe { decode::<T>(sb, fid, len, 1) }
}

unsafe extern "C" fn get_parent<T: ExportOperations>(
    dentry: *mut bindings::dentry,
) -> *mut bindings::dentry {
    // SAFETY: The dentry is a directory of this type.
    let Some(dir) = (unsafe { INode::<T>::from_raw(bindings::rvfs_d_inode(dentry)) }) else {
        return code::EIO.to_ptr();
    };
    match T::parent(dir) {
        // SAFETY: The reference is consumed.
        Ok(parent) => unsafe { bindings::d_obtain_alias(ARef::as_raw(parent)) },
        Err(e) => e.to_ptr(),
    }
}

unsafe extern "C" fn commit_metadata<T: ExportOperations>(inode: *mut bindings::inode) -> c_int {
    // SAFETY: The inode is of this type and referenced.
    match unsafe { INode::<T>::from_raw(inode) } {
        Some(inode) => super::status(T::commit_metadata(inode)),
        None => code::EIO.to_errno(),
    }
}
