// SPDX-License-Identifier: GPL-2.0-only
//! Pass 7: bitmaps and counts.

use crate::common::*;
use crate::plant::*;
use engine::bitmap;
use image::device::MemDevice;
use layout::block::BlockKind;
use layout::group::{BLOCK_UNINIT, INODE_UNINIT};
use layout::Block;

fn forge_blocks(dev: &MemDevice, change: impl FnOnce(&mut Block)) {
    let at = superblock(dev).geometry.block_bitmap(0);
    forge(dev, at, BlockKind::BlockBitmap, change);
}

fn forge_inodes(dev: &MemDevice, change: impl FnOnce(&mut Block)) {
    let at = superblock(dev).geometry.inode_bitmap(0);
    forge(dev, at, BlockKind::InodeBitmap, change);
}

/// Bit of the first data block of the first group, which is in use.
fn first_data(dev: &MemDevice) -> u32 {
    superblock(dev).geometry.data_start(0) as u32
}

/// Index of an inode in its group, the first.
fn index(dev: &MemDevice, path: &str) -> u32 {
    let place = superblock(dev)
        .geometry
        .inode_place(ino_of(dev, path))
        .unwrap();
    assert_eq!(place.group, 0);
    place.index
}

faults! {
    block_bitmap_damaged [BlockBitmapBad] |dev| {
        flip(dev, superblock(dev).geometry.block_bitmap(0), 2000);
    };
    block_bitmap_of_another_group [BlockBitmapBad] |dev| forge_blocks(dev, |data| data[16] = 1);
    block_in_use_marked_free [BlockFree] |dev| {
        let bit = first_data(dev);
        forge_blocks(dev, |data| bitmap::clear(data, bit, 1).unwrap());
    };
    free_blocks_marked_in_use [BlockLeaked] |dev| {
        forge_blocks(dev, |data| bitmap::set(data, 32_000, 70).unwrap());
    };
    system_area_marked_free [BlockPadding] |dev| {
        forge_blocks(dev, |data| bitmap::clear(data, 0, 1).unwrap());
    };
    used_group_marked_unused [BlockUninit] |dev| {
        forge_desc(dev, 0, |desc| desc.flags |= BLOCK_UNINIT);
    };
    free_block_count [FreeBlocks] |dev| forge_desc(dev, 0, |desc| desc.free_blocks -= 1);
    free_block_count_of_an_unused_group [FreeBlocks] |dev| {
        forge_desc(dev, 1, |desc| desc.free_blocks -= 1);
    };
    inode_bitmap_damaged [InodeBitmapBad] |dev| {
        flip(dev, superblock(dev).geometry.inode_bitmap(0), 2000);
    };
    inode_in_use_marked_free [InodeFree] |dev| {
        let i = index(dev, "fifo");
        forge_inodes(dev, |data| bitmap::clear(data, i, 1).unwrap());
    };
    free_inode_marked_in_use [InodeLeaked] |dev| {
        let last = index(dev, "null") + 1;
        forge_desc(dev, 0, |desc| desc.itable_init = desc.itable_init.max(last / 8 + 1));
        forge_inodes(dev, |data| bitmap::set(data, last, 1).unwrap());
    };
    inode_padding_clear [InodePadding] |dev| {
        forge_inodes(dev, |data| bitmap::clear(data, 32_511, 1).unwrap());
    };
    inodes_of_a_group_marked_unused [InodeUninit] |dev| {
        forge_desc(dev, 0, |desc| desc.flags |= INODE_UNINIT);
    };
    free_inode_count [FreeInodes] |dev| forge_desc(dev, 0, |desc| desc.free_inodes -= 1);
    directory_count [GroupDirs] |dev| {
        let dirs = |desc: &mut layout::group::GroupDesc| desc.dirs += 1;
        forge_desc(dev, 0, dirs);
    };
    inode_beyond_the_table [InodeBeyondTable] |dev| {
        forge_inodes(dev, |data| bitmap::set(data, 3000, 1).unwrap());
    };
}
