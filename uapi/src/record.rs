// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Records: put, get and delete the vectors of a file.
//!
//! A record is (index, file, label) -> vector and tag. Only regular files carry
//! records. They live and die with the file.
//!
//! Errors of all of these:
//!
//! | errno | why |
//! |---|---|
//! | `ENOENT` | no index has the name (for get and delete also: no such record) |
//! | `EACCES` | the index's permission bits do not allow it |
//! | `EBADF` | the file is not open for writing (put, delete) or reading (get) |
//! | `EISDIR`, `EOPNOTSUPP` | the file is a directory; any other that is not regular |

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl::{number, READ_WRITE, WRITE};
use crate::request::{check_common, require};
use crate::{parse_name, BadRequest, Request, DIM_MAX, NAME_SIZE};

/// Flag of [`Put`] and [`PutMany`]: fail with `EEXIST` instead of replacing the
/// record that has the label.
pub const PUT_EXCL: u32 = 1;

/// Flag of [`Get`]: the record with the smallest label that is not below `label`.
pub const GET_NEXT: u32 = 1;

/// Flag of [`Delete`]: all records of the file in the index; `label` must be 0.
pub const DELETE_ALL: u32 = 1;

/// Most records of one [`PutMany`].
pub const PUT_MANY_MAX: u32 = 65_536;

/// Value of [`PutRecord::fd`]: the file that the request was made on.
pub const THIS_FILE: i32 = -1;

/// Largest vector in bytes.
const VECTOR_BYTES_MAX: u32 = DIM_MAX * 4;

/// Stores a vector with the file, in one transaction, in place of any that has the
/// same label.
///
/// | errno | why |
/// |---|---|
/// | `EINVAL` | `vector_bytes` is not the index's; an element is infinite or NaN; under cosine, all are zero |
/// | `EEXIST` | [`PUT_EXCL`] and there is such a record |
/// | `ENOSPC`, `EDQUOT` | no space |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Put {
    /// Size of this structure.
    pub size: u32,
    /// [`PUT_EXCL`].
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// The record's label.
    pub label: u64,
    /// The record's tag.
    pub tag: u64,
    /// Address of the elements.
    pub vector: u64,
    /// Bytes of the elements.
    pub vector_bytes: u32,
    /// Zero.
    pub reserved0: u32,
    /// Zero.
    pub reserved: [u64; 2],
}

impl Request for Put {
    const NUMBER: u32 = number(WRITE, 4, Self::MIN_SIZE);
    const MIN_SIZE: usize = 120;
    const FLAGS: u32 = PUT_EXCL;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        if self.reserved0 != 0 {
            return Err(BadRequest::Reserved);
        }
        parse_name(&self.name)?;
        require((1..=VECTOR_BYTES_MAX).contains(&self.vector_bytes))
    }
}

/// Stores many vectors, with one file or with many.
///
/// Record `i` has the `vector_bytes` at `vectors + i * vector_bytes`. Records are
/// stored in order, several to a transaction; each is there whole or not at all.
/// The first that fails ends the call with its error. In every case in which the
/// structure could be read, `done` says how many were stored: the caller may go on,
/// or report record `done` as the culprit.
///
/// A record names its file by a descriptor, so what it may do was decided when that
/// was opened. Put records of the same file next to each other.
///
/// Errors as for [`Put`], and:
///
/// | errno | why |
/// |---|---|
/// | `EBADF` | a record's descriptor is not open, or not for writing |
/// | `EXDEV` | a record's descriptor belongs to another mount's filesystem |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PutMany {
    /// Size of this structure.
    pub size: u32,
    /// [`PUT_EXCL`].
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Address of an array of [`PutRecord`].
    pub records: u64,
    /// Address of the vectors, end to end.
    pub vectors: u64,
    /// Number of records, 1 to [`PUT_MANY_MAX`].
    pub count: u32,
    /// Bytes of a [`PutRecord`] of the caller.
    pub record_size: u32,
    /// Bytes of one vector.
    pub vector_bytes: u32,
    /// *Out*, also with an error: records stored.
    pub done: u32,
    /// Zero.
    pub reserved: [u64; 2],
}

impl Request for PutMany {
    const NUMBER: u32 = number(READ_WRITE, 5, Self::MIN_SIZE);
    const MIN_SIZE: usize = 120;
    const FLAGS: u32 = PUT_EXCL;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name)?;
        require((1..=PUT_MANY_MAX).contains(&self.count))?;
        require(self.record_size as usize == core::mem::size_of::<PutRecord>())?;
        require((1..=VECTOR_BYTES_MAX).contains(&self.vector_bytes))
    }
}

/// One record of a [`PutMany`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PutRecord {
    /// The record's label.
    pub label: u64,
    /// The record's tag.
    pub tag: u64,
    /// Descriptor of its file, open for writing, or [`THIS_FILE`].
    pub fd: i32,
    /// Zero.
    pub reserved0: u32,
}

impl PutRecord {
    /// Checks the reserved field and the descriptor's sign.
    ///
    /// # Errors
    /// [`BadRequest::Reserved`], [`BadRequest::Range`].
    pub fn check(&self) -> Result<(), BadRequest> {
        if self.reserved0 != 0 {
            return Err(BadRequest::Reserved);
        }
        require(self.fd >= THIS_FILE)
    }
}

/// Reads a record of the file.
///
/// | errno | why |
/// |---|---|
/// | `ERANGE` | `capacity` is too small; `vector_bytes` says what is needed |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Get {
    /// Size of this structure.
    pub size: u32,
    /// [`GET_NEXT`].
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// The record's label. *Out:* the label of the record found.
    pub label: u64,
    /// *Out:* the record's tag.
    pub tag: u64,
    /// Address of memory for the elements, *out*. Unused if `capacity` is 0.
    pub vector: u64,
    /// Bytes of that memory.
    pub capacity: u32,
    /// *Out*, also with `ERANGE`: bytes of the elements.
    pub vector_bytes: u32,
    /// Zero.
    pub reserved: [u64; 2],
}

impl Request for Get {
    const NUMBER: u32 = number(READ_WRITE, 6, Self::MIN_SIZE);
    const MIN_SIZE: usize = 120;
    const FLAGS: u32 = GET_NEXT;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name).map(|_| ())
    }
}

/// Deletes a record of the file, or all of them. Their bytes on disk are erased.
///
/// `ENOENT` without [`DELETE_ALL`] if there is no such record; with it, none being
/// there is a success with `deleted` 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Delete {
    /// Size of this structure.
    pub size: u32,
    /// [`DELETE_ALL`].
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// The record's label.
    pub label: u64,
    /// *Out*, also with an error: records deleted.
    pub deleted: u64,
    /// Zero.
    pub reserved: [u64; 2],
}

impl Request for Delete {
    const NUMBER: u32 = number(READ_WRITE, 7, Self::MIN_SIZE);
    const MIN_SIZE: usize = 104;
    const FLAGS: u32 = DELETE_ALL;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name)?;
        require(self.flags & DELETE_ALL == 0 || self.label == 0)
    }
}
