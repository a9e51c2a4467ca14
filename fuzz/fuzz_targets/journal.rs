// SPDX-License-Identifier: GPL-2.0-only
//! Replay of a forged log. The journal's super block is made right, so that the log is looked at.
#![no_main]

use arbitrary::Arbitrary;
use image::checksum::crc32c;
use image::device::{Device, MemDevice};
use image::journal::{Journal, Region};
use layout::{jbd2, BLOCK_SIZE};

/// A log block.
#[derive(Arbitrary, Debug)]
enum Piece {
    /// Any bytes.
    Raw(Vec<u8>),
    /// A descriptor with right checksums for these homes.
    Descriptor(Vec<(u64, bool, u32)>),
    /// Revocations with right checksums.
    Revoke(Vec<u64>),
    /// A commit with a right checksum.
    Commit(u64),
    /// The next transaction.
    Next,
}

const LEN: u32 = 1024;
const REGION: Region = Region {
    start: 2,
    len: LEN,
    fs_blocks: 2000,
};

libfuzzer_sys::fuzz_target!(|input: (u32, u32, Vec<Piece>)| {
    let (start, first, pieces) = input;
    let dev = MemDevice::new(REGION.fs_blocks * BLOCK_SIZE as u64);
    let mut block = [0; BLOCK_SIZE];
    let sb = jbd2::Super {
        start: start % LEN,
        ..jbd2::Super::new(LEN, [3; 16], first)
    };
    sb.write(&mut block, crc32c);
    let put = |n: u32, block: &layout::Block| {
        let at = (REGION.start + u64::from(n)) * BLOCK_SIZE as u64;
        dev.write_at(at, block).unwrap();
    };
    put(0, &block);
    let seed = sb.checksum_seed(crc32c);
    let (mut at, mut sequence) = (sb.start.max(1), first);
    for piece in pieces.iter().take(LEN as usize) {
        block.fill(0);
        match piece {
            Piece::Raw(bytes) => block.iter_mut().zip(bytes).for_each(|(b, n)| *b = *n),
            Piece::Descriptor(tags) => {
                let mut out = jbd2::DescriptorWriter::new(&mut block, sequence);
                for (home, escaped, checksum) in tags {
                    let tag = jbd2::Tag {
                        block: *home,
                        escaped: *escaped,
                        checksum: *checksum,
                    };
                    if !out.push(&tag) {
                        break;
                    }
                }
                out.finish(seed, crc32c);
            }
            Piece::Revoke(blocks) => {
                jbd2::revoke_block(&mut block, sequence, blocks, seed, crc32c);
            }
            Piece::Commit(seconds) => {
                let commit = jbd2::Commit {
                    seconds: *seconds,
                    nanoseconds: 0,
                };
                jbd2::commit_block(&mut block, sequence, &commit, seed, crc32c);
            }
            Piece::Next => {
                sequence = sequence.wrapping_add(1);
                continue;
            }
        }
        put(at, &block);
        at = sb.advance(at, 1);
    }
    let _ = Journal::open(&dev, REGION);
});
