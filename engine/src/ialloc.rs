// SPDX-License-Identifier: GPL-2.0-only
//! Allocation and freeing of inode numbers: inode bitmaps, lazily initialised inode tables, and the choice of a group.
//! What an inode holds is [`crate::inode`]'s.

use crate::bitmap;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space::{group, store_desc};
use layout::block::{write_header, BlockKind, Header};
use layout::group::INODE_UNINIT;
use layout::inode::INODES_PER_BLOCK;

/// Blocks that one allocation or free of an inode number may change: bitmap, descriptor block, inode table block.
pub const INODE_CREDITS: u32 = 3;

/// Takes an inode number for a child of directory `near`. Its place in the inode table can be read afterwards (it holds the last
/// life's remains, or zeros); the caller stores the new inode there.
///
/// Files go to their directory's group. Directories go to a group with more than the average of free inodes and blocks, taken in
/// turn, so that trees spread over the device (after Orlov's allocator in ext4's ialloc.c).
///
/// Errors: clean [`Error::NoInodes`].
pub fn alloc_inode<T: Transaction>(cx: &mut Cx<'_, T>, near: u64, is_dir: bool) -> Result<u64> {
    let geo = cx.io.sb().geometry;
    if cx.space.free_inodes == 0 {
        return Err(Error::NoInodes);
    }
    let home = geo.inode_place(near).map_or(geo.first_group, |p| p.group);
    let n = geo.groups.saturating_sub(geo.first_group);
    let (start, avg_inodes, avg_blocks) = if is_dir {
        let per = |total: u64| total.checked_div(u64::from(n)).unwrap_or(0) as u32;
        let next = cx.space.dir_rotor.saturating_add(1);
        (next, per(cx.space.free_inodes), per(cx.space.free_blocks))
    } else {
        (home, 0, 0)
    };
    // The second round takes any group with a free inode.
    for round in 0..2u32 {
        for i in 0..n {
            let g = start
                .saturating_sub(geo.first_group)
                .saturating_add(i)
                .checked_rem(n)
                .unwrap_or(0)
                .saturating_add(geo.first_group);
            let d = group(cx.groups, g)?.desc;
            let good = round == 1 || (d.free_inodes >= avg_inodes && d.free_blocks >= avg_blocks);
            if d.free_inodes != 0 && good {
                if is_dir {
                    cx.space.dir_rotor = g;
                }
                return take(cx, g, is_dir);
            }
        }
    }
    Err(Error::NoInodes)
}

fn take<T: Transaction>(cx: &mut Cx<'_, T>, g: u32, is_dir: bool) -> Result<u64> {
    let geo = cx.io.sb().geometry;
    let block = geo.inode_bitmap(g);
    let mem = *group(cx.groups, g)?;
    let mut data = if mem.desc.flags & INODE_UNINIT != 0 {
        let mut data = cx.io.create(block, BlockKind::InodeBitmap)?;
        init_bitmap(&mut data, &geo, g).map_err(Error::at(block))?;
        data
    } else {
        cx.io.modify(block, BlockKind::InodeBitmap)?
    };
    let index = bitmap::next_run(mem.first_free_inode, geo.inodes_per_group, 1, |n| {
        bitmap::word(&data, n)
    })
    .ok_or(Error::corrupt(
        block,
        "group counts free inodes, its bitmap shows none",
    ))?
    .0;
    bitmap::set(&mut data, index, 1).ok_or(Error::Internal("allocated an inode in use"))?;
    drop(data);
    // The lowest free index is taken, so the table grows by at most one block at a time.
    let table_block = index / INODES_PER_BLOCK as u32;
    if table_block > mem.desc.itable_init {
        return Err(Error::corrupt(
            block,
            "inodes in use beyond the initialised inode table",
        ));
    }
    let grow = table_block == mem.desc.itable_init;
    if grow {
        let at = geo.inode_table(g).saturating_add(u64::from(table_block));
        drop(cx.io.create(at, BlockKind::InodeTable)?);
    }
    let mem = group(cx.groups, g)?;
    mem.desc.flags &= !INODE_UNINIT;
    mem.desc.itable_init = mem.desc.itable_init.saturating_add(u32::from(grow));
    mem.desc.free_inodes = mem.desc.free_inodes.saturating_sub(1);
    mem.desc.dirs = mem.desc.dirs.saturating_add(u32::from(is_dir));
    mem.first_free_inode = index.saturating_add(1);
    cx.space.free_inodes = cx.space.free_inodes.saturating_sub(1);
    cx.space.dirs = cx.space.dirs.saturating_add(u64::from(is_dir));
    store_desc(cx, g)?;
    geo.ino(g, index)
        .ok_or(Error::Internal("no number for an inode"))
}

/// Fills a zeroed block with the inode bitmap of a group in which no inode is in use: header, and the bits past the last inode.
pub fn init_bitmap(
    data: &mut layout::Block,
    geo: &layout::geometry::Geometry,
    g: u32,
) -> core::result::Result<(), layout::Invalid> {
    write_header(
        data,
        BlockKind::InodeBitmap,
        Header {
            block: geo.inode_bitmap(g),
            owner: u64::from(g),
            node: None,
        },
    )?;
    let n = geo.inodes_per_group;
    bitmap::set(data, n, bitmap::BITS.saturating_sub(n))
        .ok_or(layout::Invalid("more inodes than bits"))
}

/// Gives an inode number back. The caller has written the freed inode's remains.
///
/// Errors: [`Error::Corrupt`] if it was free already.
pub fn free_inode<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64, is_dir: bool) -> Result<()> {
    let geo = cx.io.sb().geometry;
    let place = geo
        .inode_place(ino)
        .ok_or(Error::Internal("freeing an inode that cannot be"))?;
    let block = geo.inode_bitmap(place.group);
    let mut data = cx.io.modify(block, BlockKind::InodeBitmap)?;
    bitmap::clear(&mut data, place.index, 1)
        .ok_or(Error::corrupt(block, "inode to free is free already"))?;
    drop(data);
    let mem = group(cx.groups, place.group)?;
    mem.desc.free_inodes = mem.desc.free_inodes.saturating_add(1);
    mem.desc.dirs = mem.desc.dirs.saturating_sub(u32::from(is_dir));
    mem.first_free_inode = mem.first_free_inode.min(place.index);
    cx.space.free_inodes = cx.space.free_inodes.saturating_add(1);
    cx.space.dirs = cx.space.dirs.saturating_sub(u64::from(is_dir));
    store_desc(cx, place.group)
}

/// Whether the inode bitmap has `ino` in use.
pub fn is_allocated<R: ReadBlocks>(
    io: &R,
    groups: &[crate::space::GroupMem],
    ino: u64,
) -> Result<bool> {
    let geo = io.sb().geometry;
    let Some(place) = geo.inode_place(ino) else {
        return Ok(false);
    };
    let mem = groups
        .get(place.group as usize)
        .ok_or(Error::Internal("no such group"))?;
    if mem.desc.flags & INODE_UNINIT != 0 {
        return Ok(false);
    }
    let data = io.read(geo.inode_bitmap(place.group), BlockKind::InodeBitmap)?;
    Ok(bitmap::all(&data, place.index, 1, true))
}
