// SPDX-License-Identifier: GPL-2.0-only
//! The matrix: every kernel that users have, the module built for it, booted and
//! smoke-tested, unless that was done before with the same inputs ([`kept`]); and the table
//! of how that went, in docs/kernels.md. Which versions these kernels have today is for the
//! package lists to say.

mod kept;

use std::fmt::Write as _;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{bail, ensure, Context, Result};

use crate::apt::{Apt, Choice, FORKY, SID, TRIXIE};
use crate::architecture::HOST;
use crate::guest::Setup;
use crate::kernel::{Kernel, Variety, DEFAULT, ON_ARM64};
use crate::suite::smoke;
use crate::{host, module, project, tools};

/// The kernels.
const KERNELS: &[Variety] = &[
    DEFAULT,
    Variety {
        name: "trixie-backports-7.2",
        distribution: &TRIXIE,
        architecture: HOST,
        choice: Choice::Series("7.2"),
        keep_source: false,
    },
    Variety {
        name: "forky",
        distribution: &FORKY,
        architecture: HOST,
        choice: Choice::Newest("forky"),
        keep_source: false,
    },
    Variety {
        name: "sid",
        distribution: &SID,
        architecture: HOST,
        choice: Choice::Newest("sid"),
        keep_source: false,
    },
    Variety {
        name: "experimental",
        distribution: &SID,
        architecture: HOST,
        choice: Choice::Newest("experimental"),
        keep_source: false,
    },
    Variety {
        name: "trixie-6.12",
        distribution: &TRIXIE,
        architecture: HOST,
        choice: Choice::Rebuilt("6.12"),
        keep_source: false,
    },
    ON_ARM64,
];

/// Kernels at a time: a guest has two processors.
const AT_A_TIME: usize = 2;
/// The document with the table, between these lines.
const DOCUMENT: &str = "docs/kernels.md";
const TABLE_START: &str = "<!-- table: make matrix -->\n";
const TABLE_END: &str = "<!-- end of table -->\n";

/// A line of the table.
#[derive(Debug, Default)]
struct Row {
    name: String,
    release: String,
    rustc: String,
    compiler: String,
    built: bool,
    booted: bool,
    /// Steps of the smoke test that passed.
    passed: usize,
    /// When the guests ran, and whether it was in an earlier run.
    tested: String,
    kept: bool,
    seconds: u64,
    failure: Option<String>,
}

/// Runs all kernels, or those whose name contains `filter`; prints the table, and
/// writes it into the document if `write` is set. No result of an earlier run counts if `anew`
/// is set. False if a kernel failed.
///
/// # Errors
/// The name fits no kernel, or the table cannot be written.
pub fn run(filter: Option<&str>, write: bool, anew: bool) -> Result<bool> {
    let wanted: Vec<&Variety> = KERNELS
        .iter()
        .filter(|kernel| kernel.name.contains(filter.unwrap_or_default()))
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        bail!("no such kernel; there are {}", names.join(", "));
    }
    host::prepare()?;
    let rows = Mutex::new(Vec::new());
    let queue = Mutex::new(wanted.iter().enumerate());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, variety)) = next else { break };
                let row = row(variety, anew);
                announce(&row);
                rows.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((number, row));
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(number, _)| *number);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    ensure!(rows.len() == wanted.len(), "a kernel is missing");
    let table = table(&rows);
    println!("\n{table}");
    if write {
        let path = project::root().join(DOCUMENT);
        let text = fs::read_to_string(&path).context(DOCUMENT)?;
        let text = replaced(&text, &table)
            .with_context(|| format!("{DOCUMENT} has no place for the table"))?;
        fs::write(&path, text).context(DOCUMENT)?;
    }
    Ok(rows.iter().all(|row| row.failure.is_none()))
}

/// Does everything for one kernel.
fn row(variety: &Variety, anew: bool) -> Row {
    let start = Instant::now();
    let mut row = Row {
        name: variety.name.to_owned(),
        ..Row::default()
    };
    if let Err(error) = fill(variety, anew, &mut row) {
        row.failure = Some(format!("{error:#}"));
    }
    row.seconds = start.elapsed().as_secs();
    row
}

fn fill(variety: &Variety, anew: bool, row: &mut Row) -> Result<()> {
    let apt = Apt::of_architecture(variety.distribution, variety.architecture, false)?;
    host::prepare_guests(variety.architecture)?;
    let kernel = Kernel::of(variety, &apt).context("the kernel cannot be prepared")?;
    row.release = kernel.release().to_owned();
    (row.rustc, row.compiler) = kernel.compilers()?;
    let folder = project::build_folder(&format!("matrix/{}", kernel.release()))?;
    let module = folder.join("vexfs.ko");
    module::build_to(&kernel, &module).context("the module does not build")?;
    row.built = true;
    let bin = tools::build_for(&kernel).context("the tools do not build")?;
    let apt = Apt::of_architecture(&TRIXIE, variety.architecture, false)?;
    let setup = Setup::with_kernel(&apt, kernel)?;
    smoke::share(&setup, &bin, &module)?;
    let tested = kept::smoke(&setup, anew)?;
    row.booted = tested.outcome.booted;
    row.passed = tested.outcome.passed;
    row.failure = tested.outcome.failure;
    row.tested = tested.time;
    row.kept = tested.kept;
    Ok(())
}

/// Tells how a kernel went as soon as it is known.
fn announce(row: &Row) {
    match &row.failure {
        None => println!(
            "kernel {} ({}) ... ok, {} s{}",
            row.name,
            row.release,
            row.seconds,
            match row.kept {
                true => format!("; nothing has changed since the guests of {}", row.tested),
                false => String::new(),
            }
        ),
        Some(failure) => println!(
            "kernel {} ({}) ... FAILED\n    {}",
            row.name,
            row.release,
            failure.replace('\n', "\n    ")
        ),
    }
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| kernel | release | rustc | C compiler | build | boot | tests | tested | time |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let yes = |good: bool| if good { "ok" } else { "FAILED" };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} of {} | {}{} | {} s |",
            row.name,
            row.release,
            row.rustc,
            row.compiler,
            yes(row.built),
            yes(row.booted),
            row.passed,
            smoke::TOTAL,
            row.tested,
            if row.kept { ", kept" } else { "" },
            row.seconds
        );
    }
    text
}

/// The document with another table.
fn replaced(document: &str, table: &str) -> Option<String> {
    let (before, rest) = document.split_once(TABLE_START)?;
    let (_, after) = rest.split_once(TABLE_END)?;
    Some(format!("{before}{TABLE_START}{table}{TABLE_END}{after}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{replaced, table, Row, DOCUMENT, KERNELS};
    use crate::project;
    use crate::suite::smoke;

    #[test]
    fn names_of_kernels_are_unique() {
        let names: BTreeSet<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
        assert_eq!(names.len(), KERNELS.len());
    }

    #[test]
    fn a_row_says_how_far_it_came() {
        let row = Row {
            name: "sid".to_owned(),
            release: "7.2.13+deb14-cloud-amd64".to_owned(),
            rustc: "1.97.1".to_owned(),
            compiler: "gcc-16 16.2.0".to_owned(),
            built: true,
            booted: true,
            passed: 3,
            tested: "2026-01-31 12:59 UTC".to_owned(),
            kept: false,
            seconds: 61,
            failure: Some("step files".to_owned()),
        };
        let expected = format!(
            "| sid | 7.2.13+deb14-cloud-amd64 | 1.97.1 | gcc-16 16.2.0 | ok | ok | 3 of {} \
             | 2026-01-31 12:59 UTC | 61 s |",
            smoke::TOTAL
        );
        assert_eq!(table(&[row]).lines().last(), Some(expected.as_str()));
        let kept = Row {
            tested: "2026-01-31 12:59 UTC".to_owned(),
            kept: true,
            ..Row::default()
        };
        assert!(table(&[kept]).contains("| 2026-01-31 12:59 UTC, kept | 0 s |"));
        let none = table(&[Row::default()]);
        assert!(none.ends_with(&format!(
            "| FAILED | FAILED | 0 of {} |  | 0 s |\n",
            smoke::TOTAL
        )));
    }

    #[test]
    fn the_document_has_a_place_for_the_table() {
        let text = std::fs::read_to_string(project::root().join(DOCUMENT)).expect(DOCUMENT);
        let new = replaced(&text, "| x |\n").expect("a place");
        assert!(new.contains("-->\n| x |\n<!--"), "{new}");
        assert_eq!(replaced(&new, "| x |\n").as_deref(), Some(new.as_str()));
        assert_eq!(replaced("no place", "x"), None);
    }
}
