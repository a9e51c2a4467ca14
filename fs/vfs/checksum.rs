// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's CRC-32, with the convention of zlib and crc32fast.

use super::bindings;

/// CRC-32 (IEEE 802.3) of `data`, continued from `seed`: `crc32(crc32(0, a), b)` is the checksum of `a` followed by `b`.
pub(crate) fn crc32(seed: u32, data: &[u8]) -> u32 {
    // SAFETY: `data` is valid for reading its length.
    !unsafe { bindings::crc32_le(!seed, data.as_ptr().cast(), data.len()) }
}
