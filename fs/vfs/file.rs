// SPDX-License-Identifier: GPL-2.0-only
//! Regular files: reading, writing, mapping into memory, seeking, fsync, fallocate, ioctl.
//!
//! The usual sequences of locks and calls around iomap are here, so that a filesystem only maps and completes ([`super::mapping`]).

use super::{
    attr::{self, IdMap},
    bindings, code,
    mapping::Tables,
    status, to_result, INode, INodeOperations, MappingOperations, Result,
};
use crate::compat::{mappable, this_module, MapCallback};
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

/// What fallocate(2) asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallocate {
    /// Space, which reads as zeros where there was none.
    Allocate,
    /// No space: the range reads as zeros.
    PunchHole,
    /// The range reads as zeros, and has space.
    ZeroRange,
}

/// An open file, for the time of a call.
pub(crate) struct FileRef<'a, T: INodeOperations> {
    file: NonNull<bindings::file>,
    inode: &'a INode<T>,
}

impl<'a, T: INodeOperations> FileRef<'a, T> {
    /// # Safety
    ///
    /// `file` must be an open file of a mount of `T` for `'a`.
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Result<Self> {
        let ptr = NonNull::new(file).ok_or(code::EBADF)?;
        // SAFETY: By the caller's promise.
        let inode = unsafe { INode::from_raw(bindings::rvfs_file_inode(file)) }.ok_or(code::EIO)?;
        Ok(Self { file: ptr, inode })
    }

    /// The inode.
    pub(crate) fn inode(&self) -> &'a INode<T> {
        self.inode
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::file {
        self.file.as_ptr()
    }

    /// Whether it was opened for writing.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: The file is open.
        unsafe { (*self.file.as_ptr()).f_mode & bindings::RVFS_FMODE_WRITE != 0 }
    }

    /// How ids are mapped on the mount that the file was opened through.
    pub(crate) fn idmap(&self) -> IdMap<'a> {
        // SAFETY: The file is open, and the map lives as long as its mount.
        unsafe { IdMap::from_raw(bindings::rvfs_file_idmap(self.file.as_ptr())) }
    }

    /// Announces a change through this file, so that a freeze or a remount waits for it. Errors: `EROFS`.
    pub(crate) fn want_write(&self) -> Result<WriteAccess<'_>> {
        // SAFETY: The file is open.
        to_result(unsafe { bindings::mnt_want_write_file(self.file.as_ptr()) })?;
        Ok(WriteAccess {
            file: self.file,
            _life: PhantomData,
        })
    }
}

/// See [`FileRef::want_write`].
pub(crate) struct WriteAccess<'a> {
    file: NonNull<bindings::file>,
    _life: PhantomData<&'a ()>,
}

impl Drop for WriteAccess<'_> {
    fn drop(&mut self) {
        // SAFETY: Pairs with `mnt_want_write_file`.
        unsafe { bindings::mnt_drop_write_file(self.file.as_ptr()) };
    }
}

/// The argument of ioctl(2): a number, or an address of the calling program.
#[derive(Clone, Copy)]
pub(crate) struct IoctlArg(usize);

impl IoctlArg {
    pub(super) fn new(arg: c_ulong) -> Self {
        Self(arg)
    }

    /// As a number.
    pub(crate) fn value(self) -> usize {
        self.0
    }

    /// As `len` bytes of the program's memory.
    pub(crate) fn user(self, len: usize) -> UserSlice {
        UserSlice::new(UserPtr::from_addr(self.0), len)
    }
}

/// What a regular file can do.
pub(crate) trait FileOperations: INodeOperations + MappingOperations {
    /// Makes the file durable; its data has reached the device, completion included. `data_only`: attributes that are not needed to read the
    /// data back need not be.
    fn sync(inode: &INode<Self>, data_only: bool) -> Result;

    /// Changes the space of `len` bytes from `pos`. `keep_size`: the size stays. Called with the inode's lock held.
    fn fallocate(
        inode: &INode<Self>,
        what: Fallocate,
        pos: u64,
        len: u64,
        keep_size: bool,
    ) -> Result;

    /// Serves ioctl(2). Errors: `ENOTTY` for commands that it does not know.
    fn ioctl(_file: &FileRef<'_, Self>, _cmd: u32, _arg: IoctlArg) -> Result<i64> {
        Err(code::ENOTTY)
    }
}

struct Table<T>(PhantomData<T>);

impl<T: FileOperations> Table<T> {
    const INODE: bindings::inode_operations = bindings::inode_operations {
        fiemap: Some(fiemap::<T>),
        ..attr::common_operations::<T>()
    };
    const FILE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::Module>(),
        llseek: Some(llseek::<T>),
        read_iter: Some(read_iter::<T>),
        write_iter: Some(write_iter::<T>),
        unlocked_ioctl: Some(ioctl::<T>),
        compat_ioctl: Some(ioctl::<T>),
        open: Some(open),
        fsync: Some(fsync::<T>),
        splice_read: Some(bindings::filemap_splice_read),
        splice_write: Some(bindings::iter_file_splice_write),
        fallocate: Some(fallocate::<T>),
        setlease: Some(bindings::generic_setlease),
        ..mappable::<Self>()
    };
    const MEMORY: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(bindings::filemap_fault),
        map_pages: Some(bindings::filemap_map_pages),
        page_mkwrite: Some(page_mkwrite::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };
}

/// `inode_operations` of regular files.
pub(super) fn inode_operations<T: FileOperations>() -> *const bindings::inode_operations {
    &Table::<T>::INODE
}

/// `file_operations` of regular files.
pub(super) fn file_operations<T: FileOperations>() -> *const bindings::file_operations {
    &Table::<T>::FILE
}

unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The file is being opened; direct I/O is possible on all regular files.
    unsafe {
        (*file).f_mode |= bindings::RVFS_FMODE_CAN_ODIRECT;
        bindings::generic_file_open(inode, file)
    }
}

/// The inode of a request.
///
/// # Safety
///
/// The request must be for an open file of a mount of `T`.
unsafe fn inode_of<'a, T: INodeOperations>(iocb: *mut bindings::kiocb) -> Result<&'a INode<T>> {
    // SAFETY: By the caller's promise.
    unsafe { INode::from_raw(bindings::rvfs_file_inode((*iocb).ki_filp)) }.ok_or(code::EIO)
}

unsafe extern "C" fn read_iter<T: FileOperations>(
    iocb: *mut bindings::kiocb,
    to: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The request is for an open file of this type; the iterator is valid.
    unsafe {
        if bindings::rvfs_iov_iter_count(to) == 0 {
            return 0;
        }
        if (*iocb).ki_flags & bindings::RVFS_IOCB_DIRECT == 0 {
            return bindings::generic_file_read_iter(iocb, to);
        }
        let inode = match inode_of::<T>(iocb) {
            Ok(inode) => inode,
            Err(e) => return e.to_errno() as isize,
        };
        let lock = inode.lock_shared();
        let ret = bindings::iomap_dio_rw(
            iocb,
            to,
            Tables::<T>::map(),
            core::ptr::null(),
            0,
            core::ptr::null_mut(),
            0,
        );
        drop(lock);
        bindings::rvfs_file_accessed((*iocb).ki_filp);
        ret
    }
}

unsafe extern "C" fn write_iter<T: FileOperations>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: The request is for an open file of this type; the iterator is valid.
    unsafe {
        let inode = match inode_of::<T>(iocb) {
            Ok(inode) => inode,
            Err(e) => return e.to_errno() as isize,
        };
        let lock = inode.lock();
        if inode.is_immutable() {
            return code::EPERM.to_errno() as isize;
        }
        let checked = bindings::generic_write_checks(iocb, from);
        if checked <= 0 {
            return checked;
        }
        if let Err(e) = prepare_write::<T>(inode, iocb) {
            return e.to_errno() as isize;
        }
        if (*iocb).ki_flags & bindings::RVFS_IOCB_DIRECT != 0 {
            let ret = write_direct::<T>(inode, iocb, from);
            if ret != code::ENOTBLK.to_errno() as isize {
                return ret;
            }
            // The page cache could not be emptied: write through it, and then to the device.
            let written = write_buffered::<T>(iocb, from);
            let ret = bindings::direct_write_fallback(iocb, from, 0, written);
            drop(lock);
            if ret > 0 {
                return bindings::rvfs_generic_write_sync(iocb, ret);
            }
            return ret;
        }
        let ret = write_buffered::<T>(iocb, from);
        drop(lock);
        if ret > 0 {
            return bindings::rvfs_generic_write_sync(iocb, ret);
        }
        ret
    }
}

/// What comes before every write: privileges are dropped, times recorded, and the gap between the end of the file and the write reads as zeros.
///
/// # Safety
///
/// The request must be for an open file of a mount of `T`, whose inode's lock is held.
unsafe fn prepare_write<T: FileOperations>(inode: &INode<T>, iocb: *mut bindings::kiocb) -> Result {
    T::check_writable(inode)?;
    // SAFETY: By the caller's promise.
    to_result(unsafe { bindings::kiocb_modified(iocb) })?;
    // SAFETY: As above.
    let pos = u64::try_from(unsafe { (*iocb).ki_pos }).map_err(|_| code::EINVAL)?;
    let size = inode.size();
    if pos > size {
        inode.zero_range(size, pos - size)?;
    }
    Ok(())
}

/// # Safety
///
/// As [`prepare_write`].
unsafe fn write_buffered<T: FileOperations>(
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: By the caller's promise; the tables are this type's.
    unsafe {
        bindings::rvfs_iomap_file_buffered_write(
            iocb,
            from,
            Tables::<T>::map(),
            Tables::<T>::write(),
        )
    }
}

/// # Safety
///
/// As [`prepare_write`].
unsafe fn write_direct<T: FileOperations>(
    inode: &INode<T>,
    iocb: *mut bindings::kiocb,
    from: *mut bindings::iov_iter,
) -> isize {
    // SAFETY: By the caller's promise; the tables are this type's.
    unsafe {
        let count = bindings::rvfs_iov_iter_count(from);
        let pos = (*iocb).ki_pos as u64;
        let block = 1u64 << (*inode.as_ptr()).i_blkbits;
        let mut flags = 0;
        if (pos | count) & (block - 1) != 0 {
            // Parts of blocks may have to be zeroed, which others must not do at the same time.
            inode.wait_for_direct_io();
            flags |= bindings::IOMAP_DIO_FORCE_WAIT;
        }
        if pos.saturating_add(count) > inode.size() {
            flags |= bindings::IOMAP_DIO_FORCE_WAIT;
        }
        bindings::iomap_dio_rw(
            iocb,
            from,
            Tables::<T>::map(),
            Tables::<T>::direct(),
            flags,
            core::ptr::null_mut(),
            0,
        )
    }
}

unsafe extern "C" fn llseek<T: FileOperations>(
    file: *mut bindings::file,
    offset: i64,
    whence: c_int,
) -> i64 {
    // SAFETY: The file is open and of this type.
    unsafe {
        let inode = match FileRef::<T>::from_raw(file) {
            Ok(file) => file.inode(),
            Err(e) => return i64::from(e.to_errno()),
        };
        let max = (*(*inode.as_ptr()).i_sb).s_maxbytes;
        let found = match whence as u32 {
            bindings::SEEK_HOLE => {
                let _lock = inode.lock_shared();
                bindings::iomap_seek_hole(inode.as_ptr(), offset, Tables::<T>::map())
            }
            bindings::SEEK_DATA => {
                let _lock = inode.lock_shared();
                bindings::iomap_seek_data(inode.as_ptr(), offset, Tables::<T>::map())
            }
            _ => {
                return bindings::generic_file_llseek_size(
                    file,
                    offset,
                    whence,
                    max,
                    inode.size() as i64,
                )
            }
        };
        if found < 0 {
            return found;
        }
        bindings::vfs_setpos(file, found, max)
    }
}

unsafe extern "C" fn fsync<T: FileOperations>(
    file: *mut bindings::file,
    start: i64,
    end: i64,
    data_only: c_int,
) -> c_int {
    // SAFETY: The file is open and of this type.
    status(unsafe {
        to_result(bindings::file_write_and_wait_range(file, start, end))
            .and_then(|()| T::sync(FileRef::<T>::from_raw(file)?.inode(), data_only != 0))
    })
}

unsafe extern "C" fn fallocate<T: FileOperations>(
    file: *mut bindings::file,
    mode: c_int,
    offset: i64,
    len: i64,
) -> c_long {
    let keep_size = mode as u32 & bindings::FALLOC_FL_KEEP_SIZE != 0;
    let what = match mode as u32 & !bindings::FALLOC_FL_KEEP_SIZE {
        0 => Fallocate::Allocate,
        bindings::FALLOC_FL_PUNCH_HOLE if keep_size => Fallocate::PunchHole,
        bindings::FALLOC_FL_ZERO_RANGE => Fallocate::ZeroRange,
        _ => return code::EOPNOTSUPP.to_errno() as c_long,
    };
    // SAFETY: The file is open for writing and of this type.
    let result = unsafe {
        FileRef::<T>::from_raw(file).and_then(|f| {
            let inode = f.inode();
            let (pos, len) = (
                u64::try_from(offset).map_err(|_| code::EINVAL)?,
                u64::try_from(len).map_err(|_| code::EINVAL)?,
            );
            let end = pos.checked_add(len).ok_or(code::EFBIG)?;
            let _lock = inode.lock();
            T::check_writable(inode)?;
            if !keep_size && end > inode.size() {
                to_result(bindings::inode_newsize_ok(inode.as_ptr(), end as i64))?;
            }
            inode.wait_for_direct_io();
            to_result(bindings::file_modified(file))?;
            T::fallocate(inode, what, pos, len, keep_size)
        })
    };
    status(result) as c_long
}

unsafe extern "C" fn ioctl<T: FileOperations>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: The file is open and of this type.
    let result = unsafe { FileRef::<T>::from_raw(file) }
        .and_then(|file| T::ioctl(&file, cmd, IoctlArg::new(arg)));
    match result {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}

impl<T: FileOperations> MapCallback for Table<T> {
    unsafe fn map(file: *mut bindings::file) -> *const bindings::vm_operations_struct {
        // SAFETY: The file is open.
        unsafe { bindings::rvfs_file_accessed(file) };
        &Self::MEMORY
    }
}

unsafe extern "C" fn page_mkwrite<T: FileOperations>(
    fault: *mut bindings::vm_fault,
) -> bindings::vm_fault_t {
    // SAFETY: The fault is in a mapping of an open file of this type.
    unsafe {
        let file = bindings::rvfs_fault_file(fault);
        let Ok(inode) = FileRef::<T>::from_raw(file).map(|f| f.inode()) else {
            return bindings::RVFS_VM_FAULT_SIGBUS;
        };
        if inode.is_immutable() || T::check_writable(inode).is_err() {
            return bindings::RVFS_VM_FAULT_SIGBUS;
        }
        let sb = (*inode.as_ptr()).i_sb;
        bindings::rvfs_sb_start_pagefault(sb);
        bindings::file_update_time(file);
        let lock = inode.lock_invalidate_shared();
        let ret = bindings::rvfs_iomap_page_mkwrite(fault, Tables::<T>::map());
        drop(lock);
        bindings::rvfs_sb_end_pagefault(sb);
        ret
    }
}

unsafe extern "C" fn fiemap<T: FileOperations>(
    inode: *mut bindings::inode,
    info: *mut kernel::bindings::fiemap_extent_info,
    start: u64,
    len: u64,
) -> c_int {
    // SAFETY: The inode is of this type and referenced.
    unsafe {
        let Some(this) = INode::<T>::from_raw(inode) else {
            return code::EIO.to_errno();
        };
        let _lock = this.lock_shared();
        bindings::iomap_fiemap(inode, info, start, len, Tables::<T>::map())
    }
}
