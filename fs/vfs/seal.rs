// SPDX-License-Identifier: GPL-2.0-only
//! Sealing of metadata blocks when their transaction commits, by jbd2's triggers.

use super::{bindings, buffer::MAX_KINDS, Result};
use core::cell::UnsafeCell;
use kernel::prelude::*;

/// How blocks are sealed when their transaction commits: a checksum over their final contents is stored in them.
pub(crate) trait BlockSeal<const SIZE: usize>: Send + Sync + 'static {
    /// Seals `data`, the contents of `block`, which was changed as a block of `kind`. Called under a spin lock; it may not sleep, and may
    /// only change bytes that hold the checksum.
    fn seal(&self, kind: u32, block: u64, data: &mut [u8; SIZE]);
}

/// jbd2's triggers, one for each kind of block.
///
/// # Invariants
///
/// Every entry's `owner` points to `seal` of the same table. The table does not move.
pub(crate) struct SealTable<S, const SIZE: usize> {
    inner: KBox<SealInner<S>>,
}

struct SealInner<S> {
    seal: S,
    entries: [Trigger<S>; MAX_KINDS as usize],
}

#[repr(C)]
struct Trigger<S> {
    trigger: UnsafeCell<bindings::jbd2_buffer_trigger_type>,
    owner: *const S,
    kind: u32,
}

// SAFETY: The table is not changed after it was made; `S` is `Send` and `Sync`.
unsafe impl<S: Send + Sync, const SIZE: usize> Send for SealTable<S, SIZE> {}
// SAFETY: As above.
unsafe impl<S: Send + Sync, const SIZE: usize> Sync for SealTable<S, SIZE> {}

impl<S: BlockSeal<SIZE>, const SIZE: usize> SealTable<S, SIZE> {
    /// Makes the table.
    pub(crate) fn new(seal: S) -> Result<Self> {
        let mut inner = KBox::new(
            SealInner {
                seal,
                entries: [const {
                    Trigger {
                        trigger: UnsafeCell::new(bindings::jbd2_buffer_trigger_type {
                            t_frozen: Some(frozen::<S, SIZE>),
                            t_abort: None,
                        }),
                        owner: core::ptr::null(),
                        kind: 0,
                    }
                }; MAX_KINDS as usize],
            },
            GFP_KERNEL,
        )?;
        let owner: *const S = &inner.seal;
        for (entry, kind) in inner.entries.iter_mut().zip(0..MAX_KINDS) {
            entry.owner = owner;
            entry.kind = kind;
        }
        // INVARIANT: All owners were just set, and a box does not move what is in it.
        Ok(Self { inner })
    }

    /// The seal.
    pub(crate) fn seal(&self) -> &S {
        &self.inner.seal
    }

    /// What jbd2 is to call for blocks of `kind`.
    pub(super) fn trigger(&self, kind: u32) -> Option<*mut bindings::jbd2_buffer_trigger_type> {
        self.inner
            .entries
            .get(kind as usize)
            .map(|e| e.trigger.get())
    }
}

/// jbd2 calls this when a block's contents are final.
///
/// # Safety
///
/// `trigger` must come from [`SealTable::trigger`] of a living table, `bh` must be valid, and `data` must point to `size` bytes.
unsafe extern "C" fn frozen<S: BlockSeal<SIZE>, const SIZE: usize>(
    trigger: *mut bindings::jbd2_buffer_trigger_type,
    bh: *mut bindings::buffer_head,
    data: *mut c_void,
    size: usize,
) {
    if size != SIZE {
        return;
    }
    let trigger: *const Trigger<S> = trigger.cast();
    // SAFETY: The trigger is the first field of an entry of a living table, whose owner is valid by its invariant.
    let (seal, kind) = unsafe { (&*(*trigger).owner, (*trigger).kind) };
    // SAFETY: The buffer is valid.
    let block = unsafe { (*bh).b_blocknr };
    // SAFETY: jbd2 gives `size` bytes that no handle changes now. Shared guards may exist; see `BlockRef::deref`.
    seal.seal(kind, block, unsafe { &mut *data.cast() });
}
