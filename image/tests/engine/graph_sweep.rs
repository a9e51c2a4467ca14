// SPDX-License-Identifier: GPL-2.0-only
//! What records that are gone leave in a graph: their neighbours are led past it, it is erased, and the graph finds what it found, whatever happens meanwhile, and
//! after power cuts and I/O errors. fsck says of every code whose it is: none may be left of a node that was erased.

use std::collections::BTreeSet;
use std::rc::Rc;

use image::device::{CutPoint, Fault, FaultDevice, MemDevice, PowerCutDevice};
use image::{Image, Mode};
use layout::graph::{State, MAX_FRESH};

use crate::common::{fsck, Random};
use crate::corpus::{by_tree, default_probes};
use crate::graph::{by_graph, index, open, prepared, recall, searched, Load, RECORDS};

/// What the graph finds of the right answers.
fn graph_recall(image: &Image, load: &Load, queries: &[Rc<[u8]>]) -> f64 {
    recall(&load.records, queries, |q| {
        by_graph(image, &load.records, q)
    })
}

fn delete_some(image: &mut Image, load: &mut Load, count: u64, random: &mut Random) {
    for _ in 0..count {
        let label = load.any(random);
        load.delete(image, label);
    }
}

fn gone(image: &Image) -> u64 {
    let root = image.graph_root(index(image).id).unwrap();
    root.map_or(0, |root| root.gone)
}

#[test]
fn half_of_the_records_deleted_and_put_again() {
    let mut random = Random::new(21);
    let (device, mut load) = prepared(&mut random);
    let queries = load.queries(&mut random);
    let mut image = open(&device);
    let id = index(&image).id;
    image.optimize_index(id, |_| {}).unwrap();
    let whole = graph_recall(&image, &load, &queries);

    delete_some(&mut image, &mut load, RECORDS / 2, &mut random);
    assert_eq!(gone(&image), RECORDS / 2);
    let holes = graph_recall(&image, &load, &queries);
    image.close().unwrap();
    fsck(&*device, "half deleted");

    // In rounds of 100, so that there are several.
    image = open(&device);
    let mut sweep = image.graph_sweep(id, 100).unwrap();
    let mut steps = 1;
    while !image.sweep_graph_step(id, &mut sweep).unwrap() {
        steps += 1;
    }
    assert!(steps > 100, "{steps}");
    assert_eq!(gone(&image), 0);
    let swept = graph_recall(&image, &load, &queries);
    image.close().unwrap();
    fsck(&*device, "swept");

    // As many as are listed beside the graph, each found; then the rest, by the tree.
    image = open(&device);
    load.add(&mut image, MAX_FRESH as u64, &mut random);
    assert!(searched(&image));
    let beside = graph_recall(&image, &load, &queries);
    load.add(&mut image, RECORDS / 2 - MAX_FRESH as u64 + 1, &mut random);
    assert!(!searched(&image));
    let now = index(&image);
    let probes = default_probes(&now);
    let tree = recall(&load.records, &queries, |q| {
        by_tree(&image, &now, q, probes)
    });

    // A graph that is not searched any more is freed.
    image.tidy_index(id).unwrap();
    assert_eq!(index(&image).graph, 0);
    image.close().unwrap();
    fsck(&*device, "freed");
    image = open(&device);
    image.optimize_index(id, |_| {}).unwrap();
    let again = graph_recall(&image, &load, &queries);
    println!(
        "recall of the graph {whole:.4}; half deleted {holes:.4}; after {steps} steps {swept:.4}; \
         {MAX_FRESH} put {beside:.4}; of the tree {tree:.4}; of a new graph {again:.4}"
    );
    assert!(whole >= 0.95 && again >= 0.95);
    assert!(swept >= whole - 0.03, "{swept} of {whole}");
    assert!(beside >= whole - 0.03, "{beside} of {whole}");
    assert!(tree >= 0.9);
    image.close().unwrap();
    fsck(&*device, "made again");
}

#[test]
fn records_come_and_go_and_graphs_are_made_while_one_is_swept() {
    let mut random = Random::new(22);
    let (device, mut load) = prepared(&mut random);
    let queries = load.queries(&mut random);
    let mut image = open(&device);
    let id = index(&image).id;
    image.optimize_index(id, |_| {}).unwrap();
    let mut sweep = image.graph_sweep(id, 16).unwrap();
    let (mut rounds, mut steps, mut made) = (0, 0, 0);
    for turn in 0..400 {
        match random.below(12) {
            0..=4 => {
                let count = random.below(4);
                delete_some(&mut image, &mut load, count, &mut random);
            }
            5..=6 => {
                let label = load.any(&mut random);
                load.put(&mut image, &[label], &mut random);
            }
            7 => load.add(&mut image, 2, &mut random),
            // In the middle of a sweep, which has to begin anew.
            8 if turn % 10 == 7 => {
                image.optimize_index(id, |_| {}).unwrap();
                assert_eq!(gone(&image), 0);
                made += 1;
            }
            _ => {
                for _ in 0..random.below(12) {
                    rounds += u64::from(image.sweep_graph_step(id, &mut sweep).unwrap());
                    steps += 1;
                }
            }
        }
        if turn % 100 == 99 {
            let found = graph_recall(&image, &load, &queries);
            assert!(found >= 0.9, "turn {turn}: recall {found}");
            image.close().unwrap();
            fsck(&*device, &format!("turn {turn}"));
            image = open(&device);
        }
    }
    println!("{steps} steps, {rounds} rounds to the end, {made} graphs made meanwhile");
    image.sweep_graph(id).unwrap();
    assert_eq!(gone(&image), 0);
    let found = graph_recall(&image, &load, &queries);
    assert!(found >= 0.93, "recall {found}");
    image.close().unwrap();
    fsck(&*device, "swept");
}

/// A graph that was left unfinished, or half freed: records can be deleted in every state, and nothing of them stays.
#[test]
fn records_go_while_a_graph_is_made_or_freed() {
    let mut random = Random::new(23);
    let (device, load) = prepared(&mut random);
    let device = Rc::new(PowerCutDevice::new(Rc::into_inner(device).unwrap()));
    let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    let id = index(&image).id;
    for _ in 0..2 {
        image.optimize_index(id, |_| {}).unwrap();
    }
    drop(image);
    let mut points = 0;
    device.each_cut(|_| points += 1);
    let chosen: BTreeSet<u64> = (0..24).map(|_| random.below(points)).collect();
    let (mut n, mut states) = (0, Vec::new());
    device.each_cut(|cut| {
        if chosen.contains(&n) {
            let outcome = Rc::new(cut.outcome(n % 8));
            let mut image = open(&outcome);
            let state = image.graph_root(id).unwrap().map(|root| root.state);
            let mut left = Load {
                records: load.records.clone(),
                clusters: crate::corpus::Clusters::new(&mut Random::new(1)),
                ..load
            };
            delete_some(&mut image, &mut left, 60, &mut random);
            image.close().unwrap();
            fsck(&*outcome, &format!("{state:?}, records deleted"));
            let mut image = open(&outcome);
            image.tidy_index(id).unwrap();
            assert_eq!(gone(&image), 0, "{state:?}");
            let kept = image.graph_root(id).unwrap().map(|root| root.state);
            assert!(
                matches!(kept, None | Some(State::Making | State::Ready)),
                "{state:?}: {kept:?}"
            );
            image.close().unwrap();
            fsck(&*outcome, &format!("{state:?}, tidied"));
            states.push(state);
        }
        n += 1;
    });
    println!("{states:?}");
    for wanted in [State::Linking, State::Clearing, State::Ready] {
        assert!(states.contains(&Some(wanted)), "{wanted:?}: {states:?}");
    }
}

/// A graph with tombstones, on a device.
fn with_tombstones(random: &mut Random, count: u64) -> (Rc<MemDevice>, Load) {
    let (device, mut load) = prepared(random);
    let mut image = open(&device);
    image.optimize_index(index(&image).id, |_| {}).unwrap();
    delete_some(&mut image, &mut load, count, random);
    image.close().unwrap();
    (device, load)
}

/// After a cut in the middle of a sweep: everything is found, and the next sweep leaves nothing.
fn check(cut: &CutPoint, seed: u64, load: &Load, queries: &[Rc<[u8]>]) -> u64 {
    let what = format!("cut after {} accesses, outcome {seed}", cut.after);
    let outcome = Rc::new(cut.outcome(seed));
    let image = open(&outcome);
    let id = index(&image).id;
    assert_eq!(index(&image).records, load.records.len() as u64, "{what}");
    let left = gone(&image);
    assert!(searched(&image), "{what}");
    let found = graph_recall(&image, load, queries);
    assert!(found >= 0.9, "{what}: recall {found}");
    image.close().unwrap();
    fsck(&*outcome, &format!("{what}, after recovery"));
    let mut image = open(&outcome);
    image.sweep_graph(id).unwrap();
    assert_eq!(gone(&image), 0, "{what}");
    let found = graph_recall(&image, load, queries);
    assert!(found >= 0.93, "{what}, swept: recall {found}");
    image.close().unwrap();
    fsck(&*outcome, &format!("{what}, swept"));
    left
}

#[test]
fn power_cuts_while_a_graph_is_swept() {
    const CUTS: usize = 24;
    let mut random = Random::new(24);
    let (device, load) = with_tombstones(&mut random, 300);
    let queries = load.queries(&mut random);
    let device = Rc::new(PowerCutDevice::new(Rc::into_inner(device).unwrap()));
    let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
    let id = index(&image).id;
    let mut sweep = image.graph_sweep(id, 100).unwrap();
    let mut steps = 0;
    while !image.sweep_graph_step(id, &mut sweep).unwrap() {
        steps += 1;
        // Committed every now and then.
        if steps % 10 == 0 {
            image.sync().unwrap();
        }
    }
    drop(image);
    let mut points = 0;
    device.each_cut(|_| points += 1);
    let chosen: BTreeSet<u64> = (0..CUTS).map(|_| random.below(points)).collect();
    let (mut n, mut left) = (0, Vec::new());
    device.each_cut(|cut| {
        if chosen.contains(&n) {
            left.push(check(cut, n % 8, &load, &queries));
        }
        n += 1;
    });
    println!("{} cuts of {points} places: {left:?} left", left.len());
    assert!(left.iter().any(|left| (1..300).contains(left)), "{left:?}");
}

#[test]
fn an_io_error_while_a_graph_is_swept_leaves_it_right() {
    let mut random = Random::new(25);
    let (device, load) = with_tombstones(&mut random, 40);
    let queries = load.queries(&mut random);
    let base = Rc::into_inner(device).unwrap();
    let mut met = 0;
    for n in (0..).map(|n| n * n / 2 + n) {
        let mut hit = false;
        for (fault, lasting) in [
            (Fault::Read(n), false),
            (Fault::Write(n), true),
            (Fault::Flush(n), true),
        ] {
            let what = format!("{fault:?}");
            let device = Rc::new(FaultDevice::new(MemDevice::clone(&base)));
            let mut image =
                Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
            let id = index(&image).id;
            device.set(fault, lasting);
            let error = image.sweep_graph(id).and_then(|()| image.close()).err();
            assert_eq!(error.is_some(), device.was_hit(), "{what}: {error:?}");
            hit |= device.was_hit();
            device.clear();
            fsck(&*device, &what);
            let mut image =
                Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
            image.sweep_graph(id).unwrap();
            let found = graph_recall(&image, &load, &queries);
            assert!(found >= 0.93, "{what}: recall {found}");
            assert_eq!(gone(&image), 0, "{what}");
            image.close().unwrap();
            fsck(&*device, &format!("{what}, swept"));
        }
        if !hit {
            break;
        }
        met += 1;
    }
    println!("{met} places");
    assert!(met > 10, "{met}");
}
