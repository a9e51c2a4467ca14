// SPDX-License-Identifier: GPL-2.0-only
//! VexFS over an image file or block device in userspace: the engine, with storage, a block cache and the journal that it needs. What runs here is the engine
//! that runs in the kernel, on the same journal format.
//!
//! It may not contain unsafe code or know the kernel's interfaces.
//!
//! | module | what |
//! |---|---|
//! | [`Image`] | an open filesystem: transactions, commit, close |
//! | [`ops`] | what the tools do with it: paths, names, contents, copying in |
//! | [`blocks`], [`contents`], [`runs`], [`txn`] | how the engine reaches blocks: cache, guards, undo |
//! | [`tree_memory`] | memory for the search trees of indexes |
//! | [`superblock`] | the super block and its backups on a device |
//! | [`device`] | storage: files, block devices, memory, and devices that fail on purpose |
//! | [`checksum`] | the two checksums, from well-kept crates |
//! | [`format`] | making a filesystem |
//! | [`in_use`] | who else uses a device |
//! | [`journal`] | jbd2's journal format written and replayed |
#![forbid(unsafe_code)]

pub mod blocks;
pub mod checksum;
pub mod contents;
pub mod device;
pub mod error;
pub mod format;
mod image;
pub mod in_use;
pub mod journal;
pub mod ops;
pub mod runs;
pub mod superblock;
pub mod tree_memory;
pub mod txn;

pub use crate::image::{journal_region, Image, Mode};
pub use error::{Error, JournalFault, Result};
