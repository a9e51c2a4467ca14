// SPDX-License-Identifier: GPL-2.0-only
//! Directories: operations on names, and reading.
//!
//! A filesystem deals in names and inodes; dentries stay in here. Every operation that changes a directory is called with the locks of the
//! directories held (and of the inode that is removed or replaced), and is followed by nothing that can fail: when a
//! trait function returns, what it did on disk is what the kernel shows.

use super::{
    attr::{self, IdMap, Owner},
    bindings, code, status, ARef, INode, INodeOperations, Result,
};
use crate::compat::{create_callback, mkdir_callback, this_module, MakeCallbacks};
use core::marker::PhantomData;
use kernel::prelude::*;

/// Type of an inode, as directories record it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum FileType {
    /// Not known.
    Unknown = bindings::DT_UNKNOWN,
    /// Pipe.
    Fifo = bindings::DT_FIFO,
    /// Character device.
    Char = bindings::DT_CHR,
    /// Directory.
    Directory = bindings::DT_DIR,
    /// Block device.
    Block = bindings::DT_BLK,
    /// Regular file.
    Regular = bindings::DT_REG,
    /// Symbolic link.
    Symlink = bindings::DT_LNK,
    /// Socket.
    Socket = bindings::DT_SOCK,
}

/// What rename does if the new name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenameMode {
    /// It is replaced. Without a target the same as [`RenameMode::NoReplace`].
    Replace,
    /// It is an error; the kernel has checked.
    NoReplace,
    /// The two change places.
    Exchange,
}

/// What to make.
#[derive(Clone, Copy)]
pub(crate) enum NewEntry<'a> {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(&'a [u8]),
    /// A device, pipe or socket (by the mode), with the device's number as `makedev` encodes it.
    Special(u32),
}

/// One side of a rename.
pub(crate) struct RenameSide<'a, T: INodeOperations> {
    /// The directory.
    pub(crate) dir: &'a INode<T>,
    /// The name in it.
    pub(crate) name: &'a [u8],
}

/// What a directory can do. Names are 1 to 255 bytes without `/` and zero bytes, and not `.` or `..`.
pub(crate) trait DirectoryOperations: INodeOperations {
    /// Finds `name`. `None` if there is no such entry.
    fn lookup(dir: &INode<Self>, name: &[u8]) -> Result<Option<ARef<INode<Self>>>>;

    /// Makes an inode with one entry. `owner.mode` has the type.
    fn create(
        dir: &INode<Self>,
        name: &[u8],
        owner: Owner,
        what: NewEntry<'_>,
    ) -> Result<ARef<INode<Self>>>;

    /// Makes a regular file without a name, which goes away with its last reference unless it is linked.
    fn create_unnamed(_dir: &INode<Self>, _owner: Owner) -> Result<ARef<INode<Self>>> {
        Err(code::EOPNOTSUPP)
    }

    /// Gives `inode` a further name.
    fn link(inode: &INode<Self>, dir: &INode<Self>, name: &[u8]) -> Result;

    /// Removes a name of something that is not a directory.
    fn unlink(dir: &INode<Self>, name: &[u8], inode: &INode<Self>) -> Result;

    /// Removes an empty directory.
    fn rmdir(dir: &INode<Self>, name: &[u8], inode: &INode<Self>) -> Result;

    /// Renames `inode`; `target` is what has the new name now.
    fn rename(
        from: RenameSide<'_, Self>,
        inode: &INode<Self>,
        to: RenameSide<'_, Self>,
        target: Option<&INode<Self>>,
        mode: RenameMode,
    ) -> Result;

    /// Gives entries from [`DirEmitter::pos`] on; the kernel has given `.` (position 0) and `..` (position 1) before. Called with the
    /// directory's lock shared. Ends when an entry does not fit, or there are no more.
    fn read_dir(dir: &INode<Self>, out: &mut DirEmitter<'_>) -> Result;

    /// Makes changes of the directory durable.
    fn sync_dir(dir: &INode<Self>, data_only: bool) -> Result;

    /// Serves ioctl(2) on a directory. Errors: `ENOTTY` for commands that it does not know.
    fn dir_ioctl(_dir: &super::FileRef<'_, Self>, _cmd: u32, _arg: super::IoctlArg) -> Result<i64> {
        Err(code::ENOTTY)
    }
}

/// Gives entries to the reader of a directory.
pub(crate) struct DirEmitter<'a> {
    ctx: &'a mut bindings::dir_context,
}

impl DirEmitter<'_> {
    /// Where to go on: the cookie of the first entry to give.
    pub(crate) fn pos(&self) -> u64 {
        self.ctx.pos as u64
    }

    /// Gives an entry whose cookie is `cookie` (2 to 2^63 - 2, rising from call to call). `false`: no room, stop.
    pub(crate) fn emit(&mut self, cookie: u64, name: &[u8], ino: u64, kind: FileType) -> bool {
        let (Ok(pos), Ok(len)) = (i64::try_from(cookie), c_int::try_from(name.len())) else {
            return false;
        };
        self.ctx.pos = pos;
        let Some(actor) = self.ctx.actor else {
            return false;
        };
        // SAFETY: The context is the kernel's, and the name is valid for its length.
        if unsafe { actor(self.ctx, name.as_ptr().cast(), len, pos, ino, kind as u32) } {
            self.ctx.pos = pos.saturating_add(1);
            true
        } else {
            false
        }
    }

    /// Nothing follows `cookie`: later calls start behind it.
    pub(crate) fn finish(&mut self, cookie: u64) {
        self.ctx.pos = i64::try_from(cookie).unwrap_or(i64::MAX);
    }
}

struct Table<T>(PhantomData<T>);

impl<T: DirectoryOperations> Table<T> {
    const INODE: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(lookup::<T>),
        create: create_callback::<Self>(),
        link: Some(link::<T>),
        unlink: Some(unlink::<T>),
        symlink: Some(symlink::<T>),
        mkdir: mkdir_callback::<Self>(),
        rmdir: Some(rmdir::<T>),
        mknod: Some(mknod::<T>),
        rename: Some(rename::<T>),
        tmpfile: Some(tmpfile::<T>),
        ..attr::common_operations::<T>()
    };
    const FILE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<T::Module>(),
        llseek: Some(llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(iterate::<T>),
        fsync: Some(fsync::<T>),
        unlocked_ioctl: Some(ioctl::<T>),
        compat_ioctl: Some(ioctl::<T>),
        setlease: Some(bindings::generic_setlease),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };
}

/// `inode_operations` of directories.
pub(super) fn inode_operations<T: DirectoryOperations>() -> *const bindings::inode_operations {
    &Table::<T>::INODE
}

/// `file_operations` of directories.
pub(super) fn file_operations<T: DirectoryOperations>() -> *const bindings::file_operations {
    &Table::<T>::FILE
}

/// The name of a dentry.
///
/// # Safety
///
/// The dentry must be valid and its name must not change for `'a`: its directory is locked.
unsafe fn name_of<'a>(dentry: *mut bindings::dentry) -> &'a [u8] {
    // SAFETY: By the caller's promise; the name is `len` bytes long.
    unsafe {
        let name = bindings::rvfs_d_name(dentry);
        let len = (*name).__bindgen_anon_1.__bindgen_anon_1.len;
        core::slice::from_raw_parts((*name).name, len as usize)
    }
}

/// The inode behind a pointer from the kernel.
///
/// # Safety
///
/// As [`INode::from_raw`].
unsafe fn inode_of<'a, T: INodeOperations>(inode: *mut bindings::inode) -> Result<&'a INode<T>> {
    // SAFETY: By the caller's promise.
    unsafe { INode::from_raw(inode) }.ok_or(code::EIO)
}

/// The inode of a dentry.
///
/// # Safety
///
/// The dentry must be valid, of a mount of `T`, and keep its inode for `'a`.
unsafe fn inode_in<'a, T: INodeOperations>(dentry: *mut bindings::dentry) -> Result<&'a INode<T>> {
    // SAFETY: By the caller's promise.
    unsafe { inode_of(bindings::rvfs_d_inode(dentry)) }
}

unsafe extern "C" fn lookup<T: DirectoryOperations>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    _flags: c_uint,
) -> *mut bindings::dentry {
    // SAFETY: The kernel holds the directory's lock, and the dentry is new.
    let found = unsafe {
        inode_of::<T>(dir).and_then(|dir| {
            let name = name_of(dentry);
            if name.len() > bindings::NAME_MAX as usize {
                return Err(code::ENAMETOOLONG);
            }
            T::lookup(dir, name)
        })
    };
    match found {
        Ok(inode) => {
            let inode = inode.map_or(core::ptr::null_mut(), ARef::as_raw);
            // SAFETY: The dentry is new; the reference to the inode is consumed.
            unsafe { bindings::d_splice_alias(inode, dentry) }
        }
        Err(e) => e.to_ptr(),
    }
}

/// Makes something and connects it with the dentry.
///
/// # Safety
///
/// As for the callbacks of `inode_operations` that make something.
unsafe fn make<T: DirectoryOperations>(
    idmap: *mut kernel::bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: u16,
    what: NewEntry<'_>,
) -> Result {
    // SAFETY: The directory is locked by the kernel, and the dentry has no inode yet.
    unsafe {
        let dir = inode_of::<T>(dir)?;
        let owner = Owner::of_new(IdMap::from_raw(idmap), dir, mode);
        let inode = T::create(dir, name_of(dentry), owner, what)?;
        bindings::d_instantiate(dentry, ARef::as_raw(inode));
    }
    Ok(())
}

impl<T: DirectoryOperations> MakeCallbacks for Table<T> {
    unsafe fn create(
        idmap: *mut kernel::bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> c_int {
        // SAFETY: Called by the kernel as `make` needs it.
        status(unsafe { make::<T>(idmap, dir, dentry, mode, NewEntry::File) })
    }

    unsafe fn mkdir(
        idmap: *mut kernel::bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> c_int {
        let mode = mode | bindings::S_IFDIR as u16;
        // SAFETY: Called by the kernel as `make` needs it.
        status(unsafe { make::<T>(idmap, dir, dentry, mode, NewEntry::Directory) })
    }
}

unsafe extern "C" fn symlink<T: DirectoryOperations>(
    idmap: *mut kernel::bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    target: *const c_char,
) -> c_int {
    let mode = bindings::S_IFLNK as u16 | 0o777;
    // SAFETY: Called by the kernel as `make` needs it; the target ends with a zero byte.
    status(unsafe {
        make::<T>(
            idmap,
            dir,
            dentry,
            mode,
            NewEntry::Symlink(CStr::from_char_ptr(target).to_bytes()),
        )
    })
}

unsafe extern "C" fn mknod<T: DirectoryOperations>(
    idmap: *mut kernel::bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: u16,
    rdev: u32,
) -> c_int {
    // SAFETY: Called by the kernel as `make` needs it.
    status(unsafe { make::<T>(idmap, dir, dentry, mode, NewEntry::Special(rdev)) })
}

unsafe extern "C" fn tmpfile<T: DirectoryOperations>(
    idmap: *mut kernel::bindings::mnt_idmap,
    dir: *mut bindings::inode,
    file: *mut bindings::file,
    mode: u16,
) -> c_int {
    // SAFETY: The directory is locked by the kernel, and the file is being opened with a dentry that has no inode.
    let result = unsafe {
        inode_of::<T>(dir).and_then(|dir| {
            let owner = Owner::of_new(IdMap::from_raw(idmap), dir, mode);
            let inode = T::create_unnamed(dir, owner)?;
            bindings::d_mark_tmpfile(file, inode.as_ptr());
            bindings::d_instantiate(bindings::rvfs_file_dentry(file), ARef::as_raw(inode));
            Ok(())
        })
    };
    // SAFETY: As above.
    unsafe { bindings::rvfs_finish_open_simple(file, status(result)) }
}

unsafe extern "C" fn link<T: DirectoryOperations>(
    old: *mut bindings::dentry,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: The directory and the inode are locked by the kernel, and the new dentry has no inode.
    let result = unsafe {
        inode_in::<T>(old).and_then(|inode| {
            T::link(inode, inode_of(dir)?, name_of(dentry))?;
            bindings::d_instantiate(dentry, ARef::as_raw(ARef::from(inode)));
            Ok(())
        })
    };
    status(result)
}

unsafe extern "C" fn unlink<T: DirectoryOperations>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: The directory and the inode are locked by the kernel.
    status(unsafe {
        inode_in::<T>(dentry).and_then(|inode| T::unlink(inode_of(dir)?, name_of(dentry), inode))
    })
}

unsafe extern "C" fn rmdir<T: DirectoryOperations>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    // SAFETY: The directory and the inode are locked by the kernel.
    status(unsafe {
        inode_in::<T>(dentry).and_then(|inode| T::rmdir(inode_of(dir)?, name_of(dentry), inode))
    })
}

unsafe extern "C" fn rename<T: DirectoryOperations>(
    _idmap: *mut kernel::bindings::mnt_idmap,
    old_dir: *mut bindings::inode,
    old: *mut bindings::dentry,
    new_dir: *mut bindings::inode,
    new: *mut bindings::dentry,
    flags: c_uint,
) -> c_int {
    let mode = match flags {
        0 => RenameMode::Replace,
        bindings::RENAME_NOREPLACE => RenameMode::NoReplace,
        bindings::RENAME_EXCHANGE => RenameMode::Exchange,
        _ => return code::EINVAL.to_errno(),
    };
    // SAFETY: The directories, and the inodes as far as they need it, are locked by the kernel. The new dentry may have no inode.
    let result = unsafe {
        inode_in::<T>(old).and_then(|inode| {
            let target = bindings::rvfs_d_inode(new);
            T::rename(
                RenameSide {
                    dir: inode_of(old_dir)?,
                    name: name_of(old),
                },
                inode,
                RenameSide {
                    dir: inode_of(new_dir)?,
                    name: name_of(new),
                },
                INode::from_raw(target),
                mode,
            )
        })
    };
    status(result)
}

unsafe extern "C" fn iterate<T: DirectoryOperations>(
    file: *mut bindings::file,
    ctx: *mut bindings::dir_context,
) -> c_int {
    // SAFETY: The file is an open directory whose lock is held; the context is valid for the call.
    unsafe {
        if !bindings::rvfs_dir_emit_dots(file, ctx) {
            return 0;
        }
        status(
            inode_of::<T>(bindings::rvfs_file_inode(file))
                .and_then(|dir| T::read_dir(dir, &mut DirEmitter { ctx: &mut *ctx })),
        )
    }
}

/// Any cookie may be sought.
unsafe extern "C" fn llseek(file: *mut bindings::file, offset: i64, whence: c_int) -> i64 {
    // SAFETY: The file is an open directory.
    unsafe { bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, 0) }
}

unsafe extern "C" fn fsync<T: DirectoryOperations>(
    file: *mut bindings::file,
    _start: i64,
    _end: i64,
    data_only: c_int,
) -> c_int {
    // SAFETY: The file is an open directory.
    let dir = unsafe { inode_of::<T>(bindings::rvfs_file_inode(file)) };
    status(dir.and_then(|dir| T::sync_dir(dir, data_only != 0)))
}

unsafe extern "C" fn ioctl<T: DirectoryOperations>(
    file: *mut bindings::file,
    cmd: c_uint,
    arg: c_ulong,
) -> c_long {
    // SAFETY: The file is an open directory of this type.
    let result = unsafe { super::FileRef::from_raw(file) }
        .and_then(|file| T::dir_ioctl(&file, cmd, super::IoctlArg::new(arg)));
    match result {
        Ok(n) => n as c_long,
        Err(e) => e.to_errno() as c_long,
    }
}
