// SPDX-License-Identifier: GPL-2.0-only
//! The code kernels' lanes and scans with AVX-512F and BW. Bit for bit what `lanes`
//! and `portable` define.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.
#![allow(clippy::incompatible_msrv)] // Compiled only where `vector_avx512` says that they exist.

use core::arch::x86_64::*;

use super::lanes::Lanes;
use super::units::Units;
use super::{Scan, UNIT};

/// Sixteen lanes in one register.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// Every block below: SAFETY is that the CPU has AVX-512F and BW (the contract of
// the trait), and that pointers are good for sixteen elements.
impl Lanes for Avx512 {
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_set1_ps(v) })
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_add_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_sub_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_mul_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_max_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_min_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    unsafe fn flip(self, mask: u16) -> Self {
        // SAFETY: see above.
        unsafe {
            let v = _mm512_castps_si512(self.0);
            let sign = _mm512_set1_epi32(i32::MIN);
            Avx512(_mm512_castsi512_ps(_mm512_mask_xor_epi32(v, mask, v, sign)))
        }
    }
    #[inline(always)]
    unsafe fn swap<const H: usize>(self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe {
            match H {
                1 => _mm512_permute_ps::<0b10_11_00_01>(self.0),
                2 => _mm512_permute_ps::<0b01_00_11_10>(self.0),
                4 => _mm512_shuffle_f32x4::<0b10_11_00_01>(self.0, self.0),
                _ => _mm512_shuffle_f32x4::<0b01_00_11_10>(self.0, self.0),
            }
        })
    }
    #[inline(always)]
    unsafe fn not_ge(self, o: Self) -> u16 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_ps_mask::<_CMP_NGE_UQ>(self.0, o.0) }
    }
    #[inline(always)]
    unsafe fn whole(self) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_cvtepi32_ps(_mm512_cvttps_epi32(self.0)) })
    }
    #[inline(always)]
    unsafe fn select(mask: u16, v: f32) -> Self {
        // SAFETY: see above.
        Avx512(unsafe { _mm512_maskz_mov_ps(mask, _mm512_set1_ps(v)) })
    }
    #[inline(always)]
    unsafe fn store_some(self, mask: u16, p: *mut f32) {
        // SAFETY: see above. In a register first: compressing to memory is slow on some processors.
        unsafe { _mm512_storeu_ps(p, _mm512_maskz_compress_ps(mask, self.0)) }
    }
    #[inline(always)]
    unsafe fn store_numbers(mask: u16, first: u16, p: *mut u16) {
        // SAFETY: see above; sixteen numbers of 16 bits are 256.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let numbers = _mm512_add_epi32(lanes, _mm512_set1_epi32(i32::from(first)));
            let some = _mm512_maskz_compress_epi32(mask, numbers);
            _mm256_storeu_si256(p.cast(), _mm512_cvtepi32_epi16(some));
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        // SAFETY: see above.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(self.0))) }
    }
    #[inline(always)]
    unsafe fn first(self) -> f32 {
        // SAFETY: see above.
        unsafe { _mm512_cvtss_f32(self.0) }
    }
}

impl Scan for Avx512 {
    #[inline(always)]
    unsafe fn sums(units: &mut Units, count: usize, table: *const u8) -> [Self; 2] {
        // SAFETY: the caller guarantees `count` units and as many tables of 64
        // bytes; features by the contract of the trait.
        unsafe {
            let nibble = _mm512_set1_epi8(15);
            let zero = _mm512_setzero_si512();
            let (mut low, mut high) = (zero, zero);
            let mut done = 0;
            while done < count {
                // 64 units are 256 look-ups of at most 255: no sum overflows 16 bits.
                let end = if count - done > 64 { done + 64 } else { count };
                let (mut a, mut a8, mut b, mut b8) = (zero, zero, zero, zero);
                while done < end {
                    // As many as lie in one block.
                    let (mut p, run) = units.run(end - done);
                    for _ in 0..run {
                        let c = _mm512_loadu_si512(p.cast());
                        let t = _mm512_loadu_si512(table.add(done * UNIT).cast());
                        let x = _mm512_shuffle_epi8(t, _mm512_and_si512(c, nibble));
                        let y = _mm512_shuffle_epi8(
                            t,
                            _mm512_and_si512(_mm512_srli_epi16::<4>(c), nibble),
                        );
                        a = _mm512_add_epi16(a, x);
                        a8 = _mm512_add_epi16(a8, _mm512_srli_epi16::<8>(x));
                        b = _mm512_add_epi16(b, y);
                        b8 = _mm512_add_epi16(b8, _mm512_srli_epi16::<8>(y));
                        p = p.add(UNIT);
                        done += 1;
                    }
                }
                // The odd bytes were added to `a` times 256, modulo 2^16.
                a = _mm512_sub_epi16(a, _mm512_slli_epi16::<8>(a8));
                b = _mm512_sub_epi16(b, _mm512_slli_epi16::<8>(b8));
                low = _mm512_add_epi32(low, interleave(fold(a), fold(a8)));
                high = _mm512_add_epi32(high, interleave(fold(b), fold(b8)));
            }
            [
                Avx512(_mm512_cvtepi32_ps(low)),
                Avx512(_mm512_cvtepi32_ps(high)),
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
            let nibble = _mm512_set1_epi8(15);
            let ones = _mm512_set1_epi16(1);
            let mut sum = _mm512_setzero_si512();
            for i in 0..count {
                let c = _mm512_loadu_si512(units.next().cast());
                let q = bytes.add(128 * i);
                // At most 2 * 15 * 128 each: two of them fit 16 bits.
                let l =
                    _mm512_maddubs_epi16(_mm512_and_si512(c, nibble), _mm512_loadu_si512(q.cast()));
                let h = _mm512_maddubs_epi16(
                    _mm512_and_si512(_mm512_srli_epi16::<4>(c), nibble),
                    _mm512_loadu_si512(q.add(64).cast()),
                );
                sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_add_epi16(l, h), ones));
            }
            _mm512_reduce_add_epi32(sum)
        }
    }
}

/// Adds the four 128-bit quarters of sixteen-bit sums.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline(always)]
unsafe fn fold(v: __m512i) -> __m128i {
    // SAFETY: the features, by the caller.
    unsafe {
        let h = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64::<1>(v));
        _mm_add_epi16(_mm256_castsi256_si128(h), _mm256_extracti128_si256::<1>(h))
    }
}

/// Even and odd sums in order, widened to 32 bits.
///
/// # Safety
/// The CPU must have AVX-512F.
#[inline(always)]
unsafe fn interleave(even: __m128i, odd: __m128i) -> __m512i {
    // SAFETY: the features, by the caller.
    unsafe {
        let v = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
        _mm512_cvtepu16_epi32(v)
    }
}
