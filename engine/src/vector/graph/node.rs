// SPDX-License-Identifier: GPL-2.0-only
//! A node of a graph that is read or changed: its blocks, held to what is known of them. It may not know what codes mean.

use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use layout::block::{read_header, BlockKind};
use layout::graph::{referred_node, NodeHeader, NodeShape, NodeUnits, Tombstone, MAX_NODE_BLOCKS};
use layout::partition::{unit_of, unit_of_mut, Units, UnitsMut, UNIT, UNITS};
use layout::vector::Index;
use layout::{Block, Invalid};

/// First block of the node that a reference leads to, and the unit where it begins. It is checked where the node may lie.
fn place<R: ReadBlocks>(io: &R, shape: &NodeShape, reference: u64) -> Result<(u64, usize)> {
    let (block, n) = referred_node(reference);
    if n >= shape.per_block() || !io.sb().geometry.is_data(block, shape.blocks() as u64) {
        return Err(Error::corrupt(
            block,
            "node of a graph lies where none can be",
        ));
    }
    Ok((block, shape.first_unit(n)))
}

fn check_owner(index: &Index, block: u64, data: &Block) -> Result<()> {
    let h = read_header(data, BlockKind::Graph).map_err(Error::at(block))?;
    if h.owner != u64::from(index.id) {
        return Err(Error::corrupt(block, "node of another index's graph"));
    }
    Ok(())
}

/// A node that is read.
pub(crate) struct NodeView<R: ReadBlocks> {
    block: u64,
    first: usize,
    blocks: [Option<R::Ref>; MAX_NODE_BLOCKS],
}

impl<R: ReadBlocks> NodeView<R> {
    /// Of no node. It serves for one after the other.
    pub fn closed() -> NodeView<R> {
        NodeView {
            block: 0,
            first: 0,
            blocks: core::array::from_fn(|_| None),
        }
    }

    /// Reads a node, in place of the one that was open.
    pub fn open(&mut self, io: &R, index: &Index, shape: &NodeShape, reference: u64) -> Result<()> {
        let (block, first) = place(io, shape, reference)?;
        (self.block, self.first) = (block, first);
        let mut number = block;
        for held in self.blocks.iter_mut().take(shape.blocks()) {
            // The one before goes first: it could be the same block.
            *held = None;
            let data = io.read(number, BlockKind::Graph)?;
            check_owner(index, number, &data)?;
            *held = Some(data);
            number = number.saturating_add(1);
        }
        Ok(())
    }

    /// What it says of itself; `None` if its record is gone.
    pub fn header(&self, index: &Index) -> Result<Option<NodeHeader>> {
        let unit = self
            .unit(self.first)
            .ok_or(Error::Internal("block of a graph's node not held"))?;
        let header = NodeHeader::read(unit).map_err(Error::at(self.block))?;
        if header.is_some_and(|h| h.index != index.id) {
            return Err(Error::corrupt(self.block, "node of another index's graph"));
        }
        Ok(header)
    }

    /// What is left of it, if its record is gone and it is not erased.
    pub fn tombstone(&self) -> Result<Option<Tombstone>> {
        let unit = self
            .unit(self.first)
            .ok_or(Error::Internal("block of a graph's node not held"))?;
        Tombstone::read(unit).map_err(Error::at(self.block))
    }

    /// The unit where it begins.
    pub fn first(&self) -> usize {
        self.first
    }

    /// Its blocks as the mathematics takes them.
    pub fn list(&self) -> [Option<&Block>; MAX_NODE_BLOCKS] {
        let mut list = [None; MAX_NODE_BLOCKS];
        for (place, block) in list.iter_mut().zip(&self.blocks) {
            *place = block.as_deref();
        }
        list
    }

    /// Its vector.
    pub fn vector(&self, shape: &NodeShape, out: &mut [u32]) -> Result<()> {
        layout::graph::get_vector(shape, self, self.first, out).map_err(|e| Error::Internal(e.0))
    }

    /// The reference of neighbour `n`.
    pub fn reference(&self, shape: &NodeShape, n: usize) -> Result<u64> {
        layout::graph::reference(shape, self, self.first, n).map_err(|e| Error::Internal(e.0))
    }
}

impl<R: ReadBlocks> Units for NodeView<R> {
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.blocks.get(unit / UNITS)?.as_deref()?, unit % UNITS)
    }
}

/// A node that is changed: all of its blocks.
pub(crate) struct NodeEdit<T: Transaction> {
    block: u64,
    first: usize,
    index: u32,
    shape: NodeShape,
    blocks: [Option<T::Mut>; MAX_NODE_BLOCKS],
}

impl<T: Transaction> NodeEdit<T> {
    /// Takes the blocks of a node into the transaction.
    pub fn open(io: &T, index: &Index, shape: &NodeShape, reference: u64) -> Result<NodeEdit<T>> {
        let mut edit = NodeEdit::closed(io, index, shape, reference)?;
        let mut number = edit.block;
        for held in edit.blocks.iter_mut().take(shape.blocks()) {
            let data = io.modify(number, BlockKind::Graph)?;
            check_owner(index, number, &data)?;
            *held = Some(data);
            number = number.saturating_add(1);
        }
        Ok(edit)
    }

    /// Makes the blocks of a node that is the first in them.
    pub fn create(io: &T, index: &Index, shape: &NodeShape, reference: u64) -> Result<NodeEdit<T>> {
        let mut edit = NodeEdit::closed(io, index, shape, reference)?;
        let mut number = edit.block;
        for held in edit.blocks.iter_mut().take(shape.blocks()) {
            let mut data = io.create(number, BlockKind::Graph)?;
            let header = layout::block::Header {
                block: number,
                owner: u64::from(index.id),
                node: None,
            };
            layout::block::write_header(&mut data, BlockKind::Graph, header)
                .map_err(Error::at(number))?;
            *held = Some(data);
            number = number.saturating_add(1);
        }
        Ok(edit)
    }

    fn closed(io: &T, index: &Index, shape: &NodeShape, reference: u64) -> Result<NodeEdit<T>> {
        let (block, first) = place(io, shape, reference)?;
        Ok(NodeEdit {
            block,
            first,
            index: index.id,
            shape: *shape,
            blocks: core::array::from_fn(|_| None),
        })
    }

    /// Its first block.
    pub fn block(&self) -> u64 {
        self.block
    }

    /// What it says of itself; `None` if its record is gone.
    pub fn header(&self) -> Result<Option<NodeHeader>> {
        let unit = self
            .unit(self.first)
            .ok_or(Error::Internal("block of a graph's node not held"))?;
        let header = NodeHeader::read(unit).map_err(Error::at(self.block))?;
        if header.is_some_and(|h| h.index != self.index) {
            return Err(Error::corrupt(self.block, "node of another index's graph"));
        }
        Ok(header)
    }

    /// Whether its record is gone, and it is not erased.
    pub fn is_tombstone(&self) -> Result<bool> {
        let unit = self
            .unit(self.first)
            .ok_or(Error::Internal("block of a graph's node not held"))?;
        let tombstone = Tombstone::read(unit).map_err(Error::at(self.block))?;
        Ok(tombstone.is_some())
    }

    /// The reference of neighbour `n`.
    pub fn reference(&self, n: usize) -> Result<u64> {
        layout::graph::reference(&self.shape, self, self.first, n).map_err(|e| Error::Internal(e.0))
    }

    /// Gives its units to `change`.
    pub fn change(
        &mut self,
        change: impl FnOnce(&mut NodeUnits<'_, Self>, &NodeShape) -> core::result::Result<(), Invalid>,
    ) -> Result<()> {
        let (first, shape) = (self.first, self.shape);
        change(&mut NodeUnits::new(self, first), &shape).map_err(|e| Error::Internal(e.0))
    }

    /// Makes it a tombstone, with as many references as `neighbours` says.
    pub fn bury(&mut self, neighbours: u16) -> Result<()> {
        let index = self.index;
        self.change(|units, shape| units.bury(shape, &Tombstone { index, neighbours }))
    }

    /// Makes it zero.
    pub fn erase(&mut self) -> Result<()> {
        self.change(|units, shape| units.erase(shape))
    }
}

impl<T: Transaction> Units for NodeEdit<T> {
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.blocks.get(unit / UNITS)?.as_deref()?, unit % UNITS)
    }
}

impl<T: Transaction> UnitsMut for NodeEdit<T> {
    fn unit_mut(&mut self, unit: usize) -> Option<&mut [u8; UNIT]> {
        let data = self.blocks.get_mut(unit / UNITS)?.as_deref_mut()?;
        unit_of_mut(data, unit % UNITS)
    }
}
