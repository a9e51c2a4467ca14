// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The blocks of the journal's log: descriptors and their tags, revoke blocks, commit blocks, escaped data. Formats and checksums only;
//! which of them make up a transaction, and what to do about a bad one, is decided by their readers.

use zerocopy::big_endian::{U32, U64};
use zerocopy::FromBytes as _;
use zerocopy::IntoBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{
    checksum_with_hole, Crc32c, Invalid, RawHeader, BLOCKTYPE_COMMIT, BLOCKTYPE_DESCRIPTOR,
    BLOCKTYPE_REVOKE, MAGIC,
};
use crate::{Block, BLOCK_SIZE};

/// Tag flag: the first four bytes of the data block were the journal's magic, and are zero in the log.
pub const FLAG_ESCAPE: u32 = 1;
/// Tag flag: the tag is not followed by a UUID.
pub const FLAG_SAME_UUID: u32 = 2;
/// Tag flag: the block was deleted by the transaction. Defined, but neither written nor read by jbd2.
pub const FLAG_DELETED: u32 = 4;
/// Tag flag: the last tag of its descriptor.
pub const FLAG_LAST_TAG: u32 = 8;

/// A tag of a descriptor block (`journal_block_tag3_t`): the home of one data block. A tag without [`FLAG_SAME_UUID`] is followed by 16 bytes of UUID, which
/// nobody reads; writers set the flag on all tags but the first.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawTag {
    /// 0: block number of the home, low 32 bits.
    pub blocknr: U32,
    /// 4: `FLAG_*`.
    pub flags: U32,
    /// 8: block number of the home, high 32 bits.
    pub blocknr_high: U32,
    /// 12: [`tag_checksum`] of the data block as it stands in the log.
    pub checksum: U32,
}

/// The last four bytes of descriptor and revoke blocks (`jbd2_journal_block_tail`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawTail {
    /// 0: crc32c of the block with this field zero, from the journal's seed.
    pub checksum: U32,
}

/// Head of a revoke block (`jbd2_journal_revoke_header_t`); followed by big-endian u64 block numbers.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawRevokeHeader {
    /// 0: type [`BLOCKTYPE_REVOKE`].
    pub header: RawHeader,
    /// 12: bytes used in the block, these 16 included.
    pub count: U32,
}

/// A commit block (`commit_header`); the rest of the block is zero.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawCommit {
    /// 0: type [`BLOCKTYPE_COMMIT`].
    pub header: RawHeader,
    /// 12: type of the v1 checksum: 0.
    pub chksum_type: u8,
    /// 13: size of the v1 checksum: 0.
    pub chksum_size: u8,
    /// 14: zero.
    pub padding: [u8; 2],
    /// 16: word 0: crc32c of the block with this word zero, from the journal's seed. The others are zero.
    pub chksum: [U32; 8],
    /// 48: time of the commit, seconds since the epoch.
    pub commit_sec: U64,
    /// 56: time of the commit, nanoseconds.
    pub commit_nsec: U32,
}

const _: () = {
    assert!(size_of::<RawTag>() == TAG_SIZE);
    assert!(size_of::<RawTail>() == TAIL_SIZE);
    assert!(size_of::<RawRevokeHeader>() == REVOKE_HEADER_SIZE);
    assert!(size_of::<RawCommit>() == 60);
    assert!(core::mem::offset_of!(RawCommit, chksum) == COMMIT_CHECKSUM_OFFSET);
    assert!(core::mem::offset_of!(RawCommit, commit_sec) == 48);
};

const HEADER_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
const UUID_SIZE: usize = 16;
const TAIL_SIZE: usize = 4;
const TAIL_OFFSET: usize = BLOCK_SIZE - TAIL_SIZE;
const REVOKE_HEADER_SIZE: usize = 16;
const REVOKE_SIZE: usize = 8;
const COMMIT_CHECKSUM_OFFSET: usize = 16;
/// Size of `struct commit_header` in C, where its u64 aligns it to 8.
const COMMIT_HEADER_SIZE: usize = 64;

/// Tags that a descriptor written here can hold: one UUID, and the tail.
pub const TAGS_PER_BLOCK: usize = (TAIL_OFFSET - HEADER_SIZE - UUID_SIZE) / TAG_SIZE;

/// Block numbers that a revoke block can hold.
pub const REVOKES_PER_BLOCK: usize = (TAIL_OFFSET - REVOKE_HEADER_SIZE) / REVOKE_SIZE;

/// A tag of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Block number of the home.
    pub block: u64,
    /// The data block is escaped: its home begins with the journal's magic.
    pub escaped: bool,
    /// [`tag_checksum`] of the data block as it stands in the log.
    pub checksum: u32,
}

/// Iterator over the tags of a descriptor block. It ends at the tag marked as the last, or where the block ends: at most [`BLOCK_SIZE`]` / 16` tags,
/// whatever the block contains.
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    block: &'a Block,
    offset: usize,
}

impl<'a> Tags<'a> {
    /// The tags of `block`, whose header is known to be that of a descriptor.
    #[must_use]
    pub const fn of(block: &'a Block) -> Self {
        Self {
            block,
            offset: HEADER_SIZE,
        }
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        let rest = self.block.get(self.offset..TAIL_OFFSET)?;
        let (raw, _) = RawTag::read_from_prefix(rest).ok()?;
        let flags = raw.flags.get();
        let uuid = if flags & FLAG_SAME_UUID == 0 {
            UUID_SIZE
        } else {
            0
        };
        self.offset = if flags & FLAG_LAST_TAG == 0 {
            self.offset.saturating_add(TAG_SIZE).saturating_add(uuid)
        } else {
            BLOCK_SIZE
        };
        Some(Tag {
            block: u64::from(raw.blocknr.get()) | u64::from(raw.blocknr_high.get()) << 32,
            escaped: flags & FLAG_ESCAPE != 0,
            checksum: raw.checksum.get(),
        })
    }
}

/// Fills a descriptor block, tag by tag.
#[derive(Debug)]
pub struct DescriptorWriter<'a> {
    block: &'a mut Block,
    offset: usize,
    last: Option<usize>,
}

impl<'a> DescriptorWriter<'a> {
    /// Starts a descriptor of the transaction `sequence` in `block`.
    #[must_use]
    pub fn new(block: &'a mut Block, sequence: u32) -> Self {
        block.fill(0);
        put(block, 0, &RawHeader::new(BLOCKTYPE_DESCRIPTOR, sequence));
        Self {
            block,
            offset: HEADER_SIZE,
            last: None,
        }
    }

    /// Adds a tag; `false` if the block is full (after [`TAGS_PER_BLOCK`] tags) and the tag was not added.
    #[must_use]
    pub fn push(&mut self, tag: &Tag) -> bool {
        let first = self.last.is_none();
        let size = if first {
            TAG_SIZE + UUID_SIZE
        } else {
            TAG_SIZE
        };
        if self.offset.saturating_add(size) > TAIL_OFFSET {
            return false;
        }
        let mut flags = if first { 0 } else { FLAG_SAME_UUID };
        if tag.escaped {
            flags |= FLAG_ESCAPE;
        }
        put(
            self.block,
            self.offset,
            &RawTag {
                blocknr: U32::new(tag.block as u32),
                flags: U32::new(flags),
                blocknr_high: U32::new((tag.block >> 32) as u32),
                checksum: U32::new(tag.checksum),
            },
        );
        self.last = Some(self.offset);
        self.offset = self.offset.saturating_add(size);
        true
    }

    /// Marks the last tag and seals the block.
    pub fn finish(self, seed: u32, crc32c: Crc32c) {
        if let Some(raw) = self
            .last
            .and_then(|offset| self.block.get_mut(offset..))
            .and_then(|rest| RawTag::mut_from_prefix(rest).ok())
            .map(|(raw, _)| raw)
        {
            raw.flags = U32::new(raw.flags.get() | FLAG_LAST_TAG);
        }
        seal_tail(self.block, seed, crc32c);
    }
}

/// Checksum of a data block for its tag: over the sequence number and the block as it stands in the log, that is after [`escape`].
#[must_use]
pub fn tag_checksum(sequence: u32, data: &Block, seed: u32, crc32c: Crc32c) -> u32 {
    crc32c(crc32c(seed, &sequence.to_be_bytes()), data)
}

/// Prepares a block for the log: a block that begins with the journal's magic would be taken for a descriptor, so its first four bytes are zeroed.
/// Returns whether that was necessary.
#[must_use]
pub fn escape(data: &mut Block) -> bool {
    match data.first_chunk_mut::<4>() {
        Some(head) if *head == MAGIC.to_be_bytes() => {
            *head = [0; 4];
            true
        }
        _ => false,
    }
}

/// Undoes [`escape`] on a block whose tag says that it was escaped.
pub fn unescape(data: &mut Block) {
    if let Some(head) = data.first_chunk_mut::<4>() {
        *head = MAGIC.to_be_bytes();
    }
}

/// Whether the tail of a descriptor or revoke block matches the block.
#[must_use]
pub fn tail_matches(block: &Block, seed: u32, crc32c: Crc32c) -> bool {
    let stored = block
        .get(TAIL_OFFSET..)
        .and_then(|rest| RawTail::read_from_bytes(rest).ok())
        .map(|tail| tail.checksum.get());
    stored == Some(checksum_with_hole(seed, block, TAIL_OFFSET, crc32c))
}

fn seal_tail(block: &mut Block, seed: u32, crc32c: Crc32c) {
    let checksum = checksum_with_hole(seed, block, TAIL_OFFSET, crc32c);
    put(
        block,
        TAIL_OFFSET,
        &RawTail {
            checksum: U32::new(checksum),
        },
    );
}

/// Iterator over the block numbers of a revoke block.
#[derive(Clone, Debug)]
pub struct Revoked<'a> {
    records: core::slice::ChunksExact<'a, u8>,
}

impl<'a> Revoked<'a> {
    /// The records of `block`, whose header is known to be that of a revoke block.
    ///
    /// # Errors
    /// [`Invalid::RevokeCount`] if the count of used bytes does not fit the block.
    pub fn of(block: &'a Block) -> Result<Self, Invalid> {
        let (head, _) = RawRevokeHeader::read_from_prefix(block.as_slice())
            .map_err(|_| Invalid::RevokeCount(0))?;
        let count = head.count.get();
        let end = (count as usize).min(BLOCK_SIZE);
        if count as usize > TAIL_OFFSET {
            return Err(Invalid::RevokeCount(count));
        }
        let bytes = block
            .get(REVOKE_HEADER_SIZE..end)
            .ok_or(Invalid::RevokeCount(count))?;
        Ok(Self {
            records: bytes.chunks_exact(REVOKE_SIZE),
        })
    }
}

impl Iterator for Revoked<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let record = self.records.next()?;
        U64::read_from_bytes(record).ok().map(U64::get)
    }
}

/// Makes a sealed revoke block of the transaction `sequence` from as many of `revoked` as fit ([`REVOKES_PER_BLOCK`]); returns how many were taken.
pub fn revoke_block(
    block: &mut Block,
    sequence: u32,
    revoked: &[u64],
    seed: u32,
    crc32c: Crc32c,
) -> usize {
    block.fill(0);
    let taken = revoked.len().min(REVOKES_PER_BLOCK);
    put(
        block,
        0,
        &RawRevokeHeader {
            header: RawHeader::new(BLOCKTYPE_REVOKE, sequence),
            count: U32::new(
                taken
                    .saturating_mul(REVOKE_SIZE)
                    .saturating_add(REVOKE_HEADER_SIZE) as u32,
            ),
        },
    );
    let records = block
        .get_mut(REVOKE_HEADER_SIZE..TAIL_OFFSET)
        .unwrap_or(&mut []);
    for (record, &number) in records
        .chunks_exact_mut(REVOKE_SIZE)
        .zip(revoked.iter().take(taken))
    {
        let _ = U64::new(number).write_to(record);
    }
    seal_tail(block, seed, crc32c);
    taken
}

/// A commit block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Time of the commit, seconds since the epoch. Transactions of one log have times that do not decrease, which tells a damaged transaction from one that an
    /// earlier use of the journal left behind.
    pub seconds: u64,
    /// Time of the commit, nanoseconds.
    pub nanoseconds: u32,
}

impl Commit {
    /// Reads `block`, whose header is known to be that of a commit block.
    #[must_use]
    pub fn of(block: &Block) -> Self {
        match RawCommit::read_from_prefix(block.as_slice()) {
            Ok((raw, _)) => Self {
                seconds: raw.commit_sec.get(),
                nanoseconds: raw.commit_nsec.get(),
            },
            Err(_) => Self::default(),
        }
    }
}

/// Makes the sealed commit block of the transaction `sequence`.
pub fn commit_block(block: &mut Block, sequence: u32, commit: &Commit, seed: u32, crc32c: Crc32c) {
    block.fill(0);
    let mut raw = RawCommit {
        header: RawHeader::new(BLOCKTYPE_COMMIT, sequence),
        chksum_type: 0,
        chksum_size: 0,
        padding: [0; 2],
        chksum: [U32::ZERO; 8],
        commit_sec: U64::new(commit.seconds),
        commit_nsec: U32::new(commit.nanoseconds),
    };
    put(block, 0, &raw);
    let checksum = checksum_with_hole(seed, block, COMMIT_CHECKSUM_OFFSET, crc32c);
    raw.chksum[0] = U32::new(checksum);
    put(block, 0, &raw);
}

/// Whether the checksum of a commit block matches it, or matches its first 64 bytes followed by zeros: all that follows is zero when it is written, so a commit
/// block of which only the first sector reached the disk is whole (as `jbd2_commit_block_csum_verify_partial` has it).
#[must_use]
pub fn commit_checksum_matches(block: &Block, seed: u32, crc32c: Crc32c) -> bool {
    let Ok((raw, _)) = RawCommit::read_from_prefix(block.as_slice()) else {
        return false;
    };
    let stored = raw.chksum[0].get();
    if stored == checksum_with_hole(seed, block, COMMIT_CHECKSUM_OFFSET, crc32c) {
        return true;
    }
    let (Some(head), Some(rest)) = (
        block.get(..COMMIT_HEADER_SIZE),
        block.len().checked_sub(COMMIT_HEADER_SIZE),
    ) else {
        return false;
    };
    let mut checksum = checksum_with_hole(seed, head, COMMIT_CHECKSUM_OFFSET, crc32c);
    const ZEROS: [u8; 64] = [0; 64];
    for _ in 0..rest / ZEROS.len() {
        checksum = crc32c(checksum, &ZEROS);
    }
    stored == checksum
}

/// Stores `value` at `offset` of `block`. All callers pass constant offsets at which it fits.
fn put<T: zerocopy::IntoBytes + zerocopy::Immutable>(block: &mut Block, offset: usize, value: &T) {
    if let Some(rest) = block.get_mut(offset..) {
        let _ = value.write_to_prefix(rest);
    }
}
