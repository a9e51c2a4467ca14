// SPDX-License-Identifier: GPL-2.0-only
//! Kernels, guests and test runs for VexFS: the library behind `cargo xtask`.
//!
//! Prepares, from Debian's packages, what a bare machine lacks: a build root
//! with the stock kernel's headers and a guest's root file system; builds the
//! module and the tools; boots guests and runs commands in them. It knows how
//! to use the project's products, and may not reach into their sources.

pub mod apt;
pub mod architecture;
pub mod bench_kernel;
pub mod cache;
pub mod check;
pub mod chroot;
pub mod cpio;
pub mod cross;
pub mod demo;
pub mod dkms;
pub mod guest;
pub mod harness;
pub mod host;
pub mod kernel;
pub mod matrix;
pub mod module;
pub mod nightly;
pub mod packer;
pub mod project;
pub mod protocol;
pub mod report;
pub mod rootfs;
pub mod stack;
pub mod suite;
pub mod suites;
pub mod sys;
pub mod tools;
pub mod uml;
pub mod vendor;
