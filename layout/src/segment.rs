// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Vector segments: a contiguous extent of a header block, slots, and locations.
//!
//! Header block, after the common block header (owner: the index id): segment number u32, slot size u32, slots u32, slots in
//! use u32, blocks of the segment u32, initialised blocks u32, initialised blocks of locations u32, zero u32; at offset 64 the slot
//! bitmap, one bit a slot, least significant first.
//!
//! Slots follow in the next block, packed: slot i begins at byte `i * slot_size` of the slot area and may cross block borders. A
//! slot is a [`RawSlot`] and the elements, padded with zeros to a multiple of 8. A free slot is all zero. Blocks of the slot area
//! from number `init` on were never written: whatever they hold counts as zero.
//!
//! The last blocks hold the *locations*: after the common header, for each slot the first block of the leaf of the search tree that its record
//! has an entry in, u64, 0 if it has none, and the reference of its node in the index's graph ([`crate::graph`]), u64, 0 if it has none; 254 slots a block. Blocks of them from number `located` on were never written and count as zero.

use crate::block::HEADER_SIZE;
use crate::bytes::{array, put_u32, put_u64, u32_at, u64_at};
use crate::graph::referred_node;
use crate::vector::MAX_DIM;
use crate::{Block, Crc32, Invalid, BLOCK_SIZE, MAX_BLOCKS};
use zerocopy::little_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a slot before the elements.
pub const SLOT_HEADER: usize = 40;
/// Where the bitmap begins in the header block.
pub const BITMAP_OFFSET: usize = 64;
/// Most slots of a segment: the bits that fit the header block.
pub const MAX_SLOTS: u32 = ((BLOCK_SIZE - BITMAP_OFFSET) * 8) as u32;
/// Largest slot: 4,096 elements of four bytes.
pub const MAX_SLOT_SIZE: usize = SLOT_HEADER + 4 * MAX_DIM as usize;
/// Smallest slot.
pub const MIN_SLOT_SIZE: usize = SLOT_HEADER + 8;

/// Bytes of a slot for vectors of `vector_bytes` bytes.
pub fn slot_size(vector_bytes: usize) -> usize {
    vector_bytes.saturating_add(SLOT_HEADER).saturating_add(7) & !7
}

/// Bytes of a location.
const LOCATION_SIZE: usize = 16;
/// Locations in a block.
pub const BLOCK_LOCATIONS: u32 = ((BLOCK_SIZE - HEADER_SIZE) / LOCATION_SIZE) as u32;

/// Blocks of the slot area of a segment with that many slots.
pub fn slot_area_blocks(slots: u32, slot_size: u32) -> u64 {
    u64::from(slots)
        .saturating_mul(u64::from(slot_size))
        .div_ceil(BLOCK_SIZE as u64)
}

/// Blocks of locations of a segment with that many slots.
pub fn location_blocks(slots: u32) -> u32 {
    slots.div_ceil(BLOCK_LOCATIONS)
}

/// Blocks of a segment with that many slots, its header and locations included.
pub fn segment_blocks(slots: u32, slot_size: u32) -> u64 {
    slot_area_blocks(slots, slot_size)
        .saturating_add(u64::from(location_blocks(slots)))
        .saturating_add(1)
}

/// The leaf of slot `slot`, in the block that holds its location.
pub fn location(block: &Block, slot: u32) -> Option<u64> {
    u64_at(block, location_offset(slot))
}

/// Sets the leaf of slot `slot`, in the block that holds its location.
pub fn put_location(block: &mut Block, slot: u32, leaf: u64) -> Option<()> {
    put_u64(block, location_offset(slot), leaf)
}

/// The node of slot `slot`, in the block that holds its location.
pub fn node(block: &Block, slot: u32) -> Option<u64> {
    u64_at(block, location_offset(slot).saturating_add(8))
}

/// Sets the node of slot `slot`, in the block that holds its location.
pub fn put_node(block: &mut Block, slot: u32, node: u64) -> Option<()> {
    put_u64(block, location_offset(slot).saturating_add(8), node)
}

fn location_offset(slot: u32) -> usize {
    ((slot % BLOCK_LOCATIONS) as usize * LOCATION_SIZE).saturating_add(HEADER_SIZE)
}

/// Checks a block of locations: leaves and nodes lie below block 2^48.
pub fn verify_locations(block: &Block) -> Result<(), Invalid> {
    for slot in 0..BLOCK_LOCATIONS {
        if location(block, slot).is_none_or(|leaf| leaf >= MAX_BLOCKS) {
            return Err(Invalid("location out of range"));
        }
        if node(block, slot).is_none_or(|node| referred_node(node).0 >= MAX_BLOCKS) {
            return Err(Invalid("location of a node out of range"));
        }
    }
    Ok(())
}

/// The fields of a segment's header block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Segment number inside its index.
    pub segment: u32,
    /// Bytes of a slot.
    pub slot_size: u32,
    /// Slots.
    pub slots: u32,
    /// Slots in use.
    pub used: u32,
    /// Blocks, this one included.
    pub blocks: u32,
    /// Blocks of the slot area that were ever written; those after them hold garbage and count as zero.
    pub init: u32,
    /// Blocks of locations that were ever written.
    pub located: u32,
}

impl SegmentHeader {
    /// Reads the fields. Checked: slot size and counts in range, that slots and locations fill the blocks, and no more of either kind
    /// initialised than there are.
    pub fn read(block: &Block) -> Result<SegmentHeader, Invalid> {
        let h = SegmentHeader::fields(block)?;
        let reserved = u32_at(block, HEADER_SIZE.saturating_add(28));
        if reserved != Some(0) {
            return Err(Invalid("reserved bytes of a segment header not zero"));
        }
        let size = h.slot_size as usize;
        if !(MIN_SLOT_SIZE..=MAX_SLOT_SIZE).contains(&size) || size % 8 != 0 {
            return Err(Invalid("slot size out of range"));
        }
        if h.slots == 0 || h.slots > MAX_SLOTS || h.used > h.slots {
            return Err(Invalid("slot count out of range"));
        }
        if segment_blocks(h.slots, h.slot_size) != u64::from(h.blocks) {
            return Err(Invalid("segment blocks do not follow from its slots"));
        }
        if u64::from(h.init) > slot_area_blocks(h.slots, h.slot_size)
            || h.located > location_blocks(h.slots)
        {
            return Err(Invalid("more segment blocks initialised than there are"));
        }
        Ok(h)
    }

    /// Reads the fields of a block that passed [`crate::block::verify`], which checks what [`SegmentHeader::read`] does.
    pub fn fields(block: &Block) -> Result<SegmentHeader, Invalid> {
        let f = |n: usize| {
            u32_at(block, HEADER_SIZE.saturating_add(n)).ok_or(Invalid("short segment header"))
        };
        Ok(SegmentHeader {
            segment: f(0)?,
            slot_size: f(4)?,
            slots: f(8)?,
            used: f(12)?,
            blocks: f(16)?,
            init: f(20)?,
            located: f(24)?,
        })
    }

    /// Writes the fields.
    pub fn write(&self, block: &mut Block) -> Result<(), Invalid> {
        let fields = [
            self.segment,
            self.slot_size,
            self.slots,
            self.used,
            self.blocks,
            self.init,
            self.located,
            0,
        ];
        for (n, v) in fields.iter().enumerate() {
            put_u32(block, HEADER_SIZE.saturating_add(n.saturating_mul(4)), *v)
                .ok_or(Invalid("short segment header"))?;
        }
        Ok(())
    }
}

/// Checks a header block: fields, that the bitmap has `used` bits, none beyond the last slot, and that the slots in use and their locations
/// lie in initialised blocks.
pub fn verify_header(block: &Block) -> Result<(), Invalid> {
    let h = SegmentHeader::read(block)?;
    let bitmap = block
        .get(BITMAP_OFFSET..)
        .ok_or(Invalid("short segment header"))?;
    let mut used = 0u32;
    let mut end = 0u32;
    let mut base = 0u32;
    for byte in bitmap {
        let room = h.slots.saturating_sub(base).min(8);
        let mask = if room == 8 {
            0xff
        } else {
            (1u8 << room).wrapping_sub(1)
        };
        if byte & !mask != 0 {
            return Err(Invalid("a bit beyond the last slot is set"));
        }
        used = used.saturating_add(byte.count_ones());
        if *byte != 0 {
            // One past the last slot in use so far.
            end = base.saturating_add(8).saturating_sub(byte.leading_zeros());
        }
        base = base.saturating_add(8);
    }
    if slot_area_blocks(end, h.slot_size) > u64::from(h.init) || location_blocks(end) > h.located {
        return Err(Invalid("slots in use in blocks that were never written"));
    }
    if used != h.used {
        return Err(Invalid("slot bitmap does not match the count in use"));
    }
    Ok(())
}

/// Header of a slot as it lies on disk.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RawSlot {
    /// Inode of the record.
    pub ino: U64,
    /// Label.
    pub label: U64,
    /// The user's tag.
    pub tag: U64,
    /// Generation of the inode.
    pub generation: U32,
    /// `vector_epoch` of the inode.
    pub epoch: U32,
    /// Index.
    pub index: U32,
    /// crc32 of the whole slot with this field zero.
    pub crc: U32,
}

const CRC_OFFSET: usize = 36;

/// Header of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are those of RawSlot
pub struct SlotHeader {
    pub ino: u64,
    pub label: u64,
    pub tag: u64,
    pub generation: u32,
    pub epoch: u32,
    pub index: u32,
}

impl SlotHeader {
    /// Reads the header of a slot, without its checksum.
    pub fn read(slot: &[u8]) -> Option<SlotHeader> {
        let bytes: [u8; SLOT_HEADER] = array(slot, 0)?;
        let raw: RawSlot = zerocopy::transmute!(bytes);
        Some(SlotHeader {
            ino: raw.ino.get(),
            label: raw.label.get(),
            tag: raw.tag.get(),
            generation: raw.generation.get(),
            epoch: raw.epoch.get(),
            index: raw.index.get(),
        })
    }

    /// The header's bytes with checksum `crc`.
    pub fn to_bytes(&self, crc: u32) -> [u8; SLOT_HEADER] {
        zerocopy::transmute!(RawSlot {
            ino: U64::new(self.ino),
            label: U64::new(self.label),
            tag: U64::new(self.tag),
            generation: U32::new(self.generation),
            epoch: U32::new(self.epoch),
            index: U32::new(self.index),
            crc: U32::new(crc),
        })
    }

    /// Checksum of a slot with this header and these elements, padded to `slot_size`.
    pub fn checksum(&self, elements: &[u8], slot_size: usize, seed: u32, crc: Crc32) -> u32 {
        let c = crc(crc(seed, &self.to_bytes(0)), elements);
        let pad = slot_size
            .saturating_sub(SLOT_HEADER)
            .saturating_sub(elements.len());
        crc(c, [0u8; 8].get(..pad).unwrap_or(&[]))
    }
}

/// Checks the checksum of a whole slot.
pub fn verify_slot(slot: &[u8], seed: u32, crc: Crc32) -> Result<(), Invalid> {
    let stored = u32_at(slot, CRC_OFFSET);
    if stored.is_none() || stored != crate::block::crc_without(slot, CRC_OFFSET, seed, crc) {
        return Err(Invalid("slot checksum does not match"));
    }
    Ok(())
}

const _: () = assert!(core::mem::size_of::<RawSlot>() == SLOT_HEADER);
