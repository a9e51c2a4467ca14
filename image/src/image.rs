// SPDX-License-Identifier: GPL-2.0-only
//! An open filesystem: the counterpart of a mount. It replays the journal, loads the allocator's memory, finishes orphans, runs the engine's operations in
//! transactions, and leaves a clean filesystem when it is closed. Dropped without [`Image::close`], it leaves what a power failure would: all that
//! was committed, in the journal.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::io::ReadBlocks as _;
use engine::orphan;
use engine::space::{GroupMem, Space};
use engine::Cx;
use layout::geometry::Geometry;
use layout::inode::Time;
use layout::superblock::{RawSuper, Super, STATE_CLEAN, STATE_ERROR};

use crate::blocks::Blocks;
use crate::device::{Access, Device, FileDevice, Overlay};
use crate::error::{Error, Result};
use crate::in_use;
use crate::journal::{scan, Journal, Region, Replay};
use crate::superblock;
use crate::txn::Txn;

/// How an image is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// For reading. The device is not changed: if the journal has something to replay, that happens in memory.
    ReadOnly,
    /// For reading and writing: the journal is replayed and orphans are finished.
    ReadWrite,
    /// For reading what is on the device, without replay: what is found may be inconsistent.
    NoReplay,
}

/// An open filesystem.
pub struct Image {
    blocks: Blocks,
    space: Space,
    groups: Vec<GroupMem>,
    raw: RawSuper,
    replay: Replay,
    fixed_time: Cell<Option<Time>>,
    /// Whether new files may take the reserved blocks: yes, as for root.
    privileged: bool,
}

/// Where the journal of a filesystem lies.
#[must_use]
pub fn journal_region(geometry: &Geometry) -> Region {
    Region {
        start: geometry.journal_start,
        len: geometry.journal_blocks,
        fs_blocks: geometry.blocks,
    }
}

impl Image {
    /// Opens a file or block device.
    ///
    /// # Errors
    /// [`Error::Open`] if there is no such device, or it is mounted or in use; otherwise as [`Image::open_device`].
    pub fn open(path: &Path, mode: Mode) -> Result<Self> {
        let access = match mode {
            Mode::ReadWrite => Access::Write,
            Mode::ReadOnly | Mode::NoReplay => Access::Read,
        };
        let refused = |source| Error::Open {
            path: path.display().to_string(),
            source,
        };
        if mode == Mode::ReadWrite {
            // An image file on a loop device is not locked. Where /proc cannot be read, there is no way to know.
            if let Some(user) = in_use::find(path).unwrap_or_default().first() {
                return Err(refused(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    user.to_string(),
                )));
            }
        }
        let device = FileDevice::open(path, access).map_err(refused)?;
        Self::open_device(Box::new(device), mode)
    }

    /// Opens a device. For reading only, nothing is ever written to it.
    ///
    /// # Errors
    /// [`Error::Super`] or [`Error::DeviceTooSmall`] if it is no VexFS filesystem; [`Error::ReadOnly`] if it is to be written and has features
    /// that forbid that; [`Error::Journal`] if the journal is damaged; [`Error::Engine`] if the group descriptors are, or an orphan or the dropping of an index cannot be finished.
    pub fn open_device(device: Box<dyn Device>, mode: Mode) -> Result<Self> {
        let sb = superblock::read(&*device, 0)?;
        Self::open_with(device, sb, mode)
    }

    /// Like [`Image::open_device`], with a super block that the caller found, perhaps a backup.
    ///
    /// # Errors
    /// As for [`Image::open_device`].
    pub fn open_with(device: Box<dyn Device>, sb: Super, mode: Mode) -> Result<Self> {
        let region = journal_region(&sb.geometry);
        let (blocks, replay) = match mode {
            Mode::ReadWrite => {
                if sb.read_only_features() {
                    return Err(Error::ReadOnly);
                }
                let (journal, replay) = Journal::open(&*device, region)?;
                (Blocks::new(device, sb, Some(journal)), replay)
            }
            Mode::ReadOnly => {
                let journal_sb = region.read_super(&*device)?;
                if scan(&*device, &region, &journal_sb)?.is_empty() {
                    (Blocks::new(device, sb, None), Replay::default())
                } else {
                    let overlay = Overlay::new(device);
                    let (_, replay) = Journal::open(&overlay, region)?;
                    (Blocks::new(Box::new(overlay), sb, None), replay)
                }
            }
            Mode::NoReplay => (Blocks::new(device, sb, None), Replay::default()),
        };
        let mut groups = vec![GroupMem::default(); sb.geometry.groups as usize];
        let space = Space::load(&blocks, &mut groups).map_err(|error| located(&blocks, error))?;
        let mut image = Self {
            blocks,
            space,
            groups,
            raw: sb.raw,
            replay,
            fixed_time: Cell::new(None),
            privileged: true,
        };
        if mode == Mode::ReadWrite {
            image.mark_open()?;
            image.finish_orphans()?;
            image.finish_drops()?;
        }
        Ok(image)
    }

    fn mark_open(&mut self) -> Result<()> {
        let now = self.now().sec;
        let mut state = self.raw.state.get() & !STATE_CLEAN;
        if self.replay.errno != 0 {
            state |= STATE_ERROR;
        }
        self.raw.state.set(state);
        self.raw.mounted_at.set(now);
        self.raw.mounts.set(self.raw.mounts.get().wrapping_add(1));
        self.write_super()
    }

    fn write_super(&mut self) -> Result<()> {
        self.raw.written_at.set(self.now().sec);
        superblock::write(self.blocks.device(), 0, &self.raw)?;
        self.blocks
            .device()
            .flush()
            .map_err(Error::io("flushing the super block"))
    }

    /// Commits what is left, writes everything home, and marks the filesystem as clean. Without it, nothing is lost either: the next to open it replays the journal.
    ///
    /// # Errors
    /// I/O errors, [`Error::Aborted`].
    pub fn close(mut self) -> Result<()> {
        if !self.blocks.has_journal() {
            return Ok(());
        }
        self.sync()?;
        self.blocks.checkpoint(true)?;
        self.raw.state.set(self.raw.state.get() | STATE_CLEAN);
        self.write_super()
    }

    /// Makes everything durable that was done so far.
    ///
    /// # Errors
    /// I/O errors, [`Error::Aborted`], [`Error::ReadOnly`].
    pub fn sync(&mut self) -> Result<()> {
        self.blocks.commit()
    }

    /// Writes everything committed to its place, so that the device below can be read without the journal.
    ///
    /// # Errors
    /// As for [`Image::sync`].
    pub fn checkpoint(&mut self) -> Result<()> {
        self.sync()?;
        self.blocks.checkpoint(false)
    }

    /// Runs `operation` in a transaction. If it returns an error, whichever, everything it did is undone. If it returns `Ok`, it is done, and durable after the
    /// next [`Image::sync`], together with all that was done before.
    ///
    /// `operation` runs a second time, on the state before the first, if space that is freed but not committed made it fail, or if it did not fit into the
    /// transaction with those before. Inodes that it changed in memory are worth nothing after an error: it should load them itself.
    ///
    /// # Errors
    /// Those of `operation`; [`Error::ReadOnly`]; [`Error::Aborted`] and I/O errors of the commits in between.
    pub fn with_txn<T>(
        &mut self,
        mut operation: impl FnMut(&mut Cx<'_, Txn<'_>>) -> engine::Result<T>,
    ) -> Result<T> {
        self.transact(u32::MAX, &mut operation)
    }

    /// Like [`Image::with_txn`] for an operation that says how many blocks it may change. In debug builds it is held to that: what it promises
    /// too little, the kernel's journal would punish.
    ///
    /// # Errors
    /// As for [`Image::with_txn`].
    pub fn with_credits<T>(
        &mut self,
        credits: u32,
        mut operation: impl FnMut(&mut Cx<'_, Txn<'_>>) -> engine::Result<T>,
    ) -> Result<T> {
        self.transact(credits, &mut operation)
    }

    fn transact<T>(
        &mut self,
        credits: u32,
        operation: &mut dyn FnMut(&mut Cx<'_, Txn<'_>>) -> engine::Result<T>,
    ) -> Result<T> {
        if !self.blocks.has_journal() {
            return Err(Error::ReadOnly);
        }
        if !self.blocks.is_writable() {
            return Err(Error::Aborted);
        }
        match self.attempt(credits, operation) {
            Err(engine::Error::NoSpace) if self.blocks.has_deferred() => self.blocks.settle()?,
            Err(engine::Error::TooBig) if self.blocks.has_uncommitted() => self.blocks.commit()?,
            Err(error) => return Err(located(&self.blocks, error)),
            Ok(value) => {
                // Leave room for the next one; if it does not suffice, it is tried again after a commit.
                if self.blocks.uncommitted() > self.blocks.limit(0) / 2 {
                    self.blocks.commit()?;
                }
                return Ok(value);
            }
        }
        self.attempt(credits, operation)
            .map_err(|error| located(&self.blocks, error))
    }

    fn attempt<T>(
        &mut self,
        credits: u32,
        operation: &mut dyn FnMut(&mut Cx<'_, Txn<'_>>) -> engine::Result<T>,
    ) -> engine::Result<T> {
        let now = self.now();
        let txn = Txn::new(&self.blocks);
        let mut cx = Cx {
            io: &txn,
            space: &mut self.space,
            groups: &mut self.groups,
            now,
            privileged: self.privileged,
        };
        let mut result = operation(&mut cx);
        if cfg!(debug_assertions) && result.is_ok() && txn.changed() as u64 > u64::from(credits) {
            result = Err(engine::Error::Internal(
                "operation changed more blocks than its credits",
            ));
        }
        match result {
            Ok(value) => {
                txn.finish();
                Ok(value)
            }
            Err(error) => {
                let changed = txn.has_changes();
                drop(txn);
                if changed {
                    self.space = Space::load(&self.blocks, &mut self.groups)?;
                }
                Err(error)
            }
        }
    }

    /// Finishes what a crash or a long operation has left: frees inodes without links, and blocks beyond the ends of files.
    ///
    /// # Errors
    /// As for [`Image::with_txn`].
    pub fn finish_orphans(&mut self) -> Result<()> {
        let mut from = 0;
        while let Some(ino) =
            orphan::first(&self.blocks, from).map_err(|error| located(&self.blocks, error))?
        {
            self.finish_orphan(ino)?;
            from = ino.saturating_add(1);
        }
        Ok(())
    }

    /// Finishes one orphan.
    ///
    /// # Errors
    /// As for [`Image::with_txn`].
    pub fn finish_orphan(&mut self, ino: u64) -> Result<()> {
        let mut cursor = orphan::Cursor::default();
        loop {
            let inode = self.read(|blocks| engine::inode::load_named(blocks, ino))?;
            let credits = self.read(|blocks| orphan::finish_credits(blocks, &inode))?;
            let (progress, next) = self.with_credits(credits, |cx| {
                let mut next = cursor;
                let progress = orphan::finish_step(cx, ino, &mut next)?;
                Ok((progress, next))
            })?;
            cursor = next;
            if progress == orphan::Progress::Done {
                return Ok(());
            }
        }
    }

    /// The blocks, for the engine's reading operations.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Runs a reading operation, with the system's error if reading a block fails.
    ///
    /// # Errors
    /// Those of `operation`.
    pub fn read<T>(&self, operation: impl FnOnce(&Blocks) -> engine::Result<T>) -> Result<T> {
        operation(&self.blocks).map_err(|error| located(&self.blocks, error))
    }

    /// The super block, as it was when the image was opened.
    #[must_use]
    pub fn sb(&self) -> &Super {
        self.blocks.sb()
    }

    /// Totals of blocks and inodes.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The allocator's memory, one element for each group.
    #[must_use]
    pub fn groups(&self) -> &[GroupMem] {
        &self.groups
    }

    /// What was found in the journal when the image was opened.
    #[must_use]
    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// Takes this time for all changes from now on, or the clock's again: for images that must come out the same every time.
    pub fn set_time(&self, time: Option<Time>) {
        self.fixed_time.set(time);
    }

    /// The time for changes made now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.fixed_time.get().unwrap_or_else(|| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            Time {
                sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
                nsec: now.subsec_nanos(),
            }
        })
    }
}

/// An engine error, with the system's error if it is one of I/O.
fn located(blocks: &Blocks, error: engine::Error) -> Error {
    match error {
        engine::Error::Io { block } => Error::Io {
            what: format!("access to block {block}"),
            source: blocks
                .take_io_error()
                .unwrap_or_else(|| io::Error::from(nix::errno::Errno::EIO)),
        },
        other => Error::Engine(other),
    }
}
