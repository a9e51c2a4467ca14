// SPDX-License-Identifier: GPL-2.0-only
//! What the safe interface refuses, and that it says why.

mod common;

use common::bytes;
use vector::{
    validate, vector_bytes, Batch, Compute, Distance, Error, Metric, Queries, Userspace, MAX_DIM,
};

#[test]
fn dimensions() {
    assert_eq!(vector_bytes(0), Err(Error::Dimension { dim: 0 }));
    assert_eq!(vector_bytes(1), Ok(4));
    assert_eq!(vector_bytes(MAX_DIM), Ok(16_384));
    assert_eq!(vector_bytes(4097), Err(Error::Dimension { dim: 4097 }));
}

#[test]
fn acceptable_vectors() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        for element in [
            1.0,
            f32::MAX,
            f32::MIN,
            f32::from_bits(1),
            -f32::MIN_POSITIVE,
        ] {
            assert_eq!(validate(metric, 2, &bytes(&[0.0, element])), Ok(()));
        }
        for element in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(
                validate(metric, 3, &bytes(&[0.0, 1.0, element])),
                Err(Error::NotFinite { element: 2 })
            );
        }
        for length in [0, 1, 4, 7, 9, 12] {
            assert_eq!(
                validate(metric, 2, &vec![0; length]),
                Err(Error::Length {
                    expected: 8,
                    actual: length
                })
            );
        }
    }
    // Zeros of either sign have a distance, but no direction.
    let zero = bytes(&[0.0, -0.0]);
    assert_eq!(validate(Metric::L2, 2, &zero), Ok(()));
    assert_eq!(validate(Metric::Dot, 2, &zero), Ok(()));
    assert_eq!(validate(Metric::Cosine, 2, &zero), Err(Error::NoDirection));
}

#[test]
fn batches_lie_within_their_memory() {
    let memory = [0u8; 100];
    // Three vectors of 2 elements, 40 bytes apart: 2 * 40 + 8 bytes.
    assert!(Batch::new(2, &memory[..88], 0, 40, 3).is_ok());
    assert!(Batch::new(2, &memory[..87], 0, 40, 3).is_err());
    assert!(Batch::new(2, &memory, 12, 40, 3).is_ok());
    assert!(Batch::new(2, &memory, 13, 40, 3).is_err());
    assert!(Batch::new(2, &memory, 100, 8, 0).is_ok());
    assert!(Batch::new(2, &memory, 101, 8, 0).is_err());
    assert!(
        Batch::new(2, &memory, 0, 7, 1).is_err(),
        "stride below a vector"
    );
    for huge in [usize::MAX, usize::MAX / 2, usize::MAX / 40] {
        assert!(Batch::new(2, &memory, 0, 40, huge).is_err());
        assert!(Batch::new(2, &memory, huge, 40, 1).is_err());
        assert!(Batch::new(2, &memory, 0, huge, 2).is_err());
    }
    assert!(Batch::new(0, &memory, 0, 40, 1).is_err());
    assert!(Batch::one(2, &memory[..8]).is_ok());
    assert!(Batch::one(2, &memory[..9]).is_err());
}

#[test]
fn queries_and_output_must_fit() {
    let path = Userspace::detect();
    let memory = bytes(&[1.0, 2.0, 3.0, 4.0]);
    let mut norms = [0; 2];
    assert!(Queries::prepare(&path, Metric::L2, 2, &memory[..12], &mut norms).is_err());
    let queries = Queries::prepare(&path, Metric::Cosine, 2, &memory, &mut norms).unwrap();
    assert_eq!(queries.count(), 2);

    let batch = Batch::new(2, &memory, 0, 8, 2).unwrap();
    let mut out = [Distance::MIN; 4];
    assert_eq!(
        path.distances(&queries, &batch, &mut out[..3]),
        Err(Error::Length {
            expected: 4,
            actual: 3
        })
    );
    let other = Batch::new(1, &memory, 0, 8, 2).unwrap();
    assert_eq!(
        path.distances(&queries, &other, &mut out),
        Err(Error::Dimension { dim: 1 })
    );
    path.distances(&queries, &batch, &mut out).unwrap();
    assert_eq!(out[0].to_f64(), 0.0);
    assert_eq!(out[3].to_f64(), 0.0);
    assert_eq!(out[1], out[2]);

    let empty = Batch::new(2, &[], 0, 8, 0).unwrap();
    path.distances(&queries, &empty, &mut []).unwrap();
}

#[test]
fn metrics_have_names_and_codes() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        assert_eq!(Metric::from_name(metric.name()), Some(metric));
        assert_eq!(Metric::try_from(metric.code()), Ok(metric));
    }
    for code in [0, 4, u32::MAX] {
        assert_eq!(Metric::try_from(code), Err(Error::UnknownMetric { code }));
    }
    assert_eq!(Metric::from_name("L2"), None);
}

#[test]
fn distances_without_a_value() {
    assert!(!Distance::INVALID.is_valid());
    assert!(Distance::INVALID.to_f64().is_nan());
    assert!(Distance::from_f64(f64::INFINITY) < Distance::INVALID);
    assert_eq!(Distance::from_f64(f64::NAN), Distance::INVALID);
    assert_eq!(Distance::from_f64(-f64::NAN), Distance::INVALID);
    assert!(Distance::MIN < Distance::from_f64(f64::NEG_INFINITY));
}
