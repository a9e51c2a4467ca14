// SPDX-License-Identifier: GPL-2.0-only
//! A partition that is changed: its blocks are taken into the transaction as they are reached. It may not know what its entries mean.

use crate::error::{Error, Result};
use crate::io::Transaction;
use layout::block::{read_header, write_header, BlockKind};
use layout::partition::{
    put_centroid, unit_of, unit_of_mut, Header, Shape, Units, UnitsMut, MAX_PARTITION_BLOCKS, UNIT,
    UNITS,
};
use layout::vector::Index;
use layout::Invalid;

/// A partition, those of whose blocks are held that were reached.
pub(crate) struct Edit<'a, T: Transaction> {
    io: &'a T,
    start: u64,
    index: u32,
    shape: Shape,
    blocks: [Option<T::Mut>; MAX_PARTITION_BLOCKS],
    /// Why a block could not be reached.
    failed: Option<Error>,
}

impl<'a, T: Transaction> Edit<'a, T> {
    /// The partition at `start`. No block of it may be held by anybody else. It is large for a kernel's stack, so it is made where it stays.
    pub fn new(io: &'a T, index: &Index, shape: &Shape, start: u64) -> Edit<'a, T> {
        Edit {
            io,
            start,
            index: index.id,
            shape: *shape,
            blocks: core::array::from_fn(|_| None),
            failed: None,
        }
    }

    /// Makes the partition, in blocks that were just allocated.
    pub fn create(&mut self) -> Result<()> {
        let mut block = self.start;
        for place in self.blocks.iter_mut().take(self.shape.blocks()) {
            let mut data = self.io.create(block, BlockKind::Partition)?;
            let header = layout::block::Header {
                block,
                owner: u64::from(self.index),
                node: None,
            };
            write_header(&mut data, BlockKind::Partition, header).map_err(Error::at(block))?;
            *place = Some(data);
            block = block.saturating_add(1);
        }
        Ok(())
    }

    /// Takes all blocks and makes everything behind their headers zero.
    pub fn wipe(&mut self) -> Result<()> {
        for block in 0..self.shape.blocks() {
            let first = block.saturating_mul(UNITS);
            let r = self.unit_mut(first).map(|_| ()).ok_or(Invalid("no unit"));
            self.check(r)?;
        }
        for data in self.blocks.iter_mut().flatten() {
            data.get_mut(UNIT..)
                .ok_or(Error::Internal("short block"))?
                .fill(0);
        }
        Ok(())
    }

    /// The result of an operation on the units: if a block could not be reached, why.
    pub fn check<X>(&mut self, r: core::result::Result<X, Invalid>) -> Result<X> {
        r.map_err(|e| self.failed.take().unwrap_or(Error::Internal(e.0)))
    }

    /// What the partition says of itself.
    pub fn header(&mut self) -> Result<Header> {
        let shape = self.shape;
        match self.unit_mut(0) {
            Some(unit) => Header::read(&shape, unit).map_err(Error::at(self.start)),
            None => self.check(Err(Invalid("first block of a partition missing"))),
        }
    }

    /// Writes what it says of itself.
    pub fn set_header(&mut self, header: &Header) -> Result<()> {
        let r = match self.unit_mut(0) {
            Some(unit) => header.write(unit),
            None => Err(Invalid("first block of a partition missing")),
        };
        self.check(r)
    }

    /// Writes the centroid.
    pub fn set_centroid(&mut self, centroid: &[u32]) -> Result<()> {
        let shape = self.shape;
        let r = put_centroid(&shape, self, centroid);
        self.check(r)
    }

    fn reach(&mut self, block: usize) -> Result<()> {
        if block >= self.shape.blocks() {
            return Err(Error::Internal("unit outside its partition"));
        }
        let number = self.start.saturating_add(block as u64);
        let data = self.io.modify(number, BlockKind::Partition)?;
        let h = read_header(&data, BlockKind::Partition).map_err(Error::at(number))?;
        if h.owner != u64::from(self.index) {
            return Err(Error::corrupt(number, "partition of another index"));
        }
        if let Some(place) = self.blocks.get_mut(block) {
            *place = Some(data);
        }
        Ok(())
    }
}

impl<T: Transaction> Units for Edit<'_, T> {
    /// Of the blocks that were reached.
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.blocks.get(unit / UNITS)?.as_deref()?, unit % UNITS)
    }
}

impl<T: Transaction> UnitsMut for Edit<'_, T> {
    fn unit_mut(&mut self, unit: usize) -> Option<&mut [u8; UNIT]> {
        let block = unit / UNITS;
        if self.blocks.get(block)?.is_none() {
            if let Err(e) = self.reach(block) {
                self.failed = Some(e);
                return None;
            }
        }
        let data = self.blocks.get_mut(block)?.as_deref_mut()?;
        unit_of_mut(data, unit % UNITS)
    }
}

/// Makes a partition zero, headers and all, and gives its blocks back.
pub(crate) fn free<T: Transaction>(
    cx: &mut crate::cx::Cx<'_, T>,
    shape: &Shape,
    start: u64,
) -> Result<()> {
    let blocks = shape.blocks() as u32;
    for n in 0..u64::from(blocks) {
        let block = start.saturating_add(n);
        cx.io.modify(block, BlockKind::Partition)?.fill(0);
    }
    crate::space::free_erased(cx, start, blocks)
}
