// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Indexes: create, list, describe, drop; and note what searching one was found to take.
//!
//! An index has an owner, a group and the nine permission bits: *read* allows to
//! search it and to get records, *write* to put and delete them. Any directory or
//! file of the mount may be the descriptor of these requests.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl::{number, READ_WRITE, WRITE};
use crate::request::{check_common, require};
use crate::{parse_name, BadRequest, Request, NAME_SIZE};
use crate::{DIM_MAX, ELEMENT_BINARY, ELEMENT_F16, ELEMENT_F32, ELEMENT_I8};
use crate::{METRIC_COSINE, METRIC_DOT, METRIC_HAMMING, METRIC_L2};

/// Creates an empty index, owned by the caller's filesystem uid and gid.
///
/// | errno | why |
/// |---|---|
/// | `EEXIST` | an index has the name |
/// | `EACCES` | the caller may not write to the root directory of the mount |
/// | `EOPNOTSUPP` | the element type or metric is not known, or they do not go together |
/// | `ENOSPC`, `EDQUOT` | no space, or no further index |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexCreate {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Elements of a vector, 1 to 4096.
    pub dim: u32,
    /// Element type, `ELEMENT_*`.
    pub element: u32,
    /// Metric, `METRIC_*`.
    pub metric: u32,
    /// Permission bits, at most 0o777. The caller's umask does not apply.
    pub mode: u32,
    /// Zero.
    pub reserved: [u64; 4],
}

impl Request for IndexCreate {
    const NUMBER: u32 = number(WRITE, 0, Self::MIN_SIZE);
    const MIN_SIZE: usize = 120;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name)?;
        require((1..=DIM_MAX).contains(&self.dim))?;
        require(self.element != 0 && self.metric != 0)?;
        require(self.mode & !0o777 == 0)
    }
}

impl IndexCreate {
    /// Whether element type and metric are known and go together (else
    /// `EOPNOTSUPP`): bits with hamming, everything else with the others.
    pub const fn is_supported(&self) -> bool {
        match self.element {
            ELEMENT_F32 | ELEMENT_F16 | ELEMENT_I8 => {
                matches!(self.metric, METRIC_L2 | METRIC_COSINE | METRIC_DOT)
            }
            ELEMENT_BINARY => self.metric == METRIC_HAMMING,
            _ => false,
        }
    }
}

/// Describes the index called `name`; everything else is *out*. Also an entry of
/// [`IndexList`]. Anyone may ask.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexInfo {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// *Out:* its number; never used again, and greater for a later index.
    pub id: u32,
    /// *Out:* elements of a vector.
    pub dim: u32,
    /// *Out:* element type, `ELEMENT_*`.
    pub element: u32,
    /// *Out:* metric, `METRIC_*`.
    pub metric: u32,
    /// *Out:* permission bits.
    pub mode: u32,
    /// *Out:* owner, in the caller's user namespace.
    pub uid: u32,
    /// *Out:* group, in the caller's user namespace.
    pub gid: u32,
    /// *Out:* segments.
    pub segments: u32,
    /// *Out:* records.
    pub records: u64,
    /// *Out:* records for which there is room in the segments, used and free.
    pub slots: u64,
    /// *Out:* bytes of the device that the segments occupy.
    pub bytes: u64,
    /// *Out:* when it was created, seconds since 1970.
    pub created: i64,
    /// *Out:* entries of the search tree. If there are fewer than records, searches compare
    /// all records.
    pub tree_entries: u64,
    /// *Out:* bytes of the device that the search tree occupies.
    pub tree_bytes: u64,
    /// *Out:* partitions of the search tree.
    pub tree_partitions: u32,
    /// *Out:* levels of the search tree; 0: there is none.
    pub tree_height: u32,
    /// *Out:* what [`IndexEfforts`] noted, rounded up by up to a sixteenth; zeros: nothing.
    pub efforts: [u16; 3],
    /// Zero. *Out:* zero.
    pub reserved: u16,
}

impl Request for IndexInfo {
    const NUMBER: u32 = number(READ_WRITE, 1, Self::MIN_SIZE);
    const MIN_SIZE: usize = 168;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &[self.reserved.into()])?;
        parse_name(&self.name).map(|_| ())
    }
}

/// Lists indexes in the order of their numbers. Anyone may ask.
///
/// Begin with `cursor` 0 and repeat until `count` comes back 0. Indexes that exist
/// during the whole loop are listed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexList {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Numbers above this one are listed. *Out:* the number of the last one listed.
    pub cursor: u64,
    /// Address of an array of [`IndexInfo`], *out*.
    pub entries: u64,
    /// Entries that the array has room for, at least 1.
    pub capacity: u32,
    /// Bytes of an entry: the size of the caller's [`IndexInfo`].
    pub entry_size: u32,
    /// *Out:* entries written.
    pub count: u32,
    /// Zero.
    pub reserved0: u32,
    /// Zero.
    pub reserved: [u64; 3],
}

impl Request for IndexList {
    const NUMBER: u32 = number(READ_WRITE, 2, Self::MIN_SIZE);
    const MIN_SIZE: usize = 64;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        if self.reserved0 != 0 {
            return Err(BadRequest::Reserved);
        }
        require(self.capacity != 0)?;
        require(self.entry_size as usize == core::mem::size_of::<IndexInfo>())
    }
}

/// Drops an index with all of its records. The name is free at once; the space
/// follows in steps, which a crash only interrupts.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
/// | `EPERM` | the caller neither owns the index nor has `CAP_FOWNER` |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexDrop {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Zero.
    pub reserved: [u64; 2],
}

impl Request for IndexDrop {
    const NUMBER: u32 = number(WRITE, 3, Self::MIN_SIZE);
    const MIN_SIZE: usize = 88;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name).map(|_| ())
    }
}

/// Notes how many leaves of an index's search tree searches must look at for a recall, which searches that ask for
/// a recall follow from then on. The kernel cannot judge the numbers: they are somebody's measurement, with queries like
/// those that are asked.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
/// | `EPERM` | the caller neither owns the index nor has `CAP_FOWNER` |
/// | `EINVAL` | the numbers fall, some but not all are zero, or one is above [`EFFORT_MAX`] |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexEfforts {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Leaves for a recall of 0.9, 0.95 and 0.99, each in hundredths of the root of the number of partitions. Zeros:
    /// forget what was noted.
    pub efforts: [u32; 3],
    /// Zero.
    pub reserved0: u32,
    /// Zero.
    pub reserved: [u64; 2],
}

/// The greatest of [`IndexEfforts::efforts`].
pub const EFFORT_MAX: u32 = 63_488;

impl Request for IndexEfforts {
    const NUMBER: u32 = number(WRITE, 19, Self::MIN_SIZE);
    const MIN_SIZE: usize = 104;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        if self.reserved0 != 0 {
            return Err(BadRequest::Reserved);
        }
        parse_name(&self.name)?;
        let [low, middle, high] = self.efforts;
        require(low <= middle && middle <= high && high <= EFFORT_MAX)?;
        require(low != 0 || high == 0)
    }
}
