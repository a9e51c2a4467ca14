// SPDX-License-Identifier: GPL-2.0-only
//! The math object as the kernel build sees it: its argument block, from the file
//! that it was compiled from, and its two functions. Stands in for the module `math`,
//! which the kernel build must not compile here. Nothing else belongs here.

#[path = "math/args.rs"]
mod args;

pub(crate) use args::*;

extern "C" {
    /// See `math/mod.rs`.
    pub(crate) fn vexfs_math_distances(args: *const Args);
    /// See `math/mod.rs`.
    pub(crate) fn vexfs_math_norm2(vector: *const u8, dim: usize) -> u64;
}
