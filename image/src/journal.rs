// SPDX-License-Identifier: GPL-2.0-only
//! The journal, read and written in userspace, in jbd2's format: what this module commits, the kernel replays, and the other way round. It knows blocks and
//! transactions, not what is in them; sealing the blocks is the caller's business.
//!
//! # Order of writes
//! *Commit*: log blocks (and the journal super block, if the log was empty); flush; commit block; flush. File data that the caller has written before is
//! made durable by the first flush, so a committed transaction never points to data that is not there.
//! *Checkpoint*: homes of all committed blocks; flush; journal super block with the new tail; flush. The last flush must come before log space is
//! used again: else the disk could hold an old tail and a new transaction over it, and replay would find a damaged one.
//!
//! Checkpoints are always complete: the log is empty afterwards.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use layout::jbd2::{self, Commit, DescriptorWriter, Super, Tag, REVOKES_PER_BLOCK, TAGS_PER_BLOCK};
use layout::{Block, BLOCK_SIZE};

use crate::checksum::crc32c;
use crate::contents::Contents;
use crate::device::{read_block, Device, RunWriter};
use crate::error::{Error, JournalFault, Result};

mod replay;
#[cfg(test)]
mod tests;

pub use replay::{scan, Replay};

/// Where the journal lies: `len` blocks from `start` of a filesystem of `fs_blocks` blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First block, that of the journal super block.
    pub start: u64,
    /// Number of blocks.
    pub len: u32,
    /// Blocks of the filesystem: replay writes nothing beyond them, and nothing into the journal itself.
    pub fs_blocks: u64,
}

impl Region {
    fn block(&self, log_block: u32) -> u64 {
        self.start.saturating_add(u64::from(log_block))
    }

    fn fault(&self, log_block: u32, reason: impl Into<JournalFault>) -> Error {
        Error::Journal {
            log_block,
            block: self.block(log_block),
            reason: reason.into(),
        }
    }

    fn read(&self, device: &dyn Device, log_block: u32) -> Result<Box<Block>> {
        read_block(device, self.block(log_block))
            .map_err(Error::io(format!("reading journal block {log_block}")))
    }

    /// Reads and validates the journal super block.
    ///
    /// # Errors
    /// [`Error::Journal`] if it is not valid, I/O errors.
    pub fn read_super(&self, device: &dyn Device) -> Result<Super> {
        let block = self.read(device, 0)?;
        Super::read(&block, u64::from(self.len), crc32c).map_err(|invalid| self.fault(0, invalid))
    }

    fn write_super(&self, device: &dyn Device, sb: &Super) -> Result<()> {
        let mut block = Box::new([0; BLOCK_SIZE]);
        sb.write(&mut block, crc32c);
        device
            .write_at(crate::device::offset_of(self.start), block.as_slice())
            .map_err(Error::io("writing the journal super block"))
    }

    /// Writes a new, empty journal over the region, and discards its blocks. `sequence` should be random: what an earlier journal left on the device then does not
    /// continue the new one. Not flushed.
    ///
    /// # Errors
    /// I/O errors. [`Error::Journal`] if the region has fewer than [`jbd2::MIN_JOURNAL_BLOCKS`] blocks.
    pub fn format(&self, device: &dyn Device, uuid: [u8; 16], sequence: u32) -> Result<()> {
        if self.len < jbd2::MIN_JOURNAL_BLOCKS {
            return Err(self.fault(0, jbd2::Invalid::TooShort(self.len)));
        }
        let (offset, len) = (
            crate::device::offset_of(self.start),
            crate::device::offset_of(self.len.into()),
        );
        device
            .discard(offset, len)
            .map_err(Error::io("discarding the journal"))?;
        self.write_super(device, &Super::new(self.len, uuid, sequence))
    }
}

/// What a transaction changes.
#[derive(Clone, Debug, Default)]
pub struct CommitSet {
    /// New contents, sealed, by block number.
    pub blocks: BTreeMap<u64, Rc<Contents>>,
    /// Blocks freed: older copies of them must not be replayed. None of them is in `blocks`.
    pub revoked: Vec<u64>,
}

/// An open journal.
///
/// # Invariants
/// The log, from `tail` to `head`, holds the committed transactions whose blocks may not be at their homes yet; `homeless` has the newest contents of exactly those
/// blocks, without the revoked ones. `tail == head` if and only if the log is empty.
#[derive(Debug)]
pub struct Journal {
    region: Region,
    sb: Super,
    seed: u32,
    /// Sequence of the next transaction.
    sequence: u32,
    /// Log block where the next transaction begins.
    head: u32,
    /// Blocks of the ring in use.
    used: u32,
    homeless: BTreeMap<u64, Rc<Contents>>,
    last_commit: Commit,
    aborted: bool,
}

impl Journal {
    /// Opens the journal for writing: replays what is in it to the device, and leaves it empty.
    ///
    /// # Errors
    /// [`Error::Journal`] if it is damaged: then nothing was written. I/O errors.
    pub fn open(device: &dyn Device, region: Region) -> Result<(Self, Replay)> {
        let mut sb = region.read_super(device)?;
        let replay = scan(device, &region, &sb)?;
        if sb.start != 0 || sb.errno != 0 {
            replay.write(device, &region)?;
            device
                .flush()
                .map_err(Error::io("flushing the replayed blocks"))?;
            sb.start = 0;
            sb.errno = 0;
            sb.sequence = replay.next_sequence;
            region.write_super(device, &sb)?;
            device
                .flush()
                .map_err(Error::io("flushing the journal super block"))?;
        }
        let journal = Self {
            region,
            seed: sb.checksum_seed(crc32c),
            // One further, as jbd2 does: no left-over of an unfinished transaction has it.
            sequence: sb.sequence.wrapping_add(1),
            head: sb.first,
            used: 0,
            homeless: BTreeMap::new(),
            last_commit: replay.last_commit,
            aborted: false,
            sb,
        };
        Ok((journal, replay))
    }

    /// Most blocks that one transaction may take in the log: a quarter of the journal.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.sb.len / 4
    }

    /// Most blocks that a transaction may change, so that it surely fits, however many of `revoked` blocks it frees.
    #[must_use]
    pub fn max_blocks(&self, revoked: usize) -> usize {
        let overhead = 1 + revoked.div_ceil(REVOKES_PER_BLOCK);
        let rest = (self.limit() as usize).saturating_sub(overhead);
        rest - rest.div_ceil(TAGS_PER_BLOCK + 1)
    }

    /// Whether an error has stopped the journal.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The committed contents of a block that may not be at its home yet.
    #[must_use]
    pub fn committed(&self, block: u64) -> Option<&Rc<Contents>> {
        self.homeless.get(&block)
    }

    /// Makes a transaction durable. When it returns `Ok`, the transaction will be found after any crash; when it returns [`Error::TooBig`], nothing has happened.
    /// After any other error the journal is aborted.
    ///
    /// # Errors
    /// [`Error::TooBig`], [`Error::Aborted`], I/O errors.
    pub fn commit(&mut self, device: &dyn Device, mut set: CommitSet) -> Result<()> {
        if self.aborted {
            return Err(Error::Aborted);
        }
        // Only blocks that are in the log can be replayed.
        set.revoked
            .retain(|block| self.homeless.contains_key(block));
        let needed = 1
            + set.blocks.len()
            + set.blocks.len().div_ceil(TAGS_PER_BLOCK)
            + set.revoked.len().div_ceil(REVOKES_PER_BLOCK);
        if needed > self.limit() as usize {
            return Err(Error::TooBig {
                needed: needed as u64,
                limit: self.limit(),
            });
        }
        if set.blocks.is_empty() && set.revoked.is_empty() {
            // Nothing to log; but what the caller wrote as file data is to be durable as well.
            return self.or_abort(|_| device.flush().map_err(Error::io("flushing the device")));
        }
        self.or_abort(|journal| {
            if needed > (journal.sb.ring() - journal.used) as usize {
                journal.checkpoint_inner(device, false)?;
                set.revoked.clear();
            }
            journal.write_transaction(device, &set)
        })?;
        for block in &set.revoked {
            self.homeless.remove(block);
        }
        self.homeless.append(&mut set.blocks);
        Ok(())
    }

    fn or_abort<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let result = f(self);
        self.aborted |= result.is_err();
        result
    }

    fn write_transaction(&mut self, device: &dyn Device, set: &CommitSet) -> Result<()> {
        let sequence = self.sequence;
        if self.sb.start == 0 {
            self.sb.start = self.head;
            self.sb.sequence = sequence;
            self.region.write_super(device, &self.sb)?;
        }
        let mut log = LogWriter {
            region: self.region,
            sb: self.sb,
            at: self.head,
            count: 0,
            runs: RunWriter::new(device),
        };
        let mut block = Box::new([0; BLOCK_SIZE]);

        let mut revoked = set.revoked.as_slice();
        while !revoked.is_empty() {
            let taken = jbd2::revoke_block(&mut block, sequence, revoked, self.seed, crc32c);
            revoked = &revoked[taken..];
            log.push(&block)?;
        }

        let blocks: Vec<_> = set.blocks.iter().collect();
        for part in blocks.chunks(TAGS_PER_BLOCK) {
            let mut data = Vec::with_capacity(part.len());
            let mut descriptor = DescriptorWriter::new(&mut block, sequence);
            for &(&home, contents) in part {
                let mut contents = Rc::clone(contents);
                let escaped = contents.starts_with(&jbd2::MAGIC.to_be_bytes())
                    && jbd2::escape(&mut *Rc::make_mut(&mut contents));
                let pushed = descriptor.push(&Tag {
                    block: home,
                    escaped,
                    checksum: jbd2::tag_checksum(sequence, &contents, self.seed, crc32c),
                });
                debug_assert!(pushed, "a descriptor holds TAGS_PER_BLOCK tags");
                data.push(contents);
            }
            descriptor.finish(self.seed, crc32c);
            log.push(&block)?;
            for contents in &data {
                log.push(contents)?;
            }
        }
        log.finish()?;
        device.flush().map_err(Error::io("flushing the journal"))?;

        let commit = self.commit_time();
        jbd2::commit_block(&mut block, sequence, &commit, self.seed, crc32c);
        log.push(&block)?;
        log.finish()?;
        let (at, count) = (log.at, log.count);
        device.flush().map_err(Error::io("flushing the journal"))?;

        self.last_commit = commit;
        self.head = at;
        self.used += count;
        self.sequence = sequence.wrapping_add(1);
        Ok(())
    }

    /// The time, but never before that of the last transaction: replay takes a damaged transaction that seems older than the one before
    /// it for a left-over.
    fn commit_time(&self) -> Commit {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = (now.as_secs(), now.subsec_nanos());
        let (seconds, nanoseconds) =
            now.max((self.last_commit.seconds, self.last_commit.nanoseconds));
        Commit {
            seconds,
            nanoseconds,
        }
    }

    /// Writes all committed blocks to their homes and empties the log.
    ///
    /// # Errors
    /// I/O errors; then the journal is aborted (the log still has everything).
    pub fn checkpoint(&mut self, device: &dyn Device) -> Result<()> {
        if self.aborted {
            return Err(Error::Aborted);
        }
        self.or_abort(|journal| journal.checkpoint_inner(device, false))
    }

    /// Like [`Journal::checkpoint`], and marks the journal as empty: there will be nothing to replay. The journal can be used again.
    ///
    /// # Errors
    /// As for [`Journal::checkpoint`].
    pub fn close(&mut self, device: &dyn Device) -> Result<()> {
        if self.aborted {
            return Err(Error::Aborted);
        }
        self.or_abort(|journal| journal.checkpoint_inner(device, true))
    }

    fn checkpoint_inner(&mut self, device: &dyn Device, close: bool) -> Result<()> {
        if self.sb.start == 0 {
            return Ok(());
        }
        let mut runs = RunWriter::new(device);
        for (&block, contents) in &self.homeless {
            runs.push(block, contents)
                .map_err(Error::io(format!("writing block {block} from the journal")))?;
        }
        runs.finish()
            .map_err(Error::io("writing blocks from the journal"))?;
        device.flush().map_err(Error::io("flushing the device"))?;

        self.sb.start = if close { 0 } else { self.head };
        self.sb.sequence = self.sequence;
        self.region.write_super(device, &self.sb)?;
        device
            .flush()
            .map_err(Error::io("flushing the journal super block"))?;
        self.used = 0;
        self.homeless.clear();
        if close {
            // jbd2 goes on one further after an empty log, and so do we.
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}

/// Writes blocks one after the other into the ring.
struct LogWriter<'a> {
    region: Region,
    sb: Super,
    at: u32,
    count: u32,
    runs: RunWriter<'a>,
}

impl LogWriter<'_> {
    fn push(&mut self, data: &Block) -> Result<()> {
        self.runs
            .push(self.region.block(self.at), data)
            .map_err(Error::io(format!("writing journal block {}", self.at)))?;
        self.at = self.sb.advance(self.at, 1);
        self.count += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.runs.finish().map_err(Error::io("writing the journal"))
    }
}
