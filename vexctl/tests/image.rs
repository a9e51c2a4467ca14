// SPDX-License-Identifier: GPL-2.0-only
//! vexctl on images: every command, and searches against a brute force.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{add_file, distance, hits, Fixture, Numbers};
use engine::namei::RenameFlags;
use image::{Image, Mode};
use serde_json::json;
use vexctl::input::Vectors;

const METRICS: [&str; 3] = ["l2", "cosine", "dot"];

#[test]
fn indexes_are_made_listed_described_and_dropped() {
    let fs = Fixture::new(&[]);
    assert_eq!(fs.text(&["index", "list", "/"]), "no indexes\n");
    assert_eq!(fs.json(&["index", "list", "/"])["indexes"], json!([]));
    fs.index("first", 3, "l2");
    let made = fs.json(&[
        "index",
        "create",
        "/",
        "zweiter ü",
        "--dim",
        "4096",
        "--metric",
        "cosine",
        "--mode",
        "0600",
    ]);
    assert_eq!(made["index"]["name"], "zweiter ü");
    assert_eq!(made["index"]["mode"], "0600");
    let list = fs.json(&["index", "list", "/"]);
    let list = list["indexes"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    for (index, name, dim, metric, mode) in [
        (&list[0], "first", 3, "l2", "0644"),
        (&list[1], "zweiter ü", 4096, "cosine", "0600"),
    ] {
        assert_eq!(index["name"], name);
        assert_eq!(index["dim"], dim);
        assert_eq!(index["metric"], metric);
        assert_eq!(index["mode"], mode);
        assert_eq!(index["element"], "f32");
        assert_eq!(index["records"], 0);
        assert_eq!(fs.json(&["index", "info", "/", name])["index"], *index);
    }
    assert!(list[0]["id"].as_u64() < list[1]["id"].as_u64());
    let text = fs.text(&["index", "list", "/"]);
    assert!(
        text.contains("first") && text.contains("zweiter ü"),
        "{text}"
    );
    let text = fs.text(&["index", "info", "/", "first"]);
    assert!(text.contains("3 x f32") && text.contains("l2"), "{text}");

    fs.text(&["index", "drop", "/", "first"]);
    let list = fs.json(&["index", "list", "/"]);
    assert_eq!(list["indexes"].as_array().unwrap().len(), 1);
    fs.index("first", 5, "dot");
    assert_eq!(fs.json(&["index", "info", "/", "first"])["index"]["dim"], 5);
}

#[test]
fn records_are_put_read_replaced_and_deleted() {
    let fs = Fixture::new(&["notes/a", "b"]);
    fs.index("i", 3, "l2");
    let one = fs.npy("one.npy", &[vec![1.5, -2.0, 3.25]]);
    let two = fs.fvecs("two.fvecs", &[vec![0.1, 0.2, 0.3]]);
    let stored = fs.json(&words!["put", "/notes/a", "i", "--npy", &one]);
    assert_eq!(stored["stored"], 1);
    fs.text(&words![
        "put", "notes/a", "i", "--npy", &two, "--label", "7", "--tag", "9"
    ]);
    fs.text(&words![
        "put",
        "/b",
        "i",
        "--npy",
        &one,
        "--label",
        u64::MAX.to_string()
    ]);
    let got = fs.json(&["get", "/notes/a", "i"]);
    let wanted = json!({
        "version": 1, "path": "/notes/a", "index": "i", "label": 0, "tag": 0,
        "elements": [1.5, -2.0, 3.25],
    });
    assert_eq!(got, wanted);
    let got = fs.json(&["get", "/notes/a", "i", "--label", "7"]);
    assert_eq!((&got["label"], &got["tag"]), (&json!(7), &json!(9)));
    // Shortest decimals that are these binary32 numbers again.
    assert_eq!(got["elements"].to_string(), "[0.1,0.2,0.3]");
    let text = fs.text(&["get", "/notes/a", "i", "--label", "7"]);
    assert_eq!(text, "label 7, tag 9, 3 elements\n0.1 0.2 0.3\n");
    assert_eq!(fs.json(&["index", "info", "/", "i"])["index"]["records"], 3);

    fs.text(&words!["put", "/notes/a", "i", "--npy", &two]);
    let got = fs.json(&["get", "/notes/a", "i"]);
    assert_eq!(got["elements"].to_string(), "[0.1,0.2,0.3]");
    assert_eq!(fs.json(&["index", "info", "/", "i"])["index"]["records"], 3);

    assert_eq!(fs.json(&["del", "/b", "i", "--all"])["deleted"], 1);
    assert_eq!(fs.json(&["del", "/b", "i", "--all"])["deleted"], 0);
    fs.text(&["del", "/notes/a", "i", "--label", "7"]);
    let error = fs.refused(1, &["get", "/notes/a", "i", "--label", "7"]);
    assert_eq!(
        error,
        "vexctl: /notes/a: no record with label 7 in index i\n"
    );
    fs.refused(1, &["del", "/notes/a", "i", "--label", "7"]);
    fs.text(&["del", "/notes/a", "i"]);
    assert_eq!(fs.json(&["index", "info", "/", "i"])["index"]["records"], 0);
}

#[test]
fn all_of_a_file_are_its_records_of_that_index_alone() {
    let fs = Fixture::new(&["a", "b"]);
    let rows = fs.npy("rows.npy", &Numbers(1).rows(40, 2));
    for index in ["i", "j"] {
        fs.index(index, 2, "l2");
        for file in ["/a", "/b"] {
            fs.text(&words![
                "import", "/", index, "--npy", &rows, "--file", file
            ]);
        }
    }
    assert_eq!(fs.json(&["del", "/a", "i", "--all"])["deleted"], 40);
    assert_eq!(
        fs.json(&["index", "info", "/", "i"])["index"]["records"],
        40
    );
    assert_eq!(
        fs.json(&["index", "info", "/", "j"])["index"]["records"],
        80
    );
    fs.refused(1, &["get", "/a", "i", "--label", "3"]);
    fs.text(&["get", "/a", "j", "--label", "3"]);
    fs.text(&["get", "/b", "i", "--label", "3"]);
}

/// The k nearest by sorting all; ties by the order of the rows.
fn nearest(metric: &str, rows: &[Vec<f32>], query: &[f32], k: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<_> = rows
        .iter()
        .map(|row| distance(metric, row, query))
        .enumerate()
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1));
    all.truncate(k);
    all
}

fn expect_nearest(
    found: &[(String, u64, f64)],
    expected: &[(usize, f64)],
    place: impl Fn(usize) -> (String, u64),
) {
    assert_eq!(found.len(), expected.len());
    for ((path, label, distance), (row, wanted)) in found.iter().zip(expected) {
        assert_eq!((path.clone(), *label), place(*row));
        let tolerance = 1e-12 * wanted.abs().max(1.0);
        assert!(
            (distance - wanted).abs() <= tolerance,
            "{distance} {wanted}"
        );
    }
}

#[test]
fn rows_of_one_file_are_found_as_by_brute_force() {
    let fs = Fixture::new(&["notes/x"]);
    let mut numbers = Numbers(2);
    let (rows, queries) = (numbers.rows(5000, 24), numbers.rows(30, 24));
    let base = fs.npy("base.npy", &rows);
    let asked = fs.fvecs("queries.fvecs", &queries);
    for metric in METRICS {
        fs.index(metric, 24, metric);
        let done = fs.json(&words![
            "import", "/", metric, "--npy", &base, "--file", "/notes/x"
        ]);
        assert_eq!(done["stored"], 5000);
        for k in [1, 10, 200] {
            let value = fs.json(&words![
                "search",
                "/notes",
                metric,
                "--npy",
                &asked,
                "-k",
                k.to_string(),
                "--exact"
            ]);
            assert_eq!(value["metric"], metric);
            assert_eq!(value["k"], k);
            let found = hits(&value);
            assert_eq!(found.len(), queries.len());
            for (found, query) in found.iter().zip(&queries) {
                let expected = nearest(metric, &rows, query, k);
                expect_nearest(found, &expected, |row| ("notes/x".to_owned(), row as u64));
            }
        }
    }
}

/// By the search tree most of the nearest are found, with their exact distances, in order, and never fewer than asked for.
#[test]
fn the_search_tree_finds_nearly_what_brute_force_finds() {
    let fs = Fixture::new(&["x", "y"]);
    let mut numbers = Numbers(5);
    let centres = numbers.rows(60, 16);
    let mut near = |count: usize| -> Vec<Vec<f32>> {
        let noise = numbers.rows(count, 16);
        let centre = |n: usize| centres[n * 7919 % centres.len()].iter();
        let row = |(n, row): (usize, Vec<f32>)| centre(n).zip(row).map(|(c, x)| c + x / 3.0);
        noise
            .into_iter()
            .enumerate()
            .map(|e| row(e).collect())
            .collect()
    };
    let (rows, queries) = (near(9000), near(40));
    let base = fs.npy("base.npy", &rows);
    let asked = fs.npy("queries.npy", &queries);
    fs.index("i", 16, "l2");
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/x"]);
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/y"]);
    // Half of all records are dead now, and those that are left have twins among them.
    fs.change(|image| {
        let tree = image.find_index(b"i").unwrap().tree;
        assert!(tree.partitions > 64 && tree.entries == 18_000, "{tree:?}");
        image.unlink("/y").unwrap();
        assert_eq!(image.find_index(b"i").unwrap().tree.entries, 9000);
        let id = image.find_index(b"i").unwrap().id;
        image.tidy_index(id).unwrap();
    });
    let value = fs.json(&words!["search", "/", "i", "--npy", &asked, "-k", "10"]);
    let mut right = 0;
    for (found, query) in hits(&value).iter().zip(&queries) {
        let expected = nearest("l2", &rows, query, 10);
        assert_eq!(found.len(), 10);
        assert!(found.windows(2).all(|pair| pair[0].2 <= pair[1].2));
        for (path, label, distance) in found {
            assert_eq!(path, "x");
            let row = &rows[usize::try_from(*label).unwrap()];
            let exact = common::distance("l2", row, query);
            assert!((distance - exact).abs() <= 1e-12 * exact.max(1.0));
            right += usize::from(expected.iter().any(|e| e.0 as u64 == *label));
        }
    }
    println!("{right} of 400");
    assert!(right >= 380, "{right} of 400");
}

#[test]
fn rows_go_to_the_paths_and_offsets_of_their_lines() {
    // More files than a batch holds open, met again and again.
    let names: Vec<String> = (0..400).map(|n| format!("d{}/f{n}", n % 7)).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let under: Vec<String> = names.iter().map(|name| format!("docs/{name}")).collect();
    let paths: Vec<&str> = under.iter().map(String::as_str).collect();
    let fs = Fixture::new(&paths);
    let mut numbers = Numbers(3);
    let (rows, queries) = (numbers.rows(3000, 8), numbers.rows(20, 8));
    let place = |row: usize| (row * 7919 % all.len(), row as u64 * 3);
    let lines: String = (0..rows.len())
        .map(|row| {
            let (file, offset) = place(row);
            let line = json!({"path": all[file], "offset": offset, "length": 5, "tag": row});
            format!("{line}\n")
        })
        .collect();
    let lines = fs.write("lines.jsonl", lines);
    let base = fs.npy("base.npy", &rows);
    let asked = fs.npy("queries.npy", &queries);
    fs.index("i", 8, "cosine");
    fs.text(&words![
        "import", "/docs", "i", "--npy", &base, "--jsonl", &lines
    ]);
    let value = fs.json(&words![
        "search", "/", "i", "--npy", &asked, "-k", "50", "--exact"
    ]);
    for (found, query) in hits(&value).iter().zip(&queries) {
        let expected = nearest("cosine", &rows, query, 50);
        expect_nearest(found, &expected, |row| {
            let (file, offset) = place(row);
            (format!("docs/{}", all[file]), offset)
        });
    }
    for hit in value["queries"][0]["hits"].as_array().unwrap() {
        assert_eq!(hit["tag"].as_u64().unwrap() * 3, hit["label"]);
    }
    let inside = Image::open(&fs.img, Mode::ReadOnly).unwrap();
    let first = &value["queries"][0]["hits"][0];
    let inode = inside.resolve(first["path"].as_str().unwrap()).unwrap();
    assert_eq!(first["inode"], inode.ino);
    assert_eq!(first["generation"], inode.generation);
}

#[test]
fn equal_distances_are_ordered_by_inode_and_label() {
    let fs = Fixture::new(&["b", "a", "c"]);
    fs.index("i", 2, "l2");
    let rows = fs.npy("rows.npy", &vec![vec![1.0, 1.0]; 5]);
    for file in ["/c", "/a", "/b"] {
        fs.text(&words!["import", "/", "i", "--npy", &rows, "--file", file]);
    }
    let query = fs.npy("query.npy", &[vec![1.0, 0.0]]);
    let value = fs.json(&words!["search", "/", "i", "--npy", &query, "-k", "8"]);
    let found = hits(&value);
    // Files were made in this order.
    let order = ["b", "b", "b", "b", "b", "a", "a", "a"];
    let labels = [0, 1, 2, 3, 4, 0, 1, 2];
    assert_eq!(found[0].len(), 8);
    for ((path, label, distance), (name, number)) in found[0].iter().zip(order.iter().zip(labels)) {
        assert_eq!((path.as_str(), *label, *distance), (*name, number, 1.0));
    }
}

#[test]
fn hits_follow_renames_and_go_with_their_files() {
    let fs = Fixture::new(&["here/a", "gone", "keep"]);
    fs.index("i", 2, "l2");
    for (file, x) in [("/here/a", 1.0), ("/gone", 0.0), ("/keep", 2.0)] {
        let row = fs.npy("row.npy", &[vec![x, 0.0]]);
        fs.text(&words!["put", file, "i", "--npy", &row]);
    }
    let query = fs.npy("query.npy", &[vec![0.0, 0.0]]);
    let search = words!["search", "/", "i", "--npy", &query, "-k", "10"];
    let paths = || -> Vec<String> {
        let found = hits(&fs.json(&search));
        found[0].iter().map(|(path, _, _)| path.clone()).collect()
    };
    assert_eq!(paths(), ["gone", "here/a", "keep"]);
    fs.change(|image| {
        image
            .rename("/here", "/there", RenameFlags::default())
            .unwrap();
        image.unlink("/gone").unwrap();
    });
    assert_eq!(paths(), ["there/a", "keep"]);
    // A new file in place of a removed one has nothing to do with its records.
    fs.change(|image| {
        image.unlink("/keep").unwrap();
        add_file(image, "keep");
    });
    assert_eq!(paths(), ["there/a"]);
}

#[test]
fn fewer_records_than_asked_for_and_none_at_all() {
    let fs = Fixture::new(&["a"]);
    fs.index("i", 2, "dot");
    let query = fs.npy("query.npy", &[vec![1.0, 0.0], vec![0.0, 1.0]]);
    let search = words!["search", "/", "i", "--npy", &query, "-k", "10000"];
    assert_eq!(hits(&fs.json(&search)), [vec![], vec![]]);
    let rows = fs.npy("rows.npy", &[vec![1.0, 2.0], vec![3.0, -4.0]]);
    fs.text(&words!["import", "/", "i", "--npy", &rows, "--file", "a"]);
    let hit = |label, distance| ("a".to_owned(), label, distance);
    let wanted = [
        vec![hit(1, -3.0), hit(0, -1.0)],
        vec![hit(0, -2.0), hit(1, 4.0)],
    ];
    assert_eq!(hits(&fs.json(&search)), wanted);
    let text = fs.text(&search);
    let wanted = "\
query 0
rank  distance  label  path
   1  -3.00000      1  a
   2  -1.00000      0  a

query 1
rank  distance  label  path
   1  -2.00000      0  a
   2   4.00000      1  a
";
    assert_eq!(text, wanted);
}

#[test]
fn more_queries_than_one_request_takes() {
    let fs = Fixture::new(&["a"]);
    fs.index("i", 2, "l2");
    let mut numbers = Numbers(4);
    let (rows, queries) = (numbers.rows(100, 2), numbers.rows(2500, 2));
    let base = fs.npy("base.npy", &rows);
    let asked = fs.npy("queries.npy", &queries);
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "a"]);
    for k in [3, 9000] {
        let value = fs.json(&words![
            "search",
            "/",
            "i",
            "--npy",
            &asked,
            "-k",
            k.to_string()
        ]);
        let found = hits(&value);
        assert_eq!(found.len(), 2500);
        for number in [0, 25, 1023, 1024, 2047, 2499] {
            let expected = nearest("l2", &rows, &queries[number], k);
            expect_nearest(&found[number], &expected, |row| {
                ("a".to_owned(), row as u64)
            });
        }
    }
}

#[test]
fn stat_adds_indexes_up() {
    let fs = Fixture::new(&["a"]);
    let empty = fs.json(&["stat", "/"]);
    assert_eq!((&empty["indexes"], &empty["bytes"]), (&json!(0), &json!(0)));
    let rows = fs.npy("rows.npy", &Numbers(5).rows(70, 4));
    for index in ["i", "j"] {
        fs.index(index, 4, "l2");
        fs.text(&words!["import", "/", index, "--npy", &rows, "--file", "a"]);
    }
    let stat = fs.json(&["stat", "/"]);
    let list = fs.json(&["index", "list", "/"]);
    assert_eq!(stat["source"], "image");
    assert_eq!(
        (&stat["indexes"], &stat["records"]),
        (&json!(2), &json!(140))
    );
    for sum in ["slots", "segments", "bytes"] {
        let of = |index: usize| list["indexes"][index][sum].as_u64().unwrap();
        assert_eq!(stat[sum], of(0) + of(1), "{sum}");
    }
    assert!(fs.text(&["stat", "/"]).contains("records    140"));
}

#[test]
fn reading_leaves_the_image_as_it_is() {
    let fs = Fixture::new(&["a"]);
    fs.index("i", 2, "l2");
    let row = fs.npy("row.npy", &[vec![1.0, 2.0]]);
    fs.text(&words!["put", "a", "i", "--npy", &row]);
    // Committed, but not written home: the journal must be replayed, in memory.
    let mut image = Image::open(&fs.img, Mode::ReadWrite).unwrap();
    add_file(&mut image, "b");
    image.sync().unwrap();
    drop(image);
    let before = std::fs::read(&fs.img).unwrap();
    let search = words!["search", "/b", "i", "--npy", &row, "-k", "1"];
    assert_eq!(hits(&fs.json(&search))[0][0].0, "a");
    fs.text(&["index", "list", "/b"]);
    fs.text(&["index", "info", "/", "i"]);
    fs.text(&["get", "/a", "i"]);
    fs.text(&["stat", "/b"]);
    assert!(before == std::fs::read(&fs.img).unwrap(), "it was written");
    // What writes replays it for good.
    fs.text(&words!["put", "/b", "i", "--npy", &row]);
    assert_eq!(fs.json(&["index", "info", "/", "i"])["index"]["records"], 2);
}

/// 12,000 real vectors, as documentation's paragraphs have them, against the
/// neighbours that numpy computed.
#[test]
fn real_vectors_and_their_known_neighbours() {
    let Some(folder) = std::env::var_os("VEXFS_TEST_DATA").map(std::path::PathBuf::from) else {
        println!("NOT RUN: VEXFS_TEST_DATA does not name a folder with real vectors");
        return;
    };
    let lines = folder.join("kdoc12k_base.jsonl");
    let places: Vec<(String, u64)> = std::fs::read_to_string(&lines)
        .unwrap()
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = line["path"].as_str().unwrap().to_owned();
            (path, line["offset"].as_u64().unwrap())
        })
        .collect();
    let mut paths: Vec<&str> = places.iter().map(|(path, _)| path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    let fs = Fixture::new(&paths);
    fs.index("docs", 384, "cosine");
    let base = folder.join("kdoc12k_base.npy");
    let done = fs.json(&words![
        "import", "/", "docs", "--npy", &base, "--jsonl", &lines
    ]);
    assert_eq!(done["stored"], places.len());
    let asked = folder.join("kdoc12k_query.npy");
    let value = fs.json(&words![
        "search", "/", "docs", "--npy", &asked, "-k", "10", "--exact"
    ]);
    let found = hits(&value);

    let (rows, queries) = (rows_of(&base), rows_of(&asked));
    let truth = neighbours_of(&folder.join("kdoc12k_truth.npy"));
    let row_of: HashMap<&(String, u64), usize> = (0..)
        .zip(&places)
        .map(|(row, place)| (place, row))
        .collect();
    assert_eq!(row_of.len(), rows.len(), "a place of its own for each row");
    assert_eq!(found.len(), queries.len());
    for (number, (hits, query)) in found.iter().zip(&queries).enumerate() {
        assert_eq!(hits.len(), 10);
        for (rank, (path, label, found)) in hits.iter().enumerate() {
            let what = format!("query {number}, rank {rank}: {path}, {label}");
            let row = row_of[&(path.clone(), *label)];
            let wanted = distance("cosine", &rows[row], query);
            // Relative down to 1e-10, where rounding is all there is: some queries are
            // rows of the base (docs/decisions/010-distance-definition.md).
            assert!(
                (found - wanted).abs() <= 1e-5 * wanted.max(1e-10),
                "{what}: {found:e} {wanted:e}"
            );
            // The known neighbours are those of binary32 sums, which cannot tell all
            // rows apart.
            let known = truth[number][rank] as usize;
            let theirs = distance("cosine", &rows[known], query);
            assert!(row == known || (wanted - theirs).abs() <= 1e-6, "{what}");
        }
    }
    // All in binary64, which takes its time, for some of them.
    for (hits, query) in found.iter().zip(&queries).take(25) {
        let expected = nearest("cosine", &rows, query, 10);
        expect_nearest(hits, &expected, |row| places[row].clone());
    }
    println!("{} vectors, {} queries", rows.len(), queries.len());
}

fn rows_of(path: &Path) -> Vec<Vec<f32>> {
    let mut vectors = Vectors::open(path).unwrap();
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    while vectors.next_row(&mut row).unwrap() {
        let elements = row.chunks_exact(4);
        rows.push(
            elements
                .map(|e| f32::from_le_bytes(e.try_into().unwrap()))
                .collect(),
        );
        row.clear();
    }
    rows
}

/// The rows of an array of 100 little-endian int32 each.
fn neighbours_of(path: &Path) -> Vec<Vec<i32>> {
    let file = std::fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let text = String::from_utf8_lossy(&file[10..header]);
    assert!(text.contains("'<i4'") && text.contains(", 100)"), "{text}");
    let numbers: Vec<i32> = file[header..]
        .chunks_exact(4)
        .map(|e| i32::from_le_bytes(e.try_into().unwrap()))
        .collect();
    numbers.chunks_exact(100).map(<[i32]>::to_vec).collect()
}

#[test]
fn bench_measures_an_index_against_its_own_exact_answers() {
    let fs = Fixture::new(&["x"]);
    let mut numbers = Numbers(31);
    let base = fs.npy("base.npy", &numbers.rows(4000, 8));
    let asked = fs.npy("queries.npy", &numbers.rows(30, 8));
    fs.index("i", 8, "l2");
    fs.text(&words!["import", "/", "i", "--npy", &base, "--file", "/x"]);
    let bench = words![
        "bench",
        "/",
        "i",
        "--npy",
        &asked,
        "--seconds",
        "0",
        "--probes",
        "1"
    ];
    let value = fs.json(&bench);
    assert_eq!(value["queries"], 30);
    assert_eq!(value["records"], 4000);
    let efforts = value["efforts"].as_array().unwrap();
    let recalls: Vec<f64> = efforts
        .iter()
        .map(|e| e["recall"].as_f64().unwrap())
        .collect();
    assert_eq!(efforts.len(), 7);
    assert_eq!(efforts[0]["effort"], "exact");
    assert_eq!(recalls[0], 1.0);
    assert!(recalls[5] > recalls[6], "{recalls:?}");
    assert!(recalls[5] >= 0.95, "{recalls:?}");
    assert!(efforts.iter().all(|e| e["rate"].as_f64().unwrap() > 0.0));
    let text = fs.text(&bench);
    assert!(
        text.starts_with("4000 records, 30 queries, the 10 nearest of each\n"),
        "{text}"
    );
    println!("{text}");
}
