// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The graph of an index that was optimised: its root block, its extents, and where in a node's blocks the vector, the neighbours' codes,
//! their factors and their references lie. It may not know what a code means; a binary32 is four bytes here.
//!
//! The root block, after the common block header (owner: the index id), is a [`RawRoot`]; from [`FRESH_AT`] on it lists the references of records
//! that were put after the graph was begun and have no node (u64, as leaves of the search tree have them), the rest is zero.
//!
//! Nodes lie in extents of [`EXTENT_BLOCKS`] blocks, the `n`th under the key (5 << 56 | index id, n) of the index table with its first block as
//! u64; node `i` of the index is node `i % per_extent` of extent `i / per_extent`. Each block holds the common header, zeros up to byte 64, and
//! 63 units of 64 bytes, as blocks of partitions do. A node lies in one block, with as many others as fit, or, if it is larger, in whole blocks that
//! follow each other. Its units:
//!
//! | from | units | what |
//! |---|---|---|
//! | 0 | 1 | [`NodeHeader`] |
//! | 1 | padded / 16 | the record's vector: `padded` binary32 in rotated space |
//! | 1 + padded / 16 | padded / 16 | top bits of the codes of 32 neighbours, as in a pack of a partition |
//! | then | 2 | 32 binary32: what is added to an estimate |
//! | then | 2 | 32 binary32: what multiplies the look-up's sum |
//! | then | 4 | 32 references, u64: of records while the node is not linked, then of nodes |
//!
//! A node whose record goes becomes a [`Tombstone`]: header and references stay, so that the nodes that have it as a neighbour can be led past it; when
//! none has it any more, it is made zero. Zero is every place of a neighbour that there is not, too.

use crate::block::HEADER_SIZE;
use crate::btree::Key;
use crate::bytes::{array, put_u16, put_u32, put_u64, u16_at, u32_at, u64_at};
use crate::partition::{Units, UnitsMut, PACK, UNIT, UNITS};
use crate::vector::MAX_DIM;
use crate::{Block, Invalid, BLOCK_SIZE, MAX_BLOCKS};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Neighbours of a node at most.
pub const DEGREE: usize = PACK;
/// Blocks of an extent of nodes.
pub const EXTENT_BLOCKS: u32 = 64;
/// Blocks of a node of any index at most.
pub const MAX_NODE_BLOCKS: usize = 9;
/// Class of extents in the first key word of the index table.
pub const CLASS_GRAPH: u64 = 5 << 56;
/// Where the list of fresh records begins in the root block.
pub const FRESH_AT: usize = 128;
/// Fresh records that the root block has room for.
pub const MAX_FRESH: usize = (BLOCK_SIZE - FRESH_AT) / 8;

/// Units of the factors, and of the references.
const FACTOR_UNITS: usize = DEGREE * 4 / UNIT;
const REFERENCE_UNITS: usize = DEGREE * 8 / UNIT;
/// Bits of a node's reference that hold its number in the block.
const PLACE_BITS: u32 = 8;

/// The sizes of the nodes of an index: they follow from its dimension.
///
/// # Invariants
/// `padded` is a multiple of 16 from 16 to [`MAX_DIM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeShape {
    padded: usize,
}

impl NodeShape {
    /// For vectors of `dim` elements.
    pub fn new(dim: u32) -> Result<NodeShape, Invalid> {
        if dim == 0 || dim > MAX_DIM {
            return Err(Invalid("dimension out of range"));
        }
        Ok(NodeShape {
            padded: (dim as usize).next_multiple_of(16),
        })
    }

    /// Dimensions, rounded up to a multiple of 16.
    pub const fn padded(&self) -> usize {
        self.padded
    }
    const fn code_units(&self) -> usize {
        self.padded / 16
    }
    /// The unit of a node where the codes begin.
    pub const fn codes_at(&self) -> usize {
        self.code_units().saturating_add(1)
    }
    const fn factors_at(&self) -> usize {
        self.codes_at().saturating_add(self.code_units())
    }
    /// The unit of a node where the references begin.
    pub const fn references_at(&self) -> usize {
        self.factors_at().saturating_add(2 * FACTOR_UNITS)
    }
    /// Units of a node.
    pub const fn units(&self) -> usize {
        self.references_at().saturating_add(REFERENCE_UNITS)
    }
    /// Blocks that a node lies in.
    pub const fn blocks(&self) -> usize {
        self.units().div_ceil(UNITS)
    }
    /// Nodes of a block; 1 also if one takes several.
    pub const fn per_block(&self) -> usize {
        match UNITS.checked_div(self.units()) {
            Some(0) | None => 1,
            Some(n) => n,
        }
    }
    /// Nodes of an extent.
    pub const fn per_extent(&self) -> usize {
        let groups = match (EXTENT_BLOCKS as usize).checked_div(self.blocks()) {
            Some(groups) => groups,
            None => 1,
        };
        groups.saturating_mul(self.per_block())
    }
    /// First block of node `place` of an extent, from the extent's first, and its number in that block.
    pub const fn place(&self, place: usize) -> (u64, usize) {
        match (
            place.checked_div(self.per_block()),
            place.checked_rem(self.per_block()),
        ) {
            (Some(group), Some(n)) => (group.saturating_mul(self.blocks()) as u64, n),
            _ => (0, place),
        }
    }
    /// The unit, from that of the first block, where number `n` of a block begins.
    pub const fn first_unit(&self, n: usize) -> usize {
        n.saturating_mul(self.units())
    }
}

/// The reference of number `n` of the nodes in `block`.
pub const fn node_reference(block: u64, n: usize) -> u64 {
    block << PLACE_BITS | n as u64 & ((1 << PLACE_BITS) - 1)
}

/// First block, and number in it, of the node that a reference leads to.
pub const fn referred_node(reference: u64) -> (u64, usize) {
    let n = reference & ((1 << PLACE_BITS) - 1);
    (reference >> PLACE_BITS, n as usize)
}

/// Key of an extent of nodes.
pub fn extent_key(id: u32, n: u32) -> Key {
    Key::two(CLASS_GRAPH | u64::from(id), u64::from(n))
}

/// Reads the value of an extent: its first block. Checked: length, and that the extent ends below 2^48.
pub fn parse_extent(value: &[u8]) -> Result<u64, Invalid> {
    let start = u64_at(value, 0)
        .filter(|_| value.len() == 8)
        .ok_or(Invalid("extent of a graph of the wrong length"))?;
    if start == 0 || start >= MAX_BLOCKS - u64::from(EXTENT_BLOCKS) {
        return Err(Invalid("extent of a graph outside the filesystem"));
    }
    Ok(start)
}

/// What unit 0 of a node says: index id u32, state u8 (0 not linked, 1 linked, 2 a [`Tombstone`]), zero u8, neighbours u16, reference of the record u64, zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeHeader {
    /// The index.
    pub index: u32,
    /// Whether the references are of nodes, and codes belong to them.
    pub linked: bool,
    /// Neighbours, at most [`DEGREE`].
    pub neighbours: u16,
    /// The record: first block of its segment << 16 | slot.
    pub record: u64,
}

impl NodeHeader {
    /// Reads unit 0; `None` if the node's record is gone: it is erased, or a [`Tombstone`]. Checked: ranges, and that the rest is zero.
    pub fn read(unit: &[u8; UNIT]) -> Result<Option<NodeHeader>, Invalid> {
        let short = Invalid("short node header");
        let record = u64_at(unit, 8).ok_or(short)?;
        if record == 0 {
            return Tombstone::read(unit).map(|_| None);
        }
        let (linked, zero) = (unit.get(4), unit.get(5));
        let h = NodeHeader {
            index: u32_at(unit, 0).ok_or(short)?,
            linked: linked == Some(&1),
            neighbours: u16_at(unit, 6).ok_or(short)?,
            record,
        };
        if linked.is_none_or(|l| *l > 1) || zero != Some(&0) {
            return Err(Invalid("state of a graph's node out of range"));
        }
        if usize::from(h.neighbours) > DEGREE {
            return Err(Invalid("more neighbours than a graph's node can have"));
        }
        if unit.iter().skip(16).any(|b| *b != 0) {
            return Err(Invalid("reserved bytes of a node header not zero"));
        }
        Ok(Some(h))
    }

    /// Writes unit 0.
    pub fn write(&self, unit: &mut [u8; UNIT]) -> Result<(), Invalid> {
        let short = Invalid("short node header");
        unit.fill(0);
        put_u32(unit, 0, self.index).ok_or(short)?;
        *unit.get_mut(4).ok_or(short)? = u8::from(self.linked);
        put_u16(unit, 6, self.neighbours).ok_or(short)?;
        put_u64(unit, 8, self.record).ok_or(short)
    }
}

/// State of a tombstone in its header.
const GONE: u8 = 2;

/// What is left of a node whose record is gone, until no other node has it as a neighbour: index id u32, state u8, zero u8, neighbours u16, zeros; and its references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The index.
    pub index: u32,
    /// Neighbours that it had, if it was linked.
    pub neighbours: u16,
}

impl Tombstone {
    /// Reads unit 0; `None` if it is that of another node, or erased. Checked: ranges, and that the rest is zero.
    pub fn read(unit: &[u8; UNIT]) -> Result<Option<Tombstone>, Invalid> {
        let short = Invalid("short node header");
        if u64_at(unit, 8).ok_or(short)? != 0 || unit.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        if unit.get(4) != Some(&GONE) {
            return Err(Invalid("node of a graph without record is not erased"));
        }
        let t = Tombstone {
            index: u32_at(unit, 0).ok_or(short)?,
            neighbours: u16_at(unit, 6).ok_or(short)?,
        };
        if usize::from(t.neighbours) > DEGREE {
            return Err(Invalid("more neighbours than a graph's node can have"));
        }
        if unit.get(5) != Some(&0) || unit.iter().skip(8).any(|b| *b != 0) {
            return Err(Invalid("reserved bytes of a node header not zero"));
        }
        Ok(Some(t))
    }

    /// Writes unit 0.
    pub fn write(&self, unit: &mut [u8; UNIT]) -> Result<(), Invalid> {
        let short = Invalid("short node header");
        unit.fill(0);
        put_u32(unit, 0, self.index).ok_or(short)?;
        *unit.get_mut(4).ok_or(short)? = GONE;
        put_u16(unit, 6, self.neighbours).ok_or(short)
    }
}

/// The units of one node among those of the blocks that it lies in.
pub struct NodeUnits<'u, U: ?Sized> {
    units: &'u mut U,
    first: usize,
}

impl<'u, U: ?Sized> NodeUnits<'u, U> {
    /// From unit `first` on.
    pub fn new(units: &'u mut U, first: usize) -> Self {
        NodeUnits { units, first }
    }
}

impl<U: UnitsMut + ?Sized> NodeUnits<'_, U> {
    fn unit(&mut self, unit: usize) -> Result<&mut [u8; UNIT], Invalid> {
        self.units
            .unit_mut(self.first.saturating_add(unit))
            .ok_or(MISSING)
    }

    /// Writes the node's header.
    pub fn set_header(&mut self, header: &NodeHeader) -> Result<(), Invalid> {
        header.write(self.unit(0)?)
    }

    /// Writes the vector: `padded` binary32 as bits.
    pub fn put_vector(&mut self, shape: &NodeShape, vector: &[u32]) -> Result<(), Invalid> {
        if vector.len() != shape.padded {
            return Err(Invalid("vector of the wrong length for its node"));
        }
        for (j, values) in vector.chunks(16).enumerate() {
            let unit = self.unit(j.saturating_add(1))?;
            for (n, v) in values.iter().enumerate() {
                put_u32(unit, n.saturating_mul(4), *v).ok_or(MISSING)?;
            }
        }
        Ok(())
    }

    /// Writes the reference of neighbour `n`.
    pub fn put_reference(
        &mut self,
        shape: &NodeShape,
        n: usize,
        reference: u64,
    ) -> Result<(), Invalid> {
        let unit = self.unit(shape.references_at().saturating_add(n / 8))?;
        put_u64(unit, n % 8 * 8, reference).ok_or(MISSING)
    }

    /// Writes the code (its top bits: bit 4 of `padded` values) and the two factors of neighbour `n`.
    pub fn put_code(
        &mut self,
        shape: &NodeShape,
        n: usize,
        code: &[u8],
        factors: [u32; 2],
    ) -> Result<(), Invalid> {
        if code.len() != shape.padded || n >= DEGREE {
            return Err(Invalid("code of the wrong length for its node"));
        }
        let shift = if n < 16 { 0 } else { 4 };
        for (j, dims) in code.chunks_exact(16).enumerate() {
            let unit = self.unit(shape.codes_at().saturating_add(j))?;
            for (four, bytes) in dims.chunks_exact(4).zip(unit.chunks_exact_mut(16)) {
                let nibble = four.iter().rev().fold(0, |n, u| n << 1 | (u >> 4 & 1));
                let byte = bytes.get_mut(n % 16).ok_or(MISSING)?;
                *byte = *byte & !(15 << shift) | nibble << shift;
            }
        }
        for (f, factor) in factors.iter().enumerate() {
            let at = f.saturating_mul(FACTOR_UNITS).saturating_add(n / 16);
            let unit = self.unit(shape.factors_at().saturating_add(at))?;
            put_u32(unit, n % 16 * 4, *factor).ok_or(MISSING)?;
        }
        Ok(())
    }

    /// Makes the codes, factors and references of all neighbours zero.
    pub fn clear_neighbours(&mut self, shape: &NodeShape) -> Result<(), Invalid> {
        for unit in shape.codes_at()..shape.units() {
            self.unit(unit)?.fill(0);
        }
        Ok(())
    }

    /// Makes it a tombstone: vector, codes and factors become zero, and all references unless it has neighbours.
    pub fn bury(&mut self, shape: &NodeShape, tombstone: &Tombstone) -> Result<(), Invalid> {
        let kept = match tombstone.neighbours {
            0 => shape.units(),
            _ => shape.references_at(),
        };
        for unit in 1..kept {
            self.unit(unit)?.fill(0);
        }
        tombstone.write(self.unit(0)?)
    }

    /// Makes the whole node zero.
    pub fn erase(&mut self, shape: &NodeShape) -> Result<(), Invalid> {
        for unit in 0..shape.units() {
            self.unit(unit)?.fill(0);
        }
        Ok(())
    }
}

const MISSING: Invalid = Invalid("block of a graph's node missing");

/// Reads the vector of the node that begins at unit `first`.
pub fn get_vector<U: Units + ?Sized>(
    shape: &NodeShape,
    units: &U,
    first: usize,
    out: &mut [u32],
) -> Result<(), Invalid> {
    if out.len() != shape.padded {
        return Err(Invalid("vector of the wrong length for its node"));
    }
    for (j, values) in out.chunks_mut(16).enumerate() {
        let at = first.saturating_add(1).saturating_add(j);
        let unit = units.unit(at).ok_or(MISSING)?;
        for (n, v) in values.iter_mut().enumerate() {
            *v = u32_at(unit, n.saturating_mul(4)).ok_or(MISSING)?;
        }
    }
    Ok(())
}

/// The reference of neighbour `n` of the node that begins at unit `first`.
pub fn reference<U: Units + ?Sized>(
    shape: &NodeShape,
    units: &U,
    first: usize,
    n: usize,
) -> Result<u64, Invalid> {
    let at = first
        .saturating_add(shape.references_at())
        .saturating_add(n / 8);
    units
        .unit(at)
        .and_then(|unit| u64_at(unit, n % 8 * 8))
        .ok_or(MISSING)
}

/// Reads the top bits of the code (0 or 16 for each dimension) and the factors of neighbour `n` of the node that begins at unit `first`.
pub fn get_code<U: Units + ?Sized>(
    shape: &NodeShape,
    units: &U,
    first: usize,
    n: usize,
    code: &mut [u8],
) -> Result<[u32; 2], Invalid> {
    if code.len() != shape.padded || n >= DEGREE {
        return Err(Invalid("code of the wrong length for its node"));
    }
    let shift = if n < 16 { 0 } else { 4 };
    let unit = |unit: usize| units.unit(first.saturating_add(unit)).ok_or(MISSING);
    for (dim, u) in code.iter_mut().enumerate() {
        let at = (dim % 16 / 4).saturating_mul(16).saturating_add(n % 16);
        let byte = unit(shape.codes_at().saturating_add(dim / 16))?
            .get(at)
            .ok_or(MISSING)?;
        *u = (byte >> shift >> (dim % 4) & 1) << 4;
    }
    let mut factors = [0; 2];
    for (f, factor) in factors.iter_mut().enumerate() {
        let at = f.saturating_mul(FACTOR_UNITS).saturating_add(n / 16);
        let unit = unit(shape.factors_at().saturating_add(at))?;
        *factor = u32_at(unit, n % 16 * 4).ok_or(MISSING)?;
    }
    Ok(factors)
}

/// How far a graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Nodes are being made.
    Making = 1,
    /// All nodes are made; they are being linked.
    Linking = 2,
    /// It is searched.
    Ready = 3,
    /// It is being freed.
    Clearing = 4,
}

impl State {
    /// From its number.
    pub fn from_u32(v: u32) -> Option<State> {
        Some(match v {
            1 => State::Making,
            2 => State::Linking,
            3 => State::Ready,
            4 => State::Clearing,
            _ => return None,
        })
    }
}

/// What a graph's root block says, as it lies on disk, after the block header.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawRoot {
    /// [`State`].
    pub state: U32,
    /// 1 if more records were put since than the list has room for; then the list is empty, and the graph is not searched.
    pub stale: U32,
    /// Nodes made, tombstones and erased ones included.
    pub nodes: U64,
    /// Nodes with a record.
    pub live: U64,
    /// Nodes linked; while linking, the one to go on with; while it is freed, the nodes that it had.
    pub linked: U64,
    /// The node where a search begins, 0 until it is ready.
    pub entry: U64,
    /// While nodes are made: segment to go on with.
    pub segment: U32,
    /// Slot of it to go on with.
    pub slot: U32,
    /// Fresh records listed.
    pub fresh: U32,
    /// Extents.
    pub extents: U32,
    /// Tombstones.
    pub gone: U64,
    /// `changes` of the index when the graph was begun: no two graphs of an index have the same.
    pub generation: U64,
}

/// Bytes of [`RawRoot`].
pub const ROOT_SIZE: usize = core::mem::size_of::<RawRoot>();

/// What a graph's root block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of RawRoot
pub struct Root {
    pub state: State,
    pub stale: bool,
    pub nodes: u64,
    pub live: u64,
    pub linked: u64,
    pub entry: u64,
    pub segment: u32,
    pub slot: u32,
    pub fresh: u32,
    pub extents: u32,
    pub gone: u64,
    pub generation: u64,
}

impl Root {
    /// Reads the fields. Checked: state, that counts fit each other and the list, that a stale graph lists nothing, and that there is an entry exactly if it is
    /// searched.
    pub fn read(block: &Block) -> Result<Root, Invalid> {
        let bytes: [u8; ROOT_SIZE] =
            array(block, HEADER_SIZE).ok_or(Invalid("short root of a graph"))?;
        let raw: RawRoot = zerocopy::transmute!(bytes);
        let r = Root {
            state: State::from_u32(raw.state.get()).ok_or(Invalid("unknown state of a graph"))?,
            stale: raw.stale.get() == 1,
            nodes: raw.nodes.get(),
            live: raw.live.get(),
            linked: raw.linked.get(),
            entry: raw.entry.get(),
            segment: raw.segment.get(),
            slot: raw.slot.get(),
            fresh: raw.fresh.get(),
            extents: raw.extents.get(),
            gone: raw.gone.get(),
            generation: raw.generation.get(),
        };
        let begun = r.state == State::Clearing;
        let left = r.nodes.checked_sub(r.live);
        let counted = left.is_some_and(|left| r.gone <= left);
        if raw.stale.get() > 1 || !counted || (r.linked > r.nodes && !begun) {
            return Err(Invalid("counts of a graph out of range"));
        }
        if r.fresh as usize > MAX_FRESH || (r.stale && r.fresh != 0) {
            return Err(Invalid("fresh records of a graph out of range"));
        }
        if (r.entry != 0) != (r.state == State::Ready) || referred_node(r.entry).0 >= MAX_BLOCKS {
            return Err(Invalid("entry of a graph out of range"));
        }
        Ok(r)
    }

    /// Writes the fields.
    pub fn write(&self, block: &mut Block) -> Result<(), Invalid> {
        let raw = RawRoot {
            state: U32::new(self.state as u32),
            stale: U32::new(u32::from(self.stale)),
            nodes: U64::new(self.nodes),
            live: U64::new(self.live),
            linked: U64::new(self.linked),
            entry: U64::new(self.entry),
            segment: U32::new(self.segment),
            slot: U32::new(self.slot),
            fresh: U32::new(self.fresh),
            extents: U32::new(self.extents),
            gone: U64::new(self.gone),
            generation: U64::new(self.generation),
        };
        crate::bytes::put(block, HEADER_SIZE, zerocopy::IntoBytes::as_bytes(&raw))
            .ok_or(Invalid("short root of a graph"))
    }
}

fn fresh_offset(n: usize) -> usize {
    n.saturating_mul(8).saturating_add(FRESH_AT)
}

/// Reference of the `n`th fresh record.
pub fn fresh(block: &Block, n: usize) -> Option<u64> {
    u64_at(block, fresh_offset(n))
}

/// Sets the reference of the `n`th fresh record.
pub fn put_fresh(block: &mut Block, n: usize, reference: u64) -> Option<()> {
    put_u64(block, fresh_offset(n), reference)
}

/// Checks a root block: its fields, and that the list has as many references as it says, none of them zero, and zeros behind.
pub fn verify_root(block: &Block) -> Result<(), Invalid> {
    let root = Root::read(block)?;
    let gap = block.get(HEADER_SIZE + ROOT_SIZE..FRESH_AT);
    if gap.is_none_or(|gap| gap.iter().any(|b| *b != 0)) {
        return Err(Invalid("reserved bytes of a graph's root not zero"));
    }
    for n in 0..MAX_FRESH {
        let listed = n < root.fresh as usize;
        if fresh(block, n).is_none_or(|r| (r != 0) != listed) {
            return Err(Invalid("list of a graph's fresh records damaged"));
        }
    }
    Ok(())
}

const _: () = assert!(ROOT_SIZE == 72);
const _: () = assert!(HEADER_SIZE + ROOT_SIZE <= FRESH_AT);
const _: () = assert!(MAX_FRESH == 496);
// The largest node: of MAX_DIM dimensions.
const _: () = assert!(
    NodeShape {
        padded: MAX_DIM as usize
    }
    .blocks()
        == MAX_NODE_BLOCKS
);
// At 384 dimensions a node is a block; at 128 two share one.
const _: () = assert!(NodeShape { padded: 384 }.blocks() == 1);
const _: () = assert!(NodeShape { padded: 128 }.per_block() == 2);
