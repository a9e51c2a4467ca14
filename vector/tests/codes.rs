// SPDX-License-Identifier: GPL-2.0-only
//! The code kernels: every instruction set gives the bits of the definition, the
//! rotation is one, estimates are near the truth and within their bounds, divisions
//! divide, and nothing that is missing is read.

mod common;

use common::{bytes, config, floats, paths};
use layout::partition::{get_entry, put_centroid, put_entry, Shape, FACTORS};
use layout::Block;
use proptest::prelude::*;
use vector::ann::{k_means, two_means, Noted, QueryMemory, Rotation, TwoMeans, NO_LIMIT};
use vector::{Compute, Error, Isa, Metric, Userspace};

/// A small generator of its own, so that cases are described by a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }
    /// About normal: the sum of twelve uniform values, less six.
    fn normal(&mut self) -> f32 {
        (0..12)
            .map(|_| self.next() as f32 / (1u64 << 31) as f32)
            .sum::<f32>()
            - 6.0
    }
    fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.normal()).collect()
    }
}

fn values(bits: &[u32]) -> Vec<f32> {
    bits.iter().map(|b| f32::from_bits(*b)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    let d = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
    d.map(|d| d * d).sum()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

/// The value of a key.
fn value(key: u32) -> f64 {
    let bits = if key >> 31 == 0 {
        !key
    } else {
        key & !(1 << 31)
    };
    f64::from(f32::from_bits(bits))
}

fn rotate(cpu: &Userspace, rotation: &Rotation<'_>, metric: Metric, v: &[f32]) -> Vec<u32> {
    let mut out = vec![0; Shape::new(v.len() as u32).unwrap().padded()];
    cpu.with_fpu(&mut |fpu| {
        fpu.rotate(rotation, &floats(metric, v.len()), &bytes(v), &mut out)
            .unwrap()
    });
    out
}

/// A partition around a centroid, and what a query sees of it.
struct Seen {
    /// Codes and factors of the entries, as stored.
    stored: Vec<(Vec<u8>, [u32; FACTORS])>,
    centroid: u32,
    /// Entry and key of all: there was no limit.
    all: Vec<(usize, u32)>,
    /// The limit that the ten nearest set.
    limit: u32,
    /// Those that remain under that limit.
    some: Vec<(usize, u32)>,
}

fn look(
    cpu: &Userspace,
    shape: &Shape,
    metric: Metric,
    centroid: &[u32],
    members: &[Vec<u32>],
    query: &[u32],
) -> Seen {
    let mut blocks: Vec<Block> = vec![[0; 4096]; shape.blocks()];
    put_centroid(shape, &mut blocks[..], centroid).unwrap();
    let mut stored = vec![];
    for (i, member) in members.iter().enumerate() {
        let mut code = vec![0; shape.padded()];
        let mut factors = [0; FACTORS];
        cpu.with_fpu(&mut |fpu| {
            factors = fpu.encode(metric, member, centroid, &mut code).unwrap();
        });
        assert!(code.iter().all(|u| *u < 32));
        put_entry(shape, &mut blocks[..], i, &code, &factors, i as u64).unwrap();
        let mut again = vec![0; shape.padded()];
        assert_eq!(get_entry(shape, &blocks[..], i, &mut again), Ok(factors));
        assert_eq!(again, code);
        stored.push((code, factors));
    }
    let refs: Vec<Option<&Block>> = blocks.iter().map(Some).collect();
    let [rotated, table, low] = QueryMemory::lengths(shape);
    let (mut rotated, mut table, mut low) = (vec![0; rotated], vec![0; table], vec![0; low]);
    rotated.copy_from_slice(query);
    let mut noted = Box::new(Noted::new());
    let mut seen = None;
    cpu.with_fpu(&mut |fpu| {
        let memory = QueryMemory {
            rotated: &mut rotated,
            table: &mut table,
            bytes: &mut low,
        };
        let q = fpu.prepare(shape, metric, memory).unwrap();
        let c = fpu.centroid(&q, &refs).unwrap();
        let n = members.len();
        fpu.estimate(&q, &c, &refs, n, NO_LIMIT, &[], &mut noted)
            .unwrap();
        assert_eq!(noted.len(), n);
        let limit = noted.limit(10);
        fpu.refine(&q, &c, &refs, &mut noted).unwrap();
        let all = noted.iter().collect();
        fpu.estimate(&q, &c, &refs, n, limit, &refs, &mut noted)
            .unwrap();
        fpu.refine(&q, &c, &refs, &mut noted).unwrap();
        seen = Some(Seen {
            stored: stored.clone(),
            centroid: c.key,
            all,
            limit,
            some: noted.iter().collect(),
        });
    });
    seen.unwrap()
}

/// Vectors of a partition, a query, and the rotation's seed, all from `seed`.
fn scene(dim: usize, n: usize, seed: u64) -> (Shape, Vec<f32>, Vec<Vec<f32>>, Vec<f32>) {
    let shape = Shape::new(dim as u32).unwrap();
    let mut random = Random(seed);
    let centre = random.vector(dim);
    let near = |random: &mut Random, far: f32| -> Vec<f32> {
        let noise = random.vector(dim);
        centre.iter().zip(noise).map(|(c, e)| c + far * e).collect()
    };
    let members = (0..n).map(|_| near(&mut random, 0.5)).collect();
    let query = near(&mut random, 0.7);
    (shape, centre, members, query)
}

#[test]
fn a_rotation_keeps_lengths_and_angles() {
    for dim in [1, 2, 15, 16, 17, 48, 100, 128, 384, 784, 1000, 1536, 4096] {
        let shape = Shape::new(dim as u32).unwrap();
        let mut signs = vec![0; Rotation::memory(&shape)];
        let rotation = Rotation::derive(&shape, 3, &mut signs).unwrap();
        let mut random = Random(dim as u64);
        let (a, b) = (random.vector(dim), random.vector(dim));
        for cpu in paths() {
            let ra = values(&rotate(&cpu, &rotation, Metric::L2, &a));
            let rb = values(&rotate(&cpu, &rotation, Metric::L2, &b));
            let scale = dot(&a, &a).max(dot(&b, &b));
            assert!((dot(&ra, &rb) - dot(&a, &b)).abs() < 1e-5 * scale, "{dim}");
            assert!((dot(&ra, &ra) - dot(&a, &a)).abs() < 1e-5 * scale, "{dim}");
            let unit = values(&rotate(&cpu, &rotation, Metric::Cosine, &a));
            assert!((dot(&unit, &unit) - 1.0).abs() < 1e-5, "{dim}");
            // It spreads what was in one place.
            let mut one = vec![0.0; dim];
            one[dim / 2] = 1.0;
            let spread = values(&rotate(&cpu, &rotation, Metric::L2, &one));
            let most = spread.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let padded = shape.padded() as f32;
            assert!(most < 7.0 / padded.sqrt(), "{dim}: {most}");
        }
    }
}

#[test]
fn rotations_of_different_seeds_differ() {
    let shape = Shape::new(64).unwrap();
    let mut memory = vec![vec![0; Rotation::memory(&shape)]; 2];
    let v = Random(1).vector(64);
    let mut rotated = vec![];
    for (seed, signs) in memory.iter_mut().enumerate() {
        let rotation = Rotation::derive(&shape, seed as u64, signs).unwrap();
        rotated.push(rotate(&paths()[0], &rotation, Metric::L2, &v));
    }
    assert_ne!(rotated[0], rotated[1]);
    let mut short = vec![0; Rotation::memory(&shape) - 1];
    assert!(matches!(
        Rotation::derive(&shape, 0, &mut short),
        Err(Error::Length { .. })
    ));
}

#[test]
fn estimates_are_near_the_truth_and_bounds_hold() {
    for (dim, worst) in [
        (16, 0.06),
        (100, 0.03),
        (128, 0.025),
        (384, 0.016),
        (1536, 0.01),
    ] {
        for metric in [Metric::L2, Metric::Dot] {
            let (shape, centre, members, query) = scene(dim, 64, dim as u64);
            let mut signs = vec![0; Rotation::memory(&shape)];
            let rotation = Rotation::derive(&shape, 9, &mut signs).unwrap();
            let cpu = &paths()[0];
            let rotated: Vec<Vec<u32>> = members
                .iter()
                .map(|m| rotate(cpu, &rotation, metric, m))
                .collect();
            let c = rotate(cpu, &rotation, metric, &centre);
            let q = rotate(cpu, &rotation, metric, &query);
            let seen = look(cpu, &shape, metric, &c, &rotated, &q);
            let truth = |m: &[f32]| match metric {
                Metric::Dot => -dot(&query, m),
                _ => square(&query, m),
            };
            // Errors come with |x - c| |q - c|, whatever the distance is.
            let reach = |m: &[f32]| (square(m, &centre) * square(&query, &centre)).sqrt();
            let near = value(seen.centroid);
            assert!((near - truth(&centre)).abs() < 1e-4 * near.abs().max(1.0));
            let mut bias = 0.0;
            for (entry, key) in &seen.all {
                let m = &members[*entry];
                let error = (value(*key) - truth(m)) / reach(m);
                assert!(
                    error.abs() < worst * 4.0,
                    "{dim} {metric:?} {entry}: {error}"
                );
                bias += error / members.len() as f64;
            }
            assert!(bias.abs() < worst, "{dim} {metric:?}: bias {bias}");
            // What the limit removed is not among the ten nearest, by the estimates.
            let mut order = seen.all.clone();
            order.sort_by_key(|(_, key)| *key);
            let kept: Vec<usize> = seen.some.iter().map(|(e, _)| *e).collect();
            let lost = order
                .iter()
                .take(10)
                .filter(|(e, _)| !kept.contains(e))
                .count();
            assert!(
                lost <= 1,
                "{dim} {metric:?}: {lost} of the ten nearest lost"
            );
            assert!(seen.limit >= order[9].1 || lost > 0 || dim == 16);
            if dim >= 384 {
                assert!(
                    kept.len() < members.len(),
                    "{dim} {metric:?}: nothing removed"
                );
            }
        }
    }
}

#[test]
fn a_vector_that_is_its_centroid_has_the_centroids_distance() {
    for metric in [Metric::L2, Metric::Dot] {
        let (shape, centre, _, query) = scene(40, 1, 5);
        let pad = |v: &[f32]| {
            let mut v = v.to_vec();
            v.resize(shape.padded(), 0.0);
            bits(&v)
        };
        for cpu in paths() {
            let seen = look(
                &cpu,
                &shape,
                metric,
                &pad(&centre),
                &[pad(&centre)],
                &pad(&query),
            );
            let (c, key) = (value(seen.centroid), value(seen.all[0].1));
            assert!((c - key).abs() <= 1e-4 * c.abs(), "{metric:?}: {c} {key}");
        }
    }
}

#[test]
fn missing_blocks_and_wrong_lengths_are_refused() {
    let shape = Shape::new(1536).unwrap();
    let cpu = &paths()[0];
    let blocks: Vec<Block> = vec![[0; 4096]; shape.blocks()];
    let refs: Vec<Option<&Block>> = blocks.iter().map(Some).collect();
    let [rotated, table, low] = QueryMemory::lengths(&shape);
    let (mut rotated, mut table, mut low) = (vec![0; rotated], vec![0; table], vec![0; low]);
    let mut noted = Box::new(Noted::new());
    cpu.with_fpu(&mut |fpu| {
        let short = QueryMemory {
            rotated: &mut rotated,
            table: &mut table[1..],
            bytes: &mut low,
        };
        assert!(fpu.prepare(&shape, Metric::L2, short).is_err());
        let memory = QueryMemory {
            rotated: &mut rotated,
            table: &mut table,
            bytes: &mut low,
        };
        let q = fpu.prepare(&shape, Metric::L2, memory).unwrap();
        let c = fpu.centroid(&q, &refs).unwrap();
        assert!(fpu.centroid(&q, &refs[..1]).is_err());
        let all = shape.capacity();
        let scan = shape.scan_blocks(all);
        let mut e =
            |refs: &[Option<&Block>], n| fpu.estimate(&q, &c, refs, n, NO_LIMIT, &[], &mut noted);
        assert!(e(&refs[..scan], all).is_ok());
        assert!(e(&refs[..scan - 1], all).is_err());
        assert!(e(&refs, all + 1).is_err());
        let mut holed = refs.clone();
        holed[1] = None;
        assert!(e(&holed, all).is_err());
        e(&refs, all).unwrap();
        assert!(fpu.refine(&q, &c, &refs, &mut noted).is_ok());
        assert!(fpu.refine(&q, &c, &refs[..scan], &mut noted).is_err());
        let (v, mut code) = (vec![0; 32], vec![0; 32]);
        assert!(fpu.encode(Metric::L2, &v, &v[..16], &mut code).is_err());
        assert!(fpu
            .encode(Metric::L2, &v[..20], &v[..20], &mut code[..20])
            .is_err());
    });
}

#[test]
fn two_means_finds_two_clusters_and_leaves_no_side_thin() {
    for cpu in paths() {
        let (dim, n) = (48, 90);
        let mut random = Random(11);
        let (a, b) = (random.vector(dim), random.vector(dim));
        let rows: Vec<f32> = (0..n)
            .flat_map(|i| {
                let centre = if i % 3 == 0 { &a } else { &b };
                let noise = random.vector(dim);
                centre
                    .iter()
                    .zip(noise)
                    .map(|(c, e)| c + 0.1 * e)
                    .collect::<Vec<_>>()
            })
            .collect();
        let divide = |rows: &[f32], n: usize| {
            let (mut side, mut centres, mut keys) = (vec![0; n], vec![0; 2 * dim], vec![0; n]);
            let memory = TwoMeans {
                side: &mut side,
                centres: &mut centres,
                keys: &mut keys,
            };
            two_means(&cpu, dim, &bits(rows), memory).unwrap();
            (side, values(&centres))
        };
        let (side, centres) = divide(&rows, n);
        for i in 0..n {
            assert_eq!(side[i] == side[0], i % 3 == 0, "{i}");
        }
        let first = usize::from(side[0]) * dim;
        assert!(square(&centres[first..first + dim], &a) < 0.1);
        // Equal rows, and one far from all others: still at least a quarter each.
        let mut same = vec![1.0; dim * 40];
        for lone in [false, true] {
            if lone {
                same[..dim].fill(100.0);
            }
            let (side, centres) = divide(&same, 40);
            let second = side.iter().filter(|s| **s == 1).count();
            assert!((10..=30).contains(&second), "{second}");
            assert!(centres.iter().all(|v| v.is_finite()));
        }
        let (mut side, mut centres, mut keys) = ([0; 1], vec![0; 2 * dim], [0; 1]);
        let memory = TwoMeans {
            side: &mut side,
            centres: &mut centres,
            keys: &mut keys,
        };
        assert!(two_means(&cpu, dim, &bits(&rows[..dim]), memory).is_err());
    }
}

/// Everything that the kernels give for a scene, as integers.
fn everything(cpu: &Userspace, dim: usize, n: usize, seed: u64, metric: Metric) -> Vec<Vec<u32>> {
    let (shape, centre, members, query) = scene(dim, n, seed);
    let mut signs = vec![0; Rotation::memory(&shape)];
    let rotation = Rotation::derive(&shape, seed, &mut signs).unwrap();
    let members: Vec<Vec<u32>> = members
        .iter()
        .map(|m| rotate(cpu, &rotation, metric, m))
        .collect();
    let c = rotate(cpu, &rotation, metric, &centre);
    let q = rotate(cpu, &rotation, metric, &query);
    let seen = look(cpu, &shape, metric, &c, &members, &q);
    let (mut side, mut centres, mut keys) = (vec![0; n], vec![0; 2 * shape.padded()], vec![0; n]);
    let memory = TwoMeans {
        side: &mut side,
        centres: &mut centres,
        keys: &mut keys,
    };
    let rows = members.concat();
    two_means(cpu, shape.padded(), &rows, memory).unwrap();
    let mut out = vec![rows, c, q, vec![seen.centroid, seen.limit], centres, keys];
    for (code, factors) in seen.stored {
        out.push(code.iter().map(|u| u32::from(*u)).chain(factors).collect());
    }
    for list in [seen.all, seen.some] {
        out.push(list.iter().flat_map(|(e, k)| [*e as u32, *k]).collect());
    }
    out
}

proptest! {
    #![proptest_config(config(60))]
    #[test]
    fn every_path_gives_the_same_bits(
        dim in prop_oneof![4 => 1usize..=150, 2 => 151usize..=1100, 1 => 1101usize..=4096],
        n in 2usize..=64,
        seed in any::<u64>(),
        metric in prop_oneof![Just(Metric::L2), Just(Metric::Cosine), Just(Metric::Dot)],
    ) {
        let n = n.min(Shape::new(dim as u32).unwrap().capacity());
        let portable = Userspace::with_isa(Isa::Portable).unwrap();
        let expected = everything(&portable, dim, n, seed, metric);
        for cpu in paths() {
            let got = everything(&cpu, dim, n, seed, metric);
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                prop_assert_eq!(got, expected, "result {}", i);
            }
        }
    }
}

#[test]
fn k_means_finds_clusters_alike_on_every_path() {
    let (dim, n, k) = (48, 600, 6);
    let mut random = Random(21);
    let centres: Vec<Vec<f32>> = (0..k).map(|_| random.vector(dim)).collect();
    let rows: Vec<f32> = (0..n)
        .flat_map(|i| {
            let noise = random.vector(dim);
            let centre = &centres[i * k / n];
            let near = centre.iter().zip(noise).map(|(c, e)| c + 0.05 * e);
            near.collect::<Vec<_>>()
        })
        .collect();
    let rows = bits(&rows);
    let mut first = None;
    for cpu in paths() {
        let (mut found, mut nearest) = (vec![0; k * dim], vec![0; n]);
        k_means(&cpu, dim, &rows, &mut found, &mut nearest).unwrap();
        for (c, centre) in centres.iter().enumerate() {
            let own = &values(&found)[c * dim..(c + 1) * dim];
            assert!(square(own, centre) < 0.01, "{c}");
        }
        assert!(nearest
            .iter()
            .enumerate()
            .all(|(i, c)| usize::from(*c) == i * k / n));
        let all = (found, nearest);
        assert_eq!(first.get_or_insert_with(|| all.clone()), &all);
    }
    let cpu = &paths()[0];
    let (mut found, mut nearest) = (vec![0; k * dim], vec![0; n]);
    assert!(k_means(cpu, dim, &rows[1..], &mut found, &mut nearest).is_err());
    assert!(k_means(cpu, dim, &rows, &mut found[1..], &mut nearest).is_err());
    assert!(k_means(cpu, dim, &rows, &mut [], &mut nearest).is_err());
    let mut few = vec![0; k - 1];
    assert!(k_means(cpu, dim, &rows[..(k - 1) * dim], &mut found, &mut few).is_err());
}
