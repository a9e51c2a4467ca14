// SPDX-License-Identifier: GPL-2.0-only
//! Finding the records that are probably nearest to a query in a graph: best first, with a beam of so many nodes that were seen and not
//! looked at. Looking at a node gives its own distance and estimates for all of its neighbours; a node that is a neighbour of several gets several estimates, so that the
//! error of one seldom hides it (SymphonyQG, Gou et al., SIGMOD 2025). Records without a node come last: all of them. It may not know who may see what.

use super::node::NodeView;
use super::{check_root, shape};
use crate::error::{Error, Result};
use crate::io::ReadBlocks;
use crate::vector::scan::Batch;
use crate::vector::tree::fetch::copy_records;
use crate::vector::tree::memory::{part, prepare, rotate};
use crate::vector::tree::{self, with_fpu, Near};
use ::vector::ann::{Neighbours, Query, NO_LIMIT};
use ::vector::Compute;
use layout::block::BlockKind;
use layout::graph::{fresh, NodeShape, State, DEGREE};
use layout::vector::Index;

/// A node of the beam that was looked at. References of nodes end below.
const SEEN: u64 = 1 << 63;
/// Most nodes of a beam.
pub const MAX_BEAM: usize = 4096;

/// Memory of a search; lengths as said, or longer.
#[derive(Debug)]
pub struct GraphMemory<'m> {
    /// As [`tree::Lengths`] says.
    pub signs: &'m mut [u16],
    /// As [`tree::Lengths`] says.
    pub rotated: &'m mut [u32],
    /// As [`tree::Lengths`] says.
    pub table: &'m mut [u8],
    /// As [`tree::Lengths`] says.
    pub bytes: &'m mut [u8],
    /// [`GraphMemory::beam`] entries.
    pub beam: &'m mut [Near],
    /// [`GraphMemory::visited`] entries.
    pub visited: &'m mut [u64],
    /// As many records as are wanted, and [`layout::graph::MAX_FRESH`] more.
    pub found: &'m mut [Near],
}

impl GraphMemory<'_> {
    /// Entries of `beam` for a beam of so many nodes.
    pub const fn beam(beam: usize) -> usize {
        beam.saturating_add(DEGREE)
    }

    /// Entries of `visited` for a beam of so many nodes: a power of two. A search looks at half as many nodes at most.
    pub const fn visited(beam: usize) -> usize {
        let most = if beam < MAX_BEAM { beam } else { MAX_BEAM };
        let wanted = most.saturating_mul(8);
        if wanted < 512 {
            512
        } else {
            wanted.next_power_of_two()
        }
    }
}

/// Nodes seen, nearest by estimate first.
///
/// # Invariants
/// The first `len` of `items` ascend by key; `len <= most`, and `items` has room for `most` and [`DEGREE`] more.
struct Beam<'m> {
    items: &'m mut [Near],
    len: usize,
    most: usize,
    /// All before it were looked at.
    at: usize,
}

impl Beam<'_> {
    /// The smallest key that is of no interest.
    fn limit(&self) -> u32 {
        match self.len.checked_sub(1).and_then(|n| self.items.get(n)) {
            Some(last) if self.len == self.most => last.key,
            _ => NO_LIMIT,
        }
    }

    /// The nearest one that was not looked at; it counts as looked at from now on.
    fn next(&mut self) -> Option<u64> {
        while self.at < self.len {
            let near = self.items.get_mut(self.at)?;
            self.at = self.at.saturating_add(1);
            if near.what & SEEN == 0 {
                let node = near.what;
                near.what |= SEEN;
                return Some(node);
            }
        }
        None
    }

    /// Takes in what ascends in `new`, [`DEGREE`] at most, from the back: everything is moved once.
    fn merge(&mut self, new: &[Near]) {
        let mut left = self.len;
        let mut more = new;
        let mut end = left.saturating_add(new.len());
        self.len = end.min(self.most);
        while let Some((last, before)) = more.split_last() {
            end = end.saturating_sub(1);
            let own = left.checked_sub(1).and_then(|n| self.items.get(n)).copied();
            let moved = match own {
                Some(own) if own.key > last.key => {
                    left = left.saturating_sub(1);
                    own
                }
                _ => {
                    more = before;
                    *last
                }
            };
            if let Some(place) = self.items.get_mut(end) {
                *place = moved;
            }
        }
        self.at = self.at.min(left);
    }
}

/// Which nodes were looked at: a table with linear probing, half full at most.
struct Visited<'m> {
    table: &'m mut [u64],
    left: usize,
}

impl Visited<'_> {
    /// Where a node is in the table, or could be put; and whether it is there.
    fn place(&self, node: u64) -> Option<(usize, bool)> {
        let mask = self.table.len().wrapping_sub(1);
        let hash = node.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let mut at = hash as usize & mask;
        loop {
            match *self.table.get(at)? {
                0 => return Some((at, false)),
                held if held == node => return Some((at, true)),
                _ => at = at.wrapping_add(1) & mask,
            }
        }
    }

    fn has(&self, node: u64) -> bool {
        self.place(node).is_none_or(|(_, there)| there)
    }

    /// Notes a node. Whether it was not there, and there is room for it.
    fn note(&mut self, node: u64) -> bool {
        let Some((at, false)) = self.place(node) else {
            return false;
        };
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        if let Some(place) = self.table.get_mut(at) {
            *place = node;
        }
        true
    }
}

/// What a search found: references of records.
pub struct Found<'m> {
    items: &'m mut [Near],
    fetched: usize,
    /// Nodes looked at.
    pub seen: usize,
}

impl Found<'_> {
    /// Copies the next records into `buf`; `None` if there are no more. The index must not have changed since the search.
    ///
    /// Errors: [`Error::BufferTooSmall`] if `buf` holds not even one slot; [`Error::Corrupt`], [`Error::Io`].
    pub fn fetch<'b, R: ReadBlocks>(
        &mut self,
        io: &R,
        index: &Index,
        buf: &'b mut [u8],
    ) -> Result<Option<Batch<'b>>> {
        let rest = self.items.get_mut(self.fetched..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let (seen, batch) = copy_records(io, index, rest, buf)?;
        self.fetched = self.fetched.saturating_add(seen);
        Ok(Some(batch))
    }
}

/// Finds the `wanted` records nearest to `vector`, elements as the index has them, which the caller has validated, with a beam of `beam` nodes; and adds all records without
/// a node. `index` was just loaded, and its graph [is searched](super::is_searched).
///
/// Errors: [`Error::Range`] if `vector` is not one of the index; [`Error::Internal`] if the memory is too small, or the graph is not searched; [`Error::Corrupt`], [`Error::Io`].
pub fn nearest<'m, R: ReadBlocks>(
    io: &R,
    compute: &dyn Compute,
    index: &Index,
    vector: &[u8],
    (beam, wanted): (usize, usize),
    memory: GraphMemory<'m>,
) -> Result<Found<'m>> {
    if vector.len() != index.vector_bytes() {
        return Err(Error::Range("vector of the wrong length for its index"));
    }
    let partitions = tree::shape(index)?;
    let rotated = part(memory.rotated, partitions.padded())?;
    rotate(compute, index, &partitions, memory.signs, vector, rotated)?;
    let query = prepare(
        compute,
        index,
        &partitions,
        rotated,
        memory.table,
        memory.bytes,
    )?;
    let data = io.read(index.graph, BlockKind::GraphRoot)?;
    let root = check_root(index, &data)?;
    if root.state != State::Ready || root.stale {
        return Err(Error::Internal("search of a graph that is not ready"));
    }
    let listed = root.fresh as usize;
    let found = part(memory.found, wanted.saturating_add(listed))?;
    let (near, rest) = found
        .split_at_mut_checked(wanted)
        .ok_or(Error::Internal("a list without its first part"))?;
    let mut walk = Walk {
        index,
        shape: shape(index)?,
        query,
        beam: Beam {
            most: beam.clamp(1, MAX_BEAM),
            items: memory.beam,
            len: 0,
            at: 0,
        },
        visited: Visited {
            left: memory.visited.len() / 2,
            table: memory.visited,
        },
        near,
        len: 0,
        seen: 0,
    };
    if walk.beam.items.len() < GraphMemory::beam(walk.beam.most)
        || !walk.visited.table.len().is_power_of_two()
    {
        return Err(Error::Internal("workspace too small for its index"));
    }
    walk.run(io, compute, root.entry)?;
    let Walk { len, seen, .. } = walk;
    for (n, place) in rest.iter_mut().enumerate() {
        let reference = fresh(&data, n).ok_or(Error::Internal("fresh record outside its list"))?;
        *place = Near {
            key: NO_LIMIT,
            what: reference,
        };
    }
    // What was found, then the fresh ones.
    found.copy_within(wanted.., len);
    let items = found
        .get_mut(..len.saturating_add(listed))
        .unwrap_or_default();
    Ok(Found {
        items,
        fetched: 0,
        seen,
    })
}

/// A search under way.
struct Walk<'w, 'm> {
    index: &'w Index,
    shape: NodeShape,
    query: Query<'m>,
    beam: Beam<'m>,
    visited: Visited<'m>,
    /// The nearest records; the first `len` ascend.
    near: &'w mut [Near],
    len: usize,
    seen: usize,
}

impl Walk<'_, '_> {
    fn run<R: ReadBlocks>(&mut self, io: &R, compute: &dyn Compute, entry: u64) -> Result<()> {
        self.visited.table.fill(0);
        self.beam.merge(&[Near {
            key: 0,
            what: entry,
        }]);
        let mut view = NodeView::closed();
        let mut neighbours = Neighbours::default();
        while let Some(node) = self.beam.next() {
            if !self.visited.note(node) {
                if self.visited.left == 0 {
                    break;
                }
                continue;
            }
            self.seen = self.seen.saturating_add(1);
            view.open(io, self.index, &self.shape, node)?;
            let header = match view.header(self.index)? {
                Some(header) if header.linked => header,
                // Its record is gone.
                _ => continue,
            };
            with_fpu(compute, |fpu| {
                let blocks = view.list();
                fpu.node(
                    &self.query,
                    &self.shape,
                    &blocks,
                    view.first(),
                    &mut neighbours,
                )
            })?;
            self.offer(Near {
                key: neighbours.own,
                what: header.record,
            });
            self.look(&view, &neighbours, usize::from(header.neighbours))?;
        }
        Ok(())
    }

    /// Takes the neighbours of a node into the beam that are near enough and were not looked at.
    fn look<R: ReadBlocks>(
        &mut self,
        view: &NodeView<R>,
        neighbours: &Neighbours,
        count: usize,
    ) -> Result<()> {
        let limit = self.beam.limit();
        let mut new = [Near::default(); DEGREE];
        let mut len = 0usize;
        for (n, key) in neighbours.keys.iter().enumerate().take(count) {
            if *key >= limit {
                continue;
            }
            let what = view.reference(&self.shape, n)?;
            if self.visited.has(what) {
                continue;
            }
            // Into its place among those before.
            let mut moved = Near { key: *key, what };
            let at = new
                .get(..len)
                .unwrap_or(&[])
                .iter()
                .rposition(|x| x.key <= moved.key)
                .map_or(0, |n| n.saturating_add(1));
            len = len.saturating_add(1);
            for place in new.get_mut(at..len).unwrap_or_default() {
                core::mem::swap(place, &mut moved);
            }
        }
        self.beam.merge(new.get(..len).unwrap_or(&[]));
        Ok(())
    }

    /// Takes a record in, if it is near enough.
    fn offer(&mut self, new: Near) {
        if self.len == self.near.len() {
            match self.len.checked_sub(1).and_then(|n| self.near.get(n)) {
                // The last one makes place.
                Some(last) if new.key < last.key => self.len = self.len.saturating_sub(1),
                _ => return,
            }
        }
        let list = self.near.get(..self.len).unwrap_or(&[]);
        let at = list.partition_point(|n| n.key <= new.key);
        self.len = self.len.saturating_add(1);
        let mut moved = new;
        for place in self.near.get_mut(at..self.len).unwrap_or_default() {
            core::mem::swap(place, &mut moved);
        }
    }
}
