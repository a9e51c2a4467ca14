// SPDX-License-Identifier: GPL-2.0-only
//! Runs xfstests' `check` in guests: one for as long as it lives, another one for
//! what is left when a test took it down. `check_output` reads the results.

use std::collections::HashSet;

use anyhow::{bail, Result};

use super::check_output::{self, CheckOutput};
use super::environment::{device, diagnose, Environment, MOUNT, TREE};
use super::outcome::{Ended, Outcome, Table};
use super::Request;
use crate::guest::Guest;

/// Test, scratch and log device, sparse. Some tests want 10 GB of scratch space.
const DISKS: [u64; 3] = [8 << 30, 12 << 30, 4 << 30];
/// Where `check` puts its results.
const RESULTS: &str = "/var/results";

/// Runs the tests that `check` makes of the request's words.
pub fn run(environment: &Environment, request: &Request, table: &mut Table) -> Result<()> {
    let words = if request.tests.is_empty() {
        vec!["-g".to_owned(), "quick".to_owned()]
    } else {
        request.tests.clone()
    };
    let mut guest = boot(environment)?;
    let mut left = list(environment, &guest, &words)?;
    println!("{} tests", left.len());
    loop {
        let ended = pass(environment, request, table, &guest, &left)?;
        left.retain(|name| !ended.contains(name));
        if left.is_empty() {
            return Ok(());
        }
        drop(guest);
        guest = boot(environment)?;
    }
}

fn boot(environment: &Environment) -> Result<Guest> {
    let guest = environment.guest(&DISKS)?;
    let filesystem = environment.filesystem();
    let options = environment.mkfs_options();
    guest.run(&format!(
        "mkfs.{filesystem} {options} {} && modprobe -a loop dm-mod dm-flakey dm-log-writes dm-snapshot",
        device(0)
    ))?;
    Ok(guest)
}

/// `check` with these arguments, in its environment. No udev runs in a guest, so the
/// device mapper's tools have to make device nodes themselves.
fn check(environment: &Environment, arguments: &str) -> String {
    let filesystem = environment.filesystem();
    let options = environment.mkfs_options();
    let [test, scratch, log] = [0, 1, 2].map(device);
    format!(
        "cd {TREE} && exec env DM_DISABLE_UDEV=1 FSTYP={filesystem} TEST_DEV={test} TEST_DIR={MOUNT} \
         SCRATCH_DEV={scratch} SCRATCH_MNT=/mnt/scratch LOGWRITES_DEV={log} \
         RESULT_BASE={RESULTS} MKFS_OPTIONS='{options}' FSCK_OPTIONS=-n DIFF_LENGTH=40 \
         ./check {arguments} 2>&1"
    )
}

/// The names of the tests that `check` would run.
fn list(environment: &Environment, guest: &Guest, words: &[String]) -> Result<Vec<String>> {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let output = guest.output(&check(environment, &format!("-n {}", words.join(" "))))?;
    let names = check_output::listed(&output.text());
    if names.is_empty() {
        bail!("check lists no test:\n{}{}", output.text(), output.errors());
    }
    Ok(names)
}

/// Runs tests in a guest until all have ended or the guest can not go on. Returns
/// those that ended; at least one does.
fn pass(
    environment: &Environment,
    request: &Request,
    table: &mut Table,
    guest: &Guest,
    tests: &[String],
) -> Result<HashSet<String>> {
    let mut output = CheckOutput::default();
    let mut all = HashSet::new();
    let mut running = guest.spawn(&check(environment, &tests.join(" ")))?;
    let mut take = |output: &mut CheckOutput| -> Result<()> {
        for mut test in output.take_ended() {
            keep(environment, guest, &mut test);
            all.insert(test.name.clone());
            table.add(test);
        }
        Ok(())
    };
    loop {
        match guest.wait_output(&mut running, request.timeout) {
            Ok(true) => {
                output.push(&running.take_stdout());
                take(&mut output)?;
            }
            Ok(false) => {
                output.finish();
                take(&mut output)?;
                break;
            }
            Err(error) => {
                output.push(&running.take_stdout());
                let culprit = output.finish();
                take(&mut output)?;
                if let Some(name) = culprit {
                    let why = format!("{error:#}\n{}", diagnose(guest));
                    all.insert(name.clone());
                    table.add(Ended {
                        name,
                        outcome: Outcome::Failed(why),
                        seconds: None,
                    });
                } else if all.is_empty() {
                    return Err(error);
                }
                break;
            }
        }
    }
    if all.is_empty() {
        bail!("check ran no test:\n{}", output.other());
    }
    Ok(all)
}

/// Keeps what a failed test left behind, and says where.
fn keep(environment: &Environment, guest: &Guest, test: &mut Ended) {
    let Outcome::Failed(why) = &mut test.outcome else {
        return;
    };
    for kind in ["out.bad", "full", "dmesg"] {
        let file = format!("{}.{kind}", test.name);
        let kept = environment.keep(
            guest,
            &format!("{RESULTS}/{file}"),
            &format!("xfstests/{file}"),
        );
        match kept {
            Ok(Some(path)) => why.push_str(&format!("\nkept: {}", path.display())),
            Ok(None) => {}
            // The guest is about to be found dead.
            Err(_) => return,
        }
    }
}

/// A word for the shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
