// SPDX-License-Identifier: GPL-2.0-only
//! The graph of an index that was optimised: a node for each record, with its vector, references of up to 32 neighbours, and their codes against that
//! vector (layout::graph says how they lie in blocks, `::vector::ann` computes what is in them). It may not know whose a record is, nor who may see it.
//!
//! | module | what |
//! |---|---|
//! | [`node`] | a node that is read or changed |
//! | [`choose`] | which candidates become a node's neighbours |
//! | [`build`] | making a graph, in bounded steps |
//! | [`link`] | its second half: neighbours both ways, their codes, and the switch |
//! | [`sweep`] | leading the neighbours of nodes whose records are gone past them, and erasing what is left of these, in bounded steps |
//! | [`clear`] | freeing one, in bounded steps |
//! | [`search`] | finding the records near a query |
//! | [`effort`] | how wide a beam is for a recall |
//!
//! # What always holds
//! The search tree is as complete with a graph as without, so everybody may use it instead. A slot's location names its node, and the node the slot; a node has the vector of
//! the record that is in the slot now: whoever removes or overwrites the record makes the node a *tombstone* in the same transaction, without vector and codes. A record that was
//! put since the graph was begun has no node and is in the root's list of *fresh* records, which every search looks at; one too many for the list makes the graph *stale*, and
//! searches use the tree until the next one is made.
//!
//! A neighbour is a node or a tombstone, never one that was erased: nodes that have a tombstone as a neighbour keep its code until the sweep has led them past it, and only then it
//! is erased. No new reference to a tombstone is made. Places of erased nodes are not used again.

pub mod build;
pub(crate) mod choose;
pub mod clear;
pub mod effort;
pub mod link;
pub(crate) mod node;
pub mod search;
pub mod sweep;

pub use build::{begin, begin_credits, make_credits, make_step, BuildMemory, LinkMemory};
pub use clear::{clear_credits, clear_step};
pub use effort::beam;
pub use link::{collect, link_credits, link_step, Links};
pub use search::{nearest, Found, GraphMemory};
pub use sweep::{is_swept, sweep_ahead, sweep_credits, sweep_step, Sweep};

use super::location;
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use layout::block::{read_header, BlockKind};
use layout::graph::{fresh, put_fresh, NodeShape, Root, State, DEGREE, MAX_FRESH, MAX_NODE_BLOCKS};
use layout::partition::record_reference;
use layout::vector::Index;
use layout::Block;
use node::{NodeEdit, NodeView};

/// Blocks that a record which comes or goes may change of a graph: a node and the root. Its location is counted by the search tree.
pub(crate) const RECORD_CREDITS: u32 = MAX_NODE_BLOCKS as u32 + 1;

/// The shape of the nodes of an index.
pub(crate) fn shape(index: &Index) -> Result<NodeShape> {
    NodeShape::new(index.dim).map_err(|e| Error::Internal(e.0))
}

fn check_root(index: &Index, data: &Block) -> Result<Root> {
    let bad = Error::at(index.graph);
    let owner = read_header(data, BlockKind::GraphRoot).map_err(&bad)?.owner;
    if owner != u64::from(index.id) {
        return Err(Error::corrupt(index.graph, "root of another index's graph"));
    }
    Root::read(data).map_err(&bad)
}

/// What the root of an index's graph says, if the index has one.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn root<R: ReadBlocks>(io: &R, index: &Index) -> Result<Option<Root>> {
    if index.graph == 0 {
        return Ok(None);
    }
    let data = io.read(index.graph, BlockKind::GraphRoot)?;
    check_root(index, &data).map(Some)
}

/// Whether a search of the graph finds what a search of all records would look at.
///
/// Errors: as for [`root`].
pub fn is_searched<R: ReadBlocks>(io: &R, index: &Index) -> Result<bool> {
    let root = root(io, index)?;
    Ok(root.is_some_and(|r| r.state == State::Ready && !r.stale))
}

/// The root, to change: `change` gets its block and what it says, which is written back.
pub(crate) fn change_root<T: Transaction, X>(
    io: &T,
    index: &Index,
    change: impl FnOnce(&mut Block, &mut Root) -> Result<X>,
) -> Result<X> {
    let mut data = io.modify(index.graph, BlockKind::GraphRoot)?;
    let mut root = check_root(index, &data)?;
    let x = change(&mut data, &mut root)?;
    root.write(&mut data).map_err(Error::at(index.graph))?;
    Ok(x)
}

const OUTSIDE: Error = Error::Internal("fresh record outside its list");

/// Which place of the list a fresh record has.
fn find_fresh(data: &Block, root: &Root, reference: u64) -> Option<usize> {
    (0..root.fresh as usize).find(|n| fresh(data, *n) == Some(reference))
}

/// Takes a record off the list of fresh ones, if it is there.
pub(crate) fn forget_fresh(data: &mut Block, root: &mut Root, reference: u64) -> Result<()> {
    let Some(place) = find_fresh(data, root, reference) else {
        return Ok(());
    };
    root.fresh = root.fresh.saturating_sub(1);
    let last = root.fresh as usize;
    let moved = fresh(data, last).ok_or(OUTSIDE)?;
    put_fresh(data, place, moved).ok_or(OUTSIDE)?;
    put_fresh(data, last, 0).ok_or(OUTSIDE)
}

/// A record was put into slot `slot`, in place of another perhaps.
#[inline(never)]
pub(crate) fn record_put<T: Transaction>(
    io: &T,
    index: &Index,
    segment: &Segment,
    slot: u32,
) -> Result<()> {
    if index.graph == 0 {
        return Ok(());
    }
    bury_node(io, index, segment, slot)?;
    let reference = record_reference(segment.at.start, slot);
    change_root(io, index, |data, root| {
        if root.stale || root.state == State::Clearing {
            return Ok(());
        }
        if find_fresh(data, root, reference).is_some() {
            return Ok(());
        }
        let last = root.fresh as usize;
        if last < MAX_FRESH {
            root.fresh = root.fresh.saturating_add(1);
            return put_fresh(data, last, reference).ok_or(OUTSIDE);
        }
        make_stale(data, root)
    })
}

/// From now on the graph is not searched any more.
fn make_stale(data: &mut Block, root: &mut Root) -> Result<()> {
    for n in 0..root.fresh as usize {
        put_fresh(data, n, 0).ok_or(OUTSIDE)?;
    }
    root.fresh = 0;
    root.stale = true;
    Ok(())
}

/// The record in slot `slot` goes.
#[inline(never)]
pub(crate) fn record_gone<T: Transaction>(
    io: &T,
    index: &Index,
    segment: &Segment,
    slot: u32,
) -> Result<()> {
    if index.graph == 0 || bury_node(io, index, segment, slot)? {
        return Ok(());
    }
    let reference = record_reference(segment.at.start, slot);
    let listed = {
        let data = io.read(index.graph, BlockKind::GraphRoot)?;
        let root = check_root(index, &data)?;
        find_fresh(&data, &root, reference).is_some()
    };
    if listed {
        change_root(io, index, |data, root| forget_fresh(data, root, reference))?;
    }
    Ok(())
}

/// The first of these nodes that has a record.
fn living<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &NodeShape,
    nodes: &[u64],
) -> Result<Option<u64>> {
    let mut view = NodeView::closed();
    for node in nodes.iter().copied().filter(|node| *node != 0) {
        view.open(io, index, shape, node)?;
        if view.header(index)?.is_some_and(|h| h.linked) {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// Makes the node of slot `slot`, if it has one, a tombstone; or erases it, while no other can have its code. Returns whether it had one.
fn bury_node<T: Transaction>(io: &T, index: &Index, segment: &Segment, slot: u32) -> Result<bool> {
    let reference = location::node(io, segment, slot)?;
    if reference == 0 {
        return Ok(false);
    }
    let shape = shape(index)?;
    let root = root(io, index)?.ok_or(Error::corrupt(
        segment.at.start,
        "record has a node, and its index no graph",
    ))?;
    let mut neighbours = [0; DEGREE];
    let mut node = NodeEdit::open(io, index, &shape, reference)?;
    let header = node.header()?;
    let header = header.filter(|h| h.record == record_reference(segment.at.start, slot));
    let header = header.ok_or(Error::corrupt(
        node.block(),
        "node of a graph and record do not lead to each other",
    ))?;
    for (n, place) in neighbours.iter_mut().enumerate().filter(|_| header.linked) {
        *place = node.reference(n)?;
    }
    // Codes are made when nodes are linked; when a graph is freed, all go.
    let known = matches!(root.state, State::Linking | State::Ready);
    match known {
        true => node.bury(match header.linked {
            true => header.neighbours,
            false => 0,
        })?,
        false => node.erase()?,
    }
    drop(node);
    location::set_node(io, segment, slot, 0)?;
    let successor = match root.entry == reference {
        true => living(io, index, &shape, &neighbours)?,
        false => Some(root.entry),
    };
    change_root(io, index, |data, root| {
        if root.state == State::Clearing {
            return Ok(()); // Nothing is counted any more.
        }
        match successor {
            Some(entry) => root.entry = entry,
            None => make_stale(data, root)?,
        }
        root.gone = root.gone.saturating_add(u64::from(known));
        root.live = root.live.checked_sub(1).ok_or(Error::corrupt(
            index.graph,
            "graph counts fewer nodes than it has",
        ))?;
        Ok(())
    })?;
    Ok(true)
}
