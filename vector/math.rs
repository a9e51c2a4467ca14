// SPDX-License-Identifier: GPL-2.0-only
//! Crate root of the math object that is linked into the kernel module.
//!
//! The kernel compiles ordinary Rust without SSE, so the math kernels are built
//! a second time, alone, for the host's ordinary target (see `src/math/mod.rs`
//! for the interface and docs/math-object.md for the command line). This file
//! only carries the crate-level attributes that a module cannot; it may not
//! contain code.
#![no_std]
// Before Rust 1.89 the AVX-512 intrinsics were behind gates; after it the gates
// are accepted and do nothing. The kernel build sets RUSTC_BOOTSTRAP=1 anyway.
#![cfg_attr(vector_avx512, feature(stdarch_x86_avx512, avx512_target_feature))]
#![allow(stable_features)]
#![deny(unsafe_op_in_unsafe_fn)]
#![deny(missing_docs)]

#[path = "src/math/mod.rs"]
pub mod math;
