// SPDX-License-Identifier: GPL-2.0-only
//! The math object as the kernel build sees it: its argument block, from the file
//! that it was compiled from, and its functions. Stands in for the module `math`,
//! which the kernel build must not compile here. Nothing else belongs here.

#[path = "math/args.rs"]
mod args;

pub(crate) use args::*;

/// The code kernels.
pub(crate) mod ann {
    #[path = "../math/ann/args.rs"]
    mod args;

    pub(crate) use args::*;

    extern "C" {
        /// See `math/ann/mod.rs`; so for all that follow.
        pub(crate) fn vexfs_ann_rotate(args: *const RotateArgs);
        pub(crate) fn vexfs_ann_encode(args: *const EncodeArgs);
        pub(crate) fn vexfs_ann_prepare(args: *const PrepareArgs);
        pub(crate) fn vexfs_ann_centroid(args: *const CentroidArgs);
        pub(crate) fn vexfs_ann_estimate(args: *const EstimateArgs) -> usize;
        pub(crate) fn vexfs_ann_refine(args: *const RefineArgs);
        pub(crate) fn vexfs_ann_sides(args: *const SidesArgs);
        pub(crate) fn vexfs_ann_nearest(args: *const NearestArgs);
        pub(crate) fn vexfs_ann_mean(args: *const MeanArgs);
        pub(crate) fn vexfs_ann_node(args: *const NodeArgs);
        pub(crate) fn vexfs_ann_apart(args: *const ApartArgs);
    }
}

extern "C" {
    /// See `math/mod.rs`.
    pub(crate) fn vexfs_math_distances(args: *const Args);
    /// See `math/mod.rs`.
    pub(crate) fn vexfs_math_norm2(vector: *const u8, dim: usize, element: u32) -> u64;
    /// See `math/crc32.rs`.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn vexfs_math_crc32(register: u32, data: *const u8, len: usize) -> u32;
}
