// SPDX-License-Identifier: GPL-2.0-only
//! What the safe interface refuses, and that it says why.

mod common;

use common::{bytes, floats};
use vector::{
    validate, Batch, Compute, Distance, Element, Error, Kind, Metric, Queries, Userspace, MAX_DIM,
};

#[test]
fn dimensions_and_combinations() {
    let bytes = |element: Element, dim| element.vector_bytes(dim);
    assert_eq!(bytes(Element::F32, 0), Err(Error::Dimension { dim: 0 }));
    assert_eq!(bytes(Element::F32, 1), Ok(4));
    assert_eq!(bytes(Element::F32, MAX_DIM), Ok(16_384));
    assert_eq!(bytes(Element::F16, 3), Ok(6));
    assert_eq!(bytes(Element::I8, 3), Ok(3));
    assert_eq!(bytes(Element::Binary, 8), Ok(1));
    assert_eq!(bytes(Element::Binary, 9), Ok(2));
    assert_eq!(
        bytes(Element::Binary, 4097),
        Err(Error::Dimension { dim: 4097 })
    );
    for element in Element::ALL {
        assert_eq!(Element::from_name(element.name()), Some(element));
        assert_eq!(Element::from_code(element.code()), Some(element));
        for metric in Metric::ALL {
            let bits = element == Element::Binary;
            let kind = Kind::from_codes(element.code(), metric.code(), 20);
            if bits == (metric == Metric::Hamming) {
                let kind = kind.unwrap();
                assert_eq!(
                    (kind.element(), kind.metric(), kind.dim()),
                    (element, metric, 20)
                );
                assert_eq!(Ok(kind.vector_bytes()), element.vector_bytes(20));
            } else {
                assert_eq!(kind, Err(Error::Combination { element, metric }));
            }
        }
    }
    assert_eq!(
        Kind::from_codes(5, 1, 1),
        Err(Error::UnknownElement { code: 5 })
    );
    assert_eq!(
        Kind::from_codes(1, 5, 1),
        Err(Error::UnknownMetric { code: 5 })
    );
}

#[test]
fn acceptable_vectors_of_other_elements() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let half = Kind::new(Element::F16, metric, 2).unwrap();
        for (bits, result) in [
            (0x3c00u16, Ok(())),
            (0x0001, Ok(())),
            (0xfbff, Ok(())),
            (0x7c00, Err(Error::NotFinite { element: 1 })),
            (0xfc00, Err(Error::NotFinite { element: 1 })),
            (0x7e01, Err(Error::NotFinite { element: 1 })),
        ] {
            let [a, b] = bits.to_le_bytes();
            assert_eq!(validate(&half, &[0, 0x80, a, b]), result, "{bits:#x}");
        }
        let byte = Kind::new(Element::I8, metric, 3).unwrap();
        assert_eq!(validate(&byte, &[0, 0x80, 0xff]), Ok(()));
        let expected = Err(Error::Length {
            expected: 3,
            actual: 2,
        });
        assert_eq!(validate(&byte, &[1, 2]), expected);
        let zero = if metric == Metric::Cosine {
            Err(Error::NoDirection)
        } else {
            Ok(())
        };
        assert_eq!(validate(&byte, &[0; 3]), zero);
        assert_eq!(validate(&half, &[0, 0x80, 0, 0]), zero);
    }
    for dim in 1..=24 {
        let bits = Kind::new(Element::Binary, Metric::Hamming, dim).unwrap();
        let mut vector = vec![0; bits.vector_bytes()];
        assert_eq!(validate(&bits, &vector), Ok(()));
        let last = (dim - 1) as usize;
        vector[last / 8] |= 1 << (last % 8);
        assert_eq!(validate(&bits, &vector), Ok(()));
        if dim % 8 != 0 {
            vector[last / 8] |= 1 << (last % 8 + 1);
            assert_eq!(validate(&bits, &vector), Err(Error::Padding), "{dim}");
        }
    }
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
            assert_eq!(
                validate(&floats(metric, 2), &bytes(&[0.0, element])),
                Ok(())
            );
        }
        for element in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(
                validate(&floats(metric, 3), &bytes(&[0.0, 1.0, element])),
                Err(Error::NotFinite { element: 2 })
            );
        }
        for length in [0, 1, 4, 7, 9, 12] {
            assert_eq!(
                validate(&floats(metric, 2), &vec![0; length]),
                Err(Error::Length {
                    expected: 8,
                    actual: length
                })
            );
        }
    }
    // Zeros of either sign have a distance, but no direction.
    let zero = bytes(&[0.0, -0.0]);
    assert_eq!(validate(&floats(Metric::L2, 2), &zero), Ok(()));
    assert_eq!(validate(&floats(Metric::Dot, 2), &zero), Ok(()));
    assert_eq!(
        validate(&floats(Metric::Cosine, 2), &zero),
        Err(Error::NoDirection)
    );
}

#[test]
fn batches_lie_within_their_memory() {
    let two = floats(Metric::L2, 2);
    let memory = [0u8; 100];
    // Three vectors of 2 elements, 40 bytes apart: 2 * 40 + 8 bytes.
    assert!(Batch::new(&two, &memory[..88], 0, 40, 3).is_ok());
    assert!(Batch::new(&two, &memory[..87], 0, 40, 3).is_err());
    assert!(Batch::new(&two, &memory, 12, 40, 3).is_ok());
    assert!(Batch::new(&two, &memory, 13, 40, 3).is_err());
    assert!(Batch::new(&two, &memory, 100, 8, 0).is_ok());
    assert!(Batch::new(&two, &memory, 101, 8, 0).is_err());
    assert!(
        Batch::new(&two, &memory, 0, 7, 1).is_err(),
        "stride below a vector"
    );
    for huge in [usize::MAX, usize::MAX / 2, usize::MAX / 40] {
        assert!(Batch::new(&two, &memory, 0, 40, huge).is_err());
        assert!(Batch::new(&two, &memory, huge, 40, 1).is_err());
        assert!(Batch::new(&two, &memory, 0, huge, 2).is_err());
    }
    assert!(Batch::one(&two, &memory[..8]).is_ok());
    assert!(Batch::one(&two, &memory[..9]).is_err());
}

#[test]
fn queries_and_output_must_fit() {
    let path = Userspace::detect();
    let two = floats(Metric::Cosine, 2);
    let memory = bytes(&[1.0, 2.0, 3.0, 4.0]);
    let mut norms = [0; 2];
    assert!(Queries::prepare(&path, &two, &memory[..12], &mut norms).is_err());
    let queries = Queries::prepare(&path, &two, &memory, &mut norms).unwrap();
    assert_eq!(queries.count(), 2);

    let batch = Batch::new(&two, &memory, 0, 8, 2).unwrap();
    let mut out = [Distance::MIN; 4];
    assert_eq!(
        path.distances(&queries, &batch, &mut out[..3]),
        Err(Error::Length {
            expected: 4,
            actual: 3
        })
    );
    let other = Batch::new(&floats(Metric::Cosine, 1), &memory, 0, 8, 2).unwrap();
    assert_eq!(path.distances(&queries, &other, &mut out), Err(Error::Kind));
    path.distances(&queries, &batch, &mut out).unwrap();
    assert_eq!(out[0].to_f64(), 0.0);
    assert_eq!(out[3].to_f64(), 0.0);
    assert_eq!(out[1], out[2]);

    let empty = Batch::new(&two, &[], 0, 8, 0).unwrap();
    path.distances(&queries, &empty, &mut []).unwrap();
}

#[test]
fn metrics_have_names_and_codes() {
    for metric in Metric::ALL {
        assert_eq!(Metric::from_name(metric.name()), Some(metric));
        assert_eq!(Metric::try_from(metric.code()), Ok(metric));
    }
    for code in [0, 5, u32::MAX] {
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
