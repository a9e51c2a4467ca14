// SPDX-License-Identifier: GPL-2.0-only
//! Runs lists of tests of the Linux Test Project (runtest/ of an installed tree),
//! with their temporary files on the filesystem under test.

use anyhow::{bail, Context, Result};

use super::environment::{device, output, Environment, MOUNT, TREE};
use super::outcome::{Ended, Outcome, Table};
use super::Request;
use crate::guest::{Guest, Output};
use crate::sys;

/// The disk of the mount, and one that tests make filesystems on themselves; sparse.
const DISKS: [u64; 2] = [8 << 30, 2 << 30];
/// What is run if nothing is asked for.
const DEFAULT: [&str; 3] = ["fs", "fs_perms_simple", FILE_CALLS];
/// Our word for those tests of the list `syscalls` that are about files and names: the tests
/// of the calls below.
const FILE_CALLS: &str = "file-syscalls";
/// Their names, as tests begin with them.
const CALLS: &[&str] = &[
    "access",
    "chdir",
    "chmod",
    "chown",
    "close",
    "copy_file_range",
    "creat",
    "dup",
    "faccessat",
    "fallocate",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fcntl",
    "fdatasync",
    "fgetxattr",
    "file_attr",
    "flistxattr",
    "flock",
    "fpathconf",
    "fremovexattr",
    "fsetxattr",
    "fstat",
    "fstatat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futimesat",
    "getcwd",
    "getdents",
    "getxattr",
    "inotify",
    "ioctl_fiemap",
    "lchown",
    "lgetxattr",
    "link",
    "linkat",
    "listxattr",
    "llistxattr",
    "llseek",
    "lremovexattr",
    "lseek",
    "lstat",
    "mkdir",
    "mkdirat",
    "mknod",
    "mknodat",
    "mmap",
    "msync",
    "name_to_handle_at",
    "nftw",
    "open",
    "open_by_handle_at",
    "openat",
    "pathconf",
    "posix_fadvise",
    "pread",
    "preadv",
    "pwrite",
    "pwritev",
    "read",
    "readahead",
    "readdir",
    "readlink",
    "readlinkat",
    "readv",
    "realpath",
    "removexattr",
    "rename",
    "renameat",
    "rmdir",
    "sendfile",
    "setxattr",
    "splice",
    "stat",
    "statfs",
    "statvfs",
    "statx",
    "symlink",
    "symlinkat",
    "sync",
    "sync_file_range",
    "syncfs",
    "tee",
    "truncate",
    "umask",
    "unlink",
    "unlinkat",
    "ustat",
    "utime",
    "utimensat",
    "utimes",
    "vmsplice",
    "write",
    "writev",
];
/// Bits of a test's exit status, from LTP's documentation: it cannot be run here.
const TCONF: i32 = 32;
/// The shell's status for a command that is not there: not every tree has every test.
const NOT_FOUND: i32 = 127;

/// A line of a list.
#[derive(Debug, PartialEq, Eq)]
struct Test {
    name: String,
    command: String,
}

/// Runs the lists that the request names; `list:test` is one test of a list, and
/// [`FILE_CALLS`] a part of one.
pub fn run(environment: &Environment, request: &Request, table: &mut Table) -> Result<()> {
    let tree = request.tree.as_deref().context("no tree")?;
    let words = match request.tests.as_slice() {
        [] => DEFAULT.map(str::to_owned).to_vec(),
        words => words.to_vec(),
    };
    let mut tests = Vec::new();
    for word in &words {
        let (list, only) = match word.split_once(':') {
            Some((list, only)) => (list, Some(only)),
            None if word == FILE_CALLS => ("syscalls", None),
            None => (word.as_str(), None),
        };
        let path = tree.join("runtest").join(list);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        tests.extend(
            parse(&text)
                .into_iter()
                .filter(|test| only.is_none_or(|only| test.name == only))
                .filter(|test| word != FILE_CALLS || is_about_files(&test.name)),
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
                let guest = environment.guest(0, &DISKS)?;
                environment.mount(&guest)?;
                guest
            }
        };
        match output(
            &here,
            &script(environment, &here, request, &test),
            request.timeout,
        ) {
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
fn script(environment: &Environment, guest: &Guest, request: &Request, test: &Test) -> String {
    let filesystem = environment.filesystem();
    let limit = request.timeout.as_secs();
    let command = test.command.replace('\'', "'\\''");
    let scratch = device(guest, 1);
    format!(
        "mkdir -p {MOUNT}/ltp && cd {MOUNT}/ltp && \
         export LTPROOT={TREE} TMPDIR={MOUNT}/ltp PATH=$PATH:{TREE}/testcases/bin LTP_DEV={scratch} \
         LTP_DEV_FS_TYPE={filesystem} LTP_SINGLE_FS_TYPE={filesystem}; \
         timeout --kill-after=10 {limit} bash -c '{command}' 2>&1; status=$?; \
         cd / && rm -rf {MOUNT}/ltp; exit $status"
    )
}

/// Whether a test, such as `fcntl07_64` or `renameat201`, is one of [`CALLS`].
fn is_about_files(name: &str) -> bool {
    CALLS.iter().any(|call| {
        name.strip_prefix(call)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
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
        NOT_FOUND if output.text().contains("command not found") => {
            Outcome::NotRun("the tree does not have its program".to_owned())
        }
        status => Outcome::Failed(format!("status {status}\n{}", sys::tail(&output.stdout))),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_about_files, judge, parse};
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
    fn tests_of_calls_are_found_by_name() {
        for name in ["fcntl07_64", "renameat201", "open14", "ioctl_fiemap01"] {
            assert!(is_about_files(name), "{name}");
        }
        for name in ["open_tree01", "openpty", "readv", "abort01", "fork14"] {
            assert!(!is_about_files(name), "{name}");
        }
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
        assert!(matches!(
            judge(&output(127, "bash: line 1: open01: command not found\n")),
            Outcome::NotRun(_)
        ));
        for status in [1, 2, 4, 33, 124, 127, 137] {
            assert!(matches!(judge(&output(status, "")), Outcome::Failed(_)));
        }
    }
}
