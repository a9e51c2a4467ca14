// SPDX-License-Identifier: GPL-2.0-only
//! Attributes: what every kind of inode can be asked and told (getattr, setattr, listing of extended attributes, file flags), and their types.

use super::{bindings, code, status, xattr, FileSystem, INode, ListXattr, Result};
use core::marker::PhantomData;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A point in time, in seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds.
    pub(crate) sec: i64,
    /// Nanoseconds, below 10^9.
    pub(crate) nsec: u32,
}

/// How ids of users are mapped on the mount that a request came through.
#[derive(Clone, Copy)]
pub(crate) struct IdMap<'a> {
    map: NonNull<bindings::mnt_idmap>,
    _life: PhantomData<&'a ()>,
}

impl<'a> IdMap<'a> {
    /// # Safety
    ///
    /// `map` must be valid for `'a`.
    pub(super) unsafe fn from_raw(map: *mut kernel::bindings::mnt_idmap) -> Self {
        // A null pointer never comes from the kernel; the map that maps nothing is as good an answer as any.
        Self {
            map: NonNull::new(map).unwrap_or(Self::none().map),
            _life: PhantomData,
        }
    }

    /// The map that changes nothing.
    pub(crate) fn none() -> IdMap<'static> {
        IdMap {
            // SAFETY: The address of a static is not null.
            map: unsafe { NonNull::new_unchecked(&raw mut bindings::nop_mnt_idmap) },
            _life: PhantomData,
        }
    }

    pub(super) fn as_ptr(self) -> *mut bindings::mnt_idmap {
        self.map.as_ptr()
    }
}

/// Who owns an inode that is to be made, and its mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    /// Owner's number on disk.
    pub(crate) uid: u32,
    /// Group's number on disk.
    pub(crate) gid: u32,
    /// Type and permissions.
    pub(crate) mode: u16,
}

impl Owner {
    /// The owner of what the current task makes in `dir`, with the rules for set-group-id directories.
    pub(super) fn of_new<T: FileSystem>(idmap: IdMap<'_>, dir: &INode<T>, mode: u16) -> Self {
        let mut owner = Owner {
            uid: 0,
            gid: 0,
            mode,
        };
        // SAFETY: All pointers are valid for the call.
        unsafe {
            bindings::rvfs_init_owner(
                idmap.as_ptr(),
                dir.as_ptr(),
                &mut owner.mode,
                &mut owner.uid,
                &mut owner.gid,
            );
        }
        owner
    }
}

/// Flags of an inode that the kernel obeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileFlags {
    /// Writes are durable when they return.
    pub(crate) sync: bool,
    /// Changes of the directory are durable when they return.
    pub(crate) dirsync: bool,
    /// Writes only at the end.
    pub(crate) append: bool,
    /// No changes at all.
    pub(crate) immutable: bool,
    /// The access time is not kept.
    pub(crate) noatime: bool,
}

/// Leads to one flag.
type Field = fn(&mut FileFlags) -> &mut bool;

impl FileFlags {
    const BITS: [(u32, Field); 5] = [
        (bindings::RVFS_S_SYNC, |f| &mut f.sync),
        (bindings::RVFS_S_DIRSYNC, |f| &mut f.dirsync),
        (bindings::RVFS_S_APPEND, |f| &mut f.append),
        (bindings::RVFS_S_IMMUTABLE, |f| &mut f.immutable),
        (bindings::RVFS_S_NOATIME, |f| &mut f.noatime),
    ];

    pub(super) fn of(inode: *mut bindings::inode) -> Self {
        let mut flags = Self::default();
        // SAFETY: Only called for valid inodes, by this module and `inode`.
        let bits = unsafe { (*inode).i_flags };
        for (bit, field) in Self::BITS {
            *field(&mut flags) = bits & bit != 0;
        }
        flags
    }

    pub(super) fn apply(mut self, inode: *mut bindings::inode) {
        let (mut set, mut mask) = (0, 0);
        for (bit, field) in Self::BITS {
            mask |= bit;
            if *field(&mut self) {
                set |= bit;
            }
        }
        // SAFETY: Only called for valid inodes, by this module and `inode`.
        unsafe { bindings::inode_set_flags(inode, set, mask) };
    }

    /// From the bits of FS_IOC_GETFLAGS; `None` if there are others.
    fn from_fs(bits: u32) -> Option<Self> {
        let known = bindings::FS_SYNC_FL
            | bindings::FS_DIRSYNC_FL
            | bindings::FS_APPEND_FL
            | bindings::FS_IMMUTABLE_FL
            | bindings::FS_NOATIME_FL;
        (bits & !known == 0).then_some(Self {
            sync: bits & bindings::FS_SYNC_FL != 0,
            dirsync: bits & bindings::FS_DIRSYNC_FL != 0,
            append: bits & bindings::FS_APPEND_FL != 0,
            immutable: bits & bindings::FS_IMMUTABLE_FL != 0,
            noatime: bits & bindings::FS_NOATIME_FL != 0,
        })
    }

    fn to_fs(self) -> u32 {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        bit(self.sync, bindings::FS_SYNC_FL)
            | bit(self.dirsync, bindings::FS_DIRSYNC_FL)
            | bit(self.append, bindings::FS_APPEND_FL)
            | bit(self.immutable, bindings::FS_IMMUTABLE_FL)
            | bit(self.noatime, bindings::FS_NOATIME_FL)
    }
}

/// What statx(2) reports; filled from the inode before the filesystem adds to it.
pub(crate) struct Stat<'a> {
    stat: &'a mut bindings::kstat,
}

impl Stat<'_> {
    /// Sets the time of birth.
    pub(crate) fn set_btime(&mut self, t: Time) {
        self.stat.btime = bindings::timespec64 {
            tv_sec: t.sec,
            tv_nsec: t.nsec as isize,
        };
        self.stat.result_mask |= bindings::STATX_BTIME;
    }

    /// Sets the size of I/O that suits the file.
    pub(crate) fn set_block_size(&mut self, bytes: u32) {
        self.stat.blksize = bytes;
    }
}

/// What every kind of inode can do.
pub(crate) trait INodeOperations: FileSystem {
    /// Adds to what statx(2) reports.
    fn getattr(_inode: &INode<Self>, _stat: &mut Stat<'_>) -> Result {
        Ok(())
    }

    /// Changes the size, if `attr` asks for it, on disk and in memory; everything else that `attr` asks for is
    /// done by the kernel in memory and recorded by [`FileSystem::dirty_inode`] afterwards. Called with the inode's lock held.
    fn set_size(inode: &INode<Self>, size: u64) -> Result;

    /// Whether changes are possible at all now; asked before attributes change.
    fn check_writable(_inode: &INode<Self>) -> Result {
        Ok(())
    }

    /// Runs `change`, which changes the mode or an owner in memory. Called with the inode's lock held.
    fn change_rights(_inode: &INode<Self>, change: impl FnOnce()) {
        change();
    }

    /// Names the extended attributes of the inode.
    fn list_xattrs(_inode: &INode<Self>, _list: &mut ListXattr<'_>) -> Result {
        Ok(())
    }

    /// Stores new flags; those in memory are set by the caller when it succeeds. Called with the inode's lock held.
    fn set_flags(_inode: &INode<Self>, _flags: FileFlags) -> Result {
        Err(code::ENOTTY)
    }
}

/// The entries of `inode_operations` that every kind has.
pub(super) const fn common_operations<T: INodeOperations>() -> bindings::inode_operations {
    bindings::inode_operations {
        getattr: Some(getattr::<T>),
        setattr: Some(setattr::<T>),
        listxattr: Some(xattr::list_callback::<T>),
        fileattr_get: Some(fileattr_get::<T>),
        fileattr_set: Some(fileattr_set::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    }
}

struct SpecialTable<T>(PhantomData<T>);

impl<T: INodeOperations> SpecialTable<T> {
    const TABLE: bindings::inode_operations = common_operations::<T>();
}

/// Operations of devices, pipes and sockets.
pub(super) fn special_operations<T: INodeOperations>() -> *const bindings::inode_operations {
    &SpecialTable::<T>::TABLE
}

unsafe extern "C" fn getattr<T: INodeOperations>(
    idmap: *mut kernel::bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    mask: u32,
    _flags: u32,
) -> c_int {
    // SAFETY: The path's dentry has an inode of this type; everything is valid for the call.
    unsafe {
        let inode = bindings::rvfs_d_inode((*path).dentry);
        let Some(this) = INode::<T>::from_raw(inode) else {
            return code::EIO.to_errno();
        };
        bindings::generic_fillattr(idmap, mask, inode, stat);
        let flags = FileFlags::of(inode);
        let supported = u64::from(bindings::STATX_ATTR_IMMUTABLE | bindings::STATX_ATTR_APPEND);
        (*stat).attributes_mask |= supported;
        if flags.immutable {
            (*stat).attributes |= u64::from(bindings::STATX_ATTR_IMMUTABLE);
        }
        if flags.append {
            (*stat).attributes |= u64::from(bindings::STATX_ATTR_APPEND);
        }
        status(T::getattr(this, &mut Stat { stat: &mut *stat }))
    }
}

unsafe extern "C" fn setattr<T: INodeOperations>(
    idmap: *mut kernel::bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
) -> c_int {
    // SAFETY: The dentry has an inode of this type; everything is valid for the call, and the inode's lock is held.
    unsafe {
        let inode = bindings::rvfs_d_inode(dentry);
        let Some(this) = INode::<T>::from_raw(inode) else {
            return code::EIO.to_errno();
        };
        // The kernel has looked at the path's rights, but ftruncate(2) comes through a file that may have been opened before.
        if this.is_immutable() {
            return code::EPERM.to_errno();
        }
        let ret = bindings::setattr_prepare(idmap, dentry, attr);
        if ret != 0 {
            return ret;
        }
        let result = T::check_writable(this).and_then(|()| {
            if (*attr).ia_valid & bindings::ATTR_SIZE != 0 {
                let size = u64::try_from((*attr).ia_size).map_err(|_| code::EINVAL)?;
                T::set_size(this, size)?;
            }
            Ok(())
        });
        if let Err(e) = result {
            return e.to_errno();
        }
        let rights = bindings::ATTR_MODE | bindings::ATTR_UID | bindings::ATTR_GID;
        if (*attr).ia_valid & rights != 0 {
            T::change_rights(this, || bindings::setattr_copy(idmap, inode, attr));
        } else {
            bindings::setattr_copy(idmap, inode, attr);
        }
        let recorded = this.record();
        if (*attr).ia_valid & bindings::ATTR_SIZE != 0 {
            // The size has changed, so this has succeeded; what else is to be recorded is when the inode is written back.
            return 0;
        }
        status(recorded)
    }
}

unsafe extern "C" fn fileattr_get<T: INodeOperations>(
    dentry: *mut bindings::dentry,
    fa: *mut kernel::bindings::file_kattr,
) -> c_int {
    // SAFETY: The dentry has an inode; the structure is valid for the call.
    unsafe {
        let flags = FileFlags::of(bindings::rvfs_d_inode(dentry)).to_fs();
        bindings::fileattr_fill_flags(fa.cast(), flags);
    }
    0
}

unsafe extern "C" fn fileattr_set<T: INodeOperations>(
    _idmap: *mut kernel::bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    fa: *mut kernel::bindings::file_kattr,
) -> c_int {
    let fa: *mut bindings::file_kattr = fa.cast();
    // SAFETY: The dentry has an inode of this type whose lock is held; the structure is valid for the call.
    unsafe {
        let inode = bindings::rvfs_d_inode(dentry);
        let Some(this) = INode::<T>::from_raw(inode) else {
            return code::EIO.to_errno();
        };
        let Some(flags) = FileFlags::from_fs((*fa).flags) else {
            return code::EOPNOTSUPP.to_errno();
        };
        if bindings::rvfs_fileattr_has_fsx(fa) {
            return code::EOPNOTSUPP.to_errno();
        }
        status(
            T::check_writable(this)
                .and_then(|()| T::set_flags(this, flags))
                .map(|()| flags.apply(inode)),
        )
    }
}

/// What access to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Searching a directory.
    Search,
}

impl<T: FileSystem> INode<T> {
    /// Asks whether the current task has `access` to the inode, by mode, capabilities and security modules. Errors: `EACCES` and others.
    pub(crate) fn permission(&self, idmap: IdMap<'_>, access: Access) -> Result {
        let mask = match access {
            Access::Read => bindings::MAY_READ,
            Access::Write => bindings::MAY_WRITE,
            Access::Search => bindings::MAY_EXEC,
        };
        // SAFETY: Both are valid.
        super::to_result(unsafe {
            bindings::inode_permission(idmap.as_ptr(), self.as_ptr(), mask as c_int)
        })
    }

    /// Whether the current task owns the inode or may act as if it did.
    pub(crate) fn is_owner_or_capable(&self, idmap: IdMap<'_>) -> bool {
        // SAFETY: Both are valid.
        unsafe { bindings::inode_owner_or_capable(idmap.as_ptr(), self.as_ptr()) }
    }
}
