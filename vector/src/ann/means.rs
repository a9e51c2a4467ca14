// SPDX-License-Identifier: GPL-2.0-only
//! k-means of many vectors: where the leaves of a tree are best put for them (Lloyd's algorithm). It may not know where the vectors came from.

use super::{expect, mean};
use crate::{Compute, Error};

/// Most centres.
pub const MAX_CENTRES: usize = 256;
/// Rounds. More change little, for a tree whose leaves will be divided and filled further.
const ROUNDS: usize = 4;
/// Products computed in one bracket of the floating-point unit.
const BRACKET: usize = 1 << 20;

/// Finds `centres.len() / padded` centres (at most [`MAX_CENTRES`]) for `rows` (in rotated space, end to end), beginning with rows from all over. `nearest` receives, for
/// every row, the number of the centre that it was last found nearest to; a centre that no row is nearest to stays where it was.
///
/// # Errors
/// [`Error::Length`] if there are fewer rows than centres, more centres than [`MAX_CENTRES`] or none, or parts of rows.
pub fn k_means<C: Compute + ?Sized>(
    compute: &C,
    padded: usize,
    rows: &[u32],
    centres: &mut [u32],
    nearest: &mut [u8],
) -> Result<(), Error> {
    let (n, k) = (
        nearest.len(),
        centres.len().checked_div(padded).unwrap_or(0),
    );
    expect(padded % 16, 0)?;
    expect(rows.len(), n.saturating_mul(padded))?;
    expect(centres.len(), k.saturating_mul(padded))?;
    if k == 0 || k > MAX_CENTRES || n < k {
        return Err(Error::Length {
            expected: k.clamp(1, MAX_CENTRES),
            actual: n,
        });
    }
    for (c, centre) in centres.chunks_exact_mut(padded).enumerate() {
        let at = c
            .saturating_mul(n)
            .checked_div(k)
            .unwrap_or(0)
            .saturating_mul(padded);
        let row = rows.get(at..at.saturating_add(padded)).unwrap_or(&[]);
        for (to, from) in centre.iter_mut().zip(row) {
            *to = *from;
        }
    }
    let step = BRACKET.checked_div(centres.len()).unwrap_or(1).max(1);
    for _ in 0..ROUNDS {
        let parts = rows.chunks(step.saturating_mul(padded));
        for (rows, nearest) in parts.zip(nearest.chunks_mut(step)) {
            compute.with_fpu(&mut |fpu| fpu.call_nearest(padded, rows, centres, nearest));
        }
        for (c, centre) in centres.chunks_exact_mut(padded).enumerate() {
            mean(compute, padded, rows, nearest, c as u32, centre);
        }
    }
    Ok(())
}
