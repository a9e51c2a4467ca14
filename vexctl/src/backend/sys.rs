// SPDX-License-Identifier: GPL-2.0-only
//! The ioctls of a VexFS mount as safe functions: addresses and lengths that the
//! kernel is given always come from slices that live until it is done. It knows
//! nothing of names or messages, and nothing else in vexctl is unsafe.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::stat::Mode;
use uapi::record::PutRecord;
use uapi::search::{Hit, Search, SEARCH_EXACT};

use super::Effort;
use uapi::{
    Delete, Get, IndexBuild, IndexCreate, IndexDrop, IndexEfforts, IndexInfo, IndexList,
    IndexVerify, Put, PutMany, Request, Stats, NAME_SIZE,
};

/// The field of a request that holds an index name.
pub type Name = [u8; NAME_SIZE];

/// Opens a file relative to a directory.
///
/// # Errors
/// What the kernel answers.
pub fn open_at(directory: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let fd = nix::fcntl::openat(Some(directory.as_raw_fd()), path, flags, Mode::empty())?;
    // SAFETY: the descriptor was made just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a request that carries no addresses.
///
/// # Errors
/// What the kernel answers.
pub fn plain<T: Plain>(fd: BorrowedFd<'_>, request: &mut T) -> Result<(), Errno> {
    // SAFETY: a Plain request carries no addresses.
    unsafe { call(fd, request) }
}

/// Requests without addresses.
pub trait Plain: Request {}
impl Plain for IndexCreate {}
impl Plain for IndexInfo {}
impl Plain for IndexDrop {}
impl Plain for IndexEfforts {}
impl Plain for IndexVerify {}
impl Plain for IndexBuild {}
impl Plain for Stats {}

/// Makes a request. A signal that was no reason to end (being stopped and continued,
/// say) is no reason to give up either: these requests can be repeated.
///
/// # Safety
/// As for [`once`].
unsafe fn call<T: Request>(fd: BorrowedFd<'_>, request: &mut T) -> Result<(), Errno> {
    loop {
        // SAFETY: the caller answers for it.
        match unsafe { once(fd, request) } {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// Makes a request, once.
///
/// # Safety
/// Every address in `request` must lead to as much memory as the request says, which
/// the kernel may read, or write if the field is described as *out*.
unsafe fn once<T: Request>(fd: BorrowedFd<'_>, request: &mut T) -> Result<(), Errno> {
    // SAFETY: the structure's first field tells the kernel its size, at most that of
    // T, which is borrowed mutably; the caller answers for addresses.
    let result = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            T::NUMBER as _,
            std::ptr::from_mut::<T>(request),
        )
    };
    Errno::result(result).map(|_| ())
}

/// Deletes records as `request` says; returns how many. After a signal it goes on.
///
/// # Errors
/// What the kernel answers.
pub fn delete(fd: BorrowedFd<'_>, request: &mut Delete) -> Result<u64, Errno> {
    let mut deleted = 0u64;
    loop {
        // SAFETY: the request carries no addresses.
        let result = unsafe { once(fd, request) };
        match result {
            Err(Errno::EINTR) => deleted = deleted.saturating_add(request.deleted),
            Ok(()) => return Ok(deleted.saturating_add(request.deleted)),
            Err(errno) => return Err(errno),
        }
    }
}

/// Fills `entries` with indexes with numbers above `cursor`; returns how many there
/// were and the number of the last.
///
/// # Errors
/// What the kernel answers.
pub fn index_list(
    fd: BorrowedFd<'_>,
    cursor: u64,
    entries: &mut [IndexInfo],
) -> Result<(usize, u64), Errno> {
    let mut request = IndexList {
        size: size_of::<IndexList>() as u32,
        flags: 0,
        cursor,
        entries: entries.as_mut_ptr().addr() as u64,
        capacity: length(entries.len())?,
        entry_size: size_of::<IndexInfo>() as u32,
        count: 0,
        reserved0: 0,
        reserved: [0; 3],
    };
    // SAFETY: `entries` has room for `capacity` entries of `entry_size` bytes, and
    // any bytes make an IndexInfo.
    unsafe { call(fd, &mut request) }?;
    Ok((request.count as usize, request.cursor))
}

/// Stores a record of the file.
///
/// # Errors
/// What the kernel answers.
pub fn put(
    fd: BorrowedFd<'_>,
    name: &Name,
    label: u64,
    tag: u64,
    vector: &[u8],
) -> Result<(), Errno> {
    let mut request = Put {
        size: size_of::<Put>() as u32,
        flags: 0,
        name: *name,
        label,
        tag,
        vector: vector.as_ptr().addr() as u64,
        vector_bytes: length(vector.len())?,
        reserved0: 0,
        reserved: [0; 2],
    };
    // SAFETY: the kernel reads `vector_bytes` bytes of `vector`.
    unsafe { call(fd, &mut request) }
}

/// Stores the records of `vectors`, which lie end to end; the answer tells how many
/// were stored, and what ended the sequence early.
pub fn put_many(
    fd: BorrowedFd<'_>,
    name: &Name,
    records: &[PutRecord],
    vectors: &[u8],
) -> (usize, Result<(), Errno>) {
    let vector_bytes = vectors.len().checked_div(records.len()).unwrap_or(0);
    let (Ok(count), Ok(vector_bytes)) = (length(records.len()), length(vector_bytes)) else {
        return (0, Err(Errno::EINVAL));
    };
    let mut request = PutMany {
        size: size_of::<PutMany>() as u32,
        flags: 0,
        name: *name,
        records: records.as_ptr().addr() as u64,
        vectors: vectors.as_ptr().addr() as u64,
        count,
        record_size: size_of::<PutRecord>() as u32,
        vector_bytes,
        done: 0,
        reserved: [0; 2],
    };
    // SAFETY: the kernel reads `count` records of `record_size` bytes, and `count`
    // times `vector_bytes` bytes, which is at most the length of `vectors`.
    let result = unsafe { call(fd, &mut request) };
    (request.done as usize, result)
}

/// Reads the record of this label into `vector`; returns the bytes of its elements
/// and its tag.
///
/// # Errors
/// What the kernel answers.
pub fn get(
    fd: BorrowedFd<'_>,
    name: &Name,
    label: u64,
    vector: &mut [u8],
) -> Result<(usize, u64), Errno> {
    let mut request = Get {
        size: size_of::<Get>() as u32,
        flags: 0,
        name: *name,
        label,
        tag: 0,
        vector: vector.as_mut_ptr().addr() as u64,
        capacity: length(vector.len())?,
        vector_bytes: 0,
        reserved: [0; 2],
    };
    // SAFETY: `vector` has room for `capacity` bytes.
    unsafe { call(fd, &mut request) }?;
    Ok((request.vector_bytes as usize, request.tag))
}

/// Memory that a search fills.
pub struct Results<'a> {
    /// `k` entries for each query.
    pub hits: &'a mut [Hit],
    /// For each query how many of them are filled.
    pub counts: &'a mut [u32],
    /// The hits' paths.
    pub paths: &'a mut [u8],
}

/// Searches for the `results.counts.len()` queries of `queries`, which lie end to
/// end; the answer tells how many bytes of paths there are, also with `ERANGE`.
pub fn search(
    fd: BorrowedFd<'_>,
    name: &Name,
    (effort, filter): (Effort, &uapi::Filter),
    queries: &[u8],
    results: &mut Results<'_>,
) -> (usize, Result<(), Errno>) {
    let count = results.counts.len();
    let (Ok(query_count), Ok(query_bytes), Ok(k), Ok(paths_capacity)) = (
        length(count),
        length(queries.len().checked_div(count).unwrap_or(0)),
        length(results.hits.len().checked_div(count).unwrap_or(0)),
        length(results.paths.len()),
    ) else {
        return (0, Err(Errno::EINVAL));
    };
    let mut request = Search {
        size: size_of::<Search>() as u32,
        flags: match effort {
            Effort::All => SEARCH_EXACT,
            Effort::Probes(_) | Effort::Recall(_) | Effort::Beam(_) => 0,
        },
        name: *name,
        queries: queries.as_ptr().addr() as u64,
        query_bytes,
        query_count,
        k,
        hit_size: size_of::<Hit>() as u32,
        hits: results.hits.as_mut_ptr().addr() as u64,
        counts: results.counts.as_mut_ptr().addr() as u64,
        paths: results.paths.as_mut_ptr().addr() as u64,
        paths_capacity,
        paths_used: 0,
        distances: 0,
        probes: match effort {
            Effort::Probes(n) => n,
            Effort::All | Effort::Recall(_) | Effort::Beam(_) => 0,
        },
        recall: match effort {
            Effort::Recall(part) => part,
            Effort::All | Effort::Probes(_) | Effort::Beam(_) => 0,
        },
        filter: core::ptr::from_ref(filter).addr() as u64,
        reserved: [0; 6],
    };
    // SAFETY: `query_count` times `query_bytes` is at most the length of `queries`,
    // `query_count` times `k` at most that of `hits`, `counts` has `query_count`
    // entries, `paths` has `paths_capacity` bytes, and any bytes make a Hit or a u32; the
    // filter is one.
    let result = unsafe { call(fd, &mut request) };
    (request.paths_used as usize, result)
}

fn length(n: usize) -> Result<u32, Errno> {
    u32::try_from(n).map_err(|_| Errno::EINVAL)
}
