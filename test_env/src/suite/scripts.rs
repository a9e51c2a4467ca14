// SPDX-License-Identifier: GPL-2.0-only
//! The suites of test_env/guest/: each in a guest and on a disk of its own. What
//! they check is their own affair.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use super::{script_guest, Lines, SCRATCH_BYTES};
use crate::guest::{Disk, Guest};
use crate::harness::Context;
use crate::project;
use crate::report::Report;

/// A suite that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(1200);

/// Suites that take much longer than the others.
const LONG: [&str; 4] = [
    "large_directory",
    "hostile_images",
    "real_tree",
    "posix_data",
];

/// The suites, long ones first: executable scripts, but for those that need more than a guest.
pub fn names() -> Result<Vec<String>> {
    names_in("test_env/guest")
}

/// The suites of a folder of the checkout.
pub fn names_in(folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(project::root().join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".py").map(str::to_owned) else {
            continue;
        };
        if entry.metadata()?.permissions().mode() & 0o100 != 0 && !name.starts_with("crash_") {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (!LONG.contains(&name.as_str()), name.clone()));
    Ok(names)
}

/// Runs a suite.
pub fn run(context: &Context, report: &Report, name: &str) {
    run_with(context, report, "tests", name, |_| Ok(()));
}

/// Runs a suite that lies in a folder of /host; `after` looks at the guest when the suite
/// has ended.
pub fn run_with(
    context: &Context,
    report: &Report,
    folder: &str,
    name: &str,
    after: impl FnOnce(&Guest) -> Result<()>,
) {
    let start = Instant::now();
    if let Err(error) = suite(context, report, folder, name, after) {
        report.failed(&format!("{name}.guest"), &format!("{error:#}"));
    }
    report.note(&format!("{name}: {} s", start.elapsed().as_secs()));
}

fn suite(
    context: &Context,
    report: &Report,
    folder: &str,
    name: &str,
    after: impl FnOnce(&Guest) -> Result<()>,
) -> Result<()> {
    let image = context.scratch(&format!("{name}.img"));
    let (guest, environment) = script_guest(context, Disk::create(&image, SCRATCH_BYTES)?)?;
    let mut running = guest.spawn(&format!(
        "cd /host/{folder} && exec env PYTHONPATH=/host/tests {environment} ./{name}.py"
    ))?;
    let mut lines = Lines::new(report, "");
    while guest.wait_output(&mut running, SILENCE)? {
        lines.push(&running.take_stdout());
    }
    let output = running.into_output();
    if !lines.any || (output.status != 0) != lines.failed {
        bail!(
            "the suite ended with status {}:\n{}",
            output.status,
            output.errors()
        );
    }
    after(&guest)?;
    guest.shutdown()?;
    std::fs::remove_file(&image)?;
    Ok(())
}
