// SPDX-License-Identifier: GPL-2.0-only
//! Pass 1: the journal. What it holds is replayed into the overlay, so that the other passes see what a mount would see.

use crate::check::Check;
use crate::problem::{Code, Problem};
use image::device::Device;
use image::journal::{Journal, Region};
use image::Error;

/// Checks the journal and replays it to `overlay`.
pub fn run(check: &mut Check<'_>, overlay: &dyn Device) {
    check.begin(1, 1);
    let geo = check.reader.sb.geometry;
    let region = Region {
        start: geo.journal_start,
        len: geo.journal_blocks,
        fs_blocks: geo.blocks,
    };
    let sb = match region.read_super(overlay) {
        Ok(sb) => sb,
        Err(e) => {
            let problem = Problem::new(Code::JournalSuper).block(region.start);
            check.report(problem.detail(e.to_string()));
            return;
        }
    };
    if sb.uuid != check.reader.sb.raw.uuid {
        check.report(Problem::new(Code::JournalUuid).block(region.start));
    }
    if sb.errno != 0 {
        let what = format!("errno {}", (sb.errno as i32).unsigned_abs());
        check.report(Problem::new(Code::JournalErrno).detail(what));
    }
    match Journal::open(overlay, region) {
        Ok((_, replay)) => check.summary.replayed = replay.transactions,
        Err(e) => {
            let problem = Problem::new(Code::JournalLog);
            check.report(match &e {
                Error::Journal { block, reason, .. } => {
                    problem.block(*block).detail(reason.to_string())
                }
                other => problem.detail(other.to_string()),
            });
        }
    }
}
