// SPDX-License-Identifier: GPL-2.0-only
//! All records of an index in bounded steps, for exact search: slots are copied to the caller's buffer, packed and checked, so that
//! distances can be computed over them at one stride, without locks.
//!
//! Between two steps the index may change. Segment numbers are never used again and are scanned in ascending order, so a
//! scan sees every record that exists from its beginning to its end exactly once; one that is put or deleted meanwhile may be
//! seen or not, and one that is deleted and put again may be seen in both places. What a hit is worth is asked
//! at the end, with [`is_live`].

use super::record::look_up;
use super::segment::{self, SlotReader};
use super::table;
use crate::error::{Error, Result};
use crate::inode;
use crate::io::ReadBlocks;
use layout::inode::Slot;
use layout::segment::{slot_size, SlotHeader, SLOT_HEADER};
use layout::vector::{record_key, Index};

/// How far a scan got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanPos {
    segment: u32,
    slot: u32,
}

/// Records that a step copied.
///
/// # Invariants
/// `bytes` is `count` slots of `stride` bytes; each passed its checksum and belongs to the index.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    bytes: &'a [u8],
    stride: usize,
    count: usize,
}

impl<'a> Batch<'a> {
    /// The first `count` slots of `buf`, which were copied and checked.
    pub(crate) fn new(buf: &'a [u8], stride: usize, count: usize) -> Result<Batch<'a>> {
        let bytes = buf
            .get(..count.saturating_mul(stride))
            .ok_or(Error::Internal("more slots than the buffer holds"))?;
        Ok(Batch {
            bytes,
            stride,
            count,
        })
    }

    /// Where the elements of a record begin in its slot.
    pub const ELEMENTS: usize = SLOT_HEADER;

    /// All slots, one after the other.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes from one slot to the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Number of records.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whose record slot `n` holds.
    pub fn header(&self, n: usize) -> Option<SlotHeader> {
        let at = n.checked_mul(self.stride)?;
        SlotHeader::read(self.bytes.get(at..)?)
    }
}

/// Copies the next records from `pos` on into `buf` and moves `pos` on. `None` after the last; a batch may be empty before
/// that. One call reads at most one segment and `buf`'s length of it.
///
/// Errors: [`Error::BufferTooSmall`] if `buf` holds not even one slot; [`Error::Corrupt`], [`Error::Io`].
pub fn scan<'b, R: ReadBlocks>(
    io: &R,
    index: &Index,
    pos: &mut ScanPos,
    buf: &'b mut [u8],
) -> Result<Option<Batch<'b>>> {
    let stride = slot_size(index.vector_bytes());
    if buf.len() < stride {
        return Err(Error::BufferTooSmall);
    }
    let Some(s) = segment::next(io, &table(io)?, index, pos.segment)? else {
        return Ok(None);
    };
    if s.number != pos.segment {
        *pos = ScanPos {
            segment: s.number,
            slot: 0,
        };
    }
    let (bits, h) = s.header(io)?;
    let fit = u32::try_from(buf.len().checked_div(stride).unwrap_or(0)).unwrap_or(u32::MAX);
    // This step's blocks and the next step's: the next ones are read while the caller computes.
    let (first, blocks) = s.blocks_from(&h, pos.slot, fit.saturating_mul(2));
    if blocks != 0 {
        io.prefetch(first, blocks);
    }
    let mut reader = SlotReader::new(io, &s);
    let mut count = 0usize;
    for place in buf.chunks_exact_mut(stride.max(1)) {
        let Some(slot) = segment::next_slot(&bits, pos.slot, h.slots, true) else {
            pos.slot = h.slots;
            break;
        };
        reader.whole(slot, place)?;
        count = count.saturating_add(1);
        pos.slot = slot.saturating_add(1);
    }
    if pos.slot >= h.slots {
        // Cannot wrap: no segment has the highest number.
        *pos = ScanPos {
            segment: s.number.saturating_add(1),
            slot: 0,
        };
    }
    Batch::new(buf, stride, count).map(Some)
}

/// Whether the record of a slot lives: its inode is in use, with links, in the life and epoch that the slot names. The slot may have been read some
/// time ago.
///
/// Errors: [`Error::Corrupt`] if the inode is not in use and still has the record: records are removed before their inode is freed, so the inode
/// was lost, and the record may not vanish from answers without a word. [`Error::Io`].
pub fn is_live<R: ReadBlocks>(io: &R, h: &SlotHeader) -> Result<bool> {
    let slot = inode::load_slot(io, h.ino)?;
    if let Slot::Used(i) = slot {
        return Ok(i.links != 0 && i.generation == h.generation && i.vector_epoch == h.epoch);
    }
    let key = record_key(h.ino, h.index, h.label);
    if look_up(io, &super::map(io)?, &key)?.is_some() {
        return Err(Error::corrupt(
            inode::home_block(io, h.ino),
            "a vector record belongs to an inode that is not in use",
        ));
    }
    Ok(false)
}
