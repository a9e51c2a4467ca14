// SPDX-License-Identifier: GPL-2.0-only
//! Load with verification: stress-ng's filesystem stressors and fio, which the
//! guest has from Debian, and fsx and fsstress out of a given xfstests tree.

use std::time::Duration;

use anyhow::{ensure, Result};

use super::environment::{diagnose, output, Environment, MOUNT, TREE};
use super::outcome::{Ended, Outcome, Table};
use super::Request;
use crate::guest::{Guest, Output};
use crate::sys;

/// The disk, sparse.
const DISK: u64 = 8 << 30;
/// Operations of each stressor: it is done when it has done so many ...
const OPERATIONS: u32 = 200;
/// ... or after so many seconds, as some do one operation in a minute.
const SECONDS: u32 = 20;

/// fio's jobs, each written, then read and verified: name and what is special.
const FIO: &[(&str, &str)] = &[
    ("buffered", "--rw=randwrite --bs=4k --ioengine=psync"),
    ("unaligned", "--rw=randwrite --bsrange=512-96k --bs_unaligned --ioengine=psync"),
    ("direct", "--rw=randwrite --bsrange=4k-128k --direct=1 --ioengine=libaio --iodepth=16"),
    ("mapped", "--rw=randwrite --bs=4k --ioengine=mmap"),
    ("unwritten", "--rw=randwrite --bsrange=4k-64k --fallocate=posix --ioengine=psync --fsync=64"),
    ("sparse", "--rw=randwrite --bs=8k --fallocate=none --ioengine=psync --norandommap"),
    ("appended", "--rw=write --bsrange=1-32k --bs_unaligned --fallocate=none --ioengine=psync --file_append=1"),
    ("many_files", "--rw=randwrite --bs=4k --nrfiles=200 --ioengine=psync --openfiles=20"),
];

/// fsx: random operations on one file, compared with a model in memory.
const FSX: &[(&str, &str)] = &[
    ("fsx.buffered", "-q -N 20000 -l 500000"),
    ("fsx.no_mmap", "-q -N 20000 -R -W -l 300000"),
    (
        "fsx.direct",
        "-q -N 5000 -l 500000 -r 4096 -t 4096 -w 4096 -Z -R -W",
    ),
    (
        "fsx.aio",
        "-q -N 5000 -l 500000 -r 4096 -t 4096 -w 4096 -Z -R -W -A",
    ),
    ("fsx.large", "-q -N 5000 -l 8000000 -o 256000"),
];

/// fsstress: many processes, random operations in a tree; fsck judges.
const FSSTRESS: &[(&str, &str)] = &[
    ("fsstress.four", "-n 2000 -p 4 -s 1"),
    (
        "fsstress.sync",
        "-n 500 -p 4 -s 2 -f fsync=20 -f fdatasync=20",
    ),
];

/// Runs the tests whose name contains one of the request's words, or all.
pub fn run(environment: &Environment, request: &Request, table: &mut Table) -> Result<()> {
    let mut guest = boot(environment)?;
    let mut work = Vec::new();
    for (name, options) in FIO {
        work.push((
            format!("fio.{name}"),
            format!(
                "fio --name={name} --directory=. --size=48m --numjobs=2 --verify=crc32c \
                 --verify_fatal=1 --do_verify=1 --randseed=7 {options}"
            ),
        ));
    }
    if request.tree.is_some() {
        for (name, options) in FSX {
            work.push(((*name).into(), format!("{TREE}/ltp/fsx {options} file")));
        }
        for (name, options) in FSSTRESS {
            work.push((
                (*name).into(),
                format!("{TREE}/ltp/fsstress -d . {options}"),
            ));
        }
    }
    let stressors = stressors(&guest.output("stress-ng --class 'filesystem?' 2>&1")?.text());
    ensure!(!stressors.is_empty(), "stress-ng names no stressors");
    for name in stressors {
        let command = format!(
            "stress-ng --{name} 2 --{name}-ops {OPERATIONS} --timeout {SECONDS} --verify \
             --temp-path . --oom-avoid"
        );
        work.push((format!("stress_ng.{name}"), command));
    }
    let wanted = |name: &String| {
        request.tests.is_empty() || request.tests.iter().any(|word| name.contains(word))
    };
    for (name, command) in work.into_iter().filter(|(name, _)| wanted(name)) {
        let result = one(&guest, &command, request.timeout);
        let is_dead = result.is_err();
        table.add(Ended {
            outcome: match result {
                Ok(output) => judge(&name, &output),
                Err(error) => Outcome::Failed(format!("{error:#}\n{}", diagnose(&guest))),
            },
            name,
            seconds: None,
        });
        if is_dead {
            drop(guest);
            guest = boot(environment)?;
        }
    }
    environment.check(&guest, table, "fsck");
    guest.shutdown()
}

fn boot(environment: &Environment) -> Result<Guest> {
    let guest = environment.guest(0, &[DISK])?;
    environment.mount(&guest)?;
    Ok(guest)
}

/// Runs a command in an empty folder, which is removed afterwards.
fn one(guest: &Guest, command: &str, timeout: Duration) -> Result<Output> {
    let limit = timeout.as_secs();
    let script = format!(
        "mkdir {MOUNT}/work && cd {MOUNT}/work && timeout --kill-after=10 {limit} {command} 2>&1; \
         status=$?; cd / && rm -rf {MOUNT}/work || status=1; exit $status"
    );
    // The guest ends the command by itself; it hangs if that does not help.
    output(guest, &script, timeout + Duration::from_secs(300))
}

/// The names that follow the colon.
fn stressors(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_once("stressors:"))
        .flat_map(|(_, names)| names.split_whitespace())
        .map(str::to_owned)
        .collect()
}

/// stress-ng(1), "EXIT STATUS": 3 is a lack of resources, 4 what is not implemented.
fn judge(name: &str, output: &Output) -> Outcome {
    match output.status {
        0 => Outcome::Passed,
        status @ (3 | 4) if name.starts_with("stress_ng.") => Outcome::NotRun(
            if status == 3 {
                "stress-ng lacks resources for it here"
            } else {
                "stress-ng does not have it here"
            }
            .to_owned(),
        ),
        status => Outcome::Failed(format!("status {status}\n{}", sys::tail(&output.stdout))),
    }
}

#[cfg(test)]
mod tests {
    use super::{judge, stressors};
    use crate::guest::Output;
    use crate::suites::outcome::Outcome;

    #[test]
    fn the_names_of_a_class_are_read() {
        let text = "class 'filesystem' stressors: access acl bind-mount\n";
        assert_eq!(stressors(text), ["access", "acl", "bind-mount"]);
        assert!(stressors("stress-ng: error\n").is_empty());
    }

    #[test]
    fn the_status_decides() {
        let output = |status| Output {
            status,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        assert_eq!(judge("stress_ng.dir", &output(0)), Outcome::Passed);
        assert!(matches!(
            judge("stress_ng.dir", &output(4)),
            Outcome::NotRun(_)
        ));
        assert!(matches!(
            judge("stress_ng.dir", &output(2)),
            Outcome::Failed(_)
        ));
        assert!(matches!(
            judge("fio.direct", &output(4)),
            Outcome::Failed(_)
        ));
    }
}
