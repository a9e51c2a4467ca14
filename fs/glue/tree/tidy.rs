// SPDX-License-Identifier: GPL-2.0-only
//! Dissolving thin partitions of search trees in the background, and the worker that does this and what [`super::sweep`] does. When enough entries may have gone since the last time, every tree is gone through
//! once, some steps at a time with pauses between, each a transaction of its own.
//!
//! Nothing is lost if it never runs: trees only take more space then, and searches look at emptier partitions. So it gives way to everything: to a freeze,
//! a remount, an unmount, an error that stops the mount; what it had in mind is forgotten with the mount.

use super::sweep::{self, Sweeping};
use super::TreeMemory;
use crate::glue::blocks::Reader;
use crate::glue::error::is_stopped;
use crate::glue::inode::transact;
use crate::glue::mount::Failure;
use crate::glue::VexFs;
use crate::vfs::background::BackgroundWork;
use crate::vfs::{task, SuperBlock};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use engine::vector::{self, tree};
use engine::Error;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::Mutex;
use layout::ino::INDEX_TABLE;
use layout::vector::Index;

/// Milliseconds between two looks at whether there is something to do.
pub(super) const IDLE: u32 = 5_000;
/// Milliseconds between two pieces of work.
pub(super) const PAUSE: u32 = 20;
/// Milliseconds to wait if the mount is frozen.
const FROZEN: u32 = 1_000;
/// Steps in one piece.
pub(super) const STEPS: u32 = 32;
/// Fewest entries that must have gone.
const LEAST: u64 = 64;

/// Where the work stands.
#[derive(Default)]
struct Position {
    /// The index that is gone through, or was last.
    id: u32,
    sweep: tree::Sweep,
    /// Its partitions when the round began; 0: it is to begin.
    partitions: u32,
    /// Entries that may have gone besides those which the round is for, when it began.
    more: u64,
    /// Whether a tree has become smaller.
    freed: bool,
}

/// What a mount remembers of it.
#[pin_data]
pub(in crate::glue) struct Tidy {
    /// Entries that may have gone, less those that rounds were for.
    gone: AtomicU64,
    #[pin]
    position: Mutex<Option<Position>>,
    /// The graph that is swept.
    #[pin]
    pub(super) sweeping: Mutex<Option<Sweeping>>,
    /// Looks at graphs that found too little to erase, one after the other.
    pub(super) impatience: AtomicU32,
}

impl Tidy {
    /// Nothing to do.
    pub(in crate::glue) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            gone: AtomicU64::new(0),
            position <- new_mutex!(None),
            sweeping <- new_mutex!(None),
            impatience: AtomicU32::new(0),
        })
    }

    /// A round found nothing to do. If no entries went meanwhile, the `more` that had gone before it left no thin partition either.
    fn settle(&self, more: u64) {
        let order = Ordering::Relaxed;
        // Where some went, there will be another round.
        let _ = self.gone.compare_exchange(more, 0, order, order);
    }

    /// Entries may have left their partitions.
    pub(in crate::glue) fn note(&self, entries: u64) {
        self.gone.fetch_add(entries, Ordering::Relaxed);
    }
}

impl BackgroundWork for VexFs {
    fn work(sb: &SuperBlock<Self>) -> Option<u32> {
        if sb.is_read_only() || is_stopped(sb) {
            return None;
        }
        let Some(_writing) = sb.try_internal_write() else {
            return Some(FROZEN);
        };
        // Without memory or space for a transaction there may be both later. What stops the mount was reported.
        let trees = piece(sb).unwrap_or(IDLE);
        let graphs = sweep::piece(sb, sb.mount().tidy()).unwrap_or(IDLE);
        Some(trees.min(graphs))
    }
}

/// Does some steps; says how long to wait.
fn piece(sb: &SuperBlock<VexFs>) -> Result<u32, Failure> {
    let tidy = sb.mount().tidy();
    let mut held = tidy.position.lock();
    let mut at = match held.take() {
        Some(at) => at,
        None => match begin(sb, tidy)? {
            Some(at) => at,
            None => return Ok(IDLE),
        },
    };
    let Some(index) = next_index(sb, &at)? else {
        if !at.freed {
            tidy.settle(at.more);
        }
        return Ok(IDLE);
    };
    if index.id != at.id || at.partitions == 0 {
        at.id = index.id;
        at.sweep = tree::Sweep::default();
        at.partitions = index.tree.partitions;
    }
    let gone = go_through(sb, &index, &mut at);
    // After an error it goes on from here, if it does.
    *held = Some(at);
    gone.map(|()| PAUSE)
}

/// Begins a round if so many entries have gone that it pays: it reads every partition, so at least as many as a quarter of these. Only so many are it
/// for: entries that go while it is on its way, or leave partitions that are not thin yet, are not to wait for as many others.
fn begin(sb: &SuperBlock<VexFs>, tidy: &Tidy) -> Result<Option<Position>, Failure> {
    let gone = tidy.gone.load(Ordering::Relaxed);
    if gone < LEAST {
        return Ok(None);
    }
    let mut partitions = 0u64;
    let counted = sb.mount().read(|io| {
        vector::list(io, 0, |index| {
            partitions = partitions.saturating_add(u64::from(index.tree.partitions));
            Ok(true)
        })
    });
    counted.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    let price = LEAST.max(partitions / 4);
    if gone < price {
        return Ok(None);
    }
    // Nobody else takes any away.
    let before = tidy.gone.fetch_sub(price, Ordering::Relaxed);
    Ok(Some(Position {
        more: before.saturating_sub(price),
        ..Position::default()
    }))
}

/// The index that is to be gone on with; `None` after the last.
fn next_index(sb: &SuperBlock<VexFs>, at: &Position) -> Result<Option<Index>, Failure> {
    // The same again, unless a round of it is done.
    let after = match at.partitions {
        0 => at.id,
        _ => at.id.saturating_sub(1),
    };
    let mut found = None;
    let listed = sb.mount().read(|io| {
        vector::list(io, after, |index| {
            found = (index.tree.root != 0).then_some(*index);
            Ok(found.is_none())
        })
    });
    listed.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    Ok(found)
}

/// Goes on through the tree of an index. After a round that freed partitions comes another: those above may have become thin.
fn go_through(sb: &SuperBlock<VexFs>, index: &Index, at: &mut Position) -> Result<(), Failure> {
    let id = index.id;
    let mut memory = TreeMemory::for_dividing(index)?;
    for _ in 0..STEPS {
        let credits = |io: &Reader<'_>| tree::tidy_credits(&vector::load(io, id)?);
        let step = transact(sb, INDEX_TABLE, credits, |cx| {
            let mut sweep = at.sweep;
            tree::tidy_step(cx, id, &mut sweep, &mut memory.builder())?;
            Ok(sweep)
        });
        match step {
            Ok((sweep, _)) => at.sweep = sweep,
            // It was dropped.
            Err(Failure::Clean(Error::NotFound)) => {
                at.partitions = 0;
                return Ok(());
            }
            Err(e) => return Err(e),
        }
        if at.sweep.done {
            let now = sb.mount().read(|io| vector::load(io, id));
            let now = now.map_or(0, |index| index.tree.partitions);
            at.sweep = tree::Sweep::default();
            at.freed |= now < at.partitions;
            at.partitions = if now < at.partitions { now } else { 0 };
            return Ok(());
        }
        task::cond_resched();
    }
    Ok(())
}
