// SPDX-License-Identifier: GPL-2.0-only
//! File data: where it is, as iomap asks for it to read, write and report through the page cache or past it.
//!
//! A filesystem says where parts of a file are ([`MappingOperations::map`]) and what to do when data has reached the device
//! ([`MappingOperations::completed`]); reading, caching and writing are the kernel's. Completion runs in process context on a queue of the
//! filesystem type, so it may start transactions.

use super::{bindings, code, status, task, write_back, FileSystem, INode, Result};
use core::marker::PhantomData;
use kernel::prelude::*;

/// What a mapping is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapRequest {
    /// First byte.
    pub(crate) pos: u64,
    /// Number of bytes; a mapping of fewer is fine, at least one.
    pub(crate) len: u64,
    /// To be written: there must be space.
    pub(crate) write: bool,
    /// To be filled with zeros: holes may stay.
    pub(crate) zero: bool,
    /// Only to be reported (fiemap, bmap, SEEK_HOLE).
    pub(crate) report: bool,
    /// For a write through a mapping in memory; the folio is locked.
    pub(crate) fault: bool,
    /// For direct I/O.
    pub(crate) direct: bool,
    /// Only existing, written space may be used (`EAGAIN` otherwise).
    pub(crate) overwrite_only: bool,
}

/// Most bytes that [`InlineData`] has room for. Memory of such a size, a power of two, does not cross a page, as iomap
/// demands.
pub(crate) const INLINE_ROOM: usize = 1024;

/// Data that is not in blocks of its own, in memory that has room for growth.
pub(crate) struct InlineData {
    bytes: KBox<[u8; INLINE_ROOM]>,
    room: usize,
}

impl InlineData {
    /// A buffer of `room` bytes that starts with `data`, the rest zeros. `room` is the most that the file can hold in
    /// this way, at most [`INLINE_ROOM`].
    ///
    /// Errors: `EINVAL` if something does not fit, `ENOMEM`.
    pub(crate) fn new(data: &[u8], room: usize) -> Result<Self> {
        if room == 0 || room > INLINE_ROOM || data.len() > room {
            return Err(code::EINVAL);
        }
        let _scope = task::nofs();
        let mut bytes = KBox::new([0; INLINE_ROOM], GFP_KERNEL)?;
        for (to, from) in bytes.iter_mut().zip(data) {
            *to = *from;
        }
        Ok(Self { bytes, room })
    }
}

/// Where a part of a file is.
pub(crate) enum Extent {
    /// Nowhere: it reads as zeros.
    Hole,
    /// On the device, from this byte.
    Mapped(u64),
    /// As above, but never written: it reads as zeros.
    Unwritten(u64),
    /// In memory that [`MappingOperations::end`] gets back.
    Inline(InlineData),
}

/// A mapping.
pub(crate) struct Mapping {
    /// First byte in the file; at or before what was asked for.
    pub(crate) offset: u64,
    /// Length in bytes; reaches beyond the first byte that was asked for.
    pub(crate) len: u64,
    /// Where it is.
    pub(crate) extent: Extent,
    /// The space was just allocated: what is not written around the data must be filled with zeros.
    pub(crate) new: bool,
    /// Durability of a write to it needs a commit of metadata.
    pub(crate) dirty: bool,
    /// Told to [`MappingOperations::is_current`] later.
    pub(crate) cookie: u64,
}

/// Data that has reached the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Number of bytes, not beyond the size in memory at the time of the write.
    pub(crate) len: u64,
    /// The space was in an unwritten extent.
    pub(crate) unwritten: bool,
}

/// A filesystem whose files have data.
pub(crate) trait MappingOperations: FileSystem {
    /// Maps a part of a file, making space if `request.write`. Called with the inode's lock (exclusive for writes), or the invalidate lock
    /// (faults), or only a folio lock (reads) held, and no handle open.
    fn map(inode: &INode<Self>, request: &MapRequest) -> Result<Mapping>;

    /// Ends what a mapping was used for: `written` bytes from `pos` were written or read. `inline` is what [`Extent::Inline`] carried, with what
    /// was written to it. Until this returns, the folio that has the data stays in memory. An error of a write is reported by fsync(2).
    fn end(
        inode: &INode<Self>,
        request: &MapRequest,
        written: u64,
        inline: Option<&[u8]>,
    ) -> Result;

    /// Whether a mapping with this cookie is still true. May not sleep.
    fn is_current(inode: &INode<Self>, cookie: u64) -> bool;

    /// Maps a part of a file that is being written back. There must be space already. The folio is locked.
    fn map_for_write_back(inode: &INode<Self>, pos: u64, len: u64) -> Result<Mapping>;

    /// Whether [`MappingOperations::completed`] is to be called for a write of space that was written before, up to byte `end`. May not sleep.
    fn wants_completion(inode: &INode<Self>, end: u64) -> bool;

    /// Data has reached the device; until this returns it does not count as written. Called in process context.
    fn completed(inode: &INode<Self>, what: &Completion) -> Result;
}

/// The tables of `T`.
pub(super) struct Tables<T>(PhantomData<T>);

impl<T: MappingOperations> Tables<T> {
    pub(super) const MAP: bindings::iomap_ops = bindings::iomap_ops {
        iomap_begin: Some(begin::<T>),
        iomap_end: Some(end::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };
    pub(super) const WRITE: bindings::iomap_write_ops = bindings::iomap_write_ops {
        get_folio: Some(bindings::rvfs_iomap_get_folio),
        iomap_valid: Some(valid::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };
    pub(super) const DIRECT: bindings::iomap_dio_ops = bindings::iomap_dio_ops {
        end_io: Some(write_back::direct_done::<T>),
        submit_io: None,
        bio_set: core::ptr::null_mut(),
    };
    const ADDRESS_SPACE: bindings::address_space_operations = bindings::address_space_operations {
        read_folio: Some(read_folio::<T>),
        readahead: Some(readahead::<T>),
        writepages: Some(write_back::write_pages::<T>),
        dirty_folio: Some(bindings::iomap_dirty_folio),
        invalidate_folio: Some(bindings::iomap_invalidate_folio),
        release_folio: Some(bindings::iomap_release_folio),
        migrate_folio: Some(bindings::filemap_migrate_folio),
        is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
        error_remove_folio: Some(bindings::generic_error_remove_folio),
        bmap: Some(bmap::<T>),
        // SAFETY: All zeros are a valid table: every pointer in it may be null.
        ..unsafe { core::mem::zeroed() }
    };

    /// For functions of C.
    pub(super) fn map() -> *const bindings::iomap_ops {
        &Self::MAP
    }

    /// For functions of C.
    pub(super) fn write() -> *const bindings::iomap_write_ops {
        &Self::WRITE
    }

    /// For functions of C.
    pub(super) fn direct() -> *const bindings::iomap_dio_ops {
        &Self::DIRECT
    }
}

/// `address_space_operations` of `T`.
pub(super) fn operations<T: MappingOperations>() -> *const bindings::address_space_operations {
    &Tables::<T>::ADDRESS_SPACE
}

/// The inode behind a pointer from the kernel.
///
/// # Safety
///
/// As [`INode::from_raw`].
pub(super) unsafe fn inode_of<'a, T: FileSystem>(
    inode: *mut bindings::inode,
) -> Result<&'a INode<T>> {
    // SAFETY: By the caller's promise.
    unsafe { INode::from_raw(inode) }.ok_or(code::EIO)
}

fn request(pos: i64, len: i64, flags: u32) -> Result<MapRequest> {
    Ok(MapRequest {
        pos: u64::try_from(pos).map_err(|_| code::EINVAL)?,
        len: u64::try_from(len).map_err(|_| code::EINVAL)?,
        write: flags & bindings::IOMAP_WRITE != 0,
        zero: flags & bindings::IOMAP_ZERO != 0,
        report: flags & bindings::IOMAP_REPORT != 0,
        fault: flags & bindings::IOMAP_FAULT != 0,
        direct: flags & bindings::IOMAP_DIRECT != 0,
        overwrite_only: flags & bindings::IOMAP_OVERWRITE_ONLY != 0,
    })
}

/// Makes sure that a mapping has the first byte that was asked for; behind inline data there is nothing.
fn covering(mapping: Mapping, request: &MapRequest) -> Result<Mapping> {
    if request
        .pos
        .checked_sub(mapping.offset)
        .is_some_and(|n| n < mapping.len)
    {
        return Ok(mapping);
    }
    match mapping.extent {
        Extent::Inline(_) if request.report => Err(code::ENOENT),
        Extent::Inline(_) if !request.write => Ok(Mapping {
            offset: request.pos,
            len: request.len,
            extent: Extent::Hole,
            ..mapping
        }),
        _ => Err(code::EUCLEAN),
    }
}

/// Writes a mapping into what C gives.
///
/// # Safety
///
/// `iomap` must be valid, and `inode` the inode that is mapped.
pub(super) unsafe fn store(
    inode: *mut bindings::inode,
    mapping: Mapping,
    iomap: *mut bindings::iomap,
) -> Result {
    let offset = i64::try_from(mapping.offset).map_err(|_| code::EUCLEAN)?;
    if mapping.len == 0 {
        return Err(code::EUCLEAN);
    }
    let (kind, addr, inline) = match mapping.extent {
        Extent::Hole => (bindings::IOMAP_HOLE, bindings::IOMAP_NULL_ADDR as u64, None),
        Extent::Mapped(addr) => (bindings::IOMAP_MAPPED, addr, None),
        Extent::Unwritten(addr) => (bindings::IOMAP_UNWRITTEN, addr, None),
        Extent::Inline(data) => (
            bindings::IOMAP_INLINE,
            bindings::IOMAP_NULL_ADDR as u64,
            Some(data),
        ),
    };
    let mut flags = 0;
    if mapping.new {
        flags |= bindings::IOMAP_F_NEW;
    }
    if mapping.dirty {
        flags |= bindings::IOMAP_F_DIRTY;
    }
    // SAFETY: By the caller's promise.
    unsafe {
        (*iomap).offset = offset;
        (*iomap).length = mapping.len;
        (*iomap).addr = addr;
        (*iomap).type_ = kind as u16;
        (*iomap).flags = flags as u16;
        (*iomap).bdev = (*(*inode).i_sb).s_bdev;
        (*iomap).validity_cookie = mapping.cookie;
        if let Some(inline) = inline {
            (*iomap).length = inline.room as u64;
            (*iomap).inline_data = KBox::into_raw(inline.bytes).cast();
        }
    }
    Ok(())
}

unsafe extern "C" fn begin<T: MappingOperations>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    flags: c_uint,
    iomap: *mut bindings::iomap,
    _srcmap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: The inode is of this type; the mapping is valid for the call.
    status(unsafe {
        inode_of::<T>(inode).and_then(|this| {
            let request = request(pos, len, flags)?;
            let mapping = covering(T::map(this, &request)?, &request)?;
            // iomap fills a whole folio from inline data, and would read beyond them.
            if matches!(mapping.extent, Extent::Inline(_)) && this.size() > mapping.len {
                return Err(code::EUCLEAN);
            }
            store(inode, mapping, iomap)?;
            bindings::rvfs_iomap_set_write_ops(iomap, Tables::<T>::write());
            Ok(())
        })
    })
}

unsafe extern "C" fn end<T: MappingOperations>(
    inode: *mut bindings::inode,
    pos: i64,
    len: i64,
    written: isize,
    flags: c_uint,
    iomap: *mut bindings::iomap,
) -> c_int {
    // SAFETY: The mapping was filled by `begin`, and the memory of inline data is given back once.
    let inline = unsafe {
        (u32::from((*iomap).type_) == bindings::IOMAP_INLINE && !(*iomap).inline_data.is_null())
            .then(|| {
                let bytes = (*iomap).inline_data.cast::<[u8; INLINE_ROOM]>();
                (*iomap).inline_data = core::ptr::null_mut();
                KBox::from_raw(bytes)
            })
    };
    // SAFETY: The inode is of this type.
    status(unsafe {
        inode_of::<T>(inode).and_then(|this| {
            let written = u64::try_from(written).unwrap_or(0);
            let inline = inline
                .as_ref()
                .and_then(|b| b.get(..(*iomap).length as usize));
            let request = request(pos, len, flags)?;
            let ended = T::end(this, &request, written, inline);
            bindings::rvfs_iomap_unpin(iomap);
            // iomap has told the writer that it succeeded; who asks with fsync(2) must not be told so.
            ended.inspect_err(|e| {
                if written != 0 && (request.write || request.zero) {
                    bindings::rvfs_mapping_set_error(this.as_ptr(), e.to_errno());
                }
            })
        })
    })
}

unsafe extern "C" fn valid<T: MappingOperations>(
    inode: *mut bindings::inode,
    iomap: *const bindings::iomap,
) -> bool {
    // SAFETY: The inode is of this type, and the mapping was filled by `begin`.
    unsafe {
        inode_of::<T>(inode).is_ok_and(|inode| T::is_current(inode, (*iomap).validity_cookie))
    }
}

unsafe extern "C" fn read_folio<T: MappingOperations>(
    _file: *mut bindings::file,
    folio: *mut bindings::folio,
) -> c_int {
    // SAFETY: The folio is locked and belongs to a file of this type.
    unsafe { bindings::rvfs_iomap_read_folio(folio, Tables::<T>::map()) };
    0
}

unsafe extern "C" fn readahead<T: MappingOperations>(rac: *mut bindings::readahead_control) {
    // SAFETY: The request is for a file of this type.
    unsafe { bindings::rvfs_iomap_readahead(rac, Tables::<T>::map()) };
}

unsafe extern "C" fn bmap<T: MappingOperations>(
    mapping: *mut bindings::address_space,
    block: u64,
) -> u64 {
    // SAFETY: The mapping belongs to a file of this type.
    unsafe { bindings::iomap_bmap(mapping, block, Tables::<T>::map()) }
}
