// SPDX-License-Identifier: GPL-2.0-only
//! The graph of an optimised index: what it finds beside all records, while records come, go and are overwritten; and what power cuts and I/O errors in
//! the middle of making one leave. fsck, which computes every vector and code again, has to agree each time.

use std::collections::BTreeSet;
use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::graph::{beam, is_searched};
use engine::vector::tree::Aim;
use engine::vector::Batch;
use image::device::{CutPoint, MemDevice, PowerCutDevice};
use image::ops::{GraphSearcher, NewRecord};
use image::{Image, Mode};
use layout::graph::{State, MAX_FRESH};
use layout::inode::mode;
use layout::vector::Index;

use crate::common::{fsck, Random};
use crate::corpus::{
    apart, by_tree, default_probes, nearest_of, with_index, Clusters, Name, Records, CLUSTERS, DIM,
    K, NAME,
};

const BLOCKS: u64 = 20_000;
const JOURNAL: u32 = 2048;
pub const RECORDS: u64 = 1_500;
const QUERIES: u64 = 24;

/// A filesystem with one file, an index, and records of the file.
pub struct Load {
    pub clusters: Clusters,
    pub file: u64,
    pub records: Records,
    pub next: u64,
}

impl Load {
    pub fn new(image: &mut Image, random: &mut Random) -> Self {
        let new = NewInode {
            mode: mode::REGULAR | 0o644,
            ..NewInode::default()
        };
        Self {
            clusters: Clusters::new(random),
            file: image.create("/file", &new).unwrap().ino,
            records: Records::new(),
            next: 0,
        }
    }

    pub fn put(&mut self, image: &mut Image, labels: &[u64], random: &mut Random) {
        let vectors: Vec<Rc<[u8]>> = labels
            .iter()
            .map(|_| self.clusters.vector(random.below(CLUSTERS), random))
            .collect();
        let new: Vec<NewRecord<'_>> = labels
            .iter()
            .zip(&vectors)
            .map(|(label, elements)| NewRecord {
                label: *label,
                tag: 0,
                elements,
            })
            .collect();
        let id = index(image).id;
        image.put_records(self.file, id, &new).unwrap();
        for (label, elements) in labels.iter().zip(vectors) {
            self.records.insert((self.file, *label), elements);
        }
    }

    pub fn add(&mut self, image: &mut Image, count: u64, random: &mut Random) {
        let labels: Vec<u64> = (self.next..self.next + count).collect();
        self.next += count;
        self.put(image, &labels, random);
    }

    /// A label that is there.
    pub fn any(&self, random: &mut Random) -> u64 {
        let at = random.below(self.records.len() as u64) as usize;
        self.records.keys().nth(at).unwrap().1
    }

    pub fn delete(&mut self, image: &mut Image, label: u64) {
        let id = index(image).id;
        image.delete_record(self.file, id, label).unwrap();
        self.records.remove(&(self.file, label)).unwrap();
    }

    pub fn queries(&self, random: &mut Random) -> Vec<Rc<[u8]>> {
        (0..QUERIES)
            .map(|n| self.clusters.vector(n % CLUSTERS, random))
            .collect()
    }
}

pub fn index(image: &Image) -> Index {
    image.find_index(NAME).unwrap()
}

pub fn open(device: &Rc<MemDevice>) -> Image {
    Image::open_device(Box::new(Rc::clone(device)), Mode::ReadWrite).unwrap()
}

pub fn prepared(random: &mut Random) -> (Rc<MemDevice>, Load) {
    let device = Rc::new(with_index(BLOCKS, JOURNAL));
    let mut image = open(&device);
    let mut load = Load::new(&mut image, random);
    load.add(&mut image, RECORDS, random);
    image.close().unwrap();
    (device, load)
}

/// What the graph gives for a query; every record once, and with the bytes that it has now.
pub fn by_graph(image: &Image, records: &Records, query: &[u8]) -> BTreeSet<Name> {
    let index = index(image);
    let beam = beam(&index, Aim::Recall(9_500), K).unwrap();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let take = |batch: &Batch<'_>| {
        for n in 0..batch.count() {
            let header = batch.header(n).unwrap();
            let name = (header.ino, header.label);
            let at = n * batch.stride() + Batch::ELEMENTS;
            let elements = &batch.bytes()[at..at + 4 * DIM];
            assert_eq!(
                records.get(&name).map(|v| &v[..]),
                Some(elements),
                "{name:?}"
            );
            assert!(seen.insert(name), "{name:?} twice");
            found.push((apart(query, elements), name));
        }
        Ok(())
    };
    let mut searcher = GraphSearcher::new(&index, beam, K + 2).unwrap();
    searcher.nearest(image, &index, query, take).unwrap();
    nearest_of(found)
}

/// The part of the right answers that `ask` gives.
pub fn recall(
    records: &Records,
    queries: &[Rc<[u8]>],
    ask: impl Fn(&[u8]) -> BTreeSet<Name>,
) -> f64 {
    let same: usize = queries
        .iter()
        .map(|query| {
            let all = records.iter();
            let right = nearest_of(all.map(|(name, v)| (apart(query, v), *name)).collect());
            let answer = ask(query);
            assert_eq!(answer.len(), right.len());
            answer.intersection(&right).count()
        })
        .sum();
    same as f64 / (queries.len() * K) as f64
}

pub fn searched(image: &Image) -> bool {
    image.read(|io| is_searched(io, &index(image))).unwrap()
}

#[test]
fn a_graph_follows_what_is_put_overwritten_and_deleted() {
    let mut random = Random::new(11);
    let (device, mut load) = prepared(&mut random);
    let queries = load.queries(&mut random);
    let mut image = open(&device);
    let mut outdated = 0;
    for round in 0..9 {
        let id = index(&image).id;
        image.optimize_index(id, |_| {}).unwrap();
        assert!(searched(&image), "round {round}");
        let root = image.graph_root(id).unwrap().unwrap();
        assert_eq!(root.live, load.records.len() as u64);
        let found = recall(&load.records, &queries, |q| {
            by_graph(&image, &load.records, q)
        });
        assert!(found >= 0.95, "round {round}: recall {found}");
        // Every third time so many that the list of fresh records does not suffice.
        let changes = match round % 3 {
            2 => 3 * MAX_FRESH as u64,
            _ => random.below(MAX_FRESH as u64 / 2),
        };
        for _ in 0..changes {
            match random.below(8) {
                0..=2 => load.add(&mut image, 1, &mut random),
                3..=4 => {
                    let label = load.any(&mut random);
                    load.put(&mut image, &[label], &mut random);
                }
                _ => {
                    let label = load.any(&mut random);
                    load.delete(&mut image, label);
                }
            }
        }
        if searched(&image) {
            let found = recall(&load.records, &queries, |q| {
                by_graph(&image, &load.records, q)
            });
            assert!(found >= 0.9, "round {round}, changed: recall {found}");
        } else {
            outdated += 1;
        }
        // The tree has everything, whatever the graph has.
        let now = index(&image);
        let probes = default_probes(&now);
        let found = recall(&load.records, &queries, |q| {
            by_tree(&image, &now, q, probes)
        });
        assert!(found >= 0.9, "round {round}: recall of the tree {found}");
        image.close().unwrap();
        fsck(&*device, &format!("round {round}"));
        image = open(&device);
    }
    assert_eq!(outdated, 3);
    // Dropped with its graph, it leaves nothing.
    let id = index(&image).id;
    image.drop_index(id).unwrap();
    image.close().unwrap();
    fsck(&*device, "dropped");
}

#[test]
fn a_node_goes_with_its_record() {
    let mut random = Random::new(12);
    let (device, mut load) = prepared(&mut random);
    let mut image = open(&device);
    let id = index(&image).id;
    image.optimize_index(id, |_| {}).unwrap();
    let before = image.graph_root(id).unwrap().unwrap();
    for deleted in 1..=200 {
        // The node that a search begins at goes, too, sooner or later.
        let label = load.any(&mut random);
        load.delete(&mut image, label);
        let root = image.graph_root(id).unwrap().unwrap();
        assert_eq!((root.live, root.gone), (before.live - deleted, deleted));
    }
    let queries = load.queries(&mut random);
    let found = recall(&load.records, &queries, |q| {
        by_graph(&image, &load.records, q)
    });
    assert!(found >= 0.9, "recall {found}");
    // Every record gone: no node is left, and the graph is not searched any more.
    while !load.records.is_empty() {
        let label = load.any(&mut random);
        load.delete(&mut image, label);
    }
    assert!(!searched(&image));
    assert_eq!(image.graph_root(id).unwrap().unwrap().live, 0);
    image.close().unwrap();
    fsck(&*device, "without records");
}

/// What a power cut while a graph is made leaves: all records, searched by the tree or the graph, and a graph that can be made.
fn check(cut: &CutPoint, seed: u64, load: &Load, queries: &[Rc<[u8]>]) -> Option<State> {
    let what = format!("cut after {} accesses, outcome {seed}", cut.after);
    let outcome = Rc::new(cut.outcome(seed));
    let image = open(&outcome);
    let now = index(&image);
    assert_eq!(now.records, load.records.len() as u64, "{what}");
    let state = image.graph_root(now.id).unwrap().map(|root| root.state);
    let probes = default_probes(&now);
    let found = recall(&load.records, queries, |q| by_tree(&image, &now, q, probes));
    assert!(found >= 0.9, "{what}: recall of the tree {found}");
    if searched(&image) {
        let found = recall(&load.records, queries, |q| {
            by_graph(&image, &load.records, q)
        });
        assert!(found >= 0.95, "{what}: recall {found}");
    }
    image.close().unwrap();
    fsck(&*outcome, &format!("{what}, after recovery"));
    let mut image = open(&outcome);
    image.optimize_index(now.id, |_| {}).unwrap();
    let found = recall(&load.records, queries, |q| {
        by_graph(&image, &load.records, q)
    });
    assert!(found >= 0.95, "{what}, made again: recall {found}");
    image.close().unwrap();
    fsck(&*outcome, &format!("{what}, made again"));
    state
}

#[test]
fn power_cuts_while_a_graph_is_made() {
    const CUTS: usize = 24;
    let mut random = Random::new(13);
    let (device, load) = prepared(&mut random);
    let queries = load.queries(&mut random);
    let device = Rc::new(PowerCutDevice::new(Rc::into_inner(device).unwrap()));
    let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    let id = index(&image).id;
    // Made twice, so that one is freed, too; committed often.
    for _ in 0..2 {
        let mut steps = 0;
        image.optimize_index(id, |_| steps += 1).unwrap();
        assert!(steps > 100, "{steps}");
    }
    drop(image);
    let mut points = 0;
    device.each_cut(|_| points += 1);
    let chosen: BTreeSet<u64> = (0..CUTS).map(|_| random.below(points)).collect();
    let (mut n, mut states) = (0, Vec::new());
    device.each_cut(|cut| {
        if chosen.contains(&n) {
            states.push(check(cut, n % 8, &load, &queries));
        }
        n += 1;
    });
    println!("{} cuts of {points} places: {states:?}", states.len());
    let unfinished = |state: &Option<State>| {
        matches!(
            state,
            Some(State::Making | State::Linking | State::Clearing)
        )
    };
    assert!(states.iter().any(unfinished), "{states:?}");
}
