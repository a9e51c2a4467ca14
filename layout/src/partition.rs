// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Partitions of the vector tree: where in a partition's blocks the centroid, the codes of the entries, their factors and
//! their references lie. It may not know what a code means; a binary32 is four bytes here.
//!
//! A partition is one contiguous extent that never moves. Each of its blocks holds the block header, zeros up to byte 64, and 63
//! *units* of 64 bytes; unit `u` of the partition is in block `u / 63`. Units:
//!
//! | from | units | what |
//! |---|---|---|
//! | 0 | 1 | [`Header`] |
//! | 1 | padded / 16 | the centroid: `padded` binary32 in rotated space |
//! | [`Shape::packs_at`] | [`Shape::pack_units`] a pack | packs of 32 entries |
//! | [`Shape::extended_at`] | [`Shape::extended_units`] an entry | extended codes |
//!
//! *padded* is the dimension rounded up to a multiple of 16. A code has five bits a dimension, 0 to 31. A pack holds the top bits
//! in the order in which 32 entries are looked up at once (the layout of FastScan, Andre et al., VLDB 2015), then factors, then references:
//!
//! - padded / 16 units of top bits: unit `j` is for dimensions 16 j to 16 j + 15, in four times 16 bytes; byte `b` of the `s`th sixteen has
//!   entry `b` of the pack in its low nibble, entry `16 + b` in the high one; bit `t` of a nibble is dimension 16 j + 4 s + t;
//! - five factors, each 32 binary32, 2 units;
//! - 32 references, u64, 4 units: in a leaf the segment's first block << 16 | slot, above it the child's first block << 16.
//!
//! Unit `e` of an entry's extended code is for dimensions 128 e to 128 e + 127: byte `b` has the low four bits of dimension 128 e + b in
//! its low nibble, those of 128 e + 64 + b in the high one. Everything that belongs to no entry is zero.

use crate::bytes::{put, put_u16, put_u32, put_u64, u16_at, u32_at, u64_at};
use crate::vector::MAX_DIM;
use crate::{block::HEADER_SIZE, Block, Invalid, BLOCK_SIZE, MAX_BLOCKS};

/// Bytes of a unit.
pub const UNIT: usize = 64;
/// Units of a block.
pub const UNITS: usize = BLOCK_SIZE / UNIT - 1;
/// Entries of a pack.
pub const PACK: usize = 32;
/// Factors of an entry.
pub const FACTORS: usize = 5;
/// Most entries of a partition.
pub const MAX_ENTRIES: usize = 192;
/// Most blocks of a partition.
pub const MAX_PARTITION_BLOCKS: usize = 48;
/// Highest level: far more than a filesystem can hold.
pub const MAX_LEVEL: u8 = 7;
/// Most levels of a tree.
pub const MAX_HEIGHT: u8 = MAX_LEVEL + 1;

/// Units of a factor of a pack.
const FACTOR_UNITS: usize = PACK * 4 / UNIT;
/// Units of the references of a pack.
const REFERENCE_UNITS: usize = PACK * 8 / UNIT;
/// Units of a pack beside the top bits.
const OTHER_UNITS: usize = FACTORS * FACTOR_UNITS + REFERENCE_UNITS;

/// The sizes of the partitions of an index: they follow from its dimension.
///
/// # Invariants
/// `padded` is a multiple of 16 from 16 to [`MAX_DIM`], `capacity` one of 32 up to [`MAX_ENTRIES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    padded: usize,
    capacity: usize,
}

impl Shape {
    /// For vectors of `dim` elements: 192 entries, or 96, 64 or 32 if more would take more than 48 blocks.
    pub fn new(dim: u32) -> Result<Shape, Invalid> {
        if dim == 0 || dim > MAX_DIM {
            return Err(Invalid("dimension out of range"));
        }
        let padded = (dim as usize).next_multiple_of(16);
        for capacity in [MAX_ENTRIES, 96, 64] {
            let shape = Shape { padded, capacity };
            if shape.blocks() <= MAX_PARTITION_BLOCKS {
                return Ok(shape);
            }
        }
        Ok(Shape {
            padded,
            capacity: PACK,
        })
    }

    /// Dimensions, rounded up to a multiple of 16.
    pub const fn padded(&self) -> usize {
        self.padded
    }
    /// Most entries of a partition.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }
    /// Units of the top bits of a pack.
    const fn code_units(&self) -> usize {
        self.padded / 16
    }
    /// Units of a pack.
    pub const fn pack_units(&self) -> usize {
        self.code_units().saturating_add(OTHER_UNITS)
    }
    /// The unit where the first pack begins.
    pub const fn packs_at(&self) -> usize {
        self.code_units().saturating_add(1)
    }
    /// Units of an extended code.
    pub const fn extended_units(&self) -> usize {
        self.padded.div_ceil(128)
    }
    /// The unit where the extended codes begin.
    pub const fn extended_at(&self) -> usize {
        self.packs_at()
            .saturating_add((self.capacity / PACK).saturating_mul(self.pack_units()))
    }
    /// Blocks of a partition.
    pub const fn blocks(&self) -> usize {
        self.extended_at()
            .saturating_add(self.capacity.saturating_mul(self.extended_units()))
            .div_ceil(UNITS)
    }
    /// Blocks at the beginning that `entries` entries' packs lie in; their extended codes may lie further on.
    pub const fn scan_blocks(&self, entries: usize) -> usize {
        self.packs_at()
            .saturating_add(entries.div_ceil(PACK).saturating_mul(self.pack_units()))
            .div_ceil(UNITS)
    }
    /// First block and number of blocks that the extended code of `entry` lies in.
    pub const fn extended_blocks(&self, entry: usize) -> (usize, usize) {
        let first = self
            .extended_at()
            .saturating_add(entry.saturating_mul(self.extended_units()));
        let end = first.saturating_add(self.extended_units()).div_ceil(UNITS);
        (first / UNITS, end.saturating_sub(first / UNITS))
    }

    /// Most blocks that changing one entry touches: the first one, which counts the entries, those of its pack, those of its extended code.
    pub const fn entry_blocks(&self) -> usize {
        let pack = self.pack_units().div_ceil(UNITS).saturating_add(1);
        let extended = self.extended_units().div_ceil(UNITS).saturating_add(1);
        pack.saturating_add(extended).saturating_add(1)
    }

    /// Where the pack of `entry` begins, and the entry's place in it.
    fn place(&self, entry: usize) -> Result<(usize, usize), Invalid> {
        if entry >= self.capacity {
            return Err(Invalid("entry beyond the capacity of a partition"));
        }
        let pack = (entry / PACK).saturating_mul(self.pack_units());
        Ok((self.packs_at().saturating_add(pack), entry % PACK))
    }

    /// Unit and byte of the reference of `entry`.
    fn reference_at(&self, entry: usize) -> Result<(usize, usize), Invalid> {
        let (pack, lane) = self.place(entry)?;
        let unit = pack
            .saturating_add(self.pack_units())
            .saturating_sub(REFERENCE_UNITS)
            .saturating_add(lane / 8);
        Ok((unit, lane % 8 * 8))
    }

    /// Unit and byte of factor `n` of `entry`.
    fn factor_at(&self, entry: usize, n: usize) -> Result<(usize, usize), Invalid> {
        let (pack, lane) = self.place(entry)?;
        let unit = pack
            .saturating_add(self.code_units())
            .saturating_add(n.saturating_mul(FACTOR_UNITS))
            .saturating_add(lane / 16);
        Ok((unit, lane % 16 * 4))
    }
}

/// Reading of a partition's units.
pub trait Units {
    /// Unit `unit`, if it is there.
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]>;
}

/// Changing of a partition's units.
pub trait UnitsMut: Units {
    /// Unit `unit`, if it is there.
    fn unit_mut(&mut self, unit: usize) -> Option<&mut [u8; UNIT]>;
}

/// Unit `unit` in a block of a partition; `unit` counts from the block's first.
pub fn unit_of(block: &Block, unit: usize) -> Option<&[u8; UNIT]> {
    let at = unit.checked_add(1)?.checked_mul(UNIT)?;
    block.get(at..at.checked_add(UNIT)?)?.try_into().ok()
}

/// Like [`unit_of`], to change.
pub fn unit_of_mut(block: &mut Block, unit: usize) -> Option<&mut [u8; UNIT]> {
    let at = unit.checked_add(1)?.checked_mul(UNIT)?;
    block.get_mut(at..at.checked_add(UNIT)?)?.try_into().ok()
}

impl Units for [&Block] {
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.get(unit / UNITS)?, unit % UNITS)
    }
}

impl Units for [Block] {
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.get(unit / UNITS)?, unit % UNITS)
    }
}

impl UnitsMut for [Block] {
    fn unit_mut(&mut self, unit: usize) -> Option<&mut [u8; UNIT]> {
        unit_of_mut(self.get_mut(unit / UNITS)?, unit % UNITS)
    }
}

const MISSING: Invalid = Invalid("block of a partition missing");

/// The reference of `entry`.
pub fn reference<U: Units + ?Sized>(
    shape: &Shape,
    units: &U,
    entry: usize,
) -> Result<u64, Invalid> {
    let (unit, at) = shape.reference_at(entry)?;
    let unit = units.unit(unit).ok_or(MISSING)?;
    u64_at(unit, at).ok_or(MISSING)
}

/// Which of the first `entries` entries refers to `wanted`.
pub fn find<U: Units + ?Sized>(
    shape: &Shape,
    units: &U,
    entries: usize,
    wanted: u64,
) -> Result<Option<usize>, Invalid> {
    for entry in 0..entries {
        if reference(shape, units, entry)? == wanted {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// Writes an entry: its code (`padded` values below 32), its factors, its reference. What was there is overwritten.
pub fn put_entry<U: UnitsMut + ?Sized>(
    shape: &Shape,
    units: &mut U,
    entry: usize,
    code: &[u8],
    factors: &[u32; FACTORS],
    reference: u64,
) -> Result<(), Invalid> {
    if code.len() != shape.padded {
        return Err(Invalid("code of the wrong length for its partition"));
    }
    let (pack, lane) = shape.place(entry)?;
    let shift = if lane < 16 { 0 } else { 4 };
    for (j, dims) in code.chunks_exact(16).enumerate() {
        let unit = units.unit_mut(pack.saturating_add(j)).ok_or(MISSING)?;
        for (four, bytes) in dims.chunks_exact(4).zip(unit.chunks_exact_mut(16)) {
            let nibble = four.iter().rev().fold(0, |n, u| n << 1 | (u >> 4 & 1));
            let byte = bytes.get_mut(lane % 16).ok_or(MISSING)?;
            *byte = *byte & !(15 << shift) | nibble << shift;
        }
    }
    for (n, factor) in factors.iter().enumerate() {
        let (unit, at) = shape.factor_at(entry, n)?;
        put_u32(units.unit_mut(unit).ok_or(MISSING)?, at, *factor).ok_or(MISSING)?;
    }
    let (unit, at) = shape.reference_at(entry)?;
    put_u64(units.unit_mut(unit).ok_or(MISSING)?, at, reference).ok_or(MISSING)?;
    let first = shape
        .extended_at()
        .saturating_add(entry.saturating_mul(shape.extended_units()));
    for (e, dims) in code.chunks(128).enumerate() {
        let unit = units.unit_mut(first.saturating_add(e)).ok_or(MISSING)?;
        for (b, byte) in unit.iter_mut().enumerate() {
            let low = dims.get(b).map_or(0, |u| u & 15);
            let high = dims.get(b.saturating_add(64)).map_or(0, |u| u & 15);
            *byte = low | high << 4;
        }
    }
    Ok(())
}

/// Reads an entry's code and factors back: the inverse of [`put_entry`].
pub fn get_entry<U: Units + ?Sized>(
    shape: &Shape,
    units: &U,
    entry: usize,
    code: &mut [u8],
) -> Result<[u32; FACTORS], Invalid> {
    if code.len() != shape.padded {
        return Err(Invalid("code of the wrong length for its partition"));
    }
    let (pack, lane) = shape.place(entry)?;
    let shift = if lane < 16 { 0 } else { 4 };
    let first = shape
        .extended_at()
        .saturating_add(entry.saturating_mul(shape.extended_units()));
    for (dim, u) in code.iter_mut().enumerate() {
        let unit = units.unit(pack.saturating_add(dim / 16)).ok_or(MISSING)?;
        let byte = unit
            .get((dim % 16 / 4).saturating_mul(16).saturating_add(lane % 16))
            .ok_or(MISSING)?;
        let top = byte >> shift >> (dim % 4) & 1;
        let unit = units.unit(first.saturating_add(dim / 128)).ok_or(MISSING)?;
        let byte = unit.get(dim % 64).ok_or(MISSING)?;
        let low = if dim % 128 < 64 { byte & 15 } else { byte >> 4 };
        *u = top << 4 | low;
    }
    let mut factors = [0; FACTORS];
    for (n, factor) in factors.iter_mut().enumerate() {
        let (unit, at) = shape.factor_at(entry, n)?;
        *factor = u32_at(units.unit(unit).ok_or(MISSING)?, at).ok_or(MISSING)?;
    }
    Ok(factors)
}

/// Copies entry `from` over entry `to`. Both are reached through [`UnitsMut::unit_mut`] alone.
pub fn copy_entry<U: UnitsMut + ?Sized>(
    shape: &Shape,
    units: &mut U,
    from: usize,
    to: usize,
) -> Result<(), Invalid> {
    let (source, lane) = shape.place(from)?;
    let (target, there) = shape.place(to)?;
    let shift = |lane: usize| if lane < 16 { 0 } else { 4 };
    for j in 0..shape.code_units() {
        let unit = units.unit_mut(source.saturating_add(j)).ok_or(MISSING)?;
        let unit = *unit;
        let into = units.unit_mut(target.saturating_add(j)).ok_or(MISSING)?;
        for (bytes, old) in into.chunks_exact_mut(16).zip(unit.chunks_exact(16)) {
            let nibble = old.get(lane % 16).ok_or(MISSING)? >> shift(lane) & 15;
            let byte = bytes.get_mut(there % 16).ok_or(MISSING)?;
            *byte = *byte & !(15 << shift(there)) | nibble << shift(there);
        }
    }
    let extended = |entry: usize| {
        let first = entry.saturating_mul(shape.extended_units());
        shape.extended_at().saturating_add(first)
    };
    for e in 0..shape.extended_units() {
        let unit = *units
            .unit_mut(extended(from).saturating_add(e))
            .ok_or(MISSING)?;
        *units
            .unit_mut(extended(to).saturating_add(e))
            .ok_or(MISSING)? = unit;
    }
    for n in 0..FACTORS {
        let (unit, at) = shape.factor_at(from, n)?;
        let factor = units.unit_mut(unit).and_then(|u| u32_at(u, at));
        let (unit, at) = shape.factor_at(to, n)?;
        let unit = units.unit_mut(unit).ok_or(MISSING)?;
        put_u32(unit, at, factor.ok_or(MISSING)?).ok_or(MISSING)?;
    }
    let (unit, at) = shape.reference_at(from)?;
    let reference = units.unit_mut(unit).and_then(|u| u64_at(u, at));
    let (unit, at) = shape.reference_at(to)?;
    let unit = units.unit_mut(unit).ok_or(MISSING)?;
    put_u64(unit, at, reference.ok_or(MISSING)?).ok_or(MISSING)
}

/// Makes the bytes of an entry zero.
pub fn clear_entry<U: UnitsMut + ?Sized>(
    shape: &Shape,
    units: &mut U,
    entry: usize,
) -> Result<(), Invalid> {
    let (pack, lane) = shape.place(entry)?;
    let keep: u8 = if lane < 16 { 0xf0 } else { 0x0f };
    for j in 0..shape.code_units() {
        let unit = units.unit_mut(pack.saturating_add(j)).ok_or(MISSING)?;
        for bytes in unit.chunks_exact_mut(16) {
            *bytes.get_mut(lane % 16).ok_or(MISSING)? &= keep;
        }
    }
    for n in 0..FACTORS {
        let (unit, at) = shape.factor_at(entry, n)?;
        put_u32(units.unit_mut(unit).ok_or(MISSING)?, at, 0).ok_or(MISSING)?;
    }
    let (unit, at) = shape.reference_at(entry)?;
    put_u64(units.unit_mut(unit).ok_or(MISSING)?, at, 0).ok_or(MISSING)?;
    let first = shape
        .extended_at()
        .saturating_add(entry.saturating_mul(shape.extended_units()));
    for e in 0..shape.extended_units() {
        let unit = units.unit_mut(first.saturating_add(e)).ok_or(MISSING)?;
        unit.fill(0);
    }
    Ok(())
}

/// Writes the centroid: `padded` binary32 as bits.
pub fn put_centroid<U: UnitsMut + ?Sized>(
    shape: &Shape,
    units: &mut U,
    centroid: &[u32],
) -> Result<(), Invalid> {
    if centroid.len() != shape.padded {
        return Err(Invalid("centroid of the wrong length for its partition"));
    }
    for (j, values) in centroid.chunks(16).enumerate() {
        let unit = units.unit_mut(j.saturating_add(1)).ok_or(MISSING)?;
        for (bytes, v) in unit.chunks_exact_mut(4).zip(values) {
            put(bytes, 0, &v.to_le_bytes()).ok_or(MISSING)?;
        }
    }
    Ok(())
}

/// Reads the centroid.
pub fn get_centroid<U: Units + ?Sized>(
    shape: &Shape,
    units: &U,
    centroid: &mut [u32],
) -> Result<(), Invalid> {
    if centroid.len() != shape.padded {
        return Err(Invalid("centroid of the wrong length for its partition"));
    }
    for (j, values) in centroid.chunks_mut(16).enumerate() {
        let unit = units.unit(j.saturating_add(1)).ok_or(MISSING)?;
        for (n, v) in values.iter_mut().enumerate() {
            *v = u32_at(unit, n.saturating_mul(4)).ok_or(MISSING)?;
        }
    }
    Ok(())
}

/// What unit 0 of a partition says: index id u32, level u8, zero u8, entries u16, first block of the parent u64 (0: the root), zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The index.
    pub index: u32,
    /// Height above the leaves.
    pub level: u8,
    /// Entries.
    pub entries: u16,
    /// First block of the partition that has this one as an entry; 0 for the root.
    pub parent: u64,
}

impl Header {
    /// Reads unit 0. Checked: level and entries within their ranges, parent a block number, the rest zero.
    pub fn read(shape: &Shape, unit: &[u8; UNIT]) -> Result<Header, Invalid> {
        let short = Invalid("short partition header");
        let [.., level, zero] = *unit.get(4..6).ok_or(short)? else {
            return Err(short);
        };
        let h = Header {
            index: u32_at(unit, 0).ok_or(short)?,
            level,
            entries: u16_at(unit, 6).ok_or(short)?,
            parent: u64_at(unit, 8).ok_or(short)?,
        };
        if h.level > MAX_LEVEL {
            return Err(Invalid("level of a partition out of range"));
        }
        if usize::from(h.entries) > shape.capacity {
            return Err(Invalid("more entries in a partition than it can hold"));
        }
        if h.parent >= MAX_BLOCKS {
            return Err(Invalid("parent of a partition outside the filesystem"));
        }
        let rest = unit.get(16..).ok_or(short)?;
        if zero != 0 || rest.iter().fold(0, |all, b| all | b) != 0 {
            return Err(Invalid("reserved bytes of a partition header not zero"));
        }
        Ok(h)
    }

    /// Writes unit 0.
    pub fn write(&self, unit: &mut [u8; UNIT]) -> Result<(), Invalid> {
        let short = Invalid("short partition header");
        unit.fill(0);
        put_u32(unit, 0, self.index).ok_or(short)?;
        *unit.get_mut(4).ok_or(short)? = self.level;
        put_u16(unit, 6, self.entries).ok_or(short)?;
        put_u64(unit, 8, self.parent).ok_or(short)
    }
}

/// Bits of a reference that hold the slot.
const SLOT_BITS: u32 = 16;

/// The reference, for leaves, to the record in slot `slot` of the segment that begins at block `segment`.
pub const fn record_reference(segment: u64, slot: u32) -> u64 {
    segment << SLOT_BITS | slot as u64 & ((1 << SLOT_BITS) - 1)
}

/// First block of the segment, and slot, of a leaf's reference.
pub const fn referred_record(reference: u64) -> (u64, u32) {
    let slot = reference & ((1 << SLOT_BITS) - 1);
    (reference >> SLOT_BITS, slot as u32)
}

/// The reference, above the leaves, to the partition that begins at block `start`.
pub const fn child_reference(start: u64) -> u64 {
    record_reference(start, 0)
}

/// First block of the partition that a reference above the leaves leads to; `None` if it leads to none.
pub const fn referred_child(reference: u64) -> Option<u64> {
    match referred_record(reference) {
        (0, _) => None,
        (start, 0) => Some(start),
        _ => None,
    }
}

/// Checks what all blocks of a partition have in common beyond the block header: the bytes between it and the units are zero.
pub fn verify_block(block: &Block) -> Result<(), Invalid> {
    let gap = block.get(HEADER_SIZE..UNIT);
    if gap.is_none_or(|gap| gap.iter().any(|b| *b != 0)) {
        return Err(Invalid("reserved bytes of a partition's block not zero"));
    }
    Ok(())
}

const _: () = assert!(UNITS == 63);
const _: () = assert!(OTHER_UNITS == 14);
const _: () = assert!(MAX_ENTRIES % PACK == 0);
