// SPDX-License-Identifier: GPL-2.0-only
//! The vector store against a model: random programs of puts, deletes, ends of inodes and drops of indexes, every
//! structure on disk checked after every transaction, faults at every access.

#[path = "../common/mod.rs"]
mod common;

mod check;
mod check_tree;
mod faults;
mod memory;
mod programs;
mod rebuild;
mod scenarios;
mod tree;
mod verify;
mod world;
