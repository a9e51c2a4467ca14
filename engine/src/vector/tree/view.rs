// SPDX-License-Identifier: GPL-2.0-only
//! A partition that a search looks at: all of its blocks, in one go. It may not change anything.

use super::with_fpu;
use crate::error::{Error, Result};
use crate::io::{Extent, ReadBlocks, Run};
use ::vector::ann::{Noted, Query, NO_LIMIT};
use ::vector::Compute;
use layout::block::BlockKind;
use layout::partition::{
    reference, referred_child, unit_of, Header, Shape, Units, MAX_PARTITION_BLOCKS, UNIT, UNITS,
};
use layout::Block;

/// A partition, all of whose blocks are held; or none yet.
pub(crate) struct View<R: ReadBlocks> {
    /// First block; 0: none.
    start: u64,
    entries: usize,
    run: R::Run,
}

/// The blocks of a partition as the mathematics takes them.
type List<'a> = [Option<&'a Block>; MAX_PARTITION_BLOCKS];

impl<R: ReadBlocks> View<R> {
    /// Of no partition.
    pub fn closed() -> View<R> {
        View {
            start: 0,
            entries: 0,
            run: R::Run::default(),
        }
    }

    /// Whether it is of a partition.
    pub fn is_open(&self) -> bool {
        self.start != 0
    }

    /// Lets the partition go.
    pub fn close(&mut self) {
        self.start = 0;
    }

    /// Reads the partition at `start` of index `index`, which is of level `level`. In place: in the kernel it is large.
    pub fn open(&mut self, io: &R, index: u32, shape: &Shape, start: u64, level: u8) -> Result<()> {
        self.start = 0;
        let blocks = shape.blocks();
        if !io.sb().geometry.is_data(start, blocks as u64) {
            return Err(Error::corrupt(
                start,
                "partition lies outside the data area of a group",
            ));
        }
        let wanted = Extent {
            start,
            count: blocks,
            kind: BlockKind::Partition,
            owner: u64::from(index),
        };
        io.read_run(wanted, &mut self.run)?;
        let unit = self
            .unit(0)
            .ok_or(Error::Internal("first block of a partition not held"))?;
        let header = Header::read(shape, unit).map_err(Error::at(start))?;
        if header.index != index {
            return Err(Error::corrupt(start, "partition of another index"));
        }
        if header.level != level {
            return Err(Error::corrupt(
                start,
                "partition of another level than its place",
            ));
        }
        self.start = start;
        self.entries = usize::from(header.entries);
        Ok(())
    }

    /// The first `count` blocks.
    fn list(&self, count: usize) -> List<'_> {
        let mut list = [None; MAX_PARTITION_BLOCKS];
        for (n, place) in list.iter_mut().enumerate().take(count) {
            *place = self.run.block(n);
        }
        list
    }

    /// The reference of entry `n`.
    pub fn reference(&self, shape: &Shape, n: usize) -> Result<u64> {
        if n >= self.entries {
            return Err(Error::Internal("entry beyond those of its partition"));
        }
        reference(shape, self, n).map_err(|e| Error::Internal(e.0))
    }

    /// The child that entry `n` leads to, above the leaves.
    pub fn child(&self, shape: &Shape, n: usize) -> Result<u64> {
        referred_child(self.reference(shape, n)?).ok_or(Error::corrupt(
            self.start,
            "entry of a partition leads nowhere",
        ))
    }

    /// Notes the entries that may be nearer than `limit`, with keys of their distances. If there is no limit, and they are more than `wanted`,
    /// those that surely are not among the nearest of that many are left out. `next` is what will be looked at next.
    pub fn probe(
        &self,
        compute: &dyn Compute,
        query: &Query<'_>,
        limit: u32,
        wanted: usize,
        next: Option<&View<R>>,
        noted: &mut Noted,
    ) -> Result<()> {
        let shape = query.shape();
        let list = self.list(shape.blocks());
        let ahead = next.map_or([None; MAX_PARTITION_BLOCKS], |next| {
            next.list(shape.scan_blocks(next.entries))
        });
        let ahead = if next.is_some() { &ahead[..] } else { &[] };
        with_fpu(compute, |fpu| {
            let centroid = fpu.centroid(query, &list)?;
            fpu.estimate(query, &centroid, &list, self.entries, limit, ahead, noted)?;
            if limit == NO_LIMIT {
                let limit = noted.limit(wanted);
                if limit != NO_LIMIT {
                    let limit = limit.saturating_add(1);
                    fpu.estimate(query, &centroid, &list, self.entries, limit, &[], noted)?;
                }
            }
            fpu.refine(query, &centroid, &list, noted)
        })
    }
}

impl<R: ReadBlocks> Units for View<R> {
    fn unit(&self, unit: usize) -> Option<&[u8; UNIT]> {
        unit_of(self.run.block(unit / UNITS)?, unit % UNITS)
    }
}
