// SPDX-License-Identifier: GPL-2.0-only
//! Inodes in memory: the kernel's `struct inode` with a filesystem's own data beside it, from the slab to eviction.
//!
//! An inode is a [`NewINode`] until it is filled: it has no data and no operations, other tasks wait for it, and dropping it makes them
//! fail or try again. Filling it gives an [`INode`], which has both as long as anybody has a reference. One that is not on disk yet
//! begins as an [`UnhashedINode`], which nobody can find.

use super::{
    attr, bindings, code, dir, file, mapping, status, symlink, DirectoryOperations, FileOperations,
    FileSystem, INodeOperations, Result, SuperBlock, SymlinkOperations, Time,
};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::types::Opaque;

/// What the slab holds: the filesystem's data, the queue of completed writes, and the kernel's inode.
#[repr(C)]
struct Slot<T: FileSystem> {
    data: UnsafeCell<Option<T::INode>>,
    completions: Opaque<bindings::rvfs_completions>,
    inode: Opaque<bindings::inode>,
}

/// The slot around an inode.
///
/// # Safety
///
/// `inode` must come from [`alloc_inode`] for `T`.
unsafe fn slot_of<T: FileSystem>(inode: *mut bindings::inode) -> *mut Slot<T> {
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

/// An inode of a mount of `T`, filled.
///
/// # Invariants
///
/// The inode is in a [`Slot`] whose data is `Some` and does not change, and its super block is a [`SuperBlock<T>`], as long as a reference to this exists.
#[repr(transparent)]
pub(crate) struct INode<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    _type: PhantomData<T>,
}

// SAFETY: The methods take the kernel's locks or use single words, as the kernel's own code does.
unsafe impl<T: FileSystem> Send for INode<T> {}
// SAFETY: As above, and the data is `Sync`.
unsafe impl<T: FileSystem> Sync for INode<T> {}

/// An owned reference to an inode. Dropping the last one may evict the inode, which may start a transaction: never drop one inside a
/// handle or under a lock that eviction needs.
///
/// # Invariants
///
/// Owns one reference to the inode.
pub(crate) struct ARef<I: Counted> {
    ptr: NonNull<I>,
}

/// What [`ARef`] counts references of.
///
/// # Safety
///
/// The value must stay valid as long as there is a reference.
pub(crate) unsafe trait Counted {
    /// Takes a reference.
    fn get(&self);
    /// Gives one back.
    ///
    /// # Safety
    ///
    /// The caller owns a reference and does not use it any more.
    unsafe fn put(this: NonNull<Self>);
}

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

// SAFETY: References may move between threads if the value may be shared.
unsafe impl<I: Counted + Sync + Send> Send for ARef<I> {}
// SAFETY: As above.
unsafe impl<I: Counted + Sync + Send> Sync for ARef<I> {}

impl<I: Counted> ARef<I> {
    /// Gives up the reference without putting it.
    pub(super) fn into_raw(this: Self) -> NonNull<I> {
        ManuallyDrop::new(this).ptr
    }
}

impl<T: FileSystem> ARef<INode<T>> {
    pub(super) fn as_raw(this: Self) -> *mut bindings::inode {
        Self::into_raw(this).as_ptr().cast()
    }
}

impl<I: Counted> Clone for ARef<I> {
    fn clone(&self) -> Self {
        self.get();
        // INVARIANT: Just taken.
        Self { ptr: self.ptr }
    }
}

impl<I: Counted> Deref for ARef<I> {
    type Target = I;

    fn deref(&self) -> &I {
        // SAFETY: The value is valid while this reference is owned.
        unsafe { self.ptr.as_ref() }
    }
}

impl<I: Counted> From<&I> for ARef<I> {
    fn from(value: &I) -> Self {
        value.get();
        // INVARIANT: Just taken.
        Self {
            ptr: NonNull::from(value),
        }
    }
}

impl<I: Counted> Drop for ARef<I> {
    fn drop(&mut self) {
        // SAFETY: This owns a reference.
        unsafe { I::put(self.ptr) };
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
                complete: mapping::completion_work::<T>(),
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
    let state = unsafe { (*inode).i_state.__state };
    if state & bindings::RVFS_I_NEW as u32 != 0 {
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
                ino,
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
    c_int::from(unsafe { (*inode).i_ino == *ino.cast::<u64>() })
}

/// Called by `inode_insert5` for the inode that it hashes.
unsafe extern "C" fn set_number(inode: *mut bindings::inode, ino: *mut c_void) -> c_int {
    // SAFETY: The inode is ours alone, and `ino` comes from `UnhashedINode::hash`.
    unsafe { (*inode).i_ino = *ino.cast::<u64>() };
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
        unsafe { (*self.inode).i_ino }
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
        // INVARIANT: The reference of `self` moves on.
        // SAFETY: The inode is not null.
        let ptr = unsafe { NonNull::new_unchecked(inode.cast()) };
        Ok(ARef { ptr })
    }
}

impl<T: FileSystem> Drop for NewINode<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The inode is NEW and owned by this value.
        unsafe { bindings::iget_failed(self.inode) };
    }
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
        // INVARIANT: The caller's reference.
        Some(ARef { ptr: ptr.cast() })
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
        unsafe { (*self.as_ptr()).i_ino }
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

    /// Waits for the lock that writers and changers of attributes take.
    pub(crate) fn lock(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_inode_lock(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::Exclusive,
            _not_send: PhantomData,
        }
    }

    /// As [`INode::lock`], or `None` instead of waiting.
    pub(crate) fn try_lock(&self) -> Option<INodeLock<'_, T>> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_inode_trylock(self.as_ptr()) }.then_some(INodeLock {
            inode: self,
            kind: LockKind::Exclusive,
            _not_send: PhantomData,
        })
    }

    /// Waits for the same lock, shared.
    pub(crate) fn lock_shared(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_inode_lock_shared(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::Shared,
            _not_send: PhantomData,
        }
    }

    /// As [`INode::lock_shared`], or `None` instead of waiting.
    pub(crate) fn try_lock_shared(&self) -> Option<INodeLock<'_, T>> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_inode_trylock_shared(self.as_ptr()) }.then_some(INodeLock {
            inode: self,
            kind: LockKind::Shared,
            _not_send: PhantomData,
        })
    }

    /// Waits for the lock that keeps page faults and read-ahead out while blocks are taken from the file.
    pub(crate) fn lock_invalidate(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_invalidate_lock(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::Invalidate,
            _not_send: PhantomData,
        }
    }

    /// The same lock, shared: page faults.
    pub(crate) fn lock_invalidate_shared(&self) -> INodeLock<'_, T> {
        // SAFETY: The inode is valid.
        unsafe { bindings::rvfs_invalidate_lock_shared(self.as_ptr()) };
        INodeLock {
            inode: self,
            kind: LockKind::InvalidateShared,
            _not_send: PhantomData,
        }
    }

    /// Waits for direct I/O to end. Hold the lock exclusively, so that none begins.
    pub(crate) fn wait_for_direct_io(&self) {
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_dio_wait(self.as_ptr()) };
    }
}

enum LockKind {
    Exclusive,
    Shared,
    Invalidate,
    InvalidateShared,
}

/// A lock of an inode, given back when dropped.
pub(crate) struct INodeLock<'a, T: FileSystem> {
    inode: &'a INode<T>,
    kind: LockKind,
    _not_send: PhantomData<*mut ()>,
}

impl<T: FileSystem> Drop for INodeLock<'_, T> {
    fn drop(&mut self) {
        let inode = self.inode.as_ptr();
        // SAFETY: The lock was taken in this way by this task.
        unsafe {
            match self.kind {
                LockKind::Exclusive => bindings::rvfs_inode_unlock(inode),
                LockKind::Shared => bindings::rvfs_inode_unlock_shared(inode),
                LockKind::Invalidate => bindings::rvfs_invalidate_unlock(inode),
                LockKind::InvalidateShared => bindings::rvfs_invalidate_unlock_shared(inode),
            }
        }
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
