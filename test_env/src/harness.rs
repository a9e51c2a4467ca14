// SPDX-License-Identifier: GPL-2.0-only
//! Runs tests and counts them: the workspace's own through cargo, then those that
//! need a guest. Every test is named in the output, every skip says why, and the
//! last line is the count.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::guest::Setup;
use crate::suite::TESTS;
use crate::{project, tools};

/// How a test that did not fail went.
pub enum Outcome {
    /// It checked what it is there to check.
    Passed,
    /// It could not, for the reason given.
    Skipped(String),
}

/// What a test is given.
pub struct Context<'a> {
    /// What guests are made of.
    pub setup: &'a Setup,
    folder: PathBuf,
    notes: Mutex<Vec<String>>,
}

impl Context<'_> {
    /// A path for a file of the test's own; it is removed afterwards.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Prints a line below the test's: something measured, not judged.
    pub fn note(&self, line: impl Into<String>) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line.into());
    }
}

/// A test that needs a guest.
pub struct Test {
    /// `file::function`.
    pub name: &'static str,
    /// Whether it uses the module or the tools.
    pub products: bool,
    /// The test; an error is a failure.
    pub run: fn(&Context) -> Result<Outcome>,
}

/// How many tests went how.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped, with a reason.
    pub skipped: usize,
}

impl Count {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            to,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Runs the workspace's tests. Those of a crate are counted as cargo reports
/// them; a crate that does not build, or crashes, counts as a failure.
///
/// # Errors
/// cargo cannot be started.
pub fn host_tests() -> Result<Count> {
    let mut count = Count::default();
    let mut child = Command::new(tools::cargo_program())
        .current_dir(project::root())
        .args(["test", "--workspace", "--no-fail-fast", "--release"])
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

/// Runs the guest tests whose name contains `filter`. If module and tools do not
/// build, every test that uses them fails.
///
/// # Errors
/// What guests are made of cannot be prepared.
pub fn guest_tests(filter: &str) -> Result<Count> {
    let chosen: Vec<&Test> = TESTS
        .iter()
        .filter(|test| test.name.contains(filter))
        .collect();
    let setup = Setup::prepare()?;
    let mut products = Ok(());
    if chosen.iter().any(|test| test.products) {
        products = setup.add_products();
    }
    let mut count = Count::default();
    for test in chosen {
        let folder = tempfile::Builder::new().prefix("vexfs-test-").tempdir()?;
        let context = Context {
            setup: &setup,
            folder: folder.path().to_owned(),
            notes: Mutex::default(),
        };
        print!("test guest::{} ... ", test.name);
        std::io::stdout().flush()?;
        let start = Instant::now();
        let outcome = match &products {
            Err(error) if test.products => Err(anyhow::anyhow!("{error:#}")),
            _ => (test.run)(&context),
        };
        let seconds = start.elapsed().as_secs_f32();
        match outcome {
            Ok(Outcome::Passed) => {
                println!("ok ({seconds:.1} s)");
                count.passed += 1;
            }
            Ok(Outcome::Skipped(reason)) => {
                println!("skipped: {reason}");
                count.skipped += 1;
            }
            Err(error) => {
                println!("FAILED ({seconds:.1} s)\n{error:?}\n");
                count.failed += 1;
            }
        }
        for note in context.notes.into_inner().unwrap_or_default() {
            println!("    {note}");
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::{cargo_line, Count};

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
