// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The on-disk format of VexFS and nothing else: structures as they lie on disk (`RawX`), their validated forms (`X`),
//! constants, geometry, checksums. Compiled into the kernel module and into every tool.
//!
//! It may not do I/O, allocate, panic, or contain unsafe code. Everything is little-endian, except the journal, whose
//! format is jbd2's (big-endian).
//!
//! | module | what |
//! |---|---|
//! | [`superblock`] | super block, feature flags |
//! | [`geometry`] | where everything lies, computed from the super block |
//! | [`block`] | the common block header, block kinds, `seal` and `verify` |
//! | [`group`] | allocation group descriptors |
//! | [`inode`] | the 512-byte inode and its forks |
//! | [`btree`] | B+tree node bodies |
//! | [`extent`], [`dirent`], [`attr`], [`vector`] | what the trees hold |
//! | [`efforts`] | what searching an index was found to take |
//! | [`segment`] | vector segments and slots |
//! | [`partition`] | nodes of the search tree of an index |
//! | [`jbd2`] | the journal's structures |
#![no_std]
#![forbid(unsafe_code)]

pub mod attr;
pub mod block;
pub mod btree;
pub mod bytes;
pub mod dirent;
pub mod efforts;
pub mod extent;
pub mod geometry;
pub mod graph;
pub mod group;
pub mod inode;
pub mod jbd2;
pub mod partition;
pub mod segment;
pub mod superblock;
pub mod vector;

/// Bytes in a block. The only block size there is.
pub const BLOCK_SIZE: usize = 4096;
/// log2 of [`BLOCK_SIZE`].
pub const BLOCK_SHIFT: u32 = 12;
/// A block's contents.
pub type Block = [u8; BLOCK_SIZE];

/// Version of the whole format. Any change of a byte's meaning raises it, and with it the golden image.
pub const FORMAT_VERSION: u32 = 4;

/// Block numbers are below this (48 bits).
pub const MAX_BLOCKS: u64 = 1 << 48;
/// Largest file size in bytes: 8 EiB less one block, so that byte offsets fit a signed 64-bit value.
pub const MAX_FILE_SIZE: u64 = (i64::MAX as u64) & !(BLOCK_SIZE as u64 - 1);
/// Longest file name in bytes.
pub const NAME_MAX: usize = 255;
/// Most links of one inode, as st_nlink users expect it (ext4: 65,000; here 2^31 - 1).
pub const LINK_MAX: u32 = i32::MAX as u32;

/// What is wrong with bytes that came from disk: a sentence fragment for people, naming the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

impl core::fmt::Display for Invalid {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

/// CRC-32 (IEEE 802.3, the polynomial of zlib, crc32fast and the kernel's `crc32_le`), continued:
/// `crc(crc(0, a), b) == crc(0, a ++ b)`. In the kernel this is `!crc32_le(!seed, data)`.
pub type Crc32 = fn(seed: u32, data: &[u8]) -> u32;

/// Reserved inode numbers. Inodes below [`ino::FIRST`] are made by mkfs.
pub mod ino {
    /// The root directory.
    pub const ROOT: u64 = 1;
    /// The index table: its data fork is a tree of kind `Index`.
    pub const INDEX_TABLE: u64 = 2;
    /// The vector map: tree of kind `VectorMap`.
    pub const VECTOR_MAP: u64 = 3;
    /// Orphans: tree of kind `Orphan`.
    pub const ORPHANS: u64 = 4;
    /// First inode number for users; 5 to 15 are reserved.
    pub const FIRST: u64 = 16;
}
