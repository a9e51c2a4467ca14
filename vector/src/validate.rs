// SPDX-License-Identifier: GPL-2.0-only
//! Which vectors an index accepts, decided on the bits alone.

use crate::{Element, Error, Kind, Metric};

/// Checks that `bytes` may be stored in, or asked of, an index.
///
/// - exactly as many bytes as its elements have;
/// - floats all finite: an infinity or a NaN has no distance to anything;
/// - bits beyond the dimension zero;
/// - under cosine, not all zero: such a vector has no direction. (A norm cannot
///   vanish otherwise, sums being taken in binary64.)
///
/// # Errors
/// The first violation in that order, with the element's number.
pub fn validate(kind: &Kind, bytes: &[u8]) -> Result<(), Error> {
    let expected = kind.vector_bytes();
    if bytes.len() != expected {
        return Err(Error::Length {
            expected,
            actual: bytes.len(),
        });
    }
    let any = match kind.element() {
        Element::F32 => magnitudes(bytes, |raw: [u8; 4]| {
            let magnitude = u32::from_le_bytes(raw) & !(1 << 31);
            // Infinity, and above it NaN.
            (magnitude != 0, magnitude < 0xff << 23)
        })?,
        Element::F16 => magnitudes(bytes, |raw: [u8; 2]| {
            let magnitude = u16::from_le_bytes(raw) & !(1 << 15);
            (magnitude != 0, magnitude < 0x1f << 10)
        })?,
        Element::I8 => magnitudes(bytes, |raw: [u8; 1]| (raw != [0], true))?,
        Element::Binary => {
            let unused = (8 - kind.dim() % 8) % 8;
            let filled = bytes
                .last()
                .is_some_and(|last| last.leading_zeros() < unused);
            if filled {
                return Err(Error::Padding);
            }
            true
        }
    };
    if !any && kind.metric() == Metric::Cosine {
        return Err(Error::NoDirection);
    }
    Ok(())
}

/// Goes through elements of `N` bytes; `look` says whether one is not zero, and whether it is finite. Returns whether
/// one is not zero.
fn magnitudes<const N: usize>(
    bytes: &[u8],
    look: impl Fn([u8; N]) -> (bool, bool),
) -> Result<bool, Error> {
    let mut any = false;
    for (element, raw) in bytes.chunks_exact(N).enumerate() {
        let Ok(raw) = <[u8; N]>::try_from(raw) else {
            break; // chunks_exact(N) gives nothing else
        };
        let (nonzero, finite) = look(raw);
        if !finite {
            return Err(Error::NotFinite { element });
        }
        any |= nonzero;
    }
    Ok(any)
}
