// SPDX-License-Identifier: GPL-2.0-only
//! The plan of a new filesystem: from a size and wishes to the super block that says where everything will lie. It reads and writes nothing.

use super::{super_block, FormatError, Options, LABEL_MAX};
use crate::checksum::crc32;
use layout::geometry::{Geometry, GROUP_BLOCKS, MIN_GROUP_DATA, MIN_JOURNAL_BLOCKS};
use layout::group::DESCS_PER_BLOCK;
use layout::inode::INODES_PER_BLOCK;
use layout::superblock::{RawSuper, Super, MAGIC, STATE_CLEAN};
use layout::{ino, BLOCK_SIZE, FORMAT_VERSION, MAX_BLOCKS};
use zerocopy::FromZeros;

/// Room for the descriptor table to grow: to the descriptors of a filesystem this many times as large.
const GROWTH: u64 = 16;
/// Largest journal that mkfs makes by itself: 1 GiB.
const MAX_DEFAULT_JOURNAL: u32 = 262_144;
/// Fewest journal blocks with which the kernel mounts: a quarter of them is the largest transaction, and finishing an orphan takes up to
/// some 960 blocks.
pub const MIN_MOUNTABLE_JOURNAL: u32 = 4096;

/// Journal blocks for a filesystem of this size when nobody asked for a number; the steps of mke2fs.
pub fn default_journal(blocks: u64) -> u32 {
    const STEPS: [(u64, u32); 6] = [
        (262_144, MIN_MOUNTABLE_JOURNAL),
        (524_288, 8192),
        (4_194_304, 16_384),
        (8_388_608, 32_768),
        (16_777_216, 65_536),
        (33_554_432, 131_072),
    ];
    STEPS
        .iter()
        .find(|(below, _)| blocks < *below)
        .map_or(MAX_DEFAULT_JOURNAL, |(_, journal)| *journal)
}

/// Bytes per inode for a filesystem of this size when nobody asked for a number; the sizes are those of mke2fs's types small, default,
/// big and huge.
pub fn default_bytes_per_inode(blocks: u64) -> u64 {
    const MIB: u64 = 1 << 8;
    const TIB: u64 = 1 << 28;
    match blocks {
        b if b < 512 * MIB => 8192,
        b if b < 4 * TIB => 16_384,
        b if b < 16 * TIB => 32_768,
        _ => 65_536,
    }
}

/// Computes the super block of a filesystem, without writing anything (what `mkfs.vexfs -n` shows).
///
/// # Errors
/// [`FormatError`] if the options are out of range or leave no room.
pub fn plan(options: &Options) -> Result<Super, FormatError> {
    let o = options;
    if o.blocks > MAX_BLOCKS {
        return Err(FormatError::TooLarge(o.blocks));
    }
    if o.label.len() > LABEL_MAX || o.label.contains('\0') {
        return Err(FormatError::Label);
    }
    if o.reserved > 5000 {
        return Err(FormatError::Reserved);
    }
    let ratio = o
        .bytes_per_inode
        .unwrap_or_else(|| default_bytes_per_inode(o.blocks));
    if !(512..=67_108_864).contains(&ratio) {
        return Err(FormatError::BytesPerInode(ratio));
    }
    if let Some(blocks) = o.journal_blocks {
        if blocks < MIN_JOURNAL_BLOCKS || u64::from(blocks) > o.blocks / 2 {
            return Err(FormatError::Journal { blocks });
        }
    }
    let geometry = areas(o, o.blocks, ratio).map_err(|e| really_needed(e, o, ratio))?;

    let mut raw = RawSuper::new_zeroed();
    raw.magic = MAGIC;
    raw.version = FORMAT_VERSION.into();
    raw.uuid = o.uuid;
    for (to, from) in raw.label.iter_mut().zip(o.label.bytes()) {
        *to = from;
    }
    raw.blocks = geometry.blocks.into();
    raw.block_size = (BLOCK_SIZE as u32).into();
    raw.group_blocks = (GROUP_BLOCKS as u32).into();
    raw.groups = geometry.groups.into();
    raw.inodes_per_group = geometry.inodes_per_group.into();
    raw.gdt_start = geometry.gdt_start.into();
    raw.gdt_blocks = geometry.gdt_blocks.into();
    raw.journal_start = geometry.journal_start.into();
    raw.journal_blocks = geometry.journal_blocks.into();
    raw.system_end = geometry.system_end.into();
    let data: u64 = (geometry.first_group..geometry.groups)
        .map(|g| u64::from(geometry.data_blocks(g)))
        .sum();
    raw.reserved_blocks = (data / 10_000 * u64::from(o.reserved)
        + data % 10_000 * u64::from(o.reserved) / 10_000)
        .into();
    raw.hash_seed = o.hash_seed;
    raw.made_at = o.now.into();
    raw.written_at = o.now.into();
    raw.state = STATE_CLEAN.into();
    raw.on_error = (o.on_error as u16).into();

    // Through the parser, so that nothing is ever written that would not be read.
    let sealed = super_block(&raw, 0);
    Super::parse(&sealed, 0, crc32).map_err(|e| FormatError::Plan(e.0))
}

/// Lays out the areas: descriptor table, journal, groups. A first or last group without room for its own metadata is
/// given to the journal's area or left out.
fn areas(o: &Options, blocks: u64, ratio: u64) -> Result<Geometry, FormatError> {
    let offered = blocks;
    let mut blocks = blocks;
    let journal_blocks = o.journal_blocks.unwrap_or_else(|| default_journal(blocks));
    let table = |groups: u64| groups.div_ceil(DESCS_PER_BLOCK as u64);
    // Two bitmaps and perhaps a copy of the super block.
    let overhead = |inodes: u64| 3 + inodes / INODES_PER_BLOCK as u64 + MIN_GROUP_DATA;
    loop {
        let groups = blocks.div_ceil(GROUP_BLOCKS).max(1);
        let gdt_blocks = (table(groups) * GROWTH).min(table(MAX_BLOCKS / GROUP_BLOCKS));
        let gdt_start = 1;
        let journal_start = gdt_start + gdt_blocks;
        let mut system_end = journal_start + u64::from(journal_blocks);
        let room = blocks.saturating_sub(system_end).min(GROUP_BLOCKS);
        let inodes = (room.saturating_mul(BLOCK_SIZE as u64) / ratio)
            .clamp(ino::FIRST, GROUP_BLOCKS)
            .next_multiple_of(INODES_PER_BLOCK as u64);
        let needed = overhead(inodes);
        let short = system_end.next_multiple_of(GROUP_BLOCKS) - system_end;
        let alone = system_end / GROUP_BLOCKS + 1 == groups;
        if short != 0 && short < needed && !alone {
            // What is left of the group that the journal ends in cannot be one: it stays behind the journal, unused.
            system_end += short;
        }
        if system_end >= blocks || blocks - system_end < needed {
            return Err(FormatError::TooSmall {
                blocks: offered,
                needed: system_end + needed,
            });
        }
        let last = blocks % GROUP_BLOCKS;
        let start_of_last = blocks - last;
        if last != 0 && last < needed && start_of_last >= system_end {
            blocks = start_of_last;
            continue;
        }
        return Geometry {
            blocks,
            groups: u32::try_from(groups).map_err(|_| FormatError::TooLarge(blocks))?,
            first_group: 0,
            inodes_per_group: inodes as u32,
            gdt_start,
            gdt_blocks: u32::try_from(gdt_blocks).map_err(|_| FormatError::TooLarge(blocks))?,
            journal_start,
            journal_blocks,
            system_end,
        }
        .check()
        .map_err(|e| FormatError::Plan(e.0));
    }
}

/// More room means more inodes, and they need room too: raises the number in [`FormatError::TooSmall`] until it suffices.
fn really_needed(error: FormatError, o: &Options, ratio: u64) -> FormatError {
    let FormatError::TooSmall { mut needed, .. } = error else {
        return error;
    };
    while let Err(FormatError::TooSmall { needed: more, .. }) = areas(o, needed, ratio) {
        needed = more.max(needed + 1);
    }
    FormatError::TooSmall {
        blocks: o.blocks,
        needed,
    }
}
