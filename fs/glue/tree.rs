// SPDX-License-Identifier: GPL-2.0-only
//! Search trees and graphs of indexes while they are changed: memory for it, room for entries, and in the background dissolving thin partitions and sweeping graphs. What these are, and which
//! change is right, is the engine's to know.

mod memory;
mod sweep;
mod tidy;

pub(super) use memory::{QueryMemory, TreeMemory};
pub(super) use tidy::Tidy;

use super::blocks::Reader;
use super::inode::transact;
use super::mount::Failure;
use super::VexFs;
use crate::vfs::SuperBlock;
use engine::vector::{self, tree};
use engine::Error;
use layout::ino::INDEX_TABLE;

/// Makes room in partition `partition` of index `id`, as [`Error::Full`] asked for it, in a transaction of its own. Returns whether there was a
/// place for another partition; if there was none, the record can be put without an entry.
#[inline(never)]
pub(super) fn make_room(sb: &SuperBlock<VexFs>, id: u32, partition: u64) -> Result<bool, Failure> {
    let mut memory = memory(sb, id)?;
    // Searches go on meanwhile.
    let planned = sb
        .mount()
        .read(|io| tree::plan_room(io, id, partition, &mut memory.builder()));
    let plan = planned.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    let credits = |io: &Reader<'_>| tree::make_room_credits(&vector::load(io, id)?);
    let made = transact(sb, INDEX_TABLE, credits, |cx| {
        tree::make_room(cx, id, partition, plan, &mut memory.builder())
    });
    match made {
        Ok(_) => Ok(true),
        Err(Failure::Clean(Error::NoSpace | Error::TooBig)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Memory to change everything in the tree of index `id`.
#[inline(never)]
fn memory(sb: &SuperBlock<VexFs>, id: u32) -> Result<TreeMemory, Failure> {
    let loaded = sb.mount().read(|io| vector::load(io, id));
    let index = loaded.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    TreeMemory::for_dividing(&index)
}
