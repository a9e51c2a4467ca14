// SPDX-License-Identifier: GPL-2.0-only
//! Segments: contiguous runs of slots. Finding one with room, making and freeing them, taking and giving back slots, and the
//! bytes of slots across block borders. It may not know the vector map.
//!
//! A segment begins with 64 KiB and doubles with the number of segments that its index has, up to 4 MiB; on a fragmented disk it is
//! as large as the run that was found. Its blocks are not written when it is made: the header says how many ever were, slots are
//! taken from the lowest free one, and the block after the last one written is created when the first slot reaches into it. The locations behind
//! the slots are [`super::location`]'s; here they are made and freed with their segment.

use super::index::{self, table_block};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space;
use crate::tree::{self, Which};
use core::ops::Range;
use layout::block::{read_header, write_header, BlockKind, Header};
use layout::btree::Key;
use layout::bytes::{put, slice, slice_mut, u64_at, zero};
use layout::inode::Inode;
use layout::segment::{
    location_blocks, segment_blocks, slot_area_blocks, slot_size, SegmentHeader, SlotHeader,
    BITMAP_OFFSET, BLOCK_LOCATIONS, MAX_SLOTS, SLOT_HEADER,
};
use layout::vector::{segment_key, Index, SegmentRef, SlotAddr};
use layout::{Block, BLOCK_SIZE};

/// Blocks of the first segment of an index.
const FIRST_BLOCKS: u32 = 16;
/// Blocks of the largest segments.
pub const MAX_SEGMENT_BLOCKS: u32 = 1024;
/// Segments looked at for a free slot before a new segment is made.
const LOOK_FOR_ROOM: u32 = 64;

/// A segment of an index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub index: u32,
    pub number: u32,
    pub slot_size: usize,
    pub at: SegmentRef,
}

/// Most blocks that a slot touches, wherever it begins.
pub(crate) fn slot_blocks(index: &Index) -> u32 {
    let size = slot_size(index.vector_bytes());
    size.div_ceil(BLOCK_SIZE).saturating_add(1) as u32
}

/// Reads an entry of the index table.
pub(crate) fn parse<R: ReadBlocks>(
    io: &R,
    table: &Inode,
    index: &Index,
    key: &Key,
    value: &[u8],
) -> Result<Segment> {
    let bad = |what| Error::corrupt(table_block(io, table), what);
    let at = SegmentRef::parse(value).map_err(|e| bad(e.0))?;
    let number = u32::try_from(key.b())
        .ok()
        .filter(|n| *n != u32::MAX)
        .ok_or(bad("segment number out of range"))?;
    let geo = &io.sb().geometry;
    if !geo.is_data(at.start, u64::from(at.blocks)) {
        return Err(bad("segment lies outside the data area of a group"));
    }
    Ok(Segment {
        index: index.id,
        number,
        slot_size: slot_size(index.vector_bytes()),
        at,
    })
}

/// Segment `number` of `index`.
pub(crate) fn load<R: ReadBlocks>(
    io: &R,
    table: &Inode,
    index: &Index,
    number: u32,
) -> Result<Option<Segment>> {
    let key = segment_key(index.id, number);
    tree::get(io, table, Which::Data, &key, |v| {
        parse(io, table, index, &key, v)
    })
}

/// The first segment from number `from` on.
pub(crate) fn next<R: ReadBlocks>(
    io: &R,
    table: &Inode,
    index: &Index,
    from: u32,
) -> Result<Option<Segment>> {
    let first = segment_key(index.id, from);
    let mut found = None;
    tree::walk(io, table, Which::Data, &first, |k, v| {
        if k.a() == first.a() {
            found = Some(parse(io, table, index, k, v)?);
        }
        Ok(false)
    })?;
    Ok(found)
}

/// What the segments of an index amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Slots, used and free.
    pub slots: u64,
    /// Blocks of the device, headers included.
    pub blocks: u64,
}

/// Adds the segments of an index up.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn usage<R: ReadBlocks>(io: &R, index: &Index) -> Result<Usage> {
    let table = super::table(io)?;
    let first = segment_key(index.id, 0);
    let mut sum = Usage::default();
    tree::walk(io, &table, Which::Data, &first, |k, v| {
        if k.a() != first.a() {
            return Ok(false);
        }
        let s = parse(io, &table, index, k, v)?;
        sum.slots = sum.slots.saturating_add(u64::from(s.at.slots));
        sum.blocks = sum.blocks.saturating_add(u64::from(s.at.blocks));
        Ok(true)
    })?;
    Ok(sum)
}

/// A segment with a free slot, if one is found with bounded effort: the hinted one, else the next after it.
pub(crate) fn with_room<R: ReadBlocks>(
    io: &R,
    table: &Inode,
    index: &Index,
) -> Result<Option<Segment>> {
    if index.free_slots == 0 {
        return Ok(None);
    }
    let mut looked = 0u32;
    let mut found = None;
    // From the hint to the end, then once more from the beginning.
    for from in [index.hint, 0] {
        let first = segment_key(index.id, from);
        tree::walk(io, table, Which::Data, &first, |k, v| {
            if k.a() != first.a() || looked >= LOOK_FOR_ROOM {
                return Ok(false);
            }
            looked = looked.saturating_add(1);
            let s = parse(io, table, index, k, v)?;
            if s.at.free != 0 {
                found = Some(s);
            }
            Ok(found.is_none())
        })?;
        if found.is_some() || from == 0 {
            break;
        }
    }
    Ok(found)
}

/// The segment of `index` that begins at block `start`, as its own header has it, and that: for ids of the search tree, which name no numbers.
pub(crate) fn at_block<R: ReadBlocks>(
    io: &R,
    index: &Index,
    start: u64,
) -> Result<(Segment, R::Ref)> {
    let bad = |what| Error::corrupt(start, what);
    let data = io.read(start, BlockKind::Segment)?;
    let owner = read_header(&data, BlockKind::Segment)
        .map_err(|e| bad(e.0))?
        .owner;
    let h = SegmentHeader::fields(&data).map_err(|e| bad(e.0))?;
    let size = slot_size(index.vector_bytes());
    if owner != u64::from(index.id) || h.slot_size as usize != size {
        return Err(bad(
            "entry of a search tree leads to a segment of another index",
        ));
    }
    if !io.sb().geometry.is_data(start, u64::from(h.blocks)) {
        return Err(bad("segment lies outside the data area of a group"));
    }
    let segment = Segment {
        index: index.id,
        number: h.segment,
        slot_size: size,
        at: SegmentRef {
            start,
            blocks: h.blocks,
            slots: h.slots,
            free: h.slots.saturating_sub(h.used),
        },
    };
    Ok((segment, data))
}

impl Segment {
    fn key(&self) -> Key {
        segment_key(self.index, self.number)
    }

    /// Holds a header block to what the index table says of the segment.
    fn check(&self, data: &Block) -> Result<SegmentHeader> {
        let bad = |what| Error::corrupt(self.at.start, what);
        let owner = read_header(data, BlockKind::Segment)
            .map_err(|e| bad(e.0))?
            .owner;
        let h = SegmentHeader::read(data).map_err(|e| bad(e.0))?;
        if owner != u64::from(self.index) || h.segment != self.number {
            return Err(bad(
                "segment belongs to another index, or is another one of it",
            ));
        }
        if h.slot_size as usize != self.slot_size
            || h.slots != self.at.slots
            || h.blocks != self.at.blocks
        {
            return Err(bad("sizes of a segment differ from the index table's"));
        }
        if self.at.slots.checked_sub(h.used) != Some(self.at.free) {
            return Err(bad("free slots of a segment differ from the index table's"));
        }
        Ok(h)
    }

    /// The header block and its fields.
    pub(crate) fn header<R: ReadBlocks>(&self, io: &R) -> Result<(R::Ref, SegmentHeader)> {
        let data = io.read(self.at.start, BlockKind::Segment)?;
        let h = self.check(&data)?;
        Ok((data, h))
    }

    /// Where slot `slot` lies in the slot area, in bytes.
    fn range(&self, slot: u32) -> Result<Range<u64>> {
        if slot >= self.at.slots {
            return Err(Error::corrupt(
                self.at.start,
                "slot beyond the end of its segment",
            ));
        }
        let size = self.slot_size as u64;
        let at = u64::from(slot).saturating_mul(size);
        Ok(at..at.saturating_add(size))
    }

    /// The block at byte `at` of the slot area.
    fn block(&self, at: u64) -> u64 {
        self.at
            .start
            .saturating_add(1)
            .saturating_add(at / BLOCK_SIZE as u64)
    }

    /// Copies slot `slot` whole to `out`, unchecked. `all` as in [`ReadBlocks::copy_slots`].
    pub(crate) fn copy_slot<R: ReadBlocks>(
        &self,
        io: &R,
        slot: u32,
        out: &mut [u8],
        all: u64,
    ) -> Result<()> {
        let range = self.range(slot)?;
        let at = (range.start % BLOCK_SIZE as u64) as usize;
        let out = out
            .get_mut(..self.slot_size)
            .ok_or(Error::Internal("buffer shorter than a slot"))?;
        io.copy_slots(self.block(range.start), at, out, all)
    }

    /// Says that slot `slot` will be copied whole. Errors: [`Error::Corrupt`] if there is no such slot.
    pub(crate) fn announce<R: ReadBlocks>(&self, io: &R, slot: u32) -> Result<()> {
        let range = self.range(slot)?;
        let at = (range.start % BLOCK_SIZE as u64) as usize;
        io.slots_ahead(self.block(range.start), at, self.slot_size);
        Ok(())
    }

    /// The block that holds the location of slot `slot`.
    pub(crate) fn location_block(&self, slot: u32) -> u64 {
        self.at
            .start
            .saturating_add(1)
            .saturating_add(slot_area_blocks(self.at.slots, self.slot_size as u32))
            .saturating_add(u64::from(slot / BLOCK_LOCATIONS))
    }

    /// Block to name when slot `slot` is damaged.
    pub(crate) fn block_of(&self, slot: u32) -> u64 {
        self.range(slot)
            .map_or(self.at.start, |r| self.block(r.start))
    }

    /// First block and number of blocks of `slots` slots from `slot` on, the part that was ever written: what to prefetch.
    pub(crate) fn blocks_from(&self, h: &SegmentHeader, slot: u32, slots: u32) -> (u64, u32) {
        let size = self.slot_size as u64;
        let first = u64::from(slot).saturating_mul(size) / BLOCK_SIZE as u64;
        let end = u64::from(slot)
            .saturating_add(u64::from(slots))
            .saturating_mul(size)
            .div_ceil(BLOCK_SIZE as u64)
            .min(u64::from(h.init));
        let n = end.saturating_sub(first);
        (
            self.block(first.saturating_mul(BLOCK_SIZE as u64)),
            n as u32,
        )
    }
}

/// Whether the slot bitmap of a header block has `slot`.
pub(crate) fn is_used(header: &Block, slot: u32) -> bool {
    let byte = BITMAP_OFFSET.saturating_add(slot as usize / 8);
    header.get(byte).is_some_and(|b| b & (1 << (slot % 8)) != 0)
}

/// The first slot from `from` on whose bit is `used`, below `slots`.
pub(crate) fn next_slot(header: &Block, from: u32, slots: u32, used: bool) -> Option<u32> {
    let mut n = from / 64;
    while n.saturating_mul(64) < slots {
        let word = u64_at(header, BITMAP_OFFSET.saturating_add(n as usize * 8))?;
        let mut hit = if used { word } else { !word };
        if n == from / 64 {
            hit &= u64::MAX.wrapping_shl(from % 64);
        }
        if hit != 0 {
            let slot = n.saturating_mul(64).saturating_add(hit.trailing_zeros());
            return (slot < slots).then_some(slot);
        }
        n = n.saturating_add(1);
    }
    None
}

fn set_bit(header: &mut Block, slot: u32, used: bool) -> Result<()> {
    let byte = BITMAP_OFFSET.saturating_add(slot as usize / 8);
    let b = header
        .get_mut(byte)
        .ok_or(Error::Internal("slot outside its bitmap"))?;
    let mask = 1u8 << (slot % 8);
    *b = if used { *b | mask } else { *b & !mask };
    Ok(())
}

/// Copies bytes of a slot area out, keeping hold of the block that it read last.
pub(crate) struct SlotReader<'a, R: ReadBlocks> {
    io: &'a R,
    segment: Segment,
    held: Option<(u64, R::Ref)>,
}

impl<'a, R: ReadBlocks> SlotReader<'a, R> {
    pub(crate) fn new(io: &'a R, segment: &Segment) -> Self {
        SlotReader {
            io,
            segment: *segment,
            held: None,
        }
    }

    /// Gives the bytes `at..to` of slot `slot` to `f`, in pieces as they lie in blocks.
    fn pieces(
        &mut self,
        slot: u32,
        at: usize,
        to: usize,
        mut f: impl FnMut(&[u8]) -> Option<()>,
    ) -> Result<()> {
        let range = self.segment.range(slot)?;
        let mut from = range.start.saturating_add(at as u64);
        let end = range.start.saturating_add(to as u64);
        if end > range.end {
            return Err(Error::Internal("reading beyond a slot"));
        }
        while from < end {
            let block = self.segment.block(from);
            if self.held.as_ref().is_none_or(|(b, _)| *b != block) {
                self.held = Some((block, self.io.read(block, BlockKind::Slots)?));
            }
            let Some((_, data)) = &self.held else {
                return Err(Error::Internal("no block held"));
            };
            let off = (from % BLOCK_SIZE as u64) as usize;
            let left = end.saturating_sub(from) as usize;
            let n = left.min(BLOCK_SIZE.saturating_sub(off));
            slice(&data[..], off, n)
                .and_then(&mut f)
                .ok_or(Error::Internal("slot piece outside its block"))?;
            from = from.saturating_add(n as u64);
        }
        Ok(())
    }

    /// Fills `out` with the bytes from `at` of slot `slot` on, unchecked.
    fn copy(&mut self, slot: u32, at: usize, out: &mut [u8]) -> Result<()> {
        let mut done = 0usize;
        self.pieces(slot, at, at.saturating_add(out.len()), |bytes| {
            put(out, done, bytes)?;
            done = done.saturating_add(bytes.len());
            Some(())
        })
    }

    /// Copies a whole slot to `out`, which is as long as one, and checks it: checksum, index, not empty.
    pub(crate) fn whole(&mut self, slot: u32, out: &mut [u8]) -> Result<SlotHeader> {
        if out.len() != self.segment.slot_size {
            return Err(Error::Internal("buffer of another length than a slot"));
        }
        self.copy(slot, 0, out)?;
        check_slot(self.io, self.segment.index, out)
            .map_err(|what| Error::corrupt(self.segment.block_of(slot), what))
    }

    /// Reads the header of a slot and its elements into `out`, as long as they are, and checks everything.
    pub(crate) fn parts(&mut self, slot: u32, out: &mut [u8]) -> Result<SlotHeader> {
        let mut raw = [0u8; SLOT_HEADER];
        self.copy(slot, 0, &mut raw)?;
        self.copy(slot, SLOT_HEADER, out)?;
        let short = Error::corrupt(self.segment.block_of(slot), "short slot");
        let h = SlotHeader::read(&raw).ok_or(short)?;
        let size = self.segment.slot_size;
        let sum = h.checksum(out, size, self.io.sb().seed, self.io.crc32());
        // The sum was made over zeros after the elements; so zeros there must be.
        let mut zeros = true;
        self.pieces(slot, SLOT_HEADER.saturating_add(out.len()), size, |pad| {
            zeros &= pad.iter().all(|b| *b == 0);
            Some(())
        })?;
        if !zeros || h.to_bytes(sum) != raw {
            return Err(Error::corrupt(
                self.segment.block_of(slot),
                "slot checksum does not match",
            ));
        }
        self.check(slot, &h)?;
        Ok(h)
    }

    /// Reads the header of a slot; the checksum over all of it is checked on the way.
    pub(crate) fn header(&mut self, slot: u32) -> Result<SlotHeader> {
        let mut raw = [0u8; SLOT_HEADER];
        self.copy(slot, 0, &mut raw)?;
        let short = Error::corrupt(self.segment.block_of(slot), "short slot");
        let h = SlotHeader::read(&raw).ok_or(short)?;
        let crc = self.io.crc32();
        let mut sum = crc(self.io.sb().seed, &h.to_bytes(0));
        self.pieces(slot, SLOT_HEADER, self.segment.slot_size, |bytes| {
            sum = crc(sum, bytes);
            Some(())
        })?;
        if h.to_bytes(sum) != raw {
            return Err(Error::corrupt(
                self.segment.block_of(slot),
                "slot checksum does not match",
            ));
        }
        self.check(slot, &h)?;
        Ok(h)
    }

    fn check(&self, slot: u32, h: &SlotHeader) -> Result<()> {
        check_header(self.segment.index, h)
            .map_err(|what| Error::corrupt(self.segment.block_of(slot), what))
    }
}

/// Checks a whole slot in use of index `index`, which was copied: checksum, index, not empty. Says what is wrong otherwise.
pub(crate) fn check_slot<R: ReadBlocks>(
    io: &R,
    index: u32,
    slot: &[u8],
) -> core::result::Result<SlotHeader, &'static str> {
    layout::segment::verify_slot(slot, io.sb().seed, io.crc32()).map_err(|e| e.0)?;
    let h = SlotHeader::read(slot).ok_or("short slot")?;
    check_header(index, &h)?;
    Ok(h)
}

/// Checks what a slot in use of index `index` says of itself.
fn check_header(index: u32, h: &SlotHeader) -> core::result::Result<(), &'static str> {
    if h.index != index || h.ino == 0 {
        return Err("slot in use is empty or belongs to another index");
    }
    Ok(())
}

/// Gives every block piece of slot `slot` to `f`: the bytes to change, and where in the slot they begin. Blocks from the
/// `init`th on are created.
fn each_piece<T: Transaction>(
    io: &T,
    segment: &Segment,
    slot: u32,
    init: u32,
    mut f: impl FnMut(&mut [u8], usize) -> Option<()>,
) -> Result<()> {
    let range = segment.range(slot)?;
    let mut from = range.start;
    while from < range.end {
        let block = segment.block(from);
        let mut data = if from / BLOCK_SIZE as u64 >= u64::from(init) {
            io.create(block, BlockKind::Slots)?
        } else {
            io.modify(block, BlockKind::Slots)?
        };
        let off = (from % BLOCK_SIZE as u64) as usize;
        let left = range.end.saturating_sub(from) as usize;
        let n = left.min(BLOCK_SIZE.saturating_sub(off));
        let at = from.saturating_sub(range.start) as usize;
        slice_mut(&mut data[..], off, n)
            .and_then(|piece| f(piece, at))
            .ok_or(Error::Internal("slot piece outside its block"))?;
        from = from.saturating_add(n as u64);
    }
    Ok(())
}

/// Copies what `src`, which begins at byte `src_at` of the slot, and the piece that begins at `at` have in common.
fn overlay(piece: &mut [u8], at: usize, src: &[u8], src_at: usize) -> Option<()> {
    let start = at.max(src_at);
    let end = at
        .saturating_add(piece.len())
        .min(src_at.saturating_add(src.len()));
    let n = end.saturating_sub(start);
    if n == 0 {
        return Some(());
    }
    let from = slice(src, start.checked_sub(src_at)?, n)?;
    put(piece, start.checked_sub(at)?, from)
}

/// Writes a record into slot `slot`. `init` is the number of initialised blocks before the slot was taken.
pub(crate) fn write_slot<T: Transaction>(
    io: &T,
    segment: &Segment,
    slot: u32,
    init: u32,
    header: &SlotHeader,
    elements: &[u8],
) -> Result<()> {
    let sum = header.checksum(elements, segment.slot_size, io.sb().seed, io.crc32());
    let raw = header.to_bytes(sum);
    each_piece(io, segment, slot, init, |piece, at| {
        piece.fill(0);
        overlay(piece, at, &raw, 0)?;
        overlay(piece, at, elements, SLOT_HEADER)
    })
}

/// Slots of a segment of `blocks` blocks.
fn slots_in(blocks: u32, size: usize) -> u32 {
    let bytes = u64::from(blocks.saturating_sub(1)).saturating_mul(BLOCK_SIZE as u64);
    // What a slot takes with its location; 508 times it, to stay with whole numbers. Roundings to blocks come on top.
    let locations = u64::from(BLOCK_LOCATIONS);
    let each = (size as u64)
        .saturating_mul(locations)
        .saturating_add(BLOCK_SIZE as u64);
    let n = bytes
        .saturating_mul(locations)
        .checked_div(each)
        .unwrap_or(0);
    let mut slots = u32::try_from(n).unwrap_or(u32::MAX).min(MAX_SLOTS);
    // Two blocks' worth at most.
    while slots != 0 && segment_blocks(slots, size as u32) > u64::from(blocks) {
        slots = slots.saturating_sub(1);
    }
    slots
}

/// Most blocks of locations that a segment of `index` has.
pub(crate) fn most_location_blocks(index: &Index) -> u32 {
    let size = slot_size(index.vector_bytes());
    location_blocks(slots_in(MAX_SEGMENT_BLOCKS, size))
}

/// Makes a segment for `index`, with all slots free. `meta` blocks must remain for trees besides the one of the index
/// table, whose insertion is accounted for here.
///
/// Errors: clean [`Error::NoSpace`], [`Error::TooBig`] if all segment numbers were given; the dirty ones.
pub(crate) fn create<T: Transaction>(
    cx: &mut Cx<'_, T>,
    table: &mut Inode,
    index: &mut Index,
    meta: u64,
) -> Result<Segment> {
    let size = slot_size(index.vector_bytes());
    let number = index.next_segment;
    let next_segment = number.checked_add(1).ok_or(Error::TooBig)?;
    let blocks_for = |slots: u32| {
        u32::try_from(segment_blocks(slots, size as u32)).unwrap_or(MAX_SEGMENT_BLOCKS)
    };
    let least = blocks_for(1);
    let wish = FIRST_BLOCKS
        .wrapping_shl(index.segments.min(6))
        .clamp(FIRST_BLOCKS, MAX_SEGMENT_BLOCKS);
    let meta = meta.saturating_add(tree::new_blocks(table, Which::Data));
    let room = space::available_for_data(cx).saturating_sub(meta);
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    // No more than the slots fill, and no more than there is.
    let most = blocks_for(slots_in(wish.min(room), size).max(1));
    if room < least || most < least {
        return Err(Error::NoSpace);
    }
    // Beside the last segment, so that a scan reads on.
    let near = next_to(cx.io, table, index)?;
    let (start, got) = match space::alloc(cx, near, most.min(FIRST_BLOCKS), most) {
        Err(Error::NoSpace) => space::alloc(cx, near, least, most)?,
        other => other?,
    };
    let slots = slots_in(got, size);
    let blocks = blocks_for(slots);
    let s = Segment {
        index: index.id,
        number,
        slot_size: size,
        at: SegmentRef {
            start,
            blocks,
            slots,
            free: slots,
        },
    };
    finish(cx, table, &s, got).map_err(Error::late)?;
    index.next_segment = next_segment;
    index.segments = index.segments.saturating_add(1);
    index.free_slots = index.free_slots.saturating_add(u64::from(slots));
    index.hint = number;
    Ok(s)
}

/// The block after the index's last segment, 0 if it has none.
fn next_to<R: ReadBlocks>(io: &R, table: &Inode, index: &Index) -> Result<u64> {
    let last = segment_key(index.id, u32::MAX);
    let end = tree::at_or_before(io, table, Which::Data, &last, |k, v| {
        if k.a() != last.a() {
            return Ok(0);
        }
        let s = parse(io, table, index, k, v)?;
        Ok(s.at.start.saturating_add(u64::from(s.at.blocks)))
    })?;
    Ok(end.unwrap_or(0))
}

fn finish<T: Transaction>(
    cx: &mut Cx<'_, T>,
    table: &mut Inode,
    s: &Segment,
    got: u32,
) -> Result<()> {
    let SegmentRef { start, blocks, .. } = s.at;
    if let Some(rest) = got.checked_sub(blocks).filter(|r| *r != 0) {
        space::free(cx, start.saturating_add(u64::from(blocks)), rest)?;
    }
    let mut data = cx.io.create(start, BlockKind::Segment)?;
    let common = Header {
        block: start,
        owner: u64::from(s.index),
        node: None,
    };
    let h = SegmentHeader {
        segment: s.number,
        slot_size: s.slot_size as u32,
        slots: s.at.slots,
        used: 0,
        blocks,
        init: 0,
        located: 0,
    };
    write_header(&mut data, BlockKind::Segment, common)
        .and_then(|()| h.write(&mut data))
        .map_err(Error::at(start))?;
    drop(data);
    tree::insert(cx, table, Which::Data, &s.key(), &s.at.to_bytes())
}

/// Takes the lowest free slot of a segment that has one. Returns it and the number of blocks initialised before.
pub(crate) fn take_slot<T: Transaction>(
    cx: &mut Cx<'_, T>,
    table: &mut Inode,
    index: &mut Index,
    s: &mut Segment,
) -> Result<(u32, u32)> {
    let start = s.at.start;
    let mut data = cx.io.modify(start, BlockKind::Segment)?;
    let mut h = s.check(&data)?;
    let slot = next_slot(&data, 0, h.slots, false).ok_or(Error::corrupt(
        start,
        "segment counts free slots and has none",
    ))?;
    let init = h.init;
    let reach = s.range(slot)?.end.div_ceil(BLOCK_SIZE as u64);
    h.init = init.max(u32::try_from(reach).unwrap_or(u32::MAX));
    h.used = h.used.saturating_add(1);
    // Slots are taken from the lowest free one, so no block of locations is left out.
    let locations = slot / BLOCK_LOCATIONS;
    let first_there = locations >= h.located;
    h.located = h.located.max(locations.saturating_add(1));
    set_bit(&mut data, slot, true)?;
    h.write(&mut data).map_err(Error::at(start))?;
    drop(data);
    if first_there {
        let block = s.location_block(slot);
        let mut data = cx.io.create(block, BlockKind::Locations)?;
        let common = Header {
            block,
            owner: u64::from(s.index),
            node: None,
        };
        write_header(&mut data, BlockKind::Locations, common).map_err(Error::at(block))?;
    }
    s.at.free = s.at.free.saturating_sub(1);
    tree::replace(cx, table, Which::Data, &s.key(), &s.at.to_bytes())?;
    index.free_slots = index.free_slots.checked_sub(1).ok_or(Error::corrupt(
        start,
        "index counts fewer free slots than its segments",
    ))?;
    index.hint = s.number;
    Ok((slot, init))
}

/// Erases a slot and gives it back; a segment without records goes as a whole. Returns whether it did.
pub(crate) fn release_slot<T: Transaction>(
    cx: &mut Cx<'_, T>,
    table: &mut Inode,
    index: &mut Index,
    addr: SlotAddr,
) -> Result<bool> {
    let mut s = load(cx.io, table, index, addr.segment)?.ok_or(Error::corrupt(
        table_block(cx.io, table),
        "record in a segment that does not exist",
    ))?;
    let start = s.at.start;
    s.range(addr.slot)?;
    let SegmentHeader {
        used,
        init,
        located,
        ..
    } = {
        let (data, h) = s.header(cx.io)?;
        if !is_used(&data, addr.slot) {
            return Err(Error::corrupt(start, "record in a slot that is free"));
        }
        h
    };
    each_piece(cx.io, &s, addr.slot, init, |piece, _| {
        zero(piece, 0, piece.len())
    })?;
    if used == 1 {
        free(cx, table, index, &s, init, located)?;
        return Ok(true);
    }
    let mut data = cx.io.modify(start, BlockKind::Segment)?;
    let mut h = s.check(&data)?;
    h.used = h.used.saturating_sub(1);
    set_bit(&mut data, addr.slot, false)?;
    h.write(&mut data).map_err(Error::at(start))?;
    drop(data);
    s.at.free = s.at.free.saturating_add(1);
    tree::replace(cx, table, Which::Data, &s.key(), &s.at.to_bytes())?;
    index.free_slots = index.free_slots.saturating_add(1);
    index.hint = s.number;
    Ok(false)
}

/// Frees a segment with all its blocks; its slots are erased. The first `init` blocks of the slot area were written at some time: they are not
/// forgotten, for then the journal would not write their zeros (docs/decisions/005-erasing-vectors.md). The first `located` blocks of locations say
/// nothing of any vector, and are.
fn free<T: Transaction>(
    cx: &mut Cx<'_, T>,
    table: &mut Inode,
    index: &mut Index,
    s: &Segment,
    init: u32,
    located: u32,
) -> Result<()> {
    let SegmentRef {
        start,
        blocks,
        free,
        ..
    } = s.at;
    let slots = start.saturating_add(1);
    let rest = blocks
        .checked_sub(1)
        .and_then(|b| b.checked_sub(init))
        .ok_or(Error::corrupt(
            start,
            "more segment blocks initialised than there are",
        ))?;
    cx.io.forget(start, BlockKind::Segment)?;
    for n in 0..located {
        let block = s.location_block(n.saturating_mul(BLOCK_LOCATIONS));
        cx.io.forget(block, BlockKind::Locations)?;
    }
    space::free(cx, start, 1)?;
    if init != 0 {
        space::free_erased(cx, slots, init)?;
    }
    if rest != 0 {
        space::free(cx, slots.saturating_add(u64::from(init)), rest)?;
    }
    tree::remove(cx, table, Which::Data, &s.key())?;
    let block = index::table_block(cx.io, table);
    index.segments = index.segments.checked_sub(1).ok_or(Error::corrupt(
        block,
        "index counts fewer segments than it has",
    ))?;
    index.free_slots = index
        .free_slots
        .checked_sub(u64::from(free))
        .ok_or(Error::corrupt(
            block,
            "index counts fewer free slots than its segments",
        ))?;
    Ok(())
}
