// SPDX-License-Identifier: GPL-2.0-only
//! Runs tests and counts them: the workspace's own through cargo, then those that
//! need a guest. Every test is named in the output, every skip says why, and the
//! last line is the count.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::apt::Apt;
use crate::architecture::ARM64;
use crate::guest::Setup;
use crate::kernel::{Kernel, ON_ARM64};
use crate::report::{Count, Report};
use crate::uml::Flavour;
use crate::{cross, host, project, suite, tools};

/// What guest tests are given.
pub struct Context {
    /// What guests are made of.
    pub setup: Setup,
    /// A folder for files of the tests, removed in the end.
    folder: tempfile::TempDir,
    /// Names of tests are chosen by a part of them.
    filter: String,
}

impl Context {
    /// A path for a file of a test's own. The caller removes what is large.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Whether tests of a group are to be run.
    pub fn wants(&self, group: &str) -> bool {
        group.contains(&self.filter)
    }

    /// Runs one test, which is a function.
    pub fn test(&self, report: &Report, name: &str, run: impl FnOnce(&Self) -> Result<()>) {
        if !self.wants(name) {
            return;
        }
        match run(self) {
            Ok(()) => report.passed(name),
            Err(error) => report.failed(name, &format!("{error:#}")),
        }
    }
}

/// Runs the workspace's tests, in the profile that checks for overflows. Those of a crate are counted as cargo reports
/// them; a crate that does not build, or crashes, counts as a failure.
///
/// # Errors
/// cargo cannot be started.
pub fn host_tests() -> Result<Count> {
    let mut count = Count::default();
    let mut child = Command::new(tools::cargo_program())
        .current_dir(project::root())
        .args(["test", "--workspace", "--no-fail-fast"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        count = count.plus(cargo_line(&line));
    }
    let status = child.wait()?;
    if !status.success() && count.failed == 0 {
        println!("cargo test: {status}, though no test failed");
        count.failed = 1;
    }
    Ok(count)
}

/// Runs the tests of the crate `vector`, whose code depends on the architecture, as programs
/// for 64-bit ARM, which QEMU emulates.
///
/// # Errors
/// They cannot be built, or one cannot be started.
pub fn arm64_tests() -> Result<Count> {
    host::prepare()?;
    host::prepare_programs(&ARM64)?;
    let apt = Apt::of_architecture(ON_ARM64.distribution, &ARM64, false)?;
    let kernel = Kernel::of(&ON_ARM64, &apt)?;
    let mut count = Count::default();
    for program in cross::tests(&kernel, "vector")? {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        println!("\n{name}");
        let output = Command::new(ARM64.qemu_user)
            .arg(&program)
            .current_dir(project::root().join("vector"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", ARM64.qemu_user))?;
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        let here = text
            .lines()
            .fold(Count::default(), |sum, line| sum.plus(cargo_line(line)));
        count = count.plus(here);
        if !output.status.success() && here.failed == 0 {
            println!("{name}: {}, though no test failed", output.status);
            count.failed += 1;
        }
    }
    Ok(count)
}

/// What one line of cargo's output adds. Ignored tests count as skipped.
fn cargo_line(line: &str) -> Count {
    let Some(rest) = line.strip_prefix("test result: ") else {
        return Count::default();
    };
    let field = |name: &str| {
        rest.split(['.', ';'])
            .find_map(|part| part.trim().strip_suffix(name)?.trim().parse().ok())
            .unwrap_or(0)
    };
    Count {
        passed: field("passed"),
        failed: field("failed"),
        skipped: field("ignored"),
    }
}

/// Runs the guest tests whose group or name contains `filter`.
///
/// # Errors
/// What guests are made of cannot be prepared.
pub fn guest_tests(filter: &str) -> Result<Count> {
    run(Setup::prepare()?, filter, suite::run)
}

/// Runs the tests of the debug kernel whose group or name contains `filter`.
///
/// # Errors
/// As [`guest_tests`].
pub fn debug_tests(filter: &str) -> Result<Count> {
    run(Setup::user_mode(Flavour::Debug)?, filter, suite::run_debug)
}

/// Runs a selection of the tests of the debug kernel, which takes minutes.
///
/// # Errors
/// As [`guest_tests`].
pub fn brief_debug_tests() -> Result<Count> {
    run(
        Setup::user_mode(Flavour::Debug)?,
        "",
        suite::run_debug_briefly,
    )
}

fn run(setup: Setup, filter: &str, suites: fn(&Context, &Report)) -> Result<Count> {
    let context = Context {
        setup,
        folder: tempfile::Builder::new().prefix("vexfs-test-").tempdir()?,
        filter: filter.to_owned(),
    };
    let report = Report::default();
    suites(&context, &report);
    if report.count() == Count::default() {
        report.failed(filter, "there is no guest test of this name");
    }
    Ok(report.count())
}

#[cfg(test)]
mod tests {
    use super::cargo_line;
    use crate::report::Count;

    #[test]
    fn cargo_s_lines_are_counted() {
        let line = "test result: FAILED. 11 passed; 2 failed; 3 ignored; 0 measured; 1 filtered out; finished in 0.01s";
        assert_eq!(
            cargo_line(line),
            Count {
                passed: 11,
                failed: 2,
                skipped: 3
            }
        );
        assert_eq!(cargo_line("test a ... ok"), Count::default());
        assert_eq!(
            cargo_line(line).plus(cargo_line(line)).to_string(),
            "22 passed, 4 failed, 6 skipped"
        );
    }
}
