// SPDX-License-Identifier: GPL-2.0-only
//! Freeing a graph, in bounded steps, each a transaction: the last nodes are erased, with what leads to them, and an extent that has none any more is freed. So what a node
//! had of a record is gone before its blocks are another's. After a crash the next step goes on.

use super::build::{extent, reference_of, STEP};
use super::node::NodeEdit;
use super::{change_root, shape};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode;
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
use crate::tree::{self, Which};
use crate::vector::location;
use crate::vector::segment;
use crate::vector::tree::split::write_index;
use crate::vector::{table, STORE_SYSTEM_CREDITS};
use layout::block::BlockKind;
use layout::graph::{extent_key, State, EXTENT_BLOCKS};
use layout::partition::referred_record;
use layout::vector::Index;

/// Blocks that one [`clear_step`] may change.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn clear_credits<R: ReadBlocks>(io: &R) -> Result<u32> {
    let table = table(io)?;
    let node = super::MAX_NODE_BLOCKS as u32;
    Ok(STEP
        .saturating_mul(node.saturating_add(1))
        .saturating_add(EXTENT_BLOCKS)
        .saturating_add(tree::credits(&table, Which::Data))
        .saturating_add(ALLOC_CREDITS.saturating_mul(2))
        .saturating_add(3)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Erases the last nodes of the graph of `index`, or frees what is left of it. Returns whether it is gone; `index` is brought up to date. From the first step on searches use the
/// tree.
///
/// Errors: the dirty ones. Needs no space.
pub fn clear_step<T: Transaction>(cx: &mut Cx<'_, T>, index: &mut Index) -> Result<bool> {
    step(cx, index).map_err(Error::late)
}

fn step<T: Transaction>(cx: &mut Cx<'_, T>, index: &mut Index) -> Result<bool> {
    let Some(root) = super::root(cx.io, index)? else {
        return Ok(true);
    };
    let shape = shape(index)?;
    let each = (shape.per_extent() as u64).max(1);
    // How many nodes were made: so many blocks have to be freed as what was written.
    let made = match root.state {
        State::Clearing => root.linked,
        _ => root.nodes,
    };
    if root.nodes != 0 {
        let last = root.nodes.saturating_sub(1);
        let begins = last.saturating_sub(last.checked_rem(each).unwrap_or(0));
        let end = root.nodes.saturating_sub(u64::from(STEP)).max(begins);
        for n in end..root.nodes {
            erase(cx.io, index, n)?;
        }
        let empty = end == begins;
        if empty {
            let nodes = made.saturating_sub(begins).min(each);
            free_extent(cx, index, root.extents.saturating_sub(1), nodes as usize)?;
        }
        change_root(cx.io, index, |data, root| {
            super::make_stale(data, root)?;
            (root.entry, root.linked, root.live, root.gone) = (0, made, 0, 0);
            root.state = State::Clearing;
            root.nodes = end;
            root.extents = root.extents.saturating_sub(u32::from(empty));
            Ok(())
        })?;
        return Ok(false);
    }
    cx.io.forget(index.graph, BlockKind::GraphRoot)?;
    space::free(cx, index.graph, 1)?;
    index.graph = 0;
    write_index(cx, index)?;
    Ok(true)
}

/// Erases node `n`, and its slot's reference of it.
#[inline(never)]
fn erase<T: Transaction>(io: &T, index: &Index, n: u64) -> Result<()> {
    let shape = shape(index)?;
    let reference = reference_of(io, index, &shape, n)?;
    let mut node = NodeEdit::open(io, index, &shape, reference)?;
    let Some(header) = node.header()? else {
        // A tombstone perhaps.
        return node.erase();
    };
    let (start, slot) = referred_record(header.record);
    let (segment, _) = segment::at_block(io, index, start)?;
    if location::node(io, &segment, slot)? != reference {
        return Err(Error::corrupt(
            node.block(),
            "node of a graph and record do not lead to each other",
        ));
    }
    node.erase()?;
    drop(node);
    location::set_node(io, &segment, slot, 0)
}

/// Frees extent `number`, in which `nodes` nodes were made.
#[inline(never)]
fn free_extent<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &Index,
    number: u32,
    nodes: usize,
) -> Result<()> {
    let shape = shape(index)?;
    let start = extent(cx.io, index, number)?;
    let (last, _) = shape.place(nodes.saturating_sub(1));
    let made = (last as u32).saturating_add(shape.blocks() as u32);
    for n in 0..u64::from(made) {
        let block = start.saturating_add(n);
        cx.io.modify(block, BlockKind::Graph)?.fill(0);
    }
    space::free_erased(cx, start, made)?;
    let rest = EXTENT_BLOCKS.saturating_sub(made);
    if rest != 0 {
        space::free(cx, start.saturating_add(u64::from(made)), rest)?;
    }
    let mut table = table(cx.io)?;
    tree::remove(cx, &mut table, Which::Data, &extent_key(index.id, number))?;
    inode::store(cx, &table)
}
