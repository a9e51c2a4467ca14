// SPDX-License-Identifier: GPL-2.0-only
//! The sums with NEON (Advanced SIMD of 64-bit ARM): sixteen binary64 lanes in eight
//! registers, two stored vectors side by side. Bit for bit what `portable` computes.
//!
//! NEON belongs to every aarch64 target of programs, so nothing here asks for it.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.

use core::arch::aarch64::*;

use super::element::{Element, F16, F32, I8};
use super::finish::finish;
use super::{Args, ELEMENT_F16, ELEMENT_I8, LANES, METRIC_COSINE, METRIC_DOT, METRIC_L2};

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
        match args.element {
            ELEMENT_F16 => of::<F16>(args),
            ELEMENT_I8 => of::<I8>(args),
            _ => of::<F32>(args),
        }
    }
}

/// Distances of elements of one type.
///
/// # Safety
/// As [`distances`].
#[inline]
unsafe fn of<E: Load>(args: &Args) {
    // SAFETY: the contract is the same.
    unsafe {
        match args.metric {
            METRIC_L2 => all::<E, METRIC_L2>(args),
            METRIC_COSINE => all::<E, METRIC_COSINE>(args),
            _ => all::<E, METRIC_DOT>(args),
        }
    }
}

/// Loading of four elements.
trait Load: Element {
    /// Four elements as binary32.
    ///
    /// # Safety
    /// `p` must be readable for four elements, without alignment.
    unsafe fn load(p: *const u8) -> float32x4_t;

    /// The first `count` of four elements, zeros for the others; all four if there are more.
    /// Reads no others.
    ///
    /// # Safety
    /// `p` must be readable for `count` elements, or for four if that is less.
    #[inline(always)]
    unsafe fn load_some(p: *const u8, count: usize) -> float32x4_t {
        // SAFETY: only elements below `count` are read; the array has four values.
        unsafe {
            let mut values = [0.0f32; 4];
            for (i, v) in values.iter_mut().enumerate() {
                if i < count {
                    *v = Self::value(p.add(i * Self::SIZE));
                }
            }
            vld1q_f32(values.as_ptr())
        }
    }
}

impl Load for F32 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> float32x4_t {
        // SAFETY: by the caller: four elements are 16 bytes, and no alignment is asked for.
        unsafe { vreinterpretq_f32_u8(vld1q_u8(p)) }
    }
}

impl Load for F16 {
    // The instruction that converts is not to be had in Rust 1.85: the same in integers.
    #[inline(always)]
    unsafe fn load(p: *const u8) -> float32x4_t {
        // SAFETY: by the caller: four elements are 8 bytes.
        unsafe {
            let bits = vmovl_u16(vreinterpret_u16_u8(vld1_u8(p)));
            let sign = vshlq_n_u32::<16>(vandq_u32(bits, vdupq_n_u32(0x8000)));
            let magnitude = vandq_u32(bits, vdupq_n_u32(0x7fff));
            let moved = vshlq_n_u32::<13>(magnitude);
            // Zero and subnormals: multiples of the smallest.
            let small = vmulq_f32(
                vcvtq_f32_u32(magnitude),
                vdupq_n_f32(1.0 / (1u32 << 24) as f32),
            );
            let normal = vaddq_u32(moved, vdupq_n_u32(112 << 23));
            // Infinity stays, and what is no number becomes a quiet one.
            let quiet = vcgtq_u32(magnitude, vdupq_n_u32(0x7c00));
            let quiet = vandq_u32(quiet, vdupq_n_u32(1 << 22));
            let special = vorrq_u32(vaddq_u32(moved, vdupq_n_u32(224 << 23)), quiet);
            let is_small = vcltq_u32(magnitude, vdupq_n_u32(0x400));
            let is_special = vcgeq_u32(magnitude, vdupq_n_u32(0x7c00));
            let r = vbslq_u32(is_small, vreinterpretq_u32_f32(small), normal);
            let r = vbslq_u32(is_special, special, r);
            vreinterpretq_f32_u32(vorrq_u32(r, sign))
        }
    }
}

impl Load for I8 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> float32x4_t {
        // SAFETY: by the caller: four elements are 4 bytes.
        unsafe {
            let four = u64::from(p.cast::<u32>().read_unaligned());
            let wide = vmovl_s8(vreinterpret_s8_u64(vcreate_u64(four)));
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))
        }
    }
}

/// Walks the batch in tiles; every tile stays cached for all queries.
///
/// # Safety
/// As [`distances`].
#[inline]
unsafe fn all<E: Load, const METRIC: u32>(args: &Args) {
    let mut first = 0;
    while first < args.vector_count {
        let whole = args.vector_count - first >= TILE;
        for j in 0..args.query_count {
            // SAFETY: `first` is below `vector_count` and `j` below `query_count`;
            // a whole tile has TILE vectors left.
            unsafe {
                // Cosine needs twice the accumulators, and there are 32 registers.
                if whole && METRIC != METRIC_COSINE {
                    tile::<E, METRIC, TILE>(args, j, first);
                } else {
                    let end = if whole {
                        first + TILE
                    } else {
                        args.vector_count
                    };
                    for i in first..end {
                        tile::<E, METRIC, 1>(args, j, i);
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
unsafe fn tile<E: Load, const METRIC: u32, const N: usize>(args: &Args, j: usize, first: usize) {
    // SAFETY: all pointers stay within the arrays that `args` describes: query
    // `j`, vectors `first..first + N`, elements `i..i + LANES` below `dim` in the
    // loop and what is left below `dim` after it, out row `j`.
    unsafe {
        let q = args.queries.add(j * args.query_stride);
        let x = args.vectors.add(first * args.vector_stride);
        let mut sums = [[[vdupq_n_f64(0.0); 2]; PARTS]; N];
        let mut norms = [[[vdupq_n_f64(0.0); 2]; PARTS]; N];
        let mut i = 0;
        while i + LANES <= args.dim {
            for part in 0..PARTS {
                let at = i + 4 * part;
                let q = widen(E::load(q.add(at * E::SIZE)));
                for n in 0..N {
                    let x = x.add(n * args.vector_stride + at * E::SIZE);
                    let x = widen(E::load(x));
                    step::<METRIC>(&mut sums[n][part], &mut norms[n][part], x, q);
                }
            }
            i += LANES;
        }
        if i < args.dim {
            for part in 0..PARTS {
                let at = i + 4 * part;
                if at < args.dim {
                    let q = widen(E::load_some(q.add(at * E::SIZE), args.dim - at));
                    for n in 0..N {
                        let x = x.add(n * args.vector_stride + at * E::SIZE);
                        let x = widen(E::load_some(x, args.dim - at));
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
