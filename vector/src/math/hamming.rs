// SPDX-License-Identifier: GPL-2.0-only
//! The number of bits in which two vectors of bits differ. An integer, so there is one
//! algorithm; paths differ in the instructions that count.

use super::finish::ordered;
use super::Args;

/// See `vexfs_math_distances`, with any CPU.
///
/// # Safety
/// As there.
pub(super) unsafe fn portable(args: &Args) {
    // SAFETY: the contract is the same; `all` passes what is readable.
    unsafe { all(args, |a, b, bytes| differing(a, b, bytes)) }
}

/// The same, counting by instruction.
///
/// # Safety
/// As there, and the CPU has POPCNT.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
pub(super) unsafe fn popcnt(args: &Args) {
    // SAFETY: the contract is the same; `all` passes what is readable.
    unsafe { all(args, |a, b, bytes| differing(a, b, bytes)) }
}

/// The same, sixteen bytes at a time.
///
/// # Safety
/// As there.
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub(super) unsafe fn neon(args: &Args) {
    // SAFETY: the contract is the same; `all` passes what is readable.
    unsafe { all(args, |a, b, bytes| differing_neon(a, b, bytes)) }
}

/// Every query with every vector, by `differing`, which gets two vectors and their number of bytes.
///
/// # Safety
/// As `vexfs_math_distances`.
#[inline(always)]
unsafe fn all(args: &Args, differing: impl Fn(*const u8, *const u8, usize) -> u32) {
    let bytes = args.dim.div_ceil(8);
    let mut out = args.out;
    for j in 0..args.query_count {
        for i in 0..args.vector_count {
            // SAFETY: query `j` and vector `i` exist and have `bytes` bytes; `out` has
            // room for one value for every pair.
            unsafe {
                let q = args.queries.add(j * args.query_stride);
                let x = args.vectors.add(i * args.vector_stride);
                *out = ordered(differing(q, x, bytes) as f64);
                out = out.add(1);
            }
        }
    }
}

/// # Safety
/// Both must be readable for `bytes` bytes.
#[inline(always)]
unsafe fn differing(a: *const u8, b: *const u8, bytes: usize) -> u32 {
    let (mut count, mut i) = (0, 0);
    // SAFETY: all offsets are below `bytes`.
    unsafe {
        while i + 8 <= bytes {
            let x = a.add(i).cast::<u64>().read_unaligned();
            let y = b.add(i).cast::<u64>().read_unaligned();
            count += (x ^ y).count_ones();
            i += 8;
        }
        while i < bytes {
            count += (*a.add(i) ^ *b.add(i)).count_ones();
            i += 1;
        }
    }
    count
}

/// # Safety
/// As [`differing`].
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
#[allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.
#[inline(always)]
unsafe fn differing_neon(a: *const u8, b: *const u8, bytes: usize) -> u32 {
    use core::arch::aarch64::*;
    // SAFETY: all offsets are below `bytes`; NEON belongs to the target.
    unsafe {
        let mut counts = vdupq_n_u32(0);
        let mut i = 0;
        while i + 16 <= bytes {
            let bits = vcntq_u8(veorq_u8(vld1q_u8(a.add(i)), vld1q_u8(b.add(i))));
            counts = vpadalq_u16(counts, vpaddlq_u8(bits));
            i += 16;
        }
        vaddvq_u32(counts) + differing(a.add(i), b.add(i), bytes - i)
    }
}
