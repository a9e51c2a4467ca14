// SPDX-License-Identifier: GPL-2.0-only
//! The crates that may not know each other use the same codes and bounds: the ioctl
//! ABI, the disk format and the mathematics.

use layout::vector::{Element, IndexName, Metric, INDEX_NAME_MAX, MAX_DIM};

#[test]
fn metrics() {
    for (abi, disk, maths) in [
        (uapi::METRIC_L2, Metric::L2, vector::Metric::L2),
        (uapi::METRIC_COSINE, Metric::Cosine, vector::Metric::Cosine),
        (uapi::METRIC_DOT, Metric::Dot, vector::Metric::Dot),
        (
            uapi::METRIC_HAMMING,
            Metric::Hamming,
            vector::Metric::Hamming,
        ),
    ] {
        assert_eq!(abi, disk as u32);
        assert_eq!(abi, maths.code());
    }
}

#[test]
fn elements_and_dimensions() {
    assert_eq!(uapi::DIM_MAX, MAX_DIM);
    assert_eq!(uapi::DIM_MAX, vector::MAX_DIM);
    for (abi, disk, maths) in [
        (uapi::ELEMENT_F32, Element::F32, vector::Element::F32),
        (uapi::ELEMENT_F16, Element::F16, vector::Element::F16),
        (uapi::ELEMENT_I8, Element::I8, vector::Element::I8),
        (
            uapi::ELEMENT_BINARY,
            Element::Binary,
            vector::Element::Binary,
        ),
    ] {
        assert_eq!(abi, disk as u32);
        assert_eq!(abi, maths.code());
        for dim in [1, 7, 8, 9, 384, MAX_DIM] {
            assert_eq!(maths.vector_bytes(dim), Ok(disk.bytes(dim)));
        }
    }
}

#[test]
fn instruction_sets() {
    assert_eq!(uapi::stats::ISA_PORTABLE, vector::Isa::Portable as u32);
    assert_eq!(uapi::stats::ISA_AVX2, vector::Isa::Avx2 as u32);
    assert_eq!(uapi::stats::ISA_AVX512, vector::Isa::Avx512 as u32);
    assert_eq!(uapi::stats::ISA_NEON, vector::Isa::Neon as u32);
}

#[test]
fn index_names() {
    assert_eq!(uapi::NAME_SIZE, INDEX_NAME_MAX + 1);
    let longest = "x".repeat(63);
    let too_long = "x".repeat(64);
    for name in [
        "", "a", "a b", " a", "a ", "a/b", "a\0b", "ä", "\u{a0}a", ".", "..", &longest, &too_long,
    ] {
        let abi = uapi::name::name_field(name);
        let disk = IndexName::new(name.as_bytes());
        assert_eq!(abi.is_ok(), disk.is_ok(), "{name:?}: {abi:?} {disk:?}");
    }
}
