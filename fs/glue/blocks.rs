// SPDX-License-Identifier: GPL-2.0-only
//! The engine's [`ReadBlocks`] and [`Transaction`] on the buffer cache and jbd2. It may not decide anything: it translates.

use super::deferred::Deferred;
use crate::vfs::{
    checksum::crc32, code, task, BlockRef, BlockRun, BlockSeal, BufMut, BufRef, Buffers, Label,
    Update,
};
use ::vector::hint::will_read;
use core::cell::RefCell;
use engine::io::{check_owner, Each, Extent, ReadBlocks, Reuse, Run, Transaction};
use engine::Error;
use layout::block::BlockKind;
use layout::superblock::Super;
use layout::{Block, Invalid, BLOCK_SIZE};

/// Bytes in a block, as `vfs` wants to know it.
pub(super) const SIZE: usize = BLOCK_SIZE;

/// How often what may not fail is tried without memory, about 20 ms apart.
pub(super) const MEMORY_TRIES: u32 = 500;

/// Blocks of a slot that are fetched into the processor's cache ahead of copying it. Where it has more, the processor sees by itself where reading goes.
const BLOCKS_AHEAD: u64 = 2;

/// Seals blocks when their transaction commits.
pub(super) struct Seal {
    /// Seed of the filesystem's checksums.
    pub(super) seed: u32,
}

impl BlockSeal<SIZE> for Seal {
    fn seal(&self, kind: u32, _block: u64, data: &mut Block) {
        if let Some(kind) = BlockKind::ALL.get(kind as usize) {
            layout::block::seal(*kind, data, self.seed, crc32);
        }
    }
}

/// Why a block could not be had.
enum Fault {
    /// The kernel says so.
    Kernel(kernel::error::Error),
    /// Its contents are wrong.
    Contents(Invalid),
    /// The engine says so.
    Found(Error),
}

impl From<kernel::error::Error> for Fault {
    fn from(e: kernel::error::Error) -> Self {
        Fault::Kernel(e)
    }
}

impl Fault {
    fn at(self, block: u64) -> Error {
        match self {
            Fault::Contents(invalid) => Error::Corrupt {
                block,
                what: invalid.0,
            },
            Fault::Found(e) => e,
            Fault::Kernel(e) => kernel_fault(e, block),
        }
    }
}

/// An error of the buffer cache or jbd2 at `block`, as the engine knows it.
fn kernel_fault(e: kernel::error::Error, block: u64) -> Error {
    if e == code::ERANGE {
        Error::Corrupt {
            block,
            what: "block number beyond the device",
        }
    } else if e == code::ENOMEM {
        Error::NoMemory
    } else if e == code::EROFS {
        Error::ReadOnly
    } else if e == code::EDEADLK {
        Error::Internal("a block is guarded twice")
    } else if e == code::ENOSPC {
        Error::Internal("a transaction needs more blocks than it asked for")
    } else {
        Error::Io { block }
    }
}

/// Holds a block of `kind` to its format; for [`Buffers::read`].
fn check(sb: &Super, block: u64, kind: BlockKind) -> impl FnOnce(&Block) -> Result<(), Fault> + '_ {
    move |data| layout::block::verify(kind, block, data, sb.seed, crc32).map_err(Fault::Contents)
}

/// Errors: [`Error::Corrupt`] unless `count` blocks from `start` on lie in the filesystem.
fn inside(sb: &Super, start: u64, count: u64) -> Result<(), Error> {
    if start.saturating_add(count) <= sb.geometry.blocks {
        return Ok(());
    }
    Err(Error::Corrupt {
        block: start,
        what: "block number beyond the filesystem",
    })
}

/// With which label single blocks of a kind are kept at hand: those that records are read from.
fn label(kind: BlockKind) -> Option<Label> {
    match kind {
        BlockKind::Segment | BlockKind::Slots => Label::new(kind as u32, 0),
        _ => None,
    }
}

impl Run for BlockRun<'_, SIZE> {
    fn block(&self, n: usize) -> Option<&Block> {
        BlockRun::block(self, n)
    }
}

/// Reads metadata under the shared lock.
pub(super) struct Reader<'a> {
    pub(super) buffers: &'a Buffers<SIZE>,
    pub(super) sb: &'a Super,
    /// Whether records are read that others will soon read, too. Who goes once through all of them does not keep them at hand.
    pub(super) again: bool,
}

impl<'a> ReadBlocks for Reader<'a> {
    type Ref = BlockRef<'a, SIZE>;
    type Run = BlockRun<'a, SIZE>;

    fn sb(&self) -> &Super {
        self.sb
    }

    fn read(&self, block: u64, kind: BlockKind) -> Result<Self::Ref, Error> {
        inside(self.sb, block, 1)?;
        let check = check(self.sb, block, kind);
        let read = match label(kind) {
            Some(label) => self
                .buffers
                .read_kept(block, (kind as u32, label), self.again, check),
            None => self.buffers.read(block, kind as u32, check),
        };
        read.map_err(|f: Fault| f.at(block))
    }

    fn read_run(&self, wanted: Extent, run: &mut Self::Run) -> Result<(), Error> {
        let Extent {
            start,
            count,
            kind,
            owner,
        } = wanted;
        inside(self.sb, start, count as u64)?;
        let label = Label::new(kind as u32, owner).ok_or(Error::Internal(
            "owner of a run beyond all that can be named",
        ))?;
        self.buffers
            .read_run(
                (start, count),
                (kind as u32, label),
                |block, data| check(self.sb, block, kind)(data),
                |block, data| check_owner(data, block, &wanted).map_err(Fault::Found),
                run,
            )
            .map_err(|(block, f)| f.at(block))
    }

    fn slots_ahead(&self, block: u64, at: usize, len: usize) {
        let Some(label) = label(BlockKind::Slots) else {
            return;
        };
        let (mut at, mut left) = (at, len);
        for block in block..block.saturating_add(BLOCKS_AHEAD) {
            let Some(data) = self.buffers.at_hand(block, label) else {
                return;
            };
            let bytes = data.get(at..).unwrap_or(&[]);
            let bytes = bytes.get(..left).unwrap_or(bytes);
            will_read(bytes);
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                return;
            }
            at = 0;
        }
    }

    fn prefetch(&self, start: u64, len: u32) {
        self.buffers.prefetch(start, len);
    }

    fn crc32(&self) -> layout::Crc32 {
        crc32
    }
}

/// Changes metadata under the exclusive lock, inside a journal handle.
pub(super) struct Txn<'a> {
    pub(super) update: Update<'a, Seal, SIZE>,
    pub(super) sb: &'a Super,
    pub(super) deferred: RefCell<&'a mut Deferred>,
}

impl Txn<'_> {
    fn inside(&self, block: u64) -> Result<(), Error> {
        inside(self.sb, block, 1)
    }
}

impl<'a> ReadBlocks for Txn<'a> {
    type Ref = BufRef<'a, SIZE>;
    type Run = Each<Self::Ref>;

    fn sb(&self) -> &Super {
        self.sb
    }

    fn read(&self, block: u64, kind: BlockKind) -> Result<Self::Ref, Error> {
        self.inside(block)?;
        self.update
            .read(block, kind as u32, check(self.sb, block, kind))
            .map_err(|f: Fault| f.at(block))
    }

    fn read_run(&self, wanted: Extent, run: &mut Self::Run) -> Result<(), Error> {
        run.read(self, wanted)
    }

    fn prefetch(&self, start: u64, len: u32) {
        self.update.prefetch(start, len);
    }

    fn crc32(&self) -> layout::Crc32 {
        crc32
    }
}

impl<'a> Transaction for Txn<'a> {
    type Mut = BufMut<'a, SIZE>;

    fn modify(&self, block: u64, kind: BlockKind) -> Result<Self::Mut, Error> {
        self.inside(block)?;
        self.update
            .modify(block, kind as u32, check(self.sb, block, kind))
            .map_err(|f: Fault| f.at(block))
    }

    fn create(&self, block: u64, kind: BlockKind) -> Result<Self::Mut, Error> {
        self.inside(block)?;
        self.update
            .create(block, kind as u32)
            .map_err(|e| kernel_fault(e, block))
    }

    fn forget(&self, block: u64, _kind: BlockKind) -> Result<(), Error> {
        self.inside(block)?;
        self.update
            .forget(block)
            .map_err(|e| kernel_fault(e, block))
    }

    fn defer_free(&self, start: u64, len: u32, reuse: Reuse) -> Result<(), Error> {
        let geo = &self.sb.geometry;
        let group = geo.group_of(start);
        let first = start.saturating_sub(geo.group_start(group)) as u32;
        let mut deferred = self
            .deferred
            .try_borrow_mut()
            .map_err(|_| Error::Internal("deferred blocks in use"))?;
        let tid = self.update.handle().tid();
        // The transaction has changed something by now, so that giving up stops the mount. C would say __GFP_NOFAIL.
        for _ in 0..MEMORY_TRIES {
            match deferred.add(tid, group, first, len, reuse) {
                Err(e) if e == code::ENOMEM => task::wait_for_memory(),
                done => return done.map_err(|_| Error::Internal("no such group")),
            }
        }
        Err(Error::NoMemory)
    }

    fn deferred(&self, group: u32, word: u32) -> u64 {
        // All ones if it cannot be known: nothing is taken then.
        self.deferred
            .try_borrow()
            .map_or(u64::MAX, |d| d.word(group, word))
    }

    fn deferred_in(&self, group: u32) -> u32 {
        self.deferred
            .try_borrow()
            .map_or(u32::MAX, |d| d.in_group(group))
    }

    fn deferred_total(&self) -> u64 {
        self.deferred.try_borrow().map_or(u64::MAX, |d| d.total())
    }
}
