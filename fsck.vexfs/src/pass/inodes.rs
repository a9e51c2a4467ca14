// SPDX-License-Identifier: GPL-2.0-only
//! Pass 2: group descriptors, every initialised block of the inode tables, and both trees of every inode in use. It
//! marks the blocks that files and trees use and remembers inodes and parent pointers for the passes after it.

use crate::check::Check;
use crate::inodes::{Info, Link};
use crate::pass::bitmaps::word;
use crate::problem::{Code, Problem};
use crate::reader::{Fault, Reader};
use crate::tree::{walk, NodeFault, Tree, Visitor};
use image::checksum::crc32;
use layout::attr::{parse_parent_key, CLASS_PARENT};
use layout::block::BlockKind;
use layout::btree::{Key, TreeKind};
use layout::dirent::{check_name, siphash24, FIRST_COOKIE};
use layout::extent::Extent;
use layout::group::{GroupDesc, BLOCK_UNINIT, DESCS_PER_BLOCK, INODE_UNINIT};
use layout::inode::{
    self, FileType, ForkFormat, Inode, Slot, FLAG_SYSTEM, INODES_PER_BLOCK, INODE_SIZE,
};
use layout::{ino, BLOCK_SIZE};

/// Blocks of an inode table read at once.
const TABLE_RUN: u32 = 64;

/// Runs the pass.
pub fn run(check: &mut Check<'_>) {
    let geo = check.reader.sb.geometry;
    descriptors(check);
    let groups = check.groups;
    let lengths = (geo.first_group..groups).map(|g| u64::from(table_len(check, g)));
    let total = lengths.sum();
    check.begin(2, total);
    let mut done = 0;
    for g in geo.first_group..groups {
        let len = table_len(check, g);
        let mut at = 0;
        while at < len {
            let n = TABLE_RUN.min(len - at);
            table_run(check, g, at, n);
            at += n;
            done += u64::from(n);
            check.progress(done);
        }
    }
    if check.unknown_from < geo.ino_end() {
        let count = geo.ino_end() - check.unknown_from;
        check.inodes.add_unknown(check.unknown_from, count);
    }
    for number in ino::ROOT..=ino::ORPHANS {
        if matches!(check.inodes.get(number), crate::inodes::Known::Free) {
            check.report(Problem::new(Code::InodeReservedMissing).ino(number));
            check.lost_blocks = true;
            check.lost_names |= number == ino::ROOT;
        }
    }
    check.summary.inodes = check.inodes.used().len() as u64;
    let dirs = check.inodes.used().iter();
    let dirs = dirs.filter(|i| i.file_type == FileType::Directory).count();
    check.summary.directories = dirs as u64;
}

/// Blocks of a group's inode table to read.
fn table_len(check: &Check<'_>, g: u32) -> u32 {
    let geo = check.reader.sb.geometry;
    let desc = check.descs.get(g as usize).copied().flatten();
    match desc {
        Some(d) => d.itable_init.min(geo.itable_blocks()),
        // Without a descriptor the bitmap says how far inodes were ever in use.
        None => match check
            .reader
            .block(geo.inode_bitmap(g), BlockKind::InodeBitmap)
        {
            Ok(bits) => {
                let used = |i: &u32| word(&bits, i / 64) & 1 << (i % 64) != 0;
                let last = (0..geo.inodes_per_group).rev().find(used);
                last.map_or(0, |i| i / INODES_PER_BLOCK as u32 + 1)
            }
            Err(_) => 0,
        },
    }
}

fn descriptors(check: &mut Check<'_>) {
    let geo = check.reader.sb.geometry;
    let groups = check.groups;
    for first in (0..groups).step_by(DESCS_PER_BLOCK) {
        let (block, _) = geo.desc_place(first);
        let in_block = (first..groups).take(DESCS_PER_BLOCK);
        let data = match check.reader.block(block, BlockKind::Gdt) {
            Ok(data) => data,
            Err(why) => {
                let problem = Problem::new(Code::GdtBad).block(block).group(first);
                check.report(problem.detail(why.to_string()));
                check.descs.extend(in_block.clone().map(|_| None));
                for g in in_block.filter(|g| !geo.is_system_group(*g)) {
                    lose_group(check, g);
                }
                if why == Fault::Outside {
                    // The table runs off the device: so do all groups after this one.
                    let left = groups as usize - check.descs.len();
                    check.descs.extend(std::iter::repeat_n(None, left));
                    return;
                }
                continue;
            }
        };
        let header = layout::block::read_header(&data, BlockKind::Gdt);
        if header.is_ok_and(|h| h.owner != u64::from(first)) {
            check.report(Problem::new(Code::GdtOwner).block(block).group(first));
        }
        for (n, g) in in_block.enumerate() {
            let desc = GroupDesc::read(&data, n).ok();
            if let Some(d) = desc {
                descriptor(check, g, &d);
            }
            check.descs.push(desc);
        }
    }
}

/// A group without a descriptor: if its bitmap does not help either, its inodes are not known.
fn lose_group(check: &mut Check<'_>, g: u32) {
    let geo = check.reader.sb.geometry;
    let bitmap = check
        .reader
        .block(geo.inode_bitmap(g), BlockKind::InodeBitmap);
    if bitmap.is_err() {
        check.lost_blocks = true;
        check.lost_names = true;
        if let Some(first) = geo.ino(g, 0) {
            check
                .inodes
                .add_unknown(first, u64::from(geo.inodes_per_group));
        }
    }
}

fn descriptor(check: &mut Check<'_>, g: u32, d: &GroupDesc) {
    let geo = check.reader.sb.geometry;
    if geo.is_system_group(g) {
        let uninit = BLOCK_UNINIT | INODE_UNINIT;
        if (d.free_blocks, d.free_inodes, d.itable_init, d.dirs, d.flags) != (0, 0, 0, 0, uninit) {
            check.report(Problem::new(Code::GroupSystem).group(g));
        }
        return;
    }
    let ipg = geo.inodes_per_group;
    if d.free_blocks > geo.data_blocks(g)
        || d.free_inodes > ipg
        || d.dirs > ipg - d.free_inodes
        || d.itable_init > geo.itable_blocks()
    {
        let what = format!(
            "{} of {} blocks free, {} of {ipg} inodes free, {} directories, {} of {} inode table blocks",
            d.free_blocks,
            geo.data_blocks(g),
            d.free_inodes,
            d.dirs,
            d.itable_init,
            geo.itable_blocks(),
        );
        check.report(Problem::new(Code::GroupCounts).group(g).detail(what));
    }
}

/// Reads `len` blocks of group `g`'s inode table from number `from` on, and everything that hangs on their inodes.
fn table_run(check: &mut Check<'_>, g: u32, from: u32, len: u32) {
    let geo = check.reader.sb.geometry;
    let start = geo.inode_table(g) + u64::from(from);
    let mut data = vec![0; len as usize * BLOCK_SIZE];
    let whole = check.reader.run(start, &mut data);
    for (n, block) in (0..len).zip(data.chunks_exact_mut(BLOCK_SIZE)) {
        let number = start + u64::from(n);
        let Some(first) = geo.ino(g, (from + n) * INODES_PER_BLOCK as u32) else {
            return;
        };
        // After an error, block by block: only the bad one is lost.
        if whole.is_err() {
            if let Err(why) = check.reader.run(number, block) {
                let problem = Problem::new(Code::InodeBlockUnreadable).block(number);
                check.report(problem.detail(why.to_string()));
                check.inodes.add_unknown(first, INODES_PER_BLOCK as u64);
                check.lost_blocks = true;
                check.lost_names = true;
                continue;
            }
        }
        for (ino, raw) in (first..).zip(block.chunks_exact(INODE_SIZE)) {
            slot(check, ino, number, raw);
        }
    }
}

fn slot(check: &mut Check<'_>, ino: u64, block: u64, raw: &[u8]) {
    let damaged = |check: &mut Check<'_>, code, why: &str| {
        check.report(Problem::new(code).ino(ino).block(block).detail(why));
        check.inodes.add_unknown(ino, 1);
        check.lost_blocks = true;
        check.lost_names = true;
    };
    if let Err(e) = inode::verify_crc(raw, check.reader.sb.seed, crc32) {
        return damaged(check, Code::InodeChecksum, e.0);
    }
    match Inode::parse(raw, ino) {
        Ok(Slot::Unused) => {}
        Ok(Slot::Free { .. }) if ino < ino::FIRST => {
            check.report(Problem::new(Code::InodeReservedUsed).ino(ino).block(block));
        }
        Ok(Slot::Free { .. }) => {}
        Ok(Slot::Used(inode)) => used(check, &inode, block),
        Err(e) => damaged(check, Code::InodeBad, e.0),
    }
}

fn used(check: &mut Check<'_>, inode: &Inode, block: u64) {
    let file_type = inode.file_type();
    let problem = |code| Problem::new(code).ino(inode.ino).block(block);
    let right = match inode.ino {
        ino::ROOT => file_type == FileType::Directory,
        ino::INDEX_TABLE..=ino::ORPHANS => {
            file_type == FileType::Regular && inode.flags & FLAG_SYSTEM != 0
        }
        _ => true,
    };
    if !right {
        check.report(problem(Code::InodeReservedMissing));
    }
    if (ino::ORPHANS + 1..ino::FIRST).contains(&inode.ino) {
        check.report(problem(Code::InodeReservedUsed));
    }
    let device = matches!(file_type, FileType::Char | FileType::Block);
    if inode.rdev != 0 && !device {
        check.report(problem(Code::InodeDevice));
    }
    let sized = matches!(
        file_type,
        FileType::Regular | FileType::Directory | FileType::Symlink
    );
    let table = matches!(inode.ino, ino::INDEX_TABLE | ino::VECTOR_MAP);
    if inode.size != 0 && (!sized || table) {
        check.report(problem(Code::InodeSize).detail(format!("{} bytes", inode.size)));
    }
    let data = fork(check, inode, false);
    let attr = fork(check, inode, true);
    let blocks = data.blocks + attr.blocks;
    if blocks != inode.blocks && data.whole && attr.whole {
        let what = format!("{}, not {blocks}", inode.blocks);
        check.report(problem(Code::InodeBlocks).detail(what));
    }
    check.inodes.add(Info {
        ino: inode.ino,
        file_type,
        links: inode.links,
        generation: inode.generation,
        epoch: inode.vector_epoch,
        size: inode.size,
        vectors: inode.vectors,
        data_whole: data.whole,
        attr_whole: attr.whole && !attr.bad_names,
        has_attributes: attr.attributes || file_type == FileType::Symlink,
    });
}

/// What the walk of a fork came to.
#[derive(Default)]
struct Fork {
    blocks: u64,
    whole: bool,
    /// It holds more than parent pointers.
    attributes: bool,
    /// It holds parent pointers that cannot be used.
    bad_names: bool,
}

/// Walks a fork, marks its blocks, and takes from it what belongs to this pass.
fn fork(check: &mut Check<'_>, inode: &Inode, attr: bool) -> Fork {
    let (fork, kind) = if attr {
        (&inode.attr, Some(TreeKind::Attr))
    } else {
        (&inode.data, inode.data_tree())
    };
    let Some(kind) = kind else {
        return Fork {
            whole: true,
            ..Fork::default()
        };
    };
    let reader: Reader<'_> = check.reader;
    let mut visitor = ForkVisitor {
        check,
        inode,
        kind,
        end: 0,
        result: Fork {
            whole: true,
            ..Fork::default()
        },
    };
    let tree = Tree {
        fork,
        kind,
        owner: inode.ino,
    };
    walk(&reader, tree, &mut visitor);
    let result = visitor.result;
    let mapped = matches!(fork.format, ForkFormat::Leaf | ForkFormat::Tree);
    if kind == TreeKind::Extent && mapped && inode.file_type() != FileType::Regular {
        check.report(Problem::new(Code::ExtentType).ino(inode.ino));
    }
    if !result.whole {
        check.lost_blocks = true;
        check.lost_names |= kind == TreeKind::Directory;
    }
    result
}

struct ForkVisitor<'a, 'b> {
    check: &'a mut Check<'b>,
    inode: &'a Inode,
    kind: TreeKind,
    /// One past the last logical block seen.
    end: u64,
    result: Fork,
}

impl Visitor for ForkVisitor<'_, '_> {
    fn node(&mut self, block: u64) -> bool {
        let new = self.check.mark(block, 1, self.inode.ino);
        self.result.blocks += u64::from(new);
        new
    }

    fn fault(&mut self, block: Option<u64>, fault: NodeFault) {
        self.check.node_fault(self.inode.ino, block, &fault);
        self.result.whole &= !fault.loses_entries();
    }

    fn entry(&mut self, key: &Key, value: &[u8]) -> bool {
        match self.kind {
            TreeKind::Extent => self.extent(key, value),
            TreeKind::Attr => self.attribute(key, value),
            _ => {}
        }
        true
    }
}

impl ForkVisitor<'_, '_> {
    fn extent(&mut self, key: &Key, value: &[u8]) {
        let ino = self.inode.ino;
        let problem = |code| Problem::new(code).ino(ino);
        let e = match Extent::parse(key.a(), value) {
            Ok(e) => e,
            Err(e) => {
                self.result.whole = false;
                let what = format!("logical block {}: {}", key.a(), e.0);
                return self.check.report(problem(Code::ExtentBad).detail(what));
            }
        };
        let what = || format!("{} blocks from logical block {}", e.len, e.logical);
        if e.logical < self.end {
            self.check
                .report(problem(Code::ExtentOrder).block(e.start).detail(what()));
        }
        self.end = self.end.max(e.logical_end());
        if !self
            .check
            .reader
            .sb
            .geometry
            .is_data(e.start, u64::from(e.len))
        {
            self.result.whole = false;
            return self
                .check
                .report(problem(Code::ExtentOutside).block(e.start).detail(what()));
        }
        if !self.check.mark(e.start, u64::from(e.len), ino) {
            self.result.whole = false;
        }
        self.result.blocks += u64::from(e.len);
    }

    fn attribute(&mut self, key: &Key, value: &[u8]) {
        let Some((dir, cookie)) = parse_parent_key(key) else {
            self.result.attributes = true;
            return;
        };
        let ino = self.inode.ino;
        let geo = self.check.reader.sb.geometry;
        let bad = if let Err(e) = check_name(value) {
            Some(e.0)
        } else if geo.inode_place(dir).is_none() || dir & CLASS_PARENT != 0 {
            Some("no such directory")
        } else if cookie < FIRST_COOKIE {
            Some("no such cookie")
        } else {
            None
        };
        if let Some(why) = bad {
            self.result.bad_names = true;
            let what = format!("directory {dir}, cookie {cookie:#x}: {why}");
            self.check
                .report(Problem::new(Code::ParentBad).ino(ino).detail(what));
            return;
        }
        let name = siphash24(&self.check.reader.sb.raw.hash_seed, value);
        self.check.parents.push(Link {
            ino,
            dir,
            cookie,
            name,
        });
    }
}
