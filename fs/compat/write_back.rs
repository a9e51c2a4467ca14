// SPDX-License-Identifier: GPL-2.0-only
//! The table of functions through which iomap writes file data back.

use crate::vfs::bindings;
use core::mem::MaybeUninit;
use kernel::ffi::{c_int, c_uint};

/// What write-back asks a filesystem.
pub(crate) trait WriteBackCallbacks {
    /// Makes `iomap`, which is all zeros or what an earlier call made of it, a mapping that has byte `pos` of `inode`. Returns 0
    /// or a negative error.
    ///
    /// # Safety
    /// `inode` is being written back and `iomap` is valid; a folio of the range is locked.
    unsafe fn map(
        inode: *mut bindings::inode,
        iomap: *mut bindings::iomap,
        pos: u64,
        len: c_uint,
    ) -> c_int;

    /// An I/O is complete and about to be submitted.
    ///
    /// # Safety
    /// `ioend` is valid and nobody else uses it.
    unsafe fn prepare(ioend: *mut bindings::iomap_ioend);
}

/// The table for `C`.
struct Table<C>(core::marker::PhantomData<C>);

/// Writes dirty folios of `mapping` back, as `address_space_operations::writepages` does.
///
/// # Safety
/// The arguments are those of such a call by the kernel, for a file that `C` serves.
#[cfg(linux_since = "6.17")]
pub(crate) unsafe fn write_pages<C: WriteBackCallbacks>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    let mut context = MaybeUninit::<bindings::iomap_writepage_ctx>::zeroed();
    let p = context.as_mut_ptr();
    // SAFETY: All zeros are valid, and the fields that the caller must set are set.
    unsafe {
        (*p).inode = (*mapping).host;
        (*p).wbc = wbc;
        (*p).ops = &Table::<C>::OPERATIONS;
        bindings::iomap_writepages(p)
    }
}

/// Writes dirty folios of `mapping` back, as `address_space_operations::writepages` does.
///
/// # Safety
/// The arguments are those of such a call by the kernel, for a file that `C` serves.
#[cfg(not(linux_since = "6.17"))]
pub(crate) unsafe fn write_pages<C: WriteBackCallbacks>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    let mut context = MaybeUninit::<bindings::iomap_writepage_ctx>::zeroed();
    // SAFETY: All zeros are valid; iomap fills the context.
    unsafe {
        bindings::iomap_writepages(mapping, wbc, context.as_mut_ptr(), &Table::<C>::OPERATIONS)
    }
}

#[cfg(linux_since = "6.17")]
impl<C: WriteBackCallbacks> Table<C> {
    const OPERATIONS: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(range::<C>),
        writeback_submit: Some(submit::<C>),
    };
}

#[cfg(linux_since = "6.17")]
unsafe extern "C" fn range<C: WriteBackCallbacks>(
    context: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    end_pos: u64,
) -> isize {
    // SAFETY: The context is that of `write_pages`.
    unsafe {
        match C::map((*context).inode, &raw mut (*context).iomap, pos, len) {
            0 => bindings::iomap_add_to_ioend(context, folio, pos as i64, end_pos as i64, len),
            error => error as isize,
        }
    }
}

#[cfg(linux_since = "6.17")]
unsafe extern "C" fn submit<C: WriteBackCallbacks>(
    context: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    // SAFETY: The context has an I/O to submit, made by `iomap_add_to_ioend`.
    unsafe {
        C::prepare((*context).wb_ctx.cast());
        bindings::iomap_ioend_writeback_submit(context, error)
    }
}

/// Before 6.17 iomap itself put what was mapped together to I/O, and submitted it.
#[cfg(not(linux_since = "6.17"))]
impl<C: WriteBackCallbacks> Table<C> {
    const OPERATIONS: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        map_blocks: Some(map_blocks::<C>),
        prepare_ioend: Some(prepare_ioend::<C>),
        discard_folio: None,
    };
}

#[cfg(not(linux_since = "6.17"))]
unsafe extern "C" fn map_blocks<C: WriteBackCallbacks>(
    context: *mut bindings::iomap_writepage_ctx,
    inode: *mut bindings::inode,
    pos: i64,
    len: c_uint,
) -> c_int {
    // SAFETY: The context is that of `write_pages`; positions are not negative.
    unsafe { C::map(inode, &raw mut (*context).iomap, pos as u64, len) }
}

#[cfg(not(linux_since = "6.17"))]
unsafe extern "C" fn prepare_ioend<C: WriteBackCallbacks>(
    ioend: *mut bindings::iomap_ioend,
    status: c_int,
) -> c_int {
    // SAFETY: iomap submits the I/O right after this, or ends it with the error.
    unsafe { C::prepare(ioend) };
    status
}
