// SPDX-License-Identifier: GPL-2.0-only
//! Erasing what records that are gone left in a graph, in bounded steps, each a transaction: the tombstones of some are listed, all nodes that have one of them as a neighbour are
//! led past it, and then, when nobody refers to it any more, it is erased. Led past: the neighbours of the tombstone become candidates beside those that the node has otherwise
//! (FreshDiskANN, Singh et al., 2021), and among these is chosen as when the graph was made. What a sweep has in mind is its caller's; after a crash it begins anew.
//!
//! A graph that is not searched any more, or was left unfinished with codes of such records, is freed instead: that erases them, too.

use super::build::{extent, BuildMemory, LinkMemory, STEP};
use super::choose::{choose, Candidates};
use super::clear::{clear_credits, clear_step};
use super::link::encode;
use super::node::{NodeEdit, NodeView};
use super::{change_root, shape};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::vector::index;
use crate::vector::tree::memory::{part, row_mut};
use crate::vector::STORE_SYSTEM_CREDITS;
use ::vector::Compute;
use layout::graph::{node_reference, NodeShape, Root, State, DEGREE};
use layout::vector::Index;

/// Nodes looked at in one step.
const LOOK: u64 = 64;

/// Where a sweep stands. Begin with the default, go on until [`Sweep::is_done`]; after a crash anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The graph's.
    generation: u64,
    phase: Phase,
    /// The node, or place of the list, to go on with.
    at: u64,
    /// Tombstones listed.
    listed: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Begin,
    /// Tombstones are listed.
    List,
    /// The list is complete, but not sorted.
    Sort,
    /// Nodes are led past those in the list.
    Lead,
    /// Those in the list are erased.
    Erase,
    Done,
}

impl Sweep {
    /// Whether nothing was left.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn go_on(&mut self, phase: Phase) {
        (self.phase, self.at) = (phase, 0);
    }
}

/// Whether a graph has nothing of records that are gone, nor takes space for nothing.
fn has_nothing(root: &Root) -> bool {
    root.gone == 0 && !root.stale && root.state != State::Clearing
}

/// Whether there is nothing for a sweep to do in the graph of an index.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn is_swept<R: ReadBlocks>(io: &R, index: &Index) -> Result<bool> {
    let root = super::root(io, index)?;
    Ok(root.is_none_or(|root| has_nothing(&root)))
}

/// Blocks that one [`sweep_step`] may change.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn sweep_credits<R: ReadBlocks>(io: &R, index: &Index) -> Result<u32> {
    let blocks = shape(index)?.blocks() as u32;
    Ok(STEP
        .saturating_mul(blocks)
        .saturating_add(1)
        .saturating_add(STORE_SYSTEM_CREDITS)
        .max(clear_credits(io)?))
}

/// Goes on with a sweep of the graph of index `id`: looks at up to 64 nodes, and changes up to eight. `list` is the caller's, of at least one entry, and stays as
/// it is between steps; as many tombstones are dealt with in one round over all nodes. Records that go meanwhile are for the next round.
///
/// Nobody may be making the graph: one that is unfinished is freed if it has tombstones.
///
/// Errors: clean [`Error::NotFound`] if the index is gone; the dirty ones. After an error the caller goes on from the `sweep` that it had before. Needs no space.
pub fn sweep_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    compute: &dyn Compute,
    id: u32,
    sweep: &mut Sweep,
    list: &mut [u64],
    memory: &mut LinkMemory<'_>,
) -> Result<()> {
    let mut index = index::load(cx.io, id)?;
    let root = match super::root(cx.io, &index)? {
        Some(root) if !has_nothing(&root) => root,
        _ => {
            sweep.go_on(Phase::Done);
            return Ok(());
        }
    };
    if root.state != State::Ready || root.stale {
        if clear_step(cx, &mut index)? {
            sweep.go_on(Phase::Done);
        }
        return Ok(());
    }
    if sweep.generation != root.generation || sweep.phase == Phase::Done {
        *sweep = Sweep {
            generation: root.generation,
            ..Sweep::default()
        };
    }
    let shape = shape(&index)?;
    let graph = (&index, &shape, &root);
    match sweep.phase {
        Phase::Begin | Phase::Done => {
            sweep.go_on(Phase::List);
            sweep.listed = 0;
            Ok(())
        }
        Phase::List => find(cx.io, graph, sweep, list),
        Phase::Sort => {
            part(list, sweep.listed)?.sort_unstable();
            sweep.go_on(match sweep.listed {
                // The root counts some that there are not, which fsck will say.
                0 => Phase::Done,
                _ => Phase::Lead,
            });
            Ok(())
        }
        Phase::Lead => {
            let list = part(list, sweep.listed)?;
            lead_some(cx.io, compute, graph, sweep, list, memory).map_err(Error::late)
        }
        Phase::Erase => {
            let list = part(list, sweep.listed)?;
            erase_some(cx.io, graph, sweep, list).map_err(Error::late)
        }
    }
}

/// Reads what the next [`sweep_step`] is going to look at, and changes nothing: for callers who do not want to wait for a device while they keep others out. That nothing
/// has changed between the two is not necessary.
///
/// Errors: [`Error::NotFound`] if the index is gone; [`Error::Corrupt`], [`Error::Io`].
pub fn sweep_ahead<R: ReadBlocks>(
    io: &R,
    id: u32,
    sweep: &Sweep,
    list: &mut [u64],
    memory: &mut LinkMemory<'_>,
) -> Result<()> {
    let index = index::load(io, id)?;
    let root = match super::root(io, &index)? {
        Some(root) if root.generation == sweep.generation => root,
        _ => return Ok(()),
    };
    let shape = shape(&index)?;
    let graph = (&index, &shape, &root);
    let mut ahead = *sweep;
    match sweep.phase {
        // What is noted beyond the list's present end means nothing.
        Phase::List => find(io, graph, &mut ahead, list),
        Phase::Lead => {
            let list = part(list, sweep.listed)?;
            each_to_lead(io, graph, &mut ahead, list, memory, |_, _, _| Ok(()))
        }
        _ => Ok(()),
    }
}

/// An index with a graph, its shape, and what its root says.
type Graph<'a> = (&'a Index, &'a NodeShape, &'a Root);

/// Finds out references of nodes, one after the other.
#[derive(Default)]
struct Numbers {
    /// An extent and its first block.
    held: Option<(u64, u64)>,
}

impl Numbers {
    /// The reference of node `n`.
    fn reference<R: ReadBlocks>(&mut self, io: &R, graph: Graph<'_>, n: u64) -> Result<u64> {
        let (index, shape, _) = graph;
        let each = (shape.per_extent() as u64).max(1);
        let number = n.checked_div(each).unwrap_or(0);
        let start = match self.held {
            Some((held, start)) if held == number => start,
            _ => {
                let short = u32::try_from(number).map_err(|_| Error::TooBig.late())?;
                extent(io, index, short)?
            }
        };
        self.held = Some((number, start));
        let (block, place) = shape.place(n.checked_rem(each).unwrap_or(0) as usize);
        Ok(node_reference(start.saturating_add(block), place))
    }
}

/// Looks for tombstones, which it lists.
#[inline(never)]
fn find<R: ReadBlocks>(
    io: &R,
    graph: Graph<'_>,
    sweep: &mut Sweep,
    list: &mut [u64],
) -> Result<()> {
    let (index, shape, root) = graph;
    let mut numbers = Numbers::default();
    let mut view = NodeView::closed();
    let end = root.nodes.min(sweep.at.saturating_add(LOOK));
    while sweep.at < end {
        let reference = numbers.reference(io, graph, sweep.at)?;
        view.open(io, index, shape, reference)?;
        if view.tombstone()?.is_some() {
            let Some(place) = list.get_mut(sweep.listed) else {
                break;
            };
            *place = reference;
            sweep.listed = sweep.listed.saturating_add(1);
        }
        sweep.at = sweep.at.saturating_add(1);
    }
    if sweep.at >= root.nodes || sweep.at < end {
        sweep.go_on(Phase::Sort);
    }
    Ok(())
}

/// Leads nodes past the listed tombstones that they have as neighbours.
#[inline(never)]
fn lead_some<T: Transaction>(
    io: &T,
    compute: &dyn Compute,
    graph: Graph<'_>,
    sweep: &mut Sweep,
    list: &[u64],
    memory: &mut LinkMemory<'_>,
) -> Result<()> {
    each_to_lead(
        io,
        graph,
        sweep,
        list,
        memory,
        |reference, count, memory| lead(io, compute, graph, reference, count, memory),
    )?;
    if sweep.at >= graph.2.nodes {
        sweep.go_on(Phase::Erase);
    }
    Ok(())
}

/// Gives the nodes that have listed tombstones as neighbours, up to eight among the next ones, to `lead`, with the number of their candidates.
fn each_to_lead<R: ReadBlocks>(
    io: &R,
    graph: Graph<'_>,
    sweep: &mut Sweep,
    list: &[u64],
    memory: &mut LinkMemory<'_>,
    mut lead: impl FnMut(u64, usize, &mut LinkMemory<'_>) -> Result<()>,
) -> Result<()> {
    let mut numbers = Numbers::default();
    let end = graph.2.nodes.min(sweep.at.saturating_add(LOOK));
    let mut changed = 0u32;
    while sweep.at < end && changed < STEP {
        let reference = numbers.reference(io, graph, sweep.at)?;
        if let Some(count) = candidates(io, graph, reference, list, memory)? {
            lead(reference, count, memory)?;
            changed = changed.saturating_add(1);
        }
        sweep.at = sweep.at.saturating_add(1);
    }
    Ok(())
}

/// If a node has a listed tombstone as a neighbour, reads its vector and those of its candidates: neighbours that are there, and those of all neighbours that are
/// tombstones. Returns how many.
#[inline(never)]
fn candidates<R: ReadBlocks>(
    io: &R,
    (index, shape, _): Graph<'_>,
    reference: u64,
    list: &[u64],
    m: &mut LinkMemory<'_>,
) -> Result<Option<usize>> {
    let mut view = NodeView::closed();
    view.open(io, index, shape, reference)?;
    let Some(header) = view.header(index)?.filter(|h| h.linked) else {
        return Ok(None);
    };
    let mut own = [0; DEGREE];
    let own = part(&mut own, header.neighbours.into())?;
    for (n, place) in own.iter_mut().enumerate() {
        *place = view.reference(shape, n)?;
    }
    if !own.iter().any(|to| list.binary_search(to).is_ok()) {
        return Ok(None);
    }
    view.vector(shape, part(m.centre, shape.padded())?)?;
    let mut count = 0usize;
    for to in own.iter() {
        take(io, (index, shape), (*to, reference), &mut count, m)?;
    }
    for to in own.iter() {
        view.open(io, index, shape, *to)?;
        let Some(tombstone) = view.tombstone()? else {
            continue;
        };
        for n in 0..usize::from(tombstone.neighbours) {
            let next = view.reference(shape, n)?;
            take(io, (index, shape), (next, reference), &mut count, m)?;
        }
    }
    Ok(Some(count))
}

/// Adds a node to the candidates of node `own`, if it has a record, is not one of them, and there is room.
#[inline(never)]
fn take<R: ReadBlocks>(
    io: &R,
    (index, shape): (&Index, &NodeShape),
    (node, own): (u64, u64),
    count: &mut usize,
    m: &mut LinkMemory<'_>,
) -> Result<()> {
    let among = part(m.references, *count)?;
    if node == own || *count >= BuildMemory::CANDIDATES || among.contains(&node) {
        return Ok(());
    }
    let mut view = NodeView::closed();
    view.open(io, index, shape, node)?;
    if view.header(index)?.is_none_or(|h| !h.linked) {
        return Ok(());
    }
    view.vector(shape, row_mut(m.rows, shape.padded(), *count)?)?;
    *m.references
        .get_mut(*count)
        .ok_or(Error::Internal("workspace too small for its index"))? = node;
    *count = count.saturating_add(1);
    Ok(())
}

/// Chooses a node's neighbours anew, among `count` candidates.
#[inline(never)]
fn lead<T: Transaction>(
    io: &T,
    compute: &dyn Compute,
    (index, shape, _): Graph<'_>,
    reference: u64,
    count: usize,
    m: &mut LinkMemory<'_>,
) -> Result<()> {
    let mut chosen = [0; DEGREE];
    let candidates = Candidates {
        rows: m.rows,
        keys: m.keys,
        parts: m.parts,
    };
    let centre = part(m.centre, shape.padded())?;
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

/// Erases listed tombstones. After the last of them comes another round, if there are more.
#[inline(never)]
fn erase_some<T: Transaction>(
    io: &T,
    (index, shape, root): Graph<'_>,
    sweep: &mut Sweep,
    list: &[u64],
) -> Result<()> {
    let from = usize::try_from(sweep.at).unwrap_or(usize::MAX);
    let rest = list.get(from..).unwrap_or(&[]);
    let mut erased = 0u64;
    for reference in rest.iter().take(STEP as usize) {
        let mut node = NodeEdit::open(io, index, shape, *reference)?;
        if node.is_tombstone()? {
            node.erase()?;
            erased = erased.saturating_add(1);
        }
    }
    change_root(io, index, |_, root| {
        root.gone = root.gone.checked_sub(erased).ok_or(Error::corrupt(
            index.graph,
            "graph counts fewer tombstones than it has",
        ))?;
        Ok(())
    })?;
    sweep.at = sweep.at.saturating_add(u64::from(STEP));
    if rest.len() <= STEP as usize {
        sweep.go_on(match root.gone == erased {
            true => Phase::Done,
            false => Phase::Begin,
        });
    }
    Ok(())
}
