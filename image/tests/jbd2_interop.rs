// SPDX-License-Identifier: GPL-2.0-only
//! The journal against another implementation of the same format: e2fsprogs, whose recovery is the kernel's source compiled in userspace. debugfs writes a
//! journal and `image` replays it; `image` writes one and debugfs replays it. Without mke2fs and debugfs the tests say so and do nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use image::device::{Access, Device, FileDevice};
use image::journal::{CommitSet, Journal, Region};
use layout::{jbd2, Block, BLOCK_SIZE};

/// An ext4 filesystem whose journal is contiguous, as VexFS has it.
struct Ext4 {
    dir: tempfile::TempDir,
    region: Region,
}

fn tool(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin", "/usr/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
}

impl Ext4 {
    fn new() -> Option<Self> {
        let Some(mke2fs) = tool("mke2fs").filter(|_| tool("debugfs").is_some()) else {
            println!("SKIPPED: mke2fs and debugfs (package e2fsprogs) are not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let out = Command::new(mke2fs)
            .args(["-F", "-q", "-t", "ext4", "-b", "4096", "-J", "size=4"])
            .args(["-O", "64bit,metadata_csum,extents,^flex_bg"])
            .arg(dir.path().join("image"))
            .arg("64M")
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let mut this = Self {
            dir,
            region: Region {
                start: 0,
                len: 1024,
                fs_blocks: 16_384,
            },
        };
        let listed = this.debugfs(&["blocks <8>"]);
        let blocks: Vec<u64> = listed
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        assert_eq!(blocks.len(), 1024, "{listed}");
        assert!(
            blocks.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "the journal is not contiguous"
        );
        this.region.start = blocks[0];
        Some(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn debugfs(&self, commands: &[&str]) -> String {
        let script = self.path("commands");
        std::fs::write(&script, commands.join("\n") + "\n").unwrap();
        let out = Command::new(tool("debugfs").unwrap())
            .arg("-w")
            .arg("-f")
            .arg(&script)
            .arg(self.path("image"))
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let (stdout, stderr) = (
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr),
        );
        let complaints: Vec<_> = stderr
            .lines()
            .filter(|line| !line.starts_with("debugfs ") && *line != "Setting csum v3")
            .collect();
        assert!(complaints.is_empty(), "{commands:?}: {complaints:?}");
        stdout
            .lines()
            .filter(|line| !line.starts_with("debugfs: "))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn open(&self, name: &str) -> FileDevice {
        FileDevice::open(&self.path(name), Access::Write).unwrap()
    }
}

fn block(device: &dyn Device, number: u64) -> Box<Block> {
    let mut data = Box::new([0; BLOCK_SIZE]);
    device
        .read_at(number * BLOCK_SIZE as u64, data.as_mut_slice())
        .unwrap();
    data
}

/// Some contents; with the journal's magic in front if `magic`.
fn contents(n: u64, magic: bool) -> Block {
    let mut data = [0; BLOCK_SIZE];
    for (i, word) in data.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&((n << 32) | (i as u64 * 3)).to_le_bytes());
    }
    if magic {
        data[..4].copy_from_slice(&jbd2::MAGIC.to_be_bytes());
    }
    data
}

#[test]
fn what_debugfs_writes_into_a_journal_is_replayed() {
    let Some(ext4) = Ext4::new() else { return };
    let three = [contents(1, false), contents(2, true), contents(3, true)].concat();
    std::fs::write(ext4.path("three"), &three).unwrap();
    std::fs::write(ext4.path("one"), contents(4, true)).unwrap();
    let (three, one) = (ext4.path("three"), ext4.path("one"));
    ext4.debugfs(&[
        "jo -c -v 3",
        &format!("jw -b 9000,9001,9002 {}", three.display()),
        &format!("jw -b 9003 {}", one.display()),
        // Revoked now, and written again by the transaction after.
        "jw -r 9001,9002",
        &format!("jw -b 9002 {}", one.display()),
        "jc",
    ]);
    let device = ext4.open("image");
    let sb = ext4.region.read_super(&device).unwrap();
    assert_eq!(
        sb.incompat,
        jbd2::INCOMPAT_REVOKE | jbd2::INCOMPAT_64BIT | jbd2::INCOMPAT_CSUM_V3
    );
    assert_ne!(sb.start, 0);
    let (_, replay) = Journal::open(&device, ext4.region).unwrap();
    assert_eq!(
        (replay.transactions, replay.blocks(), replay.revoked),
        (4, 3, 2)
    );
    assert_eq!(*block(&device, 9000), contents(1, false));
    assert_eq!(*block(&device, 9001), [0; BLOCK_SIZE], "revoked");
    assert_eq!(*block(&device, 9002), contents(4, true));
    assert_eq!(*block(&device, 9003), contents(4, true));
}

/// Transactions from a seed, over few blocks, so that they overwrite, revoke and write again; and enough of them to go round the journal.
fn write_journal(device: &dyn Device, region: Region, seed: u64, first_sequence: u32) {
    region
        .format(device, [seed as u8; 16], first_sequence)
        .unwrap();
    let (mut journal, _) = Journal::open(device, region).unwrap();
    let mut random = seed;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for n in 0..60 {
        let mut set = CommitSet::default();
        for _ in 0..1 + next(40) {
            let home = 9000 + next(60);
            set.blocks
                .insert(home, Rc::new(contents(n << 16 | home, next(3) == 0).into()));
        }
        for _ in 0..next(6) {
            let home = 9000 + next(60);
            set.blocks.remove(&home);
            set.revoked.push(home);
        }
        set.revoked.sort_unstable();
        set.revoked.dedup();
        journal.commit(device, set).unwrap();
    }
    // Dropped, not closed: the transactions since the last checkpoint are in the log.
}

#[test]
fn what_is_committed_here_is_replayed_by_e2fsprogs_to_the_same_blocks() {
    let Some(ext4) = Ext4::new() else { return };
    let mut total = (0, 0);
    for (seed, first_sequence) in [(1, 7), (2, u32::MAX - 30), (3, 0x8000_0000 - 10), (4, 1)] {
        let device = ext4.open("image");
        for home in 9000..9060 {
            device
                .write_at(home * BLOCK_SIZE as u64, &[0; BLOCK_SIZE])
                .unwrap();
        }
        write_journal(&device, ext4.region, seed, first_sequence);
        let sb = ext4.region.read_super(&device).unwrap();
        assert_ne!(sb.start, 0, "there must be something to replay");
        drop(device);
        std::fs::copy(ext4.path("image"), ext4.path("copy")).unwrap();

        // Ours.
        let copy = ext4.open("copy");
        let (_, replay) = Journal::open(&copy, ext4.region).unwrap();
        total = (total.0 + replay.transactions, total.1 + replay.revoked);
        // Theirs.
        ext4.debugfs(&["feature needs_recovery"]);
        ext4.debugfs(&["jr"]);
        let device = ext4.open("image");
        assert_eq!(
            ext4.region.read_super(&device).unwrap().start,
            0,
            "e2fsprogs did not empty the journal"
        );
        let differing: BTreeMap<u64, bool> = (9000..9060)
            .filter(|&home| block(&device, home) != block(&copy, home))
            .map(|home| (home, *block(&device, home) == [0; BLOCK_SIZE]))
            .collect();
        assert!(
            differing.is_empty(),
            "seed {seed}: blocks that differ (true: zero there): {differing:?}"
        );
        println!(
            "seed {seed}: {} transactions, {} blocks, {} revoked copies: same result",
            replay.transactions,
            replay.blocks(),
            replay.revoked
        );
    }
    assert!(
        total.0 > 10 && total.1 > 10,
        "too little was replayed: {total:?}"
    );
}
