// SPDX-License-Identifier: GPL-2.0-only
//! VexFS vector mathematics and search without I/O.
//!
//! The crate knows vectors as bytes (little-endian elements, any
//! alignment), distances as ordered integers and results as candidates. It may
//! not do I/O, allocate, panic, or know about files; outside the folder `math`
//! it may not touch a float, not even to compare two, because kernel Rust has
//! no floating point.
//!
//! | module | responsibility |
//! |---|---|
//! | `math` | every floating-point operation; separately compiled for the kernel |
//! | `external` | in the kernel build: the math object as it is called |
//! | `compute` | the safe interface of the math: batches, queries, who may use the FPU |
//! | `hint` | what the processor may fetch into its cache meanwhile |
//! | `crc32` | a checksum with vector registers, for kernels that have none |
//! | `ann` | what the vector tree computes: codes, estimates, divisions |
//! | `distance` | [`Distance`], the ordered integer that stands for a distance |
//! | `metric` | [`Metric`] and what each one means |
//! | `kind` | [`Kind`]: elements, metric and dimension of vectors |
//! | `validate` | which vectors are acceptable |
//! | `topk` | [`TopK`], the k nearest candidates seen so far |
//! | `error` | [`Error`] |
//!
//! # Build configurations
//! - userspace: `math` is a module; feature `std` adds run-time choice of the
//!   instruction set and distances as floats.
//! - kernel: `--cfg vector_math_external`; `math` is not compiled here but linked
//!   from an object of its own (docs/math-object.md).
#![cfg_attr(not(any(test, feature = "std")), no_std)]
#![deny(unsafe_op_in_unsafe_fn)]

pub mod ann;
pub mod compute;
#[cfg(target_arch = "x86_64")]
pub mod crc32;
pub mod distance;
pub mod error;
#[path = "math/hint.rs"]
pub mod hint;
pub mod kind;
#[cfg(not(vector_math_external))]
pub mod math;
#[cfg(vector_math_external)]
#[path = "external.rs"]
mod math;
pub mod metric;
pub mod topk;
pub mod validate;

#[cfg(not(vector_math_external))]
pub use compute::Userspace;
pub use compute::{Batch, Compute, Fpu, Isa, Queries};
pub use distance::Distance;
pub use error::Error;
pub use kind::{Element, Kind, MAX_DIM};
pub use metric::Metric;
pub use topk::{Candidate, Rank, TopK};
pub use validate::validate;
