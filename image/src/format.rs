// SPDX-License-Identifier: GPL-2.0-only
//! Making a filesystem: what can be wished for, and the writing of it. Where everything goes is decided in [`plan()`].
//!
//! It decides nothing that is random or depends on the clock (UUID, hash seed and time come with [`Options`]), so equal options give
//! equal bytes. It may not look at what the device holds or who uses it: that is for the caller to ask and decide.

use crate::checksum::{crc32, crc32c};
use crate::device::Device;
use engine::{ialloc, space};
use layout::block::{self, BlockKind, Header};
use layout::geometry::{Geometry, MIN_JOURNAL_BLOCKS};
use layout::group::{GroupDesc, BLOCK_UNINIT, DESCS_PER_BLOCK, INODE_UNINIT};
use layout::inode::{self, mode, Inode, Time, FLAG_SYSTEM, INODES_PER_BLOCK, INODE_SIZE};
use layout::superblock::{OnError, RawSuper, Super, SUPER_OFFSET, SUPER_SIZE};
use layout::{bytes, ino, jbd2, Block, BLOCK_SIZE};

mod plan;

pub use plan::{default_bytes_per_inode, default_journal, plan, MIN_MOUNTABLE_JOURNAL};

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
