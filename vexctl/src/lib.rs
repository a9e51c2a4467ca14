// SPDX-License-Identifier: GPL-2.0-only
//! vexctl's parts, so that they can be tested without its command line.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`cmd`] | what each command does |
//! | [`backend`] | where it is done: on a mount through the kernel, or on an image |
//! | [`input`] | files of vectors and their places |
//! | [`model`] | results, which text and JSON are made from |
//! | [`output`] | writing results, and progress |
//!
//! The only unsafe code is in `backend::sys`: the ioctl itself.
#![deny(unsafe_code)]

pub mod backend;
pub mod cli;
pub mod cmd;
pub mod input;
pub mod model;
pub mod output;
