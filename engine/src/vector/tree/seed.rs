// SPDX-License-Identifier: GPL-2.0-only
//! Seeding a tree: leaves without entries, whose centroids somebody found by looking at many of the vectors that will be put, before the first of them is put.
//! Leaves that come from dividing full ones, one after the other, know only what came before. Each call is one bounded transaction, and the tree is right
//! after each of them; a leaf that stays empty is thin, and goes with the others. It may not know how the centroids were found.

use super::memory::{part, rotate, row_mut, Builder};
use super::node::Node;
use super::shape;
use super::split::{enter, write_empty, write_index, Side};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
use crate::vector::index;
use crate::vector::STORE_SYSTEM_CREDITS;
use layout::partition::{Header, Shape};
use layout::vector::Index;

/// Entries of the root that seeding leaves free, for leaves that are divided.
const SPARE: usize = 4;

/// Values of a vector in rotated space.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn padded(index: &Index) -> Result<usize> {
    Ok(shape(index)?.padded())
}

/// Most leaves that [`seed`] makes: they have one root.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn most_seeds(index: &Index) -> Result<usize> {
    let capacity = shape(index)?.capacity();
    Ok(capacity.saturating_sub(capacity / SPARE))
}

/// Entries that a leaf has room for.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn capacity(index: &Index) -> Result<usize> {
    Ok(shape(index)?.capacity())
}

/// Rotates a vector of an index, elements as the index has them, into `out`, which is [`padded`] long.
///
/// Errors: [`Error::Range`] if `vector` is not one of the index; [`Error::Internal`] if the memory is too small.
pub fn rotated(
    index: &Index,
    vector: &[u8],
    out: &mut [u32],
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    if vector.len() != index.vector_bytes() {
        return Err(Error::Range("vector of the wrong length for its index"));
    }
    let shape = shape(index)?;
    let out = part(out, shape.padded())?;
    rotate(
        builder.compute,
        index,
        &shape,
        builder.memory.signs,
        vector,
        out,
    )
}

/// Blocks that one [`seed`] may change.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn seed_credits(index: &Index) -> Result<u32> {
    let shape = shape(index)?;
    Ok((shape.blocks() as u32)
        // The leaf, and a new root.
        .saturating_mul(2)
        .saturating_add(shape.entry_blocks() as u32)
        .saturating_add(ALLOC_CREDITS)
        // The index.
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Adds an empty leaf with the centroid `centre` (in rotated space) to the tree of an index that has no records yet. The first one comes with a root,
/// whose centroid is `middle`. Returns whether the leaf was made: not if the index has records, its tree is another one than seeding makes, or the root has enough.
///
/// Errors: clean [`Error::NotFound`] if the index is gone, [`Error::NoSpace`] if there is no run of free blocks as long as a partition (at first, two); the dirty ones.
pub fn seed<T: Transaction>(
    cx: &mut Cx<'_, T>,
    id: u32,
    middle: &[u32],
    centre: &[u32],
    builder: &mut Builder<'_, '_>,
) -> Result<bool> {
    let mut index = index::load(cx.io, id)?;
    let shape = shape(&index)?;
    let first = index.tree.root == 0;
    if index.records != 0 || !(first || has_room(cx.io, &index, &shape)?) {
        return Ok(false);
    }
    let padded = shape.padded();
    if middle.len() != padded || centre.len() != padded {
        return Err(Error::Internal(
            "centroid of the wrong length for its index",
        ));
    }
    let blocks = shape.blocks() as u32;
    let need = blocks.saturating_mul(if first { 2 } else { 1 });
    let (start, _) = space::alloc(cx, index.tree.root, need, need)?;
    let io = cx.io;
    if first {
        let root = start.saturating_add(u64::from(blocks));
        write_empty(io, &index, &shape, root, &header(&index, 1, 0), middle)
            .map_err(Error::late)?;
        index.tree.root = root;
        index.tree.height = 2;
        index.tree.partitions = 1;
    }
    let root = index.tree.root;
    write_empty(io, &index, &shape, start, &header(&index, 0, root), centre)
        .map_err(Error::late)?;
    let own = row_mut(builder.memory.centres, padded, 0).map_err(Error::late)?;
    for (own, value) in own.iter_mut().zip(centre) {
        *own = *value;
    }
    let side = Side {
        start,
        which: 0,
        fresh: true,
    };
    enter(io, &index, &shape, (root, 1), &side, false, builder).map_err(Error::late)?;
    index.tree.partitions = index.tree.partitions.saturating_add(1);
    index.tree.changes = index.tree.changes.wrapping_add(1);
    write_index(cx, &index).map_err(Error::late)?;
    Ok(true)
}

fn header(index: &Index, level: u8, parent: u64) -> Header {
    Header {
        index: index.id,
        level,
        entries: 0,
        parent,
    }
}

/// Whether the root is right above the leaves, and has room for one more.
#[inline(never)]
fn has_room<R: ReadBlocks>(io: &R, index: &Index, shape: &Shape) -> Result<bool> {
    if index.tree.height != 2 {
        return Ok(false);
    }
    let mut node = Node::closed(index, shape);
    node.open(io, index.tree.root, 1)?;
    Ok(node.entries() < most_seeds(index)?)
}
