// SPDX-License-Identifier: GPL-2.0-only
//! Checking a VexFS filesystem, from a device that is never written. The library finds problems; the program in main.rs talks to
//! people and scripts.
//!
//! It shares the definition of the format with the rest of VexFS (`layout`), but none of the code that interprets trees, directories or
//! records: a checker that believed the engine could not contradict it. On hostile input it must not panic, hang, or use memory
//! out of proportion to the blocks in use.
//!
//! | module | what |
//! |---|---|
//! | [`problem`] | the catalogue of problems |
//! | [`mod@check`] | shared state, order of the passes |
//! | `pass` | the passes, one file each |
//! | [`tree`] | the tree walk |
//! | [`reader`], [`usage`], [`inodes`] | verified blocks, blocks in use, inodes in use |
#![forbid(unsafe_code)]

pub mod check;
pub mod inodes;
mod pass;
pub mod problem;
pub mod reader;
pub mod tree;
pub mod usage;

pub use check::{check, Observer, Options, Summary, PASSES};
pub use problem::{Code, Problem, Severity};
