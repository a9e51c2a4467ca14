// SPDX-License-Identifier: GPL-2.0-only
//! Metadata blocks as the engine sees them: a cache of verified blocks over device and journal, and the guards through which they are read and changed.
//! It knows which blocks were changed since the last commit, but decides nothing about transactions: that is [`crate::txn`].
//!
//! A block's contents are an `Rc`. Who needs the old contents (a transaction, for the case that it is given up; the journal, until they are at
//! home) keeps a clone of it; writing through a guard then copies them first.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use engine::io::{check_owner, Extent, ReadBlocks, MAX_RUN};
use layout::block::{self, BlockKind, HEADER_SIZE};
use layout::geometry::GROUP_BLOCKS;
use layout::superblock::Super;
use layout::{Block, BLOCK_SIZE};

use crate::checksum::crc32;
use crate::contents::Contents;
use crate::device::{offset_of, Device};
use crate::error::{Error, Result};
use crate::journal::{CommitSet, Journal};
use crate::runs::{BlockRun, ByNumber, Runs};

/// Blocks that the cache holds before it lets unchanged ones go, and that runs with memory of their own have: 256 MiB.
const CACHE_LIMIT: usize = 65_536;
/// Bytes of exact vectors that are kept in memory by searching: those of indexes that have no more. Reading a vector from the system's page cache takes about
/// as long as finding its blocks here; only small indexes, whose searches are short, gain by keeping them.
const KEPT_SLOTS: u64 = 8 << 20;
/// u64 words for the blocks of a group.
const GROUP_WORDS: usize = (GROUP_BLOCKS / 64) as usize;

/// A cached block.
///
/// # Invariants
/// `data` is `None` exactly while a [`BlockMut`] has the contents; then `readers` is 0. `readers` is the number of [`BlockRef`]s.
#[derive(Debug)]
pub(crate) struct Slot {
    kind: BlockKind,
    data: RefCell<Option<Rc<Contents>>>,
    readers: Cell<usize>,
    /// First block of the run that it is kept in, or 0.
    run: Cell<u64>,
}

impl Slot {
    pub(crate) fn new(kind: BlockKind, data: Rc<Contents>) -> Rc<Self> {
        Rc::new(Self {
            kind,
            data: RefCell::new(Some(data)),
            readers: Cell::new(0),
            run: Cell::new(0),
        })
    }

    pub(crate) fn kind(&self) -> BlockKind {
        self.kind
    }

    /// The contents, unless they are being changed.
    pub(crate) fn data(&self) -> Option<Rc<Contents>> {
        self.data.borrow().clone()
    }

    pub(crate) fn is_held(&self) -> bool {
        self.readers.get() > 0 || self.data.borrow().is_none()
    }

    fn share(self: &Rc<Self>) -> Result<BlockRef, engine::Error> {
        let data = self.data().ok_or(engine::Error::Internal(
            "block read while it is being changed",
        ))?;
        self.readers.set(self.readers.get() + 1);
        Ok(BlockRef {
            data,
            slot: Rc::clone(self),
        })
    }

    pub(crate) fn lend(self: &Rc<Self>) -> Result<BlockMut, engine::Error> {
        if self.readers.get() > 0 {
            return Err(engine::Error::Internal(
                "block changed while it is being read",
            ));
        }
        let data = self
            .data
            .take()
            .ok_or(engine::Error::Internal("block changed by two at once"))?;
        Ok(BlockMut {
            data,
            slot: Rc::clone(self),
        })
    }
}

/// A shared guard of a block.
#[derive(Debug)]
pub struct BlockRef {
    data: Rc<Contents>,
    slot: Rc<Slot>,
}

impl Deref for BlockRef {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.data
    }
}

impl Drop for BlockRef {
    fn drop(&mut self) {
        self.slot.readers.set(self.slot.readers.get() - 1);
    }
}

/// An exclusive guard of a block.
#[derive(Debug)]
pub struct BlockMut {
    data: Rc<Contents>,
    slot: Rc<Slot>,
}

impl Deref for BlockMut {
    type Target = Block;
    fn deref(&self) -> &Block {
        &self.data
    }
}

impl DerefMut for BlockMut {
    fn deref_mut(&mut self) -> &mut Block {
        &mut *Rc::make_mut(&mut self.data)
    }
}

impl Drop for BlockMut {
    fn drop(&mut self) {
        *self.slot.data.borrow_mut() = Some(Rc::clone(&self.data));
    }
}

/// Freed blocks that may not be used before the transaction that freed them is committed.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    groups: HashMap<u32, (Box<[u64; GROUP_WORDS]>, u32)>,
    total: u64,
}

impl Deferred {
    pub(crate) fn set(
        &mut self,
        start: u64,
        len: u32,
        deferred: bool,
    ) -> Result<(), engine::Error> {
        let first = start % GROUP_BLOCKS;
        let end = first + u64::from(len);
        if end > GROUP_BLOCKS {
            return Err(engine::Error::Internal(
                "free of blocks in two groups at once",
            ));
        }
        let group = (start / GROUP_BLOCKS) as u32;
        let (words, count) = self
            .groups
            .entry(group)
            .or_insert_with(|| (Box::new([0; GROUP_WORDS]), 0));
        let bits = || (first..end).map(|bit| ((bit / 64) as usize, 1u64 << (bit % 64)));
        if bits().any(|(word, mask)| (words[word] & mask != 0) == deferred) {
            return Err(engine::Error::Internal(
                "block freed twice in one transaction",
            ));
        }
        for (word, mask) in bits() {
            words[word] ^= mask;
        }
        if deferred {
            *count += len;
            self.total += u64::from(len);
        } else {
            *count -= len;
            self.total -= u64::from(len);
        }
        Ok(())
    }

    pub(crate) fn word(&self, group: u32, word: u32) -> u64 {
        let words = self.groups.get(&group).map(|(words, _)| words);
        words
            .and_then(|words| words.get(word as usize))
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn in_group(&self, group: u32) -> u32 {
        self.groups.get(&group).map_or(0, |(_, count)| *count)
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

/// Blocks that were freed as erased ([`engine::io::Reuse::AtHome`]) and committed, and whose zeros only the journal has yet.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    blocks: BTreeSet<u64>,
    map: Deferred,
}

impl Erased {
    /// Takes in what a transaction freed, and lets go what the journal has written home.
    fn update(&mut self, freed: &[(u64, u32)], journal: &Journal) -> Result<(), engine::Error> {
        for &(start, len) in freed {
            for block in start..start + u64::from(len) {
                self.map.set(block, 1, true)?;
                self.blocks.insert(block);
            }
        }
        let home: Vec<u64> = self
            .blocks
            .iter()
            .copied()
            .filter(|block| journal.committed(*block).is_none())
            .collect();
        for block in home {
            self.map.set(block, 1, false)?;
            self.blocks.remove(&block);
        }
        Ok(())
    }
}

/// What was changed since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) dirty: BTreeMap<u64, Rc<Slot>>,
    pub(crate) revoked: BTreeSet<u64>,
    pub(crate) deferred: Deferred,
    /// Those of the deferred blocks that were erased.
    pub(crate) erased: Vec<(u64, u32)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.revoked.is_empty() && self.deferred.total == 0
    }
}

/// The blocks of a filesystem.
pub struct Blocks {
    device: Box<dyn Device>,
    sb: Super,
    /// `None` if the filesystem is only read.
    journal: RefCell<Option<Journal>>,
    cache: RefCell<ByNumber<Rc<Slot>>>,
    runs: RefCell<Runs>,
    batch: RefCell<Batch>,
    erased: RefCell<Erased>,
    last_io_error: RefCell<Option<io::Error>>,
}

impl Blocks {
    pub(crate) fn new(device: Box<dyn Device>, sb: Super, journal: Option<Journal>) -> Self {
        Self {
            device,
            sb,
            journal: RefCell::new(journal),
            cache: RefCell::default(),
            runs: RefCell::default(),
            batch: RefCell::default(),
            erased: RefCell::default(),
            last_io_error: RefCell::default(),
        }
    }

    /// The device below, without what the journal has not written home yet.
    #[must_use]
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// Reads file data, or any other blocks past the cache. `start` is a block number, `buf` a multiple of 4 KiB long.
    ///
    /// # Errors
    /// [`engine::Error::Corrupt`] if the blocks are not inside the filesystem, [`engine::Error::Io`].
    pub fn read_data(&self, start: u64, buf: &mut [u8]) -> Result<(), engine::Error> {
        self.check_data(start, buf.len())?;
        self.device
            .read_at(offset_of(start), buf)
            .map_err(|error| self.io_error(start, error))
    }

    /// Writes file data. It is durable with the next commit. `start` is a block number, `buf` a multiple of 4 KiB long.
    ///
    /// # Errors
    /// As for [`Blocks::read_data`], and [`engine::Error::ReadOnly`].
    pub fn write_data(&self, start: u64, buf: &[u8]) -> Result<(), engine::Error> {
        if !self.is_writable() {
            return Err(engine::Error::ReadOnly);
        }
        self.check_data(start, buf.len())?;
        self.device
            .write_at(offset_of(start), buf)
            .map_err(|error| self.io_error(start, error))
    }

    fn check_data(&self, start: u64, bytes: usize) -> Result<(), engine::Error> {
        if bytes % BLOCK_SIZE != 0 {
            return Err(engine::Error::Internal(
                "file data that is not whole blocks",
            ));
        }
        if !self.sb.geometry.is_data(start, (bytes / BLOCK_SIZE) as u64) {
            return Err(engine::Error::corrupt(
                start,
                "file data where no file can be",
            ));
        }
        Ok(())
    }

    /// Whether changes are possible: opened for writing, and no error has stopped the journal.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.journal
            .borrow()
            .as_ref()
            .is_some_and(|journal| !journal.is_aborted())
    }

    /// Whether the filesystem was opened for writing.
    pub(crate) fn has_journal(&self) -> bool {
        self.journal.borrow().is_some()
    }

    /// The system's error behind the last [`engine::Error::Io`].
    pub(crate) fn take_io_error(&self) -> Option<io::Error> {
        self.last_io_error.take()
    }

    fn io_error(&self, block: u64, error: io::Error) -> engine::Error {
        self.last_io_error.replace(Some(error));
        engine::Error::Io { block }
    }

    pub(crate) fn batch(&self) -> &RefCell<Batch> {
        &self.batch
    }

    /// The slot of a block, read and verified if it is not there yet.
    pub(crate) fn slot(&self, block: u64, kind: BlockKind) -> Result<Rc<Slot>, engine::Error> {
        if let Some(slot) = self.cached(block) {
            if slot.kind != kind {
                return Err(engine::Error::corrupt(
                    block,
                    "block is used as two kinds of metadata",
                ));
            }
            return Ok(slot);
        }
        self.check_place(block, kind)?;
        let committed = match &*self.journal.borrow() {
            Some(journal) => journal.committed(block).cloned(),
            None => None,
        };
        let data = match committed {
            Some(data) => data,
            None => {
                let mut data = Contents::zero();
                self.device
                    .read_at(offset_of(block), data.as_mut_slice())
                    .map_err(|error| self.io_error(block, error))?;
                Rc::new(data)
            }
        };
        self.enter(block, kind, data)
    }

    /// Takes in a block that was read, if it is right.
    fn enter(
        &self,
        block: u64,
        kind: BlockKind,
        data: Rc<Contents>,
    ) -> Result<Rc<Slot>, engine::Error> {
        block::verify(kind, block, &data, self.sb.seed, crc32).map_err(engine::Error::at(block))?;
        let slot = Slot::new(kind, data);
        self.insert(block, Rc::clone(&slot));
        Ok(slot)
    }

    /// Reads the blocks of a run in one call, if none of them is in memory.
    fn read_ahead(&self, wanted: &Extent) -> Result<(), engine::Error> {
        let Extent {
            start, count, kind, ..
        } = *wanted;
        let blocks = || start..start.saturating_add(count as u64);
        let in_journal = |block| match &*self.journal.borrow() {
            Some(journal) => journal.committed(block).is_some(),
            None => false,
        };
        for block in blocks() {
            if self.cached(block).is_some() || in_journal(block) {
                return Ok(());
            }
            self.check_place(block, kind)?;
        }
        let mut buf = vec![0; count * BLOCK_SIZE];
        self.device
            .read_at(offset_of(start), &mut buf)
            .map_err(|error| self.io_error(start, error))?;
        for (block, bytes) in blocks().zip(buf.chunks_exact(BLOCK_SIZE)) {
            let mut data = Contents::zero();
            data.copy_from_slice(bytes);
            self.enter(block, kind, Rc::new(data))?;
        }
        Ok(())
    }

    /// Reads a run where nothing changes, past the cache of blocks.
    fn new_own_run(&self, wanted: Extent) -> Result<BlockRun, engine::Error> {
        let Extent { start, count, .. } = wanted;
        if count > MAX_RUN {
            return Err(engine::Error::Internal("run of too many blocks"));
        }
        let blocks = || start..start.saturating_add(count as u64);
        for block in blocks() {
            self.check_place(block, wanted.kind)?;
        }
        let mut buf = vec![0; count * BLOCK_SIZE];
        self.device
            .read_at(offset_of(start), &mut buf)
            .map_err(|error| self.io_error(start, error))?;
        let (mut places, mut data) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (block, bytes) in blocks().zip(buf.chunks_exact(BLOCK_SIZE)) {
            let bytes: &Block = bytes
                .try_into()
                .map_err(|_| engine::Error::Internal("short block"))?;
            block::verify(wanted.kind, block, bytes, self.sb.seed, crc32)
                .map_err(engine::Error::at(block))?;
            check_owner(bytes, block, &wanted)?;
            let something = bytes.iter().skip(HEADER_SIZE).any(|b| *b != 0);
            places.push(something.then_some(data.len() as u8));
            if something {
                data.push(Contents::from(*bytes));
            }
        }
        let mut runs = self.runs.borrow_mut();
        Ok(runs.keep_own(wanted, places.into(), data.into(), CACHE_LIMIT))
    }

    /// Whether the blocks of slots that `bytes` bytes from the beginning of `first` on lie in are neither in memory nor in the journal.
    fn only_on_device(&self, first: u64, bytes: usize) -> Result<bool, engine::Error> {
        let count = bytes.div_ceil(BLOCK_SIZE) as u64;
        for block in first..first.saturating_add(count) {
            self.check_place(block, BlockKind::Slots)?;
            let journal = self.journal.borrow();
            let in_journal = journal.as_ref().map(|j| j.committed(block).is_some());
            if in_journal.unwrap_or(false) || self.cache.borrow().contains_key(&block) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts a run together, and keeps it.
    fn new_run(&self, wanted: Extent) -> Result<BlockRun, engine::Error> {
        let Extent { start, count, .. } = wanted;
        if !self.has_journal() {
            return self.new_own_run(wanted);
        }
        self.read_ahead(&wanted)?;
        let mut blocks = Vec::with_capacity(count);
        for block in start..start.saturating_add(count as u64) {
            let slot = self.slot(block, wanted.kind)?;
            let data = slot.data().ok_or(engine::Error::Internal(
                "block read while it is being changed",
            ))?;
            check_owner(&data, block, &wanted)?;
            // A block of two runs that overlap would belong to the later one alone.
            let _ = self.end_run(&slot);
            slot.run.set(start);
            blocks.push(data);
        }
        Ok(self.runs.borrow_mut().keep(wanted, blocks))
    }

    /// Ends the run that a block is kept in, because it changes.
    ///
    /// # Errors
    /// [`engine::Error::Internal`] if somebody has a guard of the run.
    pub(crate) fn end_run(&self, slot: &Slot) -> Result<(), engine::Error> {
        match slot.run.take() {
            0 => Ok(()),
            start if self.runs.borrow_mut().end(start) => Err(engine::Error::Internal(
                "block changed while a run with it is being read",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn cached(&self, block: u64) -> Option<Rc<Slot>> {
        self.cache.borrow().get(&block).cloned()
    }

    pub(crate) fn insert(&self, block: u64, slot: Rc<Slot>) {
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= CACHE_LIMIT {
            // Any half of those that nobody holds: neither a guard nor the batch of changed blocks.
            let mut excess = cache.len() / 2;
            cache.retain(|_, slot| {
                let keep = excess == 0 || Rc::strong_count(slot) > 1;
                excess -= usize::from(!keep);
                keep
            });
            // They would not learn of changes to blocks that are read anew.
            self.runs.borrow_mut().clear();
        }
        let old = cache.insert(block, slot);
        self.left(old);
    }

    pub(crate) fn remove(&self, block: u64) {
        let old = self.cache.borrow_mut().remove(&block);
        self.left(old);
    }

    /// A slot is not in the cache any more, and its run ends. A guard of that, of a time before, keeps what it has.
    fn left(&self, slot: Option<Rc<Slot>>) {
        if let Some(slot) = slot {
            let _ = self.end_run(&slot);
        }
    }

    /// Metadata lies after the system area, but for the descriptor table. Slots have no header that would show a wrong number, so this matters.
    pub(crate) fn check_place(&self, block: u64, kind: BlockKind) -> Result<(), engine::Error> {
        let geometry = &self.sb.geometry;
        let allowed = match kind {
            BlockKind::Gdt => {
                block >= geometry.gdt_start
                    && block - geometry.gdt_start < u64::from(geometry.gdt_blocks)
            }
            BlockKind::Node
            | BlockKind::Segment
            | BlockKind::Slots
            | BlockKind::Locations
            | BlockKind::Partition
            | BlockKind::GraphRoot
            | BlockKind::Graph => geometry.is_data(block, 1),
            _ => (geometry.system_end..geometry.blocks).contains(&block),
        };
        if allowed {
            Ok(())
        } else {
            Err(engine::Error::corrupt(
                block,
                "block number is not where such a block can be",
            ))
        }
    }

    /// Most blocks that may be changed between two commits, if `revoked` are freed.
    pub(crate) fn limit(&self, revoked: usize) -> usize {
        self.journal
            .borrow()
            .as_ref()
            .map_or(0, |journal| journal.max_blocks(revoked))
    }

    /// Number of blocks changed since the last commit.
    #[must_use]
    pub fn uncommitted(&self) -> usize {
        self.batch.borrow().dirty.len()
    }

    /// Commits everything changed since the last commit, and makes file data durable that was written before. No transaction may be open.
    pub(crate) fn commit(&self) -> Result<()> {
        let mut journal = self.journal.borrow_mut();
        let journal = journal.as_mut().ok_or(Error::ReadOnly)?;
        let mut batch = self.batch.borrow_mut();
        let mut set = CommitSet::default();
        for (&block, slot) in &batch.dirty {
            // It shares the contents, which the seal would have to copy.
            self.end_run(slot)?;
            let mut data = slot.data.borrow_mut();
            let data = data.as_mut().ok_or(engine::Error::Internal(
                "commit while a block is being changed",
            ))?;
            block::seal(slot.kind, &mut *Rc::make_mut(data), self.sb.seed, crc32);
            set.blocks.insert(block, Rc::clone(data));
        }
        set.revoked.extend(&batch.revoked);
        journal.commit(&*self.device, set)?;
        self.erased.borrow_mut().update(&batch.erased, journal)?;
        *batch = Batch::default();
        Ok(())
    }

    /// Whether there is something to commit.
    pub(crate) fn has_uncommitted(&self) -> bool {
        !self.batch.borrow().is_empty()
    }

    /// Whether the allocator would find more free blocks after a commit and a checkpoint.
    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred_total() > 0
    }

    /// Word `word` of the blocks of `group` that are free and may not be used yet.
    pub(crate) fn deferred(&self, group: u32, word: u32) -> u64 {
        self.batch.borrow().deferred.word(group, word) | self.erased.borrow().map.word(group, word)
    }

    /// Number of such blocks in `group`.
    pub(crate) fn deferred_in(&self, group: u32) -> u32 {
        self.batch.borrow().deferred.in_group(group) + self.erased.borrow().map.in_group(group)
    }

    /// Number of such blocks.
    pub(crate) fn deferred_total(&self) -> u64 {
        self.batch.borrow().deferred.total() + self.erased.borrow().map.total()
    }

    /// Commits, and makes all deferred blocks usable.
    pub(crate) fn settle(&self) -> Result<()> {
        self.commit()?;
        if self.deferred_total() > 0 {
            self.checkpoint(false)?;
        }
        Ok(())
    }

    /// Writes everything that is committed home; with `close`, leaves the journal empty.
    pub(crate) fn checkpoint(&self, close: bool) -> Result<()> {
        let mut journal = self.journal.borrow_mut();
        let journal = journal.as_mut().ok_or(Error::ReadOnly)?;
        if close {
            journal.close(&*self.device)?;
        } else {
            journal.checkpoint(&*self.device)?;
        }
        Ok(self.erased.borrow_mut().update(&[], journal)?)
    }
}

impl ReadBlocks for Blocks {
    type Ref = BlockRef;
    type Run = BlockRun;

    fn sb(&self) -> &Super {
        &self.sb
    }

    fn read(&self, block: u64, kind: BlockKind) -> Result<BlockRef, engine::Error> {
        self.slot(block, kind)?.share()
    }

    fn read_run(&self, wanted: Extent, run: &mut BlockRun) -> Result<(), engine::Error> {
        *run = BlockRun::default();
        if let Some(kept) = self.runs.borrow().get(&wanted) {
            *run = kept;
            return Ok(());
        }
        *run = self.new_run(wanted)?;
        Ok(())
    }

    fn copy_slots(
        &self,
        block: u64,
        at: usize,
        out: &mut [u8],
        all: u64,
    ) -> Result<(), engine::Error> {
        if all > KEPT_SLOTS && self.only_on_device(block, at.saturating_add(out.len()))? {
            // Whoever reads slots knows their checksums; blocks of them have none.
            return self
                .device
                .read_at(offset_of(block).saturating_add(at as u64), out)
                .map_err(|error| self.io_error(block, error));
        }
        engine::io::copy_slots(self, block, at, out)
    }

    fn crc32(&self) -> layout::Crc32 {
        crc32
    }
}
