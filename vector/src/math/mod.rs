// SPDX-License-Identifier: GPL-2.0-only
//! The math kernels: every floating-point operation of VexFS is in this folder.
//!
//! Compiled twice from the same text: as a module of the crate `vector` for
//! userspace, and alone (root `vector/math.rs`) as an object that is linked into
//! the kernel module and called between `kernel_fpu_begin` and `kernel_fpu_end`.
//! Therefore nothing here may use anything outside this folder and `core`,
//! allocate, panic, call `memcpy`, or have an undefined symbol other than
//! `__x86_return_thunk`. Floats do not cross the interface: arguments are
//! pointers and integers, distances are order-preserving integers.
//!
//! | module | responsibility |
//! |---|---|
//! | `mod` | the interface: entry points, choice of the path |
//! | `args` | the argument block, shared with the caller in the kernel |
//! | `crc32` | a checksum, which is no mathematics but needs the same registers |
//! | `ann` | the kernels of the vector tree |
//! | `element` | the types of elements and their values |
//! | `hamming` | the number of bits that differ |
//! | `finish` | from sums to a distance, from a distance to an ordered integer |
//! | `sqrt` | correctly rounded square root without `std` |
//! | `portable` | the definition of the sums, in plain Rust |
//! | `avx2`, `avx512`, `neon` | the same sums in SIMD |
//!
//! # The sums, by definition
//! All arithmetic is IEEE 754 binary64, round to nearest even, on elements that
//! are binary32, binary16 or signed bytes in memory (little-endian, any alignment). Element `i` is added
//! to lane `i % 16`, in ascending order of `i`, every lane starting at +0. The
//! lanes are then added pairwise: `l` with `l + 8`, then with `l + 4`, `l + 2`,
//! `l + 1`. What is added to a lane is
//! - l2: `d * d`, rounded, where `d = x - q`, rounded;
//! - dot: `x * q`, which is exact (24 + 24 significant bits fit in 53);
//! - squared norms: `x * x`, exact for the same reason.
//!
//! Because those products are exact, a fused multiply-add and a multiplication
//! followed by an addition are the same function, and the SIMD paths may use
//! the former. For l2 they may not. So every path, in the kernel and outside,
//! gives the same bits. Padding with zeros changes nothing (a lane is never -0).

pub mod ann;
mod args;
#[cfg(target_arch = "x86_64")]
mod crc32;
mod element;
mod finish;
mod hamming;
mod portable;
mod sqrt;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", vector_avx512))]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;

pub use args::*;
#[cfg(target_arch = "x86_64")]
pub use crc32::vexfs_math_crc32;

/// A local variable that makes the compiler align the stack of a function which has
/// one, and so of all that it calls.
///
/// The kernel keeps its stack aligned to 8 bytes only, but the target that this
/// object is compiled for promises 16 at every call: a register spilled with an
/// aligned store would fault. Every entry point begins with [`Aligned::here`].
#[repr(align(64))]
struct Aligned(u8);

impl Aligned {
    /// Puts one on the stack. Inlined, so it is on the caller's.
    #[inline(always)]
    fn here() {
        let mut anchor = Aligned(0);
        // SAFETY: a local variable. Volatile, or there would be no variable.
        unsafe { core::ptr::write_volatile(&mut anchor.0, 0) };
    }
}

/// Accumulator lanes of every sum.
const LANES: usize = 16;

/// Writes the ordered distance of every query to every vector of a batch.
///
/// A distance that is not a number (the operands were not finite, or had no
/// direction under cosine) becomes `u64::MAX`. Never fails, never allocates;
/// the time is proportional to `query_count * vector_count * dim`.
///
/// # Safety
/// - `args` and all that it points to must be valid as described at [`Args`]:
///   queries and vectors readable, `norms` readable (cosine), `out` writable for
///   `query_count * vector_count` values and aligned, `out` overlapping nothing.
/// - The CPU must have the features that `isa` names.
/// - Floating-point and vector registers may be used by the caller: in the
///   kernel, it is between `kernel_fpu_begin` and `kernel_fpu_end`, with MXCSR
///   (FPCR on arm64) at its default.
#[no_mangle]
pub unsafe extern "C" fn vexfs_math_distances(args: *const Args) {
    Aligned::here();
    // SAFETY: the caller guarantees that `args` is valid.
    let args = unsafe { &*args };
    // SAFETY: this function's contract is that of the paths, and `isa` names
    // features that the CPU has.
    unsafe {
        if args.metric == METRIC_HAMMING {
            return match args.isa {
                #[cfg(target_arch = "x86_64")]
                ISA_AVX2..=ISA_AVX512 => hamming::popcnt(args),
                #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
                ISA_NEON => hamming::neon(args),
                _ => hamming::portable(args),
            };
        }
        match args.isa {
            #[cfg(all(target_arch = "x86_64", vector_avx512))]
            ISA_AVX512 => avx512::distances(args),
            #[cfg(target_arch = "x86_64")]
            ISA_AVX2..=ISA_AVX512 => avx2::distances(args),
            #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
            ISA_NEON => neon::distances(args),
            _ => portable::distances(args),
        }
    }
}

/// The squared Euclidean norm of a vector, as the bits of a binary64.
///
/// For finite elements the result is finite, and zero only if every element is.
/// The bits are opaque to the caller; they go into `Args::norms`.
///
/// # Safety
/// `vector` must be readable for `dim` elements of the type `element` (not bits), without alignment. The
/// rest as for [`vexfs_math_distances`]. There is one path for all CPUs.
#[no_mangle]
pub unsafe extern "C" fn vexfs_math_norm2(vector: *const u8, dim: usize, element: u32) -> u64 {
    Aligned::here();
    // SAFETY: the caller guarantees that `vector` has `dim` elements.
    unsafe { portable::norm2(vector, dim, element) }.to_bits()
}
