// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! What the index table and the vector map hold.
//!
//! Index table, keys of two words:
//! - (1 << 56, id) -> [`RawIndex`], the index and the roots of its search tree and graph;
//! - (2 << 56 | 56 bits of the name's hash, collision index) -> id u32, then the name;
//! - (3 << 56 | id, segment number) -> [`RawSegmentRef`];
//! - (5 << 56 | id, number) -> an extent of the index's graph ([`crate::graph`]);
//! - (4 << 56, 0) -> u32, the highest index id ever given (absent: none was).
//!
//! Names lead to indexes that can be used; the name of an index that is being dropped is free again.
//!
//! Vector map: (inode, index id, label) -> [`RawSlotAddr`].

use crate::btree::Key;
use crate::bytes::{array, put, slice, u32_at};
use crate::dirent::siphash24;
use crate::efforts::{Efforts, EFFORTS};
use crate::partition::MAX_HEIGHT;
use crate::{Invalid, MAX_BLOCKS};
use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Largest dimension.
pub const MAX_DIM: u32 = 4096;
/// Longest index name in bytes.
pub const INDEX_NAME_MAX: usize = 63;
/// Names that can share a hash.
pub const NAME_COLLISIONS: u64 = 256;
/// Class of index descriptions in the first key word.
pub const CLASS_INDEX: u64 = 1 << 56;
/// Class of names.
pub const CLASS_NAME: u64 = 2 << 56;
/// Class of segments.
pub const CLASS_SEGMENT: u64 = 3 << 56;

/// Class of the counter of index ids.
pub const CLASS_COUNTER: u64 = 4 << 56;

/// Element type of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Element {
    /// IEEE 754 binary32, little-endian.
    F32 = 1,
    /// IEEE 754 binary16, little-endian.
    F16 = 2,
    /// Signed bytes.
    I8 = 3,
    /// Bits, the first one lowest in the first byte; zeros fill the last byte.
    Binary = 4,
}

impl Element {
    /// From its number.
    pub fn from_u8(v: u8) -> Option<Element> {
        match v {
            1 => Some(Element::F32),
            2 => Some(Element::F16),
            3 => Some(Element::I8),
            4 => Some(Element::Binary),
            _ => None,
        }
    }
    /// Bytes of a vector of `dim` elements.
    pub fn bytes(self, dim: u32) -> usize {
        match self {
            Element::F32 => (dim as usize).saturating_mul(4),
            Element::F16 => (dim as usize).saturating_mul(2),
            Element::I8 => dim as usize,
            Element::Binary => (dim as usize).div_ceil(8),
        }
    }
}

/// Metric of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Metric {
    /// Squared Euclidean distance.
    L2 = 1,
    /// 1 - cosine of the angle.
    Cosine = 2,
    /// Negated dot product.
    Dot = 3,
    /// Number of bits that differ; of [`Element::Binary`], and nothing else is.
    Hamming = 4,
}

impl Metric {
    /// From its number.
    pub fn from_u8(v: u8) -> Option<Metric> {
        Some(match v {
            1 => Metric::L2,
            2 => Metric::Cosine,
            3 => Metric::Dot,
            4 => Metric::Hamming,
            _ => return None,
        })
    }
}

/// An index as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawIndex {
    /// Its number, never used again.
    pub id: U32,
    /// Elements in a vector.
    pub dim: U32,
    /// [`Element`].
    pub element: u8,
    /// [`Metric`].
    pub metric: u8,
    /// Permission bits: read to search, write to put and delete.
    pub mode: U16,
    /// Owner.
    pub uid: U32,
    /// Group.
    pub gid: U32,
    /// 1 while the index is being dropped: it cannot be used, its records are freed in steps.
    pub dropping: U32,
    /// Records in the vector map, those included that died with their inode and are not removed yet.
    pub records: U64,
    /// Segments.
    pub segments: U32,
    /// Next segment number.
    pub next_segment: U32,
    /// Free slots in all segments. While an index is dropped, slots of removed records still count as used.
    pub free_slots: U64,
    /// A segment that probably has a free slot.
    pub hint: U32,
    /// Length of the name.
    pub name_len: U32,
    /// Created, seconds since 1970.
    pub made_at: I64,
    /// Name, zero padded.
    pub name: [u8; 64],
    /// First block of the root of the search tree, 0 if there is none.
    pub root: U64,
    /// Records that have an entry in the tree.
    pub entries: U64,
    /// What the rotation of the tree's vectors is made from.
    pub rotation: U64,
    /// How often partitions were split, merged or freed.
    pub changes: U64,
    /// Partitions.
    pub partitions: U32,
    /// Levels of the tree.
    pub height: u8,
    /// [`Efforts`]: leaves that searches had to look at for a recall of 0.9, 0.95 and 0.99 when it was measured last; 0: never.
    pub efforts: [u8; EFFORTS],
    /// Root block of the graph, 0 if there is none.
    pub graph: U64,
}

/// Bytes of [`RawIndex`].
pub const INDEX_SIZE: usize = core::mem::size_of::<RawIndex>();

/// An index, validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of RawIndex
pub struct Index {
    pub id: u32,
    pub dim: u32,
    pub element: Element,
    pub metric: Metric,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub dropping: bool,
    pub records: u64,
    pub segments: u32,
    pub next_segment: u32,
    pub free_slots: u64,
    pub hint: u32,
    pub made_at: i64,
    pub name: IndexName,
    pub tree: Tree,
    pub efforts: Efforts,
    pub graph: u64,
}

/// The search tree of an index: its fields in [`RawIndex`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of RawIndex
pub struct Tree {
    pub root: u64,
    pub entries: u64,
    pub rotation: u64,
    pub changes: u64,
    pub partitions: u32,
    pub height: u8,
}

impl Tree {
    /// Checks root and counts against each other.
    fn check(self) -> Result<Tree, Invalid> {
        let none = self.root == 0;
        if none && (self.height, self.partitions, self.entries) != (0, 0, 0) {
            return Err(Invalid(
                "index counts partitions or entries and has no tree",
            ));
        }
        if !none && (self.height == 0 || self.height > MAX_HEIGHT) {
            return Err(Invalid("height of a search tree out of range"));
        }
        if !none && self.partitions == 0 {
            return Err(Invalid("search tree without partitions"));
        }
        if self.root >= MAX_BLOCKS {
            return Err(Invalid("root of a search tree outside the filesystem"));
        }
        Ok(self)
    }
}

/// Name of an index.
///
/// # Invariants
/// 1 to 63 bytes of UTF-8 without NUL, '/' or white space at its ends; bytes after it are zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IndexName {
    len: u8,
    bytes: [u8; 64],
}

impl IndexName {
    /// Checks a name.
    pub fn new(name: &[u8]) -> Result<IndexName, Invalid> {
        if name.is_empty() || name.len() > INDEX_NAME_MAX {
            return Err(Invalid("length of an index name must be 1 to 63 bytes"));
        }
        let text =
            core::str::from_utf8(name).map_err(|_| Invalid("an index name must be UTF-8"))?;
        if text.contains(['\0', '/']) || text.trim() != text {
            return Err(Invalid(
                "an index name may not hold NUL or '/', nor begin or end with white space",
            ));
        }
        let mut bytes = [0; 64];
        put(&mut bytes, 0, name).ok_or(Invalid("index name too long"))?;
        Ok(IndexName {
            len: name.len() as u8,
            bytes,
        })
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        slice(&self.bytes, 0, usize::from(self.len)).unwrap_or(&[])
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl core::fmt::Debug for IndexName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl Index {
    /// Reads an index stored under `id`. Checked: own number, dimension, element, metric, that these go together,
    /// permission bits, name, and that root, height and counts of the tree can be.
    pub fn parse(id: u32, value: &[u8]) -> Result<Index, Invalid> {
        if value.len() != INDEX_SIZE {
            return Err(Invalid("index of the wrong length"));
        }
        let bytes: [u8; INDEX_SIZE] = array(value, 0).ok_or(Invalid("short index"))?;
        let raw: RawIndex = zerocopy::transmute!(bytes);
        if raw.id.get() != id || id == 0 {
            return Err(Invalid("index carries another index's number"));
        }
        if raw.dim.get() == 0 || raw.dim.get() > MAX_DIM {
            return Err(Invalid("dimension out of range"));
        }
        if raw.mode.get() & !0o777 != 0 || raw.dropping.get() > 1 {
            return Err(Invalid("mode or state of an index out of range"));
        }
        let len = raw.name_len.get() as usize;
        let name = IndexName::new(slice(&raw.name, 0, len).ok_or(Invalid("index name too long"))?)?;
        if name.bytes != raw.name {
            return Err(Invalid("bytes after an index name are not zero"));
        }
        let element = Element::from_u8(raw.element).ok_or(Invalid("unknown element type"))?;
        let metric = Metric::from_u8(raw.metric).ok_or(Invalid("unknown metric"))?;
        if (element == Element::Binary) != (metric == Metric::Hamming) {
            return Err(Invalid("metric of an index does not fit its elements"));
        }
        if raw.graph.get() >= MAX_BLOCKS {
            return Err(Invalid("root of a graph outside the filesystem"));
        }
        let tree = Tree {
            root: raw.root.get(),
            entries: raw.entries.get(),
            rotation: raw.rotation.get(),
            changes: raw.changes.get(),
            partitions: raw.partitions.get(),
            height: raw.height,
        };
        Ok(Index {
            id,
            dim: raw.dim.get(),
            element,
            metric,
            mode: raw.mode.get(),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            dropping: raw.dropping.get() == 1,
            records: raw.records.get(),
            segments: raw.segments.get(),
            next_segment: raw.next_segment.get(),
            free_slots: raw.free_slots.get(),
            hint: raw.hint.get(),
            made_at: raw.made_at.get(),
            name,
            tree: tree.check()?,
            efforts: Efforts::parse(raw.efforts)?,
            graph: raw.graph.get(),
        })
    }

    /// The value's bytes.
    pub fn to_bytes(&self) -> [u8; INDEX_SIZE] {
        zerocopy::transmute!(RawIndex {
            id: U32::new(self.id),
            dim: U32::new(self.dim),
            element: self.element as u8,
            metric: self.metric as u8,
            mode: U16::new(self.mode),
            uid: U32::new(self.uid),
            gid: U32::new(self.gid),
            dropping: U32::new(u32::from(self.dropping)),
            records: U64::new(self.records),
            segments: U32::new(self.segments),
            next_segment: U32::new(self.next_segment),
            free_slots: U64::new(self.free_slots),
            hint: U32::new(self.hint),
            name_len: U32::new(u32::from(self.name.len)),
            made_at: I64::new(self.made_at),
            name: self.name.bytes,
            root: U64::new(self.tree.root),
            entries: U64::new(self.tree.entries),
            rotation: U64::new(self.tree.rotation),
            changes: U64::new(self.tree.changes),
            partitions: U32::new(self.tree.partitions),
            height: self.tree.height,
            efforts: self.efforts.to_bytes(),
            graph: U64::new(self.graph),
        })
    }

    /// Bytes of one vector.
    pub fn vector_bytes(&self) -> usize {
        self.element.bytes(self.dim)
    }
}

/// Key of an index.
pub fn index_key(id: u32) -> Key {
    Key::two(CLASS_INDEX, u64::from(id))
}

/// First of the keys that an index name can have; the second word counts collisions.
pub fn name_key(seed: &[u8; 16], name: &IndexName) -> Key {
    Key::two(CLASS_NAME | (siphash24(seed, name.as_bytes()) >> 8), 0)
}

/// Key of the counter of index ids.
pub fn counter_key() -> Key {
    Key::two(CLASS_COUNTER, 0)
}

/// Reads the value of a name: the index id, and the name.
pub fn parse_name(value: &[u8]) -> Result<(u32, IndexName), Invalid> {
    let id = u32_at(value, 0).ok_or(Invalid("short index name entry"))?;
    let name = value.get(4..).ok_or(Invalid("short index name entry"))?;
    Ok((id, IndexName::new(name)?))
}

/// Bytes of the longest value of a name.
pub const NAME_VALUE_MAX: usize = 4 + INDEX_NAME_MAX;

/// Writes the value of a name into `buf` and returns it.
pub fn write_name<'b>(
    id: u32,
    name: &IndexName,
    buf: &'b mut [u8; NAME_VALUE_MAX],
) -> Result<&'b [u8], Invalid> {
    let bad = Invalid("index name too long");
    put(buf, 0, &id.to_le_bytes()).ok_or(bad)?;
    put(buf, 4, name.as_bytes()).ok_or(bad)?;
    slice(buf, 0, name.as_bytes().len().saturating_add(4)).ok_or(bad)
}

/// Key of a segment.
pub fn segment_key(id: u32, segment: u32) -> Key {
    Key::two(CLASS_SEGMENT | u64::from(id), u64::from(segment))
}

/// Key of a record in the vector map.
pub fn record_key(ino: u64, index: u32, label: u64) -> Key {
    Key::three(ino, u64::from(index), label)
}

/// Where a segment lies, as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSegmentRef {
    /// First block: the segment's header.
    pub start: U64,
    /// Blocks, the header included.
    pub blocks: U32,
    /// Slots.
    pub slots: U32,
    /// Free slots.
    pub free: U32,
    /// Zero.
    pub reserved: U32,
}

/// Bytes of [`RawSegmentRef`].
pub const SEGMENT_REF_SIZE: usize = core::mem::size_of::<RawSegmentRef>();

/// Where a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SegmentRef {
    pub start: u64,
    pub blocks: u32,
    pub slots: u32,
    pub free: u32,
}

impl SegmentRef {
    /// Reads the value. Checked: ranges below 2^48 blocks, at least two blocks and one slot, not more free than slots.
    pub fn parse(value: &[u8]) -> Result<SegmentRef, Invalid> {
        if value.len() != SEGMENT_REF_SIZE {
            return Err(Invalid("segment reference of the wrong length"));
        }
        let bytes: [u8; SEGMENT_REF_SIZE] =
            array(value, 0).ok_or(Invalid("short segment reference"))?;
        let raw: RawSegmentRef = zerocopy::transmute!(bytes);
        let s = SegmentRef {
            start: raw.start.get(),
            blocks: raw.blocks.get(),
            slots: raw.slots.get(),
            free: raw.free.get(),
        };
        if raw.reserved.get() != 0 {
            return Err(Invalid("reserved bytes of a segment reference not zero"));
        }
        if s.blocks < 2 || s.slots == 0 || s.free > s.slots {
            return Err(Invalid("counts of a segment out of range"));
        }
        if s.start
            .checked_add(u64::from(s.blocks))
            .is_none_or(|e| e > MAX_BLOCKS)
        {
            return Err(Invalid("segment outside the filesystem"));
        }
        Ok(s)
    }

    /// The value's bytes.
    pub fn to_bytes(&self) -> [u8; SEGMENT_REF_SIZE] {
        zerocopy::transmute!(RawSegmentRef {
            start: U64::new(self.start),
            blocks: U32::new(self.blocks),
            slots: U32::new(self.slots),
            free: U32::new(self.free),
            reserved: U32::ZERO,
        })
    }
}

/// Where a record's vector lies, as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSlotAddr {
    /// Segment number.
    pub segment: U32,
    /// Slot in it.
    pub slot: U32,
}

/// Where a record's vector lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct SlotAddr {
    pub segment: u32,
    pub slot: u32,
}

/// Bytes of [`RawSlotAddr`].
pub const SLOT_ADDR_SIZE: usize = core::mem::size_of::<RawSlotAddr>();

impl SlotAddr {
    /// Reads the value.
    pub fn parse(value: &[u8]) -> Result<SlotAddr, Invalid> {
        if value.len() != SLOT_ADDR_SIZE {
            return Err(Invalid("slot address of the wrong length"));
        }
        let bytes: [u8; SLOT_ADDR_SIZE] = array(value, 0).ok_or(Invalid("short slot address"))?;
        let raw: RawSlotAddr = zerocopy::transmute!(bytes);
        Ok(SlotAddr {
            segment: raw.segment.get(),
            slot: raw.slot.get(),
        })
    }

    /// The value's bytes.
    pub fn to_bytes(&self) -> [u8; SLOT_ADDR_SIZE] {
        zerocopy::transmute!(RawSlotAddr {
            segment: U32::new(self.segment),
            slot: U32::new(self.slot),
        })
    }
}

const _: () = assert!(INDEX_SIZE == 176);
const _: () = assert!(SEGMENT_REF_SIZE == 24);
const _: () = assert!(SLOT_ADDR_SIZE == 8);
