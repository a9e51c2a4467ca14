// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The journal: the part of the jbd2 on-disk format that VexFS uses. Structures, checksums, sequence arithmetic; it does no I/O, keeps no state
//! and decides nothing about replay (that is jbd2 in the kernel, and `image` in userspace).
//!
//! Sources: `include/linux/jbd2.h`, `fs/jbd2/recovery.c`, `fs/jbd2/commit.c` and `Documentation/filesystems/ext4/journal.rst` of Linux 7.3.
//! All integers are big-endian, unlike the rest of VexFS.
//!
//! # The region
//! A contiguous run of 4 KiB blocks. *Log block* `n` is the filesystem block `journal_start + n`. Log block 0 holds the [`RawSuper`] in its first
//! 1,024 bytes; log blocks [`Super::first`]` .. `[`Super::len`] are the log proper, used as a ring. (A journal made with `jbd2_journal_init_dev`
//! adds the start of the region to block numbers only through `journal->j_bmap`, which the user of jbd2 has to provide.)
//!
//! # A transaction in the log
//! ```text
//! [revoke block]...  ([descriptor block] [data block]...)...  [commit block]
//! ```
//! in any order up to the commit block; each descriptor lists the homes of the data blocks that follow it. All of these but the data blocks begin with a
//! [`RawHeader`] that carries the transaction's sequence number. The log ends at the first block whose header is not of the expected sequence.
//!
//! # Checksums
//! crc32c (Castagnoli, reflected, polynomial 0x82F63B78), `CSUM_V3` only. [`Crc32c`] is the kernel's `crc32c(crc, data)`: it continues a raw register and
//! does not invert it at either end. The seed of all but the super block is `crc32c(!0, uuid)`.
//!
//! # Which variants
//! VexFS writes, and this module accepts, exactly super block version 2 with `64BIT` and `CSUM_V3`, and optionally `REVOKE` (jbd2 sets it with the first
//! revocation). Checksums v1 and v2, asynchronous and fast commits are refused as unknown features, not misread.

use core::fmt;

use zerocopy::big_endian::U32;
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Block, BLOCK_SIZE};

mod log;

pub use log::{
    commit_block, commit_checksum_matches, escape, revoke_block, tag_checksum, tail_matches,
    unescape, Commit, DescriptorWriter, RawCommit, RawRevokeHeader, RawTag, RawTail, Revoked, Tag,
    Tags, FLAG_DELETED, FLAG_ESCAPE, FLAG_LAST_TAG, FLAG_SAME_UUID, REVOKES_PER_BLOCK,
    TAGS_PER_BLOCK,
};

/// `crc32c(crc, data)` as the kernel has it: continues the raw register `crc` over `data`, without inversion before or after.
pub type Crc32c = fn(u32, &[u8]) -> u32;

/// First four bytes of every journal block that is not data (`JBD2_MAGIC_NUMBER`).
pub const MAGIC: u32 = 0xc03b_3998;

/// `h_blocktype` of a descriptor block.
pub const BLOCKTYPE_DESCRIPTOR: u32 = 1;
/// `h_blocktype` of a commit block.
pub const BLOCKTYPE_COMMIT: u32 = 2;
/// `h_blocktype` of the version 1 super block, which has no features. Not accepted.
pub const BLOCKTYPE_SUPER_V1: u32 = 3;
/// `h_blocktype` of the version 2 super block.
pub const BLOCKTYPE_SUPER_V2: u32 = 4;
/// `h_blocktype` of a revoke block.
pub const BLOCKTYPE_REVOKE: u32 = 5;

/// Compatible feature: v1 checksums in commit blocks. Excludes [`INCOMPAT_CSUM_V3`].
pub const COMPAT_CHECKSUM: u32 = 0x1;
/// Incompatible feature: revoke blocks may occur.
pub const INCOMPAT_REVOKE: u32 = 0x1;
/// Incompatible feature: block numbers of 64 bits, in tags and revoke records.
pub const INCOMPAT_64BIT: u32 = 0x2;
/// Incompatible feature: the commit block may be written before its transaction is. Not accepted.
pub const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
/// Incompatible feature: checksums v2 (16 bits in the tags). Not accepted.
pub const INCOMPAT_CSUM_V2: u32 = 0x8;
/// Incompatible feature: checksums v3 (32 bits in the tags).
pub const INCOMPAT_CSUM_V3: u32 = 0x10;
/// Incompatible feature: fast commits. Not accepted.
pub const INCOMPAT_FAST_COMMIT: u32 = 0x20;

/// Features without which a journal is not one of VexFS.
pub const INCOMPAT_REQUIRED: u32 = INCOMPAT_64BIT | INCOMPAT_CSUM_V3;
/// Features that are understood.
pub const INCOMPAT_KNOWN: u32 = INCOMPAT_REQUIRED | INCOMPAT_REVOKE;

/// `s_checksum_type`: crc32c.
pub const CHECKSUM_CRC32C: u8 = 4;

/// Fewest blocks that jbd2 accepts as a journal (`JBD2_MIN_JOURNAL_BLOCKS`).
pub const MIN_JOURNAL_BLOCKS: u32 = 1024;

/// Header of every journal block that is not data (`journal_header_t`).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct RawHeader {
    /// 0: [`MAGIC`].
    pub magic: U32,
    /// 4: one of the `BLOCKTYPE_*`.
    pub blocktype: U32,
    /// 8: sequence number of the transaction; 0 in the super block.
    pub sequence: U32,
}

impl RawHeader {
    /// A header of the given type and sequence.
    #[must_use]
    pub const fn new(blocktype: u32, sequence: u32) -> Self {
        Self {
            magic: U32::from_bytes(MAGIC.to_be_bytes()),
            blocktype: U32::from_bytes(blocktype.to_be_bytes()),
            sequence: U32::from_bytes(sequence.to_be_bytes()),
        }
    }

    /// The header at the start of `block`, or `None` if the magic is not there (a data block, or a block never written).
    #[must_use]
    pub fn of(block: &Block) -> Option<Self> {
        let (header, _) = Self::read_from_prefix(block.as_slice()).ok()?;
        (header.magic.get() == MAGIC).then_some(header)
    }
}

/// The journal super block (`journal_superblock_t`, 1,024 bytes), at the start of log block 0. The rest of that block is zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawSuper {
    /// 0x000: type [`BLOCKTYPE_SUPER_V2`], sequence 0.
    pub header: RawHeader,
    /// 0x00C: block size in bytes: 4,096.
    pub blocksize: U32,
    /// 0x010: blocks in the region, this one included.
    pub maxlen: U32,
    /// 0x014: first log block of the ring.
    pub first: U32,
    /// 0x018: sequence of the first transaction in the log; when the log is empty, one below the next to be used, or less.
    pub sequence: U32,
    /// 0x01C: log block of the first transaction to replay; 0 means that the log is empty (the filesystem was closed cleanly).
    pub start: U32,
    /// 0x020: the (negative) errno with which jbd2 aborted the journal, or 0.
    pub errno: U32,
    /// 0x024: compatible features.
    pub feature_compat: U32,
    /// 0x028: incompatible features.
    pub feature_incompat: U32,
    /// 0x02C: features that forbid writing when not understood; none are defined.
    pub feature_ro_compat: U32,
    /// 0x030: UUID of the journal; VexFS uses the filesystem's. Start of all checksums.
    pub uuid: [u8; 16],
    /// 0x040: filesystems sharing the journal: 1.
    pub nr_users: U32,
    /// 0x044: unused.
    pub dynsuper: U32,
    /// 0x048: unused.
    pub max_transaction: U32,
    /// 0x04C: unused.
    pub max_trans_data: U32,
    /// 0x050: [`CHECKSUM_CRC32C`].
    pub checksum_type: u8,
    /// 0x051: zero.
    pub padding2: [u8; 3],
    /// 0x054: blocks for fast commits: 0.
    pub num_fc_blks: U32,
    /// 0x058: log block of the head, meaningful only when clean and in jbd2's cycling mode, which VexFS does not use.
    pub head: U32,
    /// 0x05C: zero.
    pub padding: [u8; 160],
    /// 0x0FC: crc32c of the 1,024 bytes with this field zero, from `!0`.
    pub checksum: U32,
    /// 0x100: UUIDs of the users of a shared journal; not read.
    pub users: [u8; 768],
}

const _: () = {
    assert!(size_of::<RawHeader>() == 12);
    assert!(size_of::<RawSuper>() == 1024);
    assert!(core::mem::offset_of!(RawSuper, sequence) == 0x18);
    assert!(core::mem::offset_of!(RawSuper, feature_incompat) == 0x28);
    assert!(core::mem::offset_of!(RawSuper, checksum_type) == 0x50);
    assert!(core::mem::offset_of!(RawSuper, head) == 0x58);
    assert!(core::mem::offset_of!(RawSuper, checksum) == SUPER_CHECKSUM_OFFSET);
    assert!(core::mem::offset_of!(RawSuper, users) == 0x100);
};

const SUPER_CHECKSUM_OFFSET: usize = 0xfc;

/// Why a journal structure was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// The block does not begin with the journal's magic.
    Magic(u32),
    /// The super block is of a version that is not supported.
    SuperVersion(u32),
    /// The journal's block size is not 4,096.
    BlockSize(u32),
    /// The journal has fewer blocks than [`MIN_JOURNAL_BLOCKS`].
    TooShort(u32),
    /// The journal has more blocks than the region that the filesystem gives it.
    TooLong {
        /// Blocks according to the journal.
        len: u32,
        /// Blocks of the region.
        region: u64,
    },
    /// The ring begins outside the journal, or leaves fewer than [`MIN_JOURNAL_BLOCKS`]` - 1` blocks.
    First(u32),
    /// The first transaction is said to be outside the ring.
    Start(u32),
    /// Features that are missing or not understood.
    Features {
        /// `s_feature_compat`.
        compat: u32,
        /// `s_feature_incompat`.
        incompat: u32,
        /// `s_feature_ro_compat`.
        ro_compat: u32,
    },
    /// Not crc32c.
    ChecksumType(u8),
    /// The checksum is wrong.
    Checksum,
    /// A revoke block says that it uses more bytes than it has, or fewer than its header.
    RevokeCount(u32),
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic(magic) => write!(f, "bad magic {magic:#010x}"),
            Self::SuperVersion(kind) => write!(f, "block type {kind} is not a version 2 journal super block"),
            Self::BlockSize(size) => write!(f, "block size {size} is not 4096"),
            Self::TooShort(len) => write!(f, "length of {len} blocks is less than {MIN_JOURNAL_BLOCKS}"),
            Self::TooLong { len, region } => write!(f, "length of {len} blocks is more than the region's {region}"),
            Self::First(first) => write!(f, "first log block {first} is out of range"),
            Self::Start(start) => write!(f, "start of the log at block {start} is out of range"),
            Self::Features {
                compat,
                incompat,
                ro_compat,
            } => write!(
                f,
                "unsupported features (compat {compat:#x}, incompat {incompat:#x}, ro_compat {ro_compat:#x})"
            ),
            Self::ChecksumType(kind) => write!(f, "checksum type {kind} is not crc32c"),
            Self::Checksum => f.write_str("checksum mismatch"),
            Self::RevokeCount(count) => write!(f, "revoke block with {count} used bytes"),
        }
    }
}

impl core::error::Error for Invalid {}

/// A validated journal super block.
///
/// # Invariants
/// `first >= 1`, `first + MIN_JOURNAL_BLOCKS <= len + 1`, and `start` is 0 or in `first..len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Super {
    /// Blocks in the region, the super block included.
    pub len: u32,
    /// First log block of the ring `first..len`.
    pub first: u32,
    /// Sequence of the first transaction in the log; see [`RawSuper::sequence`].
    pub sequence: u32,
    /// Log block of the first transaction; 0 if the log is empty.
    pub start: u32,
    /// errno of an aborted journal, 0 if none. jbd2 stores it negated or not, depending on the caller; only zero or not zero has a meaning.
    pub errno: u32,
    /// Incompatible features; all of [`INCOMPAT_REQUIRED`] are set.
    pub incompat: u32,
    /// UUID, the start of the checksums.
    pub uuid: [u8; 16],
}

impl Super {
    /// The log starts after the super block.
    pub const FIRST: u32 = 1;

    /// Super block of a new, empty journal of `len` blocks. `sequence` should differ from those of a journal that lay there before:
    /// its left-over blocks then do not continue the new log.
    #[must_use]
    pub const fn new(len: u32, uuid: [u8; 16], sequence: u32) -> Self {
        Self {
            len,
            first: Self::FIRST,
            sequence,
            start: 0,
            errno: 0,
            incompat: INCOMPAT_KNOWN,
            uuid,
        }
    }

    /// Reads and validates the super block in log block 0. `region` is the number of blocks that the filesystem gives to the journal.
    ///
    /// Checks magic, version, block size, features, checksum type and checksum, `maxlen` (at least [`MIN_JOURNAL_BLOCKS`], at most `region`), `first` and `start`:
    /// those of `journal_check_superblock` and `journal_reset`, and `start`, which the kernel does not check.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn read(block: &Block, region: u64, crc32c: Crc32c) -> Result<Self, Invalid> {
        let (raw, _) =
            RawSuper::ref_from_prefix(block.as_slice()).map_err(|_| Invalid::BlockSize(0))?;
        let this = Self::try_from(raw)?;
        if raw.checksum.get() != raw.computed_checksum(crc32c) {
            return Err(Invalid::Checksum);
        }
        if u64::from(this.len) > region {
            return Err(Invalid::TooLong {
                len: this.len,
                region,
            });
        }
        Ok(this)
    }

    /// Log block 0 with this super block, sealed.
    pub fn write(&self, block: &mut Block, crc32c: Crc32c) {
        block.fill(0);
        let mut raw = RawSuper {
            header: RawHeader::new(BLOCKTYPE_SUPER_V2, 0),
            blocksize: U32::new(4096),
            maxlen: U32::new(self.len),
            first: U32::new(self.first),
            sequence: U32::new(self.sequence),
            start: U32::new(self.start),
            errno: U32::new(self.errno),
            feature_compat: U32::ZERO,
            feature_incompat: U32::new(self.incompat),
            feature_ro_compat: U32::ZERO,
            uuid: self.uuid,
            nr_users: U32::new(1),
            dynsuper: U32::ZERO,
            max_transaction: U32::ZERO,
            max_trans_data: U32::ZERO,
            checksum_type: CHECKSUM_CRC32C,
            padding2: [0; 3],
            num_fc_blks: U32::ZERO,
            head: U32::ZERO,
            padding: [0; 160],
            checksum: U32::ZERO,
            users: [0; 768],
        };
        raw.checksum = U32::new(raw.computed_checksum(crc32c));
        // The block is longer than the structure: this cannot fail.
        let _ = raw.write_to_prefix(block.as_mut_slice());
    }

    /// Start of the checksums of all blocks but the super block.
    #[must_use]
    pub fn checksum_seed(&self, crc32c: Crc32c) -> u32 {
        crc32c(!0, &self.uuid)
    }

    /// Number of blocks in the ring.
    #[must_use]
    pub const fn ring(&self) -> u32 {
        self.len.saturating_sub(self.first)
    }

    /// The log block `count` blocks after `block` in the ring. `block` must be in the ring.
    #[must_use]
    pub const fn advance(&self, block: u32, count: u32) -> u32 {
        // u64: the sum cannot saturate.
        let ring = self.ring() as u64;
        if ring == 0 {
            return self.first;
        }
        let offset = (block.saturating_sub(self.first) as u64).saturating_add(count as u64) % ring;
        // Below `len`, by the invariants.
        self.first.saturating_add(offset as u32)
    }

    /// Blocks from `tail` up to, but not including, `head` in the ring.
    #[must_use]
    pub const fn distance(&self, tail: u32, head: u32) -> u32 {
        if head >= tail {
            head.saturating_sub(tail)
        } else {
            self.ring().saturating_sub(tail.saturating_sub(head))
        }
    }
}

impl RawSuper {
    /// What [`RawSuper::checksum`] must be.
    #[must_use]
    pub fn computed_checksum(&self, crc32c: Crc32c) -> u32 {
        checksum_with_hole(!0, self.as_bytes(), SUPER_CHECKSUM_OFFSET, crc32c)
    }
}

impl TryFrom<&RawSuper> for Super {
    type Error = Invalid;

    /// Everything that [`Super::read`] checks but the checksum and the region.
    fn try_from(raw: &RawSuper) -> Result<Self, Invalid> {
        if raw.header.magic.get() != MAGIC {
            return Err(Invalid::Magic(raw.header.magic.get()));
        }
        if raw.header.blocktype.get() != BLOCKTYPE_SUPER_V2 {
            return Err(Invalid::SuperVersion(raw.header.blocktype.get()));
        }
        if raw.blocksize.get() as usize != BLOCK_SIZE {
            return Err(Invalid::BlockSize(raw.blocksize.get()));
        }
        let (compat, incompat, ro_compat) = (
            raw.feature_compat.get(),
            raw.feature_incompat.get(),
            raw.feature_ro_compat.get(),
        );
        if compat & COMPAT_CHECKSUM != 0
            || incompat & !INCOMPAT_KNOWN != 0
            || incompat & INCOMPAT_REQUIRED != INCOMPAT_REQUIRED
            || ro_compat != 0
        {
            return Err(Invalid::Features {
                compat,
                incompat,
                ro_compat,
            });
        }
        if raw.checksum_type != CHECKSUM_CRC32C {
            return Err(Invalid::ChecksumType(raw.checksum_type));
        }
        let (len, first, start) = (raw.maxlen.get(), raw.first.get(), raw.start.get());
        if len < MIN_JOURNAL_BLOCKS {
            return Err(Invalid::TooShort(len));
        }
        if first == 0
            || u64::from(first).saturating_add(u64::from(MIN_JOURNAL_BLOCKS))
                > u64::from(len).saturating_add(1)
        {
            return Err(Invalid::First(first));
        }
        if start != 0 && !(first..len).contains(&start) {
            return Err(Invalid::Start(start));
        }
        Ok(Self {
            len,
            first,
            sequence: raw.sequence.get(),
            start,
            errno: raw.errno.get(),
            incompat,
            uuid: raw.uuid,
        })
    }
}

/// Whether transaction `a` is later than `b`. Sequence numbers wrap; they are compared as jbd2's `tid_gt` does, by the sign of the difference.
#[must_use]
pub const fn sequence_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// crc32c of `bytes` from `seed`, with the four bytes at `hole` taken as zero.
fn checksum_with_hole(seed: u32, bytes: &[u8], hole: usize, crc32c: Crc32c) -> u32 {
    let before = bytes.get(..hole).unwrap_or(bytes);
    let after = bytes.get(hole.saturating_add(4)..).unwrap_or(&[]);
    crc32c(crc32c(crc32c(seed, before), &[0; 4]), after)
}

#[cfg(test)]
mod tests;
