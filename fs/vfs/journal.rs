// SPDX-License-Identifier: GPL-2.0-only
//! jbd2: the journal of a mount, and the handles under which blocks are changed.
//!
//! Loading a journal replays it. It may not know what is in the blocks.
//!
//! # Rules
//!
//! - A task has at most one handle; [`Journal::start`] refuses a second one with `EDEADLK` instead of nesting, because the
//!   lock that is taken after a handle would deadlock, and because a nested handle could belong to another filesystem.
//! - Start a handle before taking the lock of the metadata, and drop the lock before the handle. Nothing waits for a commit while it
//!   holds the lock.

use super::{bindings, code, to_result, BlockDevice, BlockSeal, Result, SealTable};
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::error::from_err_ptr;
use kernel::prelude::*;

/// Number of a transaction. Numbers wrap; compare them with [`Tid::is_before`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tid(pub(crate) u32);

impl Tid {
    /// Whether this transaction is older than `other`.
    pub(crate) fn is_before(self, other: Tid) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// What a handle may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credits {
    /// Blocks that it may change.
    pub(crate) blocks: u32,
    /// Blocks that it may forget.
    pub(crate) revokes: u32,
}

/// What the commit callback reaches; lives as long as the journal.
struct Shared {
    /// The youngest transaction that is known to be durable.
    committed: AtomicU32,
    /// Whether any was.
    any: AtomicBool,
}

/// A loaded journal.
///
/// # Invariants
///
/// `journal` is a journal made by `jbd2_journal_init_dev` that was not destroyed; its private pointer is `shared`.
pub(crate) struct Journal<S: BlockSeal<SIZE>, const SIZE: usize> {
    journal: NonNull<bindings::journal_t>,
    shared: KBox<Shared>,
    seals: SealTable<S, SIZE>,
    device: BlockDevice,
}

// SAFETY: jbd2's functions may be called on any thread.
unsafe impl<S: BlockSeal<SIZE>, const SIZE: usize> Send for Journal<S, SIZE> {}
// SAFETY: As above; they do their own locking.
unsafe impl<S: BlockSeal<SIZE>, const SIZE: usize> Sync for Journal<S, SIZE> {}

impl<S: BlockSeal<SIZE>, const SIZE: usize> Journal<S, SIZE> {
    /// Loads the journal that lies in `blocks` blocks from `start` on `device`, in blocks of `SIZE` bytes, and replays it if it
    /// was not closed. Blocks read before may be out of date afterwards. `seal` seals what transactions change.
    ///
    /// Errors: what jbd2 says; `EUCLEAN` for a damaged journal, `EROFS` if a replay needs to write and the device cannot be written.
    pub(crate) fn load(device: &BlockDevice, start: u64, blocks: u32, seal: S) -> Result<Self> {
        let len = i32::try_from(blocks).map_err(|_| code::EINVAL)?;
        let seals = SealTable::new(seal)?;
        let shared = KBox::new(
            Shared {
                committed: AtomicU32::new(0),
                any: AtomicBool::new(false),
            },
            GFP_KERNEL,
        )?;
        // SAFETY: The device is open, and stays open as long as the journal, which keeps a reference.
        let journal = from_err_ptr(unsafe {
            bindings::rvfs_journal_init_dev(device.as_ptr(), start, len, SIZE as i32)
        })?;
        let journal = NonNull::new(journal).ok_or(code::ENOMEM)?;
        // INVARIANT: Just made; the private pointer is set next.
        let this = Self {
            journal,
            shared,
            seals,
            device: device.clone(),
        };
        // SAFETY: The journal is valid, and `shared` lives until it is destroyed.
        unsafe {
            bindings::rvfs_journal_set_callback(
                journal.as_ptr(),
                (&raw const *this.shared).cast_mut().cast(),
                Some(committed),
            );
            bindings::rvfs_journal_set_barrier(journal.as_ptr(), true);
        }
        // The block layer only warns of writes to such a device, and jbd2 does not ask.
        // SAFETY: The journal is valid.
        if device.is_read_only() && unsafe { bindings::rvfs_journal_needs_replay(journal.as_ptr()) }
        {
            return Err(code::EROFS);
        }
        // SAFETY: The journal is valid and not loaded yet.
        to_result(unsafe { bindings::jbd2_journal_load(journal.as_ptr()) })?;
        Ok(this)
    }

    /// The device that it is on, as are the blocks that it journals.
    pub(super) fn device(&self) -> &BlockDevice {
        &self.device
    }

    /// The triggers of this journal's blocks.
    pub(super) fn seals(&self) -> &SealTable<S, SIZE> {
        &self.seals
    }

    /// What seals blocks at commit.
    pub(crate) fn seal(&self) -> &S {
        self.seals.seal()
    }

    /// The journal as C knows it.
    pub(super) fn as_ptr(&self) -> *mut bindings::journal_t {
        self.journal.as_ptr()
    }

    /// Opens a handle. Waits for room in the journal, so no lock that a commit or another handle's owner needs may be held.
    ///
    /// Errors: `EROFS` after an abort, `ENOSPC` if the credits exceed [`Journal::max_credits`], `EDEADLK` if this task has a handle.
    pub(crate) fn start(&self, credits: Credits) -> Result<Handle<'_, S, SIZE>> {
        if super::task::in_transaction() {
            return Err(code::EDEADLK);
        }
        let blocks = i32::try_from(credits.blocks).map_err(|_| code::ENOSPC)?;
        let revokes = i32::try_from(credits.revokes).map_err(|_| code::ENOSPC)?;
        // SAFETY: The journal is valid, and the task has no handle.
        let handle = unsafe { bindings::rvfs_journal_start(self.as_ptr(), blocks, revokes) };
        let handle = NonNull::new(from_err_ptr(handle)?).ok_or(code::EIO)?;
        // SAFETY: The handle was just opened, so its transaction is running.
        let tid = Tid(unsafe { bindings::rvfs_handle_tid(handle.as_ptr()) });
        // INVARIANT: Just opened, by this task.
        Ok(Handle {
            handle,
            tid,
            journal: self,
            _not_send: PhantomData,
        })
    }

    /// The most blocks that one handle may ask for.
    pub(crate) fn max_credits(&self) -> u32 {
        // SAFETY: The journal is valid.
        u32::try_from(unsafe { bindings::rvfs_journal_max_credits(self.as_ptr()) }).unwrap_or(0)
    }

    /// Commits the running transaction and waits. May not be called with a handle open.
    pub(crate) fn force_commit(&self) -> Result {
        // SAFETY: The journal is valid.
        to_result(unsafe { bindings::jbd2_journal_force_commit(self.as_ptr()) })
    }

    /// Waits until transaction `tid` is durable, committing it if it is still running. May not be called with a handle open.
    pub(crate) fn commit(&self, tid: Tid) -> Result {
        // SAFETY: The journal is valid.
        to_result(unsafe { bindings::jbd2_complete_transaction(self.as_ptr(), tid.0) })
    }

    /// Whether a commit of `tid` that is still to come will make the device flush its cache, so that a caller that wrote data before need not.
    pub(crate) fn commit_will_flush(&self, tid: Tid) -> bool {
        // SAFETY: The journal is valid.
        unsafe { bindings::jbd2_trans_will_send_data_barrier(self.as_ptr(), tid.0) != 0 }
    }

    /// Starts a commit of the running transaction without waiting; says whether there was one.
    pub(crate) fn start_commit(&self) -> Option<Tid> {
        let mut tid = 0;
        // SAFETY: The journal is valid, and `tid` may be written.
        (unsafe { bindings::jbd2_journal_start_commit(self.as_ptr(), &mut tid) } != 0)
            .then_some(Tid(tid))
    }

    /// Commits, writes everything to its place, and empties the journal. May not be called with a handle open.
    pub(crate) fn flush(&self) -> Result {
        // SAFETY: The journal is valid.
        unsafe { bindings::jbd2_journal_lock_updates(self.as_ptr()) };
        // SAFETY: As above.
        let result = to_result(unsafe { bindings::jbd2_journal_flush(self.as_ptr(), 0) });
        // SAFETY: Pairs with the lock above.
        unsafe { bindings::jbd2_journal_unlock_updates(self.as_ptr()) };
        result
    }

    /// Stops the journal for good: nothing more reaches the disk, and new handles are refused. `reason` is stored in the journal.
    pub(crate) fn abort(&self, reason: Error) {
        // SAFETY: The journal is valid.
        unsafe { bindings::jbd2_journal_abort(self.as_ptr(), reason.to_errno()) };
    }

    /// Whether the journal was aborted.
    pub(crate) fn is_aborted(&self) -> bool {
        // SAFETY: The journal is valid.
        unsafe { bindings::rvfs_journal_aborted(self.as_ptr()) }
    }

    /// The error that an earlier mount left in the journal, if any.
    pub(crate) fn recorded_error(&self) -> Option<Error> {
        // SAFETY: The journal is valid.
        let errno = unsafe { bindings::jbd2_journal_errno(self.as_ptr()) };
        (errno < 0).then(|| Error::from_errno(errno))
    }

    /// Removes such an error.
    pub(crate) fn clear_error(&self) {
        // SAFETY: The journal is valid.
        unsafe {
            bindings::jbd2_journal_clear_err(self.as_ptr());
            bindings::jbd2_journal_ack_err(self.as_ptr());
        }
    }

    /// The youngest transaction that has begun.
    pub(crate) fn latest(&self) -> Tid {
        // SAFETY: The journal is valid.
        Tid(unsafe { bindings::rvfs_journal_latest_tid(self.as_ptr()) })
    }

    /// Whether transaction `tid` is durable, as far as its commit was reported.
    pub(crate) fn is_committed(&self, tid: Tid) -> bool {
        self.shared.any.load(Ordering::Acquire)
            && !Tid(self.shared.committed.load(Ordering::Acquire)).is_before(tid)
    }

    /// Whether everything that transaction `tid` and those before it changed is at its place, and neither a checkpoint nor a replay will write it again.
    pub(crate) fn is_at_home(&self, tid: Tid) -> bool {
        // SAFETY: The journal is valid.
        tid.is_before(Tid(unsafe {
            bindings::rvfs_journal_tail_tid(self.as_ptr())
        }))
    }

    /// Sets how often the running transaction is committed by itself.
    pub(crate) fn set_commit_interval(&self, seconds: u32) {
        // SAFETY: The journal is valid.
        unsafe { bindings::rvfs_journal_set_interval(self.as_ptr(), seconds) };
    }
}

impl<S: BlockSeal<SIZE>, const SIZE: usize> Drop for Journal<S, SIZE> {
    fn drop(&mut self) {
        // One that was never loaded counts as aborted; one that was aborted has been reported.
        let aborted = self.is_aborted();
        // SAFETY: The journal is valid and destroyed once, here; handles borrow it, so none is open.
        let err = unsafe { bindings::jbd2_journal_destroy(self.as_ptr()) };
        if err < 0 && !aborted {
            pr_err!("journal could not be closed: error {}\n", err);
        }
    }
}

/// jbd2 calls this when a transaction is durable.
///
/// # Safety
///
/// `journal` must be one made by [`Journal::load`], and `transaction` valid.
unsafe extern "C" fn committed(
    journal: *mut bindings::journal_t,
    transaction: *mut bindings::transaction_t,
) {
    // SAFETY: The private pointer is the journal's `Shared`, by the invariant of `Journal`.
    let shared: &Shared = unsafe { &*bindings::rvfs_journal_private(journal).cast() };
    // SAFETY: The transaction is valid.
    let tid = unsafe { bindings::rvfs_transaction_tid(transaction) };
    shared.committed.store(tid, Ordering::Release);
    shared.any.store(true, Ordering::Release);
}

/// An open handle: changes made under it reach the disk together or not at all. Closed when dropped.
///
/// # Invariants
///
/// `handle` is open and belongs to the current task, which this value does not leave.
pub(crate) struct Handle<'j, S: BlockSeal<SIZE>, const SIZE: usize> {
    handle: NonNull<bindings::handle_t>,
    tid: Tid,
    journal: &'j Journal<S, SIZE>,
    _not_send: PhantomData<*mut ()>,
}

impl<'j, S: BlockSeal<SIZE>, const SIZE: usize> Handle<'j, S, SIZE> {
    /// The journal.
    pub(crate) fn journal(&self) -> &'j Journal<S, SIZE> {
        self.journal
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::handle_t {
        self.handle.as_ptr()
    }

    /// The transaction.
    pub(crate) fn tid(&self) -> Tid {
        self.tid
    }

    /// Blocks that the handle may still change.
    pub(crate) fn credits_left(&self) -> u32 {
        // SAFETY: The handle is open.
        u32::try_from(unsafe { bindings::rvfs_handle_credits(self.as_ptr()) }).unwrap_or(0)
    }

    /// Asks for more credits without waiting; `false` means that the running transaction has no room.
    pub(crate) fn extend(&self, more: Credits) -> Result<bool> {
        let blocks = i32::try_from(more.blocks).map_err(|_| code::ENOSPC)?;
        let revokes = i32::try_from(more.revokes).map_err(|_| code::ENOSPC)?;
        // SAFETY: The handle is open.
        let ret = unsafe { bindings::jbd2_journal_extend(self.as_ptr(), blocks, revokes) };
        to_result(ret)?;
        Ok(ret == 0)
    }

    /// Makes closing the handle commit the transaction and wait (`O_SYNC`, `dirsync`).
    pub(crate) fn set_sync(&self) {
        // SAFETY: The handle is open.
        unsafe { bindings::rvfs_handle_sync(self.as_ptr()) };
    }

    /// Whether the journal was aborted under the handle.
    pub(crate) fn is_aborted(&self) -> bool {
        // SAFETY: The handle is open.
        unsafe { bindings::rvfs_handle_aborted(self.as_ptr()) }
    }

    /// Closes the handle and says whether the journal was aborted meanwhile.
    pub(crate) fn stop(self) -> Result {
        let handle = core::mem::ManuallyDrop::new(self);
        // SAFETY: The handle is open and is not used again.
        to_result(unsafe { bindings::jbd2_journal_stop(handle.as_ptr()) })
    }
}

impl<S: BlockSeal<SIZE>, const SIZE: usize> Drop for Handle<'_, S, SIZE> {
    fn drop(&mut self) {
        // SAFETY: The handle is open and is not used again.
        unsafe { bindings::jbd2_journal_stop(self.as_ptr()) };
    }
}
