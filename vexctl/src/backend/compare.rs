// SPDX-License-Identifier: GPL-2.0-only
//! Searching an index of an image: records from its graph or search tree, or all of them, compared with queries by their exact distances.

use anyhow::Result;
use engine::vector::{graph, is_live, scan, tree, Batch, ScanPos};
use image::ops::{GraphSearcher, Searcher};
use image::Image;
use layout::segment::SlotHeader;
use layout::vector::Index;
use vector::{Candidate, Compute as _, Distance, Queries, Rank, TopK, Userspace};

use super::conditions::Conditions;
use super::Effort;

/// Bytes of slots that are compared with all queries at a time: they should stay in
/// the processor's second-level cache meanwhile.
const SCAN_BUFFER: usize = 256 << 10;

/// An index of an image, and what a comparison of its records needs.
pub struct Comparison<'a> {
    image: &'a Image,
    index: &'a Index,
    compute: &'a Userspace,
    conditions: &'a Conditions,
    distances: Vec<Distance>,
    verdicts: Vec<Option<bool>>,
    /// The last record that was asked for whether it lives: inode, generation, epoch; and whether it does. Those of one inode often follow each other.
    last: Option<((u64, u32, u32), bool)>,
}

impl<'a> Comparison<'a> {
    /// Of the records of `index` that meet the conditions.
    pub fn new(
        image: &'a Image,
        index: &'a Index,
        compute: &'a Userspace,
        conditions: &'a Conditions,
    ) -> Self {
        Self {
            image,
            index,
            compute,
            conditions,
            distances: Vec::new(),
            verdicts: Vec::new(),
            last: None,
        }
    }

    /// Collects the `k` nearest records of each query in `best`.
    ///
    /// # Errors
    /// Why not.
    pub fn search(
        &mut self,
        queries: &Queries<'_>,
        effort: Effort,
        k: usize,
        best: &mut [TopK<'_>],
    ) -> Result<()> {
        let aim = match effort {
            Effort::Probes(probes) => tree::Aim::Probes(probes as usize),
            Effort::Beam(beam) => tree::Aim::Beam(beam as usize),
            Effort::Recall(recall) => tree::Aim::Recall(recall),
            Effort::All => return self.scan(queries, best),
        };
        if !self.in_graph(queries, aim, k, best)? {
            return self.in_the_tree(queries, aim, k, best);
        }
        // Records that live no more, or do not count, took places: the tree is looked at for those queries.
        for (n, top) in best.iter_mut().enumerate() {
            if !top.is_full() {
                top.clear();
                self.in_the_tree(&queries.part(n, 1), aim, k, std::slice::from_mut(top))?;
            }
        }
        Ok(())
    }

    /// Looks at the graph, if the index has one that can be searched with such an aim. Returns whether it did.
    fn in_graph(
        &mut self,
        queries: &Queries<'_>,
        aim: tree::Aim,
        k: usize,
        best: &mut [TopK<'_>],
    ) -> Result<bool> {
        let Some(beam) = graph::beam(self.index, aim, k) else {
            return Ok(false);
        };
        if !self.image.read(|io| graph::is_searched(io, self.index))? {
            return Ok(false);
        }
        let mut searcher = GraphSearcher::new(self.index, beam, k + 2)?;
        for (n, top) in best.iter_mut().enumerate() {
            let query = queries.part(n, 1);
            let mut failed = None;
            searcher.nearest(self.image, self.index, query.bytes(), |batch| {
                let done = self.compare(&query, batch, std::slice::from_mut(top));
                failed = failed.take().or(done.err());
                Ok(())
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        Ok(true)
    }

    /// Looks at the tree, or at all records.
    fn in_the_tree(
        &mut self,
        queries: &Queries<'_>,
        aim: tree::Aim,
        k: usize,
        best: &mut [TopK<'_>],
    ) -> Result<()> {
        let first = tree::Effort::of(self.index, aim, k);
        let Some(mut searcher) = self.searcher(first)? else {
            return self.scan(queries, best);
        };
        for (n, top) in best.iter_mut().enumerate() {
            let query = queries.part(n, 1);
            self.in_tree(&mut searcher, &query, top)?;
            // Records that live no more, or do not count, took places: more of the tree is looked at, and at last all records.
            let mut effort = first;
            while !top.is_full() {
                effort = effort.more();
                top.clear();
                let Some(mut searcher) = self.searcher(effort)? else {
                    self.scan(&query, std::slice::from_mut(top))?;
                    break;
                };
                self.in_tree(&mut searcher, &query, top)?;
            }
        }
        Ok(())
    }

    /// A search of the tree, unless that misses records or is hardly less work than looking at all of them.
    fn searcher(&self, effort: tree::Effort) -> Result<Option<Searcher>> {
        if !effort.pays(self.index) || !tree::is_complete(self.index) {
            return Ok(None);
        }
        Ok(Some(Searcher::new(
            self.index,
            effort.probes,
            effort.wanted,
        )?))
    }

    /// Compares all records with all queries.
    fn scan(&mut self, queries: &Queries<'_>, best: &mut [TopK<'_>]) -> Result<()> {
        let mut buffer = vec![0; SCAN_BUFFER];
        let mut position = ScanPos::default();
        let (image, index) = (self.image, self.index);
        while let Some(batch) = image.read(|io| scan(io, index, &mut position, &mut buffer))? {
            self.compare(queries, &batch, best)?;
        }
        Ok(())
    }

    /// Compares the records that the search tree gives with one query.
    fn in_tree(
        &mut self,
        searcher: &mut Searcher,
        query: &Queries<'_>,
        top: &mut TopK<'_>,
    ) -> Result<()> {
        let mut failed = None;
        searcher.nearest(self.image, self.index, query.bytes(), |batch| {
            let done = self.compare(query, batch, std::slice::from_mut(top));
            failed = failed.take().or(done.err());
            Ok(())
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Offers the records of a batch to the collections, by their distances to the queries.
    fn compare(
        &mut self,
        queries: &Queries<'_>,
        batch: &Batch<'_>,
        best: &mut [TopK<'_>],
    ) -> Result<()> {
        let mut distances = std::mem::take(&mut self.distances);
        distances.clear();
        distances.resize(
            queries.count().saturating_mul(batch.count()),
            Distance::INVALID,
        );
        let vectors = vector::Batch::new(
            queries.kind(),
            batch.bytes(),
            Batch::ELEMENTS.min(batch.bytes().len()),
            batch.stride(),
            batch.count(),
        )?;
        self.compute.distances(queries, &vectors, &mut distances)?;
        self.collect(batch, &distances, best)?;
        self.distances = distances;
        Ok(())
    }

    /// Offers the records of a batch to every query's collection. Whether a record
    /// lives and counts is asked only of those that come near enough, and once.
    fn collect(
        &mut self,
        batch: &Batch<'_>,
        distances: &[Distance],
        best: &mut [TopK<'_>],
    ) -> Result<()> {
        self.verdicts.clear();
        self.verdicts.resize(batch.count(), None);
        for (top, row) in best.iter_mut().zip(distances.chunks(batch.count().max(1))) {
            for (number, distance) in row.iter().enumerate() {
                // Most are too far away, which their distance alone tells.
                let header = match top.farthest() {
                    Some(farthest) if top.is_full() && *distance > farthest.rank.distance => None,
                    _ => batch.header(number),
                };
                let Some(header) = header else { continue };
                let rank = Rank {
                    distance: *distance,
                    inode: header.ino,
                    label: header.label,
                };
                if top.admits(&rank) && self.counts(number, &header)? {
                    top.offer(Candidate {
                        rank,
                        tag: header.tag,
                        location: header.generation.into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether the record in slot `number` of the present batch lives and counts.
    fn counts(&mut self, number: usize, header: &SlotHeader) -> Result<bool> {
        if let Some(Some(verdict)) = self.verdicts.get(number) {
            return Ok(*verdict);
        }
        let (image, last) = (self.image, &mut self.last);
        let verdict = self.conditions.admits(image, header, || {
            let of = (header.ino, header.generation, header.epoch);
            let live = match *last {
                Some((last, live)) if last == of => live,
                _ => image.read(|io| is_live(io, header))?,
            };
            *last = Some((of, live));
            Ok(live)
        })?;
        if let Some(place) = self.verdicts.get_mut(number) {
            *place = Some(verdict);
        }
        Ok(verdict)
    }
}
