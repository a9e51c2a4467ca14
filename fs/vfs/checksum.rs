// SPDX-License-Identifier: GPL-2.0-only
//! CRC-32, with the convention of zlib and crc32fast: the kernel's, and where that goes byte by byte (before 6.14, and in User Mode Linux) the math object's,
//! if the processor has what that needs.

use super::bindings;
#[cfg(target_arch = "x86_64")]
use super::simd;

/// Shorter data is not worth a section with vector registers.
const WORTH: usize = 32;

/// CRC-32 (IEEE 802.3) of `data`, continued from `seed`: `crc32(crc32(0, a), b)` is the checksum of `a` followed by `b`.
pub(crate) fn crc32(seed: u32, data: &[u8]) -> u32 {
    let register = !seed;
    #[cfg(target_arch = "x86_64")]
    if data.len() >= WORTH {
        if let Some((register, rest)) = simd::carry_less(|unit| unit.crc32(register, data)) {
            return !plain(register, rest);
        }
    }
    !plain(register, data)
}

/// The kernel's.
fn plain(register: u32, data: &[u8]) -> u32 {
    // SAFETY: `data` is valid for reading its length.
    unsafe { bindings::crc32_le(register, data.as_ptr().cast(), data.len()) }
}
