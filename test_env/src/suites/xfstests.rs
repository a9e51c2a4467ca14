// SPDX-License-Identifier: GPL-2.0-only
//! Runs xfstests' `check` in guests side by side: each for as long as it lives, another one
//! for what is left when a test took it down. `check_output` reads the results.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use anyhow::{bail, Result};

use super::check_output::{self, CheckOutput};
use super::environment::{device, diagnose, Environment, MOUNT, TREE};
use super::outcome::{Ended, Outcome, Table};
use super::Request;
use crate::guest::Guest;

/// Test, scratch and log device, sparse. Some tests want 10 GB of scratch space.
const DISKS: [u64; 3] = [8 << 30, 12 << 30, 4 << 30];
/// In the guest's copy of the tree: VexFS among the filesystems whose mkfs takes a number
/// of 4 KiB blocks after the device. xfstests asks by name, and what it does not know it
/// does not run: above all, the tests of full filesystems.
const KNOW_SIZES: &str = "\
sed -i '/^_try_scratch_mkfs_sized()/,/^}/ s/^\tjfs)$/\tjfs|vexfs)/' common/rc && \
[ $(grep -c '^\tjfs|vexfs)$' common/rc) = 2 ]";
/// Where `check` puts its results.
const RESULTS: &str = "/var/results";

/// Tests that a guest takes at once: enough for what `check` does once to weigh little.
const BATCH: usize = 24;

/// Runs the tests that `check` makes of the request's words, in as many guests side by side
/// as the request says.
pub fn run(environment: &Environment, request: &Request, table: &mut Table) -> Result<()> {
    let words = if request.tests.is_empty() {
        vec!["-g".to_owned(), "quick".to_owned()]
    } else {
        request.tests.clone()
    };
    let guest = boot(environment, 0)?;
    let left = list(environment, &guest, &words)?;
    println!("{} tests", left.len());
    // Those that will fail come last, each alone: see `take`.
    let (doubtful, mut left): (Vec<_>, Vec<_>) =
        left.into_iter().partition(|name| table.expects(name));
    left.extend(doubtful);
    let work = Work {
        environment,
        request,
        left: Mutex::new(left.into()),
        table: Mutex::new(table),
    };
    let mut first = Some(guest);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..request.guests.max(1))
            .map(|number| {
                let (work, guest) = (&work, first.take());
                scope.spawn(move || work.perform(number, guest))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let result = worker.join();
            result.unwrap_or_else(|_| bail!("a worker panicked"))
        })
    })
}

/// What the guests share.
struct Work<'a> {
    environment: &'a Environment,
    request: &'a Request,
    /// Tests that no guest has taken yet.
    left: Mutex<VecDeque<String>>,
    table: Mutex<&'a mut Table>,
}

impl Work<'_> {
    /// Runs tests in the guest of this number, and in others after it when a test took it
    /// down, until none are left.
    fn perform(&self, number: usize, mut guest: Option<Guest>) -> Result<()> {
        loop {
            let mut batch = self.take();
            if batch.is_empty() {
                return Ok(());
            }
            while !batch.is_empty() {
                let here = match guest.take() {
                    Some(guest) => guest,
                    None => boot(self.environment, number)?,
                };
                let (ended, is_well) = self.pass(&here, &batch)?;
                batch.retain(|name| !ended.contains(name));
                if is_well {
                    guest = Some(here);
                }
            }
        }
    }

    /// The next tests for a guest. One that is expected to fail is taken alone, for what a failed test leaves on its device
    /// makes others fail, and the guest is not used again.
    fn take(&self) -> Vec<String> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let sound = left.iter().take(BATCH);
        let sound = sound.take_while(|name| !table.expects(name)).count();
        let count = sound.max(1).min(left.len());
        left.drain(..count).collect()
    }

    fn add(&self, test: Ended) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.add(test);
    }

    /// Runs tests in a guest until all have ended or the guest can not go on. Returns
    /// those that ended, at least one, and whether the guest is well: it lives, and no test failed.
    fn pass(&self, guest: &Guest, tests: &[String]) -> Result<(HashSet<String>, bool)> {
        let mut output = CheckOutput::default();
        let mut all = HashSet::new();
        let mut is_well = true;
        let mut running = guest.spawn(&check(self.environment, guest, &tests.join(" ")))?;
        let mut take = |output: &mut CheckOutput| {
            for mut test in output.take_ended() {
                keep(self.environment, guest, &mut test);
                is_well &= !matches!(test.outcome, Outcome::Failed(_));
                all.insert(test.name.clone());
                self.add(test);
            }
        };
        let failure = loop {
            match guest.wait_output(&mut running, self.request.timeout) {
                Ok(true) => {
                    output.push(&running.take_stdout());
                    take(&mut output);
                }
                Ok(false) => break None,
                Err(error) => {
                    output.push(&running.take_stdout());
                    break Some(error);
                }
            }
        };
        let culprit = output.finish();
        take(&mut output);
        match (&failure, culprit) {
            (Some(error), Some(name)) => {
                let why = format!("{error:#}\n{}", diagnose(guest));
                all.insert(name.clone());
                self.add(Ended {
                    name,
                    outcome: Outcome::Failed(why),
                    seconds: None,
                });
            }
            _ if !all.is_empty() => {}
            (Some(error), None) => bail!("{error:#}"),
            (None, _) => bail!("check ran no test:\n{}", output.other()),
        }
        Ok((all, is_well && failure.is_none()))
    }
}

fn boot(environment: &Environment, number: usize) -> Result<Guest> {
    let guest = environment.guest(number, &DISKS)?;
    let filesystem = environment.filesystem();
    let options = environment.mkfs_options();
    // User Mode Linux has these built in.
    guest.run(&format!(
        "mkfs.{filesystem} {options} {} && {{ [ ! -d /lib/modules/$(uname -r) ] || \
         modprobe -a loop dm-mod dm-flakey dm-log-writes dm-snapshot; }}",
        device(&guest, 0)
    ))?;
    if filesystem == "vexfs" {
        guest.run(&format!("cd {TREE} && {KNOW_SIZES}"))?;
    }
    Ok(guest)
}

/// `check` with these arguments, in its environment. No udev runs in a guest, so the
/// device mapper's tools have to make device nodes themselves.
fn check(environment: &Environment, guest: &Guest, arguments: &str) -> String {
    let filesystem = environment.filesystem();
    let options = environment.mkfs_options();
    let [test, scratch, log] = [0, 1, 2].map(|index| device(guest, index));
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
    let output = guest.output(&check(
        environment,
        guest,
        &format!("-n {}", words.join(" ")),
    ))?;
    let names = check_output::listed(&output.text());
    if names.is_empty() {
        bail!("check lists no test:\n{}{}", output.text(), output.errors());
    }
    Ok(names)
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
