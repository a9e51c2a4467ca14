// SPDX-License-Identifier: GPL-2.0-only
//! Sweeping the graphs of optimised indexes in the background: what records that are gone left in them is erased, and graphs that nobody searches any more are freed, some steps at a
//! time, each a transaction of its own. What a step does is the engine's to know.
//!
//! A round reads all of a graph twice. So it begins when there is enough to erase, or when that has waited for a while. What it had in mind is forgotten with the mount; the
//! next one begins anew.

use super::memory::LinkSpace;
use super::tidy::Tidy;
use super::tidy::{IDLE, PAUSE, STEPS};
use crate::glue::blocks::Reader;
use crate::glue::inode::transact;
use crate::glue::mount::Failure;
use crate::glue::VexFs;
use crate::vfs::{task, SuperBlock};
use core::sync::atomic::Ordering;
use engine::vector::{self, graph};
use engine::Error;
use kernel::prelude::*;
use layout::ino::INDEX_TABLE;
use layout::vector::Index;

/// A round for fewer nodes than this part of a graph waits.
const PART: u64 = 64;
/// For so many looks.
const PATIENCE: u32 = 12;

/// A sweep under way.
pub(super) struct Sweeping {
    id: u32,
    at: graph::Sweep,
    space: LinkSpace,
}

/// Does some steps, if there is something to do; says how long to wait.
pub(super) fn piece(sb: &SuperBlock<VexFs>, tidy: &Tidy) -> Result<u32, Failure> {
    let mut held = tidy.sweeping.lock();
    let mut sweeping = match held.take() {
        Some(sweeping) => sweeping,
        None => match begin(sb, tidy)? {
            Some(sweeping) => sweeping,
            None => return Ok(IDLE),
        },
    };
    match go_on(sb, &mut sweeping) {
        // Others may wait, too.
        Ok(true) => tidy.impatience.store(PATIENCE, Ordering::Relaxed),
        // It was dropped.
        Err(Failure::Clean(Error::NotFound)) => {}
        gone => {
            // After an error it goes on from here, if it does.
            *held = Some(sweeping);
            gone?;
        }
    }
    Ok(PAUSE)
}

/// Does some steps of a sweep. Returns whether it is done.
fn go_on(sb: &SuperBlock<VexFs>, sweeping: &mut Sweeping) -> Result<bool, Failure> {
    let id = sweeping.id;
    for _ in 0..STEPS {
        let (list, fpu, mut memory) = sweeping.space.lend();
        let at = sweeping.at;
        let read = sb
            .mount()
            .read(|io| graph::sweep_ahead(io, id, &at, list, &mut memory));
        match read {
            Ok(()) => {}
            Err(Error::NotFound) => return Err(Failure::Clean(Error::NotFound)),
            Err(e) => return Err(Failure::of_read(sb, INDEX_TABLE, e)),
        }
        let credits = |io: &Reader<'_>| graph::sweep_credits(io, &vector::load(io, id)?);
        let (next, _) = transact(sb, INDEX_TABLE, credits, |cx| {
            let mut next = at;
            graph::sweep_step(cx, fpu, id, &mut next, list, &mut memory)?;
            Ok(next)
        })?;
        sweeping.at = next;
        if next.is_done() {
            return Ok(true);
        }
        task::cond_resched();
    }
    Ok(false)
}

/// Begins a sweep, if there is one to be made: of the first graph that has enough to erase.
fn begin(sb: &SuperBlock<VexFs>, tidy: &Tidy) -> Result<Option<Sweeping>, Failure> {
    let looks = tidy.impatience.load(Ordering::Relaxed);
    let (mut found, mut waits) = (None, false);
    let listed = sb.mount().read(|io| {
        vector::list(io, 0, |index| {
            if !index.dropping && !graph::is_swept(io, index)? {
                waits = true;
                if looks >= PATIENCE || has_enough(io, index)? {
                    found = Some(*index);
                }
            }
            Ok(found.is_none())
        })
    });
    listed.map_err(|e| Failure::of_read(sb, INDEX_TABLE, e))?;
    let looks = if waits { looks.saturating_add(1) } else { 0 };
    tidy.impatience.store(looks, Ordering::Relaxed);
    let Some(index) = found else {
        return Ok(None);
    };
    tidy.impatience.store(0, Ordering::Relaxed);
    Ok(Some(Sweeping {
        id: index.id,
        at: graph::Sweep::default(),
        space: LinkSpace::new(&index).map_err(Failure::Kernel)?,
    }))
}

/// Whether a graph, which is not swept, has enough to erase, or is not searched any more.
fn has_enough(io: &Reader<'_>, index: &Index) -> Result<bool, Error> {
    let root = graph::root(io, index)?;
    Ok(root.is_some_and(|root| root.gone == 0 || root.gone.saturating_mul(PART) >= root.live))
}
