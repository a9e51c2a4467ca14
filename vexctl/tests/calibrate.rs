// SPDX-License-Identifier: GPL-2.0-only
//! `index calibrate` on images: what it measures is what searches do from then on.

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;

use common::{Fixture, Numbers};
use serde_json::{json, Value};

const DIM: usize = 24;
const RECORDS: usize = 3000;
const QUERIES: usize = 60;

/// An index with a tree of some partitions, and queries for it.
fn fixture() -> (Fixture, PathBuf) {
    let fs = Fixture::new(&["a"]);
    fs.index("i", DIM, "l2");
    let base = fs.npy("base.npy", &Numbers(5).rows(RECORDS, DIM));
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/a"]);
    let queries = fs.npy("queries.npy", &Numbers(6).rows(QUERIES, DIM));
    (fs, queries)
}

fn efforts(fs: &Fixture) -> Value {
    fs.json(&["index", "info", "/", "i"])["index"]["efforts"].clone()
}

/// Labels by query.
fn found(fs: &Fixture, queries: &PathBuf, effort: &[&str]) -> Vec<BTreeSet<u64>> {
    let mut words = words!["search", "/", "i", "--npy", queries, "-k", "10"].to_vec();
    words.extend(effort.iter().map(|word| (*word).into()));
    let hits = common::hits(&fs.json(&words)).into_iter();
    hits.map(|hits| hits.into_iter().map(|(_, label, _)| label).collect())
        .collect()
}

fn recall(truth: &[BTreeSet<u64>], found: &[BTreeSet<u64>]) -> f64 {
    let right = truth
        .iter()
        .zip(found)
        .map(|(a, b)| a.intersection(b).count());
    right.sum::<usize>() as f64 / truth.iter().map(BTreeSet::len).sum::<usize>() as f64
}

#[test]
fn searches_find_what_was_measured() {
    let (fs, queries) = fixture();
    assert_eq!(efforts(&fs), Value::Null);
    let report = fs.json(&words!["index", "calibrate", "/", "i", "--npy", &queries]);
    assert_eq!(
        (&report["queries"], &report["k"]),
        (&json!(QUERIES), &json!(10))
    );
    let truth = found(&fs, &queries, &["--exact"]);
    let lines = report["measured"].as_array().unwrap();
    assert_eq!(lines.len(), 3);
    let mut last = 0;
    for (line, wanted) in lines.iter().zip([0.9, 0.95, 0.99]) {
        assert_eq!(line["wanted"], json!(wanted));
        let leaves = line["leaves"].as_u64().unwrap();
        assert!(
            leaves >= last && leaves <= report["partitions"].as_u64().unwrap(),
            "{line}"
        );
        last = leaves;
        // What it says is so, and fewer leaves find less than was wanted.
        let with = |leaves: u64| {
            let answers = found(&fs, &queries, &["--probes", &leaves.to_string()]);
            recall(&truth, &answers)
        };
        let reached = with(leaves);
        assert!(reached >= wanted, "{line}: {reached}");
        assert!(
            (reached - line["recall"].as_f64().unwrap()).abs() < 1e-9,
            "{line}: {reached}"
        );
        if leaves < 16 {
            assert!(with(leaves - 1) < wanted, "{line}");
        }
        // Searches that ask for the recall get it.
        let asked = found(&fs, &queries, &["--recall", &wanted.to_string()]);
        assert!(recall(&truth, &asked) >= wanted, "{line}");
    }
    let noted = efforts(&fs);
    assert_eq!(noted.as_array().map(Vec::len), Some(3));
    let text = fs.text(&["index", "info", "/", "i"]);
    assert!(
        text.contains("times the root of the partitions for recall 0.9"),
        "{text}"
    );
    fs.json(&["index", "calibrate", "/", "i", "--forget"]);
    assert_eq!(efforts(&fs), Value::Null);
}

#[test]
fn what_cannot_be_measured_is_refused_and_changes_nothing() {
    let (fs, queries) = fixture();
    fs.index("few", DIM, "l2");
    let base = fs.npy("few.npy", &Numbers(7).rows(5, DIM));
    fs.text(&words![
        "import", "/", "few", "--npy", &base, "--file", "/a"
    ]);
    let error = fs.refused(
        1,
        &words!["index", "calibrate", "/", "few", "--npy", &queries],
    );
    assert!(
        error.contains("index few: searches compare all records"),
        "{error}"
    );
    fs.change(|image| {
        let id = image.find_index(b"i").unwrap().id;
        assert!(!image.take_down_index(id, 1).unwrap());
    });
    let error = fs.refused(
        1,
        &words!["index", "calibrate", "/", "i", "--npy", &queries],
    );
    assert!(error.contains("vexctl index build"), "{error}");
    let other = fs.npy("other.npy", &Numbers(8).rows(3, DIM + 1));
    let error = fs.refused(1, &words!["index", "calibrate", "/", "i", "--npy", &other]);
    assert!(error.contains("other.npy"), "{error}");
    assert_eq!(efforts(&fs), Value::Null);
    fs.refused(2, &["index", "calibrate", "/", "i"]);
    fs.refused(
        2,
        &words![
            "index",
            "calibrate",
            "/",
            "i",
            "--forget",
            "--npy",
            &queries
        ],
    );
}
