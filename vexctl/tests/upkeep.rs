// SPDX-License-Identifier: GPL-2.0-only
//! `index verify`, `index build` and `index rebuild` on images: what is right, what is damaged, what is half done, and
//! what finds no room.

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use common::{Fixture, Numbers};
use image::checksum::crc32;
use layout::block::{read_header, seal, verify, BlockKind};
use layout::{Block, BLOCK_SIZE};
use serde_json::{json, Value};

const DIM: usize = 24;
const RECORDS: u64 = 1500;

/// An index with a tree of some partitions, and queries for it.
fn fixture() -> (Fixture, PathBuf) {
    let fs = Fixture::new(&["a"]);
    fs.index("i", DIM, "l2");
    let base = fs.npy("base.npy", &Numbers(5).rows(RECORDS as usize, DIM));
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/a"]);
    let queries = fs.npy("queries.npy", &Numbers(6).rows(20, DIM));
    (fs, queries)
}

fn tree(fs: &Fixture, name: &str) -> Value {
    fs.json(&["index", "info", "/", name])["index"]["tree"].clone()
}

fn verified(fs: &Fixture, name: &str) -> Value {
    fs.json(&["index", "verify", "/", name])
}

/// What a search answers: labels by query.
fn found(fs: &Fixture, queries: &PathBuf, effort: &[&str]) -> Vec<BTreeSet<u64>> {
    let mut words = words!["search", "/", "i", "--npy", queries, "-k", "10"].to_vec();
    words.extend(effort.iter().map(|word| (*word).into()));
    let labels = common::hits(&fs.json(&words)).into_iter();
    labels
        .map(|hits| hits.into_iter().map(|(_, label, _)| label).collect())
        .collect()
}

/// Takes a part of the tree down, as an interrupted rebuild leaves it.
fn interrupt(fs: &Fixture, steps: u32) {
    fs.change(|image| {
        let id = image.find_index(b"i").unwrap().id;
        assert!(!image.take_down_index(id, steps).unwrap());
    });
}

#[test]
fn a_right_index_is_said_to_be_right() {
    let (fs, _) = fixture();
    let tree = tree(&fs, "i");
    assert!(tree["partitions"].as_u64() > Some(5));
    let expected = json!({
        "version": 1, "index": "i", "right": true, "records": RECORDS, "entries": RECORDS,
        "partitions": tree["partitions"], "missing": 0, "counted": true, "problem": null,
    });
    assert_eq!(verified(&fs, "i"), expected);
    assert_eq!(
        fs.text(&["index", "verify", "/", "i"]),
        format!(
            "i: 1500 records seen, 0 of them without an entry; 1500 entries in {} partitions\n\
             i: nothing wrong\n",
            tree["partitions"]
        )
    );
    fs.index("empty", 3, "dot");
    let empty = verified(&fs, "empty");
    assert_eq!(
        (&empty["right"], &empty["records"]),
        (&json!(true), &json!(0))
    );
}

/// Nobody counts what is done with an image.
#[test]
fn statistics_of_an_image_are_what_it_holds() {
    let (fs, _) = fixture();
    let report = fs.json(&["index", "stats", "/", "i"]);
    let info = fs.json(&["index", "info", "/", "i"]);
    assert_eq!(report["index"], info["index"]);
    assert!(report.get("since_mount").is_none());
    let text = fs.text(&["index", "stats", "/", "i"]);
    assert!(
        text.starts_with("records       1500\n") && text.contains("not mounted"),
        "{text}"
    );
}

/// Blocks of partitions.
fn partition_blocks(fs: &Fixture) -> Vec<(u64, Block)> {
    let file = std::fs::File::open(&fs.img).unwrap();
    let blocks = file.metadata().unwrap().len() / BLOCK_SIZE as u64;
    let mut found = Vec::new();
    fs.change(|image| {
        let seed = image
            .read(|io| Ok(engine::io::ReadBlocks::sb(io).seed))
            .unwrap();
        for number in 0..blocks {
            let mut block: Block = [0; BLOCK_SIZE];
            file.read_exact_at(&mut block, number * BLOCK_SIZE as u64)
                .unwrap();
            if verify(BlockKind::Partition, number, &block, seed, crc32).is_ok()
                && read_header(&block, BlockKind::Partition).is_ok()
            {
                found.push((number, block));
            }
        }
    });
    assert!(found.len() > 20);
    found
}

#[test]
fn damage_is_named_with_its_block() {
    let (fs, _) = fixture();
    let original = std::fs::read(&fs.img).unwrap();
    let blocks = partition_blocks(&fs);
    let mut seed = 0;
    fs.change(|image| {
        seed = image
            .read(|io| Ok(engine::io::ReadBlocks::sb(io).seed))
            .unwrap()
    });
    let refuse = |block: u64, what: &str| {
        let output = fs.run(&["--json", "index", "verify", "/", "i"]);
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with("vexctl: index i: block "), "{error}");
        assert!(error.contains(what), "{error}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["right"], false);
        assert_eq!(report["problem"]["block"], block, "{report}");
        // For people, the reason stands alone on standard error.
        let output = fs.run(&["index", "verify", "/", "i"]);
        assert!(String::from_utf8(output.stdout).unwrap().contains("seen"));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), error);
    };
    let (number, block) = blocks.last().copied().unwrap();
    let write = |block: &Block| {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&fs.img)
            .unwrap();
        file.write_all_at(block, number * BLOCK_SIZE as u64)
            .unwrap();
    };
    let mut torn = block;
    torn[2000] ^= 1;
    write(&torn);
    refuse(number, "checksum");
    // With a right checksum it takes looking at what is in the block.
    let mut wrong = block;
    wrong[40] = 1;
    seal(BlockKind::Partition, &mut wrong, seed, crc32);
    write(&wrong);
    refuse(number, "reserved bytes");
    std::fs::write(&fs.img, &original).unwrap();
    assert_eq!(verified(&fs, "i")["right"], true);
}

#[test]
fn what_an_interrupted_rebuild_leaves_is_right_and_goes_on() {
    let (fs, queries) = fixture();
    let exact = found(&fs, &queries, &["--exact"]);
    interrupt(&fs, 6);
    let half = tree(&fs, "i");
    let entries = half["entries"].as_u64().unwrap();
    assert!(entries < RECORDS && entries > 0);
    let report = verified(&fs, "i");
    assert_eq!(report["right"], true);
    assert_eq!(report["counted"], true);
    assert_eq!(report["missing"], RECORDS - entries);
    // Searches see all records.
    assert_eq!(found(&fs, &queries, &["--recall", "0.5"]), exact);
    let text = fs.text(&["index", "info", "/", "i"]);
    assert!(text.contains("not all records"), "{text}");
    let built = fs.json(&["index", "build", "/", "i"]);
    assert_eq!(built["entered"], RECORDS - entries);
    assert_eq!(built["removed"], 0);
    assert_eq!(built["tree"], tree(&fs, "i"));
    assert_eq!(verified(&fs, "i")["missing"], 0);
    // There is nothing to do any more.
    let again = fs.text(&["index", "build", "/", "i"]);
    assert!(again.starts_with("i: 0 records entered; "), "{again}");
}

#[test]
fn a_rebuilt_tree_is_worth_as_much() {
    let (fs, queries) = fixture();
    let exact = found(&fs, &queries, &["--exact"]);
    let recall = || {
        let answers = found(&fs, &queries, &["--probes", "4"]);
        let same = answers
            .iter()
            .zip(&exact)
            .map(|(a, b)| a.intersection(b).count());
        same.sum::<usize>() as f64 / 200.0
    };
    let before = recall();
    let text = fs.text(&["index", "rebuild", "/", "i"]);
    assert!(
        text.starts_with("i: 1500 entries removed\ni: 1500 records entered; "),
        "{text}"
    );
    assert_eq!(verified(&fs, "i")["right"], true);
    assert_eq!(tree(&fs, "i")["entries"], RECORDS);
    assert!(recall() >= before - 0.1, "{}, {before} before", recall());
    assert_eq!(found(&fs, &queries, &["--exact"]), exact);
    fs.index("empty", 3, "dot");
    let report = fs.json(&["index", "rebuild", "/", "empty"]);
    assert_eq!(
        (&report["removed"], &report["entered"]),
        (&json!(0), &json!(0))
    );
}

/// A full device has no place for another partition, and says so; once there is one, the tree is completed.
#[test]
fn a_tree_without_room_is_completed_later() {
    let fs = Fixture::new(&["a", "b"]);
    fs.index("wide", 4096, "l2");
    let base = fs.npy("base.npy", &Numbers(4).rows(4500, 4096));
    fs.refused(
        1,
        &words!["import", "/", "wide", "--npy", &base, "--file", "/a"],
    );
    let info = fs.json(&["index", "info", "/", "wide"])["index"].clone();
    let (records, entries) = (info["records"].as_u64(), info["tree"]["entries"].as_u64());
    assert!(
        entries < records,
        "{info}: nothing was put without an entry"
    );
    assert_eq!(verified(&fs, "wide")["right"], true);
    let error = fs.refused(1, &["index", "build", "/", "wide"]);
    assert!(error.contains("index wide: only "), "{error}");
    assert!(
        error.contains("no run of free blocks is long enough"),
        "{error}"
    );
    assert_eq!(verified(&fs, "wide")["right"], true);
    // Some records less, and there is room.
    fs.change(|image| {
        let file = image.resolve("/a").unwrap();
        let id = image.find_index(b"wide").unwrap().id;
        let all = image.records(&file).unwrap();
        for record in all.iter().skip(all.len() / 4) {
            image.delete_record(file.ino, id, record.label).unwrap();
        }
    });
    fs.text(&["index", "build", "/", "wide"]);
    let report = verified(&fs, "wide");
    assert_eq!(
        (&report["right"], &report["missing"]),
        (&json!(true), &json!(0))
    );
}
