// SPDX-License-Identifier: GPL-2.0-only
//! Indexes of every type of elements, filled from every type of array, against a brute
//! force; and what does not fit a type.

mod common;

use common::{hits, Fixture, Numbers};
use half::f16;
use std::path::PathBuf;

/// A numpy array of `dim` columns with this type and these bytes.
fn npy(fs: &Fixture, name: &str, descr: &str, dim: usize, data: &[u8], rows: usize) -> PathBuf {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(data);
    fs.write(name, file)
}

fn create(fs: &Fixture, name: &str, element: &str, metric: &str, dim: usize) {
    let dim = dim.to_string();
    let made = fs.json(&[
        "index",
        "create",
        "/",
        name,
        "--dim",
        &dim,
        "--element",
        element,
        "--metric",
        metric,
    ]);
    assert_eq!(made["index"]["element"], element);
    assert_eq!(made["index"]["metric"], metric);
}

/// Rows and distances of the nearest, by the definition, in binary64.
fn nearest(metric: &str, rows: &[Vec<f32>], query: &[f32], k: usize) -> Vec<(usize, f64)> {
    let mut all: Vec<(usize, f64)> = (rows.iter().enumerate())
        .map(|(i, row)| match metric {
            "hamming" => (
                i,
                row.iter().zip(query).filter(|(x, q)| x != q).count() as f64,
            ),
            _ => (i, common::distance(metric, row, query)),
        })
        .collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// Imports and asks, and compares with the brute force over `rows` and `queries`, which are what
/// the elements' values are.
fn compare(
    fs: &Fixture,
    index: &str,
    metric: &str,
    (base, rows): (&PathBuf, &[Vec<f32>]),
    (asked, queries): (&PathBuf, &[Vec<f32>]),
) {
    let done = fs.json(&words!["import", "/", index, "--npy", base, "--file", "/x"]);
    assert_eq!(done["stored"], rows.len());
    let found = hits(&fs.json(&words![
        "search", "/", index, "--npy", asked, "-k", "20", "--exact"
    ]));
    assert_eq!(found.len(), queries.len());
    for (found, query) in found.iter().zip(queries) {
        let expected = nearest(metric, rows, query, 20);
        assert_eq!(found.len(), expected.len());
        for ((path, label, distance), (row, wanted)) in found.iter().zip(&expected) {
            assert_eq!(path, "x");
            let tolerance = 1e-12 * wanted.abs().max(1.0);
            assert!(
                (distance - wanted).abs() <= tolerance,
                "{index}: {distance} {wanted}"
            );
            let own = nearest(metric, &rows[*label as usize..=*label as usize], query, 1)[0].1;
            assert!(
                (own - wanted).abs() <= tolerance,
                "{index}: {label} in place of {row}"
            );
        }
    }
    let got = fs.json(&words!["get", "/x", index, "--label", "3"]);
    let elements: Vec<f32> = (got["elements"].as_array().unwrap().iter())
        .map(|e| e.as_f64().unwrap() as f32)
        .collect();
    assert_eq!(elements, rows[3]);
}

#[test]
fn halves_and_bytes_are_found_as_by_brute_force() {
    let fs = Fixture::new(&["x"]);
    let mut numbers = Numbers(9);
    let halves = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
        let rounded = |v: f32| f16::from_f32(v).to_f32();
        rows.into_iter()
            .map(|row| row.into_iter().map(rounded).collect())
            .collect()
    };
    let (floats, asked) = (numbers.rows(900, 37), numbers.rows(8, 37));
    for metric in ["l2", "cosine", "dot"] {
        // From binary32, which is rounded, and from binary16.
        let (rows, queries) = (halves(floats.clone()), halves(asked.clone()));
        let raw = |rows: &[Vec<f32>]| -> Vec<u8> {
            rows.iter()
                .flatten()
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect()
        };
        let from32 = fs.npy("f.npy", &floats);
        let queries16 = npy(&fs, "q.npy", "<f2", 37, &raw(&queries), 8);
        let index = format!("h-{metric}");
        create(&fs, &index, "f16", metric, 37);
        compare(
            &fs,
            &index,
            metric,
            (&from32, &rows),
            (&queries16, &queries),
        );

        let whole = |rows: &[Vec<f32>]| -> Vec<Vec<f32>> {
            let byte = |v: &f32| (v * 100.0).round().clamp(-128.0, 127.0);
            rows.iter()
                .map(|row| row.iter().map(byte).collect())
                .collect()
        };
        let (rows, queries) = (whole(&floats), whole(&asked));
        let raw: Vec<u8> = rows.iter().flatten().map(|v| *v as i8 as u8).collect();
        let bytes8 = npy(&fs, "b.npy", "|i1", 37, &raw, 900);
        let queries32 = fs.npy("q32.npy", &queries);
        let index = format!("b-{metric}");
        create(&fs, &index, "i8", metric, 37);
        compare(
            &fs,
            &index,
            metric,
            (&bytes8, &rows),
            (&queries32, &queries),
        );
    }
}

#[test]
fn bits_are_found_as_by_brute_force() {
    let fs = Fixture::new(&["x"]);
    let mut numbers = Numbers(10);
    for dim in [8, 70, 129] {
        let bits = |rows: Vec<Vec<f32>>| -> Vec<Vec<f32>> {
            let bit = |v: f32| if v > 0.0 { 1.0 } else { 0.0 };
            rows.into_iter()
                .map(|row| row.into_iter().map(bit).collect())
                .collect()
        };
        let (rows, queries) = (bits(numbers.rows(400, dim)), bits(numbers.rows(5, dim)));
        let packed: Vec<u8> = (rows.iter())
            .flat_map(|row| {
                let byte = |eight: &[f32]| {
                    eight
                        .iter()
                        .enumerate()
                        .fold(0, |b, (i, v)| b | u8::from(*v != 0.0) << i)
                };
                row.chunks(8).map(byte).collect::<Vec<u8>>()
            })
            .collect();
        let whole: Vec<u8> = queries.iter().flatten().map(|v| *v as u8).collect();
        let base = npy(&fs, "p.npy", "|u1", dim.div_ceil(8), &packed, 400);
        let asked = npy(&fs, "q.npy", "|b1", dim, &whole, 5);
        let index = format!("bits{dim}");
        create(&fs, &index, "binary", "hamming", dim);
        compare(&fs, &index, "hamming", (&base, &rows), (&asked, &queries));
    }
}

#[test]
fn what_does_not_fit_the_elements_is_refused() {
    let fs = Fixture::new(&["x"]);
    create(&fs, "half", "f16", "l2", 2);
    create(&fs, "byte", "i8", "cosine", 2);
    create(&fs, "bits", "binary", "hamming", 12);
    for (index, row, what) in [
        ("half", vec![1.0, 70_000.0], "too large for f16"),
        (
            "byte",
            vec![1.0, 128.0],
            "not a whole number from -128 to 127",
        ),
        ("byte", vec![0.5, 1.0], "not a whole number"),
        ("byte", vec![0.0, 0.0], "needs a direction"),
        ("bits", vec![2.0; 12], "not a bit"),
        ("bits", vec![1.0; 11], "vectors of 11 elements"),
    ] {
        let file = fs.npy("bad.npy", &[row]);
        let error = fs.refused(
            1,
            &words!["import", "/", index, "--npy", &file, "--file", "/x"],
        );
        assert!(error.contains(what), "{index}: {error}");
    }
    let padded = npy(&fs, "padded.npy", "|u1", 2, &[0xff, 0x1f], 1);
    let error = fs.refused(
        1,
        &words!["import", "/", "bits", "--npy", &padded, "--file", "/x"],
    );
    assert!(error.contains("bits beyond the dimension"), "{error}");
    for (element, metric) in [("binary", "l2"), ("f32", "hamming"), ("i8", "hamming")] {
        let error = fs.refused(
            1,
            &[
                "index",
                "create",
                "/",
                "no",
                "--dim",
                "8",
                "--element",
                element,
                "--metric",
                metric,
            ],
        );
        assert!(error.contains("is no metric of"), "{error}");
    }
}
