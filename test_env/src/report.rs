// SPDX-License-Identifier: GPL-2.0-only
//! What the tests say: one line for each, counted. Runs nothing.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

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

/// Prints results as they come, and counts them. Several threads may report.
#[derive(Default)]
pub struct Report {
    count: Mutex<Count>,
    silent: bool,
}

impl Report {
    /// A report that counts and prints nothing.
    pub fn silent() -> Self {
        Self {
            silent: true,
            ..Self::default()
        }
    }

    /// A test passed.
    pub fn passed(&self, name: &str) {
        self.add(|count| count.passed += 1);
        self.line(&format!("test guest::{name} ... ok"));
    }

    /// A test failed, and why.
    pub fn failed(&self, name: &str, why: &str) {
        self.add(|count| count.failed += 1);
        self.line(&format!("test guest::{name} ... FAILED\n{}", indent(why)));
    }

    /// A test could not check what it is there for, and why.
    pub fn skipped(&self, name: &str, why: &str) {
        self.add(|count| count.skipped += 1);
        self.line(&format!("test guest::{name} ... skipped: {why}"));
    }

    /// Something for the reader: measured, not judged.
    pub fn note(&self, text: &str) {
        self.line(&indent(text));
    }

    /// What was reported so far.
    pub fn count(&self) -> Count {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader who watches sees each line at once.
    fn line(&self, text: &str) {
        if self.silent {
            return;
        }
        println!("{text}");
        // Nobody to tell if this fails.
        let _ = std::io::stdout().flush();
    }

    fn add(&self, change: impl FnOnce(&mut Count)) {
        change(&mut self.count.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}
