// SPDX-License-Identifier: GPL-2.0-only
//! How fast the distance kernels are, per metric, instruction set and shape of
//! the batch, beside a sum in binary32 that is free to choose its order.
//! `cargo bench -p vector --bench scan`. Prints; asserts nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vector::{Batch, Compute, Distance, Element, Isa, Kind, Metric, Queries, Userspace};

fn main() {
    for (dim, count, what) in [
        (384, 64, "in L2"),
        (384, 200_000, "in memory"),
        (128, 64, "in L1"),
        (1536, 50_000, "in memory"),
    ] {
        println!("{count} vectors of {dim} elements ({what}); million distances a second");
        let bytes = random(dim * count, 1);
        for queries in [1, 16] {
            let query_bytes = random(dim * queries, 2);
            for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
                print!("  {queries:2} queries {metric:6}:");
                for isa in Isa::ALL {
                    let Some(compute) = Userspace::with_isa(isa) else {
                        continue;
                    };
                    let rate = scan(&compute, metric, dim, &query_bytes, queries, &bytes, count);
                    print!("  {} {rate:8.2}", isa.name());
                }
                #[cfg(target_arch = "x86_64")]
                if metric != Metric::Cosine && Isa::Avx2.is_available() {
                    let rate = scan_f32(metric, dim, &query_bytes, &bytes);
                    print!("  binary32 {rate:8.2}");
                }
                println!();
            }
        }
    }
}

/// Elements within -1..1 from a fixed sequence (an LCG's upper bits).
fn random(elements: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..elements)
        .flat_map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0).to_le_bytes()
        })
        .collect()
}

/// Million distances a second, best of several runs.
fn best(distances: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        let repeats = (200_000 / distances).max(1);
        for _ in 0..repeats {
            run();
        }
        best = best.min(start.elapsed() / repeats as u32);
    }
    distances as f64 / best.as_secs_f64() / 1e6
}

fn scan(
    compute: &Userspace,
    metric: Metric,
    dim: usize,
    query_bytes: &[u8],
    queries: usize,
    bytes: &[u8],
    count: usize,
) -> f64 {
    let kind = Kind::new(Element::F32, metric, dim as u32).expect("a dimension in range");
    let mut norms = vec![0; queries];
    let prepared = Queries::prepare(compute, &kind, query_bytes, &mut norms)
        .expect("random queries are acceptable");
    let stride = kind.vector_bytes();
    let mut out = vec![Distance::INVALID; queries * 64];
    best(queries * count, || {
        // As a filesystem would: some 64 vectors at a time.
        for piece in bytes.chunks(64 * stride) {
            let here = piece.len() / stride;
            let batch = Batch::new(&kind, piece, 0, stride, here).expect("a whole batch");
            let out = out.get_mut(..queries * here).expect("room for a batch");
            compute
                .distances(&prepared, &batch, out)
                .expect("a batch of the same dimension");
            black_box(&out);
        }
    })
}

/// The first query against all vectors, summed in binary32 in eight registers of
/// FMA: what AVX2 can do when no order is asked for.
#[cfg(target_arch = "x86_64")]
fn scan_f32(metric: Metric, dim: usize, query: &[u8], bytes: &[u8]) -> f64 {
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    };
    let query = floats(&query[..dim * 4]);
    let vectors = floats(bytes);
    best(vectors.len() / dim, || {
        for x in vectors.chunks_exact(dim) {
            // SAFETY: main has asked for AVX2 (and FMA with it); equal lengths.
            black_box(unsafe { sum_f32(metric, x, &query) });
        }
    })
}

/// # Safety
/// The CPU has AVX2 and FMA; equal lengths, a multiple of 64.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx,avx2,fma")]
unsafe fn sum_f32(metric: Metric, x: &[f32], q: &[f32]) -> f32 {
    use core::arch::x86_64::*;
    let mut lanes = [0.0f32; 8];
    // SAFETY: loads stay within whole chunks of 64 elements; the store fits.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); 8];
        for (x, q) in x.chunks_exact(64).zip(q.chunks_exact(64)) {
            for (r, sum) in sums.iter_mut().enumerate() {
                let x = _mm256_loadu_ps(x.as_ptr().add(8 * r));
                let q = _mm256_loadu_ps(q.as_ptr().add(8 * r));
                *sum = if metric == Metric::L2 {
                    let d = _mm256_sub_ps(x, q);
                    _mm256_fmadd_ps(d, d, *sum)
                } else {
                    _mm256_fmadd_ps(x, q, *sum)
                };
            }
        }
        let total = sums
            .into_iter()
            .fold(_mm256_setzero_ps(), |a, b| _mm256_add_ps(a, b));
        _mm256_storeu_ps(lanes.as_mut_ptr(), total);
    }
    lanes.iter().sum()
}
