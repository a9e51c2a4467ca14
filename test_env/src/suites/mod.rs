// SPDX-License-Identifier: GPL-2.0-only
//! Runners for the test suites of others: xfstests, pjdfstest and LTP, each given
//! as a ready-built tree, and the load generators that Debian has. A suite runs in
//! guests of its own; how its tests went is held against test_env/suites/*.toml.
//! Contains no suite and builds none.

mod check_output;
mod environment;
mod expected;
mod image;
mod ltp;
mod outcome;
mod pjdfstest;
mod stress;
mod xfstests;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use environment::Environment;
use expected::Expected;
use outcome::Table;

use crate::host;
use crate::uml::Flavour;

/// A suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Suite {
    /// xfstests: the regression tests of the Linux filesystems
    Xfstests,
    /// pjdfstest in Rust: what POSIX says of the system calls
    Pjdfstest,
    /// The Linux Test Project: the lists of tests in its runtest/
    Ltp,
    /// stress-ng, fio, and fsx and fsstress out of a given xfstests tree
    Stress,
}

impl Suite {
    /// The name, which is that of its list of expected failures.
    fn name(self) -> &'static str {
        match self {
            Self::Xfstests => "xfstests",
            Self::Pjdfstest => "pjdfstest",
            Self::Ltp => "ltp",
            Self::Stress => "stress",
        }
    }
}

/// What is to be run.
pub struct Request {
    /// The suite.
    pub suite: Suite,
    /// The ready-built tree; `Stress` can do without.
    pub tree: Option<PathBuf>,
    /// Which tests, in the suite's own words.
    pub tests: Vec<String>,
    /// `vexfs`, or a filesystem of the stock kernel to compare with.
    pub filesystem: String,
    /// User Mode Linux instead of the stock kernel.
    pub kernel: Option<Flavour>,
    /// Guests side by side; only xfstests is run in more than one.
    pub guests: usize,
    /// How long a test may take.
    pub timeout: Duration,
}

/// Guests side by side if nothing is said: User Mode Linux with one processor each, or one
/// virtual machine, which has several.
pub fn usual_guests(kernel: Option<Flavour>) -> usize {
    match kernel {
        Some(_) => host::guests_at_a_time(),
        None => 1,
    }
}

/// Runs a suite and prints its table. Returns whether nothing failed that is not
/// expected to.
///
/// # Errors
/// The suite cannot be run.
pub fn run(request: &Request) -> Result<bool> {
    let name = request.suite.name();
    let expected = Expected::read(name, &request.filesystem)?;
    if let Some(tree) = &request.tree {
        ensure!(tree.exists(), "there is no {}", tree.display());
    } else {
        ensure!(
            request.suite == Suite::Stress,
            "{name} is not part of this project: build it for Debian 13 (as the guests are) and \
             give the folder, {}=path",
            name.to_uppercase()
        );
    }
    let environment = Environment::prepare(request)?;
    let mut table = Table::new(name, expected);
    let result = match request.suite {
        Suite::Xfstests => xfstests::run(&environment, request, &mut table),
        Suite::Pjdfstest => pjdfstest::run(&environment, request, &mut table),
        Suite::Ltp => ltp::run(&environment, request, &mut table),
        Suite::Stress => stress::run(&environment, request, &mut table),
    };
    // What was found before an error is worth knowing.
    table.print();
    result.with_context(|| format!("{name} did not run to its end"))?;
    Ok(table.is_good())
}
