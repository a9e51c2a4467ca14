// SPDX-License-Identifier: GPL-2.0-only
//! Copying records that a search found out of their slots. What finds them is not its business.

use super::search::Near;
use crate::error::{Error, Result};
use crate::io::ReadBlocks;
use crate::vector::scan::Batch;
use crate::vector::segment::{self, Segment};
use layout::partition::referred_record;
use layout::segment::slot_size;
use layout::vector::Index;

/// Copies the records of `found`, references of slots, into `buf`, as many as it has room for. Returns how many of `found` were looked at, and the records: fewer, if some
/// were removed since. Their references become 0.
///
/// Errors: [`Error::BufferTooSmall`] if `buf` holds not even one slot; [`Error::Corrupt`], [`Error::Io`].
pub(crate) fn copy_records<'b, R: ReadBlocks>(
    io: &R,
    index: &Index,
    found: &mut [Near],
    buf: &'b mut [u8],
) -> Result<(usize, Batch<'b>)> {
    let stride = slot_size(index.vector_bytes());
    if buf.len() < stride {
        return Err(Error::BufferTooSmall);
    }
    let all = index.records.saturating_mul(stride as u64);
    // The segment of the last record: the next one is often in the same.
    let mut held: Option<(Segment, R::Ref)> = None;
    let (mut count, mut seen) = (0usize, 0usize);
    // First all are copied, so that the processor waits for many of them at once; then they are looked at.
    let mut places = buf.chunks_exact_mut(stride.max(1));
    let mut place = places.next();
    while let Some(into) = place.take() {
        let Some(near) = found.get_mut(seen) else {
            break;
        };
        seen = seen.saturating_add(1);
        let (start, slot) = referred_record(near.what);
        if held.as_ref().is_none_or(|(s, _)| s.at.start != start) {
            held = Some(segment::at_block(io, index, start)?);
        }
        let Some((segment, bits)) = &held else {
            break;
        };
        if slot >= segment.at.slots || !segment::is_used(bits, slot) {
            // Removed since.
            near.what = 0;
            place = Some(into);
            continue;
        }
        segment.copy_slot(io, slot, into, all)?;
        count = count.saturating_add(1);
        place = places.next();
    }
    let copied = found.get(..seen).unwrap_or(&[]);
    let copied = copied.iter().filter(|near| near.what != 0);
    for (near, bytes) in copied.zip(buf.chunks_exact(stride.max(1))) {
        let (start, slot) = referred_record(near.what);
        let checked = segment::check_slot(io, index.id, bytes);
        checked.map_err(|what| match segment::at_block(io, index, start) {
            Ok((segment, _)) => Error::corrupt(segment.block_of(slot), what),
            Err(e) => e,
        })?;
    }
    Ok((seen, Batch::new(buf, stride, count)?))
}
