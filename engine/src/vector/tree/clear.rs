// SPDX-License-Identifier: GPL-2.0-only
//! Freeing the partitions of a dropped index, one in a step, from below. Locations that lead to them are not looked at any more.

use super::edit::{self, Edit};
use super::node::Node;
use super::shape;
use super::split::write_index;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space::ALLOC_CREDITS;
use layout::partition::{clear_entry, Shape, MAX_PARTITION_BLOCKS};
use layout::vector::{Index, Tree};

/// Blocks that one [`step`] may change, with any index; storing the index table is not among them.
pub(crate) const STEP_CREDITS: u32 =
    // The partition, its entry above, the index.
    MAX_PARTITION_BLOCKS as u32 * 2 + ALLOC_CREDITS + 1;

/// Frees one partition of a tree, the last one without children; `index` is brought up to date.
pub(crate) fn step<T: Transaction>(cx: &mut Cx<'_, T>, index: &mut Index) -> Result<()> {
    let shape = shape(index)?;
    let (start, above) = last_leaf(cx.io, index, &shape)?;
    if let Some((parent, last)) = above {
        forget(cx.io, index, &shape, parent, last)?;
    }
    edit::free(cx, &shape, start)?;
    index.tree = match above {
        Some(_) => Tree {
            partitions: index.tree.partitions.checked_sub(1).ok_or(Error::corrupt(
                start,
                "index counts fewer partitions than it has",
            ))?,
            changes: index.tree.changes.wrapping_add(1),
            ..index.tree
        },
        None => Tree {
            rotation: index.tree.rotation,
            changes: index.tree.changes.wrapping_add(1),
            ..Tree::default()
        },
    };
    write_index(cx, index)
}

/// Where a partition lies, and its entry's partition and number, if it is not the root.
type Place = (u64, Option<(u64, usize)>);

/// A partition that has no children, the last one of those above it.
#[inline(never)]
fn last_leaf<R: ReadBlocks>(io: &R, index: &Index, shape: &Shape) -> Result<Place> {
    let mut start = index.tree.root;
    let mut above = None;
    let mut node = Node::closed(index, shape);
    for level in (0..index.tree.height).rev() {
        node.open(io, start, level)?;
        let last = match node.entries().checked_sub(1) {
            Some(last) if level != 0 => last,
            _ => break,
        };
        node.load_packs(io)?;
        above = Some((start, last));
        start = node.child(last)?;
    }
    Ok((start, above))
}

/// Removes the last entry of a partition.
#[inline(never)]
fn forget<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    start: u64,
    last: usize,
) -> Result<()> {
    let mut edit = Edit::new(io, index, shape, start);
    let r = clear_entry(shape, &mut edit, last);
    edit.check(r)?;
    let mut header = edit.header()?;
    header.entries = last as u16;
    edit.set_header(&header)
}
