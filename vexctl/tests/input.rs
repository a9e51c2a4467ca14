// SPDX-License-Identifier: GPL-2.0-only
//! The readers of vector files: what they read, and what they say of files that
//! they cannot read. Arrays are written here byte by byte, as numpy writes them.

use std::io::{BufRead, Cursor, Write};
use std::path::Path;

use proptest::prelude::*;
use vexctl::input::fvecs::{Element, Fvecs};
use vexctl::input::json::Json;
use vexctl::input::npy::Npy;
use vexctl::input::{InputError, Location, Locations, Place, Problem, Vectors};

fn npy(version: u8, descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let fixed = if version == 1 { 10 } else { 12 };
    // numpy pads so that the elements begin at a multiple of 64.
    while (fixed + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY".to_vec();
    file.extend([version, 0]);
    if version == 1 {
        file.extend((header.len() as u16).to_le_bytes());
    } else {
        file.extend((header.len() as u32).to_le_bytes());
    }
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn f64s(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn fvecs(rows: &[&[f32]]) -> Vec<u8> {
    rows.iter()
        .flat_map(|row| [(row.len() as i32).to_le_bytes().to_vec(), f32s(row)].concat())
        .collect()
}

/// Dimension and all rows of a reader, which must agree with what it announced.
fn all<R: BufRead>(mut vectors: Vectors<R>) -> Result<(u32, Vec<u8>), InputError> {
    let announced = vectors.rows();
    let (mut out, mut rows) = (Vec::new(), 0);
    while vectors.next_row(&mut out)? {
        rows += 1;
        assert_eq!(out.len(), rows * vectors.dim() as usize * 4);
    }
    assert!(!vectors.next_row(&mut out)?, "the end is the end");
    if let Some(announced) = announced {
        assert_eq!(rows as u64, announced);
    }
    Ok((vectors.dim(), out))
}

/// With the length known, as of a file.
fn read_npy(file: &[u8]) -> Result<(u32, Vec<u8>), InputError> {
    Npy::new(
        Cursor::new(file),
        Path::new("v.npy"),
        Some(file.len() as u64),
    )
    .map(Vectors::Npy)
    .and_then(all)
}

/// Without, as of a pipe.
fn pipe_npy(file: &[u8]) -> Result<(u32, Vec<u8>), InputError> {
    Npy::new(Cursor::new(file), Path::new("v.npy"), None)
        .map(Vectors::Npy)
        .and_then(all)
}

fn read_fvecs(file: &[u8]) -> Result<(u32, Vec<u8>), InputError> {
    Fvecs::new(
        Cursor::new(file),
        Element::F32,
        Path::new("v.fvecs"),
        Some(file.len() as u64),
    )
    .map(Vectors::Fvecs)
    .and_then(all)
}

fn pipe_fvecs(file: &[u8]) -> Result<(u32, Vec<u8>), InputError> {
    Fvecs::new(Cursor::new(file), Element::F32, Path::new("v.fvecs"), None)
        .map(Vectors::Fvecs)
        .and_then(all)
}

fn read_bvecs(file: &[u8]) -> Result<(u32, Vec<u8>), InputError> {
    let bytes = Some(file.len() as u64);
    Fvecs::new(Cursor::new(file), Element::U8, Path::new("v.bvecs"), bytes)
        .map(Vectors::Fvecs)
        .and_then(all)
}

fn read_json(text: impl AsRef<[u8]>) -> Result<(u32, Vec<u8>), InputError> {
    Json::new(Cursor::new(text), Path::new("v.json"))
        .map(Vectors::Json)
        .and_then(all)
}

fn lines(text: &str) -> Result<Vec<Location>, InputError> {
    Locations::new(Cursor::new(text), Path::new("l.jsonl")).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, InputError>, message: &str) {
    assert_eq!(result.expect_err(message).to_string(), message);
}

#[test]
fn npy_of_every_version_type_and_shape() {
    let values = [1.0, -2.5, 0.0, 1e-40, 3.25e38, 0.1];
    let singles = values.map(|v| v as f32);
    for version in [1, 2, 3] {
        for read in [read_npy, pipe_npy] {
            for (shape, dim) in [("(2, 3)", 3), ("(3, 2)", 2), ("(6,)", 6), ("(1, 6)", 6)] {
                let file = npy(version, "<f4", "False", shape, &f32s(&singles));
                assert_eq!(read(&file).unwrap(), (dim, f32s(&singles)));
                let file = npy(version, "<f8", "False", shape, &f64s(&values));
                assert_eq!(read(&file).unwrap(), (dim, f32s(&singles)), "rounded");
            }
            let bytes = [0u8, 1, 127, 128, 200, 255];
            let as_signed = bytes.map(|b| f32::from(b as i8));
            let file = npy(version, "|i1", "False", "(2, 3)", &bytes);
            assert_eq!(read(&file).unwrap(), (3, f32s(&as_signed)));
            let file = npy(version, "|u1", "False", "(2, 3)", &bytes);
            assert_eq!(read(&file).unwrap(), (3, f32s(&bytes.map(f32::from))));
            let file = npy(version, "|b1", "False", "(2, 3)", &bytes);
            let truth = [0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
            assert_eq!(read(&file).unwrap(), (3, f32s(&truth)));
            let halves = [0x3c00u16, 0xc000, 0x0001, 0x7bff]
                .map(u16::to_le_bytes)
                .concat();
            let file = npy(version, "<f2", "False", "(2, 2)", &halves);
            let values = [1.0, -2.0, 2f32.powi(-24), 65504.0];
            assert_eq!(read(&file).unwrap(), (2, f32s(&values)));
            // One row is in both orders at once.
            let file = npy(version, "<f4", "True", "(6,)", &f32s(&singles));
            assert_eq!(read(&file).unwrap().0, 6);
        }
    }
}

#[test]
fn npy_that_is_refused() {
    let data = f32s(&[1.0, 2.0, 3.0, 4.0]);
    refused(read_npy(b""), "v.npy: not a numpy array (.npy)");
    refused(
        read_npy(b"\x93NUMPX\x01\x00"),
        "v.npy: not a numpy array (.npy)",
    );
    refused(
        read_npy(&npy(4, "<f4", "False", "(2, 2)", &data)),
        "v.npy: version 4.0 of the .npy format is not known",
    );
    refused(
        read_npy(&npy(1, ">f4", "False", "(2, 2)", &data)),
        "v.npy: elements of type '>f4'; little-endian floats ('<f2', '<f4', '<f8'), bytes ('|i1', '|u1') and booleans ('|b1') can be read",
    );
    for descr in ["<i4", "<u2", "|S1", "<c8", "<f16"] {
        assert!(matches!(
            read_npy(&npy(1, descr, "False", "(2, 2)", &data)).unwrap_err().problem,
            Problem::ElementType(found) if found == descr
        ));
    }
    refused(
        read_npy(&npy(1, "<f4", "True", "(2, 2)", &data)),
        "v.npy: the array is in Fortran order; save it with numpy.ascontiguousarray",
    );
    for (shape, n) in [("()", 0), ("(1, 2, 2)", 3)] {
        assert!(matches!(
            read_npy(&npy(1, "<f4", "False", shape, &data)).unwrap_err().problem,
            Problem::Dimensions(found) if found == n
        ));
    }
    refused(
        read_npy(&npy(1, "<f4", "False", "(2, 0)", &[])),
        "v.npy: vectors of 0 elements; 1 to 4096 are possible",
    );
    refused(
        read_npy(&npy(1, "<f4", "False", "(1, 4097)", &[])),
        "v.npy: vectors of 4097 elements; 1 to 4096 are possible",
    );
    refused(
        read_npy(&npy(1, "<f4", "False", "(0, 4)", &[])),
        "v.npy: the file has no rows",
    );
    refused(
        read_npy(&npy(1, "<f4", "False", "(2, 3)", &data)),
        "v.npy: the header announces 152 bytes, the file has 144",
    );
    refused(
        read_npy(&npy(1, "<f4", "False", "(1, 3)", &data)),
        "v.npy: the header announces 140 bytes, the file has 144",
    );
    refused(
        pipe_npy(&npy(1, "<f4", "False", "(2, 3)", &data)),
        "v.npy: row 1 (at byte 140): the file ends within the row",
    );
    refused(
        pipe_npy(&npy(1, "<f4", "False", "(1, 3)", &data)),
        "v.npy: row 1 (at byte 140): something follows the last row",
    );
    for shape in ["(18446744073709551615, 4)", "(4611686018427387904, 4)"] {
        assert!(matches!(
            read_npy(&npy(1, "<f4", "False", shape, &data))
                .unwrap_err()
                .problem,
            Problem::NpyHeader(_)
        ));
    }
    // A header that claims to be huge is not read.
    let mut huge = b"\x93NUMPY\x02\x00".to_vec();
    huge.extend(u32::MAX.to_le_bytes());
    refused(
        read_npy(&huge),
        "v.npy: damaged .npy header: 4294967295 bytes long",
    );
    refused(
        read_npy(&npy(1, "<f4", "False", "(2, 2)", &data)[..60]),
        "v.npy: damaged .npy header: the file ends within it",
    );
}

#[test]
fn elements_without_a_value() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let file = npy(1, "<f4", "False", "(2, 2)", &f32s(&[1.0, 2.0, 3.0, bad]));
        refused(
            read_npy(&file),
            "v.npy: row 1 (at byte 136): element 1 is infinite, not a number, or too large for binary32",
        );
        assert!(matches!(
            read_fvecs(&fvecs(&[&[1.0, 2.0], &[bad, 3.0]])).unwrap_err(),
            InputError {
                place: Place::Row { row: 1, offset: 12 },
                problem: Problem::NotFinite(0),
                ..
            }
        ));
    }
    // Too large for binary32: rounding would make it infinite.
    let file = npy(1, "<f8", "False", "(1, 2)", &f64s(&[1.0, 1e300]));
    assert!(matches!(
        read_npy(&file).unwrap_err().problem,
        Problem::NotFinite(1)
    ));
}

#[test]
fn fvecs_rows() {
    let rows: [&[f32]; 3] = [&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], &[-0.0, 1e-40, 3e38]];
    let elements = f32s(&rows.concat());
    for read in [read_fvecs, pipe_fvecs] {
        assert_eq!(read(&fvecs(&rows)).unwrap(), (3, elements.clone()));
        assert_eq!(read(&fvecs(&rows[..1])).unwrap().1.len(), 12);
    }
}

#[test]
fn fvecs_that_are_refused() {
    refused(read_fvecs(b""), "v.fvecs: the file has no rows");
    for dim in [0i32, -1, 4097, i32::MIN] {
        refused(
            read_fvecs(&dim.to_le_bytes()),
            &format!("v.fvecs: vectors of {dim} elements; 1 to 4096 are possible"),
        );
    }
    let whole = fvecs(&[&[1.0, 2.0], &[3.0, 4.0]]);
    for cut in 13..whole.len() {
        let message = "v.fvecs: row 1 (at byte 12): the file ends within the row";
        refused(read_fvecs(&whole[..cut]), message);
        refused(pipe_fvecs(&whole[..cut]), message);
    }
    // Rows of another dimension, in a file of the right length by chance.
    refused(
        read_fvecs(&fvecs(&[&[1.0, 2.0], &[1.0], &[1.0, 2.0, 3.0]])),
        "v.fvecs: row 1 (at byte 12): 1 elements, but the rows before have 2",
    );
}

#[test]
fn bvecs_rows() {
    let file = [3i32.to_le_bytes().as_slice(), &[0, 127, 255]].concat();
    let rows = read_bvecs(&[file.clone(), file.clone()].concat()).unwrap();
    assert_eq!(rows, (3, f32s(&[0.0, 127.0, 255.0, 0.0, 127.0, 255.0])));
    let whole = [file.clone(), file].concat();
    for cut in 8..whole.len() {
        refused(
            read_bvecs(&whole[..cut]),
            "v.bvecs: row 1 (at byte 7): the file ends within the row",
        );
    }
    let other = [whole[..7].to_vec(), 2i32.to_le_bytes().to_vec(), vec![1; 3]].concat();
    refused(
        read_bvecs(&other),
        "v.bvecs: row 1 (at byte 7): 2 elements, but the rows before have 3",
    );
    refused(read_bvecs(b""), "v.bvecs: the file has no rows");
    refused(
        read_bvecs(&4097i32.to_le_bytes()),
        "v.bvecs: vectors of 4097 elements; 1 to 4096 are possible",
    );
}

#[test]
fn json_of_every_shape() {
    let table = (2, f32s(&[1.0, -2.5, 0.0, 1e-3]));
    for text in [
        "[[1, -2.5], [0, 1e-3]]",
        "[[1.0,-25E-1],[-0e+1,0.001]]\n",
        " [\n [ 1 ,\t-2.5 ] ,\r\n [0,0.001]\n ]\n ",
        "[1, -2.5]\n[0, 1e-3]\n",
        "[1,-2.5]\r\n\r\n[0,0.001]",
    ] {
        let (dim, elements) = read_json(text).unwrap();
        // Zeros of both signs are the same number.
        let values = |bytes: &[u8]| -> Vec<f32> {
            let each = bytes.chunks_exact(4);
            each.map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect()
        };
        assert_eq!(dim, table.0, "{text}");
        assert_eq!(values(&elements), values(&table.1), "{text}");
    }
    for text in ["[1, -2.5, 3]", "[[1,-2.5,3]]", "\n[1,\n-2.5,\n3]\n"] {
        assert_eq!(read_json(text).unwrap(), (3, f32s(&[1.0, -2.5, 3.0])));
    }
    let long = format!("[{}1]", "1,".repeat(4095));
    assert_eq!(read_json(long).unwrap().0, 4096);
    // A binary64 between two binary32 values is rounded once.
    assert_eq!(read_json("[0.1]").unwrap().1, f32s(&[0.1]));
}

#[test]
fn json_that_is_refused() {
    let text = |line, offset, what: &str| {
        format!("v.json: line {line} (at byte {offset}): not JSON arrays of numbers: {what}")
    };
    for empty in ["", " \n", "[]", "[ ]\n"] {
        refused(read_json(empty), "v.json: the file has no rows");
    }
    for (json, line, offset, what) in [
        ("{}", 1, 0, "'[' expected"),
        ("1", 1, 0, "'[' expected"),
        ("[] []", 1, 3, "something follows the ']'"),
        ("[[1]] x", 1, 6, "something follows the ']'"),
        ("[[1]]\n[[1]]", 2, 6, "something follows the ']'"),
        ("[[1] [2]]", 1, 5, "',' or ']' expected after a row"),
        ("[[1],\n2]", 2, 6, "'[' expected, a row"),
        ("[[1],]", 1, 5, "'[' expected, a row"),
        ("[[1],", 1, 5, "a row expected after ','"),
        ("[[1]", 1, 4, "the array of rows has no end"),
        ("[1]\n2\n", 2, 4, "'[' expected, a row"),
        ("[1 2]", 1, 3, "',' or ']' expected after a number"),
        ("[1,\n\n[2]]", 3, 5, "a number expected"),
        ("[1,]", 1, 3, "a number expected"),
        ("[1_000]", 1, 2, "',' or ']' expected after a number"),
        ("[1, true]", 1, 4, "a number expected"),
        ("[\"1\"]", 1, 1, "a number expected"),
        ("\u{feff}[1]", 1, 0, "'[' expected"),
    ] {
        refused(read_json(json), &text(line, offset, what));
    }
    for number in [
        "01", "+1", ".5", "1.", "1e", "1e+", "--1", "-", "0x10", "inf", "nan", "1f",
    ] {
        refused(
            read_json(format!("[7, {number}]")),
            &text(1, 4, "a number expected"),
        );
    }
    refused(
        read_json(format!("[{}]", "1".repeat(1101))),
        &text(1, 1, "a number of absurd length"),
    );
    for (json, message) in [
        (
            "[[1, 2], [3]]",
            "row 1 (at byte 9): 1 elements, but the rows before have 2",
        ),
        (
            "[1, 2]\n[3, 4]\n[]",
            "row 2 (at byte 14): vectors of 0 elements; 1 to 4096 are possible",
        ),
        (
            "[[1, 2], [3",
            "row 1 (at byte 9): the file ends within the row",
        ),
        (
            "[1, 2]\n[3,",
            "row 1 (at byte 7): the file ends within the row",
        ),
        ("[", "row 0 (at byte 0): the file ends within the row"),
    ] {
        refused(read_json(json), &format!("v.json: {message}"));
    }
    for bad in ["NaN", "Infinity", "-Infinity", "1e39", "-4e38"] {
        refused(
            read_json(format!("[[1, 2], [3, {bad}]]")),
            "v.json: row 1 (at byte 9): element 1 is infinite, not a number, or too large for binary32",
        );
    }
    refused(
        read_json(format!("[{}1]", "1,".repeat(4096))),
        "v.json: row 0 (at byte 0): vectors of 4097 elements; 1 to 4096 are possible",
    );
}

#[test]
fn lines_and_their_places() {
    let text = "{\"path\": \"atomic_t.txt\", \"offset\": 3381, \"length\": 165}\n\
                {\"offset\":0,\"path\":\"a/b c/d\\u00e9.rst\",\"tag\":18446744073709551615}\n";
    let expected = [
        Location {
            path: "atomic_t.txt".into(),
            offset: 3381,
            tag: 0,
        },
        Location {
            path: "a/b c/dé.rst".into(),
            offset: 0,
            tag: u64::MAX,
        },
    ];
    assert_eq!(lines(text).unwrap(), expected);
    assert_eq!(
        lines(text.trim_end()).unwrap(),
        expected,
        "no newline at the end"
    );
    assert_eq!(lines("").unwrap(), []);
}

#[test]
fn lines_that_are_refused() {
    let good = "{\"path\":\"a\",\"offset\":1}\n";
    refused(
        lines(&format!("{good}\n{good}")),
        "l.jsonl: line 2 (at byte 24): not a JSON object with \"path\" and \"offset\": EOF while parsing a value",
    );
    refused(
        lines(&format!("{good}{{\"path\":\"a\"}}\n")),
        "l.jsonl: line 2 (at byte 24): not a JSON object with \"path\" and \"offset\": missing field `offset` (column 12)",
    );
    for line in [
        "{\"path\":\"a\",\"offset\":-1}",
        "{\"path\":\"a\",\"offset\":1.5}",
        "{\"path\":1,\"offset\":1}",
        "{\"path\":\"a\",\"offset\":1} x",
        "{\"path\":\"a\",\"offset\":1",
        "[]",
        "\u{feff}{}",
    ] {
        let error = lines(&format!("{good}{line}\n")).unwrap_err();
        assert!(matches!(error.problem, Problem::Json(_)), "{error}");
        assert_eq!(
            error.place,
            Place::Line {
                line: 2,
                offset: 24
            }
        );
    }
    for path in [
        "",
        "/etc/passwd",
        "..",
        "a/../../b",
        "../a",
        ".",
        "a/..",
        "a\\u0000b",
    ] {
        let error = lines(&format!("{{\"path\":\"{path}\",\"offset\":0}}")).unwrap_err();
        assert!(matches!(error.problem, Problem::Path(_)), "{path}: {error}");
    }
}

#[test]
fn files_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::File::create(&path)
            .unwrap()
            .write_all(bytes)
            .unwrap();
        path
    };
    let path = write("a.npy", &npy(1, "<f4", "False", "(2, 2)", &f32s(&[1.0; 4])));
    assert_eq!(all(Vectors::open(&path).unwrap()).unwrap().0, 2);
    let path = write("a.fvecs", &fvecs(&[&[1.0; 5]]));
    assert_eq!(all(Vectors::open(&path).unwrap()).unwrap().0, 5);
    let path = write("a.bvecs", &[3, 0, 0, 0, 7, 8, 9]);
    assert_eq!(all(Vectors::open(&path).unwrap()).unwrap().0, 3);
    for name in ["a.json", "lines.jsonl", "a.ndjson", "noname", "a.txt"] {
        let path = write(name, b" [1, 2, 3, 4]\n");
        assert_eq!(all(Vectors::open(&path).unwrap()).unwrap().0, 4);
    }
    let path = write("array", &npy(1, "<f4", "False", "(2, 2)", &f32s(&[1.0; 4])));
    assert_eq!(all(Vectors::open(&path).unwrap()).unwrap().0, 2);
    for (name, said) in [
        ("text", "neither a numpy array (.npy) nor JSON arrays"),
        ("text.npy", "not a numpy array (.npy)"),
        (
            "text.ivecs",
            "an .ivecs file holds numbers of rows, the answers to queries, and no vectors",
        ),
    ] {
        let path = write(name, b"text");
        let error = Vectors::open(&path).err().unwrap().to_string();
        assert_eq!(error, format!("{}: {said}", path.display()));
    }
    let path = write("a.jsonl", b"{\"path\":\"a\",\"offset\":7}");
    let mut locations = Locations::open(&path).unwrap();
    assert_eq!(locations.next_location().unwrap().unwrap().offset, 7);
    assert_eq!(locations.next_location().unwrap(), None);
    assert_eq!(locations.lines_read(), 1);

    let missing = folder.path().join("none.npy");
    let error = Vectors::open(&missing).err().unwrap();
    assert!(
        error.to_string().contains("none.npy: No such file"),
        "{error}"
    );
    let error = Vectors::open(folder.path()).err().unwrap();
    assert!(matches!(error.problem, Problem::Io(_)), "a folder: {error}");
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_000)
    }
}

proptest! {
    #![proptest_config(config())]

    /// Rows come out as they went in, whatever they are.
    #[test]
    fn rows_survive(dim in 1usize..40, rows in 1usize..20, seed in prop::collection::vec(any::<f32>(), 800)) {
        let values: Vec<f32> = seed.iter().cycle().take(dim * rows).map(|v| if v.is_finite() { *v } else { 0.5 }).collect();
        let expected = (dim as u32, f32s(&values));
        let file = npy(1, "<f4", "False", &format!("({rows}, {dim})"), &f32s(&values));
        prop_assert_eq!(read_npy(&file).unwrap(), expected.clone());
        let rows: Vec<&[f32]> = values.chunks(dim).collect();
        prop_assert_eq!(read_fvecs(&fvecs(&rows)).unwrap(), expected);
    }

    /// JSON that is made of rows gives these rows, with and without an array around them;
    /// and whatever else is made of its signs gives rows or an error.
    #[test]
    fn json_survives(
        dim in 1usize..9,
        values in prop::collection::vec(any::<f32>(), 1..60),
        noise in "[\\[\\], \\-0-9.eE\n]{0,40}",
    ) {
        let finite = values.iter().map(|v| if v.is_finite() { *v } else { 0.5 });
        let values: Vec<f32> = finite.collect();
        let rows: Vec<&[f32]> = values.chunks_exact(dim).collect();
        let text: Vec<String> = rows
            .iter()
            .map(|row| serde_json::to_string(row).unwrap())
            .collect();
        let expected = (dim as u32, f32s(&rows.concat()));
        for text in [format!("[{}]", text.join(",")), text.join("\n")] {
            match rows.is_empty() {
                true => prop_assert!(read_json(&text).is_err()),
                false => prop_assert_eq!(read_json(&text).unwrap(), expected.clone()),
            }
        }
        let parsed = serde_json::from_str::<Vec<Vec<f64>>>(&noise);
        match (read_json(&noise), parsed) {
            (Ok((dim, bytes)), _) => prop_assert_eq!(bytes.len() % (dim as usize * 4), 0),
            (Err(error), Ok(table)) => prop_assert!(
                table.windows(2).any(|w| w[0].len() != w[1].len())
                    || table.iter().any(Vec::is_empty)
                    || table.is_empty()
                    || table.iter().flatten().any(|v| !(*v as f32).is_finite()),
                "{}: {}", noise, error
            ),
            (Err(error), Err(_)) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    /// Damaged and arbitrary files give errors or rows, never a panic, and rows only
    /// of finite elements.
    #[test]
    fn damaged_files(at in 0usize..160, byte in any::<u8>(), cut in 0usize..200, noise in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut file = npy(1, "<f4", "False", "(2, 4)", &f32s(&[1.5; 8]));
        let len = file.len();
        file[at % len] = byte;
        file.truncate(cut);
        let mut rows = fvecs(&[&[1.5; 4], &[2.5; 4]]);
        let len = rows.len();
        rows[at % len] = byte;
        rows.truncate(cut);
        for result in [
            read_npy(&file), pipe_npy(&file), read_fvecs(&rows), pipe_fvecs(&rows),
            read_npy(&noise), pipe_npy(&noise), read_fvecs(&noise), pipe_fvecs(&noise),
            read_bvecs(&rows), read_bvecs(&noise), read_json(&noise),
        ] {
            match result {
                Ok((_, bytes)) => prop_assert!(bytes
                    .chunks_exact(4)
                    .all(|b| f32::from_le_bytes(b.try_into().unwrap()).is_finite())),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
        let _ = lines(&String::from_utf8_lossy(&noise));
    }
}

/// Real files, as other programs wrote them, if `VEXFS_TEST_DATA` names a folder
/// with `kdoc12k_base.npy` and `kdoc12k_base.jsonl`: a line for every row.
#[test]
fn real_files() {
    let Some(folder) = std::env::var_os("VEXFS_TEST_DATA").map(std::path::PathBuf::from) else {
        // Past the harness, which swallows what a passing test prints.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: VEXFS_TEST_DATA does not name a folder with real vectors"
        );
        return;
    };
    let vectors = Vectors::open(&folder.join("kdoc12k_base.npy")).unwrap();
    let rows = vectors.rows().unwrap();
    let (dim, elements) = all(vectors).unwrap();
    assert_eq!(elements.len() as u64, rows * u64::from(dim) * 4);
    let locations = Locations::open(&folder.join("kdoc12k_base.jsonl")).unwrap();
    let locations: Result<Vec<Location>, InputError> = locations.collect();
    assert_eq!(locations.unwrap().len() as u64, rows);
    println!("{rows} rows of {dim} elements, each with its line");
}
