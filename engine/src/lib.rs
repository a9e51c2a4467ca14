// SPDX-License-Identifier: GPL-2.0-only
//! VexFS without I/O: everything that happens to metadata, expressed on blocks that somebody else reads, locks,
//! journals and writes.
//!
//! The engine may not do I/O, take locks, allocate memory, panic, compute with floats, or contain unsafe code. The contract of
//! its operations (credits, clean and dirty errors) is in docs/architecture.md.
//!
//! | module | what |
//! |---|---|
//! | [`io`] | the traits to reach blocks |
//! | [`error`] | errors, clean and dirty |
//! | [`space`] | groups' memory, block and inode allocation, accounting |
//! | [`tree`] | the B+tree |
//! | [`inode`] | loading, storing, creating and freeing inodes; their attributes |
//! | [`orphan`] | inodes that must be finished, and finishing them in steps |
//! | [`extent`] | mapping, allocation and truncation of file data |
//! | [`symlink`] | targets of symbolic links |
//! | [`budget`] | worst cases of several tree operations |
//! | [`dir`] | directory entries and parent pointers |
//! | [`namei`] | create, link, unlink, rename: operations on several inodes |
//! | [`xattr`] | extended attributes |
//! | [`vector`] | indexes, records, segments |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

// The tests' common code says `engine`, from outside and from inside.
#[cfg(test)]
extern crate self as engine;

pub mod bitmap;
pub mod budget;
pub mod cx;
pub mod dir;
pub mod error;
pub mod extent;
mod extent_free;
mod extent_write;
pub mod ialloc;
pub mod inode;
pub mod io;
pub mod namei;
pub mod node;
pub mod orphan;
pub mod space;
pub mod symlink;
#[cfg(test)]
mod test_hash;
pub mod tree;
mod tree_write;
pub mod vector;
pub mod xattr;

pub use cx::Cx;
pub use error::{Error, Result};
