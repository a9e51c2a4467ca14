// SPDX-License-Identifier: GPL-2.0-only
//! Requests for the upkeep of a search tree: verifying it, completing it, taking it down. They do a bounded number of steps, each under
//! its own hold of the metadata lock, and say where to go on. What a step is, the engine knows.

use super::rights::{self, Right};
use super::{failed, named, request};
use crate::glue::blocks::Reader;
use crate::glue::error::{errno, read_failed};
use crate::glue::inode::transact;
use crate::glue::mount::Failure;
use crate::glue::tree::{self as glue_tree, TreeMemory};
use crate::glue::VexFs;
use crate::vfs::{code, task, FileRef, IoctlArg, Result, SuperBlock};
use engine::vector::tree::{self, Completion, Seen, Verification};
use engine::{vector, Error};
use layout::ino::INDEX_TABLE;
use layout::vector::Index;
use uapi::maintenance::{BUILD_TAKE_DOWN, STEPS_MAX};
use uapi::{IndexBuild, IndexVerify};

/// Steps of a request.
fn steps(wanted: u32) -> u32 {
    match wanted {
        0 => STEPS_MAX,
        n => n,
    }
}

/// Whether the task is to go on. Errors: `EINTR` if it was killed.
fn go_on() -> Result {
    if task::fatal_signal_pending() {
        return Err(code::EINTR);
    }
    task::cond_resched();
    Ok(())
}

#[inline(never)]
pub(super) fn verify(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<IndexVerify>(arg)?;
    let out = &mut r.body;
    let sb = file.inode().sb();
    let index = named(sb, &out.name)?;
    rights::check(file.idmap(), &index, Right::Search)?;
    let mut memory = TreeMemory::for_verifying(&index)?;
    let mut at = Verification::from_words(out.cursor);
    let mut seen = Seen::default();
    let mut state = None;
    out.block = 0;
    out.reason = [0; uapi::maintenance::REASON_SIZE];
    for _ in 0..steps(out.steps) {
        let (step, now) = sb.mount().read_with_state(|io| {
            tree::verify_step(io, index.id, &mut at, &mut seen, &mut memory.builder())
        });
        state = match state {
            Some(before) if before != now => Some(0),
            _ => Some(now),
        };
        match step {
            Ok(()) => {}
            // What was asked for. Whether the mount is to act on damage is decided where somebody is hurt by it.
            Err(Error::Corrupt { block, what }) => {
                out.block = block;
                // The last byte stays zero.
                let room = out.reason.len().saturating_sub(1);
                for (to, from) in out.reason.iter_mut().zip(what.bytes().take(room)) {
                    *to = from;
                }
                break;
            }
            Err(e) => return Err(errno(e)),
        }
        if at.is_done() {
            break;
        }
        go_on()?;
    }
    let wrong = out.reason.first().is_some_and(|byte| *byte != 0);
    out.done = u32::from(at.is_done() || wrong);
    out.cursor = at.to_words();
    out.partitions = seen.partitions;
    out.entries = seen.entries;
    out.records = seen.records;
    out.missing = seen.missing;
    out.state = state.unwrap_or(0);
    r.write_back()
}

#[inline(never)]
pub(super) fn build(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<IndexBuild>(arg)?;
    let sb = file.inode().sb();
    let _writing = file.want_write()?;
    let index = named(sb, &r.body.name)?;
    rights::check_owner(file.idmap(), &index)?;
    let steps = steps(r.body.steps);
    let result = if r.body.flags & BUILD_TAKE_DOWN != 0 {
        take_down(file, index.id, steps)
    } else {
        complete(file, &index, steps, &mut r.body.cursor)
    };
    let done = match result {
        Err(e) if e.to_errno() == code::ENOSPC.to_errno() => Err(e),
        other => Ok(other?),
    };
    r.body.done = u32::from(done.as_ref().copied().unwrap_or(false));
    let now = sb.mount().read(|io| vector::load(io, index.id));
    let now = now.map_err(|e| read_failed(sb, INDEX_TABLE, e))?;
    r.body.entries = now.tree.entries;
    r.body.records = now.records;
    r.write_back()?;
    done.map(|_| ())
}

/// Enters records that have no entry. Returns whether all were seen. Errors: `ENOSPC` if there is no place for a partition.
#[inline(never)]
fn complete(
    file: &FileRef<'_, VexFs>,
    index: &Index,
    steps: u32,
    cursor: &mut u64,
) -> Result<bool> {
    let sb = file.inode().sb();
    let id = index.id;
    let mut memory = TreeMemory::for_putting(index)?;
    let mut at = Completion::from_word(*cursor);
    for _ in 0..steps {
        match complete_step(sb, id, at, &mut memory) {
            Ok((next, tid)) => {
                file.inode().data().changed_in(tid);
                at = next;
            }
            Err(Failure::Clean(Error::Full { partition })) => {
                if !glue_tree::make_room(sb, id, partition).map_err(failed)? {
                    *cursor = at.to_word();
                    return Err(code::ENOSPC);
                }
            }
            Err(e) => return Err(failed(e)),
        }
        if at.done {
            break;
        }
        go_on()?;
    }
    *cursor = at.to_word();
    Ok(at.done)
}

#[inline(never)]
fn complete_step(
    sb: &SuperBlock<VexFs>,
    id: u32,
    at: Completion,
    memory: &mut TreeMemory,
) -> Result<(Completion, crate::vfs::Tid), Failure> {
    let credits = |io: &Reader<'_>| tree::complete_credits(&vector::load(io, id)?);
    transact(sb, INDEX_TABLE, credits, |cx| {
        let mut next = at;
        tree::complete_step(cx, id, &mut next, &mut memory.builder())?;
        Ok(next)
    })
}

/// Takes the tree down. Returns whether it is gone.
#[inline(never)]
fn take_down(file: &FileRef<'_, VexFs>, id: u32, steps: u32) -> Result<bool> {
    let sb = file.inode().sb();
    for _ in 0..steps {
        let credits = |io: &Reader<'_>| tree::take_down_credits(&vector::load(io, id)?);
        let step = transact(sb, INDEX_TABLE, credits, |cx| tree::take_down_step(cx, id));
        let (gone, tid) = step.map_err(failed)?;
        file.inode().data().changed_in(tid);
        if gone {
            return Ok(true);
        }
        go_on()?;
    }
    Ok(false)
}
