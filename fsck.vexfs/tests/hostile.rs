// SPDX-License-Identifier: GPL-2.0-only
//! Hostile input: thousands of seeded corruptions of single blocks, with and without right checksums. The check must come to an end, without a panic,
//! having read and reported no more than the image can justify; and damage that a checksum covers must be found.

mod common;

use common::damage::in_use;
use common::*;
use fsck_vexfs::{check, Observer, Options, Problem};
use image::checksum::crc32;
use image::device::{Device, MemDevice};
use layout::block;
use layout::geometry::Geometry;
use layout::superblock::{RawSuper, Super, SUPER_OFFSET};
use layout::{Block, BLOCK_SIZE};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::cell::Cell;
use std::io;

/// Counts what is read: an endless loop would read without end.
struct Metered<'a> {
    base: &'a MemDevice,
    left: Cell<u64>,
}

impl Device for Metered<'_> {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let blocks = (buf.len() / BLOCK_SIZE).max(1) as u64;
        let left = self.left.get().checked_sub(blocks);
        self.left.set(left.expect("the check reads too much"));
        self.base.read_at(offset, buf)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        panic!("the check writes to the device");
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<bool> {
        panic!("the check discards blocks");
    }
}

/// Counts problems.
struct Counter(u64);

impl Observer for Counter {
    fn problem(&mut self, problem: &Problem) {
        self.0 += 1;
        assert!(self.0 < 1_000_000, "too many problems: {problem}");
        assert!(!problem.to_string().is_empty());
    }
}

/// Checks with bounds on reading and problems; returns the number of problems.
fn bounded(dev: &MemDevice) -> u64 {
    let metered = Metered {
        base: dev,
        // Some times all blocks that the image has.
        left: Cell::new(8 * dev.size() / BLOCK_SIZE as u64),
    };
    let mut counter = Counter(0);
    check(&metered, &Options::default(), &mut counter);
    counter.0
}

/// Damages a block in one of several ways.
fn corrupt(rng: &mut StdRng, data: &mut Block, other: &Block) {
    match rng.gen_range(0..8) {
        0 => data.fill(0),
        1 => data.fill(0xff),
        2 => rng.fill(&mut data[..]),
        3 => *data = *other,
        4 => {
            // A field: interesting numbers at aligned places.
            let at = rng.gen_range(0..BLOCK_SIZE / 8) * 8;
            let value: u64 = match rng.gen_range(0..6) {
                0 => 0,
                1 => u64::MAX,
                2 => 1 << rng.gen_range(0..64),
                3 => rng.gen_range(0..40_000),
                4 => u64::from_le_bytes(data[at..at + 8].try_into().unwrap()).wrapping_add(1),
                _ => rng.gen(),
            };
            let len = [1, 2, 4, 8][rng.gen_range(0..4)];
            data[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        5 => {
            let at = rng.gen_range(0..BLOCK_SIZE);
            data[at] ^= 1 << rng.gen_range(0..8);
        }
        6 => {
            // Heads of blocks and of the node inside hold what is worth lying about.
            let at = rng.gen_range(0..80);
            data[at] = rng.gen();
        }
        _ => {
            let from = rng.gen_range(0..BLOCK_SIZE);
            let to = rng.gen_range(from..=BLOCK_SIZE);
            rng.fill(&mut data[from..to]);
        }
    }
}

fn run(seed: u64, times: u32, blocks_each: u32, reseal: bool) {
    let image = populated();
    let all = in_use(&image);
    let sealed: Vec<_> = all.iter().filter(|(_, kind)| kind.is_some()).collect();
    assert!(sealed.len() > 30, "{}", sealed.len());
    let fs_seed = superblock(&image).seed;
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut silent, mut found) = (0u32, 0u32);
    for round in 0..times {
        let dev = image.clone();
        let mut changed = false;
        for _ in 0..blocks_each {
            let (number, kind) = *sealed[rng.gen_range(0..sealed.len())];
            let other = read_block(&dev, all[rng.gen_range(0..all.len())].0);
            let before = read_block(&dev, number);
            let mut data = before;
            corrupt(&mut rng, &mut data, &other);
            if let Some(kind) = kind.filter(|_| reseal) {
                block::seal(kind, &mut data, fs_seed, crc32);
            }
            changed |= data != before;
            write_block(&dev, number, &data);
        }
        let problems = bounded(&dev);
        found += u32::from(problems > 0);
        silent += u32::from(problems == 0 && changed);
        if round % 1000 == 999 {
            println!("{} of {times} done", round + 1);
        }
    }
    println!(
        "{found} of {times} corruptions found, {silent} changed something and gave no problem"
    );
    // With checksums made right again, values may be as good as the true ones (times, permissions, tags); else nothing escapes.
    assert!(reseal || silent == 0);
    assert!(found > times / 2);
}

#[test]
fn five_thousand_corrupted_blocks() {
    run(1, 5000, 1, false);
}

#[test]
fn five_thousand_forged_blocks() {
    run(2, 5000, 1, true);
}

#[test]
fn five_hundred_images_with_eight_forged_blocks() {
    run(3, 500, 8, true);
}

#[test]
fn two_thousand_forged_super_blocks() {
    let image = populated();
    let raw = superblock(&image).raw;
    let mut rng = StdRng::seed_from_u64(6);
    let mut usable = 0;
    for _ in 0..2000 {
        let mut bytes: [u8; 1024] = raw.sealed(0, crc32);
        for _ in 0..rng.gen_range(1..4) {
            // Places of the geometry's fields, and lies that may pass.
            let (at, value): (usize, u64) = match rng.gen_range(0..5) {
                0 => (128, 1 << rng.gen_range(15..48)),
                1 => (148, 8 * rng.gen_range(2..4000)),
                2 => (176, rng.gen_range(1000..40_000)),
                3 => (164, rng.gen_range(1000..40_000)),
                _ => (128 + 4 * rng.gen_range(0..16), rng.gen()),
            };
            let len = if [128, 176].contains(&at) { 8 } else { 4 };
            bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        }
        // What is to be believed must fit itself.
        let blocks = u64::from_le_bytes(bytes[128..136].try_into().unwrap());
        let groups = blocks.div_ceil(layout::geometry::GROUP_BLOCKS) as u32;
        bytes[144..148].copy_from_slice(&groups.to_le_bytes());
        let forged: RawSuper = zerocopy::transmute!(bytes);
        let dev = image.clone();
        let sealed = forged.sealed(0, crc32);
        dev.write_at(SUPER_OFFSET as u64, &sealed).unwrap();
        usable += u32::from(Super::parse(&read_block(&dev, 0), 0, crc32).is_ok());
        let same = Geometry::new(&forged) == Ok(superblock(&image).geometry);
        assert!(bounded(&dev) > 0 || same);
    }
    println!("{usable} of 2000 passed for super blocks");
    assert!(usable > 100);
}

#[test]
fn every_byte_of_a_checksummed_block_counts() {
    let image = populated();
    let mut rng = StdRng::seed_from_u64(4);
    let journal = superblock(&image).geometry.journal_start;
    for (number, kind) in in_use(&image) {
        let Some(kind) = kind.filter(|_| number != journal) else {
            continue;
        };
        for _ in 0..4 {
            let at = rng.gen_range(0..BLOCK_SIZE);
            let data = read_block(&image, number);
            // Inodes that were never used are zero as a whole; a bit in them is found as well.
            let dev = image.clone();
            let mut changed = data;
            changed[at] ^= 1 << rng.gen_range(0..8);
            write_block(&dev, number, &changed);
            let (problems, _) = fsck(&dev);
            assert!(!problems.is_empty(), "block {number} ({kind:?}), byte {at}");
        }
    }
}

#[test]
fn random_bytes_and_empty_devices_are_no_filesystems() {
    let mut rng = StdRng::seed_from_u64(5);
    for blocks in [0, 1, 2, 100, 40_000] {
        let dev = MemDevice::new(blocks * BLOCK_SIZE as u64);
        for number in 0..blocks.min(64) {
            let mut data = [0; BLOCK_SIZE];
            rng.fill(&mut data[..]);
            write_block(&dev, number, &data);
        }
        assert!(bounded(&dev) > 0, "{blocks} blocks");
    }
}
