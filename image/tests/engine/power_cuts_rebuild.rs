// SPDX-License-Identifier: GPL-2.0-only
//! Power cuts while a search tree is taken down and built again. After each, every record must be there, the tree right as far as it goes, and completing it
//! must lead to what it was worth before.

use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::tree::{is_complete, Completion, Seen, Verification};
use image::device::{CutPoint, PowerCutDevice};
use image::ops::NewRecord;
use image::{Image, Mode};
use layout::inode::mode;
use layout::vector::Index;

use crate::common::{fsck, Random};
use crate::corpus::{ask, default_probes, with_index, Clusters, Records, CLUSTERS, NAME};

const BLOCKS: u64 = 30_000;
const JOURNAL: u32 = 2048;
const RECORDS: u64 = 1500;
const CUTS: usize = 60;
const QUERIES: u64 = 16;

fn complete(image: &mut Image, id: u32) {
    let mut at = Completion::default();
    while !at.done {
        image.complete_index(id, &mut at, 1).unwrap();
    }
}

/// Verifies the tree, whose totals must be what the index counts.
fn verify(image: &Image, index: &Index, what: &str) {
    let (mut at, mut seen) = (Verification::default(), Seen::default());
    let result = image.verify_index(index.id, &mut at, &mut seen, u32::MAX);
    result.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(seen.partitions, u64::from(index.tree.partitions), "{what}");
    assert_eq!(seen.entries, index.tree.entries, "{what}");
    assert_eq!(seen.records, index.records, "{what}");
    assert_eq!(seen.missing, index.records - index.tree.entries, "{what}");
}

fn check(cut: &CutPoint, records: &Records, queries: &[Rc<[u8]>], before: f64) -> u64 {
    let what = format!("cut after {} accesses", cut.after);
    let outcome = Rc::new(cut.outcome(cut.after as u64));
    let mut image = Image::open_device(Box::new(Rc::clone(&outcome)), Mode::ReadWrite)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let index = image.find_index(NAME).unwrap();
    assert_eq!(index.records, RECORDS, "{what}");
    verify(&image, &index, &what);
    let file = image.resolve("/file").unwrap();
    for ((_, label), elements) in records.iter().step_by(37) {
        let (found, _) = image.get_record(&file, &index, *label).unwrap();
        assert_eq!(found[..], elements[..], "{what}");
    }
    complete(&mut image, index.id);
    let now = image.find_index(NAME).unwrap();
    assert!(is_complete(&now), "{what}");
    verify(&image, &now, &what);
    let (_, recall) = ask(&image, &now, records, queries, default_probes(&now));
    assert!(
        recall >= before - 0.05,
        "{what}: recall {recall}, {before} before"
    );
    image.close().unwrap();
    fsck(&*outcome, &format!("{what}, after recovery"));
    index.tree.entries
}

#[test]
fn power_cuts_in_a_rebuild_lose_nothing() {
    let mut random = Random::new(41);
    let clusters = Clusters::new(&mut random);
    let shared = Rc::new(with_index(BLOCKS, JOURNAL));
    let mut image = Image::open_device(Box::new(Rc::clone(&shared)), Mode::ReadWrite).unwrap();
    let id = image.find_index(NAME).unwrap().id;
    let new = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    let file = image.create("/file", &new).unwrap().ino;
    let records: Records = (0..RECORDS)
        .map(|label| {
            let cluster = random.below(CLUSTERS);
            ((file, label), clusters.vector(cluster, &mut random))
        })
        .collect();
    let new: Vec<NewRecord<'_>> = records
        .iter()
        .map(|((_, label), elements)| NewRecord {
            label: *label,
            tag: 0,
            elements,
        })
        .collect();
    image.put_records(file, id, &new).unwrap();
    let queries: Vec<_> = (0..QUERIES)
        .map(|n| clusters.vector(n % CLUSTERS, &mut random))
        .collect();
    let index = image.find_index(NAME).unwrap();
    let (_, before) = ask(&image, &index, &records, &queries, default_probes(&index));
    image.close().unwrap();

    let device = Rc::new(PowerCutDevice::new(Rc::into_inner(shared).unwrap()));
    let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    while !image.take_down_index(id, 2).unwrap() {
        image.sync().unwrap();
    }
    let mut at = Completion::default();
    while !at.done {
        image.complete_index(id, &mut at, 20).unwrap();
        image.sync().unwrap();
    }
    image.close().unwrap();

    let mut points = Vec::new();
    device.each_cut(|cut| points.push(cut.after));
    points.dedup();
    let every = points.len() / CUTS;
    let chosen: Vec<usize> = points.into_iter().step_by(every.max(1)).collect();
    let (mut cuts, mut half, mut last) = (0, 0, None);
    device.each_cut(|cut| {
        if chosen.contains(&cut.after) && last.replace(cut.after) != Some(cut.after) {
            let entries = check(cut, &records, &queries, before);
            cuts += 1;
            half += u32::from(entries != 0 && entries != RECORDS);
        }
    });
    println!(
        "{cuts} power cuts, {half} of them left a part of the tree; recall {before:.3} before"
    );
    assert!(cuts >= CUTS && half as usize >= CUTS / 2, "{cuts}, {half}");
}
