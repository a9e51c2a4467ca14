// SPDX-License-Identifier: GPL-2.0-only
//! Pass 7: bitmaps and counts against what the other passes found in use. What should be free but is not is only reported when
//! everything that may use blocks could be read.

use crate::check::Check;
use crate::inodes::Known;
use crate::problem::{Code, Problem};
use crate::reader::Fault;
use layout::block::{read_header, BlockKind, HEADER_SIZE};
use layout::bytes::u64_at;
use layout::geometry::GROUP_BLOCKS;
use layout::group::{GroupDesc, BLOCK_UNINIT, INODE_UNINIT};
use layout::ino;
use layout::inode::{FileType, INODES_PER_BLOCK};
use layout::Block;

const WORDS: u32 = (GROUP_BLOCKS / 64) as u32;

/// Runs the pass.
pub fn run(check: &mut Check<'_>) {
    let geo = check.reader.sb.geometry;
    let groups = check.groups;
    check.begin(7, u64::from(groups.saturating_sub(geo.first_group)));
    // Inodes ascend, and so do groups: each takes its own from the front.
    let mut next = 0;
    for g in geo.first_group..groups {
        let desc = check.descs.get(g as usize).copied().flatten();
        let used = inodes_of(check, g, &mut next);
        blocks(check, g, desc);
        inodes(check, g, desc, &used);
        check.progress(u64::from(g - geo.first_group + 1));
    }
}

/// Word `n` of a bitmap block.
pub fn word(bits: &Block, n: u32) -> u64 {
    u64_at(bits, HEADER_SIZE + n as usize * 8).unwrap_or(u64::MAX)
}

/// The bits of word `n` that lie in `start..end`.
fn mask(n: u32, start: u32, end: u32) -> u64 {
    let below = |limit: u32| {
        let k = limit.saturating_sub(n * 64).min(64);
        if k == 64 {
            u64::MAX
        } else {
            (1 << k) - 1
        }
    };
    below(end) & !below(start)
}

/// Calls `f` with the runs of set bits in the words that `get` gives.
fn runs(get: impl Fn(u32) -> u64, mut f: impl FnMut(u32, u32)) {
    let mut run: Option<(u32, u32)> = None;
    for n in 0..WORDS {
        let mut w = get(n);
        while w != 0 {
            let low = w.trailing_zeros();
            let len = (w >> low).trailing_ones();
            let start = n * 64 + low;
            run = match run {
                Some((s, e)) if e == start => Some((s, start + len)),
                Some((s, e)) => {
                    f(s, e - s);
                    Some((start, start + len))
                }
                None => Some((start, start + len)),
            };
            w = if low + len >= 64 {
                0
            } else {
                w & (u64::MAX << (low + len))
            };
        }
    }
    if let Some((s, e)) = run {
        f(s, e - s);
    }
}

fn bitmap(check: &Check<'_>, g: u32, kind: BlockKind, block: u64) -> Result<Box<Block>, Fault> {
    let data = check.reader.block(block, kind)?;
    match read_header(&data, kind) {
        Ok(header) if header.owner == u64::from(g) => Ok(data),
        Ok(_) => Err(Fault::Invalid("it belongs to another group")),
        Err(e) => Err(Fault::Invalid(e.0)),
    }
}

fn blocks(check: &mut Check<'_>, g: u32, desc: Option<GroupDesc>) {
    let geo = check.reader.sb.geometry;
    let start = geo.group_start(g);
    let (begin, end) = (
        (geo.data_start(g) - start) as u32,
        (geo.group_end(g) - start) as u32,
    );
    let used = check.usage.count(g);
    let free = geo.data_blocks(g) - used;
    check.summary.used_blocks += u64::from(used);
    check.summary.free_blocks += u64::from(free);
    let Some(desc) = desc else {
        return;
    };
    let problem = |code| Problem::new(code).group(g);
    // Lost blocks can only make the real number smaller.
    if desc.free_blocks != free && !(check.lost_blocks && desc.free_blocks < free) {
        let what = format!("{}, not {free}", desc.free_blocks);
        check.report(problem(Code::FreeBlocks).detail(what));
    }
    if desc.flags & BLOCK_UNINIT != 0 {
        if used != 0 {
            check.report(problem(Code::BlockUninit).detail(format!("{used} blocks")));
        }
        return;
    }
    let at = geo.block_bitmap(g);
    let bits = match bitmap(check, g, BlockKind::BlockBitmap, at) {
        Ok(bits) => bits,
        Err(why) => {
            let problem = problem(Code::BlockBitmapBad).block(at);
            return check.report(problem.detail(why.to_string()));
        }
    };
    let outside = |n| mask(n, 0, begin) | mask(n, end, u32::MAX);
    let lost = check.lost_blocks;
    let mut found = Vec::new();
    let clear = (0..WORDS).any(|n| !word(&bits, n) & outside(n) != 0);
    if clear {
        found.push(problem(Code::BlockPadding).block(at));
    }
    let run = |code, first: u32, len: u32| {
        let problem = problem(code).block(start + u64::from(first));
        problem.detail(format!("{len} blocks"))
    };
    runs(
        |n| check.usage.word(g, n) & !word(&bits, n),
        |first, len| found.push(run(Code::BlockFree, first, len)),
    );
    if !lost {
        runs(
            |n| word(&bits, n) & !check.usage.word(g, n) & !outside(n),
            |first, len| found.push(run(Code::BlockLeaked, first, len)),
        );
    }
    for problem in found {
        check.report(problem);
    }
}

/// What is in use of a group's inodes.
#[derive(Default)]
struct Used {
    /// Indexes, ascending, reserved ones included.
    indexes: Vec<u32>,
    directories: u32,
    /// Some could not be read.
    unknown: bool,
}

fn inodes_of(check: &Check<'_>, g: u32, next: &mut usize) -> Used {
    let geo = check.reader.sb.geometry;
    let mut used = Used::default();
    let Some(first) = geo.ino(g, 0) else {
        return used;
    };
    let end = first + u64::from(geo.inodes_per_group);
    if first == 1 {
        used.indexes.extend(0..(ino::FIRST - 1) as u32);
    }
    while let Some(info) = check.inodes.used().get(*next).filter(|i| i.ino < end) {
        *next += 1;
        if info.ino >= ino::FIRST {
            used.indexes.push((info.ino - first) as u32);
        }
        used.directories += u32::from(info.file_type == FileType::Directory);
    }
    if check.inodes.any_unknown() {
        used.unknown = (first..end).any(|i| matches!(check.inodes.get(i), Known::Unknown));
    }
    used
}

fn inodes(check: &mut Check<'_>, g: u32, desc: Option<GroupDesc>, used: &Used) {
    let geo = check.reader.sb.geometry;
    let ipg = geo.inodes_per_group;
    let Some(desc) = desc else {
        return;
    };
    let problem = |code| Problem::new(code).group(g);
    let count = used.indexes.len() as u32;
    let free = ipg - count;
    if desc.free_inodes != free && !(used.unknown && desc.free_inodes < free) {
        let what = format!("{}, not {free}", desc.free_inodes);
        check.report(problem(Code::FreeInodes).detail(what));
    }
    let dirs = used.directories;
    if desc.dirs != dirs && !(used.unknown && desc.dirs > dirs) {
        let what = format!("{}, not {dirs}", desc.dirs);
        check.report(problem(Code::GroupDirs).detail(what));
    }
    if desc.flags & INODE_UNINIT != 0 {
        if count != 0 {
            check.report(problem(Code::InodeUninit).detail(format!("{count} inodes")));
        }
        return;
    }
    let at = geo.inode_bitmap(g);
    let bits = match bitmap(check, g, BlockKind::InodeBitmap, at) {
        Ok(bits) => bits,
        Err(why) => {
            let problem = problem(Code::InodeBitmapBad).block(at);
            return check.report(problem.detail(why.to_string()));
        }
    };
    let mut real = [0u64; WORDS as usize];
    for i in &used.indexes {
        real[*i as usize / 64] |= 1 << (i % 64);
    }
    let real = |n: u32| real[n as usize];
    let table = desc.itable_init.min(geo.itable_blocks()) * INODES_PER_BLOCK as u32;
    let number = |i: u32| geo.ino(g, i).unwrap_or(0);
    let mut found = Vec::new();
    if (0..WORDS).any(|n| !word(&bits, n) & mask(n, ipg, u32::MAX) != 0) {
        found.push(problem(Code::InodePadding).block(at));
    }
    let mut each = |code, get: &dyn Fn(u32) -> u64| {
        runs(get, |first, len| {
            let problem = problem(code).ino(number(first));
            found.push(problem.detail(format!("{len} inodes")));
        });
    };
    each(Code::InodeFree, &|n| real(n) & !word(&bits, n));
    each(Code::InodeBeyondTable, &|n| {
        word(&bits, n) & mask(n, table, ipg)
    });
    if !used.unknown {
        each(Code::InodeLeaked, &|n| {
            word(&bits, n) & !real(n) & mask(n, 0, table.min(ipg))
        });
    }
    for problem in found {
        check.report(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_across_words() {
        let mut bits = [0u64; WORDS as usize];
        bits[0] = 1 | 1 << 63;
        bits[1] = u64::MAX;
        bits[2] = 0b1011;
        bits[WORDS as usize - 1] = 1 << 63;
        let mut found = Vec::new();
        runs(|n| bits[n as usize], |start, len| found.push((start, len)));
        let last = WORDS * 64 - 1;
        assert_eq!(found, [(0, 1), (63, 67), (131, 1), (last, 1)]);
    }

    #[test]
    fn masks_of_ranges() {
        assert_eq!(mask(0, 0, 64), u64::MAX);
        assert_eq!(mask(1, 0, 64), 0);
        assert_eq!(mask(0, 3, 5), 0b11000);
        assert_eq!(mask(1, 70, u32::MAX), u64::MAX << 6);
        assert_eq!(mask(2, 5, 130), 0b11);
    }
}
