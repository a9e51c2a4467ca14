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

/// What is run of a suite, and how.
#[derive(Clone, Copy, Default)]
pub struct Part<'a> {
    /// The suite.
    pub name: &'a str,
    /// The folder of /host that it lies in.
    pub folder: &'a str,
    /// In front of the names of its tests when they are reported.
    pub prefix: &'a str,
    /// Its tests; all if there are none.
    pub tests: &'a [&'a str],
    /// How much it does (`super::PASSED_ON`), where the environment does not say.
    pub amounts: &'a [(&'a str, &'a str)],
}

/// Runs a suite.
pub fn run(context: &Context, report: &Report, name: &str) {
    let part = Part {
        name,
        folder: "tests",
        ..Part::default()
    };
    run_part(context, report, &part, |_| Ok(()));
}

/// Runs a part of a suite; `after` looks at the guest when that has ended.
pub fn run_part(
    context: &Context,
    report: &Report,
    part: &Part<'_>,
    after: impl FnOnce(&Guest) -> Result<()>,
) {
    let start = Instant::now();
    let name = format!("{}{}", part.prefix, part.name);
    if let Err(error) = suite(context, report, part, after) {
        report.failed(&format!("{name}.guest"), &format!("{error:#}"));
    }
    report.note(&format!("{name}: {} s", start.elapsed().as_secs()));
}

fn suite(
    context: &Context,
    report: &Report,
    part: &Part<'_>,
    after: impl FnOnce(&Guest) -> Result<()>,
) -> Result<()> {
    let image = context.scratch(&format!("{}.img", part.name));
    let disk = Disk::create(&image, SCRATCH_BYTES)?;
    let (guest, environment) = script_guest(context, disk, part.amounts)?;
    let mut running = guest.spawn(&format!(
        "cd /host/{} && exec env PYTHONPATH=/host/tests {environment} ./{}.py {}",
        part.folder,
        part.name,
        part.tests.join(" ")
    ))?;
    let mut lines = Lines::new(report, part.prefix);
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
