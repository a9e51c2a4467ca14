// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Extents of file data: value of an extent tree, under the key of the first logical block.

use crate::bytes::array;
use crate::{Invalid, BLOCK_SIZE, MAX_BLOCKS, MAX_FILE_SIZE};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the value.
pub const EXTENT_SIZE: usize = 16;
/// Flag: allocated, but never written; reads give zeros.
pub const UNWRITTEN: u32 = 1;
/// One past the highest logical block.
pub const MAX_LOGICAL: u64 = MAX_FILE_SIZE / BLOCK_SIZE as u64 + 1;

/// The value as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawExtent {
    /// First block on disk.
    pub start: U64,
    /// Blocks.
    pub len: U32,
    /// [`UNWRITTEN`].
    pub flags: U32,
}

/// A run of logical blocks on a run of disk blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First logical block.
    pub logical: u64,
    /// First block on disk.
    pub start: u64,
    /// Blocks, at least 1.
    pub len: u32,
    /// Allocated but never written.
    pub unwritten: bool,
}

impl Extent {
    /// Reads the value under key `logical`. Checked: length not 0, ranges below 2^48 blocks and the largest file, flags known.
    pub fn parse(logical: u64, value: &[u8]) -> Result<Extent, Invalid> {
        if value.len() != EXTENT_SIZE {
            return Err(Invalid("extent of the wrong length"));
        }
        let bytes: [u8; EXTENT_SIZE] = array(value, 0).ok_or(Invalid("short extent"))?;
        let raw: RawExtent = zerocopy::transmute!(bytes);
        let e = Extent {
            logical,
            start: raw.start.get(),
            len: raw.len.get(),
            unwritten: raw.flags.get() & UNWRITTEN != 0,
        };
        if raw.flags.get() & !UNWRITTEN != 0 {
            return Err(Invalid("unknown extent flags"));
        }
        if e.len == 0 {
            return Err(Invalid("extent of no blocks"));
        }
        if e.start
            .checked_add(u64::from(e.len))
            .is_none_or(|x| x > MAX_BLOCKS)
        {
            return Err(Invalid("extent outside the filesystem"));
        }
        if logical
            .checked_add(u64::from(e.len))
            .is_none_or(|x| x > MAX_LOGICAL)
        {
            return Err(Invalid("extent beyond the largest file"));
        }
        Ok(e)
    }

    /// The value's bytes.
    pub fn to_bytes(&self) -> [u8; EXTENT_SIZE] {
        zerocopy::transmute!(RawExtent {
            start: U64::new(self.start),
            len: U32::new(self.len),
            flags: U32::new(if self.unwritten { UNWRITTEN } else { 0 }),
        })
    }

    /// One past the last logical block. Ranges were checked, so it cannot wrap.
    pub fn logical_end(&self) -> u64 {
        self.logical.saturating_add(u64::from(self.len))
    }
}

const _: () = assert!(core::mem::size_of::<RawExtent>() == EXTENT_SIZE);
