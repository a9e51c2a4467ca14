// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Counters of a mounted filesystem's vector part.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl::{number, READ_WRITE};
use crate::request::check_common;
use crate::{parse_name, BadRequest, Request, NAME_SIZE};

/// Value of [`Stats::isa`]: plain code.
pub const ISA_PORTABLE: u32 = 0;
/// Value of [`Stats::isa`]: AVX2 and FMA.
pub const ISA_AVX2: u32 = 1;
/// Value of [`Stats::isa`]: AVX-512F.
pub const ISA_AVX512: u32 = 2;
/// Value of [`Stats::isa`]: NEON.
pub const ISA_NEON: u32 = 3;

/// What the filesystem holds, and what was done since it was mounted. All but the
/// first two fields are *out*. Anyone may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stats {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// *Out:* instruction set of the distance kernels, `ISA_*`.
    pub isa: u32,
    /// *Out:* indexes.
    pub indexes: u32,
    /// *Out:* records of all indexes.
    pub records: u64,
    /// *Out:* segments of all indexes.
    pub segments: u64,
    /// *Out:* records for which there is room in the segments, used and free.
    pub slots: u64,
    /// *Out:* bytes of the device that the segments occupy.
    pub bytes: u64,
    /// *Out:* queries answered.
    pub queries: u64,
    /// *Out:* distances computed.
    pub distances: u64,
    /// *Out:* records put.
    pub puts: u64,
    /// *Out:* records deleted by request (not those that went with their file).
    pub deletes: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

impl Request for Stats {
    const NUMBER: u32 = number(READ_WRITE, 9, Self::MIN_SIZE);
    const MIN_SIZE: usize = 128;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)
    }
}

/// What was done with the index called `name` since the filesystem was mounted. All that follows the name is *out*. Anyone may ask.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexActivity {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// *Out:* queries answered.
    pub queries: u64,
    /// *Out:* exact distances computed for them.
    pub distances: u64,
    /// *Out:* partitions of the search tree looked at for them.
    pub partitions: u64,
    /// *Out:* searches of the tree that began anew because it changed under them.
    pub restarts: u64,
    /// *Out:* records put.
    pub puts: u64,
    /// *Out:* records deleted by request (not those that went with their file).
    pub deletes: u64,
    /// *Out:* partitions divided.
    pub divisions: u64,
    /// *Out:* partitions dissolved because they had become thin.
    pub dissolutions: u64,
    /// Zero.
    pub reserved: [u64; 8],
}

impl Request for IndexActivity {
    const NUMBER: u32 = number(READ_WRITE, 18, Self::MIN_SIZE);
    const MIN_SIZE: usize = 200;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name).map(|_| ())
    }
}
