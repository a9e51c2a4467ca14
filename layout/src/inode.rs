// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The 512-byte inode: 160 bytes of core, a data fork and an attribute fork of 176 bytes each.
//!
//! An inode that was never used is 512 zero bytes. A freed one keeps magic, number and generation, with mode 0, so that
//! file handles to its former life are recognised as stale.

use crate::block::crc_without;
use crate::btree::{self, TreeKind};
use crate::bytes::{array, put, slice, u16_at};
use crate::{ino, Block, Crc32, Invalid, BLOCK_SIZE, LINK_MAX, MAX_BLOCKS, MAX_FILE_SIZE};
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::FromBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of an inode.
pub const INODE_SIZE: usize = 512;
/// Inodes in a block of the inode table.
pub const INODES_PER_BLOCK: usize = BLOCK_SIZE / INODE_SIZE;
/// Bytes of each fork.
pub const FORK_SIZE: usize = 176;
/// Largest file, and longest symbolic link, that lives inside the inode.
pub const INLINE_MAX: usize = FORK_SIZE;
/// First two bytes of an inode.
pub const MAGIC: u16 = u16::from_le_bytes(*b"VI");
const CRC_OFFSET: usize = 4;

/// File type bits of `mode`, as in stat(2).
pub mod mode {
    /// Mask of the type.
    pub const TYPE: u16 = 0o170000;
    /// Socket.
    pub const SOCKET: u16 = 0o140000;
    /// Symbolic link.
    pub const SYMLINK: u16 = 0o120000;
    /// Regular file.
    pub const REGULAR: u16 = 0o100000;
    /// Block device.
    pub const BLOCK: u16 = 0o060000;
    /// Directory.
    pub const DIRECTORY: u16 = 0o040000;
    /// Character device.
    pub const CHAR: u16 = 0o020000;
    /// FIFO.
    pub const FIFO: u16 = 0o010000;
}

/// Inode flag: the inode is reserved metadata of the filesystem (inodes 2 to 4).
pub const FLAG_SYSTEM: u32 = 1 << 0;
/// Inode flag: immutable (chattr +i).
pub const FLAG_IMMUTABLE: u32 = 1 << 1;
/// Inode flag: append only (chattr +a).
pub const FLAG_APPEND: u32 = 1 << 2;
/// Inode flag: do not update access time (chattr +A).
pub const FLAG_NOATIME: u32 = 1 << 3;
/// Inode flag: synchronous updates (chattr +S).
pub const FLAG_SYNC: u32 = 1 << 4;
/// Inode flag: not for dump(8) (chattr +d).
pub const FLAG_NODUMP: u32 = 1 << 5;
/// All flags known.
pub const KNOWN_FLAGS: u32 = (1 << 6) - 1;

/// The inode as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawInode {
    /// [`MAGIC`].
    pub magic: U16,
    /// File type and permissions; 0 if the inode is free.
    pub mode: U16,
    /// crc32 of the 512 bytes with this field zero.
    pub crc: U32,
    /// The inode's own number.
    pub ino: U64,
    /// Raised each time the number is used anew.
    pub generation: U32,
    /// Hard links; for a directory 2 plus its subdirectories.
    pub links: U32,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// Bytes of a file or link target; for a directory the number of its entries.
    pub size: U64,
    /// Blocks in use: data and tree nodes of both forks.
    pub blocks: U64,
    /// Last access, seconds since 1970.
    pub atime: I64,
    /// Last change of contents.
    pub mtime: I64,
    /// Last change of the inode.
    pub ctime: I64,
    /// Birth.
    pub btime: I64,
    /// Nanoseconds of `atime`.
    pub atime_ns: U32,
    /// Nanoseconds of `mtime`.
    pub mtime_ns: U32,
    /// Nanoseconds of `ctime`.
    pub ctime_ns: U32,
    /// Nanoseconds of `btime`.
    pub btime_ns: U32,
    /// `FLAG_*`.
    pub flags: U32,
    /// Device number of a device node: minor's low 8 bits, major << 8 (12 bits), minor's rest << 12 (Linux new_encode_dev).
    pub rdev: U32,
    /// Project id (reserved for quotas).
    pub project: U32,
    /// Vector records carry this number; others are dead.
    pub vector_epoch: U32,
    /// Vector records of this inode, in all indexes.
    pub vectors: U64,
    /// Change counter (statx STATX_CHANGE_COOKIE, NFS).
    pub version: U64,
    /// Format of the data fork.
    pub data_format: u8,
    /// Format of the attribute fork.
    pub attr_format: u8,
    /// Bytes of inline data when `data_format` is inline.
    pub data_len: U16,
    /// For directories: index that new files inherit, 0 if none.
    pub default_index: U32,
    /// Zero.
    pub reserved: [u8; 24],
    /// Data fork.
    pub data: [u8; FORK_SIZE],
    /// Attribute fork.
    pub attr: [u8; FORK_SIZE],
}

/// How a fork holds its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ForkFormat {
    /// Nothing.
    Empty = 0,
    /// Bytes of the file itself (data fork of files and symbolic links only).
    Inline = 1,
    /// The body of a B+tree leaf.
    Leaf = 2,
    /// Root block (u64) and level (u64) of a B+tree; the rest zero.
    Tree = 3,
}

impl ForkFormat {
    fn from_u8(v: u8) -> Option<ForkFormat> {
        Some(match v {
            0 => ForkFormat::Empty,
            1 => ForkFormat::Inline,
            2 => ForkFormat::Leaf,
            3 => ForkFormat::Tree,
            _ => return None,
        })
    }
}

/// A fork in memory.
///
/// # Invariants
/// `len <= FORK_SIZE`, and 0 unless the format is inline; a `Leaf` body has passed [`btree::verify_body`];
/// a `Tree`'s root lies below 2^48 and its level below [`btree::MAX_LEVELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// How to read `bytes`.
    pub format: ForkFormat,
    /// Length of inline data.
    pub len: u16,
    /// The fork's area.
    pub bytes: [u8; FORK_SIZE],
}

impl Default for Fork {
    fn default() -> Self {
        Fork::EMPTY
    }
}

impl Fork {
    /// A fork with nothing in it.
    pub const EMPTY: Fork = Fork {
        format: ForkFormat::Empty,
        len: 0,
        bytes: [0; FORK_SIZE],
    };

    /// Root block and level, if the fork is a tree.
    pub fn root(&self) -> Option<(u64, u8)> {
        if self.format != ForkFormat::Tree {
            return None;
        }
        let block = u64::from_le_bytes(array(&self.bytes, 0)?);
        let level = u64::from_le_bytes(array(&self.bytes, 8)?);
        Some((block, u8::try_from(level).ok()?))
    }

    /// Makes the fork a tree with this root.
    pub fn set_root(&mut self, block: u64, level: u8) {
        *self = Fork::EMPTY;
        self.format = ForkFormat::Tree;
        let _ = put(&mut self.bytes, 0, &block.to_le_bytes());
        let _ = put(&mut self.bytes, 8, &u64::from(level).to_le_bytes());
    }

    /// Inline data, if that is what the fork holds.
    pub fn inline(&self) -> Option<&[u8]> {
        if self.format != ForkFormat::Inline {
            return None;
        }
        slice(&self.bytes, 0, usize::from(self.len))
    }

    /// Makes the fork hold `data` inline; `None`, and nothing changed, if it is longer than [`INLINE_MAX`].
    pub fn set_inline(&mut self, data: &[u8]) -> Option<()> {
        let mut new = Fork::EMPTY;
        put(&mut new.bytes, 0, data)?;
        new.format = ForkFormat::Inline;
        new.len = u16::try_from(data.len()).ok()?;
        *self = new;
        Some(())
    }

    fn check(&self, kind: Option<TreeKind>, inline_ok: bool) -> Result<(), Invalid> {
        if self.format != ForkFormat::Inline && self.len != 0 {
            return Err(Invalid("inline length set for a fork that is not inline"));
        }
        match self.format {
            ForkFormat::Empty => {
                if self.bytes.iter().any(|b| *b != 0) {
                    return Err(Invalid("an empty fork holds bytes"));
                }
            }
            ForkFormat::Inline => {
                if !inline_ok {
                    return Err(Invalid("inline data where none may be"));
                }
                let rest = self
                    .bytes
                    .get(usize::from(self.len)..)
                    .ok_or(Invalid("inline data longer than its fork"))?;
                if rest.iter().any(|b| *b != 0) {
                    return Err(Invalid("bytes after inline data are not zero"));
                }
            }
            ForkFormat::Leaf => {
                let kind = kind.ok_or(Invalid("a tree where none may be"))?;
                btree::verify_body(&self.bytes, kind, 0)?;
            }
            ForkFormat::Tree => {
                kind.ok_or(Invalid("a tree where none may be"))?;
                let (block, level) = self.root().ok_or(Invalid("tree level out of range"))?;
                if block == 0 || block >= MAX_BLOCKS || level >= btree::MAX_LEVELS {
                    return Err(Invalid("tree root out of range"));
                }
                if self.bytes.iter().skip(16).any(|b| *b != 0) {
                    return Err(Invalid("bytes after a tree root are not zero"));
                }
            }
        }
        Ok(())
    }
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    Char,
    Block,
    Fifo,
    Socket,
}

impl FileType {
    /// From the type bits of a mode.
    pub fn from_mode(m: u16) -> Option<FileType> {
        Some(match m & mode::TYPE {
            mode::REGULAR => FileType::Regular,
            mode::DIRECTORY => FileType::Directory,
            mode::SYMLINK => FileType::Symlink,
            mode::CHAR => FileType::Char,
            mode::BLOCK => FileType::Block,
            mode::FIFO => FileType::Fifo,
            mode::SOCKET => FileType::Socket,
            _ => return None,
        })
    }

    /// The DT_* number of readdir(3), which is also what directory entries store.
    pub fn dt(self) -> u8 {
        match self {
            FileType::Fifo => 1,
            FileType::Char => 2,
            FileType::Directory => 4,
            FileType::Block => 6,
            FileType::Regular => 8,
            FileType::Symlink => 10,
            FileType::Socket => 12,
        }
    }

    /// Reverse of [`FileType::dt`].
    pub fn from_dt(v: u8) -> Option<FileType> {
        FileType::from_mode(u16::from(v).checked_mul(0o10000)?)
    }
}

/// An inode in use, validated.
///
/// # Invariants
/// What [`Inode::parse`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of RawInode
pub struct Inode {
    pub ino: u64,
    pub mode: u16,
    pub generation: u32,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub btime: Time,
    pub flags: u32,
    pub rdev: u32,
    pub project: u32,
    pub vector_epoch: u32,
    pub vectors: u64,
    pub version: u64,
    pub default_index: u32,
    pub data: Fork,
    pub attr: Fork,
}

/// What a place in the inode table holds.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Slot {
    /// Never used.
    Unused,
    /// Freed; the generation of its last life.
    Free {
        /// Generation of the last life.
        generation: u32,
    },
    /// In use.
    Used(Inode),
}

impl Slot {
    /// Generation of the current or last life, 0 if there was none.
    pub fn generation(&self) -> u32 {
        match self {
            Slot::Unused => 0,
            Slot::Free { generation } => *generation,
            Slot::Used(i) => i.generation,
        }
    }
}

impl Inode {
    /// The file type. The mode was validated, so this falls back to `Regular` only for inodes built by hand.
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Regular)
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// The kind of tree in the data fork, if it may hold one.
    pub fn data_tree(&self) -> Option<TreeKind> {
        match self.ino {
            ino::INDEX_TABLE => return Some(TreeKind::Index),
            ino::VECTOR_MAP => return Some(TreeKind::VectorMap),
            ino::ORPHANS => return Some(TreeKind::Orphan),
            _ => {}
        }
        match self.file_type() {
            FileType::Regular | FileType::Symlink => Some(TreeKind::Extent),
            FileType::Directory => Some(TreeKind::Directory),
            _ => None,
        }
    }

    /// Reads the inode in `bytes`, which should be number `expect`. The checksum is verified with the block, not here.
    ///
    /// Checked: magic, own number, mode's type, links and size ranges, nanoseconds, known flags, fork formats allowed for the type,
    /// the inner order of inline leaves, inline length equal to size, reserved bytes zero.
    pub fn parse(bytes: &[u8], expect: u64) -> Result<Slot, Invalid> {
        let bytes = slice(bytes, 0, INODE_SIZE).ok_or(Invalid("short inode"))?;
        // Where it lies: a copy would take a good part of a kernel's stack.
        let raw = RawInode::ref_from_bytes(bytes).map_err(|_| Invalid("short inode"))?;
        if raw.magic.get() == 0 {
            if bytes.iter().any(|b| *b != 0) {
                return Err(Invalid("inode without magic is not zero"));
            }
            return Ok(Slot::Unused);
        }
        if raw.magic.get() != MAGIC {
            return Err(Invalid("wrong inode magic"));
        }
        if raw.ino.get() != expect {
            return Err(Invalid("inode carries another inode's number"));
        }
        if raw.reserved != [0; 24] {
            return Err(Invalid("reserved bytes of an inode not zero"));
        }
        if raw.mode.get() == 0 {
            return Ok(Slot::Free {
                generation: raw.generation.get(),
            });
        }
        let time = |s: I64, n: U32| {
            if n.get() >= 1_000_000_000 {
                return Err(Invalid("nanoseconds out of range"));
            }
            Ok(Time {
                sec: s.get(),
                nsec: n.get(),
            })
        };
        let format = |v: u8| ForkFormat::from_u8(v).ok_or(Invalid("unknown fork format"));
        let inode = Inode {
            ino: expect,
            mode: raw.mode.get(),
            generation: raw.generation.get(),
            links: raw.links.get(),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            size: raw.size.get(),
            blocks: raw.blocks.get(),
            atime: time(raw.atime, raw.atime_ns)?,
            mtime: time(raw.mtime, raw.mtime_ns)?,
            ctime: time(raw.ctime, raw.ctime_ns)?,
            btime: time(raw.btime, raw.btime_ns)?,
            flags: raw.flags.get(),
            rdev: raw.rdev.get(),
            project: raw.project.get(),
            vector_epoch: raw.vector_epoch.get(),
            vectors: raw.vectors.get(),
            version: raw.version.get(),
            default_index: raw.default_index.get(),
            data: Fork {
                format: format(raw.data_format)?,
                len: raw.data_len.get(),
                bytes: raw.data,
            },
            attr: Fork {
                format: format(raw.attr_format)?,
                len: 0,
                bytes: raw.attr,
            },
        };
        inode.check()?;
        Ok(Slot::Used(inode))
    }

    fn check(&self) -> Result<(), Invalid> {
        let ft = FileType::from_mode(self.mode).ok_or(Invalid("unknown file type in mode"))?;
        if self.links > LINK_MAX {
            return Err(Invalid("too many links"));
        }
        if self.flags & !KNOWN_FLAGS != 0 {
            return Err(Invalid("unknown inode flags"));
        }
        if self.size > MAX_FILE_SIZE {
            return Err(Invalid("size out of range"));
        }
        let system = (ino::INDEX_TABLE..=ino::ORPHANS).contains(&self.ino);
        if system != (self.flags & FLAG_SYSTEM != 0) {
            return Err(Invalid("system flag on the wrong inode"));
        }
        let inline_ok = matches!(ft, FileType::Regular | FileType::Symlink) && !system;
        self.data.check(self.data_tree(), inline_ok)?;
        self.attr.check(Some(TreeKind::Attr), false)?;
        if self.data.format == ForkFormat::Inline && u64::from(self.data.len) != self.size {
            return Err(Invalid("inline length is not the size"));
        }
        if ft == FileType::Symlink && (self.size == 0 || self.size >= BLOCK_SIZE as u64) {
            return Err(Invalid("length of a symbolic link out of range"));
        }
        Ok(())
    }

    /// The 512 bytes for the inode table; the checksum is set when the block is sealed.
    pub fn to_bytes(&self) -> [u8; INODE_SIZE] {
        let raw = RawInode {
            magic: U16::new(MAGIC),
            mode: U16::new(self.mode),
            crc: U32::ZERO,
            ino: U64::new(self.ino),
            generation: U32::new(self.generation),
            links: U32::new(self.links),
            uid: U32::new(self.uid),
            gid: U32::new(self.gid),
            size: U64::new(self.size),
            blocks: U64::new(self.blocks),
            atime: I64::new(self.atime.sec),
            mtime: I64::new(self.mtime.sec),
            ctime: I64::new(self.ctime.sec),
            btime: I64::new(self.btime.sec),
            atime_ns: U32::new(self.atime.nsec),
            mtime_ns: U32::new(self.mtime.nsec),
            ctime_ns: U32::new(self.ctime.nsec),
            btime_ns: U32::new(self.btime.nsec),
            flags: U32::new(self.flags),
            rdev: U32::new(self.rdev),
            project: U32::new(self.project),
            vector_epoch: U32::new(self.vector_epoch),
            vectors: U64::new(self.vectors),
            version: U64::new(self.version),
            data_format: self.data.format as u8,
            attr_format: self.attr.format as u8,
            data_len: U16::new(self.data.len),
            default_index: U32::new(self.default_index),
            reserved: [0; 24],
            data: self.data.bytes,
            attr: self.attr.bytes,
        };
        zerocopy::transmute!(raw)
    }

    /// The 512 bytes of a freed inode.
    pub fn freed_bytes(ino: u64, generation: u32) -> [u8; INODE_SIZE] {
        let mut b = [0; INODE_SIZE];
        let _ = put(&mut b, 0, &MAGIC.to_le_bytes());
        let _ = put(&mut b, 8, &ino.to_le_bytes());
        let _ = put(&mut b, 16, &generation.to_le_bytes());
        b
    }
}

/// Sets the checksum of one inode; unused ones stay zero.
pub fn seal(raw: &mut [u8], seed: u32, crc: Crc32) {
    if u16_at(raw, 0) == Some(MAGIC) {
        if let Some(sum) = crc_without(raw, CRC_OFFSET, seed, crc) {
            let _ = put(raw, CRC_OFFSET, &sum.to_le_bytes());
        }
    }
}

/// Checks one inode's checksum; unused ones must be zero.
pub fn verify_crc(raw: &[u8], seed: u32, crc: Crc32) -> Result<(), Invalid> {
    if u16_at(raw, 0) == Some(0) {
        if raw.iter().any(|b| *b != 0) {
            return Err(Invalid("inode without magic is not zero"));
        }
        return Ok(());
    }
    let stored = array(raw, CRC_OFFSET).map(u32::from_le_bytes);
    if stored.is_none() || stored != crc_without(raw, CRC_OFFSET, seed, crc) {
        return Err(Invalid("inode checksum does not match"));
    }
    Ok(())
}

/// Checks the checksums of all inodes of a table block.
pub fn verify_table(data: &Block, seed: u32, crc: Crc32) -> Result<(), Invalid> {
    for raw in data.chunks_exact(INODE_SIZE) {
        verify_crc(raw, seed, crc)?;
    }
    Ok(())
}

const _: () = assert!(core::mem::size_of::<RawInode>() == INODE_SIZE);
