// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The header that opens metadata blocks, the kinds of metadata blocks, and the two operations that the layers which
//! do I/O call on whole blocks: [`seal`] before a block goes to disk, [`verify`] when it came from there.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic, by kind |
//! | 4 | 4 | crc32 of the block with these four bytes as zero, started from the filesystem's seed |
//! | 8 | 8 | the block's own number |
//! | 16 | 8 | owner: inode number (nodes), group number (bitmaps, descriptors), index id (segments, locations, partitions, graphs) |
//! | 24 | 1 | tree kind (nodes), else 0 |
//! | 25 | 1 | level (nodes, 0 is a leaf), else 0 |
//! | 26 | 1 | words in a key (nodes), else 0 |
//! | 27 | 5 | zero |

use crate::btree::{self, TreeKind};
use crate::bytes::{array, put, u32_at};
use crate::graph;
use crate::group;
use crate::inode;
use crate::partition;
use crate::segment;
use crate::{Block, Crc32, Invalid, BLOCK_SIZE};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the header; the payload follows.
pub const HEADER_SIZE: usize = 32;
/// Bytes after the header.
pub const PAYLOAD_SIZE: usize = BLOCK_SIZE - HEADER_SIZE;
const CRC_OFFSET: usize = 4;

/// The header as it lies on disk; see the table above.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawHeader {
    /// [`BlockKind::magic`].
    pub magic: U32,
    /// Checksum.
    pub crc: U32,
    /// The block's own number.
    pub block: U64,
    /// Inode, group or index that the block belongs to.
    pub owner: U64,
    /// [`TreeKind`] for nodes.
    pub tree: u8,
    /// Height above the leaves, for nodes.
    pub level: u8,
    /// u64 words in a key, for nodes.
    pub key_words: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

/// What a metadata block is. The reader of a block says what it expects; [`verify`] holds the block to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockKind {
    /// Group descriptors.
    Gdt,
    /// Which blocks of a group are in use.
    BlockBitmap,
    /// Which inodes of a group are in use.
    InodeBitmap,
    /// Eight inodes; no header, each inode has its own checksum.
    InodeTable,
    /// A B+tree node.
    Node,
    /// First block of a vector segment.
    Segment,
    /// Slots of a vector segment; no header, each slot has its own checksum, checked when the slot is read.
    Slots,
    /// Which leaf each slot of a vector segment has its entry in.
    Locations,
    /// A part of a node of an index's search tree. Erased, it is all zero, without header and checksum.
    Partition,
    /// The root of an index's graph.
    GraphRoot,
    /// Nodes of an index's graph. Erased, it is all zero, without header and checksum.
    Graph,
}

impl BlockKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [BlockKind; 11] = [
        BlockKind::Gdt,
        BlockKind::BlockBitmap,
        BlockKind::InodeBitmap,
        BlockKind::InodeTable,
        BlockKind::Node,
        BlockKind::Segment,
        BlockKind::Slots,
        BlockKind::Locations,
        BlockKind::Partition,
        BlockKind::GraphRoot,
        BlockKind::Graph,
    ];

    /// The four bytes that open a block of this kind, `None` for kinds without a header.
    pub const fn magic(self) -> Option<u32> {
        match self {
            BlockKind::Gdt => Some(u32::from_le_bytes(*b"VxGd")),
            BlockKind::BlockBitmap => Some(u32::from_le_bytes(*b"VxBb")),
            BlockKind::InodeBitmap => Some(u32::from_le_bytes(*b"VxIb")),
            BlockKind::Node => Some(u32::from_le_bytes(*b"VxNd")),
            BlockKind::Segment => Some(u32::from_le_bytes(*b"VxSg")),
            BlockKind::Locations => Some(u32::from_le_bytes(*b"VxLc")),
            BlockKind::Partition => Some(u32::from_le_bytes(*b"VxPt")),
            BlockKind::GraphRoot => Some(u32::from_le_bytes(*b"VxGr")),
            BlockKind::Graph => Some(u32::from_le_bytes(*b"VxGn")),
            BlockKind::InodeTable | BlockKind::Slots => None,
        }
    }
}

/// The header fields that a caller fills in when it makes a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The block's own number.
    pub block: u64,
    /// Inode, group or index that it belongs to.
    pub owner: u64,
    /// Tree kind and level, for nodes.
    pub node: Option<(TreeKind, u8)>,
}

/// Writes the header of a new block (checksum zero: [`seal`] sets it). `kind` must have one.
pub fn write_header(data: &mut Block, kind: BlockKind, h: Header) -> Result<(), Invalid> {
    let magic = kind
        .magic()
        .ok_or(Invalid("this kind of block has no header"))?;
    let (tree, level, key_words) = match h.node {
        Some((t, l)) => (t as u8, l, t.key_words() as u8),
        None => (0, 0, 0),
    };
    let raw = RawHeader {
        magic: U32::new(magic),
        crc: U32::ZERO,
        block: U64::new(h.block),
        owner: U64::new(h.owner),
        tree,
        level,
        key_words,
        reserved: [0; 5],
    };
    put(data, 0, zerocopy::IntoBytes::as_bytes(&raw)).ok_or(Invalid("short block"))
}

/// Reads the header, without its checksum; kinds without one are refused.
pub fn read_header(data: &Block, kind: BlockKind) -> Result<Header, Invalid> {
    let magic = kind
        .magic()
        .ok_or(Invalid("this kind of block has no header"))?;
    let bytes = array::<HEADER_SIZE>(data, 0).ok_or(Invalid("short block"))?;
    let raw: RawHeader = zerocopy::transmute!(bytes);
    if raw.magic.get() != magic {
        return Err(Invalid("wrong magic"));
    }
    let node = if kind == BlockKind::Node {
        let tree = TreeKind::from_u8(raw.tree).ok_or(Invalid("unknown tree kind"))?;
        if usize::from(raw.key_words) != tree.key_words() {
            return Err(Invalid("wrong number of key words"));
        }
        if raw.level >= btree::MAX_LEVELS {
            return Err(Invalid("level too high"));
        }
        Some((tree, raw.level))
    } else {
        if raw.tree != 0 || raw.level != 0 || raw.key_words != 0 {
            return Err(Invalid("node fields set in a block that is no node"));
        }
        None
    };
    if raw.reserved != [0; 5] {
        return Err(Invalid("reserved bytes not zero"));
    }
    Ok(Header {
        block: raw.block.get(),
        owner: raw.owner.get(),
        node,
    })
}

/// Checksum of `data` with the four bytes at `off` taken as zero.
pub fn crc_without(data: &[u8], off: usize, seed: u32, crc: Crc32) -> Option<u32> {
    let end = off.checked_add(4)?;
    let a = crc(seed, data.get(..off)?);
    let b = crc(a, &[0; 4]);
    Some(crc(b, data.get(end..)?))
}

/// Sets the checksums in a block that is about to be written. `seed` is [`crate::superblock::Super::seed`].
/// Kinds whose parts carry their own checksums (slots) are left alone, and partitions and nodes of graphs that were erased stay so. Never fails: it only
/// stores sums.
pub fn seal(kind: BlockKind, data: &mut Block, seed: u32, crc: Crc32) {
    match kind {
        BlockKind::Slots => {}
        BlockKind::Partition | BlockKind::Graph if u32_at(data, 0) == Some(0) => {}
        BlockKind::InodeTable => {
            for raw in data.chunks_exact_mut(inode::INODE_SIZE) {
                inode::seal(raw, seed, crc);
            }
        }
        _ => {
            if let Some(sum) = crc_without(data, CRC_OFFSET, seed, crc) {
                let _ = put(data, CRC_OFFSET, &sum.to_le_bytes());
            }
        }
    }
}

/// Checks a block that came from disk: magic, checksum, own number, and the inner order of its kind (sorted keys,
/// offsets inside the node, ...), so that what passes can be read without surprise. Says what is wrong otherwise.
pub fn verify(
    kind: BlockKind,
    block: u64,
    data: &Block,
    seed: u32,
    crc: Crc32,
) -> Result<(), Invalid> {
    match kind {
        BlockKind::Slots => Ok(()),
        BlockKind::InodeTable => inode::verify_table(data, seed, crc),
        _ => {
            let h = read_header(data, kind)?;
            let stored = u32_at(data, CRC_OFFSET);
            if stored.is_none() || stored != crc_without(data, CRC_OFFSET, seed, crc) {
                return Err(Invalid("checksum does not match"));
            }
            if h.block != block {
                return Err(Invalid("block carries another block's number"));
            }
            match kind {
                BlockKind::Node => {
                    let (tree, level) = h.node.ok_or(Invalid("node without kind"))?;
                    let body = data.get(HEADER_SIZE..).ok_or(Invalid("short block"))?;
                    btree::verify_body(body, tree, level)
                }
                BlockKind::Segment => segment::verify_header(data),
                BlockKind::Locations => segment::verify_locations(data),
                BlockKind::Partition | BlockKind::Graph => partition::verify_block(data),
                BlockKind::GraphRoot => graph::verify_root(data),
                BlockKind::Gdt => group::verify_block(data),
                _ => Ok(()),
            }
        }
    }
}
const _: () = assert!(core::mem::size_of::<RawHeader>() == HEADER_SIZE);
