// SPDX-License-Identifier: GPL-2.0-only
//! Thin partitions: finding them, moving their entries to where these belong otherwise, and freeing them. In bounded steps, whenever there is time; between two
//! steps the tree is right.

use super::descend::{descend, Wanted};
use super::edit;
use super::entry::{self, New};
use super::members;
use super::memory::{part, prepare, row, Builder};
use super::node::{read_centroid, Node};
use super::path::Path;
use super::split::write_index;
use super::{metric, shape, with_fpu};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space::ALLOC_CREDITS;
use crate::vector::index;
use crate::vector::location::LOCATION_CREDITS;
use crate::vector::STORE_SYSTEM_CREDITS;
use layout::partition::{child_reference, Header, Shape, MAX_HEIGHT};
use layout::vector::{Index, Tree};

/// A partition with fewer entries than this part of its capacity is thin.
const THIN: usize = 8;
/// Entries moved in one step.
const MOVE: u32 = 8;

/// Whether a partition with that many entries is thin.
fn is_thin(shape: &Shape, entries: usize) -> bool {
    entries.saturating_mul(THIN) < shape.capacity()
}

/// Blocks that one [`tidy_step`] may change.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn tidy_credits(index: &Index) -> Result<u32> {
    let shape = shape(index)?;
    let one = entry::append_credits(&shape)
        .saturating_add(entry::remove_credits(&shape))
        .saturating_add(LOCATION_CREDITS);
    // A partition that goes may be the only one of those above it, up to the root.
    let freed = (shape.blocks() as u32)
        .saturating_add(entry::remove_credits(&shape))
        .saturating_add(ALLOC_CREDITS);
    Ok(one
        .saturating_mul(MOVE)
        .saturating_add(freed.saturating_mul(u32::from(index.tree.height)))
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Looks at one more path of the tree for a thin partition, and if it finds one, moves up to eight of its entries, and frees it when none is left. A root with a
/// single child gives way to it. Begin with `Sweep::default()`, go on until `sweep.done`; after a crash anew.
///
/// Errors: clean [`Error::NotFound`] if the index is gone; the dirty ones. Needs no space.
pub fn tidy_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    id: u32,
    sweep: &mut Sweep,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let index = index::load(cx.io, id)?;
    let before = *sweep;
    let Some(found) = next_thin(cx.io, &index, sweep)? else {
        return Ok(());
    };
    if !dissolve(cx, index, found, builder)? {
        *sweep = before;
    }
    Ok(())
}

/// Goes on dissolving partition `start` of level `level`. Returns whether there is nothing more to do here; also if the entries find no room elsewhere.
#[inline(never)]
fn dissolve<T: Transaction>(
    cx: &mut Cx<'_, T>,
    mut index: Index,
    (start, level): (u64, u8),
    builder: &mut Builder<'_, '_>,
) -> Result<bool> {
    let shape = shape(&index)?;
    if start == index.tree.root {
        return shrink(cx, &mut index, &shape, (start, level));
    }
    let mut entries = header(cx.io, &index, &shape, (start, level))?
        .entries
        .into();
    let mut stuck = false;
    let mut moved = false;
    for _ in 0..MOVE {
        if entries == 0 {
            break;
        }
        match move_last(cx.io, &index, &shape, (start, level), builder).map_err(Error::late)? {
            Some(left) => entries = left,
            None => {
                stuck = true;
                break;
            }
        }
        moved = true;
    }
    let empty = entries == 0;
    if empty {
        free_upwards(cx, &mut index, &shape, (start, level)).map_err(Error::late)?;
    }
    if moved || empty {
        index.tree.changes = index.tree.changes.wrapping_add(1);
        write_index(cx, &index).map_err(Error::late)?;
    }
    Ok(empty || stuck)
}

/// A root leaf without entries goes, and with it the tree; so does a root above the leaves with a single child, which takes its place.
#[inline(never)]
fn shrink<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    shape: &Shape,
    (start, level): (u64, u8),
) -> Result<bool> {
    let mut root = Node::closed(index, shape);
    root.open(cx.io, start, level)?;
    match (level, root.entries()) {
        (0, 0) => {
            root.close();
            edit::free(cx, shape, start).map_err(Error::late)?;
            index.tree = Tree {
                rotation: index.tree.rotation,
                changes: index.tree.changes,
                ..Tree::default()
            };
        }
        (1.., 1) => {
            root.load_packs(cx.io)?;
            let child = root.child(0)?;
            root.close();
            members::set_parent(cx.io, index, shape, child, 0).map_err(Error::late)?;
            edit::free(cx, shape, start).map_err(Error::late)?;
            index.tree.root = child;
            index.tree.height = level;
            index.tree.partitions = index.tree.partitions.saturating_sub(1);
        }
        _ => return Ok(true),
    }
    index.tree.changes = index.tree.changes.wrapping_add(1);
    write_index(cx, index).map_err(Error::late)?;
    Ok(true)
}

/// Moves the last entry of a partition to where it belongs otherwise. Returns how many are left, `None` if it found no other place.
#[inline(never)]
fn move_last<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    builder: &mut Builder<'_, '_>,
) -> Result<Option<usize>> {
    let reference = {
        let mut node = Node::closed(index, shape);
        node.open(io, start, level)?;
        node.load_packs(io)?;
        node.reference(node.entries().saturating_sub(1))?
    };
    members::read_row(io, index, shape, builder, (start, level), reference, 0)?;
    let Some(target) = encode_elsewhere(io, index, shape, (start, level), builder)? else {
        return Ok(None);
    };
    let (to, factors) = target;
    let left = entry::remove(io, index, shape, (start, level), reference)?;
    let new = New {
        code: part(builder.memory.code, shape.padded())?,
        factors,
        reference,
    };
    entry::append(io, index, shape, to, &new)?;
    members::moved(io, index, shape, level, reference, to)?;
    Ok(Some(left))
}

/// Finds the partition but this one that the vector in the first row belongs to, and encodes it against its centroid.
#[inline(never)]
fn encode_elsewhere<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    builder: &mut Builder<'_, '_>,
) -> Result<Option<(u64, [u32; layout::partition::FACTORS])>> {
    let padded = shape.padded();
    let m = &mut builder.memory;
    let rotated = part(m.rotated, padded)?;
    for (to, from) in rotated.iter_mut().zip(row(m.rows, padded, 0)?) {
        *to = *from;
    }
    let query = prepare(builder.compute, index, shape, rotated, m.table, m.bytes)?;
    let wanted = Wanted {
        level,
        elsewhere: start,
    };
    let found = descend(io, builder.compute, index, shape, &query, m.noted, wanted)?;
    let Some(target) = found else {
        return Ok(None);
    };
    let centroid = part(m.centres, padded)?;
    read_centroid(io, index, shape, (target.start, level), centroid)?;
    let code = part(m.code, padded)?;
    let factors = with_fpu(builder.compute, |fpu| {
        fpu.encode(metric(index), query.rotated(), centroid, code)
    })?;
    Ok(Some((target.start, factors)))
}

/// What a partition says of itself.
#[inline(never)]
fn header<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
) -> Result<Header> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    Ok(node.header)
}

/// Frees a partition without entries, and those above it that lose their only one.
#[inline(never)]
fn free_upwards<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    shape: &Shape,
    (start, level): (u64, u8),
) -> Result<()> {
    let mut start = start;
    for level in level..MAX_HEIGHT {
        let parent = header(cx.io, index, shape, (start, level))?.parent;
        edit::free(cx, shape, start)?;
        index.tree.partitions = index.tree.partitions.checked_sub(1).ok_or(Error::corrupt(
            start,
            "index counts fewer partitions than it has",
        ))?;
        if parent == 0 {
            return Err(Error::corrupt(start, "the last partition has no entries"));
        }
        let above = (parent, level.saturating_add(1));
        let left = entry::remove(cx.io, index, shape, above, child_reference(start))?;
        if left != 0 {
            return Ok(());
        }
        start = parent;
    }
    Err(Error::corrupt(start, "search tree without an end"))
}

/// How far a search for thin partitions got: which child was entered at every level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    path: Path,
    /// The whole tree was seen.
    pub done: bool,
}

/// Looks at one more path of the tree, from the root to a leaf, for a thin partition; also a root that can give way. Returns its place, if it
/// found one. Partitions that come or go meanwhile may be left out or seen twice.
#[inline(never)]
fn next_thin<R: ReadBlocks>(io: &R, index: &Index, sweep: &mut Sweep) -> Result<Option<(u64, u8)>> {
    if index.tree.root == 0 {
        sweep.done = true;
        return Ok(None);
    }
    let shape = shape(index)?;
    let mut start = index.tree.root;
    let mut found = None;
    let mut way = Path::way();
    let mut node = Node::closed(index, &shape);
    for level in (0..index.tree.height).rev() {
        node.open(io, start, level)?;
        let root = start == index.tree.root;
        let entries = node.entries();
        let thin = match (root, level) {
            (true, 0) => entries == 0,
            (true, _) => entries == 1,
            (false, _) => is_thin(&shape, entries),
        };
        if thin && found.is_none() {
            found = Some((start, level));
        }
        if level == 0 {
            break;
        }
        node.load_packs(io)?;
        start = node.child(sweep.path.child(&mut way, level, entries))?;
    }
    sweep.done = !sweep.path.advance(&way);
    Ok(found)
}
