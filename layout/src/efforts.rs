// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! What searching an index was found to take: how many leaves of its search tree searches had to look at for some recalls, when that was measured last. It may not know
//! what a search does with it.

use crate::Invalid;

/// The recalls that are measured, in ten thousandths.
pub const MEASURED_RECALLS: [u32; EFFORTS] = [9_000, 9_500, 9_900];
/// How many these are.
pub const EFFORTS: usize = 3;
/// The greatest [`Efforts::hundredths`].
pub const HUNDREDTHS_MAX: u32 = 31 << 11;

/// Numbers of leaves, in hundredths of the root of the number of partitions: so a number holds while an index grows. On disk each is one byte with five significant bits, which is
/// finer than any measurement: `b` stands for `(16 + b mod 16) << (b / 16)`.
///
/// # Invariants
/// All bytes are 0, nothing was measured; or none is, they do not fall, and all of them are below 0xC0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Efforts([u8; EFFORTS]);

impl Efforts {
    /// Reads the bytes. Checked: the invariants.
    pub fn parse(bytes: [u8; EFFORTS]) -> Result<Efforts, Invalid> {
        let [first, second, third] = bytes;
        let nothing = bytes == [0; EFFORTS];
        if !nothing && (first == 0 || first > second || second > third || third >= 0xC0) {
            return Err(Invalid(
                "measured efforts of an index out of order or range",
            ));
        }
        Ok(Efforts(bytes))
    }

    /// From hundredths, each rounded up to what a byte can say; at least 17. All 0: nothing was measured.
    ///
    /// Errors: they fall, some but not all of them are 0, or one is above [`HUNDREDTHS_MAX`].
    pub fn new(hundredths: [u32; EFFORTS]) -> Result<Efforts, Invalid> {
        if hundredths == [0; EFFORTS] {
            return Ok(Efforts::default());
        }
        if hundredths.contains(&0) || hundredths.iter().any(|n| *n > HUNDREDTHS_MAX) {
            return Err(Invalid("measured efforts out of range"));
        }
        Efforts::parse(hundredths.map(byte))
    }

    /// The bytes.
    pub fn to_bytes(self) -> [u8; EFFORTS] {
        self.0
    }

    /// The numbers of leaves for [`MEASURED_RECALLS`], in hundredths of the root of the number of partitions. `None`: nothing was measured.
    pub fn hundredths(self) -> Option<[u32; EFFORTS]> {
        (self.0 != [0; EFFORTS]).then(|| self.0.map(value))
    }
}

fn value(byte: u8) -> u32 {
    (16 + u32::from(byte & 15)) << (byte >> 4)
}

/// The least byte from 1 on that stands for at least `hundredths`, which is at most [`HUNDREDTHS_MAX`].
fn byte(hundredths: u32) -> u8 {
    (1..0xC0)
        .find(|byte| value(*byte) >= hundredths)
        .unwrap_or(0xBF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_in_order_and_rounding_is_upwards_and_small() {
        for byte in 1..0xBF {
            assert!(value(byte) < value(byte + 1));
            assert_eq!(super::byte(value(byte)), byte);
        }
        assert_eq!(value(0xBF), HUNDREDTHS_MAX);
        for wanted in (17..=HUNDREDTHS_MAX).step_by(29) {
            let got = value(byte(wanted));
            assert!(
                got >= wanted && got <= wanted + wanted / 16,
                "{wanted}: {got}"
            );
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for good in [[0, 0, 0], [1, 1, 1], [1, 2, 0xBF], [40, 40, 60]] {
            assert_eq!(Efforts::parse(good).unwrap().to_bytes(), good);
        }
        for bad in [
            [0, 0, 1],
            [0, 1, 1],
            [2, 1, 3],
            [1, 3, 2],
            [1, 1, 0xC0],
            [1, 0, 1],
        ] {
            assert!(Efforts::parse(bad).is_err(), "{bad:?}");
        }
        for bad in [[0, 100, 100], [100, 50, 100], [1, 1, HUNDREDTHS_MAX + 1]] {
            assert!(Efforts::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_was_measured_comes_back() {
        assert_eq!(Efforts::new([0; 3]).unwrap().hundredths(), None);
        assert_eq!(
            Efforts::new([5, 17, 130]).unwrap().hundredths(),
            Some([17, 17, 136])
        );
    }
}
