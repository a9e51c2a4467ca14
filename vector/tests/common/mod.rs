// SPDX-License-Identifier: GPL-2.0-only
//! What the tests of this crate share: the instruction sets of the machine, and
//! the sums written a second time, straight from their definition.
#![allow(dead_code)] // Not every test uses everything.

use std::io::Write;

use proptest::prelude::ProptestConfig;
use vector::{Element, Isa, Kind, Metric, Userspace};

/// Every path that this machine can take.
pub fn paths() -> Vec<Userspace> {
    Isa::ALL
        .into_iter()
        .filter_map(Userspace::with_isa)
        .collect()
}

/// Tells whoever runs the tests what was not tested, past the harness, which
/// swallows what a passing test prints.
pub fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// `cases` cases; a failure prints its input and leaves no file behind.
pub fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// Binary32 vectors.
pub fn floats(metric: Metric, dim: usize) -> Kind {
    Kind::new(Element::F32, metric, dim as u32).unwrap()
}

/// Little-endian elements.
pub fn bytes(elements: &[f32]) -> Vec<u8> {
    elements.iter().flat_map(|e| e.to_le_bytes()).collect()
}

/// The definition in `math/mod.rs`: sixteen lanes, then pairs.
pub fn lanes(terms: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; 16];
    for (i, term) in terms.enumerate() {
        lanes[i % 16] += term;
    }
    for half in [8, 4, 2, 1] {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
    }
    lanes[0]
}

/// The distance by its definition. `None` if it is not a number.
pub fn model(metric: Metric, x: &[f32], q: &[f32]) -> Option<f64> {
    let pairs = || {
        x.iter()
            .map(|v| f64::from(*v))
            .zip(q.iter().map(|v| f64::from(*v)))
    };
    let distance = match metric {
        Metric::L2 => lanes(pairs().map(|(x, q)| (x - q) * (x - q))),
        Metric::Dot => 0.0 - lanes(pairs().map(|(x, q)| x * q)),
        Metric::Hamming => unreachable!("of bits only"),
        Metric::Cosine => {
            let dot = lanes(pairs().map(|(x, q)| x * q));
            let xx = lanes(pairs().map(|(x, _)| x * x));
            let qq = lanes(pairs().map(|(_, q)| q * q));
            let distance = 1.0 - dot / (xx * qq).sqrt();
            if distance.is_nan() {
                distance
            } else {
                distance.clamp(0.0, 2.0)
            }
        }
    };
    (!distance.is_nan()).then_some(distance)
}
