// SPDX-License-Identifier: GPL-2.0-only
//! Power cuts while the partitions of a search tree are divided and dissolved. After each, the index must be what it was at a sync: every record with its
//! bytes, every entry of the tree, and the same answers, whatever the disk kept of the transaction that was on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::tree::is_complete;
use image::device::{CutPoint, MemDevice, PowerCutDevice};
use image::ops::NewRecord;
use image::{Image, Mode};
use layout::inode::mode;
use layout::vector::Index;

use crate::common::{fsck, Random};
use crate::corpus::{
    ask, by_tree, default_probes, with_index, Clusters, Name, Records, CLUSTERS, K, NAME,
};

const BLOCKS: u64 = 30_000;
/// Large enough that only a sync commits: then the states at the syncs are all that the disk may show.
const JOURNAL: u32 = 8192;
const FILES: u64 = 5;
/// Syncs of the workload.
const SYNCS: usize = 120;
const CUTS: usize = 200;
const QUERIES: usize = 16;

/// The index as it is at a sync.
struct State {
    records: Rc<Records>,
    partitions: u32,
    /// What the tree answers to the queries.
    answers: Vec<BTreeSet<Name>>,
    recall: f64,
}

/// Everything that the files have in the index.
fn records_of(image: &Image, index: &Index) -> Records {
    let mut found = Records::new();
    for n in 0..FILES {
        let file = image.resolve(format!("/{n}")).unwrap();
        for record in image.records(&file).unwrap() {
            let (elements, tag) = image.get_record(&file, index, record.label).unwrap();
            assert_eq!(tag, record.label + 1);
            found.insert((file.ino, record.label), elements.into());
        }
    }
    found
}

/// The workload: records of a cluster come or go, so that its partitions are divided or dissolved.
struct Load {
    clusters: Clusters,
    files: Vec<u64>,
    index: u32,
    records: Records,
    /// Which cluster a record belongs to.
    home: BTreeMap<Name, u64>,
    next: u64,
}

impl Load {
    fn put(&mut self, image: &mut Image, names: &[Name], cluster: u64, random: &mut Random) {
        for &file in &self.files {
            let vectors: Vec<(u64, Rc<[u8]>)> = names
                .iter()
                .filter(|name| name.0 == file)
                .map(|name| (name.1, self.clusters.vector(cluster, random)))
                .collect();
            let new: Vec<NewRecord<'_>> = vectors
                .iter()
                .map(|(label, elements)| NewRecord {
                    label: *label,
                    tag: label + 1,
                    elements,
                })
                .collect();
            image.put_records(file, self.index, &new).unwrap();
            for (label, elements) in vectors {
                self.home.insert((file, label), cluster);
                self.records.insert((file, label), elements);
            }
        }
    }

    fn add(&mut self, image: &mut Image, cluster: u64, count: u64, random: &mut Random) {
        let names: Vec<Name> = (0..count)
            .map(|_| {
                self.next += 1;
                (self.files[random.below(FILES) as usize], self.next)
            })
            .collect();
        self.put(image, &names, cluster, random);
    }

    fn of_cluster(&self, cluster: u64) -> Vec<Name> {
        let of_it = |(name, home): (&Name, &u64)| (*home == cluster).then_some(*name);
        self.home.iter().filter_map(of_it).collect()
    }

    fn step(&mut self, image: &mut Image, random: &mut Random) {
        let cluster = random.below(CLUSTERS);
        let there = self.of_cluster(cluster);
        match random.below(8) {
            // Most of a cluster goes; what is left is moved together.
            0..=3 if there.len() > 150 => {
                for name in there {
                    if random.below(20) != 0 {
                        image.delete_record(name.0, self.index, name.1).unwrap();
                        self.records.remove(&name);
                        self.home.remove(&name);
                    }
                }
                image.tidy_index(self.index).unwrap();
            }
            // A cluster's records move to where another one is.
            4 => {
                let few: Vec<Name> = there.into_iter().take(60).collect();
                self.put(image, &few, (cluster + 1) % CLUSTERS, random);
                image.tidy_index(self.index).unwrap();
            }
            _ => {
                let count = 60 + random.below(120);
                self.add(image, cluster, count, random);
            }
        }
    }
}

/// A filesystem with files and an index, of which the load has put some records.
fn prepared(random: &mut Random) -> (MemDevice, Load) {
    let shared = Rc::new(with_index(BLOCKS, JOURNAL));
    let mut image = Image::open_device(Box::new(Rc::clone(&shared)), Mode::ReadWrite).unwrap();
    let index = image.find_index(NAME).unwrap().id;
    let new = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    let file = |n| image.create(format!("/{n}"), &new).unwrap().ino;
    let mut load = Load {
        files: (0..FILES).map(file).collect(),
        clusters: Clusters::new(random),
        index,
        records: Records::new(),
        home: BTreeMap::new(),
        next: 0,
    };
    for cluster in 0..CLUSTERS {
        load.add(&mut image, cluster, 80, random);
    }
    image.close().unwrap();
    (Rc::into_inner(shared).unwrap(), load)
}

/// Marks: a sync is acknowledged, or has begun.
fn acknowledged(sync: usize) -> u64 {
    2 * sync as u64
}

fn begun(sync: usize) -> u64 {
    acknowledged(sync) - 1
}

/// Runs the workload; returns the states at its syncs.
fn run(
    device: &Rc<PowerCutDevice>,
    load: &mut Load,
    queries: &[Rc<[u8]>],
    random: &mut Random,
) -> Vec<State> {
    let mut image = Image::open_device(Box::new(Rc::clone(device)), Mode::ReadWrite).unwrap();
    let state = |image: &Image, load: &Load| {
        let index = image.find_index(NAME).unwrap();
        let (answers, recall) = ask(
            image,
            &index,
            &load.records,
            queries,
            default_probes(&index),
        );
        State {
            records: Rc::new(load.records.clone()),
            partitions: index.tree.partitions,
            answers,
            recall,
        }
    };
    let mut states = vec![state(&image, load)];
    device.mark(acknowledged(0));
    for sync in 1..=SYNCS {
        for _ in 0..=random.below(2) {
            load.step(&mut image, random);
        }
        states.push(state(&image, load));
        device.mark(begun(sync));
        image.sync().unwrap();
        device.mark(acknowledged(sync));
        if random.below(8) == 0 {
            image.checkpoint().unwrap();
        }
    }
    states
}

/// What a cut may show: the last sync that was acknowledged, or if there is one, that which had begun.
fn allowed(mark: Option<u64>) -> (usize, Option<usize>) {
    let mark = mark.unwrap_or(0);
    let sync = (mark / 2) as usize;
    (sync, (mark % 2 == 1).then_some(sync + 1))
}

/// Whether the cut is into a transaction that divides or dissolves partitions.
fn is_in_division(mark: Option<u64>, states: &[State]) -> bool {
    match allowed(mark) {
        (sync, Some(next)) => states[next].partitions != states[sync].partitions,
        _ => false,
    }
}

/// The places of the cuts, as numbers of accesses: three of four in transactions that divide or dissolve, the others anywhere. The last access of a transaction,
/// which makes it durable, is not in it.
fn places(device: &PowerCutDevice, states: &[State], random: &mut Random) -> BTreeSet<usize> {
    let mut points = Vec::new();
    device.each_cut(|cut| points.push((cut.after, cut.mark)));
    let inside: Vec<_> = points
        .windows(2)
        .filter(|pair| pair[0].1 == pair[1].1 && pair[0].0 != pair[1].0)
        .map(|pair| pair[0])
        .collect();
    let divisions: Vec<_> = inside
        .iter()
        .filter(|point| is_in_division(point.1, states))
        .copied()
        .collect();
    println!(
        "{} places, {} of them in divisions",
        inside.len(),
        divisions.len()
    );
    let mut chosen = BTreeSet::new();
    while chosen.len() < CUTS {
        let from = if random.below(4) == 0 {
            &inside
        } else {
            &divisions
        };
        chosen.insert(from[random.below(from.len() as u64) as usize].0);
    }
    chosen
}

/// What the cuts met.
#[derive(Default)]
struct Tally {
    cuts: usize,
    /// Cuts into a transaction that divides or dissolves partitions.
    in_divisions: usize,
    /// Those of them that undid it.
    undone: usize,
    least_recall: f64,
}

fn check(cut: &CutPoint, seed: u64, states: &[State], queries: &[Rc<[u8]>], tally: &mut Tally) {
    let what = format!("cut after {} accesses, outcome {seed}", cut.after);
    let outcome = Rc::new(cut.outcome(seed));
    let mut image = Image::open_device(Box::new(Rc::clone(&outcome)), Mode::ReadWrite)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let index = image.find_index(NAME).unwrap();
    let found = records_of(&image, &index);
    let (sync, next) = allowed(cut.mark);
    let shown = std::iter::once(sync)
        .chain(next)
        .find(|n| *states[*n].records == found)
        .unwrap_or_else(|| panic!("{what}: neither the records of sync {sync} nor of {next:?}"));
    let state = &states[shown];
    assert_eq!(index.tree.partitions, state.partitions, "{what}");
    assert_eq!(index.records, found.len() as u64, "{what}");
    assert!(is_complete(&index), "{what}: records without an entry");
    let (answers, recall) = ask(&image, &index, &found, queries, default_probes(&index));
    assert_eq!(recall, state.recall, "{what}: recall");
    assert!(answers == state.answers, "{what}: other answers");

    tally.cuts += 1;
    if is_in_division(cut.mark, states) {
        tally.in_divisions += 1;
        tally.undone += usize::from(shown == sync);
    }
    tally.least_recall = tally.least_recall.min(recall);

    // The tree still serves.
    let file = image.resolve("/0").unwrap().ino;
    let labels = 1_000_000..1_000_000 + queries.len() as u64;
    let new: Vec<NewRecord<'_>> = labels
        .zip(queries)
        .map(|(label, elements)| NewRecord {
            label,
            tag: label + 1,
            elements,
        })
        .collect();
    image.put_records(file, index.id, &new).unwrap();
    let index = image.find_index(NAME).unwrap();
    for (new, query) in new.iter().zip(queries) {
        let found = by_tree(&image, &index, query, default_probes(&index));
        assert!(found.contains(&(file, new.label)), "{what}: {}", new.label);
    }
    image.tidy_index(index.id).unwrap();
    image.close().unwrap();
    fsck(&*outcome, &format!("{what}, after recovery"));
}

#[test]
fn power_cuts_in_divisions_lose_nothing_and_change_no_answer() {
    let seed = 400;
    let mut random = Random::new(seed);
    let (device, mut load) = prepared(&mut random);
    let queries: Vec<_> = (0..QUERIES as u64)
        .map(|n| load.clusters.vector(n % CLUSTERS, &mut random))
        .collect();
    let device = Rc::new(PowerCutDevice::new(device));
    let states = run(&device, &mut load, &queries, &mut random);
    let changed = states
        .windows(2)
        .filter(|pair| pair[0].partitions != pair[1].partitions)
        .count();
    let sizes = || states.iter().map(|state| state.partitions);
    println!(
        "seed {seed}: {changed} of {SYNCS} transactions change the number of partitions, between {:?} and {:?}",
        sizes().min(),
        sizes().max()
    );

    let chosen = places(&device, &states, &mut random);
    let mut tally = Tally {
        least_recall: 1.0,
        ..Tally::default()
    };
    let mut last = None;
    device.each_cut(|cut| {
        if chosen.contains(&cut.after) && last.replace(cut.after) != Some(cut.after) {
            // 0 and 1: nothing and everything that was not flushed; else a part of it.
            let seed = match cut.after % 8 {
                few @ 0..=1 => few as u64,
                _ => 2 + cut.after as u64,
            };
            check(cut, seed, &states, &queries, &mut tally);
        }
    });
    let Tally {
        cuts,
        in_divisions,
        undone,
        least_recall,
    } = tally;
    println!(
        "{cuts} power cuts, {in_divisions} of them into a transaction that divides or dissolves partitions, \
         {undone} of which undid it; recall@{K} at least {least_recall:.3}, everywhere as before the cut"
    );
    assert_eq!(cuts, CUTS);
    assert!(in_divisions >= CUTS / 2, "{in_divisions}");
    assert!(undone > 10 && undone < in_divisions, "{undone}");
    assert!(least_recall >= 0.9, "{least_recall}");
}
