// SPDX-License-Identifier: GPL-2.0-only
//! The sums with AVX-512F: sixteen binary64 lanes in two registers, several
//! stored vectors side by side so that the additions of one hide the latency of
//! the others. Bit for bit what `portable` computes.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.
#![allow(clippy::incompatible_msrv)] // Compiled only where `vector_avx512` says that they exist.

use core::arch::x86_64::*;

use super::element::{Element, F16, F32, I8};
use super::finish::finish;
use super::{Args, ELEMENT_F16, ELEMENT_I8, LANES, METRIC_COSINE, METRIC_DOT, METRIC_L2};

/// Stored vectors that one tile takes together.
const TILE: usize = 4;

/// Sixteen lanes: 0..8 and 8..16.
type Lanes = [__m512d; 2];

/// See `vexfs_math_distances`.
///
/// # Safety
/// As there, and the CPU has AVX-512F, AVX-512BW and F16C.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
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
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
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

/// Loading of sixteen elements.
trait Load: Element {
    /// Sixteen elements as binary32.
    ///
    /// # Safety
    /// `p` must be readable for sixteen elements, without alignment; the features as for [`distances`].
    unsafe fn load(p: *const u8) -> __m512;

    /// The first `count` of sixteen elements, zeros for the others.
    ///
    /// # Safety
    /// `p` must be readable for `count` elements, and `count` be below sixteen.
    #[inline(always)]
    unsafe fn load_some(p: *const u8, count: usize) -> __m512 {
        // SAFETY: by the caller; the array has sixteen values.
        unsafe {
            let mut values = [0.0f32; LANES];
            for (i, v) in values.iter_mut().enumerate() {
                if i < count {
                    *v = Self::value(p.add(i * Self::SIZE));
                }
            }
            _mm512_loadu_ps(values.as_ptr())
        }
    }
}

impl Load for F32 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m512 {
        // SAFETY: by the caller.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load_some(p: *const u8, count: usize) -> __m512 {
        // SAFETY: a masked load reads only what the mask selects.
        unsafe { _mm512_maskz_loadu_ps((1u16 << count).wrapping_sub(1), p.cast()) }
    }
}

impl Load for F16 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m512 {
        // SAFETY: by the caller.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }
}

impl Load for I8 {
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m512 {
        // SAFETY: by the caller.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }
}

/// Walks the batch in tiles; every tile stays cached for all queries.
///
/// # Safety
/// As [`distances`].
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
#[inline]
unsafe fn all<E: Load, const METRIC: u32>(args: &Args) {
    let mut first = 0;
    while first < args.vector_count {
        let whole = args.vector_count - first >= TILE;
        for j in 0..args.query_count {
            // SAFETY: `first` is below `vector_count` and `j` below `query_count`;
            // a whole tile has TILE vectors left.
            unsafe {
                if whole {
                    tile::<E, METRIC, TILE>(args, j, first);
                } else {
                    for i in first..args.vector_count {
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
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
#[inline]
unsafe fn tile<E: Load, const METRIC: u32, const N: usize>(args: &Args, j: usize, first: usize) {
    // SAFETY: all pointers stay within the arrays that `args` describes: query
    // `j`, vectors `first..first + N`, elements `i..i + LANES` below `dim` in the
    // loop and the masked rest after it, out row `j`.
    unsafe {
        let q = args.queries.add(j * args.query_stride);
        let x = args.vectors.add(first * args.vector_stride);
        let mut sums = [[_mm512_setzero_pd(); 2]; N];
        let mut norms = [[_mm512_setzero_pd(); 2]; N];
        let mut i = 0;
        while i + LANES <= args.dim {
            let q = widen(E::load(q.add(i * E::SIZE)));
            for n in 0..N {
                let x = x.add(n * args.vector_stride + i * E::SIZE);
                prefetch(x, N * args.vector_stride);
                let x = widen(E::load(x));
                step::<METRIC>(&mut sums[n], &mut norms[n], x, q);
            }
            i += LANES;
        }
        if i < args.dim {
            let rest = args.dim - i;
            let q = widen(E::load_some(q.add(i * E::SIZE), rest));
            for n in 0..N {
                let x = x.add(n * args.vector_stride + i * E::SIZE);
                let x = widen(E::load_some(x, rest));
                step::<METRIC>(&mut sums[n], &mut norms[n], x, q);
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

/// Sixteen elements as binary64.
///
/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
#[inline]
unsafe fn widen(v: __m512) -> Lanes {
    // SAFETY: the CPU has AVX-512F.
    unsafe {
        let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v));
        [
            _mm512_cvtps_pd(_mm512_castps512_ps256(v)),
            _mm512_cvtps_pd(_mm256_castpd_ps(high)),
        ]
    }
}

/// Adds sixteen elements to the lanes.
///
/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
#[inline]
unsafe fn step<const METRIC: u32>(sum: &mut Lanes, norm: &mut Lanes, x: Lanes, q: Lanes) {
    // SAFETY: the CPU has AVX-512F.
    unsafe {
        for h in 0..2 {
            if METRIC == METRIC_L2 {
                let d = _mm512_sub_pd(x[h], q[h]);
                sum[h] = _mm512_add_pd(sum[h], _mm512_mul_pd(d, d));
            } else {
                sum[h] = _mm512_fmadd_pd(x[h], q[h], sum[h]);
            }
            if METRIC == METRIC_COSINE {
                norm[h] = _mm512_fmadd_pd(x[h], x[h], norm[h]);
            }
        }
    }
}

/// Adds the lanes in the order that the module documentation of `math` fixes.
///
/// # Safety
/// The CPU has AVX-512F.
#[target_feature(enable = "avx512f,avx512bw,avx2,fma,f16c")]
#[inline]
unsafe fn reduce(lanes: Lanes) -> f64 {
    // SAFETY: the CPU has AVX-512F.
    unsafe {
        let by8 = _mm512_add_pd(lanes[0], lanes[1]);
        let by4 = _mm256_add_pd(
            _mm512_castpd512_pd256(by8),
            _mm512_extractf64x4_pd::<1>(by8),
        );
        let by2 = _mm_add_pd(_mm256_castpd256_pd128(by4), _mm256_extractf128_pd::<1>(by4));
        _mm_cvtsd_f64(_mm_add_sd(by2, _mm_unpackhi_pd(by2, by2)))
    }
}
