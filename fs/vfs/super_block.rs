// SPDX-License-Identifier: GPL-2.0-only
//! Super blocks: a mount in the making ([`NewSuperBlock`]), a mount ([`SuperBlock`]), and `super_operations`.

use super::{
    bindings, code, export, fs_type, inode, inode_cache, kept::KeptBlocks, new_inode, status,
    xattr, ARef, BlockDevice, Buffers, ExportOperations, FileSystem, INode, Lookup, NewINode,
    Result, UnhashedINode, XattrOperations,
};
use crate::compat::raw_ino;
use core::marker::PhantomData;
use kernel::prelude::*;
use kernel::types::Opaque;

/// How thorough a sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlushKind {
    /// Begin to write; do not wait.
    Start,
    /// All is durable on return.
    Wait,
}

/// What statfs(2) reports. Counts are in blocks of `block_size`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StatFs {
    /// Magic number of the type.
    pub(crate) magic: u32,
    /// Block size in bytes.
    pub(crate) block_size: u32,
    /// All blocks that could hold data.
    pub(crate) blocks: u64,
    /// Free blocks.
    pub(crate) free: u64,
    /// Free blocks that ordinary users may use.
    pub(crate) available: u64,
    /// All inodes.
    pub(crate) files: u64,
    /// Free inodes.
    pub(crate) files_free: u64,
    /// Longest name.
    pub(crate) name_max: u32,
    /// Identity of the filesystem.
    pub(crate) fsid: u64,
}

/// The name of a device, which drivers give and which is ASCII.
fn device_name(name: &CStr) -> &str {
    name.to_str().unwrap_or("?")
}

/// A super block that is being filled: it has a device, but no data of the mount yet.
///
/// # Invariants
///
/// `sb` is new, its device is open, and nobody else uses it.
pub(crate) struct NewSuperBlock<'a, T: FileSystem> {
    sb: *mut bindings::super_block,
    buffers_taken: bool,
    _type: PhantomData<(&'a mut (), T)>,
}

impl<T: FileSystem> NewSuperBlock<'_, T> {
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.sb
    }

    /// Name of the device, for messages.
    pub(crate) fn id(&self) -> &str {
        // SAFETY: The name ends with a zero byte and lives as long as the super block.
        device_name(unsafe { CStr::from_char_ptr((&raw const (*self.sb).s_id).cast()) })
    }

    /// The device.
    pub(crate) fn device(&self) -> Result<BlockDevice> {
        // SAFETY: The device is open, by the invariant.
        unsafe { BlockDevice::from_file((*self.sb).s_bdev_file) }
    }

    /// Whether it is mounted read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The super block is valid.
        unsafe { bindings::rvfs_sb_rdonly(self.sb) }
    }

    /// Makes `SIZE` bytes the block size and gives the metadata blocks, once.
    ///
    /// Errors: `EINVAL` if the device cannot have this block size, `EBUSY` the second time.
    pub(crate) fn take_buffers<const SIZE: usize>(&mut self) -> Result<Buffers<SIZE>> {
        if self.buffers_taken {
            return Err(code::EBUSY);
        }
        // SAFETY: The super block is valid and has no blocks in the cache under another size that anybody holds.
        if unsafe { bindings::sb_set_blocksize(self.sb, SIZE as i32) } != SIZE as i32 {
            return Err(code::EINVAL);
        }
        let device = self.device()?;
        // SAFETY: The super block is of a registered type.
        let info = unsafe { fs_type::TypeInfo::of(self.sb) };
        let kept = KeptBlocks::new(info)?;
        self.buffers_taken = true;
        // SAFETY: The device is claimed by this mount alone, and it has not taken them before.
        Ok(unsafe { Buffers::new(device, kept) })
    }

    /// Magic number for statfs(2), and the largest file in bytes.
    pub(crate) fn set_limits(&mut self, magic: u32, max_file_size: u64, max_links: u32) {
        let max = i64::try_from(max_file_size).unwrap_or(bindings::RVFS_MAX_LFS_FILESIZE);
        // SAFETY: The super block is ours alone.
        unsafe {
            (*self.sb).s_magic = magic as usize;
            (*self.sb).s_maxbytes = max;
            (*self.sb).s_max_links = max_links;
        }
    }

    /// Granularity of times in nanoseconds, and the first and last second that can be stored.
    pub(crate) fn set_times(&mut self, granularity: u32, min: i64, max: i64) {
        // SAFETY: The super block is ours alone.
        unsafe {
            (*self.sb).s_time_gran = granularity;
            (*self.sb).s_time_min = min;
            (*self.sb).s_time_max = max;
        }
    }

    /// The filesystem's UUID.
    pub(crate) fn set_uuid(&mut self, uuid: &[u8; 16]) {
        // SAFETY: The super block is ours alone, and the UUID 16 bytes long.
        unsafe { bindings::rvfs_super_set_uuid(self.sb, uuid.as_ptr(), 16) };
    }

    /// Extended attributes are served by `T`.
    pub(crate) fn enable_xattrs(&mut self)
    where
        T: XattrOperations,
    {
        // SAFETY: The super block is ours alone; the table lives for ever.
        unsafe { (*self.sb).s_xattr = xattr::handlers::<T>().cast() };
    }

    /// File handles are served by `T`.
    pub(crate) fn enable_export(&mut self)
    where
        T: ExportOperations,
    {
        // SAFETY: The super block is ours alone; the table lives for ever.
        unsafe { (*self.sb).s_export_op = export::operations::<T>() };
    }

    /// Makes the mount read-only from the start.
    pub(crate) fn force_read_only(&mut self) {
        // SAFETY: The super block is ours alone.
        unsafe { bindings::rvfs_sb_force_rdonly(self.sb) };
    }
}

/// A mount.
///
/// # Invariants
///
/// The super block is of type `T`, and `s_fs_info` holds its [`FileSystem::Mount`] as long as a reference to this exists.
#[repr(transparent)]
pub(crate) struct SuperBlock<T: FileSystem> {
    sb: Opaque<bindings::super_block>,
    _type: PhantomData<T>,
}

// SAFETY: The methods take the kernel's locks or read single words.
unsafe impl<T: FileSystem> Send for SuperBlock<T> {}
// SAFETY: As above, and `Mount` is `Sync`.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// # Safety
    ///
    /// `sb` must keep the type's invariants for `'a`.
    pub(super) unsafe fn from_raw<'a>(sb: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the caller's promise; the layout is the same.
        unsafe { &*sb.cast() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.sb.get()
    }

    /// The mount's data.
    pub(crate) fn mount(&self) -> &T::Mount {
        // SAFETY: By the type's invariant.
        unsafe { &*(*self.as_ptr()).s_fs_info.cast::<T::Mount>() }
    }

    /// Name of the device, for messages.
    pub(crate) fn id(&self) -> &str {
        // SAFETY: The name ends with a zero byte and lives as long as the super block.
        device_name(unsafe { CStr::from_char_ptr((&raw const (*self.as_ptr()).s_id).cast()) })
    }

    /// Whether it is read-only now.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The super block is valid.
        unsafe { bindings::rvfs_sb_rdonly(self.as_ptr()) }
    }

    /// Makes it read-only at once, after an error. Files that are open for writing stay so; their operations must fail by themselves.
    pub(crate) fn force_read_only(&self) {
        // SAFETY: The super block is valid; this is what the kernel's own filesystems do after an error.
        unsafe { bindings::rvfs_sb_force_rdonly(self.as_ptr()) };
    }

    /// Whether the mount asks for synchronous writes of directories.
    pub(crate) fn is_dirsync(&self) -> bool {
        // SAFETY: The super block is valid.
        let flags = unsafe { (*self.as_ptr()).s_flags } as u64;
        flags & (bindings::RVFS_SB_SYNCHRONOUS | bindings::RVFS_SB_DIRSYNC) as u64 != 0
    }

    /// Announces a change that comes from inside (finishing an unlinked inode), so that a freeze waits for it.
    pub(crate) fn internal_write(&self) -> InternalWrite<'_, T> {
        // SAFETY: The super block is valid.
        unsafe { bindings::rvfs_sb_start_intwrite(self.as_ptr()) };
        InternalWrite {
            sb: self,
            _not_send: PhantomData,
        }
    }

    /// As [`SuperBlock::internal_write`], but `None` instead of waiting when the mount is frozen or being frozen.
    pub(crate) fn try_internal_write(&self) -> Option<InternalWrite<'_, T>> {
        // SAFETY: The super block is valid.
        let started = unsafe { bindings::rvfs_sb_start_intwrite_trylock(self.as_ptr()) };
        // Only made where it is owned: dropping it ends what was started.
        started.then(|| InternalWrite {
            sb: self,
            _not_send: PhantomData,
        })
    }

    /// Finds inode `ino` in memory, or gives an empty one to be filled.
    ///
    /// Errors: `ENOMEM`. May wait for the inode to be filled or to leave memory: hold no handle and no lock that these need.
    pub(crate) fn lookup_inode(&self, ino: u64) -> Result<Lookup<'_, T>> {
        // SAFETY: The super block is mounted or being mounted.
        let inode = unsafe { bindings::iget_locked(self.as_ptr(), raw_ino(ino)) };
        if inode.is_null() {
            return Err(code::ENOMEM);
        }
        // SAFETY: `iget_locked` gave a reference; an inode in state NEW is filled by us alone.
        unsafe { new_inode::classify(inode) }
    }

    /// Makes an inode of memory for one that is not on disk yet. Errors: `ENOMEM`. Hold no handle and no lock that eviction needs.
    pub(crate) fn unhashed_inode(&self) -> Result<UnhashedINode<'_, T>> {
        UnhashedINode::new(self)
    }

    /// Finds inode `ino` only if it is in memory and filled.
    pub(crate) fn cached_inode(&self, ino: u64) -> Option<ARef<INode<T>>> {
        // SAFETY: The super block is mounted.
        let inode = unsafe { bindings::ilookup(self.as_ptr(), raw_ino(ino)) };
        // SAFETY: `ilookup` gives a reference to an inode that is not NEW.
        unsafe { INode::take(inode) }
    }

    /// As [`SuperBlock::lookup_inode`], with the empty one filled by `fill`.
    pub(crate) fn inode(
        &self,
        ino: u64,
        fill: impl FnOnce(NewINode<'_, T>) -> Result<ARef<INode<T>>>,
    ) -> Result<ARef<INode<T>>> {
        match self.lookup_inode(ino)? {
            Lookup::Found(inode) => Ok(inode),
            Lookup::New(new) => fill(new),
        }
    }

    /// Writes out all file data of the mount and waits. May not be called inside a handle.
    pub(crate) fn write_back_data(&self) {
        // SAFETY: The super block is mounted; the reason only appears in traces.
        unsafe {
            bindings::try_to_writeback_inodes_sb(
                self.as_ptr(),
                bindings::wb_reason_WB_REASON_FS_FREE_SPACE,
            )
        };
    }
}

/// See [`SuperBlock::internal_write`].
pub(crate) struct InternalWrite<'a, T: FileSystem> {
    sb: &'a SuperBlock<T>,
    _not_send: PhantomData<*mut ()>,
}

impl<T: FileSystem> Drop for InternalWrite<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Pairs with the start.
        unsafe { bindings::rvfs_sb_end_intwrite(self.sb.as_ptr()) };
    }
}

/// Fills a new super block.
///
/// # Safety
///
/// `sb` must be new, of type `T`, with an open device.
pub(super) unsafe fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    options: T::Options,
    flags: u32,
) -> Result {
    // SAFETY: The super block is ours alone; the table lives for ever.
    unsafe { (*sb).s_op = &SuperTable::<T>::TABLE };
    // mount(2) takes this flag from anybody; with it the kernel would leave the umask to access control lists, which there are none of.
    // SAFETY: The super block is ours alone.
    unsafe { (*sb).s_flags &= !(bindings::RVFS_SB_POSIXACL as kernel::ffi::c_ulong) };
    let quiet = flags & bindings::RVFS_SB_SILENT != 0;
    // INVARIANT: By the caller's promise.
    let mut new = NewSuperBlock::<T> {
        sb,
        buffers_taken: false,
        _type: PhantomData,
    };
    let mount = T::fill_super(&mut new, options, quiet)?;
    // SAFETY: Mount data is never moved: it stays in its box until `release_mount`.
    let mount = KBox::into_raw(unsafe { Pin::into_inner_unchecked(mount) });
    // SAFETY: The super block is ours alone.
    unsafe { (*sb).s_fs_info = mount.cast() };
    // SAFETY: From here on the invariants of `SuperBlock` hold.
    let this = unsafe { SuperBlock::<T>::from_raw(sb) };
    let result = T::root(this).and_then(|root| {
        if !root.is_dir() {
            return Err(code::EUCLEAN);
        }
        // SAFETY: `d_make_root` consumes the reference, also when it fails.
        let dentry = unsafe { bindings::d_make_root(ARef::as_raw(root)) };
        if dentry.is_null() {
            return Err(code::ENOMEM);
        }
        // SAFETY: The super block is ours alone.
        unsafe { (*sb).s_root = dentry };
        Ok(())
    });
    if result.is_err() {
        // Without a root the kernel does not call `put_super`.
        // SAFETY: Inodes that were used were put, and without SB_ACTIVE the last put evicts.
        unsafe { release_mount::<T>(sb) };
    }
    result
}

/// # Safety
///
/// No inode of the mount may be in use, and nothing may use the mount's data afterwards.
unsafe fn release_mount<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: The super block is valid.
    let mount: *mut T::Mount = unsafe { (*sb).s_fs_info.cast() };
    // SAFETY: As above.
    unsafe { (*sb).s_fs_info = core::ptr::null_mut() };
    if !mount.is_null() {
        // SAFETY: The pointer comes from `fill` and is not used again.
        drop(unsafe { Pin::new_unchecked(KBox::from_raw(mount)) });
    }
}

/// `super_operations` of `T`.
struct SuperTable<T>(PhantomData<T>);

impl<T: FileSystem> SuperTable<T> {
    const TABLE: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(inode_cache::alloc_inode::<T>),
        destroy_inode: Some(inode_cache::destroy_inode::<T>),
        free_inode: Some(inode_cache::free_inode::<T>),
        dirty_inode: Some(inode::dirty_inode::<T>),
        write_inode: Some(inode::write_inode::<T>),
        evict_inode: Some(inode::evict_inode::<T>),
        put_super: Some(put_super::<T>),
        sync_fs: Some(sync_fs::<T>),
        freeze_fs: Some(freeze_fs::<T>),
        unfreeze_fs: Some(unfreeze_fs::<T>),
        statfs: Some(statfs::<T>),
        show_options: Some(show_options::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };
}

unsafe extern "C" fn put_super<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: The super block was filled; its inodes are gone.
    T::put_super(unsafe { SuperBlock::from_raw(sb) });
    // SAFETY: Nothing uses the mount after this.
    unsafe { release_mount::<T>(sb) };
}

unsafe extern "C" fn sync_fs<T: FileSystem>(sb: *mut bindings::super_block, wait: c_int) -> c_int {
    let kind = if wait != 0 {
        FlushKind::Wait
    } else {
        FlushKind::Start
    };
    // SAFETY: The super block is mounted.
    status(T::sync_fs(unsafe { SuperBlock::from_raw(sb) }, kind))
}

unsafe extern "C" fn freeze_fs<T: FileSystem>(sb: *mut bindings::super_block) -> c_int {
    // SAFETY: The super block is mounted.
    status(T::freeze(unsafe { SuperBlock::from_raw(sb) }))
}

unsafe extern "C" fn unfreeze_fs<T: FileSystem>(sb: *mut bindings::super_block) -> c_int {
    // SAFETY: The super block is mounted.
    status(T::unfreeze(unsafe { SuperBlock::from_raw(sb) }))
}

unsafe extern "C" fn statfs<T: FileSystem>(
    dentry: *mut bindings::dentry,
    out: *mut kernel::bindings::kstatfs,
) -> c_int {
    let out: *mut bindings::kstatfs = out.cast();
    // SAFETY: The dentry belongs to a mounted super block of this type.
    let sb = unsafe { SuperBlock::<T>::from_raw((*dentry).d_sb) };
    status(T::statfs(sb).map(|s| {
        // SAFETY: The kernel gives a structure to fill.
        unsafe {
            (*out).f_type = s.magic as isize;
            (*out).f_bsize = s.block_size as isize;
            (*out).f_frsize = s.block_size as isize;
            (*out).f_blocks = s.blocks;
            (*out).f_bfree = s.free;
            (*out).f_bavail = s.available;
            (*out).f_files = s.files;
            (*out).f_ffree = s.files_free;
            (*out).f_namelen = s.name_max as isize;
            (*out).f_fsid = bindings::__kernel_fsid_t {
                val: [s.fsid as i32, (s.fsid >> 32) as i32],
            };
        }
    }))
}

unsafe extern "C" fn show_options<T: FileSystem>(
    seq: *mut bindings::seq_file,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: Both are valid for the call; the dentry belongs to a mounted super block of this type.
    let (seq, sb) = unsafe {
        (
            kernel::seq_file::SeqFile::from_raw(seq),
            SuperBlock::<T>::from_raw((*dentry).d_sb),
        )
    };
    status(T::show_options(sb, seq))
}
