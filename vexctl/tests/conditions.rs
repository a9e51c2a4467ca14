// SPDX-License-Identifier: GPL-2.0-only
//! Conditions of searches over an image, against a brute force, and what is no condition.

mod common;

use common::{add_file, distance, hits, Fixture, Numbers};
use engine::inode::SetAttributes;
use layout::inode::Time;

const K: usize = 10;

/// The labels of the rows that are nearest to a query and meet a condition.
fn nearest(rows: &[Vec<f32>], query: &[f32], admits: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut found: Vec<(f64, usize)> = rows
        .iter()
        .enumerate()
        .filter(|(row, _)| admits(*row))
        .map(|(row, vector)| (distance("l2", vector, query), row))
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.iter().take(K).map(|(_, row)| *row as u64).collect()
}

#[test]
fn hits_meet_the_conditions() {
    let fs = Fixture::new(&["a/x", "a/deep/y", "b/z"]);
    let mut numbers = Numbers(21);
    let (rows, queries) = (numbers.rows(3000, 6), numbers.rows(5, 6));
    let asked = fs.npy("queries.npy", &queries);
    fs.index("i", 6, "l2");
    // Row n is record n of a file that its number chooses.
    let paths = ["a/x", "a/deep/y", "b/z"];
    let lines: String = (0..rows.len())
        .map(|n| {
            let (path, tag) = (paths[n % 3], n % 16);
            format!("{{\"path\": \"{path}\", \"offset\": {n}, \"tag\": {tag}}}\n")
        })
        .collect();
    let base = fs.npy("base.npy", &rows);
    let lines = fs.write("lines.jsonl", lines);
    fs.text(&words![
        "import", "/", "i", "--npy", &base, "--jsonl", &lines
    ]);
    fs.change(|image| {
        let ino = image.resolve("/b/z").unwrap().ino;
        image.link(ino, "/a/deep/also").unwrap();
    });
    let compare = |condition: &[&str], admits: &dyn Fn(usize) -> bool| {
        for how in ["--exact", "--recall=1"] {
            let mut arguments =
                words!["search", "/", "i", "--npy", &asked, "-k", "10", how].to_vec();
            arguments.extend(condition.iter().map(Into::into));
            for (found, query) in hits(&fs.json(&arguments)).iter().zip(&queries) {
                let labels: Vec<u64> = found.iter().map(|hit| hit.1).collect();
                assert_eq!(labels, nearest(&rows, query, admits), "{condition:?} {how}");
            }
        }
    };
    compare(&[], &|_| true);
    compare(&["--labels", "100..199"], &|row| (100..=199).contains(&row));
    compare(&["--labels", "..3"], &|row| row <= 3);
    compare(&["--labels=2990.."], &|row| row >= 2990);
    compare(&["--tag", "0xc=4"], &|row| (row % 16) & 12 == 4);
    compare(&["--within", "a"], &|_| true);
    compare(&["--within", "a/deep"], &|row| row % 3 != 0);
    compare(&["--within", "b"], &|row| row % 3 == 2);
    compare(
        &["--within", "b", "--tag", "1=1", "--labels", "0..999"],
        &|row| row % 3 == 2 && row % 2 == 1 && row < 1000,
    );
    compare(&["--uid", "4000000"], &|_| false);
    compare(&["--modified", "-5..-1"], &|_| false);
    compare(&["--modified", "0.."], &|_| true);

    // Every path that is shown leads through the folder.
    let within = words!["search", "/", "i", "--npy", &asked, "-k", "50", "--within", "a/deep"];
    for (path, _, _) in hits(&fs.json(&within)).iter().flatten() {
        assert!(path.starts_with("a/deep/"), "{path}");
    }
    let all = hits(&fs.json(&words![
        "search", "/", "i", "--npy", &asked, "-k", "10", "--exact"
    ]));
    let bound = format!("{}", all[0][3].2);
    let near = words![
        "search",
        "/",
        "i",
        "--npy",
        &asked,
        "-k",
        "10",
        "--exact",
        "--distance",
        &bound
    ];
    assert_eq!(hits(&fs.json(&near))[0], all[0][..4]);
}

#[test]
fn what_is_no_condition_is_refused() {
    let fs = Fixture::new(&["file"]);
    fs.index("i", 2, "l2");
    let asked = fs.npy("queries.npy", &[vec![0.0, 0.0]]);
    for (option, value, said) in [
        ("--labels", "5", "FROM..TO"),
        ("--labels", "5..4", "empty"),
        ("--labels", "-1..4", "no whole number"),
        ("--tag", "3", "MASK=VALUE"),
        ("--tag", "1=2", "bits that the mask has not"),
        ("--distance", "NaN", "a distance is a number"),
        ("--recall", "1.5", "0.5 to 1"),
    ] {
        let option = format!("{option}={value}");
        let arguments = words!["search", "/", "i", "--npy", &asked, "-k", "1", &option];
        let error = fs.refused(2, &arguments);
        assert!(error.contains(said), "{option}: {error}");
    }
    for (folder, said) in [("missing", "missing"), ("file", "not a folder")] {
        let arguments = words!["search", "/", "i", "--npy", &asked, "-k", "1", "--within", folder];
        let error = fs.refused(1, &arguments);
        assert!(error.contains(said), "{folder}: {error}");
    }
}

#[test]
fn owners_and_times_are_those_of_the_files() {
    let fs = Fixture::new(&["mine"]);
    fs.index("i", 2, "l2");
    let row = fs.npy("row.npy", &[vec![1.0, 2.0]]);
    fs.text(&words![
        "import", "/", "i", "--npy", &row, "--file", "/mine"
    ]);
    fs.change(|image| add_file(image, "/other"));
    fs.text(&words![
        "import", "/", "i", "--npy", &row, "--file", "/other"
    ]);
    fs.change(|image| {
        let ino = image.resolve("/other").unwrap().ino;
        let set = SetAttributes {
            uid: Some(77),
            mtime: Some(Time { sec: 5, nsec: 0 }),
            ..SetAttributes::default()
        };
        image.set_attributes(ino, &set).unwrap();
    });
    for (condition, value, expected) in [
        ("--uid", "77", vec!["other"]),
        ("--uid", "0", vec!["mine"]),
        ("--modified", "5..5", vec!["other"]),
        ("--modified", "6..", vec!["mine"]),
        ("--modified", "..", vec!["mine", "other"]),
    ] {
        let search = words!["search", "/", "i", "--npy", &row, "-k", "9", condition, value];
        let found = hits(&fs.json(&search));
        let mut paths: Vec<_> = found[0].iter().map(|hit| hit.0.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, expected, "{condition} {value}");
    }
}
