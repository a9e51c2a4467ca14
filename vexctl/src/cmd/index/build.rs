// SPDX-License-Identifier: GPL-2.0-only
//! `index build` and `index rebuild`: records that have no entry in the search tree get one; before that, the tree is
//! taken down if it is to be built from nothing.

use anyhow::{bail, Context as _, Result};

use crate::backend::{Access, Backend};
use crate::cli::{Cli, Named};
use crate::cmd::{find_index, with_backend};
use crate::model::{self, printable, Building};
use crate::output;

/// Rounds over all records. What is put without an entry behind the back of one is entered by the next.
const ROUNDS: u32 = 3;

/// What is done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Nothing: `index build`.
    Present,
    /// The tree is taken down: `index rebuild`.
    Nothing,
}

/// Runs either command.
///
/// # Errors
/// What could not be done, and why, and how much was.
pub fn run(cli: &Cli, args: &Named, from: From) -> Result<()> {
    let report = with_backend(cli, &args.path, Access::Manage, |backend| {
        let index = find_index(backend, &args.name)?;
        let shown = || format!("index {}", printable(index.name.as_bytes()));
        let removed = match from {
            From::Present => 0,
            From::Nothing => take_down(cli, backend, &index).with_context(shown)?,
        };
        let entered = build(cli, backend, &index).with_context(shown)?;
        Ok(Building {
            index: index.name.clone(),
            removed,
            entered,
            tree: find_index(backend, &args.name)?.tree,
        })
    })?;
    output::print(cli.json, &report)
}

/// Takes the tree down. Returns how many entries it had. Puts that go on meanwhile have entries made; that shall not keep it up for ever, so
/// it ends when as many entries as there were at first must have gone twice.
fn take_down(cli: &Cli, backend: &mut dyn Backend, index: &model::Index) -> Result<u64> {
    let before = index.tree.entries;
    let progress = output::progress(cli.json, Some(before));
    progress.set_message("removing");
    let mut gone = 0u64;
    let mut last = before;
    while gone <= before.saturating_mul(2) {
        let now = backend.take_down(index)?;
        if now.done {
            break;
        }
        // At least one of every request's steps removes something.
        gone = gone.saturating_add(last.saturating_sub(now.entries).max(1));
        last = now.entries;
        progress.set_position(before.saturating_sub(now.entries));
    }
    progress.finish_and_clear();
    Ok(before)
}

/// Enters what has no entry. Returns how much that was.
fn build(cli: &Cli, backend: &mut dyn Backend, index: &model::Index) -> Result<u64> {
    let before = find_index(backend, &index.name)?;
    let progress = output::progress(cli.json, Some(before.records));
    progress.set_message("building");
    for _ in 0..ROUNDS {
        let mut at = 0;
        loop {
            let now = backend.complete(index, &mut at)?;
            progress.set_length(now.records);
            progress.set_position(now.entries);
            if now.no_room {
                progress.finish_and_clear();
                bail!(
                    "only {} of {} records have entries in the search tree: no run of free blocks is long enough for another partition",
                    now.entries,
                    now.records
                );
            }
            if now.done && now.entries == now.records {
                progress.finish_and_clear();
                return Ok(now.entries.saturating_sub(before.tree.entries));
            }
            if now.done {
                break;
            }
        }
    }
    progress.finish_and_clear();
    bail!(
        "records are put without entries faster than they are entered: the filesystem is too full"
    )
}
