// SPDX-License-Identifier: GPL-2.0-only
//! Dividing the members of a partition in two, by k-means with two centres that
//! keeps both sides from becoming thin. It may not know where the members came from.

use super::expect;
use crate::{Compute, Error};

/// The key of zero: members nearer to the first centre have smaller keys.
const EVEN: u32 = 1 << 31;
/// Rounds of k-means. It has settled before, almost always.
const ROUNDS: usize = 10;
/// Elements handled in one bracket of the floating-point unit.
const BRACKET: usize = 1 << 18;

/// Memory of a division of `n` rows of `padded` values.
#[derive(Debug)]
pub struct TwoMeans<'a> {
    /// Receives 0 or 1 for every row: `n` entries.
    pub side: &'a mut [u8],
    /// Receives the means of both sides: 2 `padded` entries.
    pub centres: &'a mut [u32],
    /// `n` entries.
    pub keys: &'a mut [u32],
}

/// Divides `rows` (in rotated space, end to end) in two sides, each with at least a quarter of them, rounded down.
///
/// # Errors
/// [`Error::Length`] if `rows` is not two rows at least, or the memory not of the right lengths.
pub fn two_means<C: Compute + ?Sized>(
    compute: &C,
    padded: usize,
    rows: &[u32],
    memory: TwoMeans<'_>,
) -> Result<(), Error> {
    let TwoMeans {
        side,
        centres,
        keys,
    } = memory;
    let n = side.len();
    expect(rows.len(), n.saturating_mul(padded))?;
    expect(centres.len(), padded.saturating_mul(2))?;
    expect(keys.len(), n)?;
    if n < 2 || padded == 0 || padded % 16 != 0 {
        return Err(Error::Length {
            expected: 2,
            actual: n,
        });
    }
    // Begin with two members far apart: the one that is nearest to the mean, measured against the first member, so far from
    // that; then the one that is farthest from the one found.
    side.fill(0);
    let Some((first, second)) = centres.split_at_mut_checked(padded) else {
        return Ok(()); // measured above
    };
    mean(compute, padded, rows, side, 0, first);
    copy(second, rows.get(..padded).unwrap_or(&[]));
    for _ in 0..2 {
        sides(compute, padded, rows, centres, keys);
        let Some((first, second)) = centres.split_at_mut_checked(padded) else {
            return Ok(());
        };
        copy(first, second);
        let far = smallest(keys);
        copy(second, row(rows, padded, far));
    }
    for round in 0..ROUNDS {
        sides(compute, padded, rows, centres, keys);
        let changed = assign(keys, side);
        if round != 0 && !changed {
            break;
        }
        let Some((first, second)) = centres.split_at_mut_checked(padded) else {
            return Ok(());
        };
        mean(compute, padded, rows, side, 0, first);
        mean(compute, padded, rows, side, 1, second);
    }
    Ok(())
}

/// Divides by the signs of the keys; if that leaves a side with less than a quarter, the keys nearest to zero on the other
/// side follow. Equal keys go by their order. Returns whether a side changed.
fn assign(keys: &[u32], side: &mut [u8]) -> bool {
    let n = keys.len();
    let least = (n / 4).max(1);
    let second = keys.iter().filter(|k| **k > EVEN).count();
    // How many members, by ascending key, belong to the first side.
    let first = n
        .saturating_sub(second)
        .min(n.saturating_sub(least))
        .max(least);
    let balanced = first == n.saturating_sub(second);
    let mut changed = false;
    for (i, (key, s)) in keys.iter().zip(side.iter_mut()).enumerate() {
        if balanced {
            // Those nearer to the first centre are the first side.
            let new = u8::from(*key > EVEN);
            changed |= *s != new;
            *s = new;
            continue;
        }
        let before = |(j, k): (usize, &u32)| *k < *key || (*k == *key && j < i);
        let rank = keys.iter().enumerate().filter(|e| before(*e)).count();
        let new = u8::from(rank >= first);
        changed |= *s != new;
        *s = new;
    }
    changed
}

/// Where the smallest key is.
fn smallest(keys: &[u32]) -> usize {
    let least = keys.iter().enumerate().min_by_key(|(_, k)| **k);
    least.map_or(0, |(i, _)| i)
}

/// Row `i`; empty if there is none.
fn row(rows: &[u32], padded: usize, i: usize) -> &[u32] {
    let at = i.saturating_mul(padded);
    rows.get(at..at.saturating_add(padded)).unwrap_or(&[])
}

fn copy(to: &mut [u32], from: &[u32]) {
    for (t, f) in to.iter_mut().zip(from) {
        *t = *f;
    }
}

/// Keys of all rows, in brackets.
fn sides<C: Compute + ?Sized>(
    compute: &C,
    padded: usize,
    rows: &[u32],
    centres: &[u32],
    keys: &mut [u32],
) {
    let step = BRACKET.checked_div(padded).unwrap_or(1).max(1);
    let parts = rows.chunks(step.saturating_mul(padded).max(1));
    for (rows, keys) in parts.zip(keys.chunks_mut(step)) {
        compute.with_fpu(&mut |fpu| fpu.call_sides(padded, rows, centres, keys));
    }
}

/// The mean of the rows whose byte in `side` is `which`, into `out`; nothing is done if there is none, or `out` is not a row.
pub fn mean<C: Compute + ?Sized>(
    compute: &C,
    padded: usize,
    rows: &[u32],
    side: &[u8],
    which: u32,
    out: &mut [u32],
) {
    compute.with_fpu(&mut |fpu| fpu.call_mean(padded, rows, side, which, out));
}
