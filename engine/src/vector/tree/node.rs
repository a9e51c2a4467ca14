// SPDX-License-Identifier: GPL-2.0-only
//! A partition that is read: its blocks, held to what is known of them. It may not change anything.

use super::with_fpu;
use crate::error::{Error, Result};
use crate::io::ReadBlocks;
use ::vector::ann::{Centroid, Noted, Query, NO_LIMIT};
use ::vector::Compute;
use layout::block::{read_header, BlockKind};
use layout::partition::{
    get_centroid, reference, referred_child, unit_of, Header, Shape, Units, MAX_PARTITION_BLOCKS,
    UNIT, UNITS,
};
use layout::vector::Index;
use layout::{Block, Crc32};

/// A partition, some of whose blocks are held.
pub(crate) struct Node<R: ReadBlocks> {
    /// First block.
    pub start: u64,
    /// What it says of itself.
    pub header: Header,
    index: u32,
    shape: Shape,
    blocks: [Option<R::Ref>; MAX_PARTITION_BLOCKS],
}

impl<R: ReadBlocks> Node<R> {
    /// No partition yet. A node is large for a kernel's stack: it is made where it stays, and serves for one partition after the other.
    pub fn closed(index: &Index, shape: &Shape) -> Node<R> {
        Node {
            start: 0,
            header: Header {
                index: index.id,
                level: 0,
                entries: 0,
                parent: 0,
            },
            index: index.id,
            shape: *shape,
            blocks: core::array::from_fn(|_| None),
        }
    }

    /// Lets go of what is held.
    pub fn close(&mut self) {
        for block in &mut self.blocks {
            *block = None;
        }
    }

    /// Reads the first block of the partition at `start`, which is of level `level`, in place of the one that was open.
    pub fn open(&mut self, io: &R, start: u64, level: u8) -> Result<()> {
        self.close();
        if !io.sb().geometry.is_data(start, self.shape.blocks() as u64) {
            return Err(Error::corrupt(
                start,
                "partition lies outside the data area of a group",
            ));
        }
        self.start = start;
        self.load(io, 0, 1)?;
        let unit = self
            .unit(0)
            .ok_or(Error::Internal("first block of a partition not held"))?;
        self.header = Header::read(&self.shape, unit).map_err(Error::at(start))?;
        if self.header.index != self.index {
            return Err(Error::corrupt(start, "partition of another index"));
        }
        if self.header.level != level {
            return Err(Error::corrupt(
                start,
                "partition of another level than its place",
            ));
        }
        Ok(())
    }

    /// Reads blocks `first..first + count`, those that are not held yet.
    pub fn load(&mut self, io: &R, first: usize, count: usize) -> Result<()> {
        let end = first.saturating_add(count).min(self.shape.blocks());
        let mut block = self.start.saturating_add(first as u64);
        for place in self.blocks.get_mut(first..end).unwrap_or(&mut []) {
            if place.is_none() {
                let data = io.read(block, BlockKind::Partition)?;
                let h = read_header(&data, BlockKind::Partition).map_err(Error::at(block))?;
                if h.owner != u64::from(self.index) {
                    return Err(Error::corrupt(block, "partition of another index"));
                }
                *place = Some(data);
            }
            block = block.saturating_add(1);
        }
        Ok(())
    }

    /// Reads the blocks of the centroid.
    pub fn load_centroid(&mut self, io: &R) -> Result<()> {
        self.load(io, 0, self.shape.scan_blocks(0))
    }

    /// Reads the blocks of the packs in use.
    pub fn load_packs(&mut self, io: &R) -> Result<()> {
        self.load(io, 0, self.shape.scan_blocks(self.entries()))
    }

    /// A checksum of what the blocks that are held have behind their headers.
    pub fn checksum(&self, crc32: Crc32) -> u32 {
        self.blocks.iter().flatten().fold(0, |crc, block| {
            block.get(UNIT..).map_or(crc, |data| crc32(crc, data))
        })
    }

    /// Entries.
    pub fn entries(&self) -> usize {
        usize::from(self.header.entries)
    }

    /// Whether it has no room.
    pub fn is_full(&self) -> bool {
        self.entries() >= self.shape.capacity()
    }

    /// The blocks as the mathematics takes them.
    fn list(&self) -> [Option<&Block>; MAX_PARTITION_BLOCKS] {
        let mut list = [None; MAX_PARTITION_BLOCKS];
        for (to, from) in list.iter_mut().zip(&self.blocks) {
            *to = from.as_deref();
        }
        list
    }

    /// Copies the centroid, whose blocks are held, to `out`.
    pub fn centroid(&self, out: &mut [u32]) -> Result<()> {
        get_centroid(&self.shape, self, out).map_err(|e| Error::Internal(e.0))
    }

    /// The reference of entry `n`, whose blocks are held.
    pub fn reference(&self, n: usize) -> Result<u64> {
        if n >= self.entries() {
            return Err(Error::Internal("entry beyond those of its partition"));
        }
        reference(&self.shape, self, n).map_err(|e| Error::Internal(e.0))
    }

    /// The child that entry `n` leads to, above the leaves.
    pub fn child(&self, n: usize) -> Result<u64> {
        referred_child(self.reference(n)?).ok_or(Error::corrupt(
            self.start,
            "entry of a partition leads nowhere",
        ))
    }

    /// Which entry has this reference.
    pub fn find(&self, wanted: u64) -> Result<Option<usize>> {
        layout::partition::find(&self.shape, self, self.entries(), wanted)
            .map_err(|e| Error::Internal(e.0))
    }

    /// The distance of the centroid, whose blocks are held.
    #[inline(never)]
    pub fn apart(&self, compute: &dyn Compute, query: &Query<'_>) -> Result<Centroid> {
        let list = self.list();
        with_fpu(compute, |fpu| fpu.centroid(query, &list))
    }

    /// Notes the entries that may be nearer than `limit`, with keys of their distances. If they are more than `wanted`, those that surely are not
    /// among the nearest of that many are left out.
    #[inline(never)]
    pub fn probe(
        &mut self,
        io: &R,
        compute: &dyn Compute,
        query: &Query<'_>,
        limit: u32,
        wanted: usize,
        noted: &mut Noted,
    ) -> Result<()> {
        self.load_packs(io)?;
        let entries = self.entries();
        let centroid = {
            let list = self.list();
            with_fpu(compute, |fpu| {
                let centroid = fpu.centroid(query, &list)?;
                fpu.estimate(query, &centroid, &list, entries, limit, &[], noted)?;
                if limit == NO_LIMIT {
                    let limit = noted.limit(wanted);
                    if limit != NO_LIMIT {
                        let limit = limit.saturating_add(1);
                        fpu.estimate(query, &centroid, &list, entries, limit, &[], noted)?;
                    }
                }
                Ok(centroid)
            })?
        };
        for (entry, _) in noted.iter() {
            let (first, count) = self.shape.extended_blocks(entry);
            self.load(io, first, count)?;
        }
        let list = self.list();
        with_fpu(compute, |fpu| fpu.refine(query, &centroid, &list, noted))
    }
}

impl<R: ReadBlocks> Units for Node<R> {
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.blocks.get(unit / UNITS)?.as_deref()?, unit % UNITS)
    }
}

/// Copies the centroid of the partition at `start`, of level `level`, to `out`. A function of its own, so that the node leaves the stack with it.
#[inline(never)]
pub(crate) fn read_centroid<R: ReadBlocks>(
    io: &R,
    index: &Index,
    shape: &Shape,
    (start, level): (u64, u8),
    out: &mut [u32],
) -> Result<()> {
    let mut node = Node::closed(index, shape);
    node.open(io, start, level)?;
    node.load_centroid(io)?;
    node.centroid(out)
}
