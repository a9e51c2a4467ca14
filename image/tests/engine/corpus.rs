// SPDX-License-Identifier: GPL-2.0-only
//! Vectors in clusters, an index for them, and what its search tree finds of the right answers.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use engine::vector::tree::{Aim, Effort};
use engine::vector::{Batch, NewIndex};
use image::device::MemDevice;
use image::format::{self, Options};
use image::ops::Searcher;
use image::{Image, Mode};
use layout::vector::{Element, Index, Metric};
use layout::BLOCK_SIZE;

use crate::common::Random;

/// Elements of a vector, f32.
pub const DIM: usize = 32;
/// Name of the index.
pub const NAME: &[u8] = b"clusters";
pub const CLUSTERS: u64 = 30;
/// Nearest that are asked for.
pub const K: usize = 10;

/// File and label.
pub type Name = (u64, u64);
pub type Records = BTreeMap<Name, Rc<[u8]>>;

/// A new filesystem in memory with an index of such vectors.
pub fn with_index(blocks: u64, journal: u32) -> MemDevice {
    let device = MemDevice::new(blocks * BLOCK_SIZE as u64);
    let options = Options {
        uuid: [7; 16],
        hash_seed: [9; 16],
        journal_blocks: Some(journal),
        ..Options::new(blocks)
    };
    format::format(&device, &options).unwrap();
    let shared = Rc::new(device);
    let mut image = Image::open_device(Box::new(Rc::clone(&shared)), Mode::ReadWrite).unwrap();
    let index = NewIndex {
        name: NAME,
        dim: DIM as u32,
        element: Element::F32,
        metric: Metric::L2,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    image.create_index(&index).unwrap();
    image.close().unwrap();
    Rc::into_inner(shared).unwrap()
}

/// Vectors around the centres of clusters.
pub struct Clusters {
    /// Their centres.
    pub centres: Vec<Vec<f32>>,
}

impl Clusters {
    pub fn new(random: &mut Random) -> Self {
        let centres = (0..CLUSTERS)
            .map(|_| (0..DIM).map(|_| 3.0 * normal(random)).collect())
            .collect();
        Self { centres }
    }

    pub fn vector(&self, cluster: u64, random: &mut Random) -> Rc<[u8]> {
        self.centres[cluster as usize]
            .iter()
            .flat_map(|x| (x + normal(random)).to_le_bytes())
            .collect()
    }
}

/// About normal: a sum of even ones.
pub fn normal(random: &mut Random) -> f32 {
    let sum: f32 = (0..6)
        .map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32)
        .sum();
    (sum - 3.0) * 1.41
}

/// Squared distance.
pub fn apart(a: &[u8], b: &[u8]) -> f64 {
    let value = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    a.chunks_exact(4)
        .zip(b.chunks_exact(4))
        .map(|(x, y)| (value(x) - value(y)).powi(2))
        .sum()
}

/// The names of the `K` nearest.
pub fn nearest_of(mut all: Vec<(f64, Name)>) -> BTreeSet<Name> {
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all.into_iter().take(K).map(|(_, name)| name).collect()
}

/// Leaves that are looked at if nobody says how many.
pub fn default_probes(index: &Index) -> usize {
    Effort::of(index, Aim::Recall(9_500), K).probes
}

/// What the tree finds in that many leaves.
pub fn by_tree(image: &Image, index: &Index, query: &[u8], probes: usize) -> BTreeSet<Name> {
    let Effort { wanted, .. } = Effort::of(index, Aim::Probes(probes), K);
    let mut found = Vec::new();
    let take = |batch: &Batch<'_>| {
        for n in 0..batch.count() {
            let header = batch.header(n).unwrap();
            let at = n * batch.stride() + Batch::ELEMENTS;
            let elements = &batch.bytes()[at..at + 4 * DIM];
            found.push((apart(query, elements), (header.ino, header.label)));
        }
        Ok(())
    };
    let mut searcher = Searcher::new(index, probes, wanted).unwrap();
    searcher.nearest(image, index, query, take).unwrap();
    nearest_of(found)
}

/// What the tree answers to the queries, and the part of the right answers in that.
pub fn ask(
    image: &Image,
    index: &Index,
    records: &Records,
    queries: &[Rc<[u8]>],
    probes: usize,
) -> (Vec<BTreeSet<Name>>, f64) {
    let mut same = 0;
    let answers: Vec<_> = queries
        .iter()
        .map(|query| {
            let found = by_tree(image, index, query, probes);
            let all = records.iter();
            let right = nearest_of(all.map(|(name, v)| (apart(query, v), *name)).collect());
            same += found.intersection(&right).count();
            found
        })
        .collect();
    (answers, same as f64 / (queries.len() * K) as f64)
}
