// SPDX-License-Identifier: GPL-2.0-only
//! Runs pjdfstest (the one in Rust) in a guest, and reads what it prints.

use std::path::Path;

use anyhow::{bail, Context, Result};

use super::environment::{output, Environment, MOUNT, TREE};
use super::outcome::{Ended, Outcome, Table};
use super::Request;
use crate::guest::Guest;

/// The disk, sparse.
const DISK: u64 = 2 << 30;
/// Where cargo leaves the program, in the tree or in its folder rust/.
const PROGRAMS: [&str; 3] = [
    "target/release/pjdfstest",
    "rust/target/release/pjdfstest",
    "pjdfstest",
];
/// What a filesystem of Linux can do; two users of Debian's.
const CONFIGURATION: &str = "\
[features]
posix_fallocate = {}
rename_ctime = {}
stat_st_birthtime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.01
allow_remount = REMOUNT
[dummy_auth]
entries = [[\"nobody\", \"nogroup\"], [\"tests\", \"tests\"]]
";
/// Where the tests work. pjdfstest (0.2.2) makes its longest path from names of 127
/// bytes and fails when the folder's own path leaves it a multiple of them, as the
/// mount point would.
const FOLDER: &str = "tests";

/// Runs the tests whose name contains one of the request's words, or all.
pub fn run(environment: &Environment, request: &Request, table: &mut Table) -> Result<()> {
    let tree = request.tree.as_deref().context("no tree")?;
    let program = program(tree)?;
    let guest = environment.guest(0, &[DISK])?;
    environment.mount(&guest)?;
    guest.run(&format!(
        "chmod 755 {MOUNT} && mkdir {MOUNT}/{FOLDER} /tmp/other"
    ))?;
    // Those that mount read-only are in a process of their own: what others have left
    // open keeps the mount busy, on every filesystem.
    let remounts = pass(&guest, request, &program, true, "erofs")?;
    let mut tests = pass(&guest, request, &program, false, &request.tests.join(" "))?;
    for test in &mut tests {
        if let Some(done) = remounts.iter().find(|done| done.name == test.name) {
            test.outcome = done.outcome.clone();
        }
    }
    for test in tests {
        table.add(test);
    }
    environment.check(&guest, table, "fsck");
    guest.shutdown()
}

/// Runs the tests that `words` choose.
fn pass(
    guest: &Guest,
    request: &Request,
    program: &str,
    may_remount: bool,
    words: &str,
) -> Result<Vec<Ended>> {
    let configuration = CONFIGURATION.replace("REMOUNT", &may_remount.to_string());
    guest.write_file("/root/pjdfstest.toml", configuration.as_bytes())?;
    let script = format!(
        "exec {program} --configuration-file /root/pjdfstest.toml --secondary-fs /tmp/other \
         --path {MOUNT}/{FOLDER} {words} 2>&1"
    );
    let text = output(guest, &script, request.timeout)?.text();
    let tests = parse(&text);
    if tests.is_empty() || !text.contains("Summary") {
        bail!("pjdfstest did not end well:\n{text}");
    }
    Ok(tests)
}

/// The path of the program in the guest.
fn program(tree: &Path) -> Result<String> {
    if tree.is_file() {
        return Ok("/host/suite".to_owned());
    }
    let found = PROGRAMS.iter().find(|name| tree.join(name).is_file());
    let name =
        found.with_context(|| format!("{} has none of {}", tree.display(), PROGRAMS.join(", ")))?;
    Ok(format!("{TREE}/{name}"))
}

/// The results: a line with name and result, then lines that begin with a tab.
fn parse(text: &str) -> Vec<Ended> {
    let mut tests: Vec<Ended> = Vec::new();
    for line in text.lines() {
        if let Some(detail) = line.strip_prefix('\t') {
            let last = tests.last_mut().map(|test| &mut test.outcome);
            if let Some(Outcome::Failed(why) | Outcome::NotRun(why)) = last {
                if !why.is_empty() {
                    why.push('\n');
                }
                why.push_str(detail);
            }
            continue;
        }
        let Some((name, result)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let outcome = match result.trim() {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed(String::new()),
            "skipped" => Outcome::NotRun(String::new()),
            _ => continue,
        };
        tests.push(Ended {
            name: name.to_owned(),
            outcome,
            seconds: None,
        });
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::suites::outcome::Outcome;

    #[test]
    fn every_kind_of_result_is_read() {
        let text = "\
chmod::changes_mode::dir                    ok
chflags::x                                  skipped
\trequires features: chflags
\tand more
link::y                                     FAILED
\tassertion failed
open::z                                     ok

Summary: 1 failed, 1 skipped, 2 passed, 0 expected failures, 4 total
Error: Some tests have failed
";
        let outcomes: Vec<Outcome> = parse(text).into_iter().map(|test| test.outcome).collect();
        assert_eq!(
            outcomes,
            [
                Outcome::Passed,
                Outcome::NotRun("requires features: chflags\nand more".into()),
                Outcome::Failed("assertion failed".into()),
                Outcome::Passed,
            ]
        );
    }
}
