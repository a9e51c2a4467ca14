// SPDX-License-Identifier: GPL-2.0-only
//! Safe abstractions over the kernel's filesystem interfaces: the VFS, the buffer cache, jbd2 and iomap.
//!
//! All the unsafe code of the module is here, and nothing here knows what filesystem is built on it: another one could be.
//! A filesystem is a type that implements [`FileSystem`] and the operation traits; the C tables of function pointers are made
//! from the traits at compile time. What C leaves to conventions is expressed in types where that is possible: an inode that is not
//! filled yet ([`NewINode`]) has no operations, a super block that is not filled yet ([`NewSuperBlock`]) has no mount data,
//! and blocks are changed only through a guard that needs an open journal handle and the exclusive lock of the metadata.
//!
//! | module | responsibility |
//! |---|---|
//! | [`fs_type`] | [`FileSystem`], registration, mounting (`fs_context`), mount options |
//! | [`super_block`] | [`SuperBlock`], [`NewSuperBlock`], `super_operations`, statfs, freeze, remount |
//! | [`background`] | [`Background`]: work that a mount does by itself |
//! | [`inode`] | [`INode`]: attributes, and what the kernel asks of an inode in memory until eviction |
//! | [`new_inode`] | [`NewINode`], [`UnhashedINode`], [`INodeKind`]: inodes that are not filled yet |
//! | [`inode_cache`] | the slab of inodes with a filesystem's own data |
//! | [`inode_lock`] | [`INodeLock`]: the locks that every inode has |
//! | [`aref`] | [`ARef`]: owned references |
//! | [`dir`] | [`DirectoryOperations`]: lookup, create, ..., rename, readdir |
//! | [`symlink`] | [`SymlinkOperations`] |
//! | [`attr`] | [`INodeOperations`]: getattr, setattr, listxattr, file attributes |
//! | [`xattr`] | [`XattrOperations`] and the handlers of the `user.`, `trusted.` and `security.` names |
//! | [`file`] | [`FileOperations`]: read, write, mmap, fsync, seek, fallocate, ioctl |
//! | [`mapping`] | [`MappingOperations`]: where file data is, for iomap |
//! | [`page_cache`] | cutting, zeroing and writing out the page cache of a file |
//! | [`write_back`] | write-back, and its completion |
//! | [`export`] | [`ExportOperations`]: file handles |
//! | [`device`] | [`BlockDevice`] |
//! | [`aside`] | [`BlockAside`]: a block outside of the journal, such as a super block |
//! | [`buffer`] | [`Buffers`]: verified metadata blocks, shared and exclusive guards |
//! | `kept` | [`BlockRun`]: blocks that are read again and again, kept at hand |
//! | `borrow` | who guards which block inside an update |
//! | [`seal`] | [`BlockSeal`]: checksums stored when a transaction commits |
//! | [`journal`] | [`Journal`], [`Handle`]: jbd2 |
//! | [`rwsem`] | [`RwSemaphore`] |
//! | [`open_file`] | [`OpenFile`]: files named by descriptor |
//! | [`caller`] | who the current task is: ids, groups, capabilities |
//! | [`simd`] | [`KernelFpu`]: the vector unit for crate `vector` |
//! | [`task`] | signals, rescheduling, allocation scopes, permissions, time |
//! | [`checksum`] | the kernel's CRC-32 |
//! | `bindings` | generated: what the `kernel` crate has no bindings for |
//!
//! Conventions: errors are the kernel's `Error`; sizes and offsets are bytes unless the name says blocks; inode numbers are 64-bit.
//! A callback of C enters Rust in one small function that checks, converts and calls the trait; these functions are the only
//! place where raw pointers from C become references.

// This is a layer for filesystems in general: not every one uses all of it.
#![allow(dead_code, unused_imports)]

pub(crate) mod aref;
pub(crate) mod aside;
pub(crate) mod attr;
pub(crate) mod background;
#[allow(
    dead_code,
    improper_ctypes,
    missing_docs,
    // Lints that the oldest supported compiler does not know.
    unknown_lints,
    unnecessary_transmutes,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::as_ptr_cast_mut,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks
)]
pub(crate) mod bindings {
    pub(crate) use kernel::bindings::*;
    include!(env!("VEXFS_BINDINGS"));
}
mod borrow;
pub(crate) mod buffer;
pub(crate) mod caller;
pub(crate) mod checksum;
pub(crate) mod device;
pub(crate) mod dir;
pub(crate) mod export;
pub(crate) mod file;
pub(crate) mod fs_type;
pub(crate) mod inode;
mod inode_cache;
pub(crate) mod inode_lock;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod mapping;
pub(crate) mod new_inode;
pub(crate) mod open_file;
mod page_cache;
pub(crate) mod rwsem;
pub(crate) mod seal;
pub(crate) mod simd;
pub(crate) mod super_block;
pub(crate) mod symlink;
pub(crate) mod task;
mod write_back;
pub(crate) mod xattr;

#[doc(inline)]
pub(crate) use self::{
    aref::ARef,
    aside::BlockAside,
    attr::{Access, FileFlags, INodeOperations, IdMap, Owner, Stat, Time},
    buffer::{BlockRef, BufMut, BufRef, Buffers, Update},
    device::BlockDevice,
    dir::{DirEmitter, DirectoryOperations, FileType, NewEntry, RenameMode, RenameSide},
    export::ExportOperations,
    file::{Fallocate, FileOperations, FileRef, IoctlArg},
    fs_type::{FileSystem, OptionValue, Registration},
    inode::{Attributes, INode},
    inode_lock::INodeLock,
    journal::{Credits, Handle, Journal, Tid},
    kept::{BlockRun, Label},
    mapping::{Completion, Extent, InlineData, MapRequest, Mapping, MappingOperations},
    new_inode::{INodeKind, Lookup, NewINode, UnhashedINode},
    open_file::OpenFile,
    rwsem::{ReadGuard, RwSemaphore},
    seal::{BlockSeal, SealTable},
    simd::KernelFpu,
    super_block::{FlushKind, NewSuperBlock, StatFs, SuperBlock},
    symlink::SymlinkOperations,
    xattr::{ListXattr, Namespace, SetMode, XattrOperations},
};
pub(crate) use crate::compat::code;
pub(crate) use kernel::error::{to_result, Error, Result};

use kernel::ffi::c_int;

/// Turns a result into what C expects of a function that returns 0 or a negative error.
fn status(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// Turns a result with a length into what C expects.
fn length(result: Result<usize>) -> isize {
    match result {
        Ok(n) => isize::try_from(n).unwrap_or(isize::MAX),
        Err(e) => e.to_errno() as isize,
    }
}
