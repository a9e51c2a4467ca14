// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Upkeep of an index's search tree: holding it to the records, and building it. Work of any length is done in
//! requests of bounded length, which the caller repeats.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ioctl::{number, READ_WRITE};
use crate::request::{check_common, require};
use crate::{parse_name, BadRequest, Request, NAME_SIZE};

/// Bytes of [`IndexVerify::reason`].
pub const REASON_SIZE: usize = 128;

/// Most steps of one request.
pub const STEPS_MAX: u32 = 1_024;

/// Flag of [`IndexBuild`]: take the tree down in place of completing it.
pub const BUILD_TAKE_DOWN: u32 = 1;

/// Holds a part of an index's search tree to its records. Begin with a `cursor` of zeros and repeat until `done` comes
/// back 1. Who may search the index may verify it.
///
/// Each step looks at the partitions on one way from the root to a leaf, or at some records. Searches, puts and deletes go
/// on meanwhile, and every step is right by itself: what it finds wrong was wrong then. The numbers are those of this
/// request. Added up they must be those of [`crate::IndexInfo`] (partitions, entries, records, and as many `missing` as there
/// are more records than entries), but only if `state` was the same in all requests, and not 0.
///
/// Damage is not an error of the request: `done` is 1, `block` and `reason` tell the first, and the mount goes on as before.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
/// | `EACCES` | the index's permission bits do not allow to read it |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexVerify {
    /// Size of this structure.
    pub size: u32,
    /// None are defined.
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Where to go on. *Out:* where to go on next; only the kernel knows what the words mean.
    pub cursor: [u64; 4],
    /// Steps, at most [`STEPS_MAX`]; 0: that many.
    pub steps: u32,
    /// *Out:* 1 if everything was seen, or something wrong.
    pub done: u32,
    /// *Out:* partitions seen.
    pub partitions: u64,
    /// *Out:* entries seen, those of leaves alone.
    pub entries: u64,
    /// *Out:* records seen.
    pub records: u64,
    /// *Out:* those of them that have no entry.
    pub missing: u64,
    /// *Out:* a number that is another one after any metadata of the mount has changed; 0: that was during the request.
    pub state: u64,
    /// *Out:* the block with the damage.
    pub block: u64,
    /// *Out:* what is wrong with it, ended by a NUL; empty: nothing.
    pub reason: [u8; REASON_SIZE],
    /// Zero.
    pub reserved: [u64; 4],
}

impl Request for IndexVerify {
    const NUMBER: u32 = number(READ_WRITE, 16, Self::MIN_SIZE);
    const MIN_SIZE: usize = 320;
    const FLAGS: u32 = 0;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name)?;
        require(self.steps <= STEPS_MAX)
    }
}

/// Enters records that have no entry into an index's search tree, or with [`BUILD_TAKE_DOWN`] takes the tree down: its records have no
/// entries then, and the tree can be built anew. Begin with `cursor` 0 and repeat until `done` comes back 1.
///
/// Each step is a transaction. Searches, puts and deletes go on meanwhile; as long as there are fewer `entries` than
/// `records`, also after a crash, searches compare all records.
///
/// When completing is done, there can be records without an entry that were put meanwhile where no room was; `entries` says so.
/// Taking down is done when there is no tree; what is put meanwhile gets its entry, so under a load of puts that may take
/// long.
///
/// | errno | why |
/// |---|---|
/// | `ENOENT` | no index has the name |
/// | `EPERM` | the caller neither owns the index nor has `CAP_FOWNER` |
/// | `ENOSPC` | there is no run of free blocks that is long enough for a partition; what was entered before stays |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndexBuild {
    /// Size of this structure.
    pub size: u32,
    /// [`BUILD_TAKE_DOWN`].
    pub flags: u32,
    /// Name of the index.
    pub name: [u8; NAME_SIZE],
    /// Where to go on. *Out*, also with `ENOSPC`: where to go on next; only the kernel knows what it means.
    pub cursor: u64,
    /// Steps, at most [`STEPS_MAX`]; 0: that many.
    pub steps: u32,
    /// *Out:* 1 if there is nothing more to do.
    pub done: u32,
    /// *Out*, also with `ENOSPC`: entries of the tree now.
    pub entries: u64,
    /// *Out*, also with `ENOSPC`: records of the index now.
    pub records: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

impl Request for IndexBuild {
    const NUMBER: u32 = number(READ_WRITE, 17, Self::MIN_SIZE);
    const MIN_SIZE: usize = 136;
    const FLAGS: u32 = BUILD_TAKE_DOWN;

    fn check(&self) -> Result<(), BadRequest> {
        check_common::<Self>(self.size, self.flags, &self.reserved)?;
        parse_name(&self.name)?;
        require(self.steps <= STEPS_MAX)
    }
}
