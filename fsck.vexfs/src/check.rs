// SPDX-License-Identifier: GPL-2.0-only
//! The state that the passes share, the order they run in, and the counting of what they find.

use crate::inodes::{Inodes, Link};
use crate::pass;
use crate::problem::{Code, Problem, Severity};
use crate::reader::Reader;
use crate::tree::NodeFault;
use crate::usage::{Marked, Usage};
use image::device::{Device, Overlay};
use layout::geometry::GROUP_BLOCKS;
use layout::group::GroupDesc;
use layout::superblock::Super;
use layout::BLOCK_SIZE;
use std::collections::BTreeMap;

/// How to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Block with the copy of the super block to use instead of block 0.
    pub backup: Option<u64>,
}

/// Names of the passes, by number.
pub const PASSES: [&str; 8] = [
    "super block",
    "journal",
    "groups, inodes and trees",
    "directories and parent pointers",
    "orphans",
    "extended attributes",
    "vector indexes",
    "bitmaps and counts",
];

/// Who is told what the check is doing and what it finds.
pub trait Observer {
    /// A problem was found.
    fn problem(&mut self, problem: &Problem);
    /// Pass number `pass` begins; it has `total` units of work.
    fn pass(&mut self, _pass: u8, _total: u64) {}
    /// So many units of this pass are done.
    fn progress(&mut self, _done: u64) {}
}

/// What the check came to.
#[derive(Clone, Default)]
pub struct Summary {
    /// The super block, if there was one.
    pub sb: Option<Super>,
    /// Transactions that were replayed in memory.
    pub replayed: u32,
    /// How often each problem was found.
    pub problems: BTreeMap<Code, u64>,
    /// Inodes in use, reserved ones included.
    pub inodes: u64,
    /// Directories in use.
    pub directories: u64,
    /// Blocks in use by files and trees.
    pub used_blocks: u64,
    /// Blocks free.
    pub free_blocks: u64,
    /// Inodes that wait to be finished.
    pub orphans: u64,
    /// Vector indexes.
    pub indexes: u64,
    /// Vector records.
    pub records: u64,
}

impl Summary {
    /// Problems of at least this severity.
    pub fn count(&self, least: Severity) -> u64 {
        let bad = self.problems.iter().filter(|(c, _)| c.severity() >= least);
        bad.map(|(_, n)| n).sum()
    }

    /// No errors; there may be warnings.
    pub fn is_clean(&self) -> bool {
        self.count(Severity::Error) == 0
    }
}

/// The state of a check.
pub(crate) struct Check<'a> {
    pub reader: Reader<'a>,
    pub usage: Usage,
    /// Groups that begin on the device; there can be fewer than the super block says.
    pub groups: u32,
    /// Inodes from this number on lie in other groups.
    pub unknown_from: u64,
    /// One for each of these groups; `None` if its descriptor could not be read.
    pub descs: Vec<Option<GroupDesc>>,
    pub inodes: Inodes,
    /// From parent pointers; pass 3 uses them up.
    pub parents: Vec<Link>,
    /// Block use may be incomplete: something that uses blocks could not be read.
    pub lost_blocks: bool,
    /// Names may be missing: a directory could not be read.
    pub lost_names: bool,
    pub summary: Summary,
    observer: &'a mut dyn Observer,
}

impl Check<'_> {
    /// Tells and counts a problem.
    pub fn report(&mut self, problem: Problem) {
        *self.summary.problems.entry(problem.code).or_insert(0) += 1;
        self.observer.problem(&problem);
    }

    pub fn begin(&mut self, pass: u8, total: u64) {
        self.observer.pass(pass, total);
    }

    pub fn progress(&mut self, done: u64) {
        self.observer.progress(done);
    }

    /// Marks blocks as in use by inode `ino`, and reports the first that was in use already. Whether none was.
    pub fn mark(&mut self, start: u64, len: u64, ino: u64) -> bool {
        match self.usage.mark(start, len) {
            Marked::New => true,
            Marked::Shared(block) => {
                let what = format!("second use in the run of {len} blocks from {start}");
                self.report(
                    Problem::new(Code::BlockShared)
                        .ino(ino)
                        .block(block)
                        .detail(what),
                );
                false
            }
        }
    }

    /// Reports what a walk said about a node.
    pub fn node_fault(&mut self, ino: u64, block: Option<u64>, fault: &NodeFault) {
        use NodeFault as F;
        let (code, detail) = match fault {
            F::Outside => (Code::TreeOutside, String::new()),
            F::Bad(why) => (Code::TreeNodeBad, why.to_string()),
            F::Owner(owner) => (Code::TreeOwner, format!("inode {owner}")),
            F::Kind(kind) => (Code::TreeKind, format!("{kind:?}")),
            F::Level(found, expected) => (Code::TreeLevel, format!("{found}, not {expected}")),
            F::Range => (Code::TreeRange, String::new()),
            F::Empty => (Code::TreeEmpty, String::new()),
            F::Thin => (Code::TreeThin, String::new()),
            F::Values => (Code::TreeValues, String::new()),
            // Reported when it was marked.
            F::Shared => return,
        };
        let mut problem = Problem::new(code).ino(ino).detail(detail);
        problem.block = block;
        self.report(problem);
    }
}

/// Groups that begin on the device.
fn groups_on(dev: &dyn Device, sb: &Super) -> u32 {
    let blocks = dev.size() / BLOCK_SIZE as u64;
    let groups = blocks.div_ceil(GROUP_BLOCKS);
    u32::try_from(groups)
        .unwrap_or(u32::MAX)
        .min(sb.geometry.groups)
}

/// Checks the filesystem on `dev`, which is only read: the journal is replayed to memory.
pub fn check(dev: &dyn Device, options: &Options, observer: &mut dyn Observer) -> Summary {
    let mut summary = Summary::default();
    let overlay = Overlay::new(dev);
    let mut report = |problem: Problem| {
        *summary.problems.entry(problem.code).or_insert(0) += 1;
        observer.problem(&problem);
    };
    let Some(sb) = pass::superblock::find(&overlay, options, &mut report) else {
        return summary;
    };
    summary.sb = Some(sb);
    let mut check = Check {
        reader: Reader::new(&overlay, sb),
        usage: Usage::new(sb.geometry),
        groups: groups_on(&overlay, &sb),
        unknown_from: u64::MAX,
        descs: Vec::new(),
        inodes: Inodes::default(),
        parents: Vec::new(),
        lost_blocks: false,
        lost_names: false,
        summary,
        observer,
    };
    pass::superblock::run(&mut check, &overlay, options);
    pass::journal::run(&mut check, &overlay);
    pass::inodes::run(&mut check);
    pass::directories::run(&mut check);
    pass::orphans::run(&mut check);
    pass::attributes::run(&mut check);
    pass::vectors::run(&mut check);
    pass::bitmaps::run(&mut check);
    check.summary
}
