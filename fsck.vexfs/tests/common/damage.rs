// SPDX-License-Identifier: GPL-2.0-only
//! Rounds of damage for real programs: a populated image file, one block of it damaged for each round and restored afterwards, and programs that are
//! run over it within a time limit. What a program must answer is the test's business.
#![allow(dead_code)] // each test file uses its own part

use super::*;
use image::device::{Access, FileDevice};
use layout::superblock::{RawSuper, SUPER_OFFSET};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Rounds of the usual run; `$VEXFS_HOSTILE_TOOLS` says another number.
const ROUNDS: u32 = 100;
/// A program that runs for longer hangs: every command here takes milliseconds.
const LIMIT: Duration = Duration::from_secs(120);

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// What was done to the image.
#[derive(Clone, Copy, Debug)]
pub struct Damage {
    pub round: u32,
    pub block: u64,
    /// `None`: file data, or a block without a checksum of its own.
    pub kind: Option<BlockKind>,
    /// The checksum was made valid again.
    pub resealed: bool,
    /// Whether bytes that a checksum covers are not what they were, and the checksum tells.
    pub evident: bool,
}

/// A block: number, kind if it carries a checksum, contents.
type Numbered = (u64, Option<BlockKind>, Block);

/// A populated image, and a folder for copies of it.
pub struct Hostile {
    folder: tempfile::TempDir,
    /// Size in bytes.
    size: u64,
    /// Blocks that were written.
    written: Vec<(u64, Block)>,
    /// Those of them that are in use.
    in_use: Vec<Numbered>,
    /// Of the checksums.
    seed: u32,
}

impl Hostile {
    /// An image with something of everything, and records in two indexes.
    pub fn new() -> Hostile {
        let device = Rc::new(fresh(40_000));
        let mut image = open(&device);
        populate(&mut image);
        let file = image.resolve("dir/file").unwrap().ino;
        for n in 0..300 {
            put(&mut image, file, 2, n);
        }
        image.close().unwrap();
        let in_use: Vec<Numbered> = in_use(&device)
            .into_iter()
            .map(|(number, kind)| (number, kind, read_block(&*device, number)))
            .collect();
        let sealed = in_use.iter().filter(|(_, kind, _)| kind.is_some()).count();
        assert!(sealed > 30, "{sealed} blocks with a checksum");
        let numbers = device.written_blocks().into_iter();
        Hostile {
            folder: tempfile::tempdir().unwrap(),
            size: device.size(),
            written: numbers.map(|n| (n, read_block(&*device, n))).collect(),
            in_use,
            seed: superblock(&*device).seed,
        }
    }

    /// The image without damage, as a file called `image` in a folder of its own.
    pub fn file(&self, folder: &str) -> PathBuf {
        let folder = self.folder.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("image");
        let file = FileDevice::create(&path, self.size).unwrap();
        for (number, data) in &self.written {
            write_block(&file, *number, data);
        }
        path
    }

    /// A file for what a program prints.
    fn scratch(&self, name: &str) -> File {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.folder.path().join(name))
            .unwrap()
    }

    /// Calls `work` once for every round, with the damage and the image that has it; on as many threads as there are processors. Returns the
    /// number of rounds.
    pub fn rounds(&self, work: impl Fn(&Damage, &Path) + Sync) -> u32 {
        let rounds = std::env::var("VEXFS_HOSTILE_TOOLS").map_or(ROUNDS, |text| {
            text.parse().expect("VEXFS_HOSTILE_TOOLS is a number")
        });
        let next = AtomicU32::new(0);
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (next, work) = (&next, &work);
                scope.spawn(move || {
                    let path = self.file(&format!("thread {thread}"));
                    // Opened each time: who has it open for writing has it for himself.
                    let write = |number: u64, data: &Block| {
                        let file = FileDevice::open(&path, Access::Write).unwrap();
                        write_block(&file, number, data);
                    };
                    loop {
                        let round = next.fetch_add(1, Ordering::Relaxed);
                        if round >= rounds {
                            break;
                        }
                        let (damage, before, after) = choose(round, &self.in_use, self.seed);
                        write(damage.block, &after);
                        work(&damage, &path);
                        write(damage.block, &before);
                    }
                });
            }
        });
        rounds
    }

    /// Runs a program to its end, which must be an exit within the time limit and without a panic.
    pub fn run(&self, what: &dyn std::fmt::Debug, command: &mut Command) -> Outcome {
        let id = std::thread::current().id();
        let mut stdout = self.scratch(&format!("stdout {id:?}"));
        let mut stderr = self.scratch(&format!("stderr {id:?}"));
        let mut child = command
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{what:?}: {command:?} does not end");
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let read = |file: &mut File| {
            let mut bytes = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let out = read(&mut stdout);
        let err = String::from_utf8_lossy(&read(&mut stderr)).into_owned();
        assert!(
            !err.contains("panicked") && !err.contains("overflowed its stack"),
            "{what:?}: {command:?}: {err}"
        );
        // A signal has no code.
        let code = status.code();
        Outcome {
            status: code.unwrap_or_else(|| panic!("{what:?}: {command:?}: {status}: {err}")),
            stdout: out,
            stderr: err,
        }
    }
}

/// Blocks of a device that are in use, without the log of its closed journal; with their kinds where they carry a checksum.
pub fn in_use(dev: &MemDevice) -> Vec<(u64, Option<BlockKind>)> {
    let sb = superblock(dev);
    let geo = sb.geometry;
    let log = geo.journal_start + 1..geo.system_end;
    let used = |number: &u64| {
        let g = geo.group_of(*number);
        let bits = read_block(dev, geo.block_bitmap(g));
        let bit = (*number - geo.group_start(g)) as u32;
        !log.contains(number) && engine::bitmap::all(&bits, bit, 1, true)
    };
    let kind_of = |number: u64| {
        let data = read_block(dev, number);
        let own = |kind: &&BlockKind| {
            let is = block::verify(**kind, number, &data, sb.seed, crc32).is_ok();
            is && **kind != BlockKind::Slots && data.iter().any(|b| *b != 0)
        };
        BlockKind::ALL.iter().find(own).copied()
    };
    let numbers = dev.written_blocks().into_iter().filter(used);
    numbers.map(|n| (n, kind_of(n))).collect()
}

/// Kinds that are damaged equally often in two rounds of three, however many blocks there are of them.
const KINDS: [Option<BlockKind>; 7] = [
    Some(BlockKind::Gdt),
    Some(BlockKind::BlockBitmap),
    Some(BlockKind::InodeBitmap),
    Some(BlockKind::InodeTable),
    Some(BlockKind::Node),
    Some(BlockKind::Segment),
    None,
];

/// The damage of a round: it follows from the round's number alone.
fn choose(round: u32, blocks: &[Numbered], seed: u32) -> (Damage, Block, Block) {
    let mut rng = StdRng::seed_from_u64(0x7665_7866_7300_0000 + u64::from(round));
    let any = rng.gen_range(0..3) == 0;
    let kind = KINDS[rng.gen_range(0..KINDS.len())];
    let (block, kind, before) = loop {
        let candidate = &blocks[rng.gen_range(0..blocks.len())];
        if any || candidate.1 == kind {
            break *candidate;
        }
    };
    let other = &blocks[rng.gen_range(0..blocks.len())].2;
    let mut after = before;
    match rng.gen_range(0..6) {
        0 => after.fill(0),
        1 => rng.fill(&mut after[..]),
        2 => after = *other,
        3 => after[rng.gen_range(0..BLOCK_SIZE)] ^= 1 << rng.gen_range(0..8),
        4 => {
            let at = rng.gen_range(0..BLOCK_SIZE / 8) * 8;
            let value: u64 =
                [0, u64::MAX, 1 << rng.gen_range(0..64), rng.gen()][rng.gen_range(0..4)];
            after[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        _ => {
            // Heads of blocks and of the node inside hold what is worth lying about.
            let at = rng.gen_range(0..80);
            after[at] = rng.gen();
        }
    }
    // Odd rounds: a liar who can compute checksums.
    let resealed = round % 2 == 1 && kind.is_some();
    if let Some(kind) = kind.filter(|_| resealed) {
        block::seal(kind, &mut after, seed, crc32);
    }
    // What stands before and after the super block in its block is nobody's.
    let super_block = SUPER_OFFSET..SUPER_OFFSET + std::mem::size_of::<RawSuper>();
    let covered = match block {
        0 => before[super_block.clone()] != after[super_block],
        _ => kind.is_some() && before != after,
    };
    let damage = Damage {
        round,
        block,
        kind,
        resealed,
        evident: covered && !resealed,
    };
    (damage, before, after)
}
