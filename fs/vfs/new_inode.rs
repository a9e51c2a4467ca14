// SPDX-License-Identifier: GPL-2.0-only
//! Inodes of memory on their way to being [`INode`]s: found without contents ([`NewINode`]), or made for what is not on disk yet
//! ([`UnhashedINode`]); and what an inode can be ([`INodeKind`]).
//!
//! A new inode has no data and no operations, other tasks wait for it, and dropping it makes them fail or try again.

use super::{
    attr, bindings, code, dir, file, inode_cache::slot_of, mapping, symlink, write_back, ARef,
    Attributes, DirectoryOperations, FileOperations, FileSystem, INode, INodeOperations, Result,
    SuperBlock, SymlinkOperations,
};
use crate::compat::{ino_from_raw, raw_ino};
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::prelude::*;

/// What an inode is, with the operations that this brings. Made by the functions of the same names.
pub(crate) struct INodeKind<T> {
    ops: *const bindings::inode_operations,
    fops: *const bindings::file_operations,
    data: Option<DataOperations>,
    special: Option<u32>,
    file_type: u16,
    _type: PhantomData<T>,
}

/// Operations on the data of a file.
struct DataOperations {
    table: *const bindings::address_space_operations,
    complete: unsafe extern "C" fn(*mut bindings::work_struct),
}

impl<T: FileSystem + INodeOperations> INodeKind<T> {
    /// A directory.
    pub(crate) fn directory() -> Self
    where
        T: DirectoryOperations,
    {
        Self {
            ops: dir::inode_operations::<T>(),
            fops: dir::file_operations::<T>(),
            data: None,
            special: None,
            file_type: bindings::S_IFDIR as u16,
            _type: PhantomData,
        }
    }

    /// A regular file.
    pub(crate) fn file() -> Self
    where
        T: FileOperations,
    {
        Self {
            ops: file::inode_operations::<T>(),
            fops: file::file_operations::<T>(),
            data: Some(DataOperations {
                table: mapping::operations::<T>(),
                complete: write_back::completion_work::<T>(),
            }),
            special: None,
            file_type: bindings::S_IFREG as u16,
            _type: PhantomData,
        }
    }

    /// A symbolic link.
    pub(crate) fn symlink() -> Self
    where
        T: SymlinkOperations,
    {
        Self {
            ops: symlink::inode_operations::<T>(),
            fops: core::ptr::null(),
            data: None,
            special: None,
            file_type: bindings::S_IFLNK as u16,
            _type: PhantomData,
        }
    }

    /// A device (`rdev` in the encoding of `makedev`), pipe or socket, of the type in `mode`.
    pub(crate) fn special(mode: u16, rdev: u32) -> Self {
        Self {
            ops: attr::special_operations::<T>(),
            fops: core::ptr::null(),
            data: None,
            special: Some(rdev),
            file_type: mode & bindings::S_IFMT as u16,
            _type: PhantomData,
        }
    }
}

/// Result of a search for an inode.
pub(crate) enum Lookup<'a, T: FileSystem> {
    /// It was in memory.
    Found(ARef<INode<T>>),
    /// It is to be filled.
    New(NewINode<'a, T>),
}

/// # Safety
///
/// `inode` must come from `iget_locked` or `inode_insert5` on a super block of `T`.
pub(super) unsafe fn classify<'a, T: FileSystem>(
    inode: *mut bindings::inode,
) -> Result<Lookup<'a, T>> {
    // SAFETY: The inode is valid.
    if unsafe { bindings::rvfs_inode_is_new(inode) } {
        // INVARIANT: NEW inodes are filled by who got them.
        return Ok(Lookup::New(NewINode {
            inode,
            _type: PhantomData,
        }));
    }
    // SAFETY: Both wait until an inode is not NEW, and give a reference.
    match unsafe { INode::take(inode) } {
        Some(inode) => Ok(Lookup::Found(inode)),
        None => Err(code::ESTALE),
    }
}

/// An inode of memory that has no number yet, for an inode that a transaction is about to make on disk. It is made before the transaction, so that
/// showing what the transaction has made needs no memory and cannot fail. Nobody finds it; dropped, it goes away.
///
/// # Invariants
///
/// The inode is not hashed, referenced once by this value, and has no data.
pub(crate) struct UnhashedINode<'a, T: FileSystem> {
    inode: NonNull<bindings::inode>,
    _type: PhantomData<(&'a SuperBlock<T>, T)>,
}

impl<'a, T: FileSystem> UnhashedINode<'a, T> {
    /// Makes one. Errors: `ENOMEM`.
    pub(super) fn new(sb: &'a SuperBlock<T>) -> Result<Self> {
        // SAFETY: The super block is mounted.
        let inode = unsafe { bindings::new_inode(sb.as_ptr()) };
        // INVARIANT: `new_inode` gives a reference to an inode from `alloc_inode` that is in no hash table.
        Ok(Self {
            inode: NonNull::new(inode).ok_or(code::ENOMEM)?,
            _type: PhantomData,
        })
    }

    /// Makes it inode `ino`, to be filled; or gives the one that is in memory under that number, if somebody has found the inode on disk since the
    /// transaction. Allocates nothing. May wait for the inode that had the number before to leave memory.
    pub(crate) fn hash(self, ino: u64) -> Result<Lookup<'a, T>> {
        let mut ino = ino;
        // SAFETY: The inode is valid and in no hash table; both functions are given the number, for the time of the call.
        let found = unsafe {
            bindings::inode_insert5(
                self.inode.as_ptr(),
                raw_ino(ino),
                Some(has_number),
                Some(set_number),
                (&raw mut ino).cast(),
            )
        };
        if found == self.inode.as_ptr() {
            // The reference goes on in what is given.
            let _ = ManuallyDrop::new(self);
        } else if found.is_null() {
            return Err(code::ESTALE);
        }
        // SAFETY: The inode is ours and NEW now, or was waited for and comes with a reference.
        unsafe { classify(found) }
    }
}

impl<T: FileSystem> Drop for UnhashedINode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference.
        unsafe { bindings::iput(self.inode.as_ptr()) };
    }
}

/// Called by `inode_insert5` for inodes of the same super block.
unsafe extern "C" fn has_number(inode: *mut bindings::inode, ino: *mut c_void) -> c_int {
    // SAFETY: The inode is valid, and `ino` comes from `UnhashedINode::hash`.
    c_int::from(unsafe { (*inode).i_ino == raw_ino(*ino.cast()) })
}

/// Called by `inode_insert5` for the inode that it hashes.
unsafe extern "C" fn set_number(inode: *mut bindings::inode, ino: *mut c_void) -> c_int {
    // SAFETY: The inode is ours alone, and `ino` comes from `UnhashedINode::hash`.
    unsafe { (*inode).i_ino = raw_ino(*ino.cast()) };
    0
}

/// An inode that is not filled yet. Dropped, it goes away, and who waited for it gets an error or fills it again.
///
/// # Invariants
///
/// The inode is in state NEW, referenced once by this value, and has no data.
pub(crate) struct NewINode<'a, T: FileSystem> {
    inode: *mut bindings::inode,
    _type: PhantomData<(&'a SuperBlock<T>, T)>,
}

impl<'a, T: FileSystem> NewINode<'a, T> {
    /// Its number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: The inode is valid.
        ino_from_raw(unsafe { (*self.inode).i_ino })
    }

    /// Its super block.
    pub(crate) fn sb(&self) -> &'a SuperBlock<T> {
        // SAFETY: The inode belongs to a super block of this type, which outlives it.
        unsafe { SuperBlock::from_raw((*self.inode).i_sb) }
    }

    /// Fills the inode and shows it to everybody.
    ///
    /// Errors: `EUCLEAN` if the type in the attributes is not that of `kind`.
    pub(crate) fn fill(
        self,
        attributes: &Attributes,
        kind: INodeKind<T>,
        data: T::INode,
    ) -> Result<ARef<INode<T>>> {
        if attributes.mode & bindings::S_IFMT as u16 != kind.file_type {
            return Err(code::EUCLEAN);
        }
        let size = i64::try_from(attributes.size).map_err(|_| code::EUCLEAN)?;
        let inode = ManuallyDrop::new(self).inode;
        // SAFETY: The inode is ours alone until it is unlocked below. The tables live for ever.
        unsafe {
            *(*slot_of::<T>(inode)).data.get() = Some(data);
            (*inode).i_mode = attributes.mode;
            (*inode).i_generation = attributes.generation;
            (*inode).i_op = kind.ops;
            if !kind.fops.is_null() {
                (*inode).__bindgen_anon_3.i_fop = kind.fops;
            }
            if let Some(ops) = kind.data {
                let queue = super::fs_type::TypeInfo::of((*inode).i_sb).completions;
                bindings::rvfs_completions_init(
                    (*slot_of::<T>(inode)).completions.get(),
                    queue,
                    Some(ops.complete),
                );
                (*(*inode).i_mapping).a_ops = ops.table;
                bindings::rvfs_mapping_set_large_folios(inode);
            }
            if let Some(rdev) = kind.special {
                bindings::init_special_inode(inode, attributes.mode, rdev);
            }
            bindings::rvfs_i_size_write(inode, size);
            let this: &INode<T> = &*inode.cast();
            this.update(attributes);
            bindings::unlock_new_inode(inode);
        }
        // SAFETY: The inode is not null, and the reference of `self` moves on.
        Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(inode.cast())) })
    }
}

impl<T: FileSystem> Drop for NewINode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The inode is NEW and owned by this value.
        unsafe { bindings::iget_failed(self.inode) };
    }
}
