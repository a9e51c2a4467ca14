// SPDX-License-Identifier: GPL-2.0-only
//! Nodes of graphs and what choosing neighbours needs: every instruction set gives the bits of the definition, distances are right,
//! estimates near the truth, and nothing that is missing is read.

mod common;

use common::{bytes, floats, paths};
use layout::graph::{NodeShape, NodeUnits, DEGREE};
use layout::partition::{Shape, UNITS};
use layout::{Block, BLOCK_SIZE};
use vector::ann::{apart, hidden, Neighbours, Query, QueryMemory, Rotation, ALONE, NO_LIMIT};
use vector::{Compute, Error, Metric, Userspace};

/// A small generator: the sum of twelve even values, less six.
struct Random(u64);

impl Random {
    fn vector(&mut self, dim: usize, width: f32) -> Vec<f32> {
        let mut one = || {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) as f32 / (1u64 << 31) as f32
        };
        (0..dim)
            .map(|_| ((0..12).map(|_| one()).sum::<f32>() - 6.0) * width)
            .collect()
    }
}

fn value(key: u32) -> f64 {
    let bits = if key >> 31 == 0 {
        !key
    } else {
        key & !(1 << 31)
    };
    f64::from(f32::from_bits(bits))
}

fn square(a: &[f32], b: &[f32]) -> f64 {
    let d = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
    d.map(|d| d * d).sum()
}

/// A node of 32 neighbours as the last of its blocks, its centre and the neighbours' vectors.
struct Case {
    dim: usize,
    shape: NodeShape,
    blocks: Vec<Block>,
    first: usize,
    centre: Vec<f32>,
    neighbours: Vec<Vec<f32>>,
    query: Vec<f32>,
}

fn rotated(cpu: &Userspace, dim: usize, v: &[f32]) -> Vec<u32> {
    let shape = Shape::new(dim as u32).unwrap();
    let mut signs = vec![0; Rotation::memory(&shape)];
    let rotation = Rotation::derive(&shape, 5, &mut signs).unwrap();
    let mut out = vec![0; shape.padded()];
    cpu.with_fpu(&mut |fpu| {
        fpu.rotate(&rotation, &floats(Metric::L2, dim), &bytes(v), &mut out)
            .unwrap();
    });
    out
}

impl Case {
    fn new(dim: usize, seed: u64) -> Case {
        let cpu = Userspace::portable();
        let mut random = Random(seed);
        let shape = NodeShape::new(dim as u32).unwrap();
        let mut blocks = vec![[0; BLOCK_SIZE]; shape.blocks()];
        let first = shape.first_unit(shape.per_block() - 1);
        let centre = random.vector(dim, 1.0);
        let near = |random: &mut Random, width| {
            let offset = random.vector(dim, width);
            centre
                .iter()
                .zip(offset)
                .map(|(c, o)| c + o)
                .collect::<Vec<_>>()
        };
        let neighbours: Vec<_> = (0..DEGREE).map(|_| near(&mut random, 0.5)).collect();
        let query = near(&mut random, 0.4);
        let at = rotated(&cpu, dim, &centre);
        let mut units = NodeUnits::new(&mut blocks[..], first);
        units.put_vector(&shape, &at).unwrap();
        for (n, v) in neighbours.iter().enumerate() {
            let mut code = vec![0; shape.padded()];
            let mut factors = [0; 2];
            cpu.with_fpu(&mut |fpu| {
                let v = rotated(&cpu, dim, v);
                factors = fpu.encode_top(Metric::L2, &v, &at, &mut code).unwrap();
            });
            units.put_code(&shape, n, &code, factors).unwrap();
        }
        Case {
            dim,
            shape,
            blocks,
            first,
            centre,
            neighbours,
            query,
        }
    }

    /// What a node says of the query, with one instruction set; `held` of its blocks are there.
    fn look(&self, cpu: &Userspace, metric: Metric, held: usize) -> Result<Neighbours, Error> {
        let shape = Shape::new(self.dim as u32).unwrap();
        let [r, t, b] = QueryMemory::lengths(&shape);
        let (mut table, mut bytes) = (vec![0; t], vec![0; b]);
        let mut query = rotated(cpu, self.dim, &self.query);
        assert_eq!(query.len(), r);
        let list: Vec<Option<&Block>> = self.blocks.iter().take(held).map(Some).collect();
        let mut out = Neighbours::default();
        let mut result = Ok(());
        cpu.with_fpu(&mut |fpu| {
            let memory = QueryMemory {
                rotated: &mut query,
                table: &mut table,
                bytes: &mut bytes,
            };
            let query: Query<'_> = fpu.prepare(&shape, metric, memory).unwrap();
            result = fpu.node(&query, &self.shape, &list, self.first, &mut out);
        });
        result.map(|()| out)
    }
}

const DIMS: [usize; 9] = [1, 15, 16, 100, 128, 384, 500, 1024, 4096];

#[test]
fn every_path_gives_the_same_and_the_truth() {
    for (seed, dim) in DIMS.into_iter().enumerate() {
        let case = Case::new(dim, seed as u64 + 1);
        let wanted = case.look(&Userspace::portable(), Metric::L2, 9).unwrap();
        for cpu in paths() {
            let found = case.look(&cpu, Metric::L2, 9).unwrap();
            assert_eq!(found, wanted, "{dim}: {:?}", cpu.isa());
        }
        let own = square(&case.query, &case.centre);
        assert!((value(wanted.own) - own).abs() <= own * 1e-4, "{dim}");
        // One bit a dimension: the error falls with the root of their number, which is small for few.
        if dim < 100 {
            continue;
        }
        for (key, v) in wanted.keys.iter().zip(&case.neighbours) {
            let right = square(&case.query, v);
            let far = square(&case.centre, v).sqrt() * own.sqrt();
            let error = (value(*key) - right).abs();
            assert!(
                error <= 8.0 * far / (dim as f64).sqrt(),
                "{dim}: {right} {error}"
            );
        }
    }
}

#[test]
fn what_is_missing_is_refused() {
    let case = Case::new(1024, 3);
    assert!(case.shape.blocks() > 1);
    let cpu = Userspace::portable();
    let error = case.look(&cpu, Metric::L2, 1).unwrap_err();
    let wanted = Error::Length {
        expected: case.shape.units().div_ceil(UNITS),
        actual: 1,
    };
    assert_eq!(error, wanted);
    assert_eq!(case.look(&cpu, Metric::Dot, 9), Err(Error::Kind));
}

#[test]
fn rows_are_compared_alike_on_every_path() {
    for dim in [16usize, 48, 400] {
        let mut random = Random(dim as u64);
        let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        let rows: Vec<Vec<f32>> = (0..37).map(|_| random.vector(dim, 1.0)).collect();
        let flat: Vec<u32> = rows.iter().flat_map(|r| bits(r.clone())).collect();
        let (centre, chosen) = (random.vector(dim, 1.0), rows[5].clone());
        let mut wanted: Option<(Vec<u32>, Vec<u32>)> = None;
        for cpu in paths() {
            let (mut keys, mut parts) = (vec![0; rows.len()], vec![NO_LIMIT; rows.len()]);
            apart(&cpu, &flat, &bits(centre.clone()), &mut keys).unwrap();
            hidden(&cpu, &flat, &bits(chosen.clone()), &keys, &mut parts).unwrap();
            let found = (keys, parts);
            assert_eq!(
                *wanted.get_or_insert(found.clone()),
                found,
                "{:?}",
                cpu.isa()
            );
        }
        let (keys, parts) = wanted.unwrap();
        for ((key, part), row) in keys.iter().zip(&parts).zip(&rows) {
            let (own, other) = (square(row, &centre), square(row, &chosen));
            assert!((value(*key) - own).abs() <= own * 1e-4);
            assert!((value(*part) - other / own).abs() <= 1e-4 * (1.0 + other / own));
            assert_eq!(*part > ALONE, value(*part) > 1.0);
        }
        // Smaller ones stay.
        let mut low = vec![1 << 31; rows.len()];
        hidden(&Userspace::detect(), &flat, &bits(chosen), &keys, &mut low).unwrap();
        assert!(low.iter().all(|part| *part == 1 << 31));
        assert!(apart(&Userspace::detect(), &flat, &bits(centre), &mut [0; 36]).is_err());
    }
}
