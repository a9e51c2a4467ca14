// SPDX-License-Identifier: GPL-2.0-only
//! Every format of vectors means the same to every command, from a file and from
//! standard input.

mod common;

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Fixture, Numbers};
use serde_json::Value;

const DIM: usize = 6;

/// Whole numbers from 0 to 127, which every format and element type can hold.
fn rows(count: usize) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(77);
    (0..count)
        .map(|_| (0..DIM).map(|_| (numbers.next() % 128) as f32).collect())
        .collect()
}

fn bvecs(rows: &[Vec<f32>]) -> Vec<u8> {
    rows.iter()
        .flat_map(|row| {
            let elements = row.iter().map(|v| *v as u8);
            (row.len() as i32).to_le_bytes().into_iter().chain(elements)
        })
        .collect()
}

fn lines(rows: &[Vec<f32>]) -> String {
    let line = |row: &Vec<f32>| serde_json::to_string(row).unwrap() + "\n";
    rows.iter().map(line).collect()
}

/// Files with the same rows.
fn files(fs: &Fixture, name: &str, rows: &[Vec<f32>]) -> Vec<std::path::PathBuf> {
    let table = serde_json::to_string(rows).unwrap();
    vec![
        fs.npy(&format!("{name}.npy"), rows),
        fs.fvecs(&format!("{name}.fvecs"), rows),
        fs.write(&format!("{name}.bvecs"), bvecs(rows)),
        fs.write(&format!("{name}.json"), &table),
        fs.write(&format!("{name}.jsonl"), lines(rows)),
        fs.write(name, table),
    ]
}

/// Runs vexctl with something on its standard input.
fn with_input(fs: &Fixture, words: &[&str], input: Stdio, bytes: Option<&[u8]>) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
    command.arg("--img").arg(&fs.img).arg("--json").args(words);
    let mut child = command.stdin(input).stdout(Stdio::piped()).spawn().unwrap();
    if let Some(bytes) = bytes {
        child.stdin.take().unwrap().write_all(bytes).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn imports_and_searches_of_every_format_agree() {
    let fs = Fixture::new(&["a"]);
    let (base, queries) = (rows(300), rows(7));
    let mut first = None;
    for (n, file) in files(&fs, "base", &base).iter().enumerate() {
        let name = format!("i{n}");
        fs.index(&name, DIM, "l2");
        let stored = fs.json(&words!["import", "/", &name, "--npy", file, "--file", "/a"]);
        assert_eq!(stored["stored"], 300, "{}", file.display());
        for file in files(&fs, "queries", &queries) {
            let words = words!["search", "/", &name, "--npy", &file, "-k", "5"];
            let found = fs.json(&words)["queries"].clone();
            assert_eq!(found.as_array().unwrap().len(), 7);
            assert_eq!(*first.get_or_insert(found.clone()), found, "{words:?}");
        }
    }
    // The option has a name for each use, too.
    let file = fs.npy("queries.npy", &queries);
    let words = words!["search", "/", "i0", "--queries", &file, "-k", "5"];
    assert_eq!(Some(fs.json(&words)["queries"].clone()), first);
    let words = words!["bench", "/", "i0", "--queries", &file, "--seconds", "0"];
    assert_eq!(fs.json(&words)["queries"], 7);
    let words = words!["import", "/", "i0", "--vectors", &file, "--file", "/a"];
    assert_eq!(fs.json(&words)["stored"], 7);
    let one = fs.write("one.json", "[1, 2, 3, 4, 5, 6]");
    fs.text(&words![
        "put",
        "/a",
        "i0",
        "--vectors",
        &one,
        "--label",
        "9"
    ]);
    let record = fs.json(&["get", "/a", "i0", "--label", "9"]);
    assert_eq!(
        record["elements"],
        serde_json::json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    );
}

#[test]
fn standard_input_is_json_or_numpy() {
    let fs = Fixture::new(&["a"]);
    fs.index("i", DIM, "l2");
    let (base, queries) = (rows(50), rows(3));
    let import = ["import", "/", "i", "--npy", "-", "--file", "/a"];
    let stored = with_input(&fs, &import, Stdio::piped(), Some(lines(&base).as_bytes()));
    assert_eq!(stored["stored"], 50);
    let search = ["search", "/", "i", "--npy", "-", "-k", "4"];
    let file = fs.npy("queries.npy", &queries);
    let expected = fs.json(&words!["search", "/", "i", "--npy", &file, "-k", "4"]);
    let text = serde_json::to_string(&queries).unwrap();
    let found = with_input(&fs, &search, Stdio::piped(), Some(text.as_bytes()));
    assert_eq!(found, expected);
    // Also when it is a file, of which something was read before.
    let open = |path: &Path| File::open(path).unwrap();
    assert_eq!(with_input(&fs, &search, open(&file).into(), None), expected);
    let path = fs.write("later.json", format!("\n\n\n{text}"));
    let mut later = open(&path);
    std::io::Read::read_exact(&mut later, &mut [0; 2]).unwrap();
    assert_eq!(with_input(&fs, &search, later.into(), None), expected);
}

#[test]
fn bytes_become_bits_and_whole_numbers() {
    let fs = Fixture::new(&["a"]);
    for (name, dim, element, metric) in [
        ("bits", "48", "binary", "hamming"),
        ("whole", "6", "i8", "l2"),
    ] {
        fs.text(&[
            "index",
            "create",
            "/",
            name,
            "--dim",
            dim,
            "--element",
            element,
            "--metric",
            metric,
        ]);
    }
    let base = fs.write("base.bvecs", bvecs(&rows(20)));
    for name in ["bits", "whole"] {
        let words = words!["import", "/", name, "--npy", &base, "--file", "/a"];
        assert_eq!(fs.json(&words)["stored"], 20);
        let words = words!["search", "/", name, "--npy", &base, "-k", "1"];
        for (row, answer) in (0u64..).zip(fs.json(&words)["queries"].as_array().unwrap()) {
            assert_eq!(answer["hits"][0]["label"], row);
            assert_eq!(answer["hits"][0]["distance"], 0.0);
        }
    }
    let high = fs.write("high.bvecs", [6, 0, 0, 0, 1, 2, 3, 4, 5, 200]);
    let error = fs.refused(1, &words!["put", "/a", "whole", "--npy", &high]);
    assert!(
        error.contains("high.bvecs: row 0: element 5 is 200, not a whole number from -128 to 127"),
        "{error}"
    );
    let wide = fs.write("wide.json", "[0, 1, 2]");
    let error = fs.refused(1, &words!["put", "/a", "whole", "--npy", &wide]);
    assert!(error.contains("vectors of 3 elements"), "{error}");
}
