// SPDX-License-Identifier: GPL-2.0-only
//! Write-back of file data, and what is done when data has reached the device: completions of write-back are queued and handled in
//! process context, so that a filesystem can start transactions in them; those of direct I/O are in process context anyway.

use super::mapping::{inode_of, store, Completion, Extent, MappingOperations};
use super::{bindings, code, status, task};
use crate::compat::{self, WriteBackCallbacks};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use kernel::prelude::*;

/// The callbacks of `T`.
struct Callbacks<T>(PhantomData<T>);

/// What finishes writes of files of `T`.
pub(super) fn completion_work<T: MappingOperations>(
) -> unsafe extern "C" fn(*mut bindings::work_struct) {
    complete::<T>
}

pub(super) unsafe extern "C" fn write_pages<T: MappingOperations>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: The kernel calls this for a file of this type.
    unsafe { compat::write_pages::<Callbacks<T>>(mapping, wbc) }
}

impl<T: MappingOperations> WriteBackCallbacks for Callbacks<T> {
    unsafe fn map(
        inode: *mut bindings::inode,
        iomap: *mut bindings::iomap,
        pos: u64,
        len: c_uint,
    ) -> c_int {
        // SAFETY: The inode is of this type; the mapping is all zeros or was filled by `store`.
        status(unsafe {
            inode_of::<T>(inode).and_then(|this| {
                let covered = u64::try_from((*iomap).offset)
                    .ok()
                    .and_then(|start| pos.checked_sub(start))
                    .is_some_and(|distance| distance < (*iomap).length);
                if covered && T::is_current(this, (*iomap).validity_cookie) {
                    return Ok(());
                }
                let mapping = T::map_for_write_back(this, pos, u64::from(len))?;
                if matches!(mapping.extent, Extent::Inline(_)) {
                    return Err(code::EUCLEAN);
                }
                store(inode, mapping, iomap)
            })
        })
    }

    unsafe fn prepare(ioend: *mut bindings::iomap_ioend) {
        // SAFETY: The I/O is ours until it is submitted, and its inode is of this type.
        unsafe {
            let unwritten = bindings::rvfs_ioend_is_unwritten(ioend);
            let end = ((*ioend).io_offset as u64).saturating_add((*ioend).io_size as u64);
            let wanted =
                inode_of::<T>((*ioend).io_inode).is_ok_and(|inode| T::wants_completion(inode, end));
            if unwritten || wanted {
                (*ioend).io_bio.bi_end_io = Some(write_done::<T>);
            }
        }
    }
}

/// A write is done; any context.
unsafe extern "C" fn write_done<T: MappingOperations>(bio: *mut bindings::bio) {
    // SAFETY: The bio is in an ioend, which is in the kernel's hands until it is finished; its inode stays in memory until then, as
    // its folios are under write-back.
    unsafe {
        let ioend = bindings::rvfs_ioend_of(bio);
        match inode_of::<T>((*ioend).io_inode) {
            Ok(inode) => bindings::rvfs_completions_push(inode.completions(), ioend),
            Err(e) => bindings::iomap_finish_ioends(ioend, e.to_errno()),
        }
    }
}

/// Finishes the writes that are on an inode's queue. Does not touch the queue or the inode after the last of them, as the inode may go away then.
unsafe extern "C" fn complete<T: MappingOperations>(work: *mut bindings::work_struct) {
    let _scope = task::nofs();
    let mut list = MaybeUninit::<bindings::list_head>::zeroed();
    // SAFETY: The work is part of a queue, whose entries are ioends in our hands.
    unsafe {
        let queue = bindings::rvfs_work_completions(work);
        bindings::rvfs_completions_take(queue, list.as_mut_ptr());
        bindings::iomap_sort_ioends(list.as_mut_ptr());
        loop {
            let ioend = bindings::rvfs_ioend_pop(list.as_mut_ptr());
            if ioend.is_null() {
                break;
            }
            bindings::iomap_ioend_try_merge(ioend, list.as_mut_ptr());
            let mut error = bindings::rvfs_bio_error(&raw mut (*ioend).io_bio);
            if error == 0 {
                error = status(inode_of::<T>((*ioend).io_inode).and_then(|inode| {
                    let what = Completion {
                        offset: (*ioend).io_offset as u64,
                        len: (*ioend).io_size as u64,
                        unwritten: bindings::rvfs_ioend_is_unwritten(ioend),
                    };
                    T::completed(inode, &what)
                }));
            }
            bindings::iomap_finish_ioends(ioend, error);
            task::cond_resched();
        }
    }
}

pub(super) unsafe extern "C" fn direct_done<T: MappingOperations>(
    iocb: *mut bindings::kiocb,
    size: isize,
    error: c_int,
    flags: c_uint,
) -> c_int {
    if error != 0 {
        return error;
    }
    let Ok(len) = u64::try_from(size) else {
        return 0;
    };
    if len == 0 {
        return 0;
    }
    // SAFETY: The request is for an open file of this type, and this is process context.
    status(unsafe {
        let inode = bindings::rvfs_file_inode((*iocb).ki_filp);
        inode_of::<T>(inode).and_then(|this| {
            let offset = u64::try_from((*iocb).ki_pos).map_err(|_| code::EINVAL)?;
            let end = offset.saturating_add(len);
            let unwritten = flags & bindings::IOMAP_DIO_UNWRITTEN != 0;
            if end > this.size() {
                this.set_size(end);
            } else if !unwritten && !T::wants_completion(this, end) {
                return Ok(());
            }
            T::completed(
                this,
                &Completion {
                    offset,
                    len,
                    unwritten,
                },
            )
        })
    })
}
