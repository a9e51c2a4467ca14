// SPDX-License-Identifier: GPL-2.0-only
//! Inodes in memory that are filled: attributes, identity, and what the kernel asks of them until eviction.
//!
//! An inode is a [`super::NewINode`] until it is filled, which gives an [`INode`]: it has the filesystem's data and its operations as long
//! as anybody has a reference. Its memory is that of [`super::inode_cache`].

use super::aref::Counted;
use super::{
    attr, bindings, inode_cache::slot_of, status, ARef, FileSystem, Result, SuperBlock, Time,
};
use crate::compat::ino_from_raw;
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::types::Opaque;

/// An inode of a mount of `T`, filled.
///
/// # Invariants
///
/// The inode is in a [`super::inode_cache::Slot`] whose data is `Some` and does not change, and its super block is a [`SuperBlock<T>`], as long as a reference to this exists.
#[repr(transparent)]
pub(crate) struct INode<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    _type: PhantomData<T>,
}

// SAFETY: The methods take the kernel's locks or use single words, as the kernel's own code does.
unsafe impl<T: FileSystem> Send for INode<T> {}
// SAFETY: As above, and the data is `Sync`.
unsafe impl<T: FileSystem> Sync for INode<T> {}

// SAFETY: The kernel keeps an inode as long as it has references.
unsafe impl<T: FileSystem> Counted for INode<T> {
    fn get(&self) {
        // SAFETY: There is a reference already.
        unsafe { bindings::ihold(self.as_ptr()) };
    }

    unsafe fn put(this: NonNull<Self>) {
        // SAFETY: By the caller's promise.
        unsafe { bindings::iput(this.as_ptr().cast()) };
    }
}

impl<T: FileSystem> ARef<INode<T>> {
    pub(super) fn as_raw(this: Self) -> *mut bindings::inode {
        Self::into_raw(this).as_ptr().cast()
    }
}

/// Attributes of an inode as a filesystem stores them. User and group numbers are those on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    /// Type and permissions.
    pub(crate) mode: u16,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Links.
    pub(crate) nlink: u32,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Space in units of 512 bytes.
    pub(crate) sectors: u64,
    /// Access time.
    pub(crate) atime: Time,
    /// Modification time.
    pub(crate) mtime: Time,
    /// Change time.
    pub(crate) ctime: Time,
    /// Tells uses of one inode number apart.
    pub(crate) generation: u32,
    /// Flags that the kernel obeys.
    pub(crate) flags: attr::FileFlags,
}

impl<T: FileSystem> INode<T> {
    /// # Safety
    ///
    /// `inode` must keep the type's invariants for `'a`; it must be filled, or `None` is given.
    pub(super) unsafe fn from_raw<'a>(inode: *mut bindings::inode) -> Option<&'a Self> {
        if inode.is_null() {
            return None;
        }
        // SAFETY: The inode is in a slot. Its data changes only while it is NEW or gone.
        if unsafe { (*(*slot_of::<T>(inode)).data.get()).is_none() } {
            return None;
        }
        // SAFETY: By the caller's promise; the layout is the same.
        Some(unsafe { &*inode.cast() })
    }

    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `inode` must be null, or an inode of `T` that is not NEW, with a reference that the caller owns.
    pub(super) unsafe fn take(inode: *mut bindings::inode) -> Option<ARef<Self>> {
        let ptr = NonNull::new(inode)?;
        // SAFETY: By the caller's promise.
        if unsafe { Self::from_raw(inode) }.is_none() {
            // SAFETY: The caller's reference.
            unsafe { bindings::iput(inode) };
            return None;
        }
        // SAFETY: The caller's reference.
        Some(unsafe { ARef::from_raw(ptr.cast()) })
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.inode.get()
    }

    /// The queue of completed writes; only regular files have one.
    pub(super) fn completions(&self) -> *mut bindings::rvfs_completions {
        // SAFETY: The inode is in a slot, by the type's invariant.
        unsafe { (*slot_of::<T>(self.as_ptr())).completions.get() }
    }

    /// The filesystem's own data.
    pub(crate) fn data(&self) -> &T::INode {
        // SAFETY: The inode is in a slot, by the type's invariant.
        match unsafe { &*(*slot_of::<T>(self.as_ptr())).data.get() } {
            Some(data) => data,
            // SAFETY: The data is `Some`, by the type's invariant.
            None => unsafe { core::hint::unreachable_unchecked() },
        }
    }

    /// The mount.
    pub(crate) fn sb(&self) -> &SuperBlock<T> {
        // SAFETY: The inode belongs to a super block of this type, which outlives it.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// Its number.
    pub(crate) fn ino(&self) -> u64 {
        // SAFETY: The inode is valid; the number does not change.
        ino_from_raw(unsafe { (*self.as_ptr()).i_ino })
    }

    /// Tells uses of one inode number apart.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: The inode is valid; the number does not change.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// Type and permissions.
    pub(crate) fn mode(&self) -> u16 {
        // SAFETY: The inode is valid.
        unsafe { (&raw const (*self.as_ptr()).i_mode).read_volatile() }
    }

    /// Whether it may not be changed (`chattr +i`), not even through files that were opened for writing before.
    pub(crate) fn is_immutable(&self) -> bool {
        attr::FileFlags::of(self.as_ptr()).immutable
    }

    /// Whether it is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.mode() & bindings::S_IFMT as u16 == bindings::S_IFDIR as u16
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode() & bindings::S_IFMT as u16 == bindings::S_IFREG as u16
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_i_size_read(self.as_ptr()) as u64 }
    }

    /// Sets the size in memory alone. Hold the inode's lock, or change only what nobody else can see.
    pub(crate) fn set_size(&self, size: u64) {
        // SAFETY: The inode is valid.
        unsafe {
            bindings::rvfs_i_size_write(self.as_ptr(), i64::try_from(size).unwrap_or(i64::MAX))
        };
    }

    /// Links.
    pub(crate) fn nlink(&self) -> u32 {
        // SAFETY: The inode is valid; both fields of the union are the same word.
        unsafe { (&raw const (*self.as_ptr()).__bindgen_anon_1.i_nlink).read_volatile() }
    }

    /// Sets the number of links.
    pub(crate) fn set_nlink(&self, links: u32) {
        if links == self.nlink() {
            return;
        }
        // SAFETY: The inode is valid.
        unsafe { bindings::set_nlink(self.as_ptr(), links) };
    }

    /// Owner's number on disk.
    pub(crate) fn uid(&self) -> u32 {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_i_uid_read(self.as_ptr()) }
    }

    /// Group's number on disk.
    pub(crate) fn gid(&self) -> u32 {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_i_gid_read(self.as_ptr()) }
    }

    /// Space in units of 512 bytes.
    pub(crate) fn sectors(&self) -> u64 {
        // SAFETY: The inode is valid.
        unsafe { (&raw const (*self.as_ptr()).i_blocks).read_volatile() }
    }

    /// Sets it.
    pub(crate) fn set_sectors(&self, sectors: u64) {
        // SAFETY: The inode is valid.
        unsafe { (&raw mut (*self.as_ptr()).i_blocks).write_volatile(sectors) };
    }

    /// Access time.
    pub(crate) fn atime(&self) -> Time {
        // SAFETY: The inode is valid.
        unsafe {
            Time {
                sec: (*self.as_ptr()).i_atime_sec,
                nsec: (*self.as_ptr()).i_atime_nsec,
            }
        }
    }

    /// Modification time.
    pub(crate) fn mtime(&self) -> Time {
        // SAFETY: The inode is valid.
        unsafe {
            Time {
                sec: (*self.as_ptr()).i_mtime_sec,
                nsec: (*self.as_ptr()).i_mtime_nsec,
            }
        }
    }

    /// Change time.
    pub(crate) fn ctime(&self) -> Time {
        // SAFETY: The inode is valid. The top bit says that somebody asked for the time, and is not part of it.
        unsafe {
            Time {
                sec: (*self.as_ptr()).i_ctime_sec,
                nsec: (*self.as_ptr()).i_ctime_nsec & !bindings::RVFS_CTIME_QUERIED,
            }
        }
    }

    /// Sets the modification time.
    pub(crate) fn set_mtime(&self, t: Time) {
        // SAFETY: The inode is valid.
        unsafe {
            (*self.as_ptr()).i_mtime_sec = t.sec;
            (*self.as_ptr()).i_mtime_nsec = t.nsec;
        }
    }

    /// Sets the access time.
    pub(crate) fn set_atime(&self, t: Time) {
        // SAFETY: The inode is valid.
        unsafe {
            (*self.as_ptr()).i_atime_sec = t.sec;
            (*self.as_ptr()).i_atime_nsec = t.nsec;
        }
    }

    /// Sets the change time.
    pub(crate) fn set_ctime(&self, t: Time) {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_set_ctime(self.as_ptr(), t.sec, t.nsec) };
    }

    /// Sets the change time to now, finer if somebody has seen the last one, and gives it.
    pub(crate) fn touch_ctime(&self) -> Time {
        // SAFETY: The inode is valid.
        let t = unsafe { bindings::inode_set_ctime_current(self.as_ptr()) };
        Time {
            sec: t.tv_sec,
            nsec: t.tv_nsec as u32,
        }
    }

    /// Takes over attributes that a transaction changed on disk: all but size, type and generation.
    pub(crate) fn update(&self, a: &Attributes) {
        let inode = self.as_ptr();
        // SAFETY: The inode is valid. Readers take single words, as the kernel's own do.
        unsafe {
            (*inode).i_mode =
                (a.mode & !(bindings::S_IFMT as u16)) | ((*inode).i_mode & bindings::S_IFMT as u16);
            bindings::rvfs_i_uid_write(inode, a.uid);
            bindings::rvfs_i_gid_write(inode, a.gid);
            bindings::rvfs_set_ctime(inode, a.ctime.sec, a.ctime.nsec);
        }
        self.set_nlink(a.nlink);
        self.set_sectors(a.sectors);
        self.set_atime(a.atime);
        self.set_mtime(a.mtime);
        a.flags.apply(inode);
    }

    /// Attributes as they are in memory.
    pub(crate) fn attributes(&self) -> Attributes {
        Attributes {
            mode: self.mode(),
            uid: self.uid(),
            gid: self.gid(),
            nlink: self.nlink(),
            size: self.size(),
            sectors: self.sectors(),
            atime: self.atime(),
            mtime: self.mtime(),
            ctime: self.ctime(),
            generation: self.generation(),
            flags: attr::FileFlags::of(self.as_ptr()),
        }
    }

    /// Records the attributes in memory ([`FileSystem::dirty_inode`]), which were changed; never inside a handle. If that fails, the kernel
    /// will ask for it again when it writes inodes back.
    pub(crate) fn record(&self) -> Result {
        T::dirty_inode(self).inspect_err(|_| {
            // SAFETY: The inode is valid.
            unsafe { bindings::__mark_inode_dirty(self.as_ptr(), bindings::RVFS_I_DIRTY) };
        })
    }

    /// Whether changes of it must be durable when the system call returns.
    pub(crate) fn is_dirsync(&self) -> bool {
        // SAFETY: The inode is valid.
        let flags = unsafe { (*self.as_ptr()).i_flags };
        flags & (bindings::RVFS_S_SYNC | bindings::RVFS_S_DIRSYNC) != 0 || self.sb().is_dirsync()
    }
}

pub(super) unsafe extern "C" fn dirty_inode<T: FileSystem>(
    inode: *mut bindings::inode,
    flags: c_int,
) {
    // Times that only matter for lazytime are written when they expire, and come again without the flag then.
    if flags == bindings::RVFS_I_DIRTY_TIME {
        return;
    }
    // SAFETY: The kernel calls this for inodes with a reference.
    if let Some(inode) = unsafe { INode::<T>::from_raw(inode) } {
        // There is nobody to return an error to. The inode is dirty, so `write_inode` comes.
        let _ = T::dirty_inode(inode);
    }
}

pub(super) unsafe extern "C" fn write_inode<T: FileSystem>(
    inode: *mut bindings::inode,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    // SAFETY: The control block is valid for the call.
    let wait = unsafe {
        (*wbc).sync_mode == bindings::writeback_sync_modes_WB_SYNC_ALL && (*wbc).for_sync() == 0
    };
    // SAFETY: The kernel calls this for inodes that are pinned.
    match unsafe { INode::<T>::from_raw(inode) } {
        Some(inode) => status(T::write_inode(inode, wait)),
        None => 0,
    }
}

pub(super) unsafe extern "C" fn evict_inode<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: The inode has no references and is not found any more, so this is its only user.
    unsafe { bindings::truncate_inode_pages_final(&raw mut (*inode).i_data) };
    // SAFETY: As above; it is filled unless filling failed.
    if let Some(inode) = unsafe { INode::<T>::from_raw(inode) } {
        T::evict_inode(inode);
    }
    // SAFETY: As above.
    unsafe { bindings::clear_inode(inode) };
}
