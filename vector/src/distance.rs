// SPDX-License-Identifier: GPL-2.0-only
//! Distances as integers, so that code without floating point can order them.

#[cfg(feature = "std")]
use core::fmt;

/// A distance, or the fact that there is none.
///
/// # Invariants
/// The integer is the sign-folded bit pattern of a binary64: for a value without
/// the sign bit, its bits with the sign bit set; for one with it, the complement
/// of its bits. So integers compare as the values do, and `u64::MAX`, which would
/// be a NaN, stands for "invalid" and sorts behind everything.
///
/// The kernel only compares these and moves them about. Binary64 rather than
/// binary32, because distances of neighbours collide in 24 bits often enough to
/// change the order of results (docs/decisions/010-distance-definition.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Distance(u64);

impl Distance {
    /// The smallest possible integer; below every distance.
    pub const MIN: Distance = Distance(0);

    /// Not a distance: one of the vectors was not acceptable for the metric.
    /// Greater than every distance.
    pub const INVALID: Distance = Distance(u64::MAX);

    const SIGN: u64 = 1 << 63;

    /// From the ordered integer, as the math object writes it.
    pub const fn from_ordered(ordered: u64) -> Distance {
        Distance(ordered)
    }

    /// The ordered integer.
    pub const fn ordered(self) -> u64 {
        self.0
    }

    /// Whether this is a distance at all.
    pub const fn is_valid(self) -> bool {
        self.0 != Self::INVALID.0
    }

    /// The bits of the binary64, as the ioctl ABI and the tools carry them.
    /// [`Distance::INVALID`] gives a NaN.
    pub const fn to_f64_bits(self) -> u64 {
        if self.0 & Self::SIGN != 0 {
            self.0 & !Self::SIGN
        } else {
            !self.0
        }
    }

    /// From the bits of a binary64; every NaN is [`Distance::INVALID`].
    pub const fn from_f64_bits(bits: u64) -> Distance {
        if bits & !Self::SIGN > 0x7ff << 52 {
            Self::INVALID
        } else if bits & Self::SIGN != 0 {
            Distance(!bits)
        } else {
            Distance(bits | Self::SIGN)
        }
    }

    /// The distance as a number.
    #[cfg(feature = "std")]
    pub fn to_f64(self) -> f64 {
        f64::from_bits(self.to_f64_bits())
    }

    /// From a number; NaN becomes [`Distance::INVALID`].
    #[cfg(feature = "std")]
    pub fn from_f64(value: f64) -> Distance {
        Self::from_f64_bits(value.to_bits())
    }
}

#[cfg(feature = "std")]
impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_f64().fmt(f)
    }
}
