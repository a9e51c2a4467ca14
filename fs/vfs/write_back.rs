// SPDX-License-Identifier: GPL-2.0-only
//! Write-back of file data, and what is done when data has reached the device: completions of write-back are queued and handled in
//! process context, so that a filesystem can start transactions in them; those of direct I/O are in process context anyway.

use super::mapping::{inode_of, store, Completion, Extent, MappingOperations};
use super::{bindings, code, status, task};
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use kernel::prelude::*;

/// The table of `T`.
struct Table<T>(PhantomData<T>);

impl<T: MappingOperations> Table<T> {
    const WRITE_BACK: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(write_back_range::<T>),
        writeback_submit: Some(write_back_submit::<T>),
    };
}

/// What finishes writes of files of `T`.
pub(super) fn completion_work<T: MappingOperations>(
) -> unsafe extern "C" fn(*mut bindings::work_struct) {
    complete::<T>
}

pub(super) unsafe extern "C" fn write_pages<T: MappingOperations>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    let mut ctx = MaybeUninit::<bindings::iomap_writepage_ctx>::zeroed();
    let p = ctx.as_mut_ptr();
    // SAFETY: All zeros are valid, and the fields that the caller must set are set.
    unsafe {
        (*p).inode = (*mapping).host;
        (*p).wbc = wbc;
        (*p).ops = &Table::<T>::WRITE_BACK;
        bindings::iomap_writepages(p)
    }
}

unsafe extern "C" fn write_back_range<T: MappingOperations>(
    ctx: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    end_pos: u64,
) -> isize {
    // SAFETY: The context is `write_pages`'s; its mapping is all zeros or was filled by `store`.
    let result = unsafe {
        let map = &raw mut (*ctx).iomap;
        inode_of::<T>((*ctx).inode).and_then(|inode| {
            let covered = u64::try_from((*map).offset)
                .ok()
                .and_then(|start| pos.checked_sub(start))
                .is_some_and(|distance| distance < (*map).length);
            if covered && T::is_current(inode, (*map).validity_cookie) {
                return Ok(());
            }
            let mapping = T::map_for_write_back(inode, pos, u64::from(len))?;
            if matches!(mapping.extent, Extent::Inline(_)) {
                return Err(code::EUCLEAN);
            }
            store((*ctx).inode, mapping, map)
        })
    };
    match result {
        // SAFETY: The context has a mapping for `pos`.
        Ok(()) => unsafe {
            bindings::iomap_add_to_ioend(ctx, folio, pos as i64, end_pos as i64, len)
        },
        Err(e) => e.to_errno() as isize,
    }
}

unsafe extern "C" fn write_back_submit<T: MappingOperations>(
    ctx: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    // SAFETY: The context has an I/O to submit, made by `iomap_add_to_ioend`.
    unsafe {
        let ioend: *mut bindings::iomap_ioend = (*ctx).wb_ctx.cast();
        let unwritten = u32::from((*ioend).io_flags) & bindings::IOMAP_IOEND_UNWRITTEN != 0;
        let end = ((*ioend).io_offset as u64).saturating_add((*ioend).io_size as u64);
        let wanted = inode_of::<T>((*ctx).inode).is_ok_and(|inode| T::wants_completion(inode, end));
        if unwritten || wanted {
            (*ioend).io_bio.bi_end_io = Some(write_done::<T>);
        }
        bindings::iomap_ioend_writeback_submit(ctx, error)
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
                        unwritten: u32::from((*ioend).io_flags) & bindings::IOMAP_IOEND_UNWRITTEN
                            != 0,
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
