// SPDX-License-Identifier: GPL-2.0-only
//! CRC-32 (IEEE 802.3) with carry-less multiplication: no mathematics of vectors, but made of the same stuff, instructions on vector registers that kernel
//! Rust does not have. It is for kernels that have no fast one themselves.
//!
//! The way is that of Gopal, Ozturk, Guilford, Wolrich, Feghali, Dixon, Karakoyunlu, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
//! Instruction" (Intel, 2009): 16 bytes are multiplied by the power of x that their distance to the next 16 bytes stands for, modulo the polynomial,
//! and added to those; what is left in the end is divided by Barrett's method. Bits are reflected: the highest power comes first.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.

use super::CRC32_UNIT;

/// The register of a CRC-32 after `len` more bytes, from the register before them: at neither end inverted.
///
/// # Safety
/// `data` must be readable for `len` bytes, which is a multiple of [`CRC32_UNIT`] and not 0. The CPU must have PCLMULQDQ and SSE4.1, and its vector
/// registers may be used.
#[no_mangle]
pub unsafe extern "C" fn vexfs_math_crc32(register: u32, data: *const u8, len: usize) -> u32 {
    super::Aligned::here();
    // SAFETY: This function's contract is the same.
    unsafe { clmul::crc32(register, data, len) }
}

mod clmul {
    use super::CRC32_UNIT;
    use core::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_clmulepi64_si128, _mm_cvtsi32_si128, _mm_extract_epi32,
        _mm_loadu_si128, _mm_set_epi32, _mm_set_epi64x, _mm_srli_si128, _mm_xor_si128,
    };

    /// The polynomial without its highest power, reflected.
    const POLYNOMIAL: u32 = 0xedb8_8320;

    /// x to the power `n`, modulo the polynomial, reflected into 33 bits.
    const fn power(n: u32) -> i64 {
        let mut r = 1u32 << 31;
        let mut i = 0;
        while i < n {
            let carry = r & 1;
            r >>= 1;
            if carry != 0 {
                r ^= POLYNOMIAL;
            }
            i += 1;
        }
        (r as i64) << 1
    }

    /// x to the power 64 divided by the polynomial, reflected into 33 bits.
    const fn quotient() -> i64 {
        // Long division. The lowest bit stands for the highest power.
        let whole = (POLYNOMIAL as u128) << 1 | 1;
        let mut rest = 1u128;
        let mut q = 0i64;
        let mut i = 0;
        while i <= 32 {
            if rest >> i & 1 != 0 {
                rest ^= whole << i;
                q |= 1 << i;
            }
            i += 1;
        }
        q
    }

    /// Four units ahead: for the lower half, whose powers are higher by 64, and for the upper.
    const FAR: [i64; 2] = [power(4 * 128 + 32), power(4 * 128 - 32)];
    /// One unit ahead.
    const NEAR: [i64; 2] = [power(128 + 32), power(128 - 32)];
    /// From 96 bits to 64.
    const LAST: i64 = power(64);
    /// For Barrett's method: the polynomial, and the quotient.
    const DIVIDE: [i64; 2] = [(POLYNOMIAL as i64) << 1 | 1, quotient()];

    /// # Safety
    /// As for the caller.
    #[inline(always)]
    unsafe fn pair(of: [i64; 2]) -> __m128i {
        // SAFETY: SSE2 belongs to every x86-64.
        unsafe { _mm_set_epi64x(of[1], of[0]) }
    }

    /// # Safety
    /// `data` must be readable for 16 bytes from `at` on.
    #[inline(always)]
    unsafe fn load(data: *const u8, at: usize) -> __m128i {
        // SAFETY: By the caller's promise.
        unsafe { _mm_loadu_si128(data.add(at).cast()) }
    }

    /// `x`, so much further ahead as `by` says, added to `next`.
    ///
    /// # Safety
    /// The CPU must have PCLMULQDQ.
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    #[inline]
    unsafe fn fold(x: __m128i, by: __m128i, next: __m128i) -> __m128i {
        // SAFETY: The features are there.
        unsafe {
            let low = _mm_clmulepi64_si128::<0x00>(x, by);
            let high = _mm_clmulepi64_si128::<0x11>(x, by);
            _mm_xor_si128(_mm_xor_si128(low, high), next)
        }
    }

    /// # Safety
    /// See [`super::vexfs_math_crc32`].
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    pub(super) unsafe fn crc32(register: u32, data: *const u8, len: usize) -> u32 {
        let mut at = CRC32_UNIT;
        // SAFETY: `at` is what was read already; each branch looks for as much as it reads. The features are there, by the caller's promise.
        unsafe {
            let mut x = _mm_xor_si128(load(data, 0), _mm_cvtsi32_si128(register as i32));
            let near = pair(NEAR);
            if len >= 4 * CRC32_UNIT {
                let mut four = [x, load(data, 16), load(data, 32), load(data, 48)];
                at = 4 * CRC32_UNIT;
                let far = pair(FAR);
                while len - at >= 4 * CRC32_UNIT {
                    four = [
                        fold(four[0], far, load(data, at)),
                        fold(four[1], far, load(data, at + 16)),
                        fold(four[2], far, load(data, at + 32)),
                        fold(four[3], far, load(data, at + 48)),
                    ];
                    at += 4 * CRC32_UNIT;
                }
                x = fold(four[0], near, four[1]);
                x = fold(x, near, four[2]);
                x = fold(x, near, four[3]);
            }
            while len - at >= CRC32_UNIT {
                x = fold(x, near, load(data, at));
                at += CRC32_UNIT;
            }
            // 128 bits to 96, to 64.
            let word = _mm_set_epi32(0, 0, 0, -1);
            x = _mm_xor_si128(
                _mm_clmulepi64_si128::<0x10>(x, near),
                _mm_srli_si128::<8>(x),
            );
            x = _mm_xor_si128(
                _mm_clmulepi64_si128::<0x00>(_mm_and_si128(x, word), pair([LAST, 0])),
                _mm_srli_si128::<4>(x),
            );
            // What the multiple of the polynomial that is nearest leaves of them.
            let divide = pair(DIVIDE);
            let times = _mm_clmulepi64_si128::<0x10>(_mm_and_si128(x, word), divide);
            let multiple = _mm_clmulepi64_si128::<0x00>(_mm_and_si128(times, word), divide);
            _mm_extract_epi32::<1>(_mm_xor_si128(x, multiple)) as u32
        }
    }
}
