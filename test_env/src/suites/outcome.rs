// SPDX-License-Identifier: GPL-2.0-only
//! How the tests of a suite went, held against the list of failures that are
//! expected: lines as they come, a table in the end. Runs nothing.

use std::collections::BTreeMap;
use std::io::Write;

use super::expected::Expected;

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It passed.
    Passed,
    /// It did not; what it said.
    Failed(String),
    /// It could not be run here; why.
    NotRun(String),
}

/// A test that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its name in the suite.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// Seconds, where the suite says them.
    pub seconds: Option<u64>,
}

/// All that ended so far.
pub struct Table {
    suite: &'static str,
    expected: Expected,
    passed: usize,
    failed: Vec<String>,
    expected_failures: Vec<String>,
    /// Listed as failing, but passed.
    fixed: Vec<String>,
    not_run: BTreeMap<String, Vec<String>>,
}

impl Table {
    /// An empty table.
    pub fn new(suite: &'static str, expected: Expected) -> Self {
        Self {
            suite,
            expected,
            passed: 0,
            failed: Vec::new(),
            expected_failures: Vec::new(),
            fixed: Vec::new(),
            not_run: BTreeMap::new(),
        }
    }

    /// Whether a test of this name is expected to fail.
    pub fn expects(&self, name: &str) -> bool {
        self.expected.reason(name).is_some()
    }

    /// Takes in a test, and prints its line.
    pub fn add(&mut self, test: Ended) {
        let time = test.seconds.map_or(String::new(), |s| format!(" ({s} s)"));
        let reason = self.expected.reason(&test.name);
        let head = format!("test {}::{} ...", self.suite, test.name);
        match (test.outcome, reason) {
            (Outcome::Passed, None) => {
                self.passed += 1;
                line(&format!("{head} ok{time}"));
            }
            (Outcome::Passed, Some(_)) => {
                self.passed += 1;
                line(&format!("{head} ok{time}, though listed as failing"));
                self.fixed.push(test.name);
            }
            (Outcome::Failed(why), None) => {
                line(&format!("{head} FAILED{time}\n{}", indent(&why)));
                self.failed.push(test.name);
            }
            (Outcome::Failed(_), Some(reason)) => {
                line(&format!("{head} failed as expected{time}: {reason}"));
                self.expected_failures.push(test.name);
            }
            (Outcome::NotRun(why), _) => {
                line(&format!("{head} not run: {why}"));
                self.not_run.entry(why).or_default().push(test.name);
            }
        }
    }

    /// Whether nothing failed that is not expected to.
    pub fn is_good(&self) -> bool {
        self.failed.is_empty()
    }

    /// The table.
    pub fn print(&self) {
        line(&self.to_string());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let not_run: usize = self.not_run.values().map(Vec::len).sum();
        let all = self.passed + self.failed.len() + self.expected_failures.len() + not_run;
        writeln!(to)?;
        writeln!(to, "{:<20} {all:>5}", self.suite)?;
        writeln!(to, "  {:<18} {:>5}", "passed", self.passed)?;
        writeln!(to, "  {:<18} {:>5}", "failed", self.failed.len())?;
        writeln!(
            to,
            "  {:<18} {:>5}",
            "expected failures",
            self.expected_failures.len()
        )?;
        writeln!(to, "  {:<18} {:>5}", "not run", not_run)?;
        for (title, names) in [
            ("Failed", &self.failed),
            ("Passed, though listed as failing", &self.fixed),
        ] {
            if !names.is_empty() {
                writeln!(to, "{title}: {}", names.join(" "))?;
            }
        }
        for name in &self.expected_failures {
            let reason = self.expected.reason(name).unwrap_or_default();
            writeln!(to, "Expected to fail: {name}: {reason}")?;
        }
        for (why, names) in &self.not_run {
            writeln!(to, "Not run, {}: {why}", names.len())?;
        }
        Ok(())
    }
}

fn indent(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

/// A reader who watches sees each line at once.
fn line(text: &str) {
    println!("{text}");
    // Nobody to tell if this fails.
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::{Ended, Outcome, Table};
    use crate::suites::expected::Expected;

    fn ended(name: &str, outcome: Outcome) -> Ended {
        Ended {
            name: name.to_owned(),
            outcome,
            seconds: None,
        }
    }

    #[test]
    fn what_is_expected_to_fail_does_not_count_as_failed() {
        let list = "[[failure]]\ntest = \"a\"\nreason = \"because\"\n\
                    [[failure]]\ntest = \"b\"\nreason = \"so\"\n";
        let mut table = Table::new("suite", Expected::parse(list).unwrap());
        table.add(ended("a", Outcome::Failed("x".into())));
        table.add(ended("b", Outcome::Passed));
        table.add(ended("c", Outcome::NotRun("no quota".into())));
        assert!(table.is_good());
        table.add(ended("d", Outcome::Failed("y".into())));
        assert!(!table.is_good());
        let text = table.to_string();
        for part in [
            "Failed: d\n",
            "Passed, though listed as failing: b\n",
            "Expected to fail: a: because\n",
            "Not run, 1: no quota\n",
            "suite                    4\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
    }
}
