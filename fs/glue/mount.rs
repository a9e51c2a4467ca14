// SPDX-License-Identifier: GPL-2.0-only
//! A mount: what it owns, and the three ways to metadata: [`Mount::read`] under the shared lock, [`Mount::transact`] inside a
//! journal handle under the exclusive lock, and the super block's own small writes.

use super::blocks::{Reader, Seal, Txn, SIZE};
use super::deferred::Deferred;
use super::error::{change_failed, errno, is_stopped, read_failed};
use super::ioctl::Counters;
use super::tree::Tidy;
use super::VexFs;
use crate::vfs::background::Background;
use crate::vfs::{
    checksum::crc32, code, task, BlockAside, BlockDevice, Buffers, Credits, Handle, Journal,
    ReadGuard, RwSemaphore, SuperBlock, Tid,
};
use core::cell::RefCell;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use engine::io::Reuse;
use engine::space::{GroupMem, Space};
use engine::{Cx, Error};
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Mutex;
use layout::inode::Time;
use layout::superblock::{OnError, RawSuper, Super, STATE_CLEAN, STATE_ERROR};

/// Seconds between commits that nobody asks for, unless the mount option `commit=` says otherwise.
pub(super) const COMMIT_INTERVAL: u32 = 5;

/// What the metadata lock protects.
pub(super) struct Meta {
    /// The right to all metadata blocks.
    pub(super) buffers: Buffers<SIZE>,
    /// Totals.
    pub(super) space: Space,
    /// Memory of the groups.
    pub(super) groups: KVVec<GroupMem>,
    /// Blocks on their way to being free.
    pub(super) deferred: Deferred,
}

/// A mount's data.
#[pin_data]
pub(crate) struct Mount {
    /// First, so that it is stopped before anything of what it uses goes.
    background: Background<VexFs>,
    #[pin]
    meta: RwSemaphore<Meta>,
    /// How often metadata may have changed, from 1. Set under the exclusive lock.
    state: AtomicU64,
    journal: Journal<Seal, SIZE>,
    device: BlockDevice,
    /// As it was when mounted; geometry, seed and hash seed never change while mounted.
    sb: Super,
    /// What is written back of it.
    #[pin]
    raw: Mutex<RawSuper>,
    /// The block that it is written to.
    block0: BlockAside<SIZE>,
    on_error: AtomicU16,
    commit_interval: AtomicU32,
    /// Blocks that can hold data, all groups together.
    data_blocks: u64,
    failed: AtomicBool,
    counters: Counters,
    /// What is remembered of tidying search trees.
    #[pin]
    tidy: Tidy,
    #[pin]
    rights: RwSemaphore<()>,
    /// How often a mode or an owner has changed. Set under that lock.
    rights_state: AtomicU64,
}

impl Mount {
    /// Puts a mount together.
    pub(super) fn new(
        sb: Super,
        device: BlockDevice,
        block0: BlockAside<SIZE>,
        journal: Journal<Seal, SIZE>,
        meta: Meta,
        on_error: OnError,
        background: Background<VexFs>,
    ) -> Result<Pin<KBox<Self>>> {
        let geo = sb.geometry;
        let data_blocks =
            (0..geo.groups).fold(0u64, |n, g| n.saturating_add(u64::from(geo.data_blocks(g))));
        KBox::pin_init(
            pin_init!(Self {
                background,
                meta <- RwSemaphore::new(meta),
                state: AtomicU64::new(1),
                journal,
                device,
                sb,
                raw <- new_mutex!(sb.raw),
                block0,
                on_error: AtomicU16::new(on_error as u16),
                commit_interval: AtomicU32::new(COMMIT_INTERVAL),
                data_blocks,
                failed: AtomicBool::new(false),
                counters: Counters::default(),
                tidy <- Tidy::new(),
                rights <- RwSemaphore::new_outer(()),
                rights_state: AtomicU64::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The journal.
    pub(super) fn journal(&self) -> &Journal<Seal, SIZE> {
        &self.journal
    }

    /// The device.
    pub(super) fn device(&self) -> &BlockDevice {
        &self.device
    }

    /// What the vector part did since it was mounted.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Modes and owners do not change in memory as long as this is held, for those who ask for several permissions that must hold at one moment. Taken
    /// before the metadata lock and before inodes are loaded, after an inode's lock.
    pub(super) fn hold_rights(&self) -> ReadGuard<'_, ()> {
        self.rights.read()
    }

    /// Changes modes or owners in memory.
    pub(super) fn change_rights(&self, change: impl FnOnce()) {
        let _held = self.rights.write();
        change();
        self.rights_state.fetch_add(1, Ordering::Release);
    }

    /// A number that is the same as long as no mode and no owner changes: what was found out under [`Mount::hold_rights`] holds until it is another.
    pub(super) fn rights_state(&self) -> u64 {
        self.rights_state.load(Ordering::Acquire)
    }

    /// A number that is the same as long as no metadata changes, and never 0. Whoever has read something of a later state finds a later one here,
    /// with a lock or without: what was found out in a state holds until it is another.
    pub(super) fn state(&self) -> u64 {
        self.state.load(Ordering::Acquire)
    }

    /// What is remembered of tidying search trees.
    pub(super) fn tidy(&self) -> &Tidy {
        &self.tidy
    }

    /// Tidying search trees.
    pub(super) fn background(&self) -> &Background<VexFs> {
        &self.background
    }

    /// The super block as it was when mounted.
    pub(super) fn sb(&self) -> &Super {
        &self.sb
    }

    /// Blocks that can hold data.
    pub(super) fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// What to do on errors.
    pub(super) fn on_error(&self) -> OnError {
        match self.on_error.load(Ordering::Relaxed) {
            2 => OnError::Continue,
            3 => OnError::Panic,
            _ => OnError::RemountRo,
        }
    }

    /// Sets it.
    pub(super) fn set_on_error(&self, on_error: OnError) {
        self.on_error.store(on_error as u16, Ordering::Relaxed);
    }

    /// Seconds between commits that nobody asks for.
    pub(super) fn commit_interval(&self) -> u32 {
        self.commit_interval.load(Ordering::Relaxed)
    }

    /// Sets it.
    pub(super) fn set_commit_interval(&self, seconds: u32) {
        self.commit_interval.store(seconds, Ordering::Relaxed);
        self.journal.set_commit_interval(seconds);
    }

    /// Whether an error has stopped the mount, or the journal by itself; [`is_stopped`] also acts on the latter.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire) || self.journal.is_aborted()
    }

    /// An error stops the mount. Says whether none had.
    pub(super) fn set_failed(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }

    /// Reads metadata. `f` may look at blocks, but not wait for a transaction, take the last reference of an inode, or call this again.
    pub(super) fn read<X>(&self, f: impl FnOnce(&Reader<'_>) -> X) -> X {
        self.read_as(false, f)
    }

    /// As [`Mount::read`], for records that will be read again and again.
    pub(super) fn read_often<X>(&self, f: impl FnOnce(&Reader<'_>) -> X) -> X {
        self.read_as(true, f)
    }

    fn read_as<X>(&self, again: bool, f: impl FnOnce(&Reader<'_>) -> X) -> X {
        let _scope = task::nofs();
        let meta = self.meta.read();
        f(&Reader {
            buffers: &meta.buffers,
            sb: &self.sb,
            again,
        })
    }

    /// As [`Mount::read`], with a number that is the same as long as no metadata changes. It is never 0.
    pub(super) fn read_with_state<X>(&self, f: impl FnOnce(&Reader<'_>) -> X) -> (X, u64) {
        let _scope = task::nofs();
        let meta = self.meta.read();
        let x = f(&Reader {
            buffers: &meta.buffers,
            sb: &self.sb,
            again: false,
        });
        (x, self.state())
    }

    /// Totals, for statfs.
    pub(super) fn usage(&self) -> Space {
        self.meta.read().space
    }

    /// Runs `f`, which changes up to `credits` blocks, as one transaction, and gives its result and the transaction's number.
    ///
    /// `f` is run a second time if there was no space but blocks were on their way to being free. The error of the engine is
    /// given as it was if nothing was changed; otherwise the mount has been stopped. `ino` is for messages.
    ///
    /// May not be called with a handle open or inside [`Mount::read`].
    pub(super) fn transact<X>(
        &self,
        sb: &SuperBlock<VexFs>,
        ino: u64,
        credits: u32,
        f: impl FnMut(&mut Cx<'_, Txn<'_>>) -> Result<X, Error>,
    ) -> Result<(X, Tid), Failure> {
        self.transact_if(sb, ino, credits, &|_| Ok(true), f)?
            .ok_or(Failure::Kernel(code::EIO))
    }

    /// As [`Mount::transact`], if `enough` says under the lock that `credits` are enough; `None` and nothing done if they are not.
    pub(super) fn transact_if<X>(
        &self,
        sb: &SuperBlock<VexFs>,
        ino: u64,
        credits: u32,
        enough: &dyn Fn(&Reader<'_>) -> Result<bool, Error>,
        mut f: impl FnMut(&mut Cx<'_, Txn<'_>>) -> Result<X, Error>,
    ) -> Result<Option<(X, Tid)>, Failure> {
        let mut retried = false;
        loop {
            match self.attempt(sb, ino, credits, enough, &mut f) {
                Err((Failure::Clean(Error::NoSpace), Some(reuse))) if !retried => {
                    retried = true;
                    match reuse {
                        Reuse::Committed => self.journal.force_commit(),
                        Reuse::AtHome => self.journal.flush(),
                    }
                    .map_err(Failure::Kernel)?;
                }
                Err((failure, _)) => return Err(failure),
                Ok(done) => return Ok(done),
            }
        }
    }

    /// One try. An error comes with what blocks wait for that are on their way to being free, if there are any.
    fn attempt<X>(
        &self,
        sb: &SuperBlock<VexFs>,
        ino: u64,
        credits: u32,
        enough: &dyn Fn(&Reader<'_>) -> Result<bool, Error>,
        f: &mut impl FnMut(&mut Cx<'_, Txn<'_>>) -> Result<X, Error>,
    ) -> Result<Option<(X, Tid)>, Refusal> {
        let kernel = |e| (Failure::Kernel(e), None);
        if is_stopped(sb) {
            return Err(kernel(code::EROFS));
        }
        let wanted = Credits {
            blocks: credits,
            // Whatever is forgotten is a block that could as well have been changed.
            revokes: credits,
        };
        let start = self.journal.start(wanted);
        let handle = start.inspect_err(|_| _ = is_stopped(sb)).map_err(kernel)?;
        let tid = handle.tid();
        let (result, waiting) = {
            let mut guard = self.meta.write();
            let meta = &mut *guard;
            meta.deferred.release(|tid, reuse| match reuse {
                Reuse::Committed => self.journal.is_committed(tid),
                Reuse::AtHome => self.journal.is_at_home(tid),
            });
            let enough = enough(&Reader {
                buffers: &meta.buffers,
                sb: &self.sb,
                again: false,
            });
            if matches!(enough, Ok(false)) {
                return Ok(None);
            }
            // Nobody else sets it.
            self.state
                .store(self.state().wrapping_add(1).max(1), Ordering::Release);
            let now = task::now();
            let txn = Txn {
                update: meta.buffers.update(&handle).map_err(kernel)?,
                sb: &self.sb,
                deferred: RefCell::new(&mut meta.deferred),
            };
            let result = enough.and_then(|_| {
                f(&mut Cx {
                    io: &txn,
                    space: &mut meta.space,
                    groups: &mut meta.groups,
                    now: Time {
                        sec: now.sec,
                        nsec: now.nsec,
                    },
                    privileged: task::is_privileged(),
                })
            });
            // `txn` is not used any more, so what it borrowed is free again.
            (result, meta.deferred.waits_for())
        };
        match result {
            Ok(x) => {
                stop(sb, handle).map_err(kernel)?;
                Ok(Some((x, tid)))
            }
            Err(e) if e.is_clean() => {
                stop(sb, handle).map_err(kernel)?;
                Err((Failure::Clean(e), waiting))
            }
            Err(e) => {
                let errno = change_failed(sb, ino, e);
                drop(handle);
                Err((Failure::Kernel(errno), None))
            }
        }
    }

    /// Notes an error in the super block for fsck; a failure to write it is only reported.
    pub(super) fn note_error(&self, ino: u64, e: Error) {
        use core::fmt::Write as _;
        let block = match e {
            Error::Corrupt { block, .. } | Error::Io { block } => block,
            _ => 0,
        };
        let mut text = Text {
            bytes: [0; 80],
            len: 0,
        };
        let _ = write!(text, "{e}");
        let result = self.update_super(|raw| {
            let now = task::now().sec;
            raw.state
                .set((raw.state.get() | STATE_ERROR) & !STATE_CLEAN);
            if raw.errors.get() == 0 {
                raw.first_error_at.set(now);
            }
            raw.errors.set(raw.errors.get().saturating_add(1));
            raw.last_error_at.set(now);
            raw.last_error_block.set(block);
            raw.last_error_ino.set(ino);
            raw.last_error = text.bytes;
        });
        if let Err(e) = result {
            pr_err!("the error could not be noted in the super block: {:?}\n", e);
        }
    }

    /// Changes the super block and writes it to its place, durably, past the journal. The rest of block 0 is not ours: a boot loader may be there.
    pub(super) fn update_super(&self, change: impl FnOnce(&mut RawSuper)) -> Result {
        if self.device.is_read_only() {
            return Err(code::EROFS);
        }
        let mut raw = self.raw.lock();
        change(&mut raw);
        raw.written_at.set(task::now().sec);
        self.block0
            .write(layout::superblock::SUPER_OFFSET, &raw.sealed(0, crc32))
    }
}

/// Closes a handle.
fn stop(sb: &SuperBlock<VexFs>, handle: Handle<'_, Seal, SIZE>) -> Result {
    handle.stop().inspect_err(|_| _ = is_stopped(sb))
}

/// Why an attempt failed, and what blocks wait for that are on their way to being free.
type Refusal = (Failure, Option<Reuse>);

/// Why a transaction did not happen.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    /// The engine refused before it changed anything.
    Clean(Error),
    /// The kernel refused, or the mount was stopped.
    Kernel(kernel::error::Error),
}

impl Failure {
    /// What a reading operation on inode `ino` ended with: a refusal, or an error that is reported and acted on.
    pub(super) fn of_read(sb: &SuperBlock<VexFs>, ino: u64, e: Error) -> Self {
        match e.is_clean() {
            true => Failure::Clean(e),
            false => Failure::Kernel(read_failed(sb, ino, e)),
        }
    }
}

impl From<Failure> for kernel::error::Error {
    fn from(f: Failure) -> Self {
        match f {
            Failure::Clean(e) => errno(e),
            Failure::Kernel(e) => e,
        }
    }
}

/// Text cut to a fixed size.
struct Text {
    bytes: [u8; 80],
    len: usize,
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        for (to, from) in room.iter_mut().zip(s.bytes()) {
            *to = from;
        }
        self.len = self.len.saturating_add(s.len()).min(self.bytes.len());
        Ok(())
    }
}
