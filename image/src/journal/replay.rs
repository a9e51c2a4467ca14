// SPDX-License-Identifier: GPL-2.0-only
//! Finding out what a journal holds, in the three passes of `fs/jbd2/recovery.c`: scan for the end of the log, collect the revocations, collect the blocks.
//! It differs from the kernel in that nothing is written before everything has been checked, and in two bounds:
//! the scan ends when it has seen as many blocks as the journal has, and blocks are only restored to where metadata can be.

use std::collections::{BTreeMap, HashMap};

use layout::jbd2::{self, Commit, RawHeader, Revoked, Super, Tags};
use layout::Block;

use super::Region;
use crate::checksum::crc32c;
use crate::device::{Device, RunWriter};
use crate::error::{Error, JournalFault, Result};

/// What replaying a journal means.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Number of committed transactions.
    pub transactions: u32,
    /// Copies of blocks that revocations keep from being restored.
    pub revoked: u64,
    /// The error with which the kernel aborted the journal, 0 if none.
    pub errno: u32,
    /// What to put into `s_sequence` when the journal is empty.
    pub(super) next_sequence: u32,
    pub(super) last_commit: Commit,
    /// Home -> newest copy in the log.
    blocks: BTreeMap<u64, Copy>,
}

#[derive(Clone, Copy, Debug)]
struct Copy {
    log_block: u32,
    escaped: bool,
}

impl Replay {
    /// Number of blocks to restore.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transactions == 0
    }

    /// Writes the blocks home. Not flushed.
    pub(super) fn write(&self, device: &dyn Device, region: &Region) -> Result<()> {
        let mut runs = RunWriter::new(device);
        for (&home, copy) in &self.blocks {
            let mut data = region.read(device, copy.log_block)?;
            if copy.escaped {
                jbd2::unescape(&mut data);
            }
            runs.push(home, &data)
                .map_err(Error::io(format!("replaying block {home}")))?;
        }
        runs.finish().map_err(Error::io("replaying the journal"))
    }
}

/// Reads and checks the whole journal; changes nothing.
///
/// # Errors
/// [`Error::Journal`] if a committed transaction is damaged, or wants to write outside the filesystem or into the journal. I/O errors.
pub fn scan(device: &dyn Device, region: &Region, sb: &Super) -> Result<Replay> {
    if sb.start == 0 {
        return Ok(Replay {
            next_sequence: sb.sequence,
            errno: sb.errno,
            ..Replay::default()
        });
    }
    let log = Log {
        device,
        region,
        sb,
        seed: sb.checksum_seed(crc32c),
    };
    let end = log.find_end()?;
    let revocations = log.revocations(&end)?;
    let (blocks, revoked) = log.blocks(&end, &revocations)?;
    Ok(Replay {
        transactions: end.sequence.wrapping_sub(sb.sequence),
        revoked,
        errno: sb.errno,
        // `end.sequence` may have been begun; the next to be used is one higher, which is what follows from this value.
        next_sequence: end.sequence,
        last_commit: end.last_commit,
        blocks,
    })
}

struct Log<'a> {
    device: &'a dyn Device,
    region: &'a Region,
    sb: &'a Super,
    seed: u32,
}

/// Where the log ends.
#[derive(Default)]
struct End {
    /// The first sequence that is not committed.
    sequence: u32,
    last_commit: Commit,
}

/// A block of the log that is not data, as the walk comes to it.
struct Step<'a> {
    log_block: u32,
    sequence: u32,
    blocktype: u32,
    block: &'a Block,
}

/// What the visitor of the walk wants next.
enum Next {
    /// Go on after this block and `skip` data blocks.
    Skip(usize),
    /// Go on with the next sequence number.
    Committed,
    Stop,
}

impl Log<'_> {
    /// Walks the blocks of the log that carry a header, from the start, as long as they are of the expected sequence, and before `end` if it is known.
    /// Returns the sequence at which the walk ended.
    fn walk(
        &self,
        end: Option<u32>,
        mut visit: impl FnMut(&Step<'_>) -> Result<Next>,
    ) -> Result<u32> {
        let mut sequence = self.sb.sequence;
        let mut at = self.sb.start;
        let mut seen: u64 = 0;
        // A transaction that has not ended when the walk is round was not committed.
        while end != Some(sequence) && seen < u64::from(self.sb.ring()) {
            let block = self.region.read(self.device, at)?;
            let Some(header) = RawHeader::of(&block) else {
                break;
            };
            if header.sequence.get() != sequence {
                break;
            }
            let step = Step {
                log_block: at,
                sequence,
                blocktype: header.blocktype.get(),
                block: &block,
            };
            let skip = match visit(&step)? {
                Next::Skip(count) => count as u32,
                Next::Committed => {
                    sequence = sequence.wrapping_add(1);
                    0
                }
                Next::Stop => break,
            };
            at = self.sb.advance(at, 1 + skip);
            seen += 1 + u64::from(skip);
        }
        Ok(sequence)
    }

    fn find_end(&self) -> Result<End> {
        let mut last_commit = Commit::default();
        // The first bad block of the transaction that is being looked at.
        let mut bad: Option<(u32, &'static str)> = None;
        let sequence = self.walk(None, |step| {
            let tail_ok = || jbd2::tail_matches(step.block, self.seed, crc32c);
            match step.blocktype {
                jbd2::BLOCKTYPE_DESCRIPTOR => {
                    if !tail_ok() {
                        bad.get_or_insert((step.log_block, "descriptor"));
                    }
                    Ok(Next::Skip(Tags::of(step.block).count()))
                }
                jbd2::BLOCKTYPE_REVOKE => {
                    if !tail_ok() {
                        bad.get_or_insert((step.log_block, "revoke block"));
                    }
                    Ok(Next::Skip(0))
                }
                jbd2::BLOCKTYPE_COMMIT => {
                    let commit = Commit::of(step.block);
                    if bad.is_none()
                        && !jbd2::commit_checksum_matches(step.block, self.seed, crc32c)
                    {
                        bad = Some((step.log_block, "commit block"));
                    }
                    match bad {
                        // Left over from an earlier use of the region: the log ends before it.
                        Some(_) if commit.seconds < last_commit.seconds => Ok(Next::Stop),
                        Some((log_block, what)) => Err(self
                            .region
                            .fault(log_block, JournalFault::Checksum(what, step.sequence))),
                        None => {
                            last_commit = commit;
                            Ok(Next::Committed)
                        }
                    }
                }
                _ => Ok(Next::Stop),
            }
        })?;
        Ok(End {
            sequence,
            last_commit,
        })
    }

    /// Block -> the last transaction that revoked it.
    fn revocations(&self, end: &End) -> Result<HashMap<u64, u32>> {
        let mut found = HashMap::new();
        self.again(end, |step| {
            match step.blocktype {
                jbd2::BLOCKTYPE_DESCRIPTOR => return Ok(Tags::of(step.block).count()),
                jbd2::BLOCKTYPE_REVOKE => {
                    let records = Revoked::of(step.block)
                        .map_err(|invalid| self.region.fault(step.log_block, invalid))?;
                    // The walk goes forward, so a later sequence replaces an earlier one.
                    found.extend(records.map(|block| (block, step.sequence)));
                }
                _ => {}
            }
            Ok(0)
        })?;
        Ok(found)
    }

    /// Home -> newest copy, and the number of copies that are revoked.
    fn blocks(
        &self,
        end: &End,
        revocations: &HashMap<u64, u32>,
    ) -> Result<(BTreeMap<u64, Copy>, u64)> {
        let mut blocks = BTreeMap::new();
        let mut revoked = 0;
        self.again(end, |step| {
            if step.blocktype != jbd2::BLOCKTYPE_DESCRIPTOR {
                return Ok(0);
            }
            let mut count = 0;
            for tag in Tags::of(step.block) {
                count += 1;
                let log_block = self.sb.advance(step.log_block, count as u32);
                if let Some(&by) = revocations.get(&tag.block) {
                    // A revocation holds for the copies of its own transaction and of those before.
                    if !jbd2::sequence_after(step.sequence, by) {
                        revoked += 1;
                        continue;
                    }
                }
                self.check_target(step, tag.block)?;
                let data = self.region.read(self.device, log_block)?;
                if jbd2::tag_checksum(step.sequence, &data, self.seed, crc32c) != tag.checksum {
                    return Err(self.region.fault(
                        log_block,
                        JournalFault::Checksum("data block", step.sequence),
                    ));
                }
                blocks.insert(
                    tag.block,
                    Copy {
                        log_block,
                        escaped: tag.escaped,
                    },
                );
            }
            Ok(count)
        })?;
        Ok((blocks, revoked))
    }

    fn check_target(&self, step: &Step<'_>, target: u64) -> Result<()> {
        let Region {
            start,
            len,
            fs_blocks,
        } = *self.region;
        let in_journal = target >= start && target - start < u64::from(len);
        if target == 0 || target >= fs_blocks || in_journal {
            let fault = JournalFault::Target {
                sequence: step.sequence,
                target,
            };
            return Err(self.region.fault(step.log_block, fault));
        }
        Ok(())
    }

    /// Walks the committed transactions once more. `visit` returns how many data blocks follow.
    fn again(&self, end: &End, mut visit: impl FnMut(&Step<'_>) -> Result<usize>) -> Result<()> {
        let reached = self.walk(Some(end.sequence), |step| {
            let count = visit(step)?;
            Ok(match step.blocktype {
                jbd2::BLOCKTYPE_COMMIT => Next::Committed,
                _ => Next::Skip(count),
            })
        })?;
        // Blocks that were there a moment ago: the device does not keep what it has.
        if reached != end.sequence {
            return Err(Error::Io {
                what: format!("reading transaction {reached} of the journal again"),
                source: std::io::ErrorKind::InvalidData.into(),
            });
        }
        Ok(())
    }
}
