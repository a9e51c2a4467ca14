// SPDX-License-Identifier: GPL-2.0-only
//! Making the nodes of a graph, in bounded steps, each a transaction: the first half, [`super::link`] is the second. Records are taken in the order of their slots; a
//! node gets the record's vector and, as candidates, the records that a search of the tree finds near it and [`super::choose`] chooses. After a crash the next step goes on.
//!
//! Meanwhile records come and go: one that was put since is fresh, until the cursor reaches its slot; one that goes takes its node along. The tree answers searches.

use super::choose::{choose, Candidates};
use super::node::NodeEdit;
use super::{change_root, forget_fresh, shape};
use crate::budget;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode;
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
use crate::tree::{self, Which};
use crate::vector::index::{self, table_block};
use crate::vector::location;
use crate::vector::segment::{self, Segment, SlotReader};
use crate::vector::tree::memory::{part, rotate, row_mut};
use crate::vector::tree::{self as search_tree, Progress, Search, SearchMemory};
use crate::vector::{table, STORE_SYSTEM_CREDITS};
use ::vector::Compute;
use layout::block::{write_header, BlockKind};
use layout::graph::{
    extent_key, node_reference, parse_extent, NodeHeader, NodeShape, Root, State, DEGREE,
    EXTENT_BLOCKS,
};
use layout::partition::{record_reference, referred_record};
use layout::vector::{Index, Metric};

/// Nodes made, linked or erased in one step.
pub(crate) const STEP: u32 = 8;
/// Leaves of the tree that are looked at for a node's neighbours.
const PROBES: usize = 12;
/// Records that a search of the tree gives as candidates.
const CANDIDATES: usize = 96;

/// Memory for choosing the neighbours of a node and encoding them, of these lengths or longer; what it holds between steps means nothing.
#[derive(Debug)]
pub struct LinkMemory<'m> {
    /// The node's vector: the padded dimension.
    pub centre: &'m mut [u32],
    /// The candidates' vectors: [`BuildMemory::CANDIDATES`] times that.
    pub rows: &'m mut [u32],
    /// [`BuildMemory::CANDIDATES`] entries.
    pub keys: &'m mut [u32],
    /// [`BuildMemory::CANDIDATES`] entries.
    pub parts: &'m mut [u32],
    /// [`BuildMemory::CANDIDATES`] entries.
    pub references: &'m mut [u64],
    /// A code: the padded dimension.
    pub code: &'m mut [u8],
}

/// Memory of building, of these lengths or longer; what it holds between steps means nothing.
#[derive(Debug)]
pub struct BuildMemory<'m> {
    /// For searches of the tree: [`BuildMemory::PROBES`] leaves, [`BuildMemory::CANDIDATES`] records.
    pub search: SearchMemory<'m>,
    /// A vector as a slot has it.
    pub raw: &'m mut [u8],
    /// For choosing neighbours.
    pub link: LinkMemory<'m>,
    /// Signs of the rotation, as [`search_tree::Lengths`] says.
    pub signs: &'m mut [u16],
}

impl BuildMemory<'_> {
    /// Leaves that a search looks at.
    pub const PROBES: usize = PROBES;
    /// Candidates of a node.
    pub const CANDIDATES: usize = CANDIDATES;
}

/// Neighbours are found in the search tree.
const INCOMPLETE: Error =
    Error::Range("not all records are in the search tree: they have to be entered first");

/// Blocks that [`begin`] may change.
pub fn begin_credits() -> u32 {
    ALLOC_CREDITS
        .saturating_add(2)
        .saturating_add(STORE_SYSTEM_CREDITS)
}

/// Begins a graph of index `id`.
///
/// Errors, clean: [`Error::NotFound`], [`Error::Exists`] if there is one, [`Error::Range`] if there can be none: by inner products, or of records that are not all in the search tree;
/// [`Error::NoSpace`]. The dirty ones.
pub fn begin<T: Transaction>(cx: &mut Cx<'_, T>, id: u32) -> Result<()> {
    let mut index = index::load(cx.io, id)?;
    if index.graph != 0 {
        return Err(Error::Exists);
    }
    if index.metric == Metric::Dot {
        return Err(Error::Range("an index by inner products can have no graph"));
    }
    if index.records == 0 {
        return Err(Error::Range("an index without records can have no graph"));
    }
    if !search_tree::is_complete(&index) {
        return Err(INCOMPLETE);
    }
    let (block, _) = space::alloc(cx, index.tree.root, 1, 1)?;
    index.graph = block;
    index.tree.changes = index.tree.changes.wrapping_add(1);
    write_root(cx.io, &index).map_err(Error::late)?;
    search_tree::split::write_index(cx, &index).map_err(Error::late)
}

fn write_root<T: Transaction>(io: &T, index: &Index) -> Result<()> {
    let mut data = io.create(index.graph, BlockKind::GraphRoot)?;
    let header = layout::block::Header {
        block: index.graph,
        owner: u64::from(index.id),
        node: None,
    };
    write_header(&mut data, BlockKind::GraphRoot, header).map_err(Error::at(index.graph))?;
    let root = Root {
        state: State::Making,
        stale: false,
        nodes: 0,
        live: 0,
        linked: 0,
        entry: 0,
        segment: 0,
        slot: 0,
        fresh: 0,
        extents: 0,
        gone: 0,
        generation: index.tree.changes,
    };
    root.write(&mut data).map_err(Error::at(index.graph))
}

/// Blocks that [`make_step`] may change.
///
/// Errors: [`Error::Io`], [`Error::Corrupt`].
pub fn make_credits<R: ReadBlocks>(io: &R, index: &Index) -> Result<u32> {
    let blocks = shape(index)?.blocks() as u32;
    let table = table(io)?;
    // A node and a location each; extents, of which every node could begin one.
    let extent = ALLOC_CREDITS.saturating_add(tree::credits(&table, Which::Data));
    Ok(STEP
        .saturating_mul(blocks.saturating_add(1))
        .saturating_add(extent.saturating_mul(2))
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Makes the next nodes, some at a time. Returns whether that were the last.
///
/// Errors: clean [`Error::NotFound`], [`Error::Range`] if no nodes are being made, or records are not in the search tree, [`Error::NoSpace`], after which the nodes are as they were; the dirty ones.
pub fn make_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    compute: &dyn Compute,
    id: u32,
    memory: &mut BuildMemory<'_>,
) -> Result<bool> {
    let index = index::load(cx.io, id)?;
    let shape = shape(&index)?;
    let mut root = match super::root(cx.io, &index)? {
        Some(root) if root.state == State::Making => root,
        _ => return Err(Error::Range("no nodes of a graph are being made")),
    };
    if !search_tree::is_complete(&index) {
        return Err(INCOMPLETE);
    }
    for n in 0..STEP {
        let Some((segment, slot)) = next_record(cx.io, &index, &mut root)? else {
            finish_making(cx.io, &index, &root).map_err(Error::late)?;
            return Ok(true);
        };
        if root.nodes.checked_rem(shape.per_extent() as u64) == Some(0) {
            // At most one in a step, whose place is asked for before anything was changed.
            if n != 0 {
                break;
            }
            add_extent(cx, &index, &mut root)?;
        }
        make(
            cx.io,
            compute,
            &index,
            &shape,
            (&segment, slot),
            &root,
            memory,
        )
        .map_err(Error::late)?;
        let reference = record_reference(segment.at.start, slot);
        root.nodes = root.nodes.saturating_add(1);
        root.slot = slot.saturating_add(1);
        let (segment, slot, nodes, extents) = (root.segment, root.slot, root.nodes, root.extents);
        root = change_root(cx.io, &index, |data, now| {
            (now.segment, now.slot, now.nodes, now.extents) = (segment, slot, nodes, extents);
            now.live = now.live.saturating_add(1);
            forget_fresh(data, now, reference)?;
            Ok(*now)
        })
        .map_err(Error::late)?;
    }
    Ok(false)
}

fn finish_making<T: Transaction>(io: &T, index: &Index, root: &Root) -> Result<()> {
    change_root(io, index, |_, now| {
        (now.segment, now.slot) = (root.segment, root.slot);
        now.state = State::Linking;
        Ok(())
    })
}

/// The next record from the cursor on, which is moved to it.
#[inline(never)]
fn next_record<R: ReadBlocks>(
    io: &R,
    index: &Index,
    root: &mut Root,
) -> Result<Option<(Segment, u32)>> {
    let table = table(io)?;
    while let Some(s) = segment::next(io, &table, index, root.segment)? {
        if s.number != root.segment {
            (root.segment, root.slot) = (s.number, 0);
        }
        let (bits, h) = s.header(io)?;
        if let Some(slot) = segment::next_slot(&bits, root.slot, h.slots, true) {
            root.slot = slot;
            return Ok(Some((s, slot)));
        }
        (root.segment, root.slot) = (s.number.saturating_add(1), 0);
    }
    Ok(None)
}

/// Adds an extent of nodes.
#[inline(never)]
fn add_extent<T: Transaction>(cx: &mut Cx<'_, T>, index: &Index, root: &mut Root) -> Result<()> {
    let mut table = table(cx.io)?;
    space::require(
        cx,
        budget::new_blocks(&table, Which::Data, 1).saturating_add(u64::from(EXTENT_BLOCKS)),
    )?;
    let goal = match root.extents.checked_sub(1) {
        Some(last) => extent(cx.io, index, last)?.saturating_add(u64::from(EXTENT_BLOCKS)),
        None => index.graph,
    };
    let (start, _) = space::alloc(cx, goal, EXTENT_BLOCKS, EXTENT_BLOCKS)?;
    let key = extent_key(index.id, root.extents);
    tree::insert(cx, &mut table, Which::Data, &key, &start.to_le_bytes()).map_err(Error::late)?;
    inode::store(cx, &table).map_err(Error::late)?;
    root.extents = root.extents.saturating_add(1);
    Ok(())
}

/// First block of extent `n`.
pub(crate) fn extent<R: ReadBlocks>(io: &R, index: &Index, n: u32) -> Result<u64> {
    let table = table(io)?;
    let block = table_block(io, &table);
    let key = extent_key(index.id, n);
    let start = tree::get(io, &table, Which::Data, &key, |v| {
        parse_extent(v).map_err(|e| Error::corrupt(block, e.0))
    })?;
    let start = start.ok_or(Error::corrupt(block, "extent of a graph missing"))?;
    if !io.sb().geometry.is_data(start, u64::from(EXTENT_BLOCKS)) {
        return Err(Error::corrupt(
            block,
            "extent of a graph lies where none can be",
        ));
    }
    Ok(start)
}

/// The reference of node `n`.
pub(crate) fn reference_of<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &NodeShape,
    n: u64,
) -> Result<u64> {
    let each = (shape.per_extent() as u64).max(1);
    let number = n.checked_div(each).and_then(|n| u32::try_from(n).ok());
    let start = extent(io, index, number.ok_or(Error::TooBig.late())?)?;
    let place = n.checked_rem(each).unwrap_or(0);
    let (block, place) = shape.place(place as usize);
    Ok(node_reference(start.saturating_add(block), place))
}

/// Makes the node that `root` counts next, of the record in a slot.
#[inline(never)]
fn make<T: Transaction>(
    io: &T,
    compute: &dyn Compute,
    index: &Index,
    shape: &NodeShape,
    (segment, slot): (&Segment, u32),
    root: &Root,
    m: &mut BuildMemory<'_>,
) -> Result<()> {
    let padded = shape.padded();
    let own = record_reference(segment.at.start, slot);
    if location::node(io, segment, slot)? != 0 {
        return Err(Error::corrupt(
            segment.at.start,
            "record has a node before it was made",
        ));
    }
    let partitions = search_tree::shape(index)?;
    let raw = part(m.raw, index.vector_bytes())?;
    SlotReader::new(io, segment).parts(slot, raw)?;
    let centre = part(m.link.centre, padded)?;
    rotate(compute, index, &partitions, m.signs, raw, centre)?;
    let link = &mut m.link;
    let count = candidates(io, compute, index, raw, own, &mut m.search, link.references)?;
    for n in 0..count {
        let reference = link.references.get(n).copied().unwrap_or(0);
        let row = row_mut(link.rows, padded, n)?;
        read_vector(io, compute, index, reference, (m.raw, m.signs), row)?;
    }
    let candidates = Candidates {
        rows: link.rows,
        keys: link.keys,
        parts: link.parts,
    };
    let mut chosen = [0; DEGREE];
    let neighbours = choose(
        compute,
        part(link.centre, padded)?,
        candidates,
        count,
        &mut chosen,
    )?;
    let reference = reference_of(io, index, shape, root.nodes)?;
    let (_, place) = layout::graph::referred_node(reference);
    let mut node = match place {
        0 => NodeEdit::create(io, index, shape, reference)?,
        _ => NodeEdit::open(io, index, shape, reference)?,
    };
    let header = NodeHeader {
        index: index.id,
        linked: false,
        neighbours: neighbours as u16,
        record: own,
    };
    let (centre, references) = (part(link.centre, padded)?, &*link.references);
    node.change(|units, shape| {
        units.set_header(&header)?;
        units.put_vector(shape, centre)?;
        for (n, place) in chosen.iter().enumerate().take(neighbours) {
            let record = references.get(usize::from(*place)).copied().unwrap_or(0);
            units.put_reference(shape, n, record)?;
        }
        Ok(())
    })?;
    drop(node);
    location::set_node(io, segment, slot, reference)
}

/// Finds records near a vector, but not that of reference `own`. Returns how many.
#[inline(never)]
fn candidates<R: ReadBlocks>(
    io: &R,
    compute: &dyn Compute,
    index: &Index,
    vector: &[u8],
    own: u64,
    memory: &mut SearchMemory<'_>,
    references: &mut [u64],
) -> Result<usize> {
    let memory = SearchMemory {
        signs: memory.signs,
        rotated: memory.rotated,
        table: memory.table,
        bytes: memory.bytes,
        partitions: memory.partitions,
        found: part(memory.found, CANDIDATES)?,
        noted: memory.noted,
    };
    let mut search = Search::new(compute, index, vector, PROBES, memory)?;
    while search.step(io, compute, index)? == Progress::More {}
    let mut count = 0usize;
    let others = search.found().iter().filter(|near| near.what != own);
    for (place, near) in references.iter_mut().zip(others) {
        *place = near.what;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Reads the vector of a record, in rotated space.
#[inline(never)]
fn read_vector<R: ReadBlocks>(
    io: &R,
    compute: &dyn Compute,
    index: &Index,
    reference: u64,
    (raw, signs): (&mut [u8], &mut [u16]),
    out: &mut [u32],
) -> Result<()> {
    let (start, slot) = referred_record(reference);
    let (segment, _) = segment::at_block(io, index, start)?;
    let raw = part(raw, index.vector_bytes())?;
    SlotReader::new(io, &segment).parts(slot, raw)?;
    rotate(compute, index, &search_tree::shape(index)?, signs, raw, out)
}
