// SPDX-License-Identifier: GPL-2.0-only
//! The math object's CRC-32 against a well-kept crate.
#![cfg(target_arch = "x86_64")]

use proptest::prelude::*;
use vector::crc32::CarryLess;

/// The right to use the instructions, if the CPU has them.
fn unit() -> Option<CarryLess> {
    let there = is_x86_feature_detected!("pclmulqdq") && is_x86_feature_detected!("sse4.1");
    if !there {
        println!("NOT TESTED: this CPU has no PCLMULQDQ");
    }
    // SAFETY: a process may use its registers at any time, and the CPU has the features.
    there.then(|| unsafe { CarryLess::claim() })
}

/// CRC-32 continued from `seed`, the end of the data byte by byte.
fn crc32(unit: &CarryLess, seed: u32, data: &[u8]) -> u32 {
    let (mut register, rest) = unit.crc32(!seed, data);
    assert!(rest.len() < 16 && data.ends_with(rest));
    for byte in rest {
        register ^= u32::from(*byte);
        for _ in 0..8 {
            register = register >> 1 ^ if register & 1 == 0 { 0 } else { 0xedb8_8320 };
        }
    }
    !register
}

fn expected(seed: u32, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(data);
    hasher.finalize()
}

#[test]
fn every_length_and_alignment() {
    let Some(unit) = unit() else { return };
    let data: Vec<u8> = (0..2000u32).map(|n| ((n * n) >> 3) as u8).collect();
    for start in 0..17 {
        for len in (0..400).chain([511, 1023, 1024, 1536, 1900]) {
            let part = &data[start..start + len];
            assert_eq!(crc32(&unit, 7, part), expected(7, part), "{start} {len}");
        }
    }
    assert_eq!(crc32(&unit, 0, b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(&unit, 0, &[0; 4096]), expected(0, &[0; 4096]));
}

proptest! {
    #[test]
    fn any_data(seed: u32, data in prop::collection::vec(any::<u8>(), 0..9000), cut: prop::sample::Index) {
        if let Some(unit) = unit() {
            prop_assert_eq!(crc32(&unit, seed, &data), expected(seed, &data));
            let (a, b) = data.split_at(cut.index(data.len() + 1));
            prop_assert_eq!(crc32(&unit, crc32(&unit, seed, a), b), expected(seed, &data));
        }
    }
}
