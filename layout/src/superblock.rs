// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The super block: 1,024 bytes at byte 1,024 of block 0, and copies at byte 1,024 of the backup blocks that
//! [`crate::geometry`] names. It is written at mkfs, mount, unmount and on errors, straight to its place and never
//! through the journal; all that changes often lives elsewhere.

use crate::block::crc_without;
use crate::bytes::array;
use crate::geometry::Geometry;
use crate::{Crc32, Invalid, BLOCK_SIZE, FORMAT_VERSION};
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the super block lies in its block.
pub const SUPER_OFFSET: usize = 1024;
/// Bytes of the super block.
pub const SUPER_SIZE: usize = 1024;
/// The first eight bytes: a name, and bytes that a text-mode transfer would spoil.
pub const MAGIC: [u8; 8] = *b"VexFS\r\n\x1a";
/// The number statfs(2) gives as f_type.
pub const STATFS_MAGIC: u32 = 0x5645_5846;
const CRC_OFFSET: usize = 8;

/// Features that old code may ignore.
pub mod compat {
    /// All that this code knows.
    pub const KNOWN: u64 = 0;
}
/// Features that allow old code to read only.
pub mod ro_compat {
    /// All that this code knows.
    pub const KNOWN: u64 = 0;
}
/// Features without which the filesystem cannot be read.
pub mod incompat {
    /// All that this code knows.
    pub const KNOWN: u64 = 0;
}

/// `state` bit: unmounted cleanly (journal empty, free of known errors).
pub const STATE_CLEAN: u16 = 1;
/// `state` bit: an error was met; fsck should run.
pub const STATE_ERROR: u16 = 2;

/// What to do on an error in metadata, as mount option `errors=` and as default in the super block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum OnError {
    /// Turn read-only (the default).
    RemountRo = 1,
    /// Report and go on.
    Continue = 2,
    /// Panic the kernel.
    Panic = 3,
}

/// The super block as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSuper {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// crc32 of these 1,024 bytes with this field zero, started from 0.
    pub crc: U32,
    /// [`FORMAT_VERSION`].
    pub version: U32,
    /// See [`compat`].
    pub feature_compat: U64,
    /// See [`ro_compat`].
    pub feature_ro_compat: U64,
    /// See [`incompat`].
    pub feature_incompat: U64,
    /// Filesystem UUID; also the seed of all checksums.
    pub uuid: [u8; 16],
    /// Label, UTF-8, zero padded.
    pub label: [u8; 64],
    /// Number of the block that this copy lies in.
    pub block: U64,
    /// Blocks of the filesystem.
    pub blocks: U64,
    /// Bytes in a block: 4096.
    pub block_size: U32,
    /// Blocks in an allocation group: 32,512.
    pub group_blocks: U32,
    /// Allocation groups, those inside the system area included.
    pub groups: U32,
    /// Inodes in a group, a multiple of eight.
    pub inodes_per_group: U32,
    /// First block of the group descriptor table.
    pub gdt_start: U64,
    /// Blocks set aside for it, growth included.
    pub gdt_blocks: U32,
    /// Blocks of the journal.
    pub journal_blocks: U32,
    /// First block of the journal.
    pub journal_start: U64,
    /// First block after the system area.
    pub system_end: U64,
    /// Blocks that only privileged users may take.
    pub reserved_blocks: U64,
    /// Secret of the name hash (SipHash-2-4 key).
    pub hash_seed: [u8; 16],
    /// When mkfs ran, seconds since 1970.
    pub made_at: I64,
    /// Last mount.
    pub mounted_at: I64,
    /// Last write of this super block.
    pub written_at: I64,
    /// Mounts since mkfs.
    pub mounts: U32,
    /// [`STATE_CLEAN`], [`STATE_ERROR`].
    pub state: U16,
    /// [`OnError`].
    pub on_error: U16,
    /// Errors met since the last clean fsck.
    pub errors: U32,
    /// Zero.
    pub reserved0: U32,
    /// When the first of them was met.
    pub first_error_at: I64,
    /// When the last was.
    pub last_error_at: I64,
    /// Block of the last error, 0 if none.
    pub last_error_block: U64,
    /// Inode of the last error, 0 if none.
    pub last_error_ino: U64,
    /// Its reason, UTF-8, zero padded.
    pub last_error: [u8; 80],
    /// Where it was last mounted, zero padded.
    pub last_mounted: [u8; 64],
    /// Zero.
    pub reserved: [u8; 600],
}

/// A validated super block.
#[derive(Clone, Copy)]
pub struct Super {
    /// The fields, all checked.
    pub raw: RawSuper,
    /// What follows from them.
    pub geometry: Geometry,
    /// Seed of every checksum of this filesystem: crc32 of the UUID.
    pub seed: u32,
}

impl Super {
    /// Reads the super block in `block` (the whole 4 KiB), which was read from block number `at`.
    ///
    /// Checked: magic, checksum, version, own block number, unknown incompatible features (refused), block and group size, and all of
    /// [`Geometry::new`]: the order and sizes of the areas, so that no number computed from it lies outside the filesystem.
    /// Not checked: that the device is as large as `blocks` says.
    pub fn parse(block: &[u8], at: u64, crc: Crc32) -> Result<Super, Invalid> {
        let bytes: [u8; SUPER_SIZE] =
            array(block, SUPER_OFFSET).ok_or(Invalid("short super block"))?;
        let raw: RawSuper = zerocopy::transmute!(bytes);
        if raw.magic != MAGIC {
            return Err(Invalid("no VexFS super block here (wrong magic)"));
        }
        if crc_without(&bytes, CRC_OFFSET, 0, crc) != Some(raw.crc.get()) {
            return Err(Invalid("super block checksum does not match"));
        }
        if raw.version.get() != FORMAT_VERSION {
            return Err(Invalid("format version is not one that this code knows"));
        }
        if raw.feature_incompat.get() & !incompat::KNOWN != 0 {
            return Err(Invalid(
                "incompatible features that this code does not know",
            ));
        }
        if raw.block.get() != at {
            return Err(Invalid("super block carries another block's number"));
        }
        if raw.block_size.get() as usize != BLOCK_SIZE {
            return Err(Invalid("block size is not 4096"));
        }
        let geometry = Geometry::new(&raw)?;
        let seed = crc(0, &raw.uuid);
        Ok(Super {
            raw,
            geometry,
            seed,
        })
    }

    /// Whether features forbid writing.
    pub fn read_only_features(&self) -> bool {
        self.raw.feature_ro_compat.get() & !ro_compat::KNOWN != 0
    }

    /// The behaviour on errors; values that this code does not know count as [`OnError::RemountRo`].
    pub fn on_error(&self) -> OnError {
        match self.raw.on_error.get() {
            2 => OnError::Continue,
            3 => OnError::Panic,
            _ => OnError::RemountRo,
        }
    }

    /// Whether it was unmounted cleanly.
    pub fn is_clean(&self) -> bool {
        self.raw.state.get() & (STATE_CLEAN | STATE_ERROR) == STATE_CLEAN
    }
}

impl RawSuper {
    /// The 1,024 bytes for block `at`: own number and checksum filled in.
    pub fn sealed(&self, at: u64, crc: Crc32) -> [u8; SUPER_SIZE] {
        let mut raw = *self;
        raw.block = U64::new(at);
        raw.crc = U32::ZERO;
        let zeroed: [u8; SUPER_SIZE] = zerocopy::transmute!(raw);
        raw.crc = U32::new(crc(0, &zeroed));
        zerocopy::transmute!(raw)
    }
}

const _: () = assert!(core::mem::size_of::<RawSuper>() == SUPER_SIZE);
