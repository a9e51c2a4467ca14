// SPDX-License-Identifier: GPL-2.0-only
//! The element types of vectors, and their values: every one of them is a binary32
//! exactly. What a type is to the SIMD paths is said there; this is the definition.

/// A type of elements.
pub(super) trait Element: Copy {
    /// Bytes of an element.
    const SIZE: usize;

    /// The value of the element at `p`.
    ///
    /// # Safety
    /// `p` must be readable for `SIZE` bytes, without alignment.
    unsafe fn value(p: *const u8) -> f32;
}

/// Binary32, little-endian.
#[derive(Clone, Copy)]
pub(super) struct F32;
/// Binary16, little-endian.
#[derive(Clone, Copy)]
pub(super) struct F16;
/// Signed bytes.
#[derive(Clone, Copy)]
pub(super) struct I8;

impl Element for F32 {
    const SIZE: usize = 4;

    #[inline(always)]
    unsafe fn value(p: *const u8) -> f32 {
        // SAFETY: by the caller.
        f32::from_bits(u32::from_le(unsafe { p.cast::<u32>().read_unaligned() }))
    }
}

impl Element for F16 {
    const SIZE: usize = 2;

    #[inline(always)]
    unsafe fn value(p: *const u8) -> f32 {
        // SAFETY: by the caller.
        half(u16::from_le(unsafe { p.cast::<u16>().read_unaligned() }))
    }
}

impl Element for I8 {
    const SIZE: usize = 1;

    #[inline(always)]
    unsafe fn value(p: *const u8) -> f32 {
        // SAFETY: by the caller.
        f32::from(unsafe { *p.cast::<i8>() })
    }
}

/// The value of a binary16, exactly; a NaN becomes a quiet one with the same bits, as
/// the CPU's instruction does it.
#[inline(always)]
fn half(bits: u16) -> f32 {
    const SMALLEST: f32 = 1.0 / (1u32 << 24) as f32;
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        // Zero and subnormals: multiples of the smallest.
        0 => (fraction as f32 * SMALLEST).to_bits(),
        0x1f if fraction == 0 => 0xff << 23,
        0x1f => 0xff << 23 | 1 << 22 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_their_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x8000, -0.0),
            (0x0001, 2f32.powi(-24)),
            (0x03ff, 1023.0 * 2f32.powi(-24)),
            (0x0400, 2f32.powi(-14)),
            (0x3555, 0.333_251_95),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x7c00, f32::INFINITY),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(half(bits).to_bits(), value.to_bits(), "{bits:#x}");
        }
        assert!(half(0x7c01).is_nan() && half(0xfe00).is_nan());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn halves_are_what_the_cpu_says() {
        use core::arch::x86_64::{_mm_cvtph_ps, _mm_cvtsi32_si128, _mm_cvtss_f32};
        if !std::arch::is_x86_feature_detected!("f16c") {
            println!("NOT COMPARED: this CPU has no F16C");
            return;
        }
        #[target_feature(enable = "f16c")]
        #[allow(unused_unsafe)]
        unsafe fn cpu(bits: u16) -> f32 {
            // SAFETY: the CPU has F16C.
            unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
        }
        for bits in 0..=u16::MAX {
            // SAFETY: F16C was found.
            let expected = unsafe { cpu(bits) };
            assert_eq!(half(bits).to_bits(), expected.to_bits(), "{bits:#x}");
        }
    }
}
