// SPDX-License-Identifier: GPL-2.0-only
//! Static checks: format, lints of userspace and kernel code, shell scripts.
//! Changes nothing.

use std::process::Command;

use anyhow::Result;

use crate::apt::Apt;
use crate::kernel::Kernel;
use crate::{host, module, project, sys, tools};

/// A check and its name.
type Check = (&'static str, fn() -> Result<()>);

/// Runs every check and says how each went; false if one failed.
///
/// # Errors
/// A check cannot be prepared.
pub fn all() -> Result<bool> {
    host::prepare()?;
    host::prepare_checks()?;
    let checks: [Check; 5] = [
        ("rustfmt, workspace", || cargo(&["fmt", "--all", "--check"])),
        ("rustfmt, kernel module", kernel_format),
        ("clippy, workspace", || {
            cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ])
        }),
        ("clippy, kernel module", || {
            module::clippy(&Kernel::prepare(&Apt::open(false)?)?)
        }),
        ("shellcheck", shellcheck),
    ];
    let mut good = true;
    for (name, check) in checks {
        match check() {
            Ok(()) => println!("check {name} ... ok"),
            Err(error) => {
                println!("check {name} ... FAILED\n{error:#}");
                good = false;
            }
        }
    }
    Ok(good)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    sys::run(
        Command::new(tools::cargo_program())
            .current_dir(project::root())
            .args(arguments),
    )
}

/// The module's crate root names all its files.
fn kernel_format() -> Result<()> {
    sys::run(Command::new("rustfmt").current_dir(project::root()).args([
        "--check",
        "--edition",
        "2021",
        "fs/vexfs.rs",
        "fs/compat/kernel/lib.rs",
    ]))
}

/// Every file under version control that starts as a shell script does.
fn shellcheck() -> Result<()> {
    let listed = sys::output(
        Command::new("git")
            .current_dir(project::root())
            .args(["ls-files", "-z"]),
    )?;
    let scripts: Vec<&str> = listed
        .split('\0')
        .filter(|name| !name.is_empty())
        .filter(|name| {
            let start = std::fs::read(project::root().join(name)).unwrap_or_default();
            let line = start
                .split(|byte| *byte == b'\n')
                .next()
                .unwrap_or_default();
            line.starts_with(b"#!") && line.ends_with(b"sh")
        })
        .collect();
    if scripts.is_empty() {
        return Ok(());
    }
    sys::run(
        Command::new("shellcheck")
            .current_dir(project::root())
            .args(scripts),
    )
}
