// SPDX-License-Identifier: GPL-2.0-only
//! Search trees that were prepared for many vectors (`Image::seed_index`): they take all of them, a power cut or an I/O error while they are prepared leaves a tree
//! that is right, and what does not need preparing is left alone.

use std::collections::BTreeMap;
use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::tree::is_complete;
use image::device::{Fault, FaultDevice, MemDevice, PowerCutDevice};
use image::ops::NewRecord;
use image::{Image, Mode};
use layout::inode::mode;

use crate::common::{fsck, Random};
use crate::corpus::{ask, default_probes, with_index, Clusters, Records, CLUSTERS, NAME};

const BLOCKS: u64 = 30_000;
const VECTORS: u64 = 3000;
/// Cuts that are looked at.
const CUTS: usize = 40;

/// An empty index, a file, and vectors for them by label.
fn scene(seed: u64) -> (MemDevice, u64, BTreeMap<u64, Rc<[u8]>>) {
    let mut random = Random::new(seed);
    let clusters = Clusters::new(&mut random);
    let shared = Rc::new(with_index(BLOCKS, 8192));
    let mut image = Image::open_device(Box::new(Rc::clone(&shared)), Mode::ReadWrite).unwrap();
    let new = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    let file = image.create("/vectors", &new).unwrap().ino;
    image.close().unwrap();
    let vectors = (0..VECTORS)
        .map(|label| (label, clusters.vector(random.below(CLUSTERS), &mut random)))
        .collect();
    (Rc::into_inner(shared).unwrap(), file, vectors)
}

fn seed(image: &mut Image, vectors: &BTreeMap<u64, Rc<[u8]>>) -> image::Result<()> {
    let index = image.find_index(NAME)?.id;
    let all: Vec<&[u8]> = vectors.values().map(|vector| &vector[..]).collect();
    image.seed_index(index, &all)
}

/// Puts all vectors, and holds what the tree then answers to what is right.
fn fill(image: &mut Image, file: u64, vectors: &BTreeMap<u64, Rc<[u8]>>, what: &str) {
    let index = image.find_index(NAME).unwrap().id;
    let new: Vec<NewRecord<'_>> = vectors
        .iter()
        .map(|(label, elements)| NewRecord {
            label: *label,
            tag: 0,
            elements,
        })
        .collect();
    image.put_records(file, index, &new).unwrap();
    let index = image.find_index(NAME).unwrap();
    assert!(is_complete(&index), "{what}: records without an entry");
    let records: Records = vectors
        .iter()
        .map(|(label, vector)| ((file, *label), Rc::clone(vector)))
        .collect();
    let queries: Vec<_> = vectors.values().step_by(97).cloned().collect();
    let (_, recall) = ask(image, &index, &records, &queries, default_probes(&index));
    assert!(recall >= 0.95, "{what}: recall {recall}");
}

#[test]
fn a_seeded_tree_takes_all_records_with_hardly_a_division() {
    let (device, file, vectors) = scene(1);
    let device = Rc::new(device);
    let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    seed(&mut image, &vectors).unwrap();
    let before = image.find_index(NAME).unwrap().tree;
    assert_eq!((before.height, before.entries), (2, 0));
    assert!(before.partitions > 15, "{}", before.partitions);
    image.sync().unwrap();
    fsck(&*device, "seeded, empty");
    fill(&mut image, file, &vectors, "seeded");
    let after = image.find_index(NAME).unwrap().tree;
    assert!(
        after.partitions < before.partitions * 2,
        "{} partitions became {}",
        before.partitions,
        after.partitions
    );
    // There are records now: nothing happens any more.
    seed(&mut image, &vectors).unwrap();
    assert_eq!(image.find_index(NAME).unwrap().tree, after);
    image.close().unwrap();
    fsck(&*device, "seeded, full");
}

#[test]
fn few_vectors_and_wrong_ones_seed_nothing() {
    let (device, _, vectors) = scene(2);
    let mut image = Image::open_device(Box::new(device), Mode::ReadWrite).unwrap();
    let index = image.find_index(NAME).unwrap().id;
    let few: Vec<&[u8]> = vectors.values().take(100).map(|v| &v[..]).collect();
    image.seed_index(index, &few).unwrap();
    let mut wrong: Vec<&[u8]> = vectors.values().map(|v| &v[..]).collect();
    wrong[0] = &wrong[0][1..];
    let refused = image.seed_index(index, &wrong).unwrap_err();
    assert!(refused.to_string().contains("length"), "{refused}");
    assert_eq!(image.find_index(NAME).unwrap().tree.partitions, 0);
}

#[test]
fn power_cuts_while_seeding_leave_a_tree_that_serves() {
    let (device, file, vectors) = scene(3);
    let device = Rc::new(PowerCutDevice::new(device));
    let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    seed(&mut image, &vectors).unwrap();
    let all = image.find_index(NAME).unwrap().tree.partitions;
    image.close().unwrap();
    let mut places = Vec::new();
    device.each_cut(|cut| places.push(cut.after));
    let step = (places.len() / CUTS).max(1);
    let (mut number, mut partial) = (0, 0);
    device.each_cut(|cut| {
        number += 1;
        if number % step != 0 {
            return;
        }
        let what = format!("cut after {} accesses", cut.after);
        let outcome = Rc::new(cut.outcome(cut.after as u64));
        let mut image = Image::open_device(Box::new(Rc::clone(&outcome)), Mode::ReadWrite)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let index = image.find_index(NAME).unwrap();
        assert_eq!(index.tree.entries, 0, "{what}");
        assert!(index.tree.partitions <= all, "{what}");
        partial += usize::from(index.tree.partitions != all);
        fill(&mut image, file, &vectors, &what);
        image.tidy_index(index.id).unwrap();
        image.close().unwrap();
        fsck(&*outcome, &what);
    });
    assert!(partial > 0, "no cut came before the end");
}

#[test]
fn io_errors_while_seeding_are_reported_and_harm_nothing() {
    let (base, file, vectors) = scene(4);
    // Of reads, writes and flushes.
    let mut hits = [0; 3];
    let faults = |n| [Fault::Read(n), Fault::Write(n), Fault::Flush(n)];
    for (kind, fault) in (0..5).flat_map(|n| faults(n).into_iter().enumerate()) {
        let what = format!("{fault:?}");
        let device = Rc::new(FaultDevice::new(MemDevice::clone(&base)));
        let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        device.set(fault, false);
        let seeded = seed(&mut image, &vectors).and_then(|()| image.sync());
        if device.was_hit() {
            hits[kind] += 1;
            assert!(seeded.is_err(), "{what}: not reported");
        } else {
            seeded.unwrap();
        }
        device.clear();
        drop(image);
        let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        fill(&mut image, file, &vectors, &what);
        image.close().unwrap();
        fsck(&*device, &what);
    }
    assert!(hits.iter().all(|n| *n > 0), "{hits:?} faults were met");
}
