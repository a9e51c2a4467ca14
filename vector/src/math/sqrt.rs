// SPDX-License-Identifier: GPL-2.0-only
//! Correctly rounded binary64 square root without `std`: the CPU's instruction
//! where there is one, integer arithmetic elsewhere. Both give the same bits.

/// The square root of `x`, rounded to nearest even. NaN for NaN and for values
/// below zero.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn sqrt(x: f64) -> f64 {
    use core::arch::x86_64::{_mm_cvtsd_f64, _mm_set_sd, _mm_sqrt_sd};
    #[allow(unused_unsafe)] // These intrinsics are safe to call since Rust 1.87.
    // SAFETY: SSE2 belongs to every x86_64 target with floating point.
    unsafe {
        let v = _mm_set_sd(x);
        _mm_cvtsd_f64(_mm_sqrt_sd(v, v))
    }
}

/// The square root of `x`, rounded to nearest even. NaN for NaN and for values
/// below zero.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(super) fn sqrt(x: f64) -> f64 {
    use core::arch::aarch64::{vdup_n_f64, vget_lane_f64, vsqrt_f64};
    #[allow(unused_unsafe)] // These intrinsics are safe to call since Rust 1.87.
    // SAFETY: NEON belongs to every aarch64 target with floating point.
    unsafe {
        vget_lane_f64::<0>(vsqrt_f64(vdup_n_f64(x)))
    }
}

/// The square root of `x`, rounded to nearest even. NaN for NaN and for values
/// below zero.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(super) fn sqrt(x: f64) -> f64 {
    sqrt_integer(x)
}

/// The same from integers alone: the schoolbook digit-by-digit method on the
/// significand, two bits of the radicand a step.
#[cfg(any(test, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) fn sqrt_integer(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    let bits = x.to_bits();
    if bits << 1 == 0 {
        return x; // ±0
    }
    if bits >> 63 != 0 || bits >> 52 == 0x7ff {
        // Negative or -NaN: NaN. +inf stays, +NaN stays.
        return if bits >> 63 != 0 { f64::NAN } else { x };
    }
    // x = significand * 2^(exponent), significand in 2^52..2^53.
    let (mut significand, mut exponent) = if bits >> 52 == 0 {
        let shift = bits.leading_zeros().wrapping_sub(11);
        (bits << shift, (-1074i32).wrapping_sub(shift as i32))
    } else {
        (
            (bits & MANTISSA) | (1 << 52),
            ((bits >> 52) as i32).wrapping_sub(1075),
        )
    };
    if exponent & 1 != 0 {
        significand <<= 1;
        exponent = exponent.wrapping_sub(1);
    }
    // radicand = significand * 2^54 lies in 2^106..2^108, its root in 2^53..2^54:
    // the 53 bits of the result and one more to round by. The remainder says
    // whether anything follows.
    let mut remainder = (significand as u128) << 54;
    let mut root: u128 = 0;
    let mut bit: u128 = 1 << 106;
    while bit != 0 {
        let trial = root.wrapping_add(bit);
        root >>= 1;
        if remainder >= trial {
            remainder = remainder.wrapping_sub(trial);
            root = root.wrapping_add(bit);
        }
        bit >>= 2;
    }
    // A root is never exactly half way between two values (its square would need
    // more bits than the radicand has), so rounding looks at one bit only.
    let rounded = (root as u64).wrapping_add(1) >> 1;
    // root = sqrt(x) * 2^(27 - exponent/2), so the value is rounded * 2^(exponent/2 - 26).
    // The result is always normal; a carry to 2^53 moves into the exponent by itself.
    let biased = (exponent / 2).wrapping_sub(26).wrapping_add(1075);
    f64::from_bits(((biased as u64) << 52).wrapping_add(rounded.wrapping_sub(1 << 52)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integer_root_of_special_values() {
        for x in [
            0.0,
            -0.0,
            1.0,
            2.0,
            4.0,
            0.25,
            f64::MIN_POSITIVE,
            f64::from_bits(1),
            f64::from_bits((1 << 52) - 1),
            f64::MAX,
            f64::INFINITY,
            1.0 + f64::EPSILON,
            1.0 - f64::EPSILON / 2.0,
        ] {
            assert_eq!(sqrt_integer(x).to_bits(), x.sqrt().to_bits(), "{x:e}");
            assert_eq!(sqrt(x).to_bits(), x.sqrt().to_bits(), "{x:e}");
        }
        assert!(sqrt_integer(-1.0).is_nan());
        assert!(sqrt_integer(f64::NAN).is_nan());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn integer_root_is_the_correctly_rounded_root(bits in 0u64..=0x7ff0_0000_0000_0000) {
            let x = f64::from_bits(bits);
            prop_assert_eq!(sqrt_integer(x).to_bits(), x.sqrt().to_bits());
            prop_assert_eq!(sqrt(x).to_bits(), x.sqrt().to_bits());
        }
    }
}
