// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Tests of the journal structures against values worked out by hand from the format's definition. What the kernel and e2fsprogs make of them is
//! tested in `image` and in the guest.

extern crate std;

use std::vec::Vec;

use super::*;

const SEED: u32 = 0x1234_5678;

/// Bit by bit, as the definition has it; slow, and independent of any library.
fn crc32c(mut crc: u32, data: &[u8]) -> u32 {
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    crc
}

fn block() -> Block {
    [0; BLOCK_SIZE]
}

#[test]
fn crc32c_of_the_check_string() {
    assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
}

#[test]
fn super_block_round_trip_and_fields_where_jbd2_has_them() {
    let sb = Super {
        start: 77,
        ..Super::new(2048, *b"0123456789abcdef", 0xfeed_beef)
    };
    let mut b = block();
    sb.write(&mut b, crc32c);
    assert_eq!(&b[..12], &[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4, 0, 0, 0, 0]);
    assert_eq!(
        &b[0x0c..0x20],
        &[0, 0, 16, 0, 0, 0, 8, 0, 0, 0, 0, 1, 0xfe, 0xed, 0xbe, 0xef, 0, 0, 0, 77]
    );
    assert_eq!(&b[0x28..0x2c], &[0, 0, 0, 0x13]);
    assert_eq!(&b[0x30..0x40], b"0123456789abcdef");
    assert_eq!(b[0x50], 4);
    assert!(b[0x400..].iter().all(|&byte| byte == 0));
    let mut zeroed = b;
    zeroed[0xfc..0x100].fill(0);
    assert_eq!(b[0xfc..0x100], crc32c(!0, &zeroed[..1024]).to_be_bytes());
    assert_eq!(Super::read(&b, 2048, crc32c), Ok(sb));
}

#[test]
fn super_block_with_any_bit_flipped_is_refused() {
    let sb = Super::new(2048, [7; 16], 1);
    let mut b = block();
    sb.write(&mut b, crc32c);
    for bit in 0..1024 * 8 {
        let mut bad = b;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Super::read(&bad, 2048, crc32c).is_err(), "bit {bit}");
    }
}

#[test]
fn super_block_values_out_of_range_are_named() {
    let read = |sb: Super, region| {
        let mut b = block();
        sb.write(&mut b, crc32c);
        Super::read(&b, region, crc32c)
    };
    let good = Super::new(2048, [7; 16], 1);
    assert_eq!(
        read(good, 2047),
        Err(Invalid::TooLong {
            len: 2048,
            region: 2047
        })
    );
    assert_eq!(
        read(Super { len: 1023, ..good }, 9999),
        Err(Invalid::TooShort(1023))
    );
    assert_eq!(
        read(Super { first: 0, ..good }, 2048),
        Err(Invalid::First(0))
    );
    assert_eq!(
        read(
            Super {
                first: 1026,
                ..good
            },
            2048
        ),
        Err(Invalid::First(1026))
    );
    assert_eq!(
        read(
            Super {
                start: 2048,
                ..good
            },
            2048
        ),
        Err(Invalid::Start(2048))
    );
    assert_eq!(
        read(
            Super {
                first: 10,
                start: 9,
                ..good
            },
            2048
        ),
        Err(Invalid::Start(9))
    );
    for incompat in [
        0,
        INCOMPAT_64BIT,
        INCOMPAT_CSUM_V3,
        INCOMPAT_KNOWN | INCOMPAT_FAST_COMMIT,
        INCOMPAT_KNOWN | INCOMPAT_CSUM_V2,
    ] {
        assert!(
            matches!(
                read(Super { incompat, ..good }, 2048),
                Err(Invalid::Features { .. })
            ),
            "{incompat:#x}"
        );
    }
}

#[test]
fn sequence_numbers_compare_across_the_wrap() {
    assert!(sequence_after(2, 1));
    assert!(!sequence_after(1, 1));
    assert!(!sequence_after(1, 2));
    assert!(sequence_after(0, u32::MAX));
    assert!(sequence_after(5, u32::MAX - 5));
    assert!(!sequence_after(u32::MAX, 0));
}

#[test]
fn ring_arithmetic_wraps_to_the_first_block() {
    let sb = Super::new(1024, [0; 16], 1);
    assert_eq!(sb.ring(), 1023);
    assert_eq!(sb.advance(1, 0), 1);
    assert_eq!(sb.advance(1023, 1), 1);
    assert_eq!(sb.advance(1020, 10), 7);
    assert_eq!(sb.advance(5, 1023), 5);
    for (tail, head) in [(1, 1), (1, 1023), (1023, 1), (700, 20)] {
        assert_eq!(
            sb.advance(tail, sb.distance(tail, head)),
            head,
            "{tail} {head}"
        );
    }
}

#[test]
fn descriptor_holds_exactly_tags_per_block_and_reads_back() {
    let mut b = block();
    let tag = |i: usize| Tag {
        block: 0xabcd_0000_0000 + i as u64,
        escaped: i % 3 == 0,
        checksum: i as u32 * 7,
    };
    let mut writer = DescriptorWriter::new(&mut b, 99);
    for i in 0..TAGS_PER_BLOCK {
        assert!(writer.push(&tag(i)));
    }
    assert!(!writer.push(&tag(0)));
    writer.finish(SEED, crc32c);
    assert_eq!(TAGS_PER_BLOCK, 254);
    assert_eq!(
        RawHeader::of(&b),
        Some(RawHeader::new(BLOCKTYPE_DESCRIPTOR, 99))
    );
    assert!(tail_matches(&b, SEED, crc32c));
    assert!(Tags::of(&b).eq((0..TAGS_PER_BLOCK).map(tag)));
    // The first tag has a UUID after it, the second has not.
    assert_eq!(b[19] & 2, 0);
    assert_eq!(b[12 + 16 + 16 + 7] & 2, 2);
    b[100] ^= 1;
    assert!(!tail_matches(&b, SEED, crc32c));
}

#[test]
fn tags_of_garbage_end_with_the_block() {
    for fill in 0..=255u8 {
        let b = [fill; BLOCK_SIZE];
        assert!(Tags::of(&b).count() <= BLOCK_SIZE / 16, "{fill}");
    }
    // No LAST_TAG, all SAME_UUID: one tag each 16 bytes, none of them in the tail.
    let mut b = block();
    for tag in b[12..].chunks_exact_mut(16) {
        tag[7] = 2;
    }
    assert_eq!(Tags::of(&b).count(), (4092 - 12) / 16);
}

#[test]
fn revoke_block_round_trip() {
    let numbers: Vec<u64> = (0..600).map(|i| i << 33 | i).collect();
    let mut b = block();
    let taken = revoke_block(&mut b, 4, &numbers, SEED, crc32c);
    assert_eq!(taken, REVOKES_PER_BLOCK);
    assert_eq!(taken, 509);
    assert!(tail_matches(&b, SEED, crc32c));
    assert!(Revoked::of(&b)
        .unwrap()
        .eq(numbers[..taken].iter().copied()));
    assert_eq!(revoke_block(&mut b, 4, &[5], SEED, crc32c), 1);
    assert_eq!(b[12..16], 24u32.to_be_bytes());
    assert!(Revoked::of(&b).unwrap().eq([5]));
}

#[test]
fn revoke_block_with_a_bad_count_is_refused() {
    let mut b = block();
    revoke_block(&mut b, 4, &[5], SEED, crc32c);
    for count in [0u32, 15, 4093, u32::MAX] {
        b[12..16].copy_from_slice(&count.to_be_bytes());
        assert_eq!(Revoked::of(&b).err(), Some(Invalid::RevokeCount(count)));
    }
    b[12..16].copy_from_slice(&4092u32.to_be_bytes());
    assert_eq!(Revoked::of(&b).unwrap().count(), REVOKES_PER_BLOCK);
}

#[test]
fn commit_block_round_trip_whole_and_torn_after_its_first_sector() {
    let commit = Commit {
        seconds: 1 << 40,
        nanoseconds: 999,
    };
    let mut b = block();
    commit_block(&mut b, 12, &commit, SEED, crc32c);
    assert_eq!(Commit::of(&b), commit);
    assert!(commit_checksum_matches(&b, SEED, crc32c));
    b[512..].fill(0xee);
    assert!(commit_checksum_matches(&b, SEED, crc32c));
    b[20] ^= 1;
    assert!(!commit_checksum_matches(&b, SEED, crc32c));
}

#[test]
fn escape_and_unescape() {
    let mut b = block();
    assert!(!escape(&mut b));
    b[..4].copy_from_slice(&MAGIC.to_be_bytes());
    b[4] = 9;
    let original = b;
    assert!(escape(&mut b));
    assert_eq!(b[..5], [0, 0, 0, 0, 9]);
    assert!(RawHeader::of(&b).is_none());
    unescape(&mut b);
    assert_eq!(b, original);
}
