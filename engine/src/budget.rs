// SPDX-License-Identifier: GPL-2.0-only
//! Worst cases of several tree operations in a row, for `*_credits()` and for the space check that comes before the first
//! change. One operation's worst case is [`crate::tree`]'s; here is added that a tree may grow while the sequence
//! runs. It may not look at blocks.

use crate::tree::{self, Which};
use layout::inode::Inode;

/// Levels that a tree can gain in a sequence of `n` operations, `n` below some hundreds: from the fork into a leaf block and
/// from there to a root over leaves is the fastest (with values of 1 KiB three inserts do it); a higher tree gains one.
fn growth(n: u32) -> u32 {
    n.saturating_sub(1).min(2)
}

/// Blocks that `n` inserts, replaces or removes in a row may change, allocation included.
pub fn credits(inode: &Inode, w: Which, n: u32) -> u32 {
    let each = tree::credits(inode, w).saturating_add(growth(n).saturating_mul(4));
    each.saturating_mul(n)
}

/// Blocks that `n` inserts in a row may allocate.
pub fn new_blocks(inode: &Inode, w: Which, n: u32) -> u64 {
    let each = tree::new_blocks(inode, w).saturating_add(u64::from(growth(n)));
    each.saturating_mul(u64::from(n))
}
