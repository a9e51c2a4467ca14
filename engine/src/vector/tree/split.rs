// SPDX-License-Identifier: GPL-2.0-only
//! Making room: the first leaf of a tree, and dividing a partition that is full. Each call is one bounded transaction, that comes before the put that
//! needs the room. It may not divide more than one partition.

use super::edit::Edit;
use super::entry::{self, New};
use super::members;
use super::memory::{part, row, row_mut, Builder};
use super::node::Node;
use super::{metric, shape, with_fpu};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode;
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
use crate::vector::index;
use crate::vector::{table, STORE_SYSTEM_CREDITS};
use ::vector::ann::{mean, two_means, TwoMeans};
use layout::partition::{child_reference, put_entry, Header, Shape, MAX_HEIGHT};
use layout::vector::Index;

/// Blocks that one [`make_room`] may change.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn make_room_credits(index: &Index) -> Result<u32> {
    let shape = shape(index)?;
    let blocks = shape.blocks() as u32;
    Ok(blocks
        // Both sides, and a new root.
        .saturating_mul(3)
        // The parent's two entries.
        .saturating_add((shape.entry_blocks() as u32).saturating_mul(2))
        // Locations or parents of those that move; each could lie in a block of its own.
        .saturating_add(shape.capacity() as u32)
        .saturating_add(ALLOC_CREDITS)
        // The index.
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// A division that was computed and not yet done; what it computed is in the [`Builder`]'s memory, which must not be used for anything else until it is.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    index: u32,
    found: Found,
    /// `changes` of the index when it was made.
    changes: u64,
    /// Checksum of the partition's contents then.
    seen: u32,
    /// Members.
    count: usize,
    /// The partition above; 0: there is none.
    parent: u64,
    /// The side that stays where it is.
    stays: u8,
}

/// Computes what [`make_room`] will have to do, without changing anything: reading the members' vectors, dividing them and making their codes takes far
/// longer than writing the outcome, and others may read meanwhile. `None` if there is nothing to compute.
///
/// Errors: clean [`Error::NotFound`] if the index is gone; [`Error::Corrupt`], [`Error::Io`].
pub fn plan_room<R: ReadBlocks>(
    io: &R,
    id: u32,
    partition: u64,
    builder: &mut Builder<'_, '_>,
) -> Result<Option<Plan>> {
    let index = index::load(io, id)?;
    if index.tree.root == 0 || partition == 0 {
        return Ok(None);
    }
    let shape = shape(&index)?;
    full_ancestor(io, &index, &shape, partition)?
        .map(|found| plan(io, &index, &shape, found, builder))
        .transpose()
}

/// Makes room in partition `partition` of an index, as [`Error::Full`] named it: by dividing it, or one above it that must be divided first, in which case
/// the record will ask again. Nothing is done if there is room. A `plan` from [`plan_room`] with the same builder is carried out if the partition is still
/// what it was then; else, or without one, everything is computed here.
///
/// Errors: clean [`Error::NotFound`] if the index is gone, [`Error::NoSpace`] if there is no run of free blocks as long as a partition (or two), [`Error::TooBig`] if the tree
/// cannot grow; the dirty ones. After [`Error::NoSpace`] the record can still be put without an entry.
pub fn make_room<T: Transaction>(
    cx: &mut Cx<'_, T>,
    id: u32,
    partition: u64,
    plan: Option<Plan>,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let mut index = index::load(cx.io, id)?;
    let shape = shape(&index)?;
    if index.tree.root == 0 {
        return first_leaf(cx, &mut index, &shape, builder);
    }
    if partition == 0 {
        return Ok(());
    }
    let Some(found) = full_ancestor(cx.io, &index, &shape, partition)? else {
        return Ok(());
    };
    let plan = match plan {
        Some(plan) if holds(cx.io, &index, &shape, found, &plan)? => plan,
        _ => self::plan(cx.io, &index, &shape, found, builder)?,
    };
    divide(cx, &mut index, &shape, &plan, builder)
}

/// Whether a plan is one of this partition, and the partition is what it was. Whatever happens to a member or its vector changes its entry.
fn holds<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    found: Found,
    plan: &Plan,
) -> Result<bool> {
    Ok(plan.index == index.id
        && plan.found == found
        && plan.changes == index.tree.changes
        && plan.seen == contents(io, index, shape, found)?)
}

/// A checksum of what is in a partition.
#[inline(never)]
fn contents<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): Found,
) -> Result<u32> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    node.load(io, 0, shape.blocks())?;
    Ok(node.checksum(io.crc32()))
}

/// Computes the division of a partition.
#[inline(never)]
fn plan<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    found: Found,
    builder: &mut Builder<'_, '_>,
) -> Result<Plan> {
    let (count, parent) = members::read_all(io, index, shape, builder, found)?;
    let stays = choose_sides(shape, count, builder)?;
    encode_all(index, shape, count, builder)?;
    Ok(Plan {
        index: index.id,
        found,
        changes: index.tree.changes,
        seen: contents(io, index, shape, found)?,
        count,
        parent,
        stays,
    })
}

/// Encodes the `count` members in the workspace against the centroids of their sides.
fn encode_all(
    index: &Index,
    shape: &Shape,
    count: usize,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let padded = shape.padded();
    let m = &mut builder.memory;
    let codes = part(m.codes, count.saturating_mul(padded))?;
    let factors = part(m.factors, count)?;
    let each = codes.chunks_exact_mut(padded.max(1)).zip(factors);
    for (n, (code, factors)) in each.enumerate() {
        let side = m.side.get(n).copied().map_or(0, usize::from);
        let centre = row(m.centres, padded, side)?;
        let vector = row(m.rows, padded, n)?;
        *factors = with_fpu(builder.compute, |fpu| {
            fpu.encode(metric(index), vector, centre, code)
        })?;
    }
    Ok(())
}

/// Writes an index and its table.
#[inline(never)]
pub(crate) fn write_index<T: Transaction>(cx: &mut Cx<'_, T>, index: &Index) -> Result<()> {
    let mut table = table(cx.io)?;
    index::write(cx, &mut table, index)?;
    inode::store(cx, &table)
}

/// Makes a leaf that is the root. Its centroid is zero, until it is divided.
#[inline(never)]
fn first_leaf<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    shape: &Shape,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let blocks = shape.blocks() as u32;
    let centroid = part(builder.memory.centres, shape.padded())?;
    centroid.fill(0);
    let (start, _) = space::alloc(cx, 0, blocks, blocks)?;
    let header = Header {
        index: index.id,
        level: 0,
        entries: 0,
        parent: 0,
    };
    write_empty(cx.io, index, shape, start, &header, centroid).map_err(Error::late)?;
    index.tree.root = start;
    index.tree.height = 1;
    index.tree.partitions = 1;
    index.tree.changes = index.tree.changes.wrapping_add(1);
    write_index(cx, index).map_err(Error::late)
}

/// A partition that has to be divided: first block and level.
type Found = (u64, u8);

/// The partition `start`, if it is still there and full, or the highest of the full ones right above it.
#[inline(never)]
fn full_ancestor<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    leaf: u64,
) -> Result<Option<Found>> {
    let mut found = None;
    let mut start = leaf;
    let mut node = Node::closed(index, shape);
    for level in 0..index.tree.height {
        node.open(io, start, level)?;
        if !node.is_full() {
            break;
        }
        found = Some((start, level));
        start = node.header.parent;
        if start == 0 {
            break;
        }
    }
    Ok(found)
}

/// One side of a division, about to be written.
pub(crate) struct Side {
    /// First block.
    pub start: u64,
    /// What members of it have in the workspace's `side`; also the row of its centroid among the centres.
    pub which: u8,
    /// Whether its blocks were just allocated.
    pub fresh: bool,
}

#[inline(never)]
fn divide<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    shape: &Shape,
    plan: &Plan,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let Plan {
        found: (start, level),
        count,
        parent,
        stays,
        ..
    } = *plan;
    let grows = parent == 0;
    if grows && start != index.tree.root {
        return Err(Error::corrupt(
            start,
            "partition without parent is not the root",
        ));
    }
    if grows && index.tree.height >= MAX_HEIGHT {
        return Err(Error::TooBig);
    }

    let blocks = shape.blocks() as u32;
    let need = blocks.saturating_mul(if grows { 2 } else { 1 });
    let (new, _) = space::alloc(cx, start, need, need)?;
    let above = match grows {
        true => new.saturating_add(u64::from(blocks)),
        false => parent,
    };
    let header = Header {
        index: index.id,
        level,
        entries: 0,
        parent: above,
    };
    let io = cx.io;
    let old = Side {
        start,
        which: stays,
        fresh: false,
    };
    let new = Side {
        start: new,
        which: 1u8.wrapping_sub(stays),
        fresh: true,
    };
    for side in [&old, &new] {
        write_side(io, index, shape, header, side, count, builder).map_err(Error::late)?;
    }
    tell(io, index, shape, level, &new, count, builder).map_err(Error::late)?;
    let level = level.saturating_add(1);
    if grows {
        make_root(io, index, shape, (above, level), builder).map_err(Error::late)?;
        index.tree.root = above;
        index.tree.height = index.tree.height.saturating_add(1);
        index.tree.partitions = index.tree.partitions.saturating_add(1);
    }
    for side in [&old, &new] {
        let known = !side.fresh && !grows;
        enter(io, index, shape, (above, level), side, known, builder).map_err(Error::late)?;
    }
    index.tree.partitions = index.tree.partitions.saturating_add(1);
    index.tree.changes = index.tree.changes.wrapping_add(1);
    write_index(cx, index).map_err(Error::late)
}

/// Divides the `count` members in the workspace in two. Returns which side stays where it is: the larger one, so that fewer locations change.
fn choose_sides(shape: &Shape, count: usize, builder: &mut Builder<'_, '_>) -> Result<u8> {
    let padded = shape.padded();
    let m = &mut builder.memory;
    let memory = TwoMeans {
        side: part(m.side, count)?,
        centres: part(m.centres, padded.saturating_mul(2))?,
        keys: part(m.keys, count)?,
    };
    let rows = part(m.rows, count.saturating_mul(padded))?;
    two_means(builder.compute, padded, rows, memory)
        .map_err(|_| Error::Internal("partition with too few entries to be divided"))?;
    let second = part(m.side, count)?.iter().filter(|s| **s == 1).count();
    Ok(u8::from(second.saturating_mul(2) > count))
}

/// Writes one side whole: those of the `count` members that belong to it.
#[inline(never)]
fn write_side<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    mut header: Header,
    side: &Side,
    count: usize,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let padded = shape.padded();
    let m = &mut builder.memory;
    let centre = row(m.centres, padded, usize::from(side.which))?;
    let members = m
        .side
        .iter()
        .zip(m.codes.chunks_exact(padded.max(1)))
        .zip(m.factors.iter().zip(m.references.iter()))
        .take(count);
    let mut edit = Edit::new(io, index, shape, side.start);
    if side.fresh {
        edit.create()?;
    }
    edit.wipe()?;
    edit.set_centroid(centre)?;
    for ((which, code), (factors, reference)) in members {
        if *which == side.which {
            let place = usize::from(header.entries);
            let r = put_entry(shape, &mut edit, place, code, factors, *reference);
            edit.check(r)?;
            header.entries = header.entries.saturating_add(1);
        }
    }
    edit.set_header(&header)
}

/// Tells those that the members of the new partition lead to where these are now.
#[inline(never)]
fn tell<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    level: u8,
    side: &Side,
    count: usize,
    builder: &Builder<'_, '_>,
) -> Result<()> {
    let m = &builder.memory;
    for (which, reference) in m.side.iter().zip(m.references.iter()).take(count) {
        if *which == side.which {
            members::moved(io, index, shape, level, *reference, side.start)?;
        }
    }
    Ok(())
}

/// Makes a root without entries, whose centroid is the mean of those of both sides.
#[inline(never)]
fn make_root<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    (start, level): Found,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let padded = shape.padded();
    let m = &mut builder.memory;
    let (sides, rest) = m
        .centres
        .split_at_mut_checked(padded.saturating_mul(2))
        .ok_or(Error::Internal("workspace too small for its index"))?;
    let centre = row_mut(rest, padded, 0)?;
    mean(builder.compute, padded, sides, &[0, 0], 0, centre);
    let header = Header {
        index: index.id,
        level,
        entries: 0,
        parent: 0,
    };
    write_empty(io, index, shape, start, &header, centre)
}

/// Makes a partition without entries in blocks that were just allocated.
#[inline(never)]
pub(crate) fn write_empty<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    start: u64,
    header: &Header,
    centroid: &[u32],
) -> Result<()> {
    let mut edit = Edit::new(io, index, shape, start);
    edit.create()?;
    edit.set_centroid(centroid)?;
    edit.set_header(header)
}

/// Writes the entry of one side into the partition above: over the one that it has there, if it is `known`, else as a new one.
#[inline(never)]
pub(crate) fn enter<T: Transaction>(
    io: &T,
    index: &Index,
    shape: &Shape,
    (above, level): Found,
    side: &Side,
    known: bool,
    builder: &mut Builder<'_, '_>,
) -> Result<()> {
    let padded = shape.padded();
    let reference = child_reference(side.start);
    let mut node = Node::closed(index, shape);
    node.open(io, above, level)?;
    let m = &mut builder.memory;
    let (sides, rest) = m
        .centres
        .split_at_mut_checked(padded.saturating_mul(2))
        .ok_or(Error::Internal("workspace too small for its index"))?;
    let centre = row_mut(rest, padded, 0)?;
    node.load_centroid(io)?;
    node.centroid(centre)?;
    let place = match known {
        true => {
            node.load_packs(io)?;
            Some(node.find(reference)?.ok_or(Error::corrupt(
                above,
                "partition is not among its parent's children",
            ))?)
        }
        false => None,
    };
    node.close();
    let code = part(m.code, padded)?;
    let vector = row(sides, padded, usize::from(side.which))?;
    let factors = with_fpu(builder.compute, |fpu| {
        fpu.encode(metric(index), vector, centre, code)
    })?;
    let new = New {
        code,
        factors,
        reference,
    };
    match place {
        Some(place) => entry::replace(io, index, shape, above, place, &new),
        None => entry::append(io, index, shape, above, &new),
    }
}
