// SPDX-License-Identifier: GPL-2.0-only
//! From the sums of a pair of vectors to its distance, and from the distance to
//! the integer that stands for it outside. Every path ends here, so that this
//! arithmetic exists once.

use super::sqrt::sqrt;
use super::{METRIC_COSINE, METRIC_L2};

/// The ordered distance of a pair.
///
/// `sum` is the sum of squared differences for l2 and the inner product for the
/// others; `xx` and `qq` are the squared norms, used by cosine only.
#[inline(always)]
pub(super) fn finish(metric: u32, sum: f64, xx: f64, qq: f64) -> u64 {
    match metric {
        METRIC_L2 => ordered(sum),
        METRIC_COSINE => ordered(cosine_distance(sum, xx, qq)),
        // Not `-sum`: an inner product of 0 must give +0, whatever its sign.
        _ => ordered(0.0 - sum),
    }
}

/// `1 - sum / sqrt(xx * qq)`, within 0..=2.
///
/// In binary64 the cancellation near 1 costs an absolute error of some 1e-16,
/// which is far below what rounding the elements to binary32 has cost already.
/// The product of the norms can neither overflow nor vanish, both being sums of
/// at most 2^64 squares of binary32 values. Equal operands give exactly 0, as
/// the square root of a square is exact.
#[allow(clippy::manual_clamp)] // `clamp` has an assertion, which is a panic path.
#[inline(always)]
fn cosine_distance(sum: f64, xx: f64, qq: f64) -> f64 {
    let distance = 1.0 - sum / sqrt(xx * qq);
    // Comparisons with NaN are false, so NaN passes through to `ordered`.
    if distance < 0.0 {
        0.0
    } else if distance > 2.0 {
        2.0
    } else {
        distance
    }
}

/// Maps a binary64 to an integer of the same order: sign-folded bits, negative
/// values below 2^63. NaN, of whatever sign and payload, becomes the greatest.
#[inline(always)]
pub(super) fn ordered(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    const INFINITY: u64 = 0x7ff << 52;
    let bits = value.to_bits();
    if bits & !SIGN > INFINITY {
        u64::MAX
    } else if bits & SIGN != 0 {
        !bits
    } else {
        bits | SIGN
    }
}
