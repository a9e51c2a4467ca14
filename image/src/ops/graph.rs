// SPDX-License-Identifier: GPL-2.0-only
//! Making the graph of an index of an image, step by step, with the memory that it takes: some megabytes, whatever the size of the index. How a step is done is the engine's.

use ::vector::ann::Noted;
use ::vector::Userspace;
use engine::vector::graph::{self, BuildMemory, LinkMemory, Links, Sweep};
use engine::vector::tree::{Lengths, Near, Search, SearchMemory};
use engine::vector::{self};
use layout::graph::{Root, State, DEGREE};
use layout::vector::Index;

use crate::error::Result;
use crate::image::Image;

/// Nodes whose candidates are collected in one pass over all nodes: 16 MiB of them.
const AT_ONCE: u64 = 1 << 16;

/// How far making a graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Steps of a record that are done: making its node, and linking it.
    pub done: u64,
    /// All of them.
    pub all: u64,
}

/// Tombstones that a sweep erases in one round over all nodes.
const SWEPT_AT_ONCE: usize = 1 << 14;

/// What choosing neighbours works in.
struct LinkSpace {
    centre: Vec<u32>,
    rows: Vec<u32>,
    keys: Vec<u32>,
    parts: Vec<u32>,
    references: Vec<u64>,
    code: Vec<u8>,
}

impl LinkSpace {
    fn new(index: &Index) -> Result<Self> {
        let padded = Lengths::of(index)?.code;
        let candidates = BuildMemory::CANDIDATES;
        Ok(Self {
            centre: vec![0; padded],
            rows: vec![0; candidates * padded],
            keys: vec![0; candidates],
            parts: vec![0; candidates],
            references: vec![0; candidates],
            code: vec![0; padded],
        })
    }

    fn lend(&mut self) -> LinkMemory<'_> {
        LinkMemory {
            centre: &mut self.centre,
            rows: &mut self.rows,
            keys: &mut self.keys,
            parts: &mut self.parts,
            references: &mut self.references,
            code: &mut self.code,
        }
    }
}

/// What building works in.
struct Memory {
    signs: Vec<u16>,
    rotated: Vec<u32>,
    table: Vec<u8>,
    bytes: Vec<u8>,
    partitions: Vec<Near>,
    found: Vec<Near>,
    noted: Box<Noted>,
    raw: Vec<u8>,
    link: LinkSpace,
    signs_of_rows: Vec<u16>,
}

impl Memory {
    fn new(index: &Index) -> Result<Self> {
        let lengths = Lengths::of(index)?;
        let candidates = BuildMemory::CANDIDATES;
        Ok(Self {
            signs: vec![0; lengths.signs],
            rotated: vec![0; lengths.rotated],
            table: vec![0; lengths.table],
            bytes: vec![0; lengths.bytes],
            partitions: vec![Near::default(); Search::partitions(BuildMemory::PROBES)],
            found: vec![Near::default(); candidates],
            noted: Box::default(),
            raw: vec![0; lengths.raw],
            link: LinkSpace::new(index)?,
            signs_of_rows: vec![0; lengths.signs],
        })
    }

    fn lend(&mut self) -> BuildMemory<'_> {
        BuildMemory {
            search: SearchMemory {
                signs: &mut self.signs,
                rotated: &mut self.rotated,
                table: &mut self.table,
                bytes: &mut self.bytes,
                partitions: &mut self.partitions,
                found: &mut self.found,
                noted: &mut self.noted,
            },
            raw: &mut self.raw,
            link: self.link.lend(),
            signs: &mut self.signs_of_rows,
        }
    }
}

/// A sweep of a graph under way, in memory of its own.
pub struct GraphSweep {
    compute: Userspace,
    at: Sweep,
    list: Vec<u64>,
    link: LinkSpace,
}

impl Image {
    /// Makes the graph of an index, in place of the one that it may have, and durably. Goes on with one that was begun. While it is made, and if that fails, searches use the tree.
    ///
    /// # Errors
    /// Those of [`graph::begin`], [`graph::make_step`] and [`graph::link_step`]. If there is no room for all nodes, what was made is freed again.
    pub fn optimize_index(&mut self, id: u32, mut told: impl FnMut(Made)) -> Result<()> {
        let index = self.read(|io| vector::load(io, id))?;
        let root = self.read(|io| graph::root(io, &index))?;
        if root.is_none_or(|r| r.stale || matches!(r.state, State::Ready | State::Clearing)) {
            self.clear_graph(id)?;
            self.with_credits(graph::begin_credits(), |cx| graph::begin(cx, id))?;
        }
        if let Err(error) = self.make_and_link(id, &mut told) {
            if matches!(error, crate::error::Error::Engine(engine::Error::NoSpace)) {
                self.clear_graph(id)?;
            }
            return Err(error);
        }
        self.sync()
    }

    fn make_and_link(&mut self, id: u32, told: &mut dyn FnMut(Made)) -> Result<()> {
        let compute = Userspace::detect();
        let mut memory = Memory::new(&self.read(|io| vector::load(io, id))?)?;
        while let Some(root) = self.graph_root(id)?.filter(|r| r.state == State::Making) {
            told(self.made(id, &root)?);
            let credits = self.read(|io| graph::make_credits(io, &vector::load(io, id)?))?;
            self.with_credits(credits, |cx| {
                graph::make_step(cx, &compute, id, &mut memory.lend())
            })?;
        }
        while let Some(root) = self.graph_root(id)?.filter(|r| r.state == State::Linking) {
            let index = self.read(|io| vector::load(io, id))?;
            let room = (root.nodes - root.linked).clamp(1, AT_ONCE) as usize;
            let mut table = vec![0; room * DEGREE];
            let mut extents = vec![0; root.extents as usize];
            let mut sorted = vec![(0, 0); root.extents as usize];
            let mut segments = vec![0; index.segments as usize];
            let mut links = Links {
                table: &mut table,
                extents: &mut extents,
                sorted: &mut sorted,
                segments: &mut segments,
                changes: 0,
                first: 0,
                count: 0,
            };
            self.read(|io| {
                graph::collect(io, &compute, &index, &mut links, &mut memory.link.lend())
            })?;
            let end = links.first + links.count;
            loop {
                let root = self.graph_root(id)?.filter(|r| r.state == State::Linking);
                let Some(root) = root.filter(|r| r.linked < end || end == r.nodes) else {
                    break;
                };
                told(self.made(id, &root)?);
                let credits = self.read(|io| graph::link_credits(&vector::load(io, id)?))?;
                self.with_credits(credits, |cx| {
                    graph::link_step(cx, &compute, id, &links, &mut memory.link.lend())
                })?;
            }
        }
        Ok(())
    }

    fn made(&self, id: u32, root: &Root) -> Result<Made> {
        let records = self.read(|io| vector::load(io, id))?.records;
        Ok(Made {
            done: root.nodes + root.linked,
            all: records.max(root.nodes) * 2,
        })
    }

    /// What the root of an index's graph says, if it has one.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of reading it.
    pub fn graph_root(&self, id: u32) -> Result<Option<Root>> {
        self.read(|io| graph::root(io, &vector::load(io, id)?))
    }

    /// Frees the graph of an index, if it has one. Searches use the tree.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of transactions.
    pub fn clear_graph(&mut self, id: u32) -> Result<()> {
        loop {
            let credits = self.read(graph::clear_credits)?;
            let gone = self.with_credits(credits, |cx| {
                let mut index = vector::load(cx.io, id)?;
                graph::clear_step(cx, &mut index)
            })?;
            if gone {
                return Ok(());
            }
        }
    }

    /// A sweep of the graph of an index, for [`Image::sweep_graph_step`], with room for `list` tombstones in one round.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of reading.
    pub fn graph_sweep(&self, id: u32, list: usize) -> Result<GraphSweep> {
        let index = self.read(|io| vector::load(io, id))?;
        Ok(GraphSweep {
            compute: Userspace::detect(),
            at: Sweep::default(),
            list: vec![0; list.max(1)],
            link: LinkSpace::new(&index)?,
        })
    }

    /// One step of a sweep: a transaction. Returns whether nothing is left.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of transactions.
    pub fn sweep_graph_step(&mut self, id: u32, sweep: &mut GraphSweep) -> Result<bool> {
        let credits = self.read(|io| graph::sweep_credits(io, &vector::load(io, id)?))?;
        let GraphSweep {
            compute,
            at,
            list,
            link,
        } = sweep;
        *at = self.with_credits(credits, |cx| {
            let mut next = *at;
            graph::sweep_step(cx, compute, id, &mut next, list, &mut link.lend())?;
            Ok(next)
        })?;
        Ok(at.is_done())
    }

    /// Erases what records that are gone left in the graph of an index; frees a graph that is not searched any more, or unfinished and has such.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of transactions.
    pub fn sweep_graph(&mut self, id: u32) -> Result<()> {
        if self.read(|io| graph::is_swept(io, &vector::load(io, id)?))? {
            return Ok(());
        }
        let mut sweep = self.graph_sweep(id, SWEPT_AT_ONCE)?;
        while !self.sweep_graph_step(id, &mut sweep)? {}
        Ok(())
    }
}
