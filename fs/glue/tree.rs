// SPDX-License-Identifier: GPL-2.0-only
//! Search trees of indexes while they are changed: memory for it, room for entries, and dissolving thin partitions in the background. What a tree is, and which change is right, is the
//! engine's to know.

mod memory;
mod tidy;

pub(super) use memory::{QueryMemory, TreeMemory};
pub(super) use tidy::Tidy;

use super::blocks::{Reader, Txn};
use super::inode::transact;
use super::mount::Failure;
use super::VexFs;
use crate::vfs::SuperBlock;
use engine::vector::{self, tree};
use engine::{Cx, Error};
use layout::ino::INDEX_TABLE;

/// Makes room in partition `partition` of index `id`, as [`Error::Full`] asked for it, in a transaction of its own. Returns whether there was a
/// place for another partition; if there was none, the record can be put without an entry.
#[inline(never)]
pub(super) fn make_room(sb: &SuperBlock<VexFs>, id: u32, partition: u64) -> Result<bool, Failure> {
    let mut memory = memory(sb, id)?;
    let activity = sb.mount().activities().of(id).map_err(Failure::Kernel)?;
    // Searches go on meanwhile.
    let planned = sb
        .mount()
        .read(|io| tree::plan_room(io, id, partition, &mut memory.builder()));
    let plan = planned.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    let credits = |io: &Reader<'_>| tree::make_room_credits(&vector::load(io, id)?);
    let made = transact(sb, INDEX_TABLE, credits, |cx| {
        let before = partitions(cx, id)?;
        tree::make_room(cx, id, partition, plan, &mut memory.builder())?;
        Ok(partitions(cx, id).map_err(Error::late)? != before)
    });
    match made {
        Ok((divided, _)) => {
            activity.divisions.add(u64::from(divided));
            Ok(true)
        }
        Err(Failure::Clean(Error::NoSpace | Error::TooBig)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Partitions of index `id`.
#[inline(never)]
fn partitions(cx: &Cx<'_, Txn<'_>>, id: u32) -> Result<u32, Error> {
    Ok(vector::load(cx.io, id)?.tree.partitions)
}

/// Memory to change everything in the tree of index `id`.
#[inline(never)]
fn memory(sb: &SuperBlock<VexFs>, id: u32) -> Result<TreeMemory, Failure> {
    let loaded = sb.mount().read(|io| vector::load(io, id));
    let index = loaded.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    TreeMemory::for_dividing(&index)
}
