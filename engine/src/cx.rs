// SPDX-License-Identifier: GPL-2.0-only
//! What every changing operation works with.

use crate::io::Transaction;
use crate::space::{GroupMem, Space};
use layout::inode::Time;

/// An open transaction, the allocator's memory, and the time.
///
/// Holding a `Cx` means holding the metadata lock exclusively: `space` and `groups` live under it.
pub struct Cx<'a, T: Transaction> {
    /// The transaction.
    pub io: &'a T,
    /// Totals of the filesystem.
    pub space: &'a mut Space,
    /// One for every group, those inside the system area included.
    pub groups: &'a mut [GroupMem],
    /// Stamp for ctime and mtime.
    pub now: Time,
    /// Whether the caller may take the blocks that the super block reserves.
    pub privileged: bool,
}
