// SPDX-License-Identifier: GPL-2.0-only
//! Which vectors an index accepts, decided on the bits alone.

use crate::{Error, Metric};

/// The greatest dimension of an index.
pub const MAX_DIM: u32 = 4096;

/// Bytes of a vector of `dim` binary32 elements.
///
/// # Errors
/// [`Error::Dimension`] if `dim` is not within `1..=MAX_DIM`.
pub const fn vector_bytes(dim: u32) -> Result<usize, Error> {
    if dim == 0 || dim > MAX_DIM {
        return Err(Error::Dimension { dim });
    }
    Ok(dim as usize * 4)
}

/// Checks that `bytes` may be stored in, or asked of, an index.
///
/// - exactly `dim` little-endian binary32 elements;
/// - all finite: an infinity or a NaN has no distance to anything;
/// - under cosine, not all zero: such a vector has no direction. (A norm cannot
///   vanish otherwise, sums being taken in binary64.)
///
/// # Errors
/// The first violation in that order, with the element's number.
pub fn validate(metric: Metric, dim: u32, bytes: &[u8]) -> Result<(), Error> {
    let expected = vector_bytes(dim)?;
    if bytes.len() != expected {
        return Err(Error::Length {
            expected,
            actual: bytes.len(),
        });
    }
    // The bits of +inf, without the sign: greater ones are NaN.
    const INFINITY: u32 = 0xff << 23;
    let mut any = 0u32;
    for (element, raw) in bytes.chunks_exact(4).enumerate() {
        let Ok(raw) = <[u8; 4]>::try_from(raw) else {
            break; // chunks_exact(4) gives nothing else
        };
        let magnitude = u32::from_le_bytes(raw) & !(1 << 31);
        if magnitude >= INFINITY {
            return Err(Error::NotFinite { element });
        }
        any |= magnitude;
    }
    if any == 0 && metric == Metric::Cosine {
        return Err(Error::NoDirection);
    }
    Ok(())
}
