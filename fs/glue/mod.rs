// SPDX-License-Identifier: GPL-2.0-only
//! VexFS in the kernel: the engine's operations given to the VFS, in safe Rust. What happens to metadata is the engine's; what
//! C needs is `vfs`'s; here is who holds which lock when, what a transaction may cost, and what an error leads to.
//!
//! | module | responsibility |
//! |---|---|
//! | [`blocks`] | the engine's block traits on the buffer cache and jbd2 |
//! | [`deferred`] | blocks that were freed by transactions that are not durable yet |
//! | [`error`] | engine errors as errno; what an error in metadata does to the mount |
//! | [`mount`] | a mount: what it owns, locks, transactions |
//! | [`fstype`] | mounting, unmounting, sync, freeze, statfs, options |
//! | [`inode`] | inodes in memory: filling, recording, evicting |
//! | [`attr`] | attributes: birth time, size, flags |
//! | [`dir`] | directory operations and symbolic links |
//! | [`mapping`] | where file data lies: allocation, completion of writes, inline files |
//! | [`file`] | files as a whole: size, fallocate, fsync |
//! | [`xattr`] | extended attributes and the view of vectors in them |
//! | [`export`] | file handles |
//! | [`shutdown`] | stopping a mount on request |
//! | [`ioctl`] | the ioctl interface: indexes and records |
//! | [`tree`] | search trees while they are changed: memory, room, tidying in the background |
//! | [`search`] | search, permission checks, paths of hits |
//!
//! Lock order: inode lock, folio locks, journal handle, metadata lock. See docs/architecture.md.

mod activity;
mod attr;
mod blocks;
mod deferred;
mod dir;
mod error;
mod export;
mod file;
mod fstype;
mod inode;
mod ioctl;
mod mapping;
mod mount;
mod search;
mod shutdown;
mod tree;
mod xattr;

/// The filesystem type.
pub(crate) struct VexFs;
