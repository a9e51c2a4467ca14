// SPDX-License-Identifier: GPL-2.0-only
//! The second half of making a graph: each node's neighbours are chosen among the candidates that it has and the nodes that have it as one, and encoded against its vector.
//! Who has a node as a candidate is collected beforehand, for so many nodes at a time as the caller's memory allows. The last step makes the graph the one that searches use,
//! by changing its root block alone.

use super::build::{extent, reference_of, LinkMemory, STEP};
use super::choose::{choose, Candidates};
use super::node::{NodeEdit, NodeView};
use super::{change_root, shape};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::vector::index;
use crate::vector::location;
use crate::vector::segment;
use crate::vector::tree::memory::{part, row, row_mut};
use crate::vector::tree::{metric, with_fpu};
use ::vector::ann::apart;
use ::vector::Compute;
use layout::graph::{
    node_reference, referred_node, NodeHeader, NodeShape, Root, State, DEGREE, EXTENT_BLOCKS,
};
use layout::partition::referred_record;
use layout::vector::Index;

/// Who has each of some nodes as a candidate: memory of the caller, filled by [`collect`].
#[derive(Debug)]
pub struct Links<'m> {
    /// [`DEGREE`] entries for each node: key of the distance in the high half, the number of the node in the low one; u64::MAX for none. As many nodes are done at a time as this
    /// has room for.
    pub table: &'m mut [u64],
    /// The first blocks of all extents: as many entries as the graph has extents.
    pub extents: &'m mut [u64],
    /// The same with their numbers, ascending: as many.
    pub sorted: &'m mut [(u64, u32)],
    /// The first blocks of all segments, ascending: as many entries as the index has segments.
    pub segments: &'m mut [u64],
    /// `changes` of the index when this was collected.
    pub changes: u64,
    /// The first node of which this holds.
    pub first: u64,
    /// How many nodes; 0: of none.
    pub count: u64,
}

/// Blocks that [`link_step`] may change.
///
/// Errors: [`Error::Internal`] for a dimension that no index has.
pub fn link_credits(index: &Index) -> Result<u32> {
    let blocks = shape(index)?.blocks() as u32;
    Ok(STEP.saturating_mul(blocks).saturating_add(1))
}

/// The number of the node that a reference leads to, if it is one of the graph's.
fn number_of(shape: &NodeShape, sorted: &[(u64, u32)], reference: u64) -> Option<u64> {
    let (block, n) = referred_node(reference);
    let behind = sorted.partition_point(|(start, _)| *start <= block);
    let (start, extent) = *sorted.get(behind.checked_sub(1)?)?;
    let inside = block.saturating_sub(start);
    if inside >= u64::from(EXTENT_BLOCKS) {
        return None;
    }
    let place = inside
        .checked_div(shape.blocks() as u64)
        .unwrap_or(0)
        .saturating_mul(shape.per_block() as u64)
        .saturating_add(n as u64);
    let before = u64::from(extent).saturating_mul(shape.per_extent() as u64);
    Some(before.saturating_add(place))
}

/// The node that a reference of a node leads to: of a node itself once it is linked, before of a record. `None` if that has none: it may be gone, and its segment with it.
#[inline(never)]
fn node_of<R: ReadBlocks>(
    io: &R,
    index: &Index,
    segments: &[u64],
    linked: bool,
    reference: u64,
) -> Result<Option<u64>> {
    if linked || reference == 0 {
        return Ok(Some(reference).filter(|r| *r != 0));
    }
    let (start, slot) = referred_record(reference);
    if segments.binary_search(&start).is_err() {
        return Ok(None);
    }
    let (segment, bits) = segment::at_block(io, index, start)?;
    if slot >= segment.at.slots || !segment::is_used(&bits, slot) {
        return Ok(None);
    }
    Ok(Some(location::node(io, &segment, slot)?).filter(|r| *r != 0))
}

/// Collects who has the next nodes to be linked as candidates: goes through all nodes once. Nothing is changed.
///
/// Errors: [`Error::Range`] if no graph is being linked; [`Error::Internal`] if the memory is too small; [`Error::Corrupt`], [`Error::Io`].
pub fn collect<R: ReadBlocks>(
    io: &R,
    compute: &dyn Compute,
    index: &Index,
    links: &mut Links<'_>,
    memory: &mut LinkMemory<'_>,
) -> Result<()> {
    let shape = shape(index)?;
    let root = linking(io, index)?;
    links.count = 0;
    let extents = part(links.extents, root.extents as usize)?;
    let sorted = part(links.sorted, root.extents as usize)?;
    for ((n, place), pair) in extents.iter_mut().enumerate().zip(sorted.iter_mut()) {
        *place = extent(io, index, n as u32)?;
        *pair = (*place, n as u32);
    }
    sorted.sort_unstable();
    let segments = part(links.segments, index.segments as usize)?;
    list_segments(io, index, segments)?;
    links.changes = index.tree.changes;
    links.table.fill(u64::MAX);
    let room = (links.table.len() / DEGREE) as u64;
    let end = root.linked.saturating_add(room).min(root.nodes);
    if room == 0 {
        return Err(Error::Internal("workspace too small for its index"));
    }
    let (mut from, mut to) = (NodeView::closed(), NodeView::closed());
    for n in 0..root.nodes {
        let reference = numbered(&shape, extents, n)?;
        from.open(io, index, &shape, reference)?;
        let Some(header) = from.header(index)? else {
            continue;
        };
        from.vector(&shape, part(memory.centre, shape.padded())?)?;
        for place in 0..usize::from(header.neighbours) {
            let candidate = from.reference(&shape, place)?;
            let Some(node) = node_of(io, index, segments, header.linked, candidate)? else {
                continue;
            };
            let number = number_of(&shape, sorted, node)
                .filter(|n| *n < root.nodes)
                .ok_or(Error::corrupt(
                    referred_node(reference).0,
                    "neighbour of a graph's node is none of its nodes",
                ))?;
            if number < root.linked || number >= end || number == n {
                continue;
            }
            to.open(io, index, &shape, node)?;
            if to.header(index)?.is_none() {
                continue;
            }
            let far = row_mut(memory.rows, shape.padded(), 0)?;
            to.vector(&shape, far)?;
            let mut key = [0];
            apart(compute, far, part(memory.centre, shape.padded())?, &mut key)
                .map_err(|_| Error::Internal("wrong lengths for a computation"))?;
            let [key] = key;
            let entry = u64::from(key) << 32 | (n & u64::from(u32::MAX));
            let at = (number.saturating_sub(root.linked) as usize).saturating_mul(DEGREE);
            keep(links.table.get_mut(at..at.saturating_add(DEGREE)), entry);
        }
    }
    links.first = root.linked;
    links.count = end.saturating_sub(root.linked);
    Ok(())
}

/// Writes the first blocks of all segments, ascending.
#[inline(never)]
fn list_segments<R: ReadBlocks>(io: &R, index: &Index, out: &mut [u64]) -> Result<()> {
    let table = crate::vector::table(io)?;
    let mut from = 0;
    for place in out.iter_mut() {
        let next = segment::next(io, &table, index, from)?;
        let segment = next.ok_or(Error::corrupt(
            index::table_block(io, &table),
            "index counts more segments than it has",
        ))?;
        *place = segment.at.start;
        from = segment.number.saturating_add(1);
    }
    out.sort_unstable();
    Ok(())
}

/// Puts an entry among ascending ones; the last gives way.
fn keep(list: Option<&mut [u64]>, entry: u64) {
    let mut moved = entry;
    for place in list.unwrap_or_default() {
        if moved < *place {
            core::mem::swap(place, &mut moved);
        }
    }
}

/// The reference of node `n`, by the list of extents.
fn numbered(shape: &NodeShape, extents: &[u64], n: u64) -> Result<u64> {
    let each = (shape.per_extent() as u64).max(1);
    let start = n
        .checked_div(each)
        .and_then(|n| usize::try_from(n).ok())
        .and_then(|at| extents.get(at))
        .ok_or(Error::Internal("node beyond the extents of its graph"))?;
    let place = n.checked_rem(each).unwrap_or(0);
    let (block, place) = shape.place(place as usize);
    Ok(node_reference(start.saturating_add(block), place))
}

fn linking<R: ReadBlocks>(io: &R, index: &Index) -> Result<Root> {
    match super::root(io, index)? {
        Some(root) if root.state == State::Linking => Ok(root),
        _ => Err(Error::Range("no graph is being linked")),
    }
}

/// Links the next nodes, some at a time; after the last one the graph is what searches use. Returns whether it is.
///
/// Errors: clean [`Error::NotFound`], [`Error::Range`] if no graph is being linked, [`Error::TooBig`] if [`collect`] has to come first; the dirty ones. Needs no space.
pub fn link_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    compute: &dyn Compute,
    id: u32,
    links: &Links<'_>,
    memory: &mut LinkMemory<'_>,
) -> Result<bool> {
    let index = index::load(cx.io, id)?;
    let shape = shape(&index)?;
    let root = linking(cx.io, &index)?;
    if root.linked >= root.nodes {
        return install(cx.io, &index, &shape, &root).map_err(Error::late);
    }
    let end = links.first.saturating_add(links.count).min(root.nodes);
    let outdated = links.changes != index.tree.changes;
    if outdated || root.linked < links.first || root.linked >= end {
        return Err(Error::TooBig);
    }
    let end = end.min(root.linked.saturating_add(u64::from(STEP)));
    for n in root.linked..end {
        link(cx.io, compute, (&index, &shape), n, links, memory).map_err(Error::late)?;
    }
    change_root(cx.io, &index, |_, root| {
        root.linked = end;
        Ok(false)
    })
    .map_err(Error::late)
}

/// Makes the graph the one that searches use, or frees it, if it has no nodes.
#[inline(never)]
fn install<T: Transaction>(io: &T, index: &Index, shape: &NodeShape, root: &Root) -> Result<bool> {
    let mut view = NodeView::closed();
    let mut entry = 0;
    // In the middle of the order in which records were put, or the next one that is there.
    let middle = root.nodes / 2;
    for n in (middle..root.nodes).chain(0..middle) {
        let reference = reference_of(io, index, shape, n)?;
        view.open(io, index, shape, reference)?;
        if view.header(index)?.is_some() {
            entry = reference;
            break;
        }
    }
    drop(view);
    change_root(io, index, |_, root| {
        root.entry = entry;
        root.state = match entry {
            0 => State::Clearing,
            _ => State::Ready,
        };
        Ok(true)
    })
}

/// Chooses the neighbours of node `n`, and encodes them.
#[inline(never)]
fn link<T: Transaction>(
    io: &T,
    compute: &dyn Compute,
    (index, shape): (&Index, &NodeShape),
    n: u64,
    links: &Links<'_>,
    m: &mut LinkMemory<'_>,
) -> Result<()> {
    let padded = shape.padded();
    let reference = reference_of(io, index, shape, n)?;
    let count = gather(io, (index, shape), (n, reference), links, m)?;
    let Some(count) = count else {
        return Ok(()); // Its record is gone.
    };
    let candidates = Candidates {
        rows: m.rows,
        keys: m.keys,
        parts: m.parts,
    };
    let mut chosen = [0; DEGREE];
    let centre = part(m.centre, padded)?;
    let neighbours = choose(compute, centre, candidates, count, &mut chosen)?;
    encode(
        io,
        compute,
        (index, shape),
        reference,
        &chosen,
        neighbours,
        m,
    )
}

/// Makes the first `count` of the candidates that were chosen the neighbours of a node, whose vector is the centre.
#[inline(never)]
pub(super) fn encode<T: Transaction>(
    io: &T,
    compute: &dyn Compute,
    (index, shape): (&Index, &NodeShape),
    reference: u64,
    chosen: &[u16; DEGREE],
    count: usize,
    m: &mut LinkMemory<'_>,
) -> Result<()> {
    let padded = shape.padded();
    let mut node = NodeEdit::open(io, index, shape, reference)?;
    let header = node
        .header()?
        .ok_or(Error::Internal("node erased while it is linked"))?;
    let header = NodeHeader {
        linked: true,
        neighbours: count as u16,
        ..header
    };
    node.change(|units, shape| {
        units.clear_neighbours(shape)?;
        units.set_header(&header)
    })?;
    for (n, place) in chosen.iter().enumerate().take(count) {
        let place = usize::from(*place);
        let vector = row(m.rows, padded, place)?;
        let code = part(m.code, padded)?;
        let (centre, to) = (&*m.centre, m.references.get(place).copied().unwrap_or(0));
        let centre = centre
            .get(..padded)
            .ok_or(Error::Internal("workspace too small for its index"))?;
        let factors = with_fpu(compute, |fpu| {
            fpu.encode_top(metric(index), vector, centre, code)
        })?;
        node.change(|units, shape| {
            units.put_code(shape, n, code, factors)?;
            units.put_reference(shape, n, to)
        })?;
    }
    Ok(())
}

/// Reads the vector of node `n` and those of its candidates: its own, and the nodes that have it as one. Returns how many; `None` if its record is gone.
#[inline(never)]
fn gather<R: ReadBlocks>(
    io: &R,
    (index, shape): (&Index, &NodeShape),
    (n, reference): (u64, u64),
    links: &Links<'_>,
    m: &mut LinkMemory<'_>,
) -> Result<Option<usize>> {
    let padded = shape.padded();
    let (mut view, mut other) = (NodeView::closed(), NodeView::closed());
    view.open(io, index, shape, reference)?;
    let Some(header) = view.header(index)? else {
        return Ok(None);
    };
    view.vector(shape, part(m.centre, padded)?)?;
    let mut count = 0usize;
    let at = (n.saturating_sub(links.first) as usize).saturating_mul(DEGREE);
    let reverse = links
        .table
        .get(at..at.saturating_add(DEGREE))
        .unwrap_or(&[]);
    let reverse = reverse.iter().filter(|entry| **entry != u64::MAX);
    let own = (0..usize::from(header.neighbours)).map(Err);
    for candidate in own.chain(reverse.map(|entry| Ok(*entry & u64::from(u32::MAX)))) {
        let node = match candidate {
            Err(place) => {
                let reference = view.reference(shape, place)?;
                node_of(io, index, links.segments, header.linked, reference)?
            }
            Ok(number) => Some(numbered(shape, links.extents, number)?),
        };
        let Some(node) = node.filter(|node| *node != reference) else {
            continue;
        };
        if part(m.references, count)?.contains(&node) {
            continue;
        }
        other.open(io, index, shape, node)?;
        if other.header(index)?.is_none() {
            continue;
        }
        other.vector(shape, row_mut(m.rows, padded, count)?)?;
        *m.references
            .get_mut(count)
            .ok_or(Error::Internal("workspace too small for its index"))? = node;
        count = count.saturating_add(1);
    }
    Ok(Some(count))
}
