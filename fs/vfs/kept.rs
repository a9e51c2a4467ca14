// SPDX-License-Identifier: GPL-2.0-only
//! Blocks that are read again and again, kept at hand: verified buffers that are found with one look-up for many blocks in a row, without a
//! lock, where the buffer cache has a look-up, a lock and a walk of the page cache for each.
//!
//! Buffers are kept in *chunks* of blocks in a row, each with a reference. A chunk that nobody used lately is let go when memory is short: by a
//! shrinker that knows nodes and memory cgroups, since the pages of the buffers count as those of whoever read them first. What is let go is still
//! in the buffer cache, where the kernel may then reclaim it. The C side of all that is `kept.c`.
//!
//! It may not know what a block is: beside each buffer stands a [`Label`], and a buffer serves those who ask for that very label. It may not read nor
//! verify blocks either; that is [`super::buffer`], which has to [end](KeptBlocks::end) what is kept of a block before the block becomes
//! something else. A block that is changed in place stays kept: jbd2 changes it in the same buffer.

use super::{bindings, code, fs_type::TypeInfo, Buffers, Result};
use core::marker::PhantomData;
use core::num::NonZeroU64;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

/// Blocks of a chunk.
const CHUNK: usize = bindings::RVFS_KEPT_BLOCKS as usize;
/// Chunks that a run may touch.
const RUN_CHUNKS: usize = 4;
/// Most blocks of a run.
pub(crate) const MAX_RUN: usize = (RUN_CHUNKS - 1) * CHUNK + 1;

/// What a block was found to be when it was read: its kind, and whatever else was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(NonZeroU64);

impl Label {
    /// A label for blocks of `kind`, and of those with one `detail` of less than 2^56.
    pub(crate) fn new(kind: u32, detail: u64) -> Option<Self> {
        let kind = u64::from(u8::try_from(kind).ok()?).checked_add(1)?;
        if detail >> 56 != 0 || kind > 0xff {
            return None;
        }
        NonZeroU64::new(kind << 56 | detail).map(Self)
    }
}

/// All that is kept of one device.
///
/// # Invariants
///
/// `raw` comes from `rvfs_kept_new`. A buffer that is kept in place `n` of chunk `c` is that of block `c * CHUNK + n`, was up to date, and stays there
/// until [`KeptBlocks::end`], or until nobody has a reference to the chunk.
pub(super) struct KeptBlocks {
    raw: NonNull<bindings::rvfs_kept>,
}

// SAFETY: What C keeps may be asked for by any thread; it has its own locks.
unsafe impl Send for KeptBlocks {}
// SAFETY: As above.
unsafe impl Sync for KeptBlocks {}

impl KeptBlocks {
    /// Nothing yet. Errors: `ENOMEM`.
    pub(super) fn new(info: &TypeInfo) -> Result<Self> {
        // SAFETY: The slab is of a registered type, which outlives its mounts.
        let raw = unsafe { bindings::rvfs_kept_new(info.kept_cache, info.name()) };
        // INVARIANT: It was just made, and nothing is kept.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(code::ENOMEM)?,
        })
    }

    /// The chunk of a block, and the block's place in it.
    fn place(block: u64) -> (u64, usize) {
        let chunk = CHUNK as u64;
        (block / chunk, (block % chunk) as usize)
    }

    fn get(&self, number: u64) -> Option<Chunk> {
        // SAFETY: By the invariant.
        let raw = unsafe { bindings::rvfs_kept_get(self.raw.as_ptr(), number) };
        // INVARIANT: The reference is ours.
        NonNull::new(raw).map(Chunk)
    }

    fn get_or_make(&self, number: u64) -> Option<Chunk> {
        // SAFETY: By the invariant.
        let raw = unsafe { bindings::rvfs_kept_get_or_make(self.raw.as_ptr(), number) };
        // INVARIANT: The reference is ours.
        NonNull::new(raw).map(Chunk)
    }

    /// A block that is kept with this label. The buffer itself is not touched.
    pub(super) fn block(&self, block: u64, label: Label) -> Option<KeptBlock> {
        let (number, n) = Self::place(block);
        let chunk = self.get(number)?;
        if !chunk.has(n, label) {
            return None;
        }
        // INVARIANT: The block was there, and the chunk goes along.
        Some(KeptBlock {
            data: chunk.data(n)?,
            block,
            _chunk: chunk,
        })
    }

    /// Keeps a block's buffer, for which a reference is taken, if there is memory for it.
    ///
    /// # Safety
    ///
    /// `bh` must be the valid buffer of the block, up to date, and what `label` means.
    pub(super) unsafe fn keep(&self, block: u64, label: Label, bh: NonNull<bindings::buffer_head>) {
        let (number, n) = Self::place(block);
        if let Some(chunk) = self.get_or_make(number) {
            // SAFETY: By the caller's promise. If another buffer is kept for the block, this one is not.
            unsafe { chunk.fill(n, label, bh) };
        }
    }

    /// Keeps `count` blocks from `start` on no longer.
    ///
    /// # Safety
    ///
    /// Nobody may have a [`BlockRun`] of them, or call another method meanwhile, but the shrinker.
    pub(super) unsafe fn end(&self, start: u64, count: u64) {
        if count != 0 {
            // SAFETY: By the invariant; the caller promises that nobody looks at what is ended.
            unsafe { bindings::rvfs_kept_end(self.raw.as_ptr(), start, count) };
        }
    }
}

impl Drop for KeptBlocks {
    fn drop(&mut self) {
        // SAFETY: By the invariant; it is not used again.
        unsafe { bindings::rvfs_kept_free(self.raw.as_ptr()) };
    }
}

/// A reference to a chunk.
///
/// # Invariants
///
/// The chunk is valid, and this value owns one reference to it.
struct Chunk(NonNull<bindings::rvfs_kept_chunk>);

impl Chunk {
    /// Whether block `n` of it is kept with this label. If it is, its buffer can be looked at.
    fn has(&self, n: usize, label: Label) -> bool {
        let Some(block) = self.block(n) else {
            return false;
        };
        // SAFETY: The place is valid. The word is only changed as a whole.
        let word = unsafe { AtomicU64::from_ptr(&raw mut (*block.as_ptr()).label) };
        // Pairs with the release in `rvfs_kept_fill`.
        word.load(Ordering::Acquire) == label.0.get()
    }

    /// What is looked at of block `n`.
    fn block(&self, n: usize) -> Option<NonNull<bindings::rvfs_kept_block>> {
        if n >= CHUNK {
            return None;
        }
        // SAFETY: The chunk is valid, and `n` lies in it.
        NonNull::new(unsafe {
            (&raw mut (*self.0.as_ptr()).blocks)
                .cast::<bindings::rvfs_kept_block>()
                .add(n)
        })
    }

    /// The data of block `n`, of which [`Chunk::has`] was true, and has been since the caller's right to look at blocks began.
    fn data(&self, n: usize) -> Option<NonNull<u8>> {
        let block = self.block(n)?;
        // SAFETY: The place is valid. The pointer was written before the label, and is not changed while somebody may look at blocks.
        NonNull::new(unsafe { (&raw const (*block.as_ptr()).data).read().cast() })
    }

    /// Keeps a buffer as block `n`. False if another buffer is kept there.
    ///
    /// # Safety
    ///
    /// As for [`KeptBlocks::keep`].
    unsafe fn fill(&self, n: usize, label: Label, bh: NonNull<bindings::buffer_head>) -> bool {
        if n >= CHUNK {
            return false;
        }
        // SAFETY: The chunk is valid and `n` lies in it; the rest is the caller's promise.
        unsafe { bindings::rvfs_kept_fill(self.0.as_ptr(), n as u32, label.0.get(), bh.as_ptr()) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: This value owns a reference, by the invariant.
        unsafe { bindings::rvfs_kept_put(self.0.as_ptr()) };
    }
}

/// A block that is kept, and a reference to its chunk.
///
/// # Invariants
///
/// `data` is that of `block`, of the device's block size; it stays as long as this value lives and nobody calls [`KeptBlocks::end`].
pub(super) struct KeptBlock {
    pub(super) data: NonNull<u8>,
    pub(super) block: u64,
    _chunk: Chunk,
}

/// A shared guard of blocks in a row that are kept; of none at first.
///
/// # Invariants
///
/// Places `first..first + count`, counted through `chunks`, have buffers of `SIZE` bytes, which stay as long as `'a` and the references last.
pub(crate) struct BlockRun<'a, const SIZE: usize> {
    chunks: [Option<Chunk>; RUN_CHUNKS],
    first: usize,
    count: usize,
    _lock: PhantomData<(&'a Buffers<SIZE>, *mut ())>,
}

impl<const SIZE: usize> Default for BlockRun<'_, SIZE> {
    fn default() -> Self {
        // INVARIANT: No blocks.
        Self {
            chunks: [const { None }; RUN_CHUNKS],
            first: 0,
            count: 0,
            _lock: PhantomData,
        }
    }
}

impl<'a, const SIZE: usize> BlockRun<'a, SIZE> {
    /// Block `n` of them.
    pub(crate) fn block(&self, n: usize) -> Option<&[u8; SIZE]> {
        if n >= self.count {
            return None;
        }
        let at = self.first.saturating_add(n);
        let data = self.chunks.get(at / CHUNK)?.as_ref()?.data(at % CHUNK)?;
        // SAFETY: By the invariant the data is there. No exclusive guard of the block exists, as the right to look at blocks is borrowed for `'a`; for
        // the seal see `BlockRef::deref`.
        Some(unsafe { data.cast().as_ref() })
    }

    /// Becomes the guard of `count` blocks from `start` on. Those that are not kept with this label are read by `read`, which gives a reference to a
    /// buffer that is.
    ///
    /// Errors, with the number of the block: `EINVAL` for more than [`MAX_RUN`] blocks, `ENOMEM`, `EIO` if the device has lost a block that is kept;
    /// those of `read`.
    ///
    /// # Safety
    ///
    /// `kept` must be of the device that `read` reads from with blocks of `SIZE` bytes, and for `'a` nobody may change its blocks or call
    /// [`KeptBlocks::end`]. What `read` gives must be as [`KeptBlocks::keep`] demands.
    pub(super) unsafe fn fill<E: From<super::Error>, B>(
        &mut self,
        kept: &KeptBlocks,
        (start, count): (u64, usize),
        label: Label,
        mut read: impl FnMut(u64) -> Result<B, E>,
        head: impl Fn(&B) -> NonNull<bindings::buffer_head>,
    ) -> Result<(), (u64, E)> {
        // INVARIANT: No blocks, until all are there.
        self.count = 0;
        if count > MAX_RUN {
            return Err((start, code::EINVAL.into()));
        }
        let (number, first) = KeptBlocks::place(start);
        let mut block = start;
        let mut from = first;
        let mut left = count;
        for (place, number) in self.chunks.iter_mut().zip(number..) {
            *place = None;
            if left == 0 {
                continue;
            }
            let found = kept.get_or_make(number);
            let chunk = found.ok_or((block, code::ENOMEM.into()))?;
            let here = left.min(CHUNK.saturating_sub(from));
            for n in from..from.saturating_add(here) {
                if !chunk.has(n, label) {
                    let buffer = read(block).map_err(|e| (block, e))?;
                    // SAFETY: By the caller's promise.
                    if !unsafe { chunk.fill(n, label, head(&buffer)) } {
                        return Err((block, code::EIO.into()));
                    }
                }
                block = block.saturating_add(1);
            }
            left = left.saturating_sub(here);
            from = 0;
            *place = Some(chunk);
        }
        // INVARIANT: All have been found, or put there.
        self.first = first;
        self.count = count;
        Ok(())
    }
}
