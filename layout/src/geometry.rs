// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Where everything lies, computed from the super block alone: groups, their bitmaps and inode tables, backups,
//! inodes. No descriptor holds a location, so none can be wrong.

use crate::block::PAYLOAD_SIZE;
use crate::group::DESCS_PER_BLOCK;
use crate::inode::{INODES_PER_BLOCK, INODE_SIZE};
use crate::superblock::RawSuper;
use crate::{ino, Invalid, MAX_BLOCKS};

/// Blocks in a group: one for every bit of one bitmap block.
pub const GROUP_BLOCKS: u64 = (PAYLOAD_SIZE * 8) as u64;
/// The fewest blocks that a group must have beyond its own metadata.
pub const MIN_GROUP_DATA: u64 = 64;
/// Fewest blocks of a journal (jbd2's JBD2_MIN_JOURNAL_BLOCKS).
pub const MIN_JOURNAL_BLOCKS: u32 = 1024;

/// The places of everything.
///
/// # Invariants
/// `0 < gdt_start`, then gdt, journal and `system_end` follow each other without overlap, below `blocks`; `blocks <= 2^48`;
/// every group from `first_group` on has room for its metadata and [`MIN_GROUP_DATA`] blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks of the filesystem.
    pub blocks: u64,
    /// All groups.
    pub groups: u32,
    /// The first group that is not wholly inside the system area.
    pub first_group: u32,
    /// Inodes in each group from `first_group` on.
    pub inodes_per_group: u32,
    /// First block of the group descriptor table.
    pub gdt_start: u64,
    /// Blocks set aside for it.
    pub gdt_blocks: u32,
    /// First block of the journal.
    pub journal_start: u64,
    /// Its length.
    pub journal_blocks: u32,
    /// First block after the system area.
    pub system_end: u64,
}

/// Where an inode lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodePlace {
    /// Its group.
    pub group: u32,
    /// Its number inside the group.
    pub index: u32,
    /// The inode table block that holds it.
    pub block: u64,
    /// Its byte offset there.
    pub offset: usize,
}

/// Whether `n` is a power of `base`.
const fn is_power(n: u32, base: u32) -> bool {
    let mut p: u64 = base as u64;
    while p < n as u64 {
        p *= base as u64;
    }
    p == n as u64
}

/// Whether group `g` is of those that hold a copy of the super block (as ext4's sparse_super: 1 and powers of 3, 5, 7).
pub const fn is_backup_group(g: u32) -> bool {
    g == 1 || (g != 0 && (is_power(g, 3) || is_power(g, 5) || is_power(g, 7)))
}

impl Geometry {
    /// Checks the numbers of a super block; what is checked is the type's invariants.
    pub fn new(raw: &RawSuper) -> Result<Geometry, Invalid> {
        let g = Geometry {
            blocks: raw.blocks.get(),
            groups: raw.groups.get(),
            first_group: 0,
            inodes_per_group: raw.inodes_per_group.get(),
            gdt_start: raw.gdt_start.get(),
            gdt_blocks: raw.gdt_blocks.get(),
            journal_start: raw.journal_start.get(),
            journal_blocks: raw.journal_blocks.get(),
            system_end: raw.system_end.get(),
        };
        if u64::from(raw.group_blocks.get()) != GROUP_BLOCKS {
            return Err(Invalid("group size is not 32512 blocks"));
        }
        if raw.reserved_blocks.get() > raw.blocks.get() {
            return Err(Invalid("more blocks reserved than there are"));
        }
        g.check()
    }

    /// Checks the numbers (all but `first_group`, which is set here).
    pub fn check(mut self) -> Result<Geometry, Invalid> {
        if self.blocks == 0 || self.blocks > MAX_BLOCKS {
            return Err(Invalid("block count is zero or above 2^48"));
        }
        if u64::from(self.groups) != self.blocks.div_ceil(GROUP_BLOCKS) {
            return Err(Invalid("group count does not follow from block count"));
        }
        let ipg = self.inodes_per_group as usize;
        if ipg < ino::FIRST as usize || ipg % INODES_PER_BLOCK != 0 || ipg > PAYLOAD_SIZE * 8 {
            return Err(Invalid("inodes per group out of range or no multiple of 8"));
        }
        if self.gdt_start == 0 || self.gdt_start >= self.blocks {
            return Err(Invalid("group descriptor table outside the filesystem"));
        }
        if u64::from(self.gdt_blocks) < u64::from(self.groups).div_ceil(DESCS_PER_BLOCK as u64) {
            return Err(Invalid("group descriptor table too small"));
        }
        let gdt_end = self.gdt_start.saturating_add(u64::from(self.gdt_blocks));
        if self.journal_blocks < MIN_JOURNAL_BLOCKS {
            return Err(Invalid("journal too small"));
        }
        let journal_end = self
            .journal_start
            .saturating_add(u64::from(self.journal_blocks));
        if self.journal_start < gdt_end
            || self.system_end < journal_end
            || self.system_end >= self.blocks
        {
            return Err(Invalid("areas overlap or lie outside the filesystem"));
        }
        let first = self.system_end / GROUP_BLOCKS;
        self.first_group = u32::try_from(first).map_err(|_| Invalid("too many groups"))?;
        // Only the first group is shortened by the system area and only the last by the end of the device.
        for g in [self.first_group, self.groups.saturating_sub(1)] {
            if self.data_start(g).saturating_add(MIN_GROUP_DATA) > self.group_end(g) {
                return Err(Invalid("a group has no room for its own metadata"));
            }
        }
        Ok(self)
    }

    /// First block of group `g`.
    pub fn group_start(&self, g: u32) -> u64 {
        u64::from(g).saturating_mul(GROUP_BLOCKS)
    }

    /// One past the last block of group `g`.
    pub fn group_end(&self, g: u32) -> u64 {
        self.group_start(g)
            .saturating_add(GROUP_BLOCKS)
            .min(self.blocks)
    }

    /// The group of a block.
    pub fn group_of(&self, block: u64) -> u32 {
        (block / GROUP_BLOCKS) as u32
    }

    /// Whether the group lies wholly in the system area: no bitmaps, no inodes, nothing free.
    pub fn is_system_group(&self, g: u32) -> bool {
        g < self.first_group
    }

    /// First block of group `g` after the system area: its metadata begins here.
    pub fn meta_start(&self, g: u32) -> u64 {
        self.group_start(g).max(self.system_end)
    }

    /// The block with a copy of the super block in group `g`, if it has one.
    pub fn backup_block(&self, g: u32) -> Option<u64> {
        let start = self.group_start(g);
        (g < self.groups && is_backup_group(g) && start >= self.system_end).then_some(start)
    }

    /// The block bitmap of group `g`.
    pub fn block_bitmap(&self, g: u32) -> u64 {
        self.meta_start(g)
            .saturating_add(u64::from(self.backup_block(g).is_some()))
    }

    /// The inode bitmap of group `g`.
    pub fn inode_bitmap(&self, g: u32) -> u64 {
        self.block_bitmap(g).saturating_add(1)
    }

    /// First block of the inode table of group `g`.
    pub fn inode_table(&self, g: u32) -> u64 {
        self.block_bitmap(g).saturating_add(2)
    }

    /// Blocks of a group's inode table.
    pub fn itable_blocks(&self) -> u32 {
        self.inodes_per_group / INODES_PER_BLOCK as u32
    }

    /// First block of group `g` that can hold data.
    pub fn data_start(&self, g: u32) -> u64 {
        self.inode_table(g)
            .saturating_add(u64::from(self.itable_blocks()))
    }

    /// Blocks of group `g` that can hold data; 0 for system groups.
    pub fn data_blocks(&self, g: u32) -> u32 {
        if self.is_system_group(g) {
            return 0;
        }
        self.group_end(g).saturating_sub(self.data_start(g)) as u32
    }

    /// Highest inode number plus one.
    pub fn ino_end(&self) -> u64 {
        u64::from(self.groups.saturating_sub(self.first_group))
            .saturating_mul(u64::from(self.inodes_per_group))
            .saturating_add(1)
    }

    /// Where inode `ino` lies; `None` if there is no such inode number.
    pub fn inode_place(&self, ino: u64) -> Option<InodePlace> {
        if ino == 0 || ino >= self.ino_end() {
            return None;
        }
        let n = ino.checked_sub(1)?;
        let per = u64::from(self.inodes_per_group);
        let group = u32::try_from(n.checked_div(per)?)
            .ok()?
            .checked_add(self.first_group)?;
        let index = u32::try_from(n.checked_rem(per)?).ok()?;
        let block = self
            .inode_table(group)
            .checked_add(u64::from(index / INODES_PER_BLOCK as u32))?;
        let offset = (index as usize % INODES_PER_BLOCK) * INODE_SIZE;
        Some(InodePlace {
            group,
            index,
            block,
            offset,
        })
    }

    /// The number of inode `index` of group `g`; `None` for system groups or past the end.
    pub fn ino(&self, g: u32, index: u32) -> Option<u64> {
        if g >= self.groups || index >= self.inodes_per_group {
            return None;
        }
        u64::from(g.checked_sub(self.first_group)?)
            .checked_mul(u64::from(self.inodes_per_group))?
            .checked_add(u64::from(index))?
            .checked_add(1)
    }

    /// The block and the position in it of group `g`'s descriptor.
    pub fn desc_place(&self, g: u32) -> (u64, usize) {
        let block = self
            .gdt_start
            .saturating_add(u64::from(g / DESCS_PER_BLOCK as u32));
        (block, g as usize % DESCS_PER_BLOCK)
    }

    /// Whether `len` blocks from `start` lie in data areas of one group (never in the system area, bitmaps or inode tables).
    pub fn is_data(&self, start: u64, len: u64) -> bool {
        let Some(end) = start.checked_add(len) else {
            return false;
        };
        if len == 0 || end > self.blocks || start < self.system_end {
            return false;
        }
        let g = self.group_of(start);
        start >= self.data_start(g) && end <= self.group_end(g)
    }
}
