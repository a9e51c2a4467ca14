// SPDX-License-Identifier: GPL-2.0-only
//! The vector store: named indexes, records that belong to inodes, and the segments that hold their vectors. It may not know
//! what a distance is worth, nor who may see what.
//!
//! | module | what |
//! |---|---|
//! | [`index`] | the index table: create, look up, list, begin to drop |
//! | [`record`] | put, get, delete; the records of one inode, and their end with it |
//! | [`segment`] | slots on disk: allocation, reading, writing, erasing |
//! | [`location`] | which leaf of the search tree has a slot's entry, and which node of the graph is its |
//! | [`tree`] | the search tree: entries put and removed, partitions divided and dissolved, search |
//! | [`graph`] | the graph of an index that was optimised |
//! | [`scan`] | all records of an index in bounded steps, for exact search |
//! | [`drop_index`] | freeing what a dropped index leaves |
//!
//! A record is (index, inode, label) -> tag and elements. It lives in one slot of one segment; the *vector map* (reserved inode 3) says
//! in which. A slot names its record and carries a checksum, so map and segments check each other. A record is *live* while
//! its inode has links and the slot's generation and epoch are the inode's: raising the epoch ([`kill`]) ends all records of an inode
//! at once, in the transaction that unlinks it; [`reclaim_step`] frees their slots afterwards.
//!
//! Counts: `Inode::vectors` is the number of records of the inode's present epoch; `Index::records` the number of entries in the map,
//! dead ones included until they are reclaimed; `Index::free_slots` the sum over its segments. All are exact.
//!
//! The two reserved inodes are loaded and stored by the operations here; an inode that is passed in is changed in memory only,
//! and stored by the caller. Segments count towards no inode's `blocks`.
//!
//! A record that goes is erased in the transaction that removes it, and what was a segment's is handed out again only when the zeros are on the disk
//! ([`crate::io::Reuse::AtHome`]). No operation frees more than one segment.

pub mod drop_index;
pub mod graph;
pub mod index;
pub(crate) mod location;
pub mod record;
pub mod scan;
pub mod segment;
pub mod tree;

pub use drop_index::drop_step;
pub use index::{
    create, drop_begin, find, inherited, list, load, next_dropping, set_efforts, set_permissions,
    NewIndex,
};
pub use record::{
    delete, delete_credits, for_each, get, kill, put, put_credits, put_many, puts_that_fit,
    reclaim_credits, reclaim_step, NewRecord, Record, RecordPos,
};
pub use scan::{is_live, scan, Batch, ScanPos};
pub use segment::{usage, Usage};

use crate::error::Result;
use crate::inode;
use crate::io::ReadBlocks;
use layout::ino;
use layout::inode::Inode;

/// The inode of the index table.
pub(crate) fn table<R: ReadBlocks>(io: &R) -> Result<Inode> {
    inode::load_named(io, ino::INDEX_TABLE)
}

/// The inode of the vector map.
pub(crate) fn map<R: ReadBlocks>(io: &R) -> Result<Inode> {
    inode::load_named(io, ino::VECTOR_MAP)
}

/// Blocks changed by storing both: inodes 1 to 8 share one block of the inode table.
pub(crate) const STORE_SYSTEM_CREDITS: u32 = 1;
