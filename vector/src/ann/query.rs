// SPDX-License-Identifier: GPL-2.0-only
//! A query's tables, and its look at one partition after the other.

use super::expect;
use crate::math::ann::{FACTORS, PARAMETERS};
use crate::{Error, Fpu, Metric};
use layout::partition::{Shape, MAX_ENTRIES};
use layout::Block;

/// Memory for a query's tables: slices of the lengths that [`QueryMemory::lengths`] gives.
#[derive(Debug)]
pub struct QueryMemory<'a> {
    /// `padded` entries.
    pub rotated: &'a mut [u32],
    /// 4 `padded` bytes.
    pub table: &'a mut [u8],
    /// `padded` bytes, rounded up to 128.
    pub bytes: &'a mut [u8],
}

impl QueryMemory<'_> {
    /// Entries of `rotated`, `table` and `bytes`.
    pub const fn lengths(shape: &Shape) -> [usize; 3] {
        [
            shape.padded(),
            shape.padded().saturating_mul(4),
            shape.extended_units().saturating_mul(128),
        ]
    }
}

/// [`Noted::limit`] counts bounds in up to two to the power of this ranges: at least half as many.
const RANGE_BITS: u32 = 7;
// No count is greater than a byte's: the entries of a partition are fewer.
const _: () = assert!(MAX_ENTRIES < 256);

/// A query, ready to look at partitions.
///
/// # Invariants
/// The slices have the lengths of [`QueryMemory::lengths`] for `shape`, and were filled by the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    pub(super) shape: Shape,
    pub(super) dot: bool,
    pub(super) rotated: &'a [u32],
    pub(super) table: &'a [u8],
    pub(super) bytes: &'a [u8],
    pub(super) parameters: [u32; PARAMETERS],
}

impl<'a> Query<'a> {
    /// The shape that it was made for.
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }
    /// The query in rotated space.
    pub const fn rotated(&self) -> &'a [u32] {
        self.rotated
    }
}

/// A partition's centroid, as seen from a query.
#[derive(Clone, Copy, Debug)]
pub struct Centroid {
    /// Key of its distance, exact but for rounding.
    pub key: u32,
    pub(super) values: [u32; 2],
}

impl Centroid {
    /// Key of its Euclidean distance, whatever the metric: where a vector belongs. Not to be compared with other keys.
    pub const fn apart(&self) -> u32 {
        // The bits of numbers that are not negative have their order.
        self.values[1]
    }
}

/// Entries of a partition that a query takes an interest in.
///
/// # Invariants
/// `count` is at most [`MAX_ENTRIES`].
#[derive(Debug)]
pub struct Noted {
    pub(super) count: usize,
    pub(super) entry: [u16; ROOM],
    /// Upper bounds of the first look, as bits.
    pub(super) upper: [u32; ROOM],
    pub(super) first: [u32; ROOM],
    pub(super) key: [u32; ROOM],
}

/// The kernel stores sixteen at a time.
const ROOM: usize = MAX_ENTRIES + 16;

/// The key of a binary32 that is given as its bits: an integer of the same order, as the kernels make it. What is no number becomes the greatest.
const fn key(bits: u32) -> u32 {
    const SIGN: u32 = 1 << 31;
    const INFINITY: u32 = 0xff << 23;
    if bits & !SIGN > INFINITY {
        u32::MAX
    } else if bits & SIGN != 0 {
        !bits
    } else {
        bits | SIGN
    }
}

impl Noted {
    /// None. 2.9 KB: not for a kernel's stack.
    pub const fn new() -> Noted {
        Noted {
            count: 0,
            entry: [0; ROOM],
            upper: [0; ROOM],
            first: [0; ROOM],
            key: [0; ROOM],
        }
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.count
    }
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their numbers in the partition and, once refined, keys.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let both = self.entry.iter().zip(&self.key);
        both.take(self.count).map(|(e, k)| (usize::from(*e), *k))
    }

    /// A value that at least `wanted` upper bounds of the entries noted do not exceed, and hardly more: a limit for the second look. [`super::NO_LIMIT`]
    /// if there are fewer. Bounds hold but for a small probability. Before the entries are refined.
    pub fn limit(&mut self, wanted: usize) -> u32 {
        // The place of what the second look will find.
        let uppers = self.key.get_mut(..self.count).unwrap_or(&mut []);
        if wanted == 0 || uppers.len() < wanted {
            return super::NO_LIMIT;
        }
        let (mut low, mut high) = (u32::MAX, 0);
        for (upper, bits) in uppers.iter_mut().zip(&self.upper) {
            let key = key(*bits);
            (low, high) = (low.min(key), high.max(key));
            *upper = key;
        }
        // How many lie in each of equal ranges from the lowest on: as many ranges as there are bits above those that are shifted out.
        let bits = u32::BITS.saturating_sub(high.saturating_sub(low).leading_zeros());
        let shift = bits.saturating_sub(RANGE_BITS);
        let mut counts = [0u8; 1 << RANGE_BITS];
        for upper in uppers.iter() {
            let range = upper.saturating_sub(low).checked_shr(shift).unwrap_or(0);
            if let Some(count) = counts.get_mut(range as usize) {
                *count = count.saturating_add(1);
            }
        }
        let mut below = 0usize;
        for (range, count) in counts.iter().enumerate() {
            below = below.saturating_add(usize::from(*count));
            if below >= wanted {
                // The end of the range.
                let ranges = (range as u32).saturating_add(1);
                let end = ranges.checked_shl(shift).unwrap_or(u32::MAX);
                return low.saturating_add(end.saturating_sub(1)).min(high);
            }
        }
        high
    }
}

impl Default for Noted {
    fn default() -> Noted {
        Noted::new()
    }
}

/// Whether the blocks from `first` on, `count` of them, are there.
fn present(blocks: &[Option<&Block>], first: usize, count: usize) -> bool {
    first
        .checked_add(count)
        .and_then(|end| blocks.get(first..end))
        .is_some_and(|b| b.iter().all(Option::is_some))
}

impl Fpu {
    /// Makes the tables of a query that is in rotated space already (`memory.rotated`, see [`Fpu::rotate`]).
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn prepare<'a>(
        &self,
        shape: &Shape,
        metric: Metric,
        memory: QueryMemory<'a>,
    ) -> Result<Query<'a>, Error> {
        let [rotated, table, bytes] = QueryMemory::lengths(shape);
        expect(memory.rotated.len(), rotated)?;
        expect(memory.table.len(), table)?;
        expect(memory.bytes.len(), bytes)?;
        let parameters = self.call_prepare(memory.rotated, memory.table, memory.bytes);
        Ok(Query {
            shape: *shape,
            dot: metric == Metric::Dot,
            rotated: memory.rotated,
            table: memory.table,
            bytes: memory.bytes,
            parameters,
        })
    }

    /// The distance of the centroid of a partition, whose first blocks are given (those of its centroid: `shape.scan_blocks(0)`).
    ///
    /// # Errors
    /// [`Error::Length`] if a block is missing.
    pub fn centroid(
        &self,
        query: &Query<'_>,
        blocks: &[Option<&Block>],
    ) -> Result<Centroid, Error> {
        let needed = query.shape.scan_blocks(0);
        if !present(blocks, 0, needed) {
            return Err(Error::Length {
                expected: needed,
                actual: blocks.len(),
            });
        }
        Ok(self.call_centroid(query, blocks))
    }

    /// Notes the entries among the first `entries` of a partition whose distance may have a key
    /// below `limit`. Needs the first `shape.scan_blocks(entries)` blocks. `next` is what will be looked at next, to be fetched
    /// into the cache meanwhile: the first blocks of a partition, as many as will be needed.
    ///
    /// # Errors
    /// [`Error::Length`] if a block is missing, or there are more entries than a partition holds.
    #[allow(clippy::too_many_arguments)]
    pub fn estimate(
        &self,
        query: &Query<'_>,
        centroid: &Centroid,
        blocks: &[Option<&Block>],
        entries: usize,
        limit: u32,
        next: &[Option<&Block>],
        noted: &mut Noted,
    ) -> Result<(), Error> {
        noted.count = 0;
        let capacity = query.shape.capacity();
        if entries > capacity {
            return Err(Error::Length {
                expected: capacity,
                actual: entries,
            });
        }
        let needed = query.shape.scan_blocks(entries);
        if !present(blocks, 0, needed) {
            return Err(Error::Length {
                expected: needed,
                actual: blocks.len(),
            });
        }
        noted.count = self
            .call_estimate(query, centroid, blocks, entries, limit, next, noted)
            .min(MAX_ENTRIES);
        Ok(())
    }

    /// Computes the keys of the entries noted, with all bits of their codes. Needs the blocks of their packs and of
    /// their extended codes.
    ///
    /// # Errors
    /// [`Error::Length`] if a block is missing.
    pub fn refine(
        &self,
        query: &Query<'_>,
        centroid: &Centroid,
        blocks: &[Option<&Block>],
        noted: &mut Noted,
    ) -> Result<(), Error> {
        let shape = &query.shape;
        // Those who have all blocks need not be asked for each entry's.
        let entries = noted.entry.iter().take(noted.count);
        let last = entries.fold(0, |last, entry| last.max(*entry));
        let all = present(blocks, 0, shape.blocks()) && usize::from(last) < shape.capacity();
        let count = if all { 0 } else { noted.count };
        for entry in noted.entry.iter().take(count) {
            let entry = usize::from(*entry);
            let (first, count) = shape.extended_blocks(entry);
            let pack = shape.scan_blocks(entry.saturating_add(1));
            if entry >= shape.capacity()
                || !present(blocks, 0, pack)
                || !present(blocks, first, count)
            {
                return Err(Error::Length {
                    expected: first.saturating_add(count),
                    actual: blocks.len(),
                });
            }
        }
        self.call_refine(query, centroid, blocks, noted);
        Ok(())
    }

    /// Computes the code of a vector, `padded` values below 32, and its factors. Vector and centroid are in rotated space.
    ///
    /// # Errors
    /// [`Error::Length`] if the three are not equally long, or not a multiple of 16.
    pub fn encode(
        &self,
        metric: Metric,
        vector: &[u32],
        centroid: &[u32],
        code: &mut [u8],
    ) -> Result<[u32; FACTORS], Error> {
        let padded = vector.len() & !15;
        expect(vector.len(), padded)?;
        expect(centroid.len(), padded)?;
        expect(code.len(), padded)?;
        Ok(self.call_encode(metric == Metric::Dot, vector, centroid, code))
    }
}
