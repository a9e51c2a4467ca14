// SPDX-License-Identifier: GPL-2.0-only
//! Finding free blocks: the engine's scan of bitmaps against trees of free extents in memory. Both begin with the same
//! bitmaps and are asked for the same; see docs/decisions/002-bitmap-scan.md.

use crate::extent_trees::Trees;
use crate::memory::Filesystem;
use crate::report::median_ns;
use anyhow::{anyhow, Result};
use engine::io::ReadBlocks;
use engine::space;
use layout::block::BlockKind;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};

/// Groups of the filesystem: 8 GiB.
const GROUPS: u32 = 64;
/// Operations in a transaction.
const TRANSACTION: usize = 64;

/// What is in use before the measurement, and what is asked for.
#[derive(Clone, Copy)]
enum Case {
    /// Nothing in use; runs of 16 blocks one after the other.
    Fresh,
    /// Nine tenths in use, after files of 1 to 256 blocks were removed at random; such files come and go.
    Aged,
    /// Every second block in use; up to 256 blocks are asked for, one can be had.
    Checkerboard,
}

/// One contestant's free space.
trait Contestant {
    fn alloc(&mut self, goal: u64, max: u32) -> Option<(u64, u32)>;
    fn free(&mut self, start: u64, len: u32) -> Result<()>;
    fn commit(&mut self);
}

impl Contestant for Filesystem {
    fn alloc(&mut self, goal: u64, max: u32) -> Option<(u64, u32)> {
        space::alloc(&mut self.cx(), goal, 1, max).ok()
    }
    fn free(&mut self, start: u64, len: u32) -> Result<()> {
        space::free(&mut self.cx(), start, len).map_err(|e| anyhow!("{e}"))
    }
    fn commit(&mut self) {
        Filesystem::commit(self);
    }
}

impl Contestant for Trees {
    fn alloc(&mut self, goal: u64, max: u32) -> Option<(u64, u32)> {
        Trees::alloc(self, goal, max)
    }
    fn free(&mut self, start: u64, len: u32) -> Result<()> {
        Trees::free(self, start, len);
        Ok(())
    }
    fn commit(&mut self) {
        Trees::commit(self);
    }
}

/// A filesystem in the state that a case begins with, and the extents in use.
fn prepare(case: Case, random: &mut StdRng) -> Result<(Filesystem, Vec<(u64, u32)>)> {
    let mut fs = Filesystem::new(GROUPS).map_err(|e| anyhow!("{e}"))?;
    let mut used = Vec::new();
    let capacity = (0..GROUPS)
        .map(|g| u64::from(fs.io.sb().geometry.data_blocks(g)))
        .sum::<u64>();
    match case {
        Case::Fresh => {}
        Case::Aged => {
            let mut taken = 0u64;
            while taken < capacity * 98 / 100 {
                let (start, len) = Contestant::alloc(&mut fs, 0, size(random))
                    .ok_or_else(|| anyhow!("no space while preparing"))?;
                taken += u64::from(len);
                used.push((start, len));
            }
            while taken > capacity * 90 / 100 {
                let (start, len) = used.swap_remove(random.gen_range(0..used.len()));
                Contestant::free(&mut fs, start, len)?;
                taken -= u64::from(len);
            }
        }
        Case::Checkerboard => {
            while let Some((start, len)) = Contestant::alloc(&mut fs, 0, 256) {
                used.push((start, len));
            }
            for (start, len) in std::mem::take(&mut used) {
                for block in start..start + u64::from(len) {
                    if block % 2 == 0 {
                        Contestant::free(&mut fs, block, 1)?;
                    } else {
                        used.push((block, 1));
                    }
                }
            }
        }
    }
    Contestant::commit(&mut fs);
    Ok((fs, used))
}

/// Lengths of files: many short ones, few long.
fn size(random: &mut StdRng) -> u32 {
    1 << random.gen_range(0..=8)
}

/// The measured operations; returns their time.
fn play(
    contestant: &mut impl Contestant,
    case: Case,
    mut used: Vec<(u64, u32)>,
    operations: usize,
    seed: u64,
) -> Result<Duration> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut goal = 0;
    let start = Instant::now();
    for n in 0..operations {
        match case {
            Case::Fresh => {
                let (at, len) = contestant
                    .alloc(goal, 16)
                    .ok_or_else(|| anyhow!("no space"))?;
                goal = at + u64::from(len);
            }
            Case::Aged => {
                let gone = used.swap_remove(random.gen_range(0..used.len()));
                contestant.free(gone.0, gone.1)?;
                let near = used[random.gen_range(0..used.len())].0;
                let mut left = size(&mut random);
                while left > 0 {
                    let (at, len) = contestant
                        .alloc(near, left)
                        .ok_or_else(|| anyhow!("no space"))?;
                    used.push((at, len));
                    left -= len;
                }
            }
            Case::Checkerboard => {
                let near = used[random.gen_range(0..used.len())].0;
                contestant
                    .alloc(near, 256)
                    .ok_or_else(|| anyhow!("no space"))?;
            }
        }
        if n % TRANSACTION == TRANSACTION - 1 {
            contestant.commit();
        }
    }
    Ok(start.elapsed())
}

/// Runs and prints all cases.
///
/// # Errors
/// A contestant runs out of space or fails.
pub fn run(rounds: usize, operations: usize) -> Result<()> {
    println!("ns an operation, medians of {rounds} alternating rounds of {operations} operations; 8 GiB in {GROUPS} groups");
    println!("case          bitmaps    trees   bitmaps/trees   building the trees   free extents");
    for (name, case) in [
        ("fresh", Case::Fresh),
        ("aged", Case::Aged),
        ("checkerboard", Case::Checkerboard),
    ] {
        let (mut scans, mut trees, mut builds) = (Vec::new(), Vec::new(), Vec::new());
        let mut extents = 0;
        for round in 0..rounds as u64 {
            let (mut fs, used) = prepare(case, &mut StdRng::seed_from_u64(round))?;
            let geometry = fs.io.sb().geometry;
            let bitmaps: Vec<_> = (0..GROUPS)
                .map(|g| {
                    let block = fs.io.read(geometry.block_bitmap(g), BlockKind::BlockBitmap);
                    block.ok().map(|b| Box::new(*b))
                })
                .collect();
            let start = Instant::now();
            let mut peer = Trees::build(geometry, |g| bitmaps.get(g as usize).cloned().flatten());
            builds.push(start.elapsed());
            extents = peer.extents();
            if round % 2 == 0 {
                scans.push(play(&mut fs, case, used.clone(), operations, round)?);
                trees.push(play(&mut peer, case, used, operations, round)?);
            } else {
                trees.push(play(&mut peer, case, used.clone(), operations, round)?);
                scans.push(play(&mut fs, case, used, operations, round)?);
            }
        }
        let scan = median_ns(&mut scans, operations);
        let tree = median_ns(&mut trees, operations);
        let build = median_ns(&mut builds, 1) / 1e6;
        println!(
            "{name:<12} {scan:>8.0} {tree:>8.0} {:>12.2} {build:>18.2} ms {extents:>14}",
            scan / tree
        );
    }
    Ok(())
}
