// SPDX-License-Identifier: GPL-2.0-only
//! The code kernels: what the search structure computes with floats. They know
//! packs of codes in the blocks of a partition (layout::partition), but not where
//! these come from, nor what a tree is.
//!
//! | file | responsibility |
//! |---|---|
//! | `mod` | the interface: entry points, choice of the path |
//! | `args` | the argument blocks, shared with the caller in the kernel |
//! | `lanes` | sixteen binary32 lanes: the operations, and in plain Rust |
//! | `portable`, `avx2`, `avx512`, `neon` | lanes and scans of codes, for each instruction set |
//! | `units` | walking the units of a partition |
//! | `rotate` | the random rotation |
//! | `encode` | from a vector to its code |
//! | `prepare` | from a query to its tables |
//! | `probe` | a query against the entries of a partition |
//! | `split` | what dividing a partition needs |
//! | `node` | a query against a node of a graph, and what choosing neighbours needs |
//!
//! All arithmetic is IEEE 754 binary32 (binary64 where a file says so), rounded to
//! nearest even, never fused, in lanes and an order that the files define. So every
//! path gives the same bits, and codes can be verified by computing them again.

mod args;
mod encode;
mod lanes;
mod node;
mod portable;
mod prepare;
mod probe;
mod rotate;
mod split;
mod units;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", vector_avx512))]
mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
mod neon;

pub use args::*;

use super::Aligned;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
use super::ISA_NEON;
#[cfg(target_arch = "x86_64")]
use super::{ISA_AVX2, ISA_AVX512};
use lanes::{Lanes, Portable};
use units::Units;

/// Entries of a pack.
pub const PACK: usize = 32;
/// Bytes of a unit.
pub const UNIT: usize = 64;
/// Units of a block.
pub const UNITS: usize = 63;

/// The scans of codes: integer arithmetic, exact on every path.
trait Scan: Lanes {
    /// 32 sums of look-ups: for `count` units from `units` on, the entries of
    /// their tables (64 bytes each) that the nibbles name. The first sixteen, and the others.
    ///
    /// # Safety
    /// That many units and tables must exist, and the CPU have the features.
    unsafe fn sums(units: &mut Units, count: usize, table: *const u8) -> [Self; 2];
    /// The sum of products of the nibbles of `count` units with `bytes`, 128 a unit:
    /// byte `b` of a unit holds dimensions `b` (low) and `64 + b` (high).
    ///
    /// # Safety
    /// That many units and bytes must exist, and the CPU have the features.
    unsafe fn product(units: &mut Units, count: usize, bytes: *const i8) -> i32;
    /// Asks for a cache line: a hint, which never faults.
    ///
    /// # Safety
    /// The CPU must have the features.
    unsafe fn fetch(p: *const u8);
}

/// Maps a binary32 to an integer of the same order: sign-folded bits. NaN, of
/// whatever sign and payload, becomes the greatest.
#[inline(always)]
fn ordered(value: f32) -> u32 {
    const SIGN: u32 = 1 << 31;
    const INFINITY: u32 = 0xff << 23;
    let bits = value.to_bits();
    if bits & !SIGN > INFINITY {
        u32::MAX
    } else if bits & SIGN != 0 {
        !bits
    } else {
        bits | SIGN
    }
}

/// An entry point and its path for each instruction set.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident($args:ty) $(-> $out:ty)? = $module:ident :: $function:ident, $avx2:ident, $avx512:ident) => {
        $(#[$doc])*
        #[no_mangle]
        pub unsafe extern "C" fn $name(args: *const $args) $(-> $out)? {
            Aligned::here();
            // SAFETY: the caller guarantees that `args` is valid, and that the CPU
            // has the features that `isa` names; the contract of the paths is the same.
            unsafe {
                let args = &*args;
                match args.isa {
                    #[cfg(all(target_arch = "x86_64", vector_avx512))]
                    ISA_AVX512 => $avx512(args),
                    #[cfg(target_arch = "x86_64")]
                    ISA_AVX2..=ISA_AVX512 => $avx2(args),
                    // No function of its own: the whole target has NEON.
                    #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
                    ISA_NEON => $module::$function::<neon::Neon>(args),
                    _ => $module::$function::<Portable>(args),
                }
            }
        }

        /// With AVX2.
        ///
        /// # Safety
        /// As the entry point, and the CPU has AVX2.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2")]
        unsafe fn $avx2(args: &$args) $(-> $out)? {
            // SAFETY: the same contract.
            unsafe { $module::$function::<avx2::Avx2>(args) }
        }

        /// With AVX-512.
        ///
        /// # Safety
        /// As the entry point, and the CPU has AVX-512F and BW.
        #[cfg(all(target_arch = "x86_64", vector_avx512))]
        #[target_feature(enable = "avx512f,avx512bw,avx2")]
        unsafe fn $avx512(args: &$args) $(-> $out)? {
            // SAFETY: the same contract.
            unsafe { $module::$function::<avx512::Avx512>(args) }
        }
    };
}

kernel! {
    /// Rotates a vector. Never fails; a vector that is not finite gives one that is not.
    ///
    /// # Safety
    /// - `args` must be valid as [`RotateArgs`] says: `vector` readable, `signs` readable and aligned, `out` writable and aligned;
    ///   `padded` a multiple of 16, not below `dim`.
    /// - The CPU must have the features that `isa` names; floating point may be used (see `vexfs_math_distances`).
    vexfs_ann_rotate(RotateArgs) = rotate::rotate, rotate_avx2, rotate_avx512
}
kernel! {
    /// Computes the code of a vector in a partition.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`EncodeArgs`].
    vexfs_ann_encode(EncodeArgs) = encode::encode, encode_avx2, encode_avx512
}
kernel! {
    /// Computes the tables of a query.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`PrepareArgs`].
    vexfs_ann_prepare(PrepareArgs) = prepare::prepare, prepare_avx2, prepare_avx512
}
kernel! {
    /// Computes the distance of a query from a partition's centroid.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`CentroidArgs`]: the blocks must hold the units of the centroid.
    vexfs_ann_centroid(CentroidArgs) = probe::centroid, centroid_avx2, centroid_avx512
}
kernel! {
    /// Estimates the distance of a query from all entries of a partition, and notes
    /// those that may lie below the limit. Returns their number.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`EstimateArgs`]: the blocks must hold the packs of all entries, `entries` be at most
    /// 65,536, and the outputs have room for sixteen more.
    vexfs_ann_estimate(EstimateArgs) -> usize = probe::estimate, estimate_avx2, estimate_avx512
}
kernel! {
    /// Estimates the distance of a query from some entries of a partition with all
    /// bits of their codes.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`RefineArgs`]: the blocks must hold the entries named.
    vexfs_ann_refine(RefineArgs) = probe::refine, refine_avx2, refine_avx512
}
kernel! {
    /// Says to which of two centres each row is nearer, and by how much.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`SidesArgs`].
    vexfs_ann_sides(SidesArgs) = split::sides, sides_avx2, sides_avx512
}
kernel! {
    /// Finds the centre that is nearest to each row. The first for a row that is not finite.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`NearestArgs`].
    vexfs_ann_nearest(NearestArgs) = split::nearest, nearest_avx2, nearest_avx512
}
kernel! {
    /// Computes the mean of some rows.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`MeanArgs`].
    vexfs_ann_mean(MeanArgs) = split::mean, mean_avx2, mean_avx512
}
kernel! {
    /// Computes the distance of a query from a node of a graph, and estimates those from its neighbours.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`NodeArgs`]: the blocks must hold the units of the node.
    vexfs_ann_node(NodeArgs) = node::node, node_avx2, node_avx512
}
kernel! {
    /// Computes the squared distances of rows from another one, or how they compare to other distances.
    ///
    /// # Safety
    /// As for [`vexfs_ann_rotate`], with [`ApartArgs`].
    vexfs_ann_apart(ApartArgs) = node::apart, apart_avx2, apart_avx512
}
