// SPDX-License-Identifier: GPL-2.0-only
//! Everything that can be run, one target of the Makefile after the other, whatever
//! fails; and a table of how it went. What each does is its own affair.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::project;

/// A target of the Makefile.
struct Step {
    target: &'static str,
    /// What it is called with.
    variables: &'static [(&'static str, &'static str)],
    /// A variable of the environment without which it cannot run: the folder of a suite
    /// that is not part of this project.
    needs: Option<&'static str>,
}

/// The steps, what is quick to fail first.
const STEPS: &[Step] = &[
    Step::plain("check"),
    Step::plain("test"),
    Step::plain("demo"),
    Step::plain("test-arm64"),
    Step::plain("test-dkms"),
    Step::with("matrix", &[("FRESH", "1")]),
    Step::plain("packer"),
    Step::plain("test-debug"),
    Step::plain("bench-kernel"),
    Step::with("test-stress", &[SUITES]),
    Step::of_tree("pjdfstest", "PJDFSTEST", &[]),
    Step::of_tree("ltp", "LTP", &[SUITES]),
    Step::of_tree("xfstests", "XFSTESTS", &[SUITES, ("TESTS", "-g quick")]),
];

/// For suites that would take a day where the stock kernel is emulated.
const SUITES: (&str, &str) = ("KERNEL", "suites");

impl Step {
    const fn plain(target: &'static str) -> Self {
        Self::with(target, &[])
    }

    const fn with(
        target: &'static str,
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            target,
            variables,
            needs: None,
        }
    }

    const fn of_tree(
        target: &'static str,
        tree: &'static str,
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            target,
            variables,
            needs: Some(tree),
        }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// With success.
    Passed,
    /// Otherwise; how.
    Failed(String),
    /// It was not run; why.
    NotRun(String),
}

/// A line of the table.
struct Row {
    target: &'static str,
    end: End,
    time: Duration,
    /// The last line that counts tests.
    count: Option<String>,
}

/// Runs the steps of these names, or everything if there are none; false if something failed.
/// Each step's output is also kept in `build/nightly/`.
///
/// # Errors
/// There is no step of a name, or the folder of the logs cannot be made.
pub fn run(names: &[String]) -> Result<bool> {
    let steps = chosen(names)?;
    let logs = project::build_folder("nightly")?;
    let mut rows = Vec::new();
    for step in steps {
        println!("\n== make {}", step.target);
        let start = Instant::now();
        let missing = step
            .needs
            .filter(|name| std::env::var_os(name).is_none_or(|value| value.is_empty()));
        let (end, count) = match missing {
            Some(name) => (End::NotRun(format!("{name} is not given")), None),
            None => perform(step, &logs.join(format!("{}.log", step.target)))
                .unwrap_or_else(|error| (End::Failed(format!("{error:#}")), None)),
        };
        let row = Row {
            target: step.target,
            end,
            time: start.elapsed(),
            count,
        };
        if let End::NotRun(why) = &row.end {
            println!("not run: {why}");
        }
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    println!("logs: {}", logs.display());
    Ok(rows.iter().all(|row| !matches!(row.end, End::Failed(_))))
}

/// The steps of these names in the order of the list; all if there are none.
fn chosen(names: &[String]) -> Result<Vec<&'static Step>> {
    if let Some(name) = names
        .iter()
        .find(|name| !STEPS.iter().any(|step| step.target == **name))
    {
        let known: Vec<&str> = STEPS.iter().map(|step| step.target).collect();
        bail!("no step is called {name}; there are {}", known.join(" "));
    }
    let is_chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.target);
    Ok(STEPS.iter().filter(is_chosen).collect())
}

/// Runs a step, showing and keeping what it says.
fn perform(step: &Step, log: &Path) -> Result<(End, Option<String>)> {
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone()?;
    let mut make = Command::new("make");
    make.current_dir(project::root())
        .args(["--no-print-directory", step.target])
        .args(
            step.variables
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = make.spawn().context("cannot start make")?;
    let said = child.stderr.take().context("no pipe")?;
    let complaints = std::thread::spawn(move || {
        let mut errors = errors;
        for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            eprintln!("{line}");
            // The log is for those who come later; the result does not depend on it.
            let _ = writeln!(errors, "{line}");
        }
    });
    let mut count = None;
    for line in BufReader::new(child.stdout.take().context("no pipe")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        writeln!(file, "{line}")?;
        if counts(&line) {
            count = Some(line);
        }
    }
    let status = child.wait()?;
    // It has nothing to return.
    let _ = complaints.join();
    let end = if status.success() {
        End::Passed
    } else {
        End::Failed(status.to_string())
    };
    Ok((end, count))
}

/// Whether a line is the sum of a run: `N passed, N failed`, and what else there may be.
fn counts(line: &str) -> bool {
    let mut parts = line.split(", ").map(|part| part.split_once(' '));
    let mut next = |what: &str| {
        parts
            .next()
            .flatten()
            .is_some_and(|(number, rest)| number.parse::<u64>().is_ok() && rest.starts_with(what))
    };
    next("passed") && next("failed")
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| target | result | time | tests |\n|---|---|---|---|\n");
    for row in rows {
        let result = match &row.end {
            End::Passed => "ok".to_owned(),
            End::Failed(how) => format!("FAILED: {how}"),
            End::NotRun(why) => format!("not run: {why}"),
        };
        let seconds = row.time.as_secs();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {result} | {} min {:02} s | {} |",
            row.target,
            seconds / 60,
            seconds % 60,
            row.count.as_deref().unwrap_or_default()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{chosen, counts, perform, table, End, Row, Step, STEPS};
    use crate::project;

    #[test]
    fn every_step_is_a_target_of_the_makefile() {
        let text = std::fs::read_to_string(project::root().join("Makefile")).expect("Makefile");
        for step in STEPS {
            let rule = format!("{}:", step.target);
            assert!(text.lines().any(|line| line.starts_with(&rule)), "{rule}");
        }
    }

    #[test]
    fn steps_can_be_chosen() {
        let targets = |names: &[&str]| -> Option<Vec<&str>> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let steps = chosen(&names).ok()?;
            Some(steps.iter().map(|step| step.target).collect())
        };
        assert_eq!(targets(&["test", "check"]), Some(vec!["check", "test"]));
        assert_eq!(targets(&[]).map(|all| all.len()), Some(STEPS.len()));
        assert_eq!(targets(&["check", "chek"]), None);
    }

    #[test]
    fn sums_are_recognised() {
        assert!(counts("12 passed, 0 failed, 1 skipped"));
        assert!(counts("5 passed, 0 failed (0 of them expected), 2 not run"));
        assert!(!counts("test a ... ok"));
        assert!(!counts("12 passed"));
        assert!(!counts("none passed, none failed"));
    }

    #[test]
    fn a_step_that_fails_is_seen_to_fail() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let (end, count) = perform(&Step::plain("no-such-target"), &log).expect("make");
        assert!(matches!(end, End::Failed(_)));
        assert_eq!(count, None);
        let said = std::fs::read_to_string(&log).expect("the log");
        assert!(said.contains("no-such-target"), "{said}");
        let (end, _) = perform(&Step::plain("help"), &log).expect("make");
        assert_eq!(end, End::Passed);
    }

    #[test]
    fn the_table_says_what_was_not_run() {
        let row = |target, end, count: Option<&str>| Row {
            target,
            end,
            time: Duration::from_secs(61),
            count: count.map(str::to_owned),
        };
        let text = table(&[
            row("test", End::Passed, Some("2 passed, 0 failed, 0 skipped")),
            row("ltp", End::NotRun("LTP is not given".to_owned()), None),
        ]);
        assert!(text.ends_with(
            "| test | ok | 1 min 01 s | 2 passed, 0 failed, 0 skipped |\n\
             | ltp | not run: LTP is not given | 1 min 01 s |  |\n"
        ));
    }
}
