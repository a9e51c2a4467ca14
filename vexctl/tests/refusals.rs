// SPDX-License-Identifier: GPL-2.0-only
//! What vexctl says of what cannot be done, its exit status, and that nothing is
//! changed by it.

mod common;

use std::process::Command;

use common::{npy, Fixture, Numbers};

/// An index of each kind and a record.
fn fixture() -> Fixture {
    let fs = Fixture::new(&["a", "d/b"]);
    fs.index("i", 3, "cosine");
    let row = fs.npy("row.npy", &[vec![1.0, 2.0, 3.0]]);
    fs.text(&words!["put", "/a", "i", "--npy", &row]);
    fs
}

fn records(fs: &Fixture) -> u64 {
    fs.json(&["index", "info", "/", "i"])["index"]["records"]
        .as_u64()
        .unwrap()
}

#[test]
fn wrong_usage_has_status_2() {
    let fs = fixture();
    let row = fs.npy("row.npy", &[vec![1.0, 2.0, 3.0]]);
    let row = row.to_str().unwrap();
    let long = "x".repeat(64);
    for (words, said) in [
        (vec![], "Usage"),
        (vec!["nonsense"], "nonsense"),
        (vec!["index"], "Usage"),
        (vec!["index", "list"], "<PATH>"),
        (vec!["index", "info", "/"], "<NAME>"),
        (vec!["index", "verify", "/"], "<NAME>"),
        (vec!["index", "build", "/"], "<NAME>"),
        (vec!["index", "rebuild", "/"], "<NAME>"),
        (vec!["index", "create", "/", "n", "--metric", "l2"], "--dim"),
        (vec!["index", "create", "/", "n", "--dim", "3"], "--metric"),
        (
            vec!["index", "create", "/", "n", "--dim", "0", "--metric", "l2"],
            "1..=4096",
        ),
        (
            vec![
                "index", "create", "/", "n", "--dim", "4097", "--metric", "l2",
            ],
            "1..=4096",
        ),
        (
            vec![
                "index", "create", "/", "n", "--dim", "3", "--metric", "nonsense",
            ],
            "cosine",
        ),
        (
            vec![
                "index", "create", "/", "a/b", "--dim", "3", "--metric", "l2",
            ],
            "index name",
        ),
        (
            vec![
                "index", "create", "/", &long, "--dim", "3", "--metric", "l2",
            ],
            "index name",
        ),
        (
            vec![
                "index", "create", "/", "n", "--dim", "3", "--metric", "l2", "--mode", "1777",
            ],
            "octal",
        ),
        (
            vec![
                "index", "create", "/", "n", "--dim", "3", "--metric", "l2", "--mode", "8",
            ],
            "octal",
        ),
        (vec!["put", "/a", "i"], "--npy"),
        (vec!["put", "/a", "i", "--npy", row, "--label", "-1"], "-1"),
        (vec!["get", "/a", "i", "--label", "x"], "invalid digit"),
        (vec!["del", "/a", "i", "--all", "--label", "1"], "--label"),
        (vec!["search", "/", "i", "--npy", row], "-k"),
        (
            vec!["search", "/", "i", "--npy", row, "-k", "0"],
            "1..=10000",
        ),
        (
            vec!["search", "/", "i", "--npy", row, "-k", "10001"],
            "1..=10000",
        ),
        (vec!["import", "/", "i", "--npy", row], "--file"),
        (
            vec![
                "import", "/", "i", "--npy", row, "--file", "/a", "--jsonl", "l",
            ],
            "--jsonl",
        ),
        (vec!["completions", "nonsense"], "nonsense"),
    ] {
        let error = fs.refused(2, &words);
        assert!(error.contains(said), "{words:?}: {error}");
    }
    assert_eq!(records(&fs), 1);
    assert_eq!(
        fs.json(&["index", "list", "/"])["indexes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn what_is_not_there_is_named() {
    let fs = fixture();
    let row = fs.npy("row.npy", &[vec![1.0, 2.0, 3.0]]);
    for (words, said) in [
        (
            words!["index", "info", "/", "no"].to_vec(),
            "index no: no such index",
        ),
        (
            words!["index", "drop", "/", "no"].to_vec(),
            "index no: no such index",
        ),
        (
            words!["index", "verify", "/", "no"].to_vec(),
            "index no: no such index",
        ),
        (
            words!["index", "build", "/", "no"].to_vec(),
            "index no: no such index",
        ),
        (
            words!["index", "rebuild", "/", "no"].to_vec(),
            "index no: no such index",
        ),
        (
            words!["index", "create", "/", "i", "--dim", "3", "--metric", "l2"].to_vec(),
            "index i: an index of that name exists already",
        ),
        (
            words!["index", "list", "/nowhere"].to_vec(),
            "/nowhere: not found",
        ),
        (
            words!["put", "/a", "no", "--npy", &row].to_vec(),
            "index no: no such index",
        ),
        (
            words!["put", "/no", "i", "--npy", &row].to_vec(),
            "/no: not found",
        ),
        (
            words!["put", "/a/b", "i", "--npy", &row].to_vec(),
            "/a/b: not a directory",
        ),
        (
            words!["put", "/d", "i", "--npy", &row].to_vec(),
            "/d: is a directory; only regular files have records",
        ),
        (
            words!["get", "/d/b", "i", "--label", "5"].to_vec(),
            "/d/b: no record with label 5 in index i",
        ),
        (
            words!["del", "/d/b", "i"].to_vec(),
            "/d/b: no record with label 0 in index i",
        ),
        (
            words!["search", "/", "no", "--npy", &row, "-k", "1"].to_vec(),
            "index no: no such index",
        ),
        (
            words!["import", "/", "i", "--npy", &row, "--file", "/no"].to_vec(),
            "/no: not found",
        ),
    ] {
        let error = fs.refused(1, &words);
        assert_eq!(error, format!("vexctl: {said}\n"), "{words:?}");
    }
    assert_eq!(records(&fs), 1);
}

#[test]
fn vectors_that_do_not_fit_are_named_with_file_and_row() {
    let fs = fixture();
    let files = [
        (
            "four.npy",
            npy(&[vec![1.0; 4]]),
            "vectors of 4 elements, but those of index i have 3",
        ),
        (
            "nan.npy",
            npy(&[vec![1.0, f32::NAN, 3.0]]),
            "element 1 is infinite, not a number",
        ),
        (
            "inf.npy",
            npy(&[vec![1.0, 2.0, f32::INFINITY]]),
            "element 2 is infinite",
        ),
        (
            "zero.npy",
            npy(&[vec![0.0, -0.0, 0.0]]),
            "row 0: all elements are zero",
        ),
        (
            "text.npy",
            b"this is no array".to_vec(),
            "not a numpy array",
        ),
        ("empty.npy", Vec::new(), "not a numpy array"),
        (
            "short.npy",
            npy(&[vec![1.0; 3]])[..130].to_vec(),
            "announces",
        ),
        (
            "four.bvecs",
            vec![4, 0, 0, 0, 1, 2, 3, 4],
            "vectors of 4 elements, but those of index i have 3",
        ),
        (
            "short.bvecs",
            vec![3, 0, 0, 0, 1, 2, 3, 3, 0],
            "row 1 (at byte 7): the file ends within the row",
        ),
        ("truth.ivecs", vec![1, 0, 0, 0, 9, 0, 0, 0], "no vectors"),
        ("empty.json", Vec::new(), "the file has no rows"),
        (
            "two.json",
            b"[[1, 2]]".to_vec(),
            "vectors of 2 elements, but those of index i have 3",
        ),
        (
            "nan.json",
            b"[1, 2, 3]\n[1, NaN, 3]".to_vec(),
            "row 1 (at byte 10): element 1 is infinite, not a number",
        ),
        (
            "ragged.jsonl",
            b"[1, 2, 3]\n[1, 2]\n".to_vec(),
            "row 1 (at byte 10): 2 elements, but the rows before have 3",
        ),
        (
            "cut.json",
            b"[[1, 2, 3], [1, 2".to_vec(),
            "row 1 (at byte 12): the file ends within the row",
        ),
        (
            "object.json",
            b"{\"vector\": [1, 2, 3]}".to_vec(),
            "line 1 (at byte 0): not JSON arrays of numbers: '[' expected",
        ),
        (
            "text",
            b"1 2 3".to_vec(),
            "neither a numpy array (.npy) nor JSON arrays",
        ),
    ];
    for (name, bytes, said) in files {
        let file = fs.write(name, bytes);
        for words in [
            words!["put", "/a", "i", "--npy", &file].to_vec(),
            words!["import", "/", "i", "--npy", &file, "--file", "/a"].to_vec(),
            words!["search", "/", "i", "--npy", &file, "-k", "1"].to_vec(),
        ] {
            let error = fs.refused(1, &words);
            assert!(error.starts_with("vexctl: "), "{error}");
            assert!(
                error.contains(name) && error.contains(said),
                "{words:?}: {error}"
            );
        }
    }
    let missing = fs.img.with_file_name("missing.npy");
    let error = fs.refused(1, &words!["put", "/a", "i", "--npy", &missing]);
    assert!(error.contains("missing.npy: No such file"), "{error}");
    let several = fs.npy("several.npy", &Numbers(1).rows(2, 3));
    let error = fs.refused(1, &words!["put", "/a", "i", "--npy", &several]);
    assert!(error.contains("several rows"), "{error}");
    // A later query is named by its row.
    let late = fs.npy("late.npy", &[vec![1.0; 3], vec![2.0; 3], vec![0.0; 3]]);
    let error = fs.refused(1, &words!["search", "/", "i", "--npy", &late, "-k", "1"]);
    assert!(error.contains("late.npy: row 2: "), "{error}");
    assert_eq!(records(&fs), 1);
}

#[test]
fn lines_are_checked_before_anything_is_stored() {
    let fs = fixture();
    // More than a batch: were it not for the check, the first would be stored.
    let base = fs.npy("base.npy", &Numbers(2).rows(17_000, 3));
    let line = "{\"path\": \"a\", \"offset\": 1}\n";
    for (lines, said) in [
        (line.repeat(16_999), "16999 lines, but".to_owned()),
        (line.repeat(17_001), "17001 lines, but".to_owned()),
        (
            line.repeat(16_999) + "{\"path\": \"a\"}\n",
            "line 17000 ".to_owned(),
        ),
        (
            line.repeat(16_998) + "{\"path\": \"../x\", \"offset\": 1}\n" + line,
            "line 16999 ".to_owned(),
        ),
        (line.repeat(16_998) + "\n" + line, "line 16999 ".to_owned()),
    ] {
        let file = fs.write("lines.jsonl", lines);
        let error = fs.refused(
            1,
            &words!["import", "/", "i", "--npy", &base, "--jsonl", &file],
        );
        assert!(error.contains(&said), "{error}");
        assert_eq!(records(&fs), 1);
    }
}

#[test]
fn an_import_that_fails_says_how_much_was_stored() {
    let fs = fixture();
    let mut rows = Numbers(3).rows(16_400, 3);
    rows[16_399] = vec![0.0; 3];
    let base = fs.npy("base.npy", &rows);
    let error = fs.refused(
        1,
        &words!["import", "/", "i", "--npy", &base, "--file", "/d/b"],
    );
    assert!(error.contains("only 16384 records"), "{error}");
    assert!(
        error.contains("base.npy: row 16399: all elements are zero"),
        "{error}"
    );
    assert_eq!(records(&fs), 1 + 16_384);
    // And the image is as good as before.
    rows[16_399] = vec![1.0; 3];
    let base = fs.npy("base.npy", &rows);
    fs.text(&words![
        "import", "/", "i", "--npy", &base, "--file", "/d/b"
    ]);
    assert_eq!(records(&fs), 1 + 16_400);
}

#[test]
fn a_full_filesystem_is_said_to_be_full() {
    let fs = fixture();
    fs.index("wide", 4096, "dot");
    let base = fs.npy("base.npy", &Numbers(4).rows(4500, 4096));
    let words = words!["import", "/", "wide", "--npy", &base, "--file", "/a"];
    let error = fs.refused(1, &words);
    assert!(error.contains("no space left"), "{error}");
    // What was stored can be read and dropped.
    assert!(fs.json(&["index", "info", "/", "wide"])["index"]["records"].as_u64() > Some(0));
    fs.text(&["get", "/a", "wide"]);
    fs.text(&["index", "drop", "/", "wide"]);
    assert_eq!(records(&fs), 1);
}

#[test]
fn images_that_are_none() {
    let fs = fixture();
    let vexctl = |img: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
        command.arg("--img").arg(img).args(["index", "list", "/"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let zeros = fs.write("zeros.img", vec![0; 1 << 20]);
    let error = vexctl(&zeros);
    assert!(error.contains("zeros.img: super block"), "{error}");
    let error = vexctl(&fs.write("empty.img", []));
    assert!(error.contains("empty.img"), "{error}");
    let error = vexctl(&fs.img.with_file_name("missing.img"));
    assert!(error.contains("missing.img: No such file"), "{error}");
    let error = vexctl(fs.img.parent().unwrap());
    assert!(
        error.contains("neither a regular file nor a block device"),
        "{error}"
    );
}

#[test]
fn an_image_in_use_is_left_alone() {
    let fs = fixture();
    fs.change(|_| {
        let error = fs.refused(1, &["index", "list", "/"]);
        assert!(error.contains("in use"), "{error}");
    });
}

#[test]
fn paths_on_other_filesystems() {
    let row = tempfile::NamedTempFile::with_suffix(".npy").unwrap();
    std::fs::write(row.path(), npy(&[vec![1.0]])).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let (row, file) = (row.path(), file.path());
    for words in [
        words!["index", "list", "/proc"].to_vec(),
        words!["index", "create", "/proc", "n", "--dim", "3", "--metric", "l2"].to_vec(),
        words!["put", file, "i", "--npy", row].to_vec(),
        words!["get", file, "i"].to_vec(),
        words!["del", file, "i"].to_vec(),
        words!["import", "/proc", "i", "--npy", row, "--file", file].to_vec(),
        words!["search", "/proc", "i", "--npy", row, "-k", "1"].to_vec(),
        words!["index", "verify", "/proc", "i"].to_vec(),
        words!["index", "build", "/proc", "i"].to_vec(),
        words!["index", "rebuild", "/proc", "i"].to_vec(),
        words!["stat", "/proc"].to_vec(),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
        let output = command.args(&words).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(error.contains("not on a VexFS filesystem"), "{error}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
    let output = command.args(["stat", "/no/such/path"]).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "vexctl: /no/such/path: No such file or directory\n"
    );
}
