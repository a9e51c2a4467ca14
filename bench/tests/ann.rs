// SPDX-License-Identifier: GPL-2.0-only
//! bench/ann without peers: the tests of its arithmetic, and its protocol spoken with the driver, whose answers must be the true ones.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{json, Value};

const DIM: usize = 5;

#[test]
fn the_harness_s_own_arithmetic_and_formats() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ann");
    let done = Command::new("python3")
        .args([
            "-B", "-m", "unittest", "discover", "-v", "-s", ".", "-t", ".",
        ])
        .current_dir(folder)
        .output()
        .expect("python3 cannot be started");
    let text = String::from_utf8_lossy(&done.stderr);
    println!("{text}");
    assert!(done.status.success(), "{text}");
    assert!(!text.contains("Ran 0 tests"), "{text}");
}

#[test]
fn the_driver_builds_finds_inserts_and_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let base: Vec<[f32; DIM]> = (0..300).map(vector).collect();
    let queries: Vec<[f32; DIM]> = (1000..1007).map(vector).collect();
    let (base_file, query_file) = (
        folder.path().join("base.npy"),
        folder.path().join("query.npy"),
    );
    write_npy(&base_file, &base);
    write_npy(&query_file, &queries);
    let store = folder.path().join("store");
    std::fs::create_dir(&store).unwrap();

    let mut driver = Driver::start();
    let described = driver.ask(json!({ "do": "describe", "rows": 300 }));
    assert_eq!(described["can"], json!(["insert", "delete", "sync"]));
    let knobs = described["knobs"][0].clone();
    let built = driver.ask(json!({ "do": "build", "base": base_file, "store": store }));
    assert!(built["disk_bytes"].as_u64().unwrap() >= 300 * DIM as u64 * 4);

    driver.ask(json!({ "do": "load", "queries": query_file }));
    let open = json!({ "do": "open", "store": store, "mapped": false, "spare": 7, "k": 10, "knobs": knobs });
    driver.ask(open.clone());
    let answers = folder.path().join("answers.npy");
    let calibrate =
        json!({ "do": "calibrate", "k": 10, "knobs": knobs, "seconds": 60.0, "output": answers });
    assert_eq!(driver.ask(calibrate.clone())["queries"], 7);
    assert_eq!(read_answers(&answers), nearest(&base, &queries, 10));
    let searched = driver.ask(json!({
        "do": "search", "k": 10, "knobs": knobs, "queries": 7, "batch": 3, "seconds": 0.01, "warm_seconds": 0.0,
    }));
    assert!(searched["queries"].as_u64().unwrap() > 0 && searched["wall"].as_f64().unwrap() > 0.0);
    assert!(
        driver.ask(json!({ "do": "memory" }))["resident"]
            .as_u64()
            .unwrap()
            > 0
    );

    // The queries become rows of their own, and are then the nearest; what is deleted is not found any more.
    let rows: Vec<u64> = (300..307).collect();
    let change = |insert: Option<&Path>, rows: &[u64], batch: u64, durable: bool| json!({ "do": "change", "insert": insert, "rows": rows, "durable": durable, "batch": batch, "seconds": 60.0 });
    let inserted = driver.ask(change(Some(&query_file), &rows, 2, true));
    assert_eq!(inserted["rows"], 7);
    driver.ask(calibrate.clone());
    let with = [base.clone(), queries.clone()].concat();
    assert_eq!(read_answers(&answers), nearest(&with, &queries, 10));
    driver.ask(change(None, &rows, 1, true));
    driver.end();

    // All of that was durable, though the driver has not closed the image.
    let mut driver = Driver::start();
    driver.ask(json!({ "do": "load", "queries": query_file }));
    driver.ask(open);
    driver.ask(calibrate);
    assert_eq!(read_answers(&answers), nearest(&base, &queries, 10));
    driver.end();
}

#[test]
fn what_the_driver_cannot_do_it_says() {
    let mut driver = Driver::start();
    for (request, part) in [
        (json!({ "do": "dance" }), "dance"),
        (
            json!({ "do": "load", "queries": "/nowhere.npy" }),
            "nowhere",
        ),
        (
            json!({ "do": "open", "store": "/nowhere", "spare": 0, "k": 10, "knobs": {} }),
            "nowhere",
        ),
        (
            json!({ "do": "change", "insert": null, "rows": [1], "durable": false, "batch": 1, "seconds": 1.0 }),
            "no index",
        ),
    ] {
        let answer = driver.answer(&request);
        let why = answer["error"].as_str().unwrap_or_default();
        assert!(why.contains(part), "{request}: {answer}");
    }
    driver.end();
}

/// Elements that look random.
fn vector(number: u64) -> [f32; DIM] {
    std::array::from_fn(|element| {
        let mixed = (number * DIM as u64 + element as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32
            / (1 << 24) as f32
    })
}

/// The truth, by the definition.
fn nearest(base: &[[f32; DIM]], queries: &[[f32; DIM]], k: usize) -> Vec<Vec<i64>> {
    let distance = |a: &[f32; DIM], b: &[f32; DIM]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum()
    };
    queries
        .iter()
        .map(|query| {
            let mut rows: Vec<usize> = (0..base.len()).collect();
            rows.sort_by(|a, b| distance(&base[*a], query).total_cmp(&distance(&base[*b], query)));
            rows.into_iter().take(k).map(|row| row as i64).collect()
        })
        .collect()
}

fn write_npy(path: &Path, rows: &[[f32; DIM]]) {
    let header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {DIM}), }}\n",
        rows.len()
    );
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(
        rows.iter()
            .flatten()
            .flat_map(|element| element.to_le_bytes()),
    );
    std::fs::write(path, file).unwrap();
}

fn read_answers(path: &Path) -> Vec<Vec<i64>> {
    let file = std::fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let numbers: Vec<i64> = file[start..]
        .chunks_exact(8)
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    numbers.chunks_exact(10).map(<[i64]>::to_vec).collect()
}

/// A driver of exact search over images.
struct Driver {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    fn start() -> Driver {
        let mut child = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_bench")))
            .args(["ann-driver", "--kind", "exact"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Driver {
            child,
            requests,
            answers,
        }
    }

    fn answer(&mut self, request: &Value) -> Value {
        writeln!(self.requests, "{request}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{request}: {why}: {line:?}"))
    }

    fn ask(&mut self, request: Value) -> Value {
        let answer = self.answer(&request);
        assert_eq!(answer.get("error"), None, "{request}");
        answer
    }

    /// Ends it by ending its input.
    fn end(self) {
        let Driver {
            mut child,
            requests,
            ..
        } = self;
        drop(requests);
        assert!(child.wait().unwrap().success());
    }
}
