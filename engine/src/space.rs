// SPDX-License-Identifier: GPL-2.0-only
//! Free space: the groups' memory, allocation and freeing of blocks, and what may be promised to whom. Inode numbers are
//! [`crate::ialloc`]'s.
//!
//! The map of free extents of a group is its bitmap itself: 4 KiB that are scanned by words, plus two
//! numbers in memory that make most scans unnecessary (docs/decisions/002-bitmap-scan.md).

use crate::bitmap;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Reuse, Transaction};
use layout::block::{write_header, BlockKind, Header};
use layout::group::{GroupDesc, BLOCK_UNINIT};

/// Blocks that one allocation or free of blocks may change: bitmap and descriptor block.
pub const ALLOC_CREDITS: u32 = 2;

/// How many further groups are looked at for a longer run once a usable one is known.
const LOOK_FURTHER: u32 = 8;
/// A run at the wished place is good enough from this length on.
const GOOD_RUN: u32 = 64;

/// What is remembered of one group.
#[derive(Clone, Copy, Debug)]
pub struct GroupMem {
    /// The descriptor, equal to the one on disk.
    pub desc: GroupDesc,
    /// No free run is longer than this, deferred blocks counted as free.
    pub longest: u32,
    /// No run with a deferred block in it is longer than this. Without deferred blocks it means nothing.
    pub longest_freed: u32,
    /// No free inode lies below this index.
    pub first_free_inode: u32,
}

impl Default for GroupMem {
    fn default() -> Self {
        GroupMem {
            desc: GroupDesc::default(),
            longest: u32::MAX,
            longest_freed: 0,
            first_free_inode: 0,
        }
    }
}

/// Totals over all groups.
#[derive(Clone, Copy, Debug, Default)]
pub struct Space {
    /// Free blocks in the bitmaps, deferred ones included.
    pub free_blocks: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// Directories.
    pub dirs: u64,
    /// Blocks that only privileged callers may take.
    pub reserved: u64,
    /// Blocks kept back so that removing, truncating and converting always find their few tree nodes.
    pub meta_reserve: u64,
    /// Group where the last directory away from its parent was placed.
    pub(crate) dir_rotor: u32,
}

impl Space {
    /// Reads all group descriptors into `groups` (one element a group) and sums them.
    ///
    /// Errors: [`Error::Corrupt`] if a count is larger than the group.
    pub fn load<R: ReadBlocks>(io: &R, groups: &mut [GroupMem]) -> Result<Space> {
        let geo = io.sb().geometry;
        if groups.len() != geo.groups as usize {
            return Err(Error::Internal("group memory of the wrong length"));
        }
        let mut space = Space {
            reserved: io.sb().raw.reserved_blocks.get(),
            meta_reserve: (geo.blocks / 128).clamp(16, 2048),
            ..Space::default()
        };
        let mut held: Option<(u64, R::Ref)> = None;
        let mut next = 0u32;
        for mem in groups.iter_mut() {
            let g = next;
            next = next.saturating_add(1);
            let (block, n) = geo.desc_place(g);
            if held.as_ref().is_none_or(|(b, _)| *b != block) {
                held = Some((block, io.read(block, BlockKind::Gdt)?));
            }
            let Some((_, data)) = &held else { continue };
            let desc = GroupDesc::read(data, n).map_err(Error::at(block))?;
            let inodes = if geo.is_system_group(g) {
                0
            } else {
                geo.inodes_per_group
            };
            if desc.free_blocks > geo.data_blocks(g)
                || desc.free_inodes > inodes
                || desc.dirs > inodes
            {
                return Err(Error::corrupt(
                    block,
                    "group descriptor counts more than the group has",
                ));
            }
            if desc.itable_init > geo.itable_blocks() {
                return Err(Error::corrupt(
                    block,
                    "group descriptor with too long an inode table",
                ));
            }
            *mem = GroupMem {
                desc,
                ..GroupMem::default()
            };
            space.free_blocks = space
                .free_blocks
                .saturating_add(u64::from(desc.free_blocks));
            space.free_inodes = space
                .free_inodes
                .saturating_add(u64::from(desc.free_inodes));
            space.dirs = space.dirs.saturating_add(u64::from(desc.dirs));
        }
        Ok(space)
    }
}

/// Writes a group's descriptor from memory to its block.
pub(crate) fn store_desc<T: Transaction>(cx: &mut Cx<'_, T>, g: u32) -> Result<()> {
    let (block, n) = cx.io.sb().geometry.desc_place(g);
    let desc = group(cx.groups, g)?.desc;
    let mut data = cx.io.modify(block, BlockKind::Gdt)?;
    desc.write(&mut data, n).map_err(Error::at(block))
}

/// The memory of group `g`.
pub(crate) fn group(groups: &mut [GroupMem], g: u32) -> Result<&mut GroupMem> {
    groups
        .get_mut(g as usize)
        .ok_or(Error::Internal("no such group"))
}

/// Blocks that can be allocated right now by anybody for anything.
pub fn available<T: Transaction>(cx: &Cx<'_, T>) -> u64 {
    cx.space.free_blocks.saturating_sub(cx.io.deferred_total())
}

/// Blocks that this caller may take for data, the reserves left alone.
pub fn available_for_data<T: Transaction>(cx: &Cx<'_, T>) -> u64 {
    let kept = if cx.privileged { 0 } else { cx.space.reserved };
    available(cx)
        .saturating_sub(kept)
        .saturating_sub(cx.space.meta_reserve)
}

/// Clean [`Error::NoSpace`] unless `n` single blocks can surely be allocated without touching the reserves.
pub fn require<T: Transaction>(cx: &Cx<'_, T>, n: u64) -> Result<()> {
    if available_for_data(cx) < n {
        return Err(Error::NoSpace);
    }
    Ok(())
}

/// Clean [`Error::NoSpace`] unless `n` single blocks can surely be allocated, the metadata reserve included: for
/// operations that free space, or keep promises made when space was taken.
pub fn require_reserve<T: Transaction>(cx: &Cx<'_, T>, n: u64) -> Result<()> {
    if available(cx) < n {
        return Err(Error::NoSpace);
    }
    Ok(())
}

/// Allocates up to `max` contiguous blocks of one group, at least `min`, near block `goal` (0: no wish). Returns first
/// block and length. For file data and segments; leaves the reserves alone.
///
/// Errors: clean [`Error::NoSpace`]; the dirty ones.
pub fn alloc<T: Transaction>(
    cx: &mut Cx<'_, T>,
    goal: u64,
    min: u32,
    max: u32,
) -> Result<(u64, u32)> {
    let room = available_for_data(cx);
    if room < u64::from(min) || min == 0 {
        return Err(Error::NoSpace);
    }
    let max = u32::try_from(room).unwrap_or(u32::MAX).min(max).max(min);
    alloc_run(cx, goal, min, max)
}

/// Allocates one block for metadata near `goal`. May take from all reserves: what an operation may need was
/// checked by [`require`] when it began.
pub fn alloc_meta<T: Transaction>(cx: &mut Cx<'_, T>, goal: u64) -> Result<u64> {
    Ok(alloc_run(cx, goal, 1, 1)?.0)
}

/// A run of free blocks inside a group.
#[derive(Clone, Copy)]
struct Run {
    group: u32,
    start: u32,
    len: u32,
}

fn alloc_run<T: Transaction>(
    cx: &mut Cx<'_, T>,
    goal: u64,
    min: u32,
    max: u32,
) -> Result<(u64, u32)> {
    let geo = cx.io.sb().geometry;
    let goal = if goal < geo.system_end || goal >= geo.blocks {
        geo.system_end
    } else {
        goal
    };
    let first = geo.group_of(goal).max(geo.first_group);
    let n = geo.groups.saturating_sub(geo.first_group);
    let mut best: Option<Run> = None;
    let mut further = 0u32;
    for i in 0..n {
        let g = first
            .saturating_sub(geo.first_group)
            .saturating_add(i)
            .checked_rem(n)
            .unwrap_or(0)
            .saturating_add(geo.first_group);
        let least = best.map_or(min, |b| b.len.saturating_add(1));
        let mem = *group(cx.groups, g)?;
        let free = mem.desc.free_blocks.saturating_sub(cx.io.deferred_in(g));
        if free >= least && mem.longest >= least {
            let from = if i == 0 {
                goal.saturating_sub(geo.group_start(g)) as u32
            } else {
                0
            };
            if let Some(run) = search_group(cx, g, from, max)? {
                if run.len >= least {
                    best = Some(run);
                }
            }
        }
        if let Some(b) = best {
            if b.len >= max || further >= LOOK_FURTHER {
                break;
            }
            further = further.saturating_add(1);
        }
    }
    let mut run = best.filter(|b| b.len >= min).ok_or(Error::NoSpace)?;
    run.len = run.len.min(max);
    take(cx, run)
}

/// The run at `from` if it is good, else the first of `want` blocks after it (wrapping round), else the longest; of several
/// longest ones the first after `from`.
fn search_group<T: Transaction>(
    cx: &mut Cx<'_, T>,
    g: u32,
    from: u32,
    want: u32,
) -> Result<Option<Run>> {
    let geo = cx.io.sb().geometry;
    let begin = geo.data_start(g).saturating_sub(geo.group_start(g)) as u32;
    let end = geo.group_end(g).saturating_sub(geo.group_start(g)) as u32;
    let mem = group(cx.groups, g)?;
    // There is nothing longer to be found, so on a fragmented group most scans end at their first run.
    let enough = want.min(mem.longest);
    let deferred = cx.io.deferred_in(g) != 0;
    let uninit = mem.desc.flags & BLOCK_UNINIT != 0;
    let bits = if uninit {
        None
    } else {
        Some(cx.io.read(geo.block_bitmap(g), BlockKind::BlockBitmap)?)
    };
    let used = |n: u32| {
        let w = bits.as_ref().map_or(0, |b| bitmap::word(b, n));
        if deferred {
            w | cx.io.deferred(g, n)
        } else {
            w
        }
    };
    let from = from.max(begin).min(end);
    let found = |start, len| {
        Some(Run {
            group: g,
            start,
            len,
        })
    };
    let mut longest = (0u32, 0u32);
    let mut at = from;
    let mut wrapped = false;
    loop {
        match bitmap::next_run(at, end, enough, used) {
            Some((start, len)) => {
                if len >= enough || (start == from && len >= GOOD_RUN.min(want)) {
                    return Ok(found(start, len));
                }
                if len > longest.1 {
                    longest = (start, len);
                }
                at = start.saturating_add(len);
                if wrapped && at >= from {
                    break;
                }
            }
            None if wrapped || from == begin => break,
            None => {
                wrapped = true;
                at = begin;
            }
        }
    }
    // The whole group was seen, and no run in it was followed less than to its end. A run that `from` cut in two was seen
    // whole after wrapping. Deferred blocks come back without notice.
    let mem = group(cx.groups, g)?;
    if !deferred {
        mem.longest_freed = 0;
    }
    mem.longest = longest.1.max(mem.longest_freed);
    Ok(if longest.1 == 0 {
        None
    } else {
        found(longest.0, longest.1)
    })
}

/// Marks a run as used.
fn take<T: Transaction>(cx: &mut Cx<'_, T>, run: Run) -> Result<(u64, u32)> {
    let geo = cx.io.sb().geometry;
    let block = geo.block_bitmap(run.group);
    let mut data = if group(cx.groups, run.group)?.desc.flags & BLOCK_UNINIT != 0 {
        let mut data = cx.io.create(block, BlockKind::BlockBitmap)?;
        init_bitmap(&mut data, &geo, run.group).map_err(Error::at(block))?;
        data
    } else {
        cx.io.modify(block, BlockKind::BlockBitmap)?
    };
    bitmap::set(&mut data, run.start, run.len)
        .ok_or(Error::Internal("allocated a block in use"))?;
    drop(data);
    let mem = group(cx.groups, run.group)?;
    mem.desc.flags &= !BLOCK_UNINIT;
    mem.desc.free_blocks = mem
        .desc
        .free_blocks
        .checked_sub(run.len)
        .ok_or(Error::corrupt(
            block,
            "group counts fewer free blocks than its bitmap shows",
        ))?;
    cx.space.free_blocks = cx.space.free_blocks.saturating_sub(u64::from(run.len));
    store_desc(cx, run.group)?;
    Ok((
        geo.group_start(run.group)
            .saturating_add(u64::from(run.start)),
        run.len,
    ))
}

/// Fills a zeroed block with the bitmap of a group in which nothing but its own metadata is in use: header, bits of metadata
/// and system area, bits past the end of the filesystem.
pub fn init_bitmap(
    data: &mut layout::Block,
    geo: &layout::geometry::Geometry,
    g: u32,
) -> core::result::Result<(), layout::Invalid> {
    write_header(
        data,
        BlockKind::BlockBitmap,
        Header {
            block: geo.block_bitmap(g),
            owner: u64::from(g),
            node: None,
        },
    )?;
    let start = geo.group_start(g);
    let begin = geo.data_start(g).saturating_sub(start) as u32;
    let end = geo.group_end(g).saturating_sub(start) as u32;
    bitmap::set(data, 0, begin)
        .and_then(|()| bitmap::set(data, end, bitmap::BITS.saturating_sub(end)))
        .ok_or(layout::Invalid("group geometry does not fit its bitmap"))
}

/// Frees `len` blocks from `start`, all in the data area of one group. They can be allocated again once this transaction has
/// committed. Metadata blocks must have been given to [`Transaction::forget`] before.
///
/// Errors: [`Error::Corrupt`] if they are no data blocks or some were free already.
pub fn free<T: Transaction>(cx: &mut Cx<'_, T>, start: u64, len: u32) -> Result<()> {
    free_for(cx, start, len, Reuse::Committed)
}

/// As [`free`], for metadata blocks that were filled with zeros, in this transaction or earlier ones, and not forgotten: the zeros reach the disk
/// before the blocks can be allocated again.
pub(crate) fn free_erased<T: Transaction>(cx: &mut Cx<'_, T>, start: u64, len: u32) -> Result<()> {
    free_for(cx, start, len, Reuse::AtHome)
}

fn free_for<T: Transaction>(cx: &mut Cx<'_, T>, start: u64, len: u32, reuse: Reuse) -> Result<()> {
    let geo = cx.io.sb().geometry;
    if !geo.is_data(start, u64::from(len)) {
        return Err(Error::corrupt(
            start,
            "blocks to free lie outside the data area of a group",
        ));
    }
    let g = geo.group_of(start);
    let first = start.saturating_sub(geo.group_start(g)) as u32;
    let block = geo.block_bitmap(g);
    if group(cx.groups, g)?.desc.flags & BLOCK_UNINIT != 0 {
        return Err(Error::corrupt(
            start,
            "blocks to free lie in a group that was never used",
        ));
    }
    cx.io.defer_free(start, len, reuse)?;
    let mut data = cx.io.modify(block, BlockKind::BlockBitmap)?;
    bitmap::clear(&mut data, first, len)
        .ok_or(Error::corrupt(start, "blocks to free are free already"))?;
    let run = bitmap::run_around(&data, first, len);
    drop(data);
    let mem = group(cx.groups, g)?;
    mem.desc.free_blocks = mem
        .desc
        .free_blocks
        .checked_add(len)
        .filter(|n| *n <= geo.data_blocks(g))
        .ok_or(Error::corrupt(
            block,
            "group counts more free blocks than it has",
        ))?;
    mem.longest = mem.longest.max(run);
    mem.longest_freed = mem.longest_freed.max(run);
    cx.space.free_blocks = cx.space.free_blocks.saturating_add(u64::from(len));
    store_desc(cx, g)
}
