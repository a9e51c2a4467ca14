// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Allocation group descriptors: 127 of 32 bytes in each block of the descriptor table, after the block header. They
//! hold counts and flags, no locations.

use crate::block::HEADER_SIZE;
use crate::bytes::{array, put};
use crate::{Block, Invalid};
use zerocopy::little_endian::U32;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a descriptor.
pub const DESC_SIZE: usize = 32;
/// Descriptors in a block of the table.
pub const DESCS_PER_BLOCK: usize = crate::block::PAYLOAD_SIZE / DESC_SIZE;

/// The block bitmap was never written: only the group's own metadata is in use.
pub const BLOCK_UNINIT: u32 = 1;
/// The inode bitmap was never written: no inode is in use.
pub const INODE_UNINIT: u32 = 2;
/// All flags known.
pub const KNOWN_FLAGS: u32 = BLOCK_UNINIT | INODE_UNINIT;

/// A descriptor as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawGroupDesc {
    /// Free blocks.
    pub free_blocks: U32,
    /// Free inodes.
    pub free_inodes: U32,
    /// Inode table blocks that were ever written; those after it hold garbage and count as all free.
    pub itable_init: U32,
    /// Directories among the inodes in use.
    pub dirs: U32,
    /// [`BLOCK_UNINIT`], [`INODE_UNINIT`].
    pub flags: U32,
    /// Zero.
    pub reserved: [u8; 12],
}

/// A group descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupDesc {
    /// Free blocks.
    pub free_blocks: u32,
    /// Free inodes.
    pub free_inodes: u32,
    /// Inode table blocks that were ever written.
    pub itable_init: u32,
    /// Directories.
    pub dirs: u32,
    /// Flags.
    pub flags: u32,
}

impl GroupDesc {
    /// Reads descriptor `n` of a table block. Checked: flags known, reserved zero.
    pub fn read(block: &Block, n: usize) -> Result<GroupDesc, Invalid> {
        let off = n
            .checked_mul(DESC_SIZE)
            .and_then(|o| o.checked_add(HEADER_SIZE));
        let bytes: [u8; DESC_SIZE] = off
            .and_then(|o| array(block, o))
            .ok_or(Invalid("no such descriptor"))?;
        let raw: RawGroupDesc = zerocopy::transmute!(bytes);
        if raw.flags.get() & !KNOWN_FLAGS != 0 {
            return Err(Invalid("unknown group flags"));
        }
        if raw.reserved != [0; 12] {
            return Err(Invalid("reserved bytes of a group descriptor not zero"));
        }
        Ok(GroupDesc {
            free_blocks: raw.free_blocks.get(),
            free_inodes: raw.free_inodes.get(),
            itable_init: raw.itable_init.get(),
            dirs: raw.dirs.get(),
            flags: raw.flags.get(),
        })
    }

    /// Writes descriptor `n` of a table block.
    pub fn write(&self, block: &mut Block, n: usize) -> Result<(), Invalid> {
        let raw = RawGroupDesc {
            free_blocks: U32::new(self.free_blocks),
            free_inodes: U32::new(self.free_inodes),
            itable_init: U32::new(self.itable_init),
            dirs: U32::new(self.dirs),
            flags: U32::new(self.flags),
            reserved: [0; 12],
        };
        n.checked_mul(DESC_SIZE)
            .and_then(|o| o.checked_add(HEADER_SIZE))
            .and_then(|o| put(block, o, zerocopy::IntoBytes::as_bytes(&raw)))
            .ok_or(Invalid("no such descriptor"))
    }
}

/// Checks every descriptor of a table block.
pub fn verify_block(block: &Block) -> Result<(), Invalid> {
    for n in 0..DESCS_PER_BLOCK {
        GroupDesc::read(block, n)?;
    }
    Ok(())
}

const _: () = assert!(core::mem::size_of::<RawGroupDesc>() == DESC_SIZE);
