// SPDX-License-Identifier: GPL-2.0-only
//! Exact search over real vectors against the brute force of others.
//!
//! `VEXFS_TEST_DATA` names a folder with `<set>_base.npy`, `<set>_query.npy`
//! (binary32) and `<set>_truth.npy` (int32, the nearest base rows of every query).
//! Without it the test says so and passes.

mod common;

use std::path::{Path, PathBuf};

use common::{floats, paths, tell};
use vector::{Batch, Candidate, Compute, Distance, Metric, Queries, Rank, TopK, Userspace};

struct Array {
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

/// A two-dimensional C-order array of 4-byte elements.
fn read(path: &Path) -> Array {
    let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let header = std::str::from_utf8(&file[10..end]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let shape = header.split("'shape': (").nth(1).unwrap();
    let shape: Vec<usize> = shape[..shape.find(')').unwrap()]
        .split(',')
        .map(|n| n.trim().parse().unwrap())
        .collect();
    let array = Array {
        rows: shape[0],
        columns: shape[1],
        bytes: file[end..].to_vec(),
    };
    assert_eq!(array.bytes.len(), array.rows * array.columns * 4);
    array
}

impl Array {
    fn row(&self, row: usize) -> &[u8] {
        &self.bytes[row * self.columns * 4..][..self.columns * 4]
    }

    fn floats(&self, row: usize) -> Vec<f64> {
        self.row(row)
            .chunks_exact(4)
            .map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            .collect()
    }

    fn integers(&self, row: usize) -> Vec<u64> {
        self.row(row)
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as u64)
            .collect()
    }
}

/// Straight from the textbook, in binary64 and in order.
fn plain(metric: Metric, x: &[f64], q: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    match metric {
        Metric::L2 => x.iter().zip(q).map(|(x, q)| (x - q).powi(2)).sum(),
        Metric::Dot => -dot(x, q),
        Metric::Hamming => unreachable!("of bits only"),
        Metric::Cosine => 1.0 - dot(x, q) / (dot(x, x) * dot(q, q)).sqrt(),
    }
}

/// Rows and distances of the k nearest, for all queries in one pass.
fn search(
    path: &Userspace,
    metric: Metric,
    base: &Array,
    query: &Array,
    k: usize,
) -> Vec<Vec<(u64, Distance)>> {
    let kind = floats(metric, base.columns);
    let mut norms = vec![0; query.rows];
    let queries = Queries::prepare(path, &kind, &query.bytes, &mut norms).unwrap();
    let mut memory = vec![vec![Candidate::default(); k]; query.rows];
    let mut tops: Vec<TopK> = memory.iter_mut().map(|m| TopK::new(m)).collect();
    const STEP: usize = 64;
    let mut out = vec![Distance::INVALID; query.rows * STEP];
    for first in (0..base.rows).step_by(STEP) {
        let count = STEP.min(base.rows - first);
        let stride = base.columns * 4;
        let batch = Batch::new(&kind, &base.bytes, first * stride, stride, count).unwrap();
        let out = &mut out[..query.rows * count];
        path.distances(&queries, &batch, out).unwrap();
        for (top, row) in tops.iter_mut().zip(out.chunks_exact(count)) {
            for (i, distance) in row.iter().enumerate() {
                let label = (first + i) as u64;
                top.offer(Candidate {
                    rank: Rank {
                        distance: *distance,
                        inode: 0,
                        label,
                    },
                    ..Candidate::default()
                });
            }
        }
    }
    tops.into_iter()
        .map(|top| {
            top.into_sorted()
                .iter()
                .map(|c| (c.rank.label, c.rank.distance))
                .collect()
        })
        .collect()
}

fn check(folder: &Path, set: &str, metrics: &[Metric]) {
    let file = |kind| read(&folder.join(format!("{set}_{kind}.npy")));
    let (base, query, truth) = (file("base"), file("query"), file("truth"));
    let base_floats: Vec<_> = (0..base.rows).map(|row| base.floats(row)).collect();
    for &metric in metrics {
        let reference = search(&Userspace::portable(), metric, &base, &query, truth.columns);
        for path in paths() {
            let results = search(&path, metric, &base, &query, truth.columns);
            assert_eq!(
                results,
                reference,
                "{set} {metric} by {}",
                path.isa().name()
            );
        }
        let (mut worst, mut swapped) = (0.0f64, 0);
        for (row, hits) in reference.iter().enumerate() {
            let q = query.floats(row);
            let expected = truth.integers(row);
            for (place, (hit, expected)) in hits.iter().zip(&expected).enumerate() {
                let plainly = plain(metric, &base_floats[hit.0 as usize], &q);
                let error = (hit.1.to_f64() - plainly).abs() / plainly.abs();
                if plainly != 0.0 {
                    worst = worst.max(error);
                }
                if hit.0 != *expected {
                    // The truth was computed in binary32: it may swap neighbours
                    // that are equal in it, and nothing else.
                    let other = plain(metric, &base_floats[*expected as usize], &q);
                    let gap = (other - plainly).abs() / plainly.abs().max(1e-3);
                    assert!(gap < 1e-5, "{set} {metric}: query {row}, place {place}: {hit:?}, truth {expected} at {other}");
                    swapped += 1;
                }
            }
        }
        println!(
            "{set} {metric}: {} queries x {} hits, worst relative error {worst:.1e}, {swapped} in another order than the truth of binary32",
            query.rows, truth.columns
        );
        assert!(worst < 1e-10);
    }
}

#[test]
fn exact_search_of_real_vectors() {
    let Some(folder) = std::env::var_os("VEXFS_TEST_DATA").map(PathBuf::from) else {
        tell("NOT RUN: VEXFS_TEST_DATA does not name a folder with real vectors");
        return;
    };
    check(
        &folder,
        "kdoc12k",
        &[Metric::Cosine, Metric::L2, Metric::Dot],
    );
    check(&folder, "sift10k", &[Metric::L2]);
}
