// SPDX-License-Identifier: GPL-2.0-only
//! Power cuts at random moments under a write load. What the guest acknowledged
//! is collected out here, where the cut does not reach it; afterwards all of it
//! must be there (test_env/guest/crash_load.py, crash_verify.py).

use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{script_guest, Lines, SCRATCH_BYTES};
use crate::guest::{Disk, Guest};
use crate::harness::Context;
use crate::report::Report;

/// Power cuts; `$VEXFS_CRASHES` sets another number.
const CUTS: u64 = 20;
/// The load may be silent for so long.
const SILENCE: Duration = Duration::from_secs(300);
/// Lines of acknowledgement before a cut: at least one of each worker, and then
/// a number that differs each time.
const ACKNOWLEDGED: std::ops::Range<usize> = 40..500;

/// Runs the cuts.
pub fn run(context: &Context, report: &Report) {
    if let Err(error) = cuts(context, report) {
        report.failed("crash.guest", &format!("{error:#}"));
    }
}

fn cuts(context: &Context, report: &Report) -> Result<()> {
    let count = match std::env::var("VEXFS_CRASHES") {
        Ok(text) => text.parse().context("VEXFS_CRASHES")?,
        Err(_) => CUTS,
    };
    let image = context.scratch("crash.img");
    Disk::create(&image, SCRATCH_BYTES)?;
    let (mut guest, environment) = script_guest(context, Disk::volatile(&image)?.0, &[])?;
    for seed in 1..=count {
        let option = if seed == 1 { "--make" } else { "" };
        let script =
            format!("cd /host/tests && exec env {environment} ./crash_load.py {option} {seed}");
        let (acknowledged, report_line) = cut(guest, &script, seed)?;
        report.note(&report_line);
        guest = script_guest(context, Disk::volatile(&image)?.0, &[])?.0;
        verify(&guest, &environment, seed, &acknowledged, report)?;
    }
    guest.shutdown()?;
    std::fs::remove_file(&image)?;
    Ok(())
}

/// Runs the load and cuts the power; returns what was acknowledged.
pub(super) fn cut(guest: Guest, script: &str, seed: u64) -> Result<(Vec<u8>, String)> {
    let mut random = StdRng::seed_from_u64(seed);
    let enough = random.gen_range(ACKNOWLEDGED);
    let rest = Duration::from_micros(random.gen_range(0..100_000));
    let mut load = guest.spawn(script)?;
    let mut acknowledged = Vec::new();
    while !is_enough(&acknowledged, enough) {
        let more = guest
            .wait_output(&mut load, SILENCE)
            .context("the load hangs")?;
        acknowledged.extend(load.take_stdout());
        if !more {
            let output = load.into_output();
            bail!(
                "the load ended with status {}:\n{}",
                output.status,
                output.errors()
            );
        }
    }
    std::thread::sleep(rest);
    let losses = guest.power_cut(seed)?;
    // What was on its way when the power went was acknowledged, too.
    acknowledged.extend(load.take_stdout());
    let lines = acknowledged.iter().filter(|byte| **byte == b'\n').count();
    let loss = losses.first().context("no volatile disk")?;
    let text = format!(
        "crash: cut {seed} after {lines} acknowledgements; {} unflushed sectors kept, {} lost",
        loss.kept, loss.lost
    );
    Ok((acknowledged, text))
}

/// Whether there are enough lines, and one of every worker.
fn is_enough(acknowledged: &[u8], lines: usize) -> bool {
    let text = String::from_utf8_lossy(acknowledged);
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let workers: std::collections::BTreeSet<&str> = whole
        .lines()
        .filter_map(|line| line.split(' ').nth(2))
        .collect();
    whole.lines().count() >= lines && workers.len() >= 3
}

fn verify(
    guest: &Guest,
    environment: &str,
    seed: u64,
    acknowledged: &[u8],
    report: &Report,
) -> Result<()> {
    guest.write_file("/tmp/acknowledged", acknowledged)?;
    let script = format!(
        "cd /host/tests && exec env {environment} ./crash_verify.py {seed} < /tmp/acknowledged"
    );
    let output = guest.output(&script)?;
    let mut lines = Lines::new(report, &format!("cut{seed:02}."));
    lines.push(&output.stdout);
    if !lines.any || (output.status != 0) != lines.failed {
        bail!(
            "the check ended with status {}:\n{}",
            output.status,
            output.errors()
        );
    }
    Ok(())
}
