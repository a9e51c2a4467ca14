// SPDX-License-Identifier: GPL-2.0-only
//! The code kernels' lanes and scans with AVX2. Bit for bit what `lanes` and
//! `portable` define.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.

use core::arch::x86_64::*;

use super::lanes::Lanes;
use super::units::Units;
use super::{Scan, PACK, UNIT};

/// Sixteen lanes: 0..8 and 8..16.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

// Every block below: SAFETY is that the CPU has AVX2 (the contract of the trait),
// and that pointers are good for sixteen elements, which both halves lie in.
impl Lanes for Avx2 {
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_set1_ps(v), _mm256_set1_ps(v)) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_add_ps(self.0, o.0), _mm256_add_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_sub_ps(self.0, o.0), _mm256_sub_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_mul_ps(self.0, o.0), _mm256_mul_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_max_ps(self.0, o.0), _mm256_max_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_min_ps(self.0, o.0), _mm256_min_ps(self.1, o.1)) }
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Avx2(
                _mm256_andnot_ps(sign, self.0),
                _mm256_andnot_ps(sign, self.1),
            )
        }
    }
    #[inline(always)]
    unsafe fn flip(self, mask: u16) -> Self {
        // SAFETY: see above.
        unsafe {
            // Lane i gets bit i into its sign: shift left by 31 - i.
            let m = _mm256_set1_epi32(i32::from(mask));
            let low = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
            let high = _mm256_sub_epi32(low, _mm256_set1_epi32(8));
            let sign = _mm256_set1_epi32(i32::MIN);
            let a = _mm256_and_si256(_mm256_sllv_epi32(m, low), sign);
            let b = _mm256_and_si256(_mm256_sllv_epi32(m, high), sign);
            Avx2(
                _mm256_xor_ps(self.0, _mm256_castsi256_ps(a)),
                _mm256_xor_ps(self.1, _mm256_castsi256_ps(b)),
            )
        }
    }
    #[inline(always)]
    unsafe fn swap<const H: usize>(self) -> Self {
        // SAFETY: see above.
        unsafe {
            match H {
                1 => Avx2(
                    _mm256_permute_ps::<0b10_11_00_01>(self.0),
                    _mm256_permute_ps::<0b10_11_00_01>(self.1),
                ),
                2 => Avx2(
                    _mm256_permute_ps::<0b01_00_11_10>(self.0),
                    _mm256_permute_ps::<0b01_00_11_10>(self.1),
                ),
                4 => Avx2(
                    _mm256_permute2f128_ps::<1>(self.0, self.0),
                    _mm256_permute2f128_ps::<1>(self.1, self.1),
                ),
                _ => Avx2(self.1, self.0),
            }
        }
    }
    #[inline(always)]
    unsafe fn not_ge(self, o: Self) -> u16 {
        // SAFETY: see above.
        unsafe {
            let a = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGE_UQ>(self.0, o.0));
            let b = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NGE_UQ>(self.1, o.1));
            (a | b << 8) as u16
        }
    }
    #[inline(always)]
    unsafe fn whole(self) -> Self {
        // SAFETY: see above.
        unsafe {
            Avx2(
                _mm256_cvtepi32_ps(_mm256_cvttps_epi32(self.0)),
                _mm256_cvtepi32_ps(_mm256_cvttps_epi32(self.1)),
            )
        }
    }
    #[inline(always)]
    unsafe fn select(mask: u16, v: f32) -> Self {
        // SAFETY: see above.
        unsafe {
            // The signs of the selected lanes, spread over them.
            let signs = Self::splat(0.0).flip(mask);
            let spread =
                |s: __m256| _mm256_castsi256_ps(_mm256_srai_epi32::<31>(_mm256_castps_si256(s)));
            let v = _mm256_set1_ps(v);
            Avx2(
                _mm256_and_ps(v, spread(signs.0)),
                _mm256_and_ps(v, spread(signs.1)),
            )
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        // SAFETY: see above.
        unsafe {
            let (a, b) = (_mm256_cvttps_epi32(self.0), _mm256_cvttps_epi32(self.1));
            // Per 128-bit lane: a0..3 b0..3 | a4..7 b4..7.
            let w = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b));
            let v = _mm_packus_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256::<1>(w));
            _mm_storeu_si128(p.cast(), v);
        }
    }
    #[inline(always)]
    unsafe fn first(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm256_cvtss_f32(self.0) }
    }
}

impl Scan for Avx2 {
    #[inline(always)]
    unsafe fn sums(units: &mut Units, count: usize, table: *const u8) -> [Self; 2] {
        // SAFETY: the caller guarantees `count` units and as many tables of 64
        // bytes; AVX2 by the contract of the trait.
        unsafe {
            let nibble = _mm256_set1_epi8(15);
            let zero = _mm256_setzero_si256();
            let mut total = [zero; 4];
            let mut done = 0;
            while done < count {
                // 64 units are 256 look-ups of at most 255: no sum overflows 16 bits.
                let end = if count - done > 64 { done + 64 } else { count };
                let (mut a, mut a8, mut b, mut b8) = (zero, zero, zero, zero);
                while done < end {
                    let p = units.next();
                    for half in 0..2 {
                        let c = _mm256_loadu_si256(p.add(32 * half).cast());
                        let t = _mm256_loadu_si256(table.add(done * UNIT + 32 * half).cast());
                        let x = _mm256_shuffle_epi8(t, _mm256_and_si256(c, nibble));
                        let y = _mm256_shuffle_epi8(
                            t,
                            _mm256_and_si256(_mm256_srli_epi16::<4>(c), nibble),
                        );
                        a = _mm256_add_epi16(a, x);
                        a8 = _mm256_add_epi16(a8, _mm256_srli_epi16::<8>(x));
                        b = _mm256_add_epi16(b, y);
                        b8 = _mm256_add_epi16(b8, _mm256_srli_epi16::<8>(y));
                    }
                    done += 1;
                }
                // The odd bytes were added to `a` times 256, modulo 2^16.
                a = _mm256_sub_epi16(a, _mm256_slli_epi16::<8>(a8));
                b = _mm256_sub_epi16(b, _mm256_slli_epi16::<8>(b8));
                let (ea, oa, eb, ob) = (fold(a), fold(a8), fold(b), fold(b8));
                let parts = [
                    _mm_unpacklo_epi16(ea, oa),
                    _mm_unpackhi_epi16(ea, oa),
                    _mm_unpacklo_epi16(eb, ob),
                    _mm_unpackhi_epi16(eb, ob),
                ];
                for (t, p) in total.iter_mut().zip(parts) {
                    *t = _mm256_add_epi32(*t, _mm256_cvtepu16_epi32(p));
                }
            }
            const { assert!(PACK == 32) };
            let [a, b, c, d] = total;
            [
                Avx2(_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)),
                Avx2(_mm256_cvtepi32_ps(c), _mm256_cvtepi32_ps(d)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn fetch(p: *const u8) {
        // SAFETY: a prefetch accesses nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn product(units: &mut Units, count: usize, bytes: *const i8) -> i32 {
        // SAFETY: the caller guarantees `count` units and 128 bytes for each.
        unsafe {
            let nibble = _mm256_set1_epi8(15);
            let ones = _mm256_set1_epi16(1);
            let mut sum = _mm256_setzero_si256();
            for i in 0..count {
                let p = units.next();
                let q = bytes.add(128 * i);
                let mut pairs = _mm256_setzero_si256();
                for half in 0..2 {
                    let c = _mm256_loadu_si256(p.add(32 * half).cast());
                    let low = _mm256_and_si256(c, nibble);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(c), nibble);
                    // At most 2 * 15 * 128 each: four of them fit 16 bits.
                    let l = _mm256_maddubs_epi16(low, _mm256_loadu_si256(q.add(32 * half).cast()));
                    let h = _mm256_maddubs_epi16(
                        high,
                        _mm256_loadu_si256(q.add(64 + 32 * half).cast()),
                    );
                    pairs = _mm256_add_epi16(pairs, _mm256_add_epi16(l, h));
                }
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
            }
            let s = _mm_add_epi32(
                _mm256_castsi256_si128(sum),
                _mm256_extracti128_si256::<1>(sum),
            );
            let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
            let s = _mm_add_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s));
            _mm_cvtsi128_si32(s)
        }
    }
}

/// Adds the two 128-bit halves.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
unsafe fn fold(v: __m256i) -> __m128i {
    // SAFETY: AVX2, by the caller.
    unsafe { _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v)) }
}
