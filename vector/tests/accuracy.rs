// SPDX-License-Identifier: GPL-2.0-only
//! How far the distances are from the true values, which are computed here with
//! some 106 significant bits (double-double, after Dekker and Knuth).

mod common;

use common::{bytes, config, floats, paths};
use proptest::prelude::*;
use vector::{Compute, Distance, Metric, Userspace};

/// An unevaluated sum of two numbers, the second far below the first.
#[derive(Clone, Copy, Debug)]
struct Wide(f64, f64);

impl Wide {
    const ZERO: Wide = Wide(0.0, 0.0);

    /// a + b without error (Knuth's TwoSum).
    fn sum(a: f64, b: f64) -> Wide {
        let s = a + b;
        let t = s - a;
        Wide(s, (a - (s - t)) + (b - t))
    }

    /// a * b without error, with the fused operation.
    fn product(a: f64, b: f64) -> Wide {
        let p = a * b;
        Wide(p, a.mul_add(b, -p))
    }

    fn add(self, other: Wide) -> Wide {
        let s = Wide::sum(self.0, other.0);
        let t = Wide::sum(self.1, other.1);
        let u = Wide::sum(s.0, s.1 + t.0);
        Wide::sum(u.0, u.1 + t.1)
    }

    fn mul(self, other: Wide) -> Wide {
        let p = Wide::product(self.0, other.0);
        Wide::sum(p.0, p.1 + (self.0 * other.1 + self.1 * other.0))
    }

    fn neg(self) -> Wide {
        Wide(-self.0, -self.1)
    }

    /// Newton's step from the rounded quotient, twice.
    fn div(self, other: Wide) -> Wide {
        let q = self.0 / other.0;
        let r = self.add(other.mul(Wide(q, 0.0)).neg());
        let q2 = r.0 / other.0;
        let r = r.add(other.mul(Wide(q2, 0.0)).neg());
        Wide::sum(q, q2).add(Wide(r.0 / other.0, 0.0))
    }

    fn sqrt(self) -> Wide {
        let s = self.0.sqrt();
        let r = self.add(Wide::product(s, s).neg());
        Wide::sum(s, (r.0 + r.1) / (2.0 * s))
    }

    fn value(self) -> f64 {
        self.0 + self.1
    }
}

fn wide_sum(terms: impl Iterator<Item = Wide>) -> Wide {
    terms.fold(Wide::ZERO, Wide::add)
}

/// The true distance, and the scale of its unavoidable absolute error.
fn truth(metric: Metric, x: &[f32], q: &[f32]) -> (f64, f64) {
    let pairs = || x.iter().zip(q).map(|(x, q)| (f64::from(*x), f64::from(*q)));
    let dot = || wide_sum(pairs().map(|(x, q)| Wide::product(x, q)));
    let magnitude: f64 = pairs().map(|(x, q)| (x * q).abs()).sum();
    match metric {
        Metric::L2 => {
            let sum = wide_sum(pairs().map(|(x, q)| {
                let d = Wide::sum(x, -q);
                d.mul(d)
            }));
            (sum.value(), sum.value())
        }
        Metric::Dot => (dot().neg().value(), magnitude),
        Metric::Hamming => unreachable!("of bits only"),
        Metric::Cosine => {
            let xx = wide_sum(pairs().map(|(x, _)| Wide::product(x, x)));
            let qq = wide_sum(pairs().map(|(_, q)| Wide::product(q, q)));
            let norm = xx.mul(qq).sqrt();
            let cos = dot().div(norm);
            (Wide(1.0, 0.0).add(cos.neg()).value(), 1.0)
        }
    }
}

fn distance(path: &Userspace, metric: Metric, x: &[f32], q: &[f32]) -> f64 {
    path.distance(&floats(metric, x.len()), &bytes(q), &bytes(x))
        .map(Distance::to_f64)
        .unwrap()
}

fn unit(mut v: Vec<f32>) -> Vec<f32> {
    let norm = v.iter().map(|e| e * e).sum::<f32>().sqrt();
    v.iter_mut().for_each(|e| *e /= norm);
    v
}

proptest! {
    #![proptest_config(config(1_500))]

    /// l2: relative error below 1e-13 always. dot and cosine: absolute error below
    /// 1e-13 of the terms' magnitude.
    #[test]
    fn random_pairs((x, q) in (1usize..1500).prop_flat_map(|dim| (
        prop::collection::vec(-1.0f32..1.0, dim),
        prop::collection::vec(-1.0f32..1.0, dim),
    ))) {
        prop_assume!(x.iter().any(|e| *e != 0.0) && q.iter().any(|e| *e != 0.0));
        for path in paths() {
            for metric in [Metric::L2, Metric::Dot, Metric::Cosine] {
                let (expected, scale) = truth(metric, &x, &q);
                let actual = distance(&path, metric, &x, &q);
                prop_assert!((actual - expected).abs() <= 1e-13 * scale, "{metric}: {actual:e} {expected:e}");
            }
        }
    }

    /// Unit vectors that differ by little, down to a single step of one element: l2
    /// stays right to 1e-13; cosine to 1e-5 of any distance above 1e-10.
    #[test]
    fn near_duplicates(
        x in prop::collection::vec(-1.0f32..1.0, 384),
        noise in prop::collection::vec(-1.0f32..1.0, 384),
        exponent in 1i32..9,
    ) {
        let x = unit(x);
        let q: Vec<f32> = x.iter().zip(&noise).map(|(x, n)| x + n * 10f32.powi(-exponent)).collect();
        for path in paths() {
            let (expected, _) = truth(Metric::L2, &x, &q);
            let actual = distance(&path, Metric::L2, &x, &q);
            prop_assert!((actual - expected).abs() <= 1e-13 * expected, "l2: {actual:e} {expected:e}");
            let (expected, _) = truth(Metric::Cosine, &x, &q);
            let actual = distance(&path, Metric::Cosine, &x, &q);
            let allowed = if expected > 1e-10 { 1e-5 * expected } else { 1e-15 };
            prop_assert!((actual - expected).abs() <= allowed, "cosine: {actual:e} {expected:e}");
        }
    }

    /// The same vector, or a multiple by a power of two, is at distance 0 exactly,
    /// the opposite one at 2 exactly.
    #[test]
    fn equal_directions(x in prop::collection::vec(-1e3f32..1e3, 1..500), shift in -20i32..20) {
        prop_assume!(x.iter().any(|e| e.abs() > 1e-20));
        let scaled: Vec<f32> = x.iter().map(|e| e * 2f32.powi(shift)).collect();
        prop_assume!(x.iter().zip(&scaled).all(|(a, b)| a * 2f32.powi(shift) == *b && b / 2f32.powi(shift) == *a));
        let opposite: Vec<f32> = scaled.iter().map(|e| -e).collect();
        for path in paths() {
            prop_assert_eq!(distance(&path, Metric::L2, &x, &x).to_bits(), 0);
            prop_assert_eq!(distance(&path, Metric::Cosine, &x, &scaled).to_bits(), 0);
            prop_assert_eq!(distance(&path, Metric::Cosine, &x, &opposite), 2.0);
        }
    }
}

#[test]
fn known_values() {
    let (x, q) = ([3.0f32, 0.0], [0.0f32, 4.0]);
    for path in paths() {
        assert_eq!(distance(&path, Metric::L2, &x, &q), 25.0);
        assert_eq!(distance(&path, Metric::Cosine, &x, &q), 1.0);
        // An inner product of zero is +0, so that its integer is one, not two.
        assert_eq!(distance(&path, Metric::Dot, &x, &q).to_bits(), 0);
        assert_eq!(distance(&path, Metric::Dot, &x, &[2.0, 1.0]), -6.0);
        assert_eq!(distance(&path, Metric::Dot, &x, &[-2.0, 1.0]), 6.0);
        // The greatest that there can be is finite.
        let far = distance(&path, Metric::L2, &[f32::MAX; 4096], &[f32::MIN; 4096]);
        assert!(far.is_finite() && far > 1e80, "{far:e}");
        // The smallest that there can be is not zero.
        let tiny = f32::from_bits(1);
        assert!(distance(&path, Metric::L2, &[tiny], &[0.0]) > 0.0);
        assert_eq!(distance(&path, Metric::Cosine, &[tiny], &[f32::MAX]), 0.0);
    }
}
