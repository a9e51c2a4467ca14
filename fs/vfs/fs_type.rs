// SPDX-License-Identifier: GPL-2.0-only
//! Filesystem types: what a filesystem has to say about itself, registration with the kernel, and mounting.
//!
//! Mounting goes: [`FileSystem::Options`] are made and filled by [`FileSystem::set_option`]; [`FileSystem::fill_super`] reads the device and makes
//! the mount's data; [`FileSystem::root`] gives the root directory, after whatever has to be finished from an earlier mount.

use super::{
    bindings, code, inode_cache, status, super_block, to_result, ARef, FlushKind, INode,
    NewSuperBlock, Result, StatFs, SuperBlock,
};
use crate::compat::this_module;
use core::marker::PhantomData;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::types::Opaque;

/// The value of a mount option.
#[derive(Clone, Copy)]
pub(crate) enum OptionValue<'a> {
    /// The option was given without `=`.
    Flag,
    /// What stood after `=`.
    Text(&'a [u8]),
}

/// A filesystem type. Its operations on files and directories are traits of their own, which inodes are given by kind.
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// The module that the code is in.
    type Module: kernel::ModuleMetadata;
    /// What belongs to a mount.
    type Mount: Send + Sync;
    /// What belongs to an inode in memory. Dropped when the inode leaves memory, after [`FileSystem::evict_inode`], in a context that may sleep.
    type INode: Send + Sync;
    /// Mount options while they are collected.
    type Options: Default + Send;

    /// Name for mount(2), /proc/filesystems and the slab of inodes.
    const NAME: &'static CStr;

    /// Takes one option. Errors: `ENOPARAM` if there is no such option, `EINVAL` for a value that will not do.
    fn set_option(options: &mut Self::Options, name: &[u8], value: OptionValue<'_>) -> Result;

    /// Reads what is on the device and makes the mount's data. On an error nothing may be left behind. `EINVAL` means that it is not a
    /// filesystem of this type. `quiet` asks for no messages about that.
    fn fill_super(
        sb: &mut NewSuperBlock<'_, Self>,
        options: Self::Options,
        quiet: bool,
    ) -> Result<Pin<KBox<Self::Mount>>>;

    /// Gives the root directory, after finishing what earlier mounts left.
    fn root(sb: &SuperBlock<Self>) -> Result<ARef<INode<Self>>>;

    /// The mount goes away; all inodes are gone. [`FileSystem::Mount`] is dropped right after.
    fn put_super(sb: &SuperBlock<Self>);

    /// Makes metadata durable (`sync`, `syncfs`). The kernel has written file data before. `Start` asks only to begin.
    fn sync_fs(sb: &SuperBlock<Self>, kind: FlushKind) -> Result;

    /// Brings the device into a state that needs no replay; no changes come until [`FileSystem::unfreeze`].
    fn freeze(sb: &SuperBlock<Self>) -> Result;

    /// Ends [`FileSystem::freeze`].
    fn unfreeze(_sb: &SuperBlock<Self>) -> Result {
        Ok(())
    }

    /// Numbers for statfs(2).
    fn statfs(sb: &SuperBlock<Self>) -> Result<StatFs>;

    /// Changes options of a mount. `read_only` is what is asked for; what is now is [`SuperBlock::is_read_only`].
    fn reconfigure(sb: &SuperBlock<Self>, options: Self::Options, read_only: bool) -> Result;

    /// Writes the options of a mount for /proc/mounts, each as `,name=value`.
    fn show_options(_sb: &SuperBlock<Self>, _out: &SeqFile) -> Result {
        Ok(())
    }

    /// Records the attributes that the inode has in memory: the kernel changed some (times, owner, mode), or somebody calls
    /// [`INode::record`]. Starts a transaction, so it may not be called, and the kernel's functions that do so may not be used,
    /// inside a journal handle.
    ///
    /// Errors reach only those who call [`INode::record`]. After one the inode is dirty: what is left to record must be recorded when
    /// [`FileSystem::write_inode`] is called.
    fn dirty_inode(inode: &INode<Self>) -> Result;

    /// Records what [`FileSystem::dirty_inode`] could not, and makes durable what was recorded; `wait` is set for fsync-like calls, else
    /// nothing has to be durable on return.
    fn write_inode(inode: &INode<Self>, wait: bool) -> Result;

    /// The inode leaves memory; its page cache is empty. If it has no links left, it must be freed on disk. Called during memory
    /// reclaim for inodes with links, so for those it may do nothing that waits for the journal.
    fn evict_inode(inode: &INode<Self>);
}

/// What C needs to know of a filesystem type, and what must be reached from it.
#[repr(C)]
pub(super) struct TypeInfo {
    fs_type: Opaque<bindings::file_system_type>,
    /// Slab of inodes.
    pub(super) inode_cache: *mut bindings::kmem_cache,
    /// Slab of what [`super::kept`] keeps.
    pub(super) kept_cache: *mut bindings::kmem_cache,
    /// Where completed writes are finished.
    pub(super) completions: *mut bindings::workqueue_struct,
}

impl TypeInfo {
    /// The information of the type that `sb` is of.
    ///
    /// # Safety
    ///
    /// `sb` must be a super block of a type registered by [`Registration`].
    pub(super) unsafe fn of<'a>(sb: *mut bindings::super_block) -> &'a TypeInfo {
        // SAFETY: `s_type` is the first field of a `TypeInfo`, which outlives its super blocks.
        unsafe { &*(*sb).s_type.cast() }
    }

    /// The type's name, ending with a zero byte.
    pub(super) fn name(&self) -> *const kernel::ffi::c_char {
        // SAFETY: The type was filled before it was registered, and its name lives for ever.
        unsafe { (*self.fs_type.get()).name }
    }
}

/// A registered filesystem type; dropping it removes the type, waits for its last inodes and frees the caches. The kernel does not let
/// a module go while something of its types is mounted, so this may live in the module's data.
///
/// It has to: `file_system_type` holds the classes of the locks that the kernel puts into super blocks and inodes, and lockdep knows a class
/// by the address of its key, which must be in the static memory of the kernel or a module. The object of a module that is
/// initialised in place ([`kernel::InPlaceModule`]) is in such memory, and this as a field of it.
///
/// # Invariants
///
/// `info` is registered and its caches and queue are valid.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: FileSystem> {
    #[pin]
    info: Opaque<TypeInfo>,
    _type: PhantomData<T>,
}

// SAFETY: After registration only the kernel changes what is inside, under its own locks.
unsafe impl<T: FileSystem> Send for Registration<T> {}
// SAFETY: As above; there are no methods that take `&self`.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

impl<T: FileSystem> Registration<T> {
    /// Registers `T`. What this initialises must be a field of the module's object; anywhere else it works, but lockdep switches itself off
    /// at the first mount.
    ///
    /// Errors: `ENOMEM`, `EBUSY` if there is a type of this name.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Registered by the initialiser, or this does not come to be.
            // SAFETY: The memory is for a `TypeInfo`, which stays where it is.
            info <- Opaque::try_ffi_init(|p| unsafe { register::<T>(p) }),
            _type: PhantomData,
        })
    }
}

/// Fills what C needs to know of `T`, and registers it.
///
/// # Safety
///
/// `p` must be valid for writes of a [`TypeInfo`], which on success stays there until it is unregistered.
unsafe fn register<T: FileSystem>(p: *mut TypeInfo) -> Result {
    let cache = inode_cache::create_cache::<T>(T::NAME)?.as_ptr();
    let name = T::NAME.as_char_ptr();
    // SAFETY: The name ends with a zero byte.
    let (kept, queue) = unsafe {
        (
            bindings::rvfs_kept_cache(name),
            bindings::rvfs_alloc_completion_queue(name),
        )
    };
    let undo = || {
        // SAFETY: All that is there was just made and is not used; destroying no cache is allowed.
        unsafe {
            if !queue.is_null() {
                bindings::destroy_workqueue(queue);
            }
            bindings::kmem_cache_destroy(kept);
            bindings::kmem_cache_destroy(cache);
        }
    };
    if kept.is_null() || queue.is_null() {
        undo();
        return Err(code::ENOMEM);
    }
    // SAFETY: By the caller's promise; nobody else knows the memory yet.
    let raw = unsafe {
        p.write(TypeInfo {
            fs_type: Opaque::zeroed(),
            inode_cache: cache,
            kept_cache: kept,
            completions: queue,
        });
        (*p).fs_type.get()
    };
    // SAFETY: As above; all zeros are a valid `file_system_type`, and these are its fields to fill.
    unsafe {
        (*raw).name = name;
        (*raw).owner = this_module::<T::Module>();
        (*raw).fs_flags = bindings::RVFS_FS_FLAGS;
        (*raw).init_fs_context = Some(init_fs_context::<T>);
        (*raw).kill_sb = Some(kill_sb::<T>);
    }
    // SAFETY: The type is filled, and stays where it is until it is unregistered.
    to_result(unsafe { bindings::register_filesystem(raw) }).inspect_err(|_| undo())
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        let p = self.info.get();
        // SAFETY: Registered, by the invariant. No mount exists, as each holds the module. Inodes, and what was kept, are freed after a
        // grace period, which the barrier waits for, and only then are their slabs destroyed.
        unsafe {
            bindings::unregister_filesystem((*p).fs_type.get());
            bindings::rcu_barrier();
            bindings::destroy_workqueue((*p).completions);
            bindings::kmem_cache_destroy((*p).kept_cache);
            bindings::kmem_cache_destroy((*p).inode_cache);
        }
    }
}

/// The operations of a mount in the making.
struct ContextTable<T>(PhantomData<T>);

impl<T: FileSystem> ContextTable<T> {
    const TABLE: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(free_context::<T>),
        dup: None,
        parse_param: Some(parse_param::<T>),
        parse_monolithic: None,
        get_tree: Some(get_tree::<T>),
        reconfigure: Some(reconfigure::<T>),
    };
}

unsafe extern "C" fn init_fs_context<T: FileSystem>(
    fc: *mut kernel::bindings::fs_context,
) -> c_int {
    let fc: *mut bindings::fs_context = fc.cast();
    let options = match KBox::new(T::Options::default(), GFP_KERNEL) {
        Ok(options) => options,
        Err(_) => return code::ENOMEM.to_errno(),
    };
    // SAFETY: The context is valid and new; the pointer is taken back by `free_context`.
    unsafe {
        (*fc).fs_private = KBox::into_raw(options).cast();
        (*fc).ops = &ContextTable::<T>::TABLE;
    }
    0
}

unsafe extern "C" fn free_context<T: FileSystem>(fc: *mut bindings::fs_context) {
    // SAFETY: The context is valid.
    let options: *mut T::Options = unsafe { (*fc).fs_private.cast() };
    if !options.is_null() {
        // SAFETY: The pointer comes from `init_fs_context` and is not used again.
        drop(unsafe { KBox::from_raw(options) });
    }
}

unsafe extern "C" fn parse_param<T: FileSystem>(
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
) -> c_int {
    // SAFETY: The context is valid, and so are its options until `free_context`; the kernel serialises its use.
    let options: Option<&mut T::Options> =
        unsafe { (*fc).fs_private.cast::<T::Options>().as_mut() };
    let Some(options) = options else {
        return code::EINVAL.to_errno();
    };
    // SAFETY: The parameter is valid and its key ends with a zero byte.
    let name = unsafe { CStr::from_char_ptr((*param).key) };
    // SAFETY: The parameter is valid; which field of the union is used follows from its type.
    let value = unsafe {
        match (*param).type_() {
            bindings::fs_value_type_fs_value_is_flag => OptionValue::Flag,
            bindings::fs_value_type_fs_value_is_string => OptionValue::Text(
                core::slice::from_raw_parts((*param).__bindgen_anon_1.string.cast(), (*param).size),
            ),
            _ => return code::ENOPARAM.to_errno(),
        }
    };
    status(T::set_option(options, name.to_bytes(), value))
}

unsafe extern "C" fn get_tree<T: FileSystem>(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: The context is valid; the callback is for this type.
    unsafe { bindings::get_tree_bdev(fc, Some(fill_super::<T>)) }
}

/// Takes the options out of a context, leaving defaults.
///
/// # Safety
///
/// `fc` must be a context of type `T`.
unsafe fn take_options<T: FileSystem>(fc: *mut bindings::fs_context) -> T::Options {
    // SAFETY: By the caller's promise; the kernel serialises the use of a context.
    match unsafe { (*fc).fs_private.cast::<T::Options>().as_mut() } {
        Some(options) => core::mem::take(options),
        None => T::Options::default(),
    }
}

unsafe extern "C" fn fill_super<T: FileSystem>(
    sb: *mut bindings::super_block,
    fc: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: The context is of this type.
    let options = unsafe { take_options::<T>(fc) };
    // SAFETY: The super block is new, of this type, and its device is open.
    status(unsafe { super_block::fill::<T>(sb, options, (*fc).sb_flags) })
}

unsafe extern "C" fn reconfigure<T: FileSystem>(fc: *mut bindings::fs_context) -> c_int {
    // SAFETY: The context is of this type, and has a root when an existing mount is changed.
    let (options, sb, flags) =
        unsafe { (take_options::<T>(fc), (*(*fc).root).d_sb, (*fc).sb_flags) };
    // SAFETY: The super block is mounted and of this type.
    let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
    let read_only = u64::from(flags) & bindings::RVFS_SB_RDONLY as u64 != 0;
    if !read_only || !sb.is_read_only() {
        // SAFETY: The super block is mounted.
        let _ = unsafe { bindings::sync_filesystem(sb.as_ptr()) };
    }
    status(T::reconfigure(sb, options, read_only))
}

unsafe extern "C" fn kill_sb<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: The kernel is done with the super block but for this.
    unsafe { bindings::kill_block_super(sb) };
    // SAFETY: `put_super`, or the error path of `fill`, has dropped the mount's data; a pointer that is still here would be a leak.
    if !unsafe { (*sb).s_fs_info }.is_null() {
        pr_warn!("mount data were not released\n");
    }
}
