// SPDX-License-Identifier: GPL-2.0-only
//! Runs lists of tests of the Linux Test Project (runtest/ of an installed tree),
//! with their temporary files on the filesystem under test.

use anyhow::{bail, Context, Result};

use super::environment::{device, output, Environment, MOUNT, TREE};
use super::outcome::{Ended, Outcome, Table};
use super::Request;
use crate::guest::Output;
use crate::sys;

/// The disk of the mount, and one that tests make filesystems on themselves; sparse.
const DISKS: [u64; 2] = [8 << 30, 2 << 30];
/// What is run if nothing is asked for.
const DEFAULT_LIST: &str = "fs";
/// Bits of a test's exit status, from LTP's documentation: it cannot be run here.
const TCONF: i32 = 32;

/// A line of a list.
#[derive(Debug, PartialEq, Eq)]
struct Test {
    name: String,
    command: String,
}

/// Runs the lists that the request names; `list:test` is one test of a list.
pub fn run(environment: &Environment, request: &Request, table: &mut Table) -> Result<()> {
    let tree = request.tree.as_deref().context("no tree")?;
    let words = match request.tests.as_slice() {
        [] => vec![DEFAULT_LIST.to_owned()],
        words => words.to_vec(),
    };
    let mut tests = Vec::new();
    for word in &words {
        let (list, only) = match word.split_once(':') {
            Some((list, only)) => (list, Some(only)),
            None => (word.as_str(), None),
        };
        let path = tree.join("runtest").join(list);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        tests.extend(
            parse(&text)
                .into_iter()
                .filter(|test| only.is_none_or(|only| test.name == only)),
        );
    }
    if tests.is_empty() {
        bail!("there is no test in {}", words.join(" "));
    }
    let mut guest = None;
    for test in tests {
        let here = match guest.take() {
            Some(guest) => guest,
            None => {
                let guest = environment.guest(&DISKS)?;
                environment.mount(&guest)?;
                guest
            }
        };
        match output(&here, &script(environment, request, &test), request.timeout) {
            Ok(result) => {
                let outcome = judge(&result);
                table.add(Ended {
                    name: test.name,
                    outcome,
                    seconds: None,
                });
                guest = Some(here);
            }
            // A guest that hangs or is not well is not used again.
            Err(error) => table.add(Ended {
                name: test.name,
                outcome: Outcome::Failed(format!("{error:#}")),
                seconds: None,
            }),
        }
    }
    if let Some(guest) = guest {
        environment.check(&guest, table, "fsck");
        guest.shutdown()?;
    }
    Ok(())
}

/// The test in its environment, in an empty folder that is removed afterwards.
fn script(environment: &Environment, request: &Request, test: &Test) -> String {
    let filesystem = environment.filesystem();
    let limit = request.timeout.as_secs();
    let command = test.command.replace('\'', "'\\''");
    let scratch = device(1);
    format!(
        "mkdir -p {MOUNT}/ltp && cd {MOUNT}/ltp && \
         export LTPROOT={TREE} TMPDIR={MOUNT}/ltp PATH=$PATH:{TREE}/testcases/bin LTP_DEV={scratch} \
         LTP_DEV_FS_TYPE={filesystem} LTP_SINGLE_FS_TYPE={filesystem}; \
         timeout --kill-after=10 {limit} bash -c '{command}' 2>&1; status=$?; \
         cd / && rm -rf {MOUNT}/ltp; exit $status"
    )
}

/// The tests of a list: a name and a command in each line that is no comment.
fn parse(text: &str) -> Vec<Test> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(name, command)| Test {
            name: name.to_owned(),
            command: command.trim().to_owned(),
        })
        .collect()
}

fn judge(output: &Output) -> Outcome {
    match output.status {
        0 => Outcome::Passed,
        TCONF => {
            let text = output.text();
            let why = text.lines().find(|line| line.contains("TCONF"));
            let why = why.and_then(|line| line.split_once("TCONF"));
            let why = why.map_or("it does not say why", |(_, why)| why);
            Outcome::NotRun(why.trim_start_matches([':', ' ']).trim().to_owned())
        }
        status => Outcome::Failed(format!("status {status}\n{}", sys::tail(&output.stdout))),
    }
}

#[cfg(test)]
mod tests {
    use super::{judge, parse};
    use crate::guest::Output;
    use crate::suites::outcome::Outcome;

    #[test]
    fn a_list_has_comments_and_commands() {
        let tests = parse("#DESCRIPTION:x\n\ngf01 growfiles -W gf01 -d $TMPDIR\n#no a b\nb\tc d\n");
        let found: Vec<(&str, &str)> = tests
            .iter()
            .map(|test| (test.name.as_str(), test.command.as_str()))
            .collect();
        assert_eq!(
            found,
            [("gf01", "growfiles -W gf01 -d $TMPDIR"), ("b", "c d")]
        );
    }

    #[test]
    fn the_status_decides() {
        let output = |status, text: &str| Output {
            status,
            stdout: text.into(),
            stderr: Vec::new(),
        };
        assert_eq!(judge(&output(0, "")), Outcome::Passed);
        assert_eq!(
            judge(&output(32, "a\nx.c:12: TCONF: no quota here\n")),
            Outcome::NotRun("no quota here".into())
        );
        for status in [1, 2, 4, 33, 124, 137] {
            assert!(matches!(judge(&output(status, "")), Outcome::Failed(_)));
        }
    }
}
