// SPDX-License-Identifier: GPL-2.0-only
//! The userspace programs: built by cargo, put where people and guests find
//! them. They are linked statically, so that one build runs on this machine and
//! in every guest, whatever C library either has.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{cache, project, sys};

/// Binary of cargo, name that it is installed under.
const TOOLS: &[(&str, &str)] = &[
    ("mkfs-vexfs", "mkfs.vexfs"),
    ("fsck-vexfs", "fsck.vexfs"),
    ("vexctl", "vexctl"),
];

/// Builds the tools into `build/bin`; returns that folder.
///
/// # Errors
/// The build fails.
pub fn build() -> Result<PathBuf> {
    let packages: Vec<&str> = TOOLS.iter().map(|(binary, _)| *binary).collect();
    let products = cargo(&packages, &[])?;
    let folder = project::build_folder("bin")?;
    let _lock = cache::lock_file(&project::build()?.join("bin.lock"))?;
    for (binary, name) in TOOLS {
        install(&products.join(binary), &folder.join(name))?;
    }
    Ok(folder)
}

/// Builds the program that is process 1 of a guest; returns its path.
///
/// # Errors
/// The build fails.
pub fn build_agent() -> Result<PathBuf> {
    Ok(cargo(&["xtask"], &["--bin", "guest-agent"])?.join("guest-agent"))
}

/// Builds packages for this machine with everything linked in; returns the
/// folder of the binaries.
fn cargo(packages: &[&str], arguments: &[&str]) -> Result<PathBuf> {
    // With an explicit target the flags do not reach build scripts and
    // procedural macros, which cannot be static.
    let target = host_triple()?;
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default() + " -C target-feature=+crt-static";
    let mut command = Command::new(cargo_program());
    command
        .current_dir(project::root())
        .args(["build", "--release", "--quiet", "--target", &target])
        .args(arguments)
        .env("RUSTFLAGS", flags.trim());
    for package in packages {
        command.args(["--package", package]);
    }
    sys::run(&mut command)?;
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| project::root().join("target"), PathBuf::from);
    Ok(project::root().join(folder).join(target).join("release"))
}

/// The cargo that runs us, or the one in the path.
pub fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn host_triple() -> Result<String> {
    let text = sys::output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// Copies a binary without its debug information, replacing the old one even
/// while it runs.
fn install(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let new = to.with_extension("new");
    sys::run(Command::new("strip").arg("-o").arg(&new).arg(from))?;
    std::fs::rename(&new, to).with_context(|| format!("cannot replace {}", to.display()))
}
