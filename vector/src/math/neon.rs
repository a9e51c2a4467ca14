// SPDX-License-Identifier: GPL-2.0-only
//! The sums with NEON (Advanced SIMD of 64-bit ARM): sixteen binary64 lanes in eight
//! registers, two stored vectors side by side. Bit for bit what `portable` computes.
//!
//! NEON belongs to every aarch64 target of programs, so nothing here asks for it.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.

use core::arch::aarch64::*;

use super::finish::finish;
use super::{Args, LANES, METRIC_COSINE, METRIC_DOT, METRIC_L2};

/// Stored vectors that one tile takes together.
const TILE: usize = 2;

/// Loads of four elements for sixteen lanes: 0..4, 4..8, 8..12 and 12..16.
const PARTS: usize = 4;

/// Four lanes: the first two and the last two.
type Part = [float64x2_t; 2];

/// Sixteen lanes.
type Lanes = [Part; PARTS];

/// See `vexfs_math_distances`.
///
/// # Safety
/// As there.
pub(super) unsafe fn distances(args: &Args) {
    // SAFETY: the contract is the same.
    unsafe {
        match args.metric {
            METRIC_L2 => all::<METRIC_L2>(args),
            METRIC_COSINE => all::<METRIC_COSINE>(args),
            _ => all::<METRIC_DOT>(args),
        }
    }
}

/// Walks the batch in tiles; every tile stays cached for all queries.
///
/// # Safety
/// As [`distances`].
#[inline]
unsafe fn all<const METRIC: u32>(args: &Args) {
    let mut first = 0;
    while first < args.vector_count {
        let whole = args.vector_count - first >= TILE;
        for j in 0..args.query_count {
            // SAFETY: `first` is below `vector_count` and `j` below `query_count`;
            // a whole tile has TILE vectors left.
            unsafe {
                // Cosine needs twice the accumulators, and there are 32 registers.
                if whole && METRIC != METRIC_COSINE {
                    tile::<METRIC, TILE>(args, j, first);
                } else {
                    let end = if whole {
                        first + TILE
                    } else {
                        args.vector_count
                    };
                    for i in first..end {
                        tile::<METRIC, 1>(args, j, i);
                    }
                }
            }
        }
        first += TILE;
    }
}

/// Query `j` against the `N` stored vectors from `first` on.
///
/// # Safety
/// As [`distances`]; the query and the vectors must exist.
#[inline]
unsafe fn tile<const METRIC: u32, const N: usize>(args: &Args, j: usize, first: usize) {
    // SAFETY: all pointers stay within the arrays that `args` describes: query
    // `j`, vectors `first..first + N`, elements `i..i + LANES` below `dim` in the
    // loop and what is left below `dim` after it, out row `j`.
    unsafe {
        let q = args.queries.add(j * args.query_stride).cast::<f32>();
        let x = args.vectors.add(first * args.vector_stride);
        let mut sums = [[[vdupq_n_f64(0.0); 2]; PARTS]; N];
        let mut norms = [[[vdupq_n_f64(0.0); 2]; PARTS]; N];
        let mut i = 0;
        while i + LANES <= args.dim {
            for part in 0..PARTS {
                let at = i + 4 * part;
                let q = widen(vld1q_f32(q.add(at)));
                for n in 0..N {
                    let x = x.add(n * args.vector_stride).cast::<f32>().add(at);
                    let x = widen(vld1q_f32(x));
                    step::<METRIC>(&mut sums[n][part], &mut norms[n][part], x, q);
                }
            }
            i += LANES;
        }
        if i < args.dim {
            for part in 0..PARTS {
                let at = i + 4 * part;
                if at < args.dim {
                    let q = widen(first_of_four(q.add(at), args.dim - at));
                    for n in 0..N {
                        let x = x.add(n * args.vector_stride).cast::<f32>().add(at);
                        let x = widen(first_of_four(x, args.dim - at));
                        step::<METRIC>(&mut sums[n][part], &mut norms[n][part], x, q);
                    }
                }
            }
        }
        let qq = if METRIC == METRIC_COSINE {
            f64::from_bits(*args.norms.add(j))
        } else {
            0.0
        };
        let out = args.out.add(j * args.vector_count + first);
        for n in 0..N {
            let xx = if METRIC == METRIC_COSINE {
                reduce(norms[n])
            } else {
                0.0
            };
            *out.add(n) = finish(METRIC, reduce(sums[n]), xx, qq);
        }
    }
}

/// The first `count` of four elements, zero for the others; all four if there are more.
/// Reads no others.
///
/// # Safety
/// `p` must be readable for `count` binary32 values, or for four if that is less.
#[inline(always)]
unsafe fn first_of_four(p: *const f32, count: usize) -> float32x4_t {
    // SAFETY: only elements below `count` are read.
    unsafe {
        if count >= 4 {
            return vld1q_f32(p);
        }
        let mut v = vdupq_n_f32(0.0);
        if count > 0 {
            v = vld1q_lane_f32::<0>(p, v);
        }
        if count > 1 {
            v = vld1q_lane_f32::<1>(p.add(1), v);
        }
        if count > 2 {
            v = vld1q_lane_f32::<2>(p.add(2), v);
        }
        v
    }
}

/// Four elements as binary64.
#[inline(always)]
fn widen(v: float32x4_t) -> Part {
    // SAFETY: NEON belongs to the target.
    unsafe { [vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)] }
}

/// Adds four elements to four lanes.
#[inline(always)]
fn step<const METRIC: u32>(sum: &mut Part, norm: &mut Part, x: Part, q: Part) {
    for half in 0..2 {
        // SAFETY: NEON belongs to the target.
        unsafe {
            if METRIC == METRIC_L2 {
                let d = vsubq_f64(x[half], q[half]);
                sum[half] = vaddq_f64(sum[half], vmulq_f64(d, d));
            } else {
                sum[half] = vfmaq_f64(sum[half], x[half], q[half]);
            }
            if METRIC == METRIC_COSINE {
                norm[half] = vfmaq_f64(norm[half], x[half], x[half]);
            }
        }
    }
}

/// Adds the lanes in the order that the module documentation of `math` fixes.
#[inline(always)]
fn reduce(lanes: Lanes) -> f64 {
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = lanes;
    // SAFETY: NEON belongs to the target.
    unsafe {
        let low = vaddq_f64(vaddq_f64(a0, c0), vaddq_f64(b0, d0));
        let high = vaddq_f64(vaddq_f64(a1, c1), vaddq_f64(b1, d1));
        vpaddd_f64(vaddq_f64(low, high))
    }
}
