// SPDX-License-Identifier: GPL-2.0-only
//! The two traits through which the engine reaches blocks, implemented by the kernel glue on buffer cache and jbd2 and by
//! `image` on a file. Nothing here does anything.

use crate::Error;
use core::ops::{Deref, DerefMut};
use layout::block::{read_header, BlockKind};
use layout::bytes::put;
use layout::partition::MAX_PARTITION_BLOCKS;
use layout::superblock::Super;
use layout::Block;

/// Reading of verified metadata blocks.
pub trait ReadBlocks {
    /// A shared guard of one block. It pins the block; it does not borrow `self`.
    type Ref: Deref<Target = Block>;

    /// A shared guard of blocks that follow each other, like `Ref` of each; of none at first.
    type Run: Run + Default;

    /// The validated super block.
    fn sb(&self) -> &Super;

    /// Gives a block whose contents passed [`layout::block::verify`] for `kind` when they came from disk.
    ///
    /// Errors: [`Error::Corrupt`] with the block and reason, [`Error::Io`], [`Error::NoMemory`]; [`Error::Corrupt`] also if
    /// `block` lies outside the filesystem (the number usually came from disk).
    fn read(&self, block: u64, kind: BlockKind) -> Result<Self::Ref, Error>;

    /// Gives a run of blocks of one kind and with one owner in their headers: what [`Each::read`] does with a look-up for each of them, and an
    /// implementation that keeps runs together does with one for all. `run` had another one before; it is not moved, because it may be large.
    ///
    /// Errors: those of [`ReadBlocks::read`]; [`Error::Corrupt`] if a block names another owner. Then `run` is of no use.
    fn read_run(&self, wanted: Extent, run: &mut Self::Run) -> Result<(), Error>;

    /// Copies bytes of slots, which lie behind each other in blocks of kind [`BlockKind::Slots`], from byte `at` of block `block` on. As if the blocks were
    /// read; an implementation may read only these bytes, past the memory that it keeps blocks in. `all` says how many bytes there are that are as likely to be
    /// wanted: what keeping them costs, if all are wanted some time.
    ///
    /// Errors: those of [`ReadBlocks::read`].
    fn copy_slots(&self, block: u64, at: usize, out: &mut [u8], _all: u64) -> Result<(), Error> {
        copy_slots(self, block, at, out)
    }

    /// A hint that [`ReadBlocks::copy_slots`] will be called for `len` bytes from byte `at` of block `block` on: what of it is in memory can come nearer to the
    /// processor meanwhile. May do nothing, and waits for nothing.
    fn slots_ahead(&self, _block: u64, _at: usize, _len: usize) {}

    /// A hint that these blocks will be read soon; may do nothing.
    fn prefetch(&self, _start: u64, _len: u32) {}

    /// CRC-32 as [`layout::Crc32`], with the fastest code at hand.
    fn crc32(&self) -> layout::Crc32;
}

/// [`ReadBlocks::copy_slots`] by reading the blocks.
///
/// Errors: as there.
pub fn copy_slots<R: ReadBlocks + ?Sized>(
    io: &R,
    block: u64,
    at: usize,
    out: &mut [u8],
) -> Result<(), Error> {
    let (mut block, mut at, mut rest) = (block, at, out);
    while !rest.is_empty() {
        let data = io.read(block, BlockKind::Slots)?;
        let bytes = data.get(at..).unwrap_or(&[]);
        let n = bytes.len().min(rest.len());
        let outside = Error::Internal("slot piece outside its block");
        let (Some((now, later)), true) = (rest.split_at_mut_checked(n), n != 0) else {
            return Err(outside);
        };
        put(now, 0, bytes.get(..n).unwrap_or(&[])).ok_or(outside)?;
        (block, at, rest) = (block.saturating_add(1), 0, later);
    }
    Ok(())
}

/// Blocks that follow each other.
pub trait Run {
    /// Block `n` of them.
    fn block(&self, n: usize) -> Option<&Block>;
}

/// Which blocks a run is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first.
    pub start: u64,
    /// How many, at most [`MAX_RUN`].
    pub count: usize,
    /// Their kind, which has a header.
    pub kind: BlockKind,
    /// The owner that their headers name.
    pub owner: u64,
}

/// Most blocks of a run.
pub const MAX_RUN: usize = MAX_PARTITION_BLOCKS;

/// A run whose blocks are guarded one by one.
#[derive(Debug)]
pub struct Each<B>([Option<B>; MAX_RUN]);

impl<B> Default for Each<B> {
    fn default() -> Self {
        Each([const { None }; MAX_RUN])
    }
}

impl<B: Deref<Target = Block>> Each<B> {
    /// Reads them one by one: [`ReadBlocks::read_run`] for those that keep no runs.
    ///
    /// Errors: as there.
    pub fn read<R: ReadBlocks<Ref = B>>(&mut self, io: &R, wanted: Extent) -> Result<(), Error> {
        let mut block = wanted.start;
        for (n, place) in self.0.iter_mut().enumerate() {
            // The one before goes first: it could be the same block.
            *place = None;
            if n < wanted.count {
                let data = io.read(block, wanted.kind)?;
                check_owner(&data, block, &wanted)?;
                *place = Some(data);
                block = block.saturating_add(1);
            }
        }
        Ok(())
    }
}

impl<B: Deref<Target = Block>> Run for Each<B> {
    fn block(&self, n: usize) -> Option<&Block> {
        self.0.get(n)?.as_deref()
    }
}

/// Holds a verified block of a run to the owner that all of them have.
///
/// Errors: [`Error::Corrupt`].
pub fn check_owner(data: &Block, block: u64, of: &Extent) -> Result<(), Error> {
    let header = read_header(data, of.kind).map_err(Error::at(block))?;
    if header.owner != of.owner {
        return Err(Error::corrupt(block, "block belongs to somebody else"));
    }
    Ok(())
}

/// When blocks that were freed may be handed out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Once their transaction has committed. Metadata blocks among them were given to [`Transaction::forget`].
    Committed,
    /// Once what their transaction wrote into them is at its place and has left the journal: they were erased, and not forgotten, because
    /// that would keep the zeros from the disk. Until then a checkpoint or a replay may still write them.
    AtHome,
}

/// An open transaction. All changes of one transaction reach the disk together or not at all.
pub trait Transaction: ReadBlocks {
    /// An exclusive guard of one block. Two guards of one block, at least one of them exclusive, are refused with
    /// [`Error::Internal`].
    type Mut: DerefMut<Target = Block>;

    /// Gives a block to change. What is written through the guard is part of the transaction.
    fn modify(&self, block: u64, kind: BlockKind) -> Result<Self::Mut, Error>;

    /// Gives a block that was just allocated, filled with zeros, without reading it.
    fn create(&self, block: u64, kind: BlockKind) -> Result<Self::Mut, Error>;

    /// A metadata block is freed: it leaves the transaction if it was changed in it, and replay must not
    /// write older copies of it (jbd2: forget and revoke). Its guards must be gone.
    fn forget(&self, block: u64, kind: BlockKind) -> Result<(), Error>;

    /// `len` blocks from `start`, inside one group, are free from now on in the bitmaps, but may not be handed out again before
    /// `reuse` says. Must not fail for lack of memory once it has returned Ok for a group and the same `reuse` in this transaction.
    fn defer_free(&self, start: u64, len: u32, reuse: Reuse) -> Result<(), Error>;

    /// Bits (of 64 blocks from `word * 64` of the group) that are free in the bitmap but deferred.
    fn deferred(&self, group: u32, word: u32) -> u64;

    /// Number of deferred blocks in `group`.
    fn deferred_in(&self, group: u32) -> u32;

    /// Number of deferred blocks in all groups.
    fn deferred_total(&self) -> u64;
}
