// SPDX-License-Identifier: GPL-2.0-only
//! Running other programs: errors that show what went wrong, root where it is
//! needed. Decides nothing about what is run.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

/// Lines of a log shown when a command fails.
const LOG_TAIL_LINES: usize = 40;

/// Whether this process is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command that runs as root: directly, or through sudo.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("sudo");
        command.arg("--").arg(program);
        command
    }
}

/// Whether `program` is in the search path (or in the sbin folders, which an
/// ordinary user's path may lack).
pub fn have(program: &str) -> bool {
    find(program).is_some()
}

/// The full path of `program`.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs a command whose output belongs on our own.
///
/// # Errors
/// The command could not be started or did not end with status 0.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}`: {status}");
    }
    Ok(())
}

/// Runs a command with its output in the file `log`, shown only if it fails.
///
/// # Errors
/// The command could not be started or did not end with status 0; the error
/// carries the end of the log.
pub fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = show(command);
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        let bytes = std::fs::read(log).unwrap_or_default();
        bail!(
            "`{shown}`: {status}; see {}:\n{}",
            log.display(),
            tail(&bytes)
        );
    }
    Ok(())
}

/// Runs a command and returns its standard output.
///
/// # Errors
/// The command could not be started, did not end with status 0 (the error
/// carries its standard error), or wrote something that is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}`: {}\n{}", output.status, tail(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{shown}`: output is not UTF-8"))
}

/// Runs a command on our own terminal and returns its standard output.
///
/// # Errors
/// As [`output`].
pub fn output_of_terminal(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("`{program}`: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The last lines of a log, as text.
pub fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines.get(start..).unwrap_or_default().join("\n")
}

/// A command as a person would type it.
fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    for argument in command.get_args() {
        let argument = argument.to_string_lossy();
        // A script as an argument would bury what failed.
        match argument.split_once('\n') {
            Some((first, _)) => words.push(format!("{first} ...")),
            None => words.push(argument.into_owned()),
        }
    }
    words.join(" ")
}
