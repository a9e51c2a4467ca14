// SPDX-License-Identifier: GPL-2.0-only
//! Making a filesystem: the plan of its areas from a size and a few wishes, and the writing of it.
//!
//! It decides nothing that is random or depends on the clock (UUID, hash seed and time come with [`Options`]), so equal options give
//! equal bytes. It may not look at what the device holds or who uses it: that is for the caller to ask and decide.

use crate::checksum::{crc32, crc32c};
use crate::device::Device;
use engine::{ialloc, space};
use layout::block::{self, BlockKind, Header};
use layout::geometry::{Geometry, GROUP_BLOCKS, MIN_GROUP_DATA, MIN_JOURNAL_BLOCKS};
use layout::group::{GroupDesc, BLOCK_UNINIT, DESCS_PER_BLOCK, INODE_UNINIT};
use layout::inode::{self, mode, Inode, Time, FLAG_SYSTEM, INODES_PER_BLOCK, INODE_SIZE};
use layout::superblock::{OnError, RawSuper, Super, MAGIC, STATE_CLEAN, SUPER_OFFSET, SUPER_SIZE};
use layout::{bytes, ino, jbd2, Block, BLOCK_SIZE, FORMAT_VERSION, MAX_BLOCKS};
use zerocopy::FromZeros;

/// Room for the descriptor table to grow: to the descriptors of a filesystem this many times as large.
const GROWTH: u64 = 16;
/// Largest journal that mkfs makes by itself: 1 GiB.
const MAX_DEFAULT_JOURNAL: u32 = 262_144;
/// How much is zeroed at both ends of the device, so that no signature of its former contents survives.
const WIPE: u64 = 1 << 20;
/// Blocks of the descriptor table that are written at once.
const TABLE_RUN: usize = 1024;
/// Longest label in bytes.
pub const LABEL_MAX: usize = 64;

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Blocks of 4 KiB to use; the last few may be left out if they cannot make a group.
    pub blocks: u64,
    /// UUID.
    pub uuid: [u8; 16],
    /// Key of the name hash: random, but for images that must be reproducible.
    pub hash_seed: [u8; 16],
    /// Label, at most [`LABEL_MAX`] bytes.
    pub label: String,
    /// One inode for this many bytes; `None`: by size, as mke2fs.
    pub bytes_per_inode: Option<u64>,
    /// Blocks of the journal; `None`: by size, as mke2fs.
    pub journal_blocks: Option<u32>,
    /// First sequence number of the journal.
    pub journal_sequence: u32,
    /// Blocks reserved for privileged users, in hundredths of a percent.
    pub reserved: u32,
    /// Behaviour on errors when the mount does not say.
    pub on_error: OnError,
    /// User and group that the root directory belongs to.
    pub root_owner: (u32, u32),
    /// Seconds since 1970: creation, and all times of the root directory.
    pub now: i64,
}

impl Options {
    /// A filesystem of `blocks` blocks with defaults for the rest, among them an all-zero UUID and hash seed.
    pub fn new(blocks: u64) -> Options {
        Options {
            blocks,
            uuid: [0; 16],
            hash_seed: [0; 16],
            label: String::new(),
            bytes_per_inode: None,
            journal_blocks: None,
            journal_sequence: 1,
            reserved: 100,
            on_error: OnError::RemountRo,
            root_owner: (0, 0),
            now: 0,
        }
    }
}

/// Why no filesystem could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// There is no room for journal, tables and a few blocks.
    #[error("{blocks} blocks of 4 KiB are too few; at least {needed} are needed for this journal and number of inodes")]
    TooSmall {
        /// Blocks offered.
        blocks: u64,
        /// Fewest that would do.
        needed: u64,
    },
    /// More blocks than the device or the format has numbers for.
    #[error("{0} blocks of 4 KiB are more than the device or the format has")]
    TooLarge(u64),
    /// Journal length out of range.
    #[error(
        "a journal of {blocks} blocks is not between {} blocks and half of the filesystem",
        MIN_JOURNAL_BLOCKS
    )]
    Journal {
        /// Blocks asked for.
        blocks: u32,
    },
    /// Bytes per inode out of range.
    #[error("{0} bytes per inode are not between 512 and 67108864")]
    BytesPerInode(u64),
    /// Reserved blocks out of range.
    #[error("more than 50 percent of the blocks reserved")]
    Reserved,
    /// The label does not fit.
    #[error("the label is longer than {} bytes or holds NUL", LABEL_MAX)]
    Label,
    /// The plan broke a rule of the format: a bug here.
    #[error("the planned filesystem is not valid: {0}")]
    Plan(&'static str),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// What was made.
#[derive(Clone)]
pub struct Report {
    /// The super block written.
    pub sb: Super,
    /// Free blocks.
    pub free_blocks: u64,
    /// Inodes, reserved ones included.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Blocks that hold a copy of the super block.
    pub backups: Vec<u64>,
}

impl Report {
    fn new(sb: Super) -> Report {
        let geo = &sb.geometry;
        let groups = u64::from(geo.groups - geo.first_group);
        let inodes = groups * u64::from(geo.inodes_per_group);
        Report {
            sb,
            free_blocks: (geo.first_group..geo.groups)
                .map(|g| u64::from(geo.data_blocks(g)))
                .sum(),
            inodes,
            free_inodes: inodes - (ino::FIRST - 1),
            backups: backups(geo).collect(),
        }
    }
}

/// Blocks that hold copies of the super block, ascending.
pub fn backups(geo: &Geometry) -> impl Iterator<Item = u64> + '_ {
    (geo.first_group..geo.groups).filter_map(|g| geo.backup_block(g))
}

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

/// Makes a filesystem on `dev`. Everything that lay in its first and last MiB and in the journal's area is overwritten; the super
/// block comes last, so that a filesystem which was not finished is not taken for one.
///
/// # Errors
/// Those of [`plan`]; [`FormatError::Io`], after which the device holds neither its old contents nor a filesystem.
pub fn format(dev: &dyn Device, options: &Options) -> Result<Report, FormatError> {
    let sb = plan(options)?;
    let geo = &sb.geometry;
    let io = |what| move |source| FormatError::Io { what, source };
    let size = dev.size();
    let at = |block: u64| block * BLOCK_SIZE as u64;
    if at(geo.blocks) > size {
        return Err(FormatError::TooLarge(geo.blocks));
    }

    zero(dev, 0, WIPE.min(size)).map_err(io("clearing the first MiB"))?;
    dev.flush().map_err(io("flushing"))?;
    zero(dev, size.saturating_sub(WIPE), WIPE.min(size)).map_err(io("clearing the last MiB"))?;
    zero(
        dev,
        at(geo.journal_start),
        at(u64::from(geo.journal_blocks)),
    )
    .map_err(io("clearing the journal"))?;

    let mut log = [0; BLOCK_SIZE];
    jbd2::Super::new(geo.journal_blocks, sb.raw.uuid, options.journal_sequence)
        .write(&mut log, crc32c);
    dev.write_at(at(geo.journal_start), &log)
        .map_err(io("writing the journal"))?;

    for first in (0..geo.groups).step_by(DESCS_PER_BLOCK * TABLE_RUN) {
        let run = descriptors(&sb, first)?;
        dev.write_at(at(geo.desc_place(first).0), &run)
            .map_err(io("writing group descriptors"))?;
    }
    let (start, first) = first_group(&sb, options.root_owner)?;
    dev.write_at(at(start), &first)
        .map_err(io("writing the first group"))?;
    for block in backups(geo) {
        dev.write_at(at(block), &super_block(&sb.raw, block))
            .map_err(io("writing a copy of the super block"))?;
    }
    dev.flush().map_err(io("flushing"))?;
    dev.write_at(0, &super_block(&sb.raw, 0))
        .map_err(io("writing the super block"))?;
    dev.flush().map_err(io("flushing"))?;
    Ok(Report::new(sb))
}

/// Makes a range read as zeros: by discarding it where that is certain, else by writing.
fn zero(dev: &dyn Device, offset: u64, len: u64) -> std::io::Result<()> {
    if len == 0 || dev.discard(offset, len)? {
        return Ok(());
    }
    let zeros = vec![0; 1 << 20];
    let end = offset + len;
    let mut at = offset;
    while at < end {
        let n = zeros.len().min((end - at) as usize);
        dev.write_at(at, &zeros[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// What [`format`] would report.
///
/// # Errors
/// Those of [`plan`].
pub fn dry_run(options: &Options) -> Result<Report, FormatError> {
    plan(options).map(Report::new)
}

/// The block that holds the super block, or a copy of it, as block number `at`.
pub fn super_block(raw: &RawSuper, at: u64) -> Block {
    let mut block = [0; BLOCK_SIZE];
    block[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE].copy_from_slice(&raw.sealed(at, crc32));
    block
}

/// [`TABLE_RUN`] blocks of the descriptor table, fewer at its end, from the one that begins with group `from`.
fn descriptors(sb: &Super, from: u32) -> Result<Vec<u8>, FormatError> {
    let geo = &sb.geometry;
    let plan = |e: layout::Invalid| FormatError::Plan(e.0);
    let mut out = Vec::new();
    for first in (from..geo.groups).step_by(DESCS_PER_BLOCK).take(TABLE_RUN) {
        let mut data = [0; BLOCK_SIZE];
        let header = Header {
            block: geo.desc_place(first).0,
            owner: u64::from(first),
            node: None,
        };
        block::write_header(&mut data, BlockKind::Gdt, header).map_err(plan)?;
        for (n, g) in (first..geo.groups).take(DESCS_PER_BLOCK).enumerate() {
            descriptor(geo, g).write(&mut data, n).map_err(plan)?;
        }
        block::seal(BlockKind::Gdt, &mut data, sb.seed, crc32);
        out.extend_from_slice(&data);
    }
    Ok(out)
}

fn descriptor(geo: &Geometry, g: u32) -> GroupDesc {
    let reserved = (ino::FIRST - 1) as u32;
    if geo.is_system_group(g) {
        return GroupDesc {
            flags: BLOCK_UNINIT | INODE_UNINIT,
            ..GroupDesc::default()
        };
    }
    let unused = GroupDesc {
        free_blocks: geo.data_blocks(g),
        free_inodes: geo.inodes_per_group,
        itable_init: 0,
        dirs: 0,
        flags: BLOCK_UNINIT | INODE_UNINIT,
    };
    if g != geo.first_group {
        return unused;
    }
    GroupDesc {
        free_inodes: geo.inodes_per_group - reserved,
        itable_init: reserved.div_ceil(INODES_PER_BLOCK as u32),
        dirs: 1,
        flags: 0,
        ..unused
    }
}

/// The first group's bitmaps and the inode table blocks of the reserved inodes: the first block's number, and the bytes from there.
fn first_group(sb: &Super, root_owner: (u32, u32)) -> Result<(u64, Vec<u8>), FormatError> {
    let geo = &sb.geometry;
    let g = geo.first_group;
    let plan = |e: layout::Invalid| FormatError::Plan(e.0);
    let mut out = Vec::new();

    let mut bits = [0; BLOCK_SIZE];
    space::init_bitmap(&mut bits, geo, g).map_err(plan)?;
    block::seal(BlockKind::BlockBitmap, &mut bits, sb.seed, crc32);
    out.extend_from_slice(&bits);

    let mut bits = [0; BLOCK_SIZE];
    ialloc::init_bitmap(&mut bits, geo, g).map_err(plan)?;
    engine::bitmap::set(&mut bits, 0, (ino::FIRST - 1) as u32)
        .ok_or(FormatError::Plan("reserved inodes do not fit their bitmap"))?;
    block::seal(BlockKind::InodeBitmap, &mut bits, sb.seed, crc32);
    out.extend_from_slice(&bits);

    let root = Inode {
        mode: mode::DIRECTORY | 0o755,
        links: 2,
        uid: root_owner.0,
        gid: root_owner.1,
        ..reserved_inode(sb, ino::ROOT)
    };
    let system = |number| Inode {
        mode: mode::REGULAR | 0o600,
        links: 1,
        flags: FLAG_SYSTEM,
        ..reserved_inode(sb, number)
    };
    let reserved = [
        root,
        system(ino::INDEX_TABLE),
        system(ino::VECTOR_MAP),
        system(ino::ORPHANS),
    ];
    let mut tables = vec![[0; BLOCK_SIZE]; descriptor(geo, g).itable_init as usize];
    for inode in &reserved {
        let place = geo
            .inode_place(inode.ino)
            .ok_or(FormatError::Plan("a reserved inode has no place"))?;
        let table = (place.block - geo.inode_table(g)) as usize;
        tables
            .get_mut(table)
            .and_then(|t| bytes::put(t, place.offset, &inode.to_bytes()))
            .ok_or(FormatError::Plan("a reserved inode has no place"))?;
    }
    for table in &mut tables {
        block::seal(BlockKind::InodeTable, table, sb.seed, crc32);
        out.extend_from_slice(table);
    }
    Ok((geo.block_bitmap(g), out))
}

fn reserved_inode(sb: &Super, ino: u64) -> Inode {
    let now = Time {
        sec: sb.raw.made_at.get(),
        nsec: 0,
    };
    Inode {
        ino,
        mode: 0,
        generation: 1,
        links: 0,
        uid: 0,
        gid: 0,
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        flags: 0,
        rdev: 0,
        project: 0,
        // As for inodes that the engine makes.
        vector_epoch: 1,
        vectors: 0,
        version: 1,
        default_index: 0,
        data: inode::Fork::EMPTY,
        attr: inode::Fork::EMPTY,
    }
}

const _: () = assert!(INODE_SIZE * INODES_PER_BLOCK == BLOCK_SIZE);

#[cfg(test)]
mod tests;
