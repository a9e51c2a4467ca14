// SPDX-License-Identifier: GPL-2.0-only
//! Work that a mount does by itself from time to time, in a thread of the kernel: [`Background`]. It may not know what the work is.

use super::{bindings, code, FileSystem, NewSuperBlock, Result, SuperBlock};
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A type whose mounts have work in the background.
pub(crate) trait BackgroundWork: FileSystem {
    /// Does a bounded piece of work, and says after how many milliseconds it wants to be called again; `None`: not before
    /// [`Background::arm`]. Runs alone for a mount, in process context, while the super block is alive; it may be frozen, read-only, or about to be
    /// unmounted.
    fn work(sb: &SuperBlock<Self>) -> Option<u32>;
}

/// The background work of one mount. Dropping it stops it.
///
/// # Invariants
///
/// `raw` comes from `rvfs_background_new`, and was not freed. The work that it names runs only between [`Background::arm`] and the end of
/// [`Background::stop`].
pub(crate) struct Background<T: BackgroundWork> {
    raw: NonNull<bindings::rvfs_background>,
    _type: PhantomData<T>,
}

// SAFETY: What C does with the work may be asked for by any thread at any time.
unsafe impl<T: BackgroundWork> Send for Background<T> {}
// SAFETY: As above.
unsafe impl<T: BackgroundWork> Sync for Background<T> {}

impl<T: BackgroundWork> Background<T> {
    /// For a super block that is being filled. Nothing runs yet.
    ///
    /// Errors: `ENOMEM`.
    pub(crate) fn new(new: &NewSuperBlock<'_, T>) -> Result<Self> {
        // SAFETY: The super block is valid, and outlives the mount's data, which this is part of.
        let raw = unsafe { bindings::rvfs_background_new(new.as_ptr(), Some(run::<T>)) };
        // INVARIANT: It was just made.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(code::ENOMEM)?,
            _type: PhantomData,
        })
    }

    /// Has the work done after `milliseconds`, unless it is to be done already. The super block has its mount's data.
    pub(crate) fn arm(&self, milliseconds: u32) {
        // SAFETY: By the invariant.
        unsafe { bindings::rvfs_background_arm(self.raw.as_ptr(), milliseconds) };
    }

    /// Waits until no work runs, and has none done until [`Background::arm`]. May not be called by the work.
    pub(crate) fn stop(&self) {
        // SAFETY: By the invariant.
        unsafe { bindings::rvfs_background_stop(self.raw.as_ptr()) };
    }
}

impl<T: BackgroundWork> Drop for Background<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant; it is not used again.
        unsafe { bindings::rvfs_background_free(self.raw.as_ptr()) };
    }
}

/// What C calls. A negative number: not again.
unsafe extern "C" fn run<T: BackgroundWork>(sb: *mut kernel::bindings::super_block) -> i64 {
    // SAFETY: C calls this for work that was armed, so the super block is filled, and it is not taken apart before the work was stopped.
    let sb = unsafe { SuperBlock::<T>::from_raw(sb.cast()) };
    T::work(sb).map_or(-1, i64::from)
}
