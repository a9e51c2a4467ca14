// SPDX-License-Identifier: GPL-2.0-only
//! Bits of a bitmap block: runs, ranges, counts. Bit n is bit n % 8 of payload byte n / 8; set means in use. Works on
//! whole little-endian words, since a scan of 4 KiB is what stands behind every allocation. It may not know what a bit means.

use layout::block::{HEADER_SIZE, PAYLOAD_SIZE};
use layout::Block;

/// Bits in a bitmap block.
pub const BITS: u32 = (PAYLOAD_SIZE * 8) as u32;
/// 64-bit words in a bitmap block.
pub const WORDS: u32 = (PAYLOAD_SIZE / 8) as u32;

fn offset(word: u32) -> usize {
    (word as usize)
        .saturating_mul(8)
        .saturating_add(HEADER_SIZE)
}

/// Word `n`; bits outside the block count as in use.
#[inline]
pub fn word(block: &Block, n: u32) -> u64 {
    layout::bytes::u64_at(block, offset(n)).unwrap_or(u64::MAX)
}

/// Stores word `n`.
#[inline]
fn set_word(block: &mut Block, n: u32, v: u64) -> Option<()> {
    layout::bytes::put_u64(block, offset(n), v)
}

/// Mask of the bits of word `n` that lie in `start..end`.
#[inline]
fn mask(n: u32, start: u32, end: u32) -> u64 {
    let base = n.saturating_mul(64);
    let lo = start.saturating_sub(base).min(64);
    let hi = end.saturating_sub(base).min(64);
    let below = |k: u32| {
        if k >= 64 {
            u64::MAX
        } else {
            (1u64 << k).wrapping_sub(1)
        }
    };
    below(hi) & !below(lo)
}

/// Sets `len` bits from `start`; `None`, and possibly some already set, if one was set before or lies outside.
#[must_use]
pub fn set(block: &mut Block, start: u32, len: u32) -> Option<()> {
    change(block, start, len, true)
}

/// Clears `len` bits from `start`; `None`, and possibly some already cleared, if one was clear before or lies outside.
#[must_use]
pub fn clear(block: &mut Block, start: u32, len: u32) -> Option<()> {
    change(block, start, len, false)
}

fn change(block: &mut Block, start: u32, len: u32, value: bool) -> Option<()> {
    let end = start.checked_add(len)?;
    if end > BITS {
        return None;
    }
    let mut n = start / 64;
    while n.saturating_mul(64) < end {
        let m = mask(n, start, end);
        let w = word(block, n);
        let (expect, new) = if value { (0, w | m) } else { (m, w & !m) };
        if w & m != expect {
            return None;
        }
        set_word(block, n, new)?;
        n = n.saturating_add(1);
    }
    Some(())
}

/// Whether all (`value`) or none (`!value`) of `len` bits from `start` are set.
pub fn all(block: &Block, start: u32, len: u32, value: bool) -> bool {
    let Some(end) = start.checked_add(len).filter(|e| *e <= BITS) else {
        return false;
    };
    let mut n = start / 64;
    while n.saturating_mul(64) < end {
        let m = mask(n, start, end);
        if word(block, n) & m != if value { m } else { 0 } {
            return false;
        }
        n = n.saturating_add(1);
    }
    true
}

/// The first run of clear bits that begins at or after `from` and below `end`: (start, length). It is followed for `enough` bits
/// and no further. `used(n)` gives word n with everything that must not be taken.
pub fn next_run(from: u32, end: u32, enough: u32, used: impl Fn(u32) -> u64) -> Option<(u32, u32)> {
    let start = scan(from, end, &used, false)?;
    let end = start.saturating_add(enough).min(end);
    let stop = scan(start, end, &used, true).unwrap_or(end);
    Some((start, stop.saturating_sub(start)))
}

/// Length of the run of clear bits that `len` clear bits from `start` are part of.
pub fn run_around(block: &Block, start: u32, len: u32) -> u32 {
    let after = start.saturating_add(len);
    let stop = scan(after, BITS, &|n| word(block, n), true).unwrap_or(BITS);
    stop.saturating_sub(last_set(block, start).map_or(0, |n| n.saturating_add(1)))
}

/// The last set bit below `end`.
fn last_set(block: &Block, end: u32) -> Option<u32> {
    let mut n = end.div_ceil(64);
    while n > 0 {
        n = n.saturating_sub(1);
        let hit = word(block, n) & mask(n, 0, end);
        if hit != 0 {
            let bit = 63u32.saturating_sub(hit.leading_zeros());
            return Some(n.saturating_mul(64).saturating_add(bit));
        }
    }
    None
}

/// First bit in `from..end` that is set (`value`) or clear.
fn scan(from: u32, end: u32, used: &impl Fn(u32) -> u64, value: bool) -> Option<u32> {
    let mut n = from / 64;
    while n.saturating_mul(64) < end {
        let w = used(n);
        let hit = (if value { w } else { !w }) & mask(n, from, end);
        if hit != 0 {
            return Some(n.saturating_mul(64).saturating_add(hit.trailing_zeros()));
        }
        n = n.saturating_add(1);
    }
    None
}

/// Clear bits below `end`.
pub fn count_clear(block: &Block, end: u32) -> u32 {
    let mut total = 0u32;
    let mut n = 0u32;
    while n.saturating_mul(64) < end {
        total = total.saturating_add((!word(block, n) & mask(n, 0, end)).count_ones());
        n = n.saturating_add(1);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::{next_run, run_around, set, word, BITS};
    use layout::BLOCK_SIZE;

    #[test]
    fn runs_are_followed_to_their_ends_and_no_further_than_asked() {
        let mut block = [0; BLOCK_SIZE];
        for (start, len) in [(0, 10), (63, 1), (64, 1), (200, 100), (BITS - 1, 1)] {
            set(&mut block, start, len).expect("clear before");
        }
        let runs = [(10, 53), (65, 135), (300, BITS - 301)];
        for (start, len) in runs {
            for at in [start, start + len / 2, start + len - 1] {
                assert_eq!(run_around(&block, at, 1), len, "around {at}");
            }
            assert_eq!(run_around(&block, start, len), len);
            let from = start - 1;
            let used = |n| word(&block, n);
            assert_eq!(next_run(from, BITS, u32::MAX, used), Some((start, len)));
            assert_eq!(next_run(from, BITS, 7, used), Some((start, 7)));
        }
        assert_eq!(next_run(BITS - 1, BITS, 1, |n| word(&block, n)), None);
        assert_eq!(run_around(&[0; BLOCK_SIZE], 5, 1), BITS);
    }
}
