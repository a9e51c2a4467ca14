// SPDX-License-Identifier: GPL-2.0-only
//! The engine's blocks in memory, as cheap as they can be: no copies, no checksums, no verification, nothing undone. What is
//! measured over it is the engine itself. Not for tests: it would not notice a mistake.

use engine::io::{Each, Extent, ReadBlocks, Reuse, Transaction};
use engine::space::{GroupMem, Space};
use engine::{Cx, Error, Result};
use layout::block::{self, BlockKind};
use layout::geometry::GROUP_BLOCKS;
use layout::group::{GroupDesc, BLOCK_UNINIT, DESCS_PER_BLOCK, INODE_UNINIT};
use layout::inode::Time;
use layout::superblock::{RawSuper, Super, MAGIC};
use layout::{Block, BLOCK_SIZE};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

const WORDS: usize = GROUP_BLOCKS.div_ceil(64) as usize;

/// Blocks freed but not committed: bits and counts by group, and the total.
#[derive(Default)]
struct Deferred {
    words: Vec<[u64; WORDS]>,
    counts: Vec<u32>,
    total: u64,
}

/// Blocks in memory.
#[derive(Clone)]
pub struct Memory {
    blocks: Rc<RefCell<HashMap<u64, Rc<Block>>>>,
    deferred: Rc<RefCell<Deferred>>,
    sb: Rc<Super>,
}

/// A shared guard.
pub struct Shared(Rc<Block>);

impl Deref for Shared {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.0
    }
}

/// An exclusive guard: the block is taken out of the map and goes back.
pub struct Exclusive {
    home: Rc<RefCell<HashMap<u64, Rc<Block>>>>,
    number: u64,
    data: Rc<Block>,
}

impl Deref for Exclusive {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.data
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Block {
        Rc::make_mut(&mut self.data)
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        self.home
            .borrow_mut()
            .insert(self.number, Rc::clone(&self.data));
    }
}

fn crc32(seed: u32, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(data);
    hasher.finalize()
}

impl ReadBlocks for Memory {
    type Ref = Shared;
    type Run = Each<Shared>;

    fn sb(&self) -> &Super {
        &self.sb
    }

    fn read(&self, block: u64, _kind: BlockKind) -> Result<Shared> {
        let found = self.blocks.borrow().get(&block).cloned();
        found.map(Shared).ok_or(Error::Io { block })
    }

    fn read_run(&self, wanted: Extent, run: &mut Self::Run) -> Result<()> {
        run.read(self, wanted)
    }

    fn crc32(&self) -> layout::Crc32 {
        crc32
    }
}

impl Transaction for Memory {
    type Mut = Exclusive;

    fn modify(&self, block: u64, _kind: BlockKind) -> Result<Exclusive> {
        let data = self.blocks.borrow_mut().remove(&block);
        Ok(Exclusive {
            home: Rc::clone(&self.blocks),
            number: block,
            data: data.ok_or(Error::Io { block })?,
        })
    }

    fn create(&self, block: u64, _kind: BlockKind) -> Result<Exclusive> {
        Ok(Exclusive {
            home: Rc::clone(&self.blocks),
            number: block,
            data: Rc::new([0; BLOCK_SIZE]),
        })
    }

    fn forget(&self, block: u64, _kind: BlockKind) -> Result<()> {
        self.blocks.borrow_mut().remove(&block);
        Ok(())
    }

    fn defer_free(&self, start: u64, len: u32, _reuse: Reuse) -> Result<()> {
        let group = self.sb.geometry.group_of(start);
        let first = start - self.sb.geometry.group_start(group);
        let mut deferred = self.deferred.borrow_mut();
        for bit in first..first + u64::from(len) {
            deferred.words[group as usize][bit as usize / 64] |= 1 << (bit % 64);
        }
        deferred.counts[group as usize] += len;
        deferred.total += u64::from(len);
        Ok(())
    }

    fn deferred(&self, group: u32, word: u32) -> u64 {
        self.deferred.borrow().words[group as usize][word as usize]
    }

    fn deferred_in(&self, group: u32) -> u32 {
        self.deferred.borrow().counts[group as usize]
    }

    fn deferred_total(&self) -> u64 {
        self.deferred.borrow().total
    }
}

/// An empty filesystem, as far as the allocator sees it.
pub struct Filesystem {
    /// Its blocks.
    pub io: Memory,
    space: Space,
    groups: Vec<GroupMem>,
}

impl Filesystem {
    /// Makes one of `groups` groups.
    ///
    /// # Errors
    /// The geometry is refused.
    pub fn new(groups: u32) -> Result<Self> {
        let mut raw: RawSuper = zerocopy::FromZeros::new_zeroed();
        let gdt = (groups as usize).div_ceil(DESCS_PER_BLOCK) as u32;
        raw.magic = MAGIC;
        raw.version.set(layout::FORMAT_VERSION);
        raw.uuid = [1; 16];
        raw.blocks.set(u64::from(groups) * GROUP_BLOCKS);
        raw.block_size.set(BLOCK_SIZE as u32);
        raw.group_blocks.set(GROUP_BLOCKS as u32);
        raw.groups.set(groups);
        raw.inodes_per_group.set(1024);
        raw.gdt_start.set(1);
        raw.gdt_blocks.set(gdt);
        raw.journal_start.set(1 + u64::from(gdt));
        raw.journal_blocks.set(1024);
        raw.system_end.set(1 + u64::from(gdt) + 1024);
        let mut first = vec![0u8; BLOCK_SIZE];
        first[1024..2048].copy_from_slice(&raw.sealed(0, crc32));
        let sb = Super::parse(&first, 0, crc32).map_err(Error::at(0))?;
        let geometry = sb.geometry;
        let io = Memory {
            blocks: Rc::default(),
            deferred: Rc::new(RefCell::new(Deferred {
                words: vec![[0; WORDS]; groups as usize],
                counts: vec![0; groups as usize],
                total: 0,
            })),
            sb: Rc::new(sb),
        };
        for g in 0..geometry.groups {
            let (at, place) = geometry.desc_place(g);
            let mut data = match io.modify(at, BlockKind::Gdt) {
                Ok(data) => data,
                Err(_) => {
                    let mut data = io.create(at, BlockKind::Gdt)?;
                    let header = block::Header {
                        block: at,
                        owner: 0,
                        node: None,
                    };
                    block::write_header(&mut data, BlockKind::Gdt, header)
                        .map_err(Error::at(at))?;
                    data
                }
            };
            let desc = GroupDesc {
                free_blocks: geometry.data_blocks(g),
                flags: BLOCK_UNINIT | INODE_UNINIT,
                ..GroupDesc::default()
            };
            desc.write(&mut data, place).map_err(Error::at(at))?;
        }
        let mut groups = vec![GroupMem::default(); groups as usize];
        let space = Space::load(&io, &mut groups)?;
        Ok(Self { io, space, groups })
    }

    /// What the engine's operations take.
    pub fn cx(&mut self) -> Cx<'_, Memory> {
        Cx {
            io: &self.io,
            space: &mut self.space,
            groups: &mut self.groups,
            now: Time::default(),
            privileged: true,
        }
    }

    /// Ends a transaction: what was freed in it can be used again.
    pub fn commit(&mut self) {
        let mut deferred = self.io.deferred.borrow_mut();
        let Deferred {
            words,
            counts,
            total,
        } = &mut *deferred;
        for (words, count) in words.iter_mut().zip(counts.iter_mut()) {
            if *count != 0 {
                *words = [0; WORDS];
                *count = 0;
            }
        }
        *total = 0;
    }
}
