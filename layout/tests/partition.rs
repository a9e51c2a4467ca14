// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Partitions: sizes for every dimension, and entries written, read, copied and cleared against a model that keeps them apart.

use layout::partition::{
    child_reference, clear_entry, copy_entry, get_centroid, get_entry, put_centroid, put_entry,
    record_reference, reference, referred_child, referred_record, Header, Shape, FACTORS,
    MAX_ENTRIES, MAX_PARTITION_BLOCKS, PACK, UNIT, UNITS,
};
use layout::{Block, Invalid, BLOCK_SIZE, MAX_BLOCKS};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Code, factors, reference.
type Entry = (Vec<u8>, [u32; FACTORS], u64);

fn blocks(shape: &Shape) -> Vec<Block> {
    vec![[0; BLOCK_SIZE]; shape.blocks()]
}

#[test]
fn every_dimension_has_a_shape() {
    for dim in 1..=4096 {
        let s = Shape::new(dim).unwrap();
        let padded = s.padded();
        assert!(padded >= dim as usize && padded < dim as usize + 16 && padded % 16 == 0);
        assert!(s.blocks() <= MAX_PARTITION_BLOCKS && s.capacity() % PACK == 0);
        // The next larger capacity would not have fitted.
        if s.capacity() < MAX_ENTRIES {
            let larger = [64, 96, 192].into_iter().find(|c| *c > s.capacity());
            let more = larger.unwrap();
            let units = s.packs_at() + more / PACK * s.pack_units() + more * s.extended_units();
            assert!(
                units.div_ceil(UNITS) > MAX_PARTITION_BLOCKS,
                "{dim}: {more}"
            );
        }
    }
    assert!(Shape::new(0).is_err() && Shape::new(4097).is_err());
    let s = Shape::new(384).unwrap();
    let sizes = (s.capacity(), s.blocks(), s.pack_units(), s.extended_units());
    assert_eq!(sizes, (192, 14, 38, 3));
    let s = Shape::new(4096).unwrap();
    assert_eq!((s.capacity(), s.blocks()), (64, 46));
}

/// The bits lie where the format says: read here by the words of the document.
#[test]
fn codes_lie_as_documented() {
    let s = Shape::new(300).unwrap();
    let mut b = blocks(&s);
    let code: Vec<u8> = (0..s.padded()).map(|d| (d * 7 % 32) as u8).collect();
    let entry = 32 + 21;
    put_entry(&s, &mut b[..], entry, &code, &[1, 2, 3, 4, 5], 99).unwrap();
    let unit = |n: usize| {
        let at = UNIT + n % UNITS * UNIT;
        &b[n / UNITS][at..at + UNIT]
    };
    let pack = s.packs_at() + s.pack_units();
    for (dim, u) in code.iter().enumerate() {
        let (part, bit) = (dim % 16 / 4, dim % 4);
        let byte = unit(pack + dim / 16)[16 * part + 21 - 16];
        assert_eq!(byte >> 4 >> bit & 1, u >> 4, "dimension {dim}");
        let byte = unit(s.extended_at() + entry * s.extended_units() + dim / 128)[dim % 64];
        let low = if dim % 128 < 64 { byte & 15 } else { byte >> 4 };
        assert_eq!(low, u & 15, "dimension {dim}");
    }
    let factors = pack + s.padded() / 16;
    for n in 0..5 {
        let bytes = &unit(factors + 2 * n + 1)[4 * 5..][..4];
        assert_eq!(bytes, (n as u32 + 1).to_le_bytes());
    }
    assert_eq!(unit(factors + 10 + 2)[8 * 5..][..8], 99u64.to_le_bytes());
    let centroid: Vec<u32> = (0..s.padded() as u32).collect();
    put_centroid(&s, &mut b[..], &centroid).unwrap();
    for (dim, v) in centroid.iter().enumerate() {
        let at = UNIT + (1 + dim / 16) * UNIT + dim % 16 * 4;
        assert_eq!(b[0][at..at + 4], v.to_le_bytes());
    }
    let mut read = vec![0; s.padded()];
    get_centroid(&s, &b[..], &mut read).unwrap();
    assert_eq!(read, centroid);
}

fn dims() -> impl Strategy<Value = u32> {
    const SOME: &[u32] = &[1, 3, 16, 100, 384, 4096];
    prop_oneof![prop::sample::select(SOME), 1u32..4097]
}

fn code(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x % 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn entries_stay_apart(
        dim in dims(),
        ops in prop::collection::vec((0u8..4, any::<u16>(), any::<u16>(), any::<u64>()), 1..80),
    ) {
        let s = Shape::new(dim).unwrap();
        let mut b = blocks(&s);
        let mut model: BTreeMap<usize, Entry> = BTreeMap::new();
        for (op, a, c, seed) in ops {
            let (a, c) = (usize::from(a) % s.capacity(), usize::from(c) % s.capacity());
            match op {
                0 | 1 => {
                    let code = code(seed, s.padded());
                    let n = seed as u32;
                    let factors = [n, !n, n ^ 3, n >> 1, 7];
                    put_entry(&s, &mut b[..], a, &code, &factors, seed).unwrap();
                    model.insert(a, (code, factors, seed));
                }
                2 => {
                    clear_entry(&s, &mut b[..], a).unwrap();
                    model.remove(&a);
                }
                _ => {
                    copy_entry(&s, &mut b[..], a, c).unwrap();
                    match model.get(&a).cloned() {
                        Some(v) => model.insert(c, v),
                        None => model.remove(&c),
                    };
                }
            }
        }
        let mut code = vec![0; s.padded()];
        let zero = (code.clone(), [0; FACTORS], 0);
        for entry in 0..s.capacity() {
            let factors = get_entry(&s, &b[..], entry, &mut code).unwrap();
            let expected = model.get(&entry).unwrap_or(&zero);
            let id = reference(&s, &b[..], entry).unwrap();
            prop_assert_eq!(&(code.clone(), factors, id), expected);
        }
        // Without entries nothing remains.
        for entry in model.keys() {
            clear_entry(&s, &mut b[..], *entry).unwrap();
        }
        prop_assert!(b.iter().flatten().all(|b| *b == 0));
    }

    #[test]
    fn headers_and_references_survive(
        index: u32, level in 0u8..8, entries in 0u16..193, parent in 0..MAX_BLOCKS, slot in 0u32..32768,
    ) {
        let s = Shape::new(16).unwrap();
        let h = Header { index, level, entries, parent };
        let mut unit = [0; UNIT];
        h.write(&mut unit).unwrap();
        prop_assert_eq!(Header::read(&s, &unit).unwrap(), h);
        prop_assert_eq!(referred_record(record_reference(parent, slot)), (parent, slot));
        prop_assert_eq!(referred_child(child_reference(parent)), (parent != 0).then_some(parent));
        prop_assert!(slot == 0 || referred_child(record_reference(parent, slot)).is_none());
    }

    #[test]
    fn damaged_headers_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), UNIT), dim in dims()) {
        let s = Shape::new(dim).unwrap();
        let unit: [u8; UNIT] = bytes.try_into().unwrap();
        if let Ok(h) = Header::read(&s, &unit) {
            prop_assert!(usize::from(h.entries) <= s.capacity() && h.level < 8 && h.parent < MAX_BLOCKS);
            let mut again = [1; UNIT];
            h.write(&mut again).unwrap();
            prop_assert_eq!(again, unit);
        }
    }
}

#[test]
fn what_lies_outside_is_refused() {
    let s = Shape::new(384).unwrap();
    let mut b = blocks(&s);
    let full = s.capacity();
    let code = vec![0; s.padded()];
    assert!(put_entry(&s, &mut b[..], full, &code, &[0; 5], 1).is_err());
    assert!(put_entry(&s, &mut b[..], 0, &code[1..], &[0; 5], 1).is_err());
    assert!(clear_entry(&s, &mut b[..], usize::MAX).is_err());
    assert!(copy_entry(&s, &mut b[..], 0, full).is_err());
    assert!(copy_entry(&s, &mut b[..], full, 0).is_err());
    assert!(reference(&s, &b[..], full).is_err());
    let few: Result<(), Invalid> = clear_entry(&s, &mut b[..1], 191);
    assert!(few.is_err());
}
