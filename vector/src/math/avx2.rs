// SPDX-License-Identifier: GPL-2.0-only
//! The sums with AVX2 and FMA: sixteen binary64 lanes in four registers, two
//! stored vectors side by side. Bit for bit what `portable` computes.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.

use core::arch::x86_64::*;

use super::element::{Element, F16, F32, I8};
use super::finish::finish;
use super::{Args, ELEMENT_F16, ELEMENT_I8, LANES, METRIC_COSINE, METRIC_DOT, METRIC_L2};

/// Stored vectors that one tile takes together.
const TILE: usize = 2;

/// Registers of four lanes: 0..4, 4..8, 8..12 and 12..16.
const PARTS: usize = 4;

/// Sixteen lanes.
type Lanes = [__m256d; PARTS];

/// See `vexfs_math_distances`.
///
/// # Safety
/// As there, and the CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx,avx2,fma,f16c")]
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
#[target_feature(enable = "avx,avx2,fma,f16c")]
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
    /// `p` must be readable for four elements, without alignment; the features as for [`distances`].
    unsafe fn load(p: *const u8) -> __m128;

    /// The first `count` of four elements, zeros for the others; all four if there are more.
    ///
    /// # Safety
    /// `p` must be readable for `count` elements, or four.
    #[inline(always)]
    unsafe fn load_some(p: *const u8, count: usize) -> __m128 {
        // SAFETY: by the caller; the array has four values.
        unsafe {
            let mut values = [0.0f32; 4];
            for (i, v) in values.iter_mut().enumerate() {
                if i < count {
                    *v = Self::value(p.add(i * Self::SIZE));
                }
            }
            _mm_loadu_ps(values.as_ptr())
        }
    }
}

impl Load for F32 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m128 {
        // SAFETY: by the caller.
        unsafe { _mm_loadu_ps(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_some(p: *const u8, count: usize) -> __m128 {
        // SAFETY: a masked load reads only what the mask selects.
        unsafe { _mm_maskload_ps(p.cast(), first_of_four(count)) }
    }
}

impl Load for F16 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m128 {
        // SAFETY: by the caller: four elements are 8 bytes.
        unsafe { _mm_cvtph_ps(_mm_loadl_epi64(p.cast())) }
    }
}

impl Load for I8 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m128 {
        // SAFETY: by the caller: four elements are 4 bytes.
        unsafe {
            let four = _mm_cvtsi32_si128(p.cast::<i32>().read_unaligned());
            _mm_cvtepi32_ps(_mm_cvtepi8_epi32(four))
        }
    }
}

/// Walks the batch in tiles; every tile stays cached for all queries.
///
/// # Safety
/// As [`distances`].
#[target_feature(enable = "avx,avx2,fma,f16c")]
#[inline]
unsafe fn all<E: Load, const METRIC: u32>(args: &Args) {
    let mut first = 0;
    while first < args.vector_count {
        let whole = args.vector_count - first >= TILE;
        for j in 0..args.query_count {
            // SAFETY: `first` is below `vector_count` and `j` below `query_count`;
            // a whole tile has TILE vectors left.
            unsafe {
                // Cosine needs twice the accumulators, and there are 16 registers.
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
#[target_feature(enable = "avx,avx2,fma,f16c")]
#[inline]
unsafe fn tile<E: Load, const METRIC: u32, const N: usize>(args: &Args, j: usize, first: usize) {
    // SAFETY: all pointers stay within the arrays that `args` describes: query
    // `j`, vectors `first..first + N`, elements `i..i + LANES` below `dim` in the
    // loop and the masked rest after it, out row `j`.
    unsafe {
        let q = args.queries.add(j * args.query_stride);
        let x = args.vectors.add(first * args.vector_stride);
        let mut sums = [[_mm256_setzero_pd(); PARTS]; N];
        let mut norms = [[_mm256_setzero_pd(); PARTS]; N];
        let mut i = 0;
        while i + LANES <= args.dim {
            for part in 0..PARTS {
                let at = i + 4 * part;
                let q = _mm256_cvtps_pd(E::load(q.add(at * E::SIZE)));
                for n in 0..N {
                    let x = x.add(n * args.vector_stride + at * E::SIZE);
                    if part == 0 {
                        prefetch(x, N * args.vector_stride);
                    }
                    let x = _mm256_cvtps_pd(E::load(x));
                    step::<METRIC>(&mut sums[n][part], &mut norms[n][part], x, q);
                }
            }
            i += LANES;
        }
        if i < args.dim {
            for part in 0..PARTS {
                let at = i + 4 * part;
                if at < args.dim {
                    let rest = args.dim - at;
                    let q = _mm256_cvtps_pd(E::load_some(q.add(at * E::SIZE), rest));
                    for n in 0..N {
                        let x = x.add(n * args.vector_stride + at * E::SIZE);
                        let x = _mm256_cvtps_pd(E::load_some(x, rest));
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

/// Asks for the cache line `ahead` bytes further: the next tile, since hardware
/// does not foresee vectors that are read side by side. A hint, which never
/// faults, so the address may lie behind the end of the batch.
#[inline(always)]
fn prefetch(p: *const u8, ahead: usize) {
    // SAFETY: a prefetch accesses nothing, and SSE belongs to every x86_64 target.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast::<i8>().wrapping_add(ahead)) }
}

/// A load mask for the first `count` of four elements, all four if there are more.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn first_of_four(count: usize) -> __m128i {
    let count = if count < 4 { count as i32 } else { 4 };
    // SAFETY: the CPU has AVX2.
    unsafe { _mm_cmpgt_epi32(_mm_set1_epi32(count), _mm_setr_epi32(0, 1, 2, 3)) }
}

/// Adds four elements to four lanes.
///
/// # Safety
/// The CPU has AVX2 and FMA.
#[target_feature(enable = "avx,avx2,fma,f16c")]
#[inline]
unsafe fn step<const METRIC: u32>(sum: &mut __m256d, norm: &mut __m256d, x: __m256d, q: __m256d) {
    // SAFETY: the CPU has AVX2 and FMA.
    unsafe {
        if METRIC == METRIC_L2 {
            let d = _mm256_sub_pd(x, q);
            *sum = _mm256_add_pd(*sum, _mm256_mul_pd(d, d));
        } else {
            *sum = _mm256_fmadd_pd(x, q, *sum);
        }
        if METRIC == METRIC_COSINE {
            *norm = _mm256_fmadd_pd(x, x, *norm);
        }
    }
}

/// Adds the lanes in the order that the module documentation of `math` fixes.
///
/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx,avx2,fma,f16c")]
#[inline]
unsafe fn reduce(lanes: Lanes) -> f64 {
    // SAFETY: the CPU has AVX2.
    unsafe {
        let [a, b, c, d] = lanes;
        let by4 = _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d));
        let by2 = _mm_add_pd(_mm256_castpd256_pd128(by4), _mm256_extractf128_pd::<1>(by4));
        _mm_cvtsd_f64(_mm_add_sd(by2, _mm_unpackhi_pd(by2, by2)))
    }
}
