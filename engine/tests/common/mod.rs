// SPDX-License-Identifier: GPL-2.0-only
//! A filesystem in memory for the engine's tests: blocks in a map, transactions that commit or vanish, faults on demand, and
//! every rule of `engine::io` enforced (guards, sealing, verification of all that is committed).
#![allow(dead_code)] // every test binary uses its own part

use engine::io::{Each, Extent, ReadBlocks, Reuse, Transaction};
use engine::space::{GroupMem, Space};
use engine::{Cx, Error, Result};
use layout::block::{self, BlockKind};
use layout::geometry::GROUP_BLOCKS;
use layout::group::{GroupDesc, BLOCK_UNINIT, INODE_UNINIT};
use layout::inode::{mode, Fork, Inode, Time, FLAG_SYSTEM};
use layout::superblock::{RawSuper, Super, MAGIC};
use layout::{Block, BLOCK_SIZE};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// crc32fast under the format's signature.
pub fn crc32(seed: u32, data: &[u8]) -> u32 {
    let mut h = crc32fast::Hasher::new_with_initial(seed);
    h.update(data);
    h.finalize()
}

#[derive(Default)]
struct State {
    committed: HashMap<u64, Rc<Block>>,
    dirty: BTreeMap<u64, (BlockKind, Rc<Block>)>,
    lent: HashSet<u64>,
    forgotten: HashSet<u64>,
    deferred: HashMap<u32, Vec<u64>>,
    /// Freed as erased by the open transaction.
    erased: Vec<(u64, u32)>,
    reads: u64,
    changed: HashSet<u64>,
    /// Reads and modifications until an injected I/O error.
    fail_in: Option<u64>,
}

impl State {
    fn tick(&mut self, block: u64) -> Result<()> {
        if let Some(n) = &mut self.fail_in {
            if *n == 0 {
                return Err(Error::Io { block });
            }
            *n -= 1;
        }
        Ok(())
    }

    fn current(&self, block: u64) -> Option<Rc<Block>> {
        let b = self.dirty.get(&block).map(|(_, b)| b.clone());
        b.or_else(|| self.committed.get(&block).cloned())
    }
}

/// The filesystem: what a mount would hold.
pub struct MemFs {
    pub io: MemIo,
    pub space: Space,
    pub groups: Vec<GroupMem>,
    pub now: Time,
    /// Most blocks that any transaction changed.
    pub max_changed: usize,
}

/// Implements the traits; cheap to clone.
#[derive(Clone)]
pub struct MemIo {
    state: Rc<RefCell<State>>,
    sb: Rc<Super>,
}

pub struct RefGuard(Rc<Block>);

impl Deref for RefGuard {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.0
    }
}

pub struct MutGuard {
    state: Rc<RefCell<State>>,
    block: u64,
    kind: BlockKind,
    data: Box<Block>,
}

impl Deref for MutGuard {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.data
    }
}

impl DerefMut for MutGuard {
    fn deref_mut(&mut self) -> &mut Block {
        &mut self.data
    }
}

impl Drop for MutGuard {
    fn drop(&mut self) {
        let mut s = self.state.borrow_mut();
        assert!(s.lent.remove(&self.block));
        s.dirty.insert(self.block, (self.kind, Rc::new(*self.data)));
    }
}

impl ReadBlocks for MemIo {
    type Ref = RefGuard;
    type Run = Each<RefGuard>;

    fn sb(&self) -> &Super {
        &self.sb
    }

    fn read(&self, block: u64, kind: BlockKind) -> Result<RefGuard> {
        let mut s = self.state.borrow_mut();
        s.tick(block)?;
        s.reads += 1;
        if s.lent.contains(&block) {
            return Err(Error::Internal("shared guard beside an exclusive one"));
        }
        let data = s
            .current(block)
            .ok_or(Error::corrupt(block, "block was never written"))?;
        // Committed blocks are verified at every read: a test wants to know.
        if !s.dirty.contains_key(&block) {
            block::verify(kind, block, &data, self.sb.seed, crc32).map_err(Error::at(block))?;
        }
        Ok(RefGuard(data))
    }

    fn read_run(&self, wanted: Extent, run: &mut Self::Run) -> Result<()> {
        run.read(self, wanted)
    }

    fn crc32(&self) -> layout::Crc32 {
        crc32
    }
}

impl Transaction for MemIo {
    type Mut = MutGuard;

    fn modify(&self, block: u64, kind: BlockKind) -> Result<MutGuard> {
        let data = self.read(block, kind)?.0;
        // One for `data` itself, one for the map; more are shared guards that are still alive.
        if Rc::strong_count(&data) > 2 {
            return Err(Error::Internal("exclusive guard beside a shared one"));
        }
        let mut s = self.state.borrow_mut();
        s.lent.insert(block);
        s.changed.insert(block);
        Ok(MutGuard {
            state: self.state.clone(),
            block,
            kind,
            data: Box::new(*data),
        })
    }

    fn create(&self, block: u64, kind: BlockKind) -> Result<MutGuard> {
        let mut s = self.state.borrow_mut();
        s.tick(block)?;
        if block >= self.sb.geometry.blocks {
            return Err(Error::corrupt(block, "outside the filesystem"));
        }
        if !s.lent.insert(block) {
            return Err(Error::Internal("two exclusive guards"));
        }
        s.changed.insert(block);
        s.forgotten.remove(&block);
        Ok(MutGuard {
            state: self.state.clone(),
            block,
            kind,
            data: Box::new([0; BLOCK_SIZE]),
        })
    }

    fn forget(&self, block: u64, _kind: BlockKind) -> Result<()> {
        let mut s = self.state.borrow_mut();
        if s.lent.contains(&block) {
            return Err(Error::Internal("forgetting a block that is held"));
        }
        s.dirty.remove(&block);
        s.forgotten.insert(block);
        Ok(())
    }

    fn defer_free(&self, start: u64, len: u32, reuse: Reuse) -> Result<()> {
        let g = self.sb.geometry.group_of(start);
        let first = start - self.sb.geometry.group_start(g);
        let mut s = self.state.borrow_mut();
        if reuse == Reuse::AtHome {
            s.erased.push((start, len));
        }
        let words = s
            .deferred
            .entry(g)
            .or_insert_with(|| vec![0; GROUP_BLOCKS.div_ceil(64) as usize]);
        for bit in first..first + u64::from(len) {
            words[bit as usize / 64] |= 1 << (bit % 64);
        }
        Ok(())
    }

    fn deferred(&self, group: u32, word: u32) -> u64 {
        let s = self.state.borrow();
        s.deferred.get(&group).map_or(0, |w| w[word as usize])
    }

    fn deferred_in(&self, group: u32) -> u32 {
        let s = self.state.borrow();
        s.deferred
            .get(&group)
            .map_or(0, |w| w.iter().map(|w| w.count_ones()).sum())
    }

    fn deferred_total(&self) -> u64 {
        let s = self.state.borrow();
        s.deferred
            .values()
            .flatten()
            .map(|w| u64::from(w.count_ones()))
            .sum()
    }
}

impl MemFs {
    /// A filesystem of `blocks` blocks with the reserved inodes, `ipg` inodes in a group and an empty root directory.
    pub fn new(blocks: u64, ipg: u32, seed: u8) -> MemFs {
        let mut raw: RawSuper = zerocopy::FromZeros::new_zeroed();
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        let gdt = (groups as usize).div_ceil(layout::group::DESCS_PER_BLOCK) as u32;
        raw.magic = MAGIC;
        raw.version.set(layout::FORMAT_VERSION);
        raw.uuid = [seed; 16];
        raw.hash_seed = [seed ^ 0x5a; 16];
        raw.blocks.set(blocks);
        raw.block_size.set(BLOCK_SIZE as u32);
        raw.group_blocks.set(GROUP_BLOCKS as u32);
        raw.groups.set(groups as u32);
        raw.inodes_per_group.set(ipg);
        raw.gdt_start.set(1);
        raw.gdt_blocks.set(gdt);
        raw.journal_start.set(1 + u64::from(gdt));
        raw.journal_blocks.set(1024);
        raw.system_end.set(1 + u64::from(gdt) + 1024);
        let mut block0 = vec![0u8; BLOCK_SIZE];
        block0[1024..2048].copy_from_slice(&raw.sealed(0, crc32));
        let sb = Super::parse(&block0, 0, crc32).expect("test super block");
        let geo = sb.geometry;
        let io = MemIo {
            state: Rc::default(),
            sb: Rc::new(sb),
        };
        for b in 0..gdt {
            let at = geo.gdt_start + u64::from(b);
            let mut data = io.create(at, BlockKind::Gdt).unwrap();
            let header = block::Header {
                block: at,
                owner: 0,
                node: None,
            };
            block::write_header(&mut data, BlockKind::Gdt, header).unwrap();
            for g in 0..geo.groups {
                let (place, n) = geo.desc_place(g);
                if place == at {
                    let system = geo.is_system_group(g);
                    let desc = GroupDesc {
                        free_blocks: geo.data_blocks(g),
                        free_inodes: if system { 0 } else { ipg },
                        flags: BLOCK_UNINIT | INODE_UNINIT,
                        ..GroupDesc::default()
                    };
                    desc.write(&mut data, n).unwrap();
                }
            }
        }
        let mut fs = MemFs {
            io,
            space: Space::default(),
            groups: vec![GroupMem::default(); groups as usize],
            now: Time { sec: 1, nsec: 0 },
            max_changed: 0,
        };
        fs.commit();
        fs.with(|cx| {
            for ino in 1..layout::ino::FIRST {
                // Directories would be spread over the groups; the root is counted by hand.
                let got = engine::ialloc::alloc_inode(cx, 1, false)?;
                assert_eq!(got, ino);
                if ino == layout::ino::ROOT {
                    cx.groups[geo.first_group as usize].desc.dirs += 1;
                    cx.space.dirs += 1;
                }
                let system = (layout::ino::INDEX_TABLE..=layout::ino::ORPHANS).contains(&ino);
                if ino == layout::ino::ROOT || system {
                    store(cx, &blank(ino, system))?;
                }
            }
            Ok(())
        })
        .unwrap();
        fs
    }

    /// Runs a transaction: committed if it succeeds or fails cleanly, undone otherwise.
    pub fn with<X>(&mut self, f: impl FnOnce(&mut Cx<'_, MemIo>) -> Result<X>) -> Result<X> {
        self.with_privilege(true, f)
    }

    /// As [`MemFs::with`], with the caller's right to reserved blocks as given.
    pub fn with_privilege<X>(
        &mut self,
        privileged: bool,
        f: impl FnOnce(&mut Cx<'_, MemIo>) -> Result<X>,
    ) -> Result<X> {
        self.now.sec += 1;
        let io = self.io.clone();
        let before = (self.space, self.groups.clone());
        io.state.borrow_mut().changed.clear();
        let r = f(&mut Cx {
            io: &io,
            space: &mut self.space,
            groups: &mut self.groups,
            now: self.now,
            privileged,
        });
        let changed = io.state.borrow().changed.len();
        // Faults are for the operation, not for the checks of the commit.
        io.state.borrow_mut().fail_in = None;
        match &r {
            Err(e) if !e.is_clean() => {
                let mut s = io.state.borrow_mut();
                assert!(s.lent.is_empty());
                s.dirty.clear();
                s.deferred.clear();
                s.forgotten.clear();
                s.erased.clear();
                drop(s);
                (self.space, self.groups) = before;
            }
            Err(e) => {
                assert_eq!(changed, 0, "clean error {e:?} after {changed} changes");
                self.commit();
            }
            Ok(_) => {
                self.max_changed = self.max_changed.max(changed);
                self.commit();
            }
        }
        r
    }

    /// Blocks changed by the last transaction.
    pub fn changed(&self) -> usize {
        self.io.state.borrow().changed.len()
    }

    fn commit(&mut self) {
        let mut s = self.io.state.borrow_mut();
        assert!(s.lent.is_empty(), "guards outlive their transaction");
        for (block, (kind, data)) in std::mem::take(&mut s.dirty) {
            let mut data = *data;
            block::seal(kind, &mut data, self.io.sb.seed, crc32);
            // A partition that was erased is all zero; that it is nobody's any more is seen below.
            let gone =
                |(start, len): &(u64, u32)| (*start..start + u64::from(*len)).contains(&block);
            if kind != BlockKind::Partition || !s.erased.iter().any(gone) {
                block::verify(kind, block, &data, self.io.sb.seed, crc32)
                    .unwrap_or_else(|e| panic!("committing a bad {kind:?} block {block}: {e}"));
            }
            s.committed.insert(block, Rc::new(data));
        }
        for b in std::mem::take(&mut s.forgotten) {
            s.committed.remove(&b);
        }
        for (start, len) in std::mem::take(&mut s.erased) {
            for b in start..start + u64::from(len) {
                let data = s.committed.remove(&b).expect("erased and never written");
                assert!(data.iter().all(|b| *b == 0), "block {b} is not erased");
            }
        }
        s.deferred.clear();
        drop(s);
        let mut groups = vec![GroupMem::default(); self.groups.len()];
        let fresh = Space::load(&self.io, &mut groups).expect("group descriptors");
        if self.space.free_blocks == 0 && self.space.free_inodes == 0 {
            (self.space, self.groups) = (fresh, groups);
            return;
        }
        assert_eq!(
            fresh.free_blocks, self.space.free_blocks,
            "free blocks in memory and on disk"
        );
        assert_eq!(
            fresh.free_inodes, self.space.free_inodes,
            "free inodes in memory and on disk"
        );
        for (a, b) in groups.iter().zip(&self.groups) {
            assert_eq!(a.desc, b.desc);
        }
    }

    /// After `n` more block accesses, every access fails.
    pub fn fail_in(&self, n: Option<u64>) {
        self.io.state.borrow_mut().fail_in = n;
    }

    /// Block accesses so far.
    pub fn reads(&self) -> u64 {
        self.io.state.borrow().reads
    }

    /// A committed block's bytes, to plant faults in.
    pub fn poke(&self, block: u64, kind: BlockKind, f: impl FnOnce(&mut Block)) {
        let mut s = self.io.state.borrow_mut();
        let mut data = **s.committed.get(&block).expect("block to poke");
        f(&mut data);
        block::seal(kind, &mut data, self.io.sb.seed, crc32);
        s.committed.insert(block, Rc::new(data));
    }

    /// Blocks in use in data areas, from the bitmaps. Asserts that no free run is longer than the allocator believes.
    pub fn used_blocks(&self) -> Vec<u64> {
        let geo = self.io.sb.geometry;
        let mut used = Vec::new();
        for g in geo.first_group..geo.groups {
            if self.groups[g as usize].desc.flags & BLOCK_UNINIT != 0 {
                continue;
            }
            let data = self
                .io
                .read(geo.block_bitmap(g), BlockKind::BlockBitmap)
                .unwrap();
            let mut run = 0;
            for b in geo.data_start(g)..geo.group_end(g) {
                if engine::bitmap::all(&data, (b - geo.group_start(g)) as u32, 1, true) {
                    used.push(b);
                    run = 0;
                } else {
                    run += 1;
                    let bound = self.groups[g as usize].longest;
                    assert!(run <= bound, "a run longer than {bound} in group {g}");
                }
            }
        }
        used
    }

    /// Blocks in a data area that have been committed as metadata and not forgotten.
    pub fn metadata_blocks(&self) -> Vec<u64> {
        let geo = self.io.sb.geometry;
        let s = self.io.state.borrow();
        let mut v: Vec<u64> = s
            .committed
            .keys()
            .copied()
            .filter(|b| geo.is_data(*b, 1))
            .collect();
        v.sort_unstable();
        v
    }
}

/// A directory or system inode without contents.
pub fn blank(ino: u64, system: bool) -> Inode {
    Inode {
        ino,
        mode: if system {
            mode::REGULAR | 0o600
        } else {
            mode::DIRECTORY | 0o755
        },
        generation: 1,
        links: if system { 1 } else { 2 },
        uid: 0,
        gid: 0,
        size: 0,
        blocks: 0,
        atime: Time::default(),
        mtime: Time::default(),
        ctime: Time::default(),
        btime: Time::default(),
        flags: if system { FLAG_SYSTEM } else { 0 },
        rdev: 0,
        project: 0,
        vector_epoch: 1,
        vectors: 0,
        version: 1,
        default_index: 0,
        data: Fork::EMPTY,
        attr: Fork::EMPTY,
    }
}

/// Stores an inode in its place.
pub fn store(cx: &mut Cx<'_, MemIo>, inode: &Inode) -> Result<()> {
    let place = cx
        .io
        .sb()
        .geometry
        .inode_place(inode.ino)
        .ok_or(Error::Stale)?;
    let mut data = cx.io.modify(place.block, BlockKind::InodeTable)?;
    data[place.offset..place.offset + layout::inode::INODE_SIZE].copy_from_slice(&inode.to_bytes());
    Ok(())
}

/// Loads an inode in use.
pub fn load(io: &MemIo, ino: u64) -> Result<Inode> {
    let place = io.sb().geometry.inode_place(ino).ok_or(Error::Stale)?;
    let data = io.read(place.block, BlockKind::InodeTable)?;
    match Inode::parse(&data[place.offset..], ino).map_err(Error::at(place.block))? {
        layout::inode::Slot::Used(i) => Ok(i),
        _ => Err(Error::Stale),
    }
}
