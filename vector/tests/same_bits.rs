// SPDX-License-Identifier: GPL-2.0-only
//! Every instruction set gives the bits of the definition, for any dimension,
//! alignment, stride and shape of the batch, and for any values.

mod common;

use common::{bytes, config, floats, model, paths, tell};
use proptest::prelude::*;
use vector::math::{vexfs_math_distances, vexfs_math_norm2, Args, ELEMENT_F32};
use vector::{Batch, Compute, Distance, Element, Isa, Kind, Metric, Queries, Userspace};

const METRICS: [Metric; 3] = [Metric::L2, Metric::Cosine, Metric::Dot];

/// Finite elements of every kind: ordinary, of wildly different size, subnormal,
/// the greatest, zeros of both signs, and exact small integers.
fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        8 => -1.0f32..1.0,
        4 => any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |v| v.is_finite()),
        1 => (0u32..0x0080_0000).prop_map(f32::from_bits),
        1 => prop_oneof![Just(f32::MAX), Just(f32::MIN), Just(f32::MIN_POSITIVE), Just(f32::from_bits(1))],
        1 => prop_oneof![Just(0.0f32), Just(-0.0f32)],
        2 => (0i32..256).prop_map(|v| v as f32),
    ]
}

/// Any bits at all, as a damaged or erased slot may hold them.
fn hostile() -> impl Strategy<Value = f32> {
    prop_oneof![
        200 => finite(),
        1 => any::<u32>().prop_map(f32::from_bits),
        1 => prop_oneof![Just(f32::NAN), Just(-f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
    ]
}

fn dimension() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1usize..=70, 3 => 71usize..=400, 1 => 401usize..=4096]
}

/// A batch in memory: vectors and queries, and how crookedly they lie.
#[derive(Debug)]
struct Case {
    queries: Vec<Vec<f32>>,
    vectors: Vec<Vec<f32>>,
    /// Bytes before the first vector, and between a vector and the next.
    offset: usize,
    gap: usize,
    /// Bytes before the first query.
    query_offset: usize,
}

fn case<S: Strategy<Value = f32>>(element: fn() -> S) -> impl Strategy<Value = Case> {
    (dimension(), 1usize..=3, 0usize..=10).prop_flat_map(move |(dim, queries, vectors)| {
        let vector = move || prop::collection::vec(element(), dim);
        (
            prop::collection::vec(vector(), queries),
            prop::collection::vec(vector(), vectors),
            0usize..64,
            0usize..70,
            0usize..64,
        )
            .prop_map(|(queries, vectors, offset, gap, query_offset)| Case {
                queries,
                vectors,
                offset,
                gap,
                query_offset,
            })
    })
}

impl Case {
    fn dim(&self) -> usize {
        self.queries[0].len()
    }

    fn stride(&self) -> usize {
        self.dim() * 4 + self.gap
    }

    /// The memory behind the vectors; no byte follows the last one.
    fn vector_memory(&self) -> Vec<u8> {
        let mut memory = vec![0xa5; self.offset];
        for (i, vector) in self.vectors.iter().enumerate() {
            if i > 0 {
                memory.extend(std::iter::repeat_n(0x5a, self.gap));
            }
            memory.extend(bytes(vector));
        }
        memory
    }

    fn query_memory(&self) -> Vec<u8> {
        let mut memory = vec![0x77; self.query_offset];
        for query in &self.queries {
            memory.extend(bytes(query));
        }
        memory
    }

    fn expected(&self, metric: Metric) -> Vec<u64> {
        self.queries
            .iter()
            .flat_map(|q| self.vectors.iter().map(move |x| model(metric, x, q)))
            .map(|d| d.map_or(Distance::INVALID, Distance::from_f64).ordered())
            .collect()
    }
}

proptest! {
    #![proptest_config(config(600))]

    /// Through the safe interface, with acceptable vectors.
    #[test]
    fn every_path_gives_the_bits_of_the_definition(case in case(finite)) {
        let memory = case.vector_memory();
        let query_memory = case.query_memory();
        for metric in METRICS {
            let kind = floats(metric, case.dim());
            for path in paths() {
                let mut norms = vec![0; case.queries.len()];
                let queries =
                    match Queries::prepare(&path, &kind, &query_memory[case.query_offset..], &mut norms) {
                        Ok(queries) => queries,
                        Err(error) => {
                            prop_assert_eq!(error, vector::Error::NoDirection);
                            prop_assert!(case.queries.iter().any(|q| q.iter().all(|e| *e == 0.0)));
                            continue;
                        }
                    };
                let batch =
                    Batch::new(&kind, &memory, case.offset, case.stride(), case.vectors.len()).unwrap();
                let mut out = vec![Distance::MIN; queries.count() * batch.count()];
                path.distances(&queries, &batch, &mut out).unwrap();
                let out: Vec<u64> = out.into_iter().map(Distance::ordered).collect();
                prop_assert_eq!(&out, &case.expected(metric), "{} by {}", metric, path.isa().name());
            }
        }
    }

    /// Through the interface of the math object, with whatever bits there may be:
    /// nothing traps, and what is not a number is the same on all paths.
    #[test]
    fn hostile_bits_give_the_same_on_every_path(case in case(hostile)) {
        let memory = case.vector_memory();
        let query_memory = case.query_memory();
        let dim = case.dim();
        for metric in METRICS {
            for path in paths() {
                let norms: Vec<u64> = query_memory[case.query_offset..]
                    .chunks_exact(dim * 4)
                    // SAFETY: a chunk has `dim` elements.
                    .map(|query| unsafe { vexfs_math_norm2(query.as_ptr(), dim, ELEMENT_F32) })
                    .collect();
                let mut out = vec![0u64; case.queries.len() * case.vectors.len()];
                let args = Args {
                    isa: path.isa() as u32,
                    metric: metric.code(),
                    element: ELEMENT_F32,
                    zero: 0,
                    dim,
                    queries: query_memory[case.query_offset..].as_ptr(),
                    query_stride: dim * 4,
                    query_count: case.queries.len(),
                    norms: norms.as_ptr(),
                    vectors: memory[case.offset..].as_ptr(),
                    vector_stride: case.stride(),
                    vector_count: case.vectors.len(),
                    out: out.as_mut_ptr(),
                };
                // SAFETY: the case's memory has these shapes; `paths` are the CPU's.
                unsafe { vexfs_math_distances(&args) };
                prop_assert_eq!(&out, &case.expected(metric), "{} by {}", metric, path.isa().name());
            }
        }
    }

    /// A batch gives what its pairs give one by one.
    #[test]
    fn a_pair_is_a_batch_of_one(case in case(finite)) {
        for metric in METRICS {
            let kind = floats(metric, case.dim());
            let expected = case.expected(metric);
            for path in paths() {
                let pairs = case.queries.iter().flat_map(|q| case.vectors.iter().map(move |x| (q, x)));
                for ((q, x), expected) in pairs.zip(&expected) {
                    match path.distance(&kind, &bytes(q), &bytes(x)) {
                        Ok(distance) => prop_assert_eq!(distance.ordered(), *expected),
                        Err(error) => prop_assert_eq!(error, vector::Error::NoDirection),
                    }
                }
            }
        }
    }

    /// All metrics are symmetric, bit for bit.
    #[test]
    fn distances_are_symmetric(
        (x, q) in dimension().prop_flat_map(|dim| {
            (prop::collection::vec(finite(), dim), prop::collection::vec(finite(), dim))
        })
    ) {
        for metric in METRICS {
            let kind = floats(metric, x.len());
            for path in paths() {
                let there = path.distance(&kind, &bytes(&x), &bytes(&q));
                let back = path.distance(&kind, &bytes(&q), &bytes(&x));
                if let (Ok(there), Ok(back)) = (there, back) {
                    prop_assert_eq!(there, back);
                }
            }
        }
    }
}

#[test]
fn every_dimension_on_every_path() {
    // All dimensions once, so that no remainder of a register goes untested.
    let element = |i: usize| ((i * 2654435761) % 2001) as f32 / 1000.0 - 1.0;
    let x: Vec<f32> = (0..4096).map(element).collect();
    let q: Vec<f32> = (5000..9096).map(element).collect();
    let (x_bytes, q_bytes) = (bytes(&x), bytes(&q));
    for dim in 1..=4096usize {
        for metric in METRICS {
            let expected = model(metric, &x[..dim], &q[..dim]).unwrap();
            for path in paths() {
                let distance = path
                    .distance(
                        &floats(metric, dim),
                        &q_bytes[..dim * 4],
                        &x_bytes[..dim * 4],
                    )
                    .unwrap();
                assert_eq!(
                    distance.to_f64().to_bits(),
                    expected.to_bits(),
                    "{metric} of {dim} elements by {}",
                    path.isa().name()
                );
            }
        }
    }
}

/// Says what the other tests cannot see, so that a missing path is not silent.
#[test]
fn paths_of_this_machine() {
    for isa in Isa::ALL {
        match Userspace::with_isa(isa) {
            Some(path) => println!("compared: {}", path.isa().name()),
            None => tell(&format!("NOT COMPARED, this CPU lacks it: {}", isa.name())),
        }
    }
    assert_eq!(paths().first().map(Userspace::isa), Some(Isa::Portable));
    assert_eq!(paths().last().map(Userspace::isa), Some(Isa::detect()));
}

/// What lies behind a vector has no influence on its distance.
#[test]
fn what_follows_a_vector_does_not_count() {
    for dim in (1..=130usize).chain([383, 385, 1000, 4095]) {
        let elements: Vec<f32> = (0..dim).map(|i| i as f32 + 1.0).collect();
        let query = bytes(&vec![1.5; dim]);
        let run = |filler: u8| {
            let mut memory = bytes(&elements);
            memory.resize(dim * 4 + 128, filler);
            METRICS.map(|metric| {
                paths()
                    .iter()
                    .map(|path| {
                        path.distance(&floats(metric, dim), &query, &memory[..dim * 4])
                            .unwrap()
                    })
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(run(0), run(0xff), "{dim} elements");
    }
}

/// A read beyond the last element, or before the first, would kill the test: both
/// ends of the vector lie at pages without access.
#[cfg(target_os = "linux")]
#[test]
fn nothing_outside_a_vector_is_read() {
    const PAGE: usize = 4096;
    const LEN: usize = 6 * PAGE;
    // SAFETY: a fresh anonymous mapping.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            LEN,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(base, libc::MAP_FAILED);
    // SAFETY: the inner pages of that mapping; then the only reference to them.
    let memory = unsafe {
        let inner = base.cast::<u8>().add(PAGE);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        assert_eq!(libc::mprotect(inner.cast(), LEN - 2 * PAGE, access), 0);
        std::slice::from_raw_parts_mut(inner, LEN - 2 * PAGE)
    };
    for dim in (1..=130usize).chain([383, 384, 385, 1000, 4095, 4096]) {
        for kind in kinds(dim) {
            let vector = acceptable(&kind, 3);
            let start = memory.len() - vector.len();
            memory[start..].copy_from_slice(&vector);
            memory[..vector.len()].copy_from_slice(&vector);
            for path in paths() {
                for place in [&memory[start..], &memory[..vector.len()]] {
                    path.distance(&kind, place, place).unwrap();
                }
            }
        }
    }
    // SAFETY: mapped above; `memory` is not used any more.
    unsafe { libc::munmap(base, LEN) };
}

/// So many queries that they are divided among several brackets: every one still
/// has its own norm and its own row.
#[test]
fn many_queries_in_one_call() {
    let (dim, queries, vectors) = (384usize, 700usize, 41usize);
    let element = |i: usize| ((i * 2654435761) % 20011) as f32 / 7919.0 - 1.0;
    let query_floats: Vec<f32> = (0..dim * queries).map(element).collect();
    let vector_floats: Vec<f32> = (0..dim * vectors).map(|i| element(i + 77)).collect();
    let (query_bytes, vector_bytes) = (bytes(&query_floats), bytes(&vector_floats));
    for metric in METRICS {
        for path in paths() {
            let mut norms = vec![0; queries];
            let prepared =
                Queries::prepare(&path, &floats(metric, dim), &query_bytes, &mut norms).unwrap();
            let batch =
                Batch::new(&floats(metric, dim), &vector_bytes, 0, dim * 4, vectors).unwrap();
            let mut out = vec![Distance::INVALID; queries * vectors];
            path.distances(&prepared, &batch, &mut out).unwrap();
            for (j, row) in out.chunks_exact(vectors).enumerate() {
                let q = &query_floats[j * dim..][..dim];
                for (x, distance) in vector_floats.chunks_exact(dim).zip(row) {
                    let expected = model(metric, x, q).unwrap();
                    assert_eq!(distance.to_f64().to_bits(), expected.to_bits());
                }
            }
        }
    }
}

/// All kinds of vectors of a dimension.
fn kinds(dim: usize) -> Vec<Kind> {
    let all = Element::ALL.map(|e| Metric::ALL.map(|m| Kind::new(e, m, dim as u32)));
    all.into_iter().flatten().flatten().collect()
}

/// A vector that is acceptable, whatever the kind.
fn acceptable(kind: &Kind, seed: usize) -> Vec<u8> {
    let number = |i: usize| ((i + seed) * 2654435761) >> 7;
    let mut vector: Vec<u8> = match kind.element() {
        Element::F32 => bytes(
            &(0..kind.dim() as usize)
                .map(|i| number(i) as f32 % 77.0 + 1.0)
                .collect::<Vec<_>>(),
        ),
        // Any exponent but the greatest, and so any kind of finite value.
        Element::F16 => (0..kind.dim() as usize)
            .flat_map(|i| {
                let bits = number(i) as u16;
                (if bits >> 10 & 0x1f == 0x1f {
                    0x3c00
                } else {
                    bits
                })
                .to_le_bytes()
            })
            .collect(),
        Element::I8 | Element::Binary => (0..kind.vector_bytes())
            .map(|i| number(i) as u8 | 1)
            .collect(),
    };
    let unused = (8 - kind.dim() % 8) % 8;
    if let (Element::Binary, Some(last)) = (kind.element(), vector.last_mut()) {
        *last &= 0xff >> unused;
    }
    vector
}

/// The values of a vector, by another way than the kernels take.
fn values(kind: &Kind, vector: &[u8]) -> Vec<f32> {
    match kind.element() {
        Element::F32 => vector
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        Element::F16 => vector
            .chunks(2)
            .map(|b| {
                let bits = u16::from_le_bytes(b.try_into().unwrap());
                let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
                let magnitude = match exponent {
                    0 => fraction * 2f64.powi(-24),
                    _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
                };
                (if bits >> 15 != 0 {
                    -magnitude
                } else {
                    magnitude
                }) as f32
            })
            .collect(),
        Element::I8 => vector.iter().map(|b| f32::from(*b as i8)).collect(),
        Element::Binary => (0..kind.dim() as usize)
            .map(|i| f32::from(vector[i / 8] >> (i % 8) & 1))
            .collect(),
    }
}

#[test]
fn every_kind_and_dimension_on_every_path() {
    for dim in (1..=300usize).chain([383, 384, 500, 1000, 1536, 2047, 4095, 4096]) {
        for kind in kinds(dim) {
            let (x, q) = (acceptable(&kind, 1), acceptable(&kind, 1000));
            let (xv, qv) = (values(&kind, &x), values(&kind, &q));
            let expected = match kind.metric() {
                Metric::Hamming => xv.iter().zip(&qv).filter(|(x, q)| x != q).count() as f64,
                metric => model(metric, &xv, &qv).unwrap(),
            };
            for path in paths() {
                let distance = path.distance(&kind, &q, &x).unwrap();
                let name = path.isa().name();
                assert_eq!(
                    distance.to_f64().to_bits(),
                    expected.to_bits(),
                    "{kind:?} by {name}"
                );
            }
        }
    }
}

/// The kernel's stack is aligned to 8 bytes only. Called with such a stack, every path
/// must do as always; an aligned store to it would end the test.
#[cfg(target_arch = "x86_64")]
#[test]
fn the_stack_may_be_aligned_to_eight_bytes() {
    use std::arch::asm;

    /// Calls `function` with two arguments and a stack that is 8 bytes off.
    ///
    /// # Safety
    /// `function` must be a C function that takes these arguments.
    #[inline(never)]
    unsafe fn askew(function: usize, first: usize, second: usize, third: usize) -> u64 {
        let result;
        // SAFETY: the stack pointer is kept in rbx's stead in r12 and restored; all that a
        // C function may change is named.
        unsafe {
            asm!(
                "mov r12, rsp",
                "and rsp, -16",
                "sub rsp, 8",
                "call {function}",
                "mov rsp, r12",
                function = in(reg) function,
                in("rdi") first,
                in("rsi") second,
                in("rdx") third,
                out("r12") _,
                lateout("rax") result,
                clobber_abi("C"),
            );
        }
        result
    }

    for dim in [1, 7, 45, 384, 1000] {
        for kind in kinds(dim) {
            let (x, q) = (acceptable(&kind, 5), acceptable(&kind, 6));
            for path in paths() {
                let expected = path.distance(&kind, &q, &x).unwrap();
                let mut norm = 0;
                if kind.metric() == Metric::Cosine {
                    let function = vexfs_math_norm2 as *const () as usize;
                    let element = kind.element().code() as usize;
                    // SAFETY: the vector has `dim` elements.
                    norm = unsafe { askew(function, q.as_ptr() as usize, dim, element) };
                }
                let mut out = 0u64;
                let args = Args {
                    isa: path.isa() as u32,
                    metric: kind.metric().code(),
                    element: kind.element().code(),
                    zero: 0,
                    dim,
                    queries: q.as_ptr(),
                    query_stride: q.len(),
                    query_count: 1,
                    norms: &norm,
                    vectors: x.as_ptr(),
                    vector_stride: x.len(),
                    vector_count: 1,
                    out: &mut out,
                };
                let function = vexfs_math_distances as *const () as usize;
                // SAFETY: the arguments describe one query and one vector.
                unsafe { askew(function, &raw const args as usize, 0, 0) };
                assert_eq!(out, expected.ordered(), "{kind:?}");
            }
        }
    }
}
