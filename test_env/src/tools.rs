// SPDX-License-Identifier: GPL-2.0-only
//! The userspace programs: built by cargo, put where people and guests find
//! them. They are linked statically, so that one build runs on this machine and
//! in every guest, whatever C library either has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::kernel::Kernel;
use crate::{cache, cross, project, sys};

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

/// Builds the tools for guests with this kernel; returns their folder, which is `build/bin`
/// for those of this machine's architecture.
///
/// # Errors
/// The build fails.
pub fn build_for(kernel: &Kernel) -> Result<PathBuf> {
    let architecture = kernel.architecture();
    if !architecture.is_foreign() {
        return build();
    }
    let packages: Vec<&str> = TOOLS.iter().map(|(binary, _)| *binary).collect();
    let products = cross::cargo(kernel, &packages, &[])?;
    let folder = project::build_folder(&format!("{}/bin", architecture.debian))?;
    for (binary, name) in TOOLS {
        let new = folder.join(name).with_extension("new");
        std::fs::copy(products.join(binary), &new)?;
        replace(&new, &folder.join(name))?;
    }
    Ok(folder)
}

/// Builds the program that is process 1 of a guest, for guests with this kernel or for
/// this machine; returns its path.
///
/// # Errors
/// The build fails.
pub fn build_agent(kernel: Option<&Kernel>) -> Result<PathBuf> {
    const ONLY: &[&str] = &["--bin", "guest-agent"];
    let folder = match kernel.filter(|kernel| kernel.architecture().is_foreign()) {
        Some(kernel) => cross::cargo(kernel, &["xtask"], ONLY)?,
        None => cargo(&["xtask"], ONLY)?,
    };
    Ok(folder.join("guest-agent"))
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
    Ok(target_folder().join(target).join("release"))
}

/// Where cargo builds.
pub(crate) fn target_folder() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| project::root().join("target"), PathBuf::from);
    project::root().join(folder)
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
fn install(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    sys::run(Command::new("strip").arg("-o").arg(&new).arg(from))?;
    replace(&new, to)
}

fn replace(new: &Path, to: &Path) -> Result<()> {
    std::fs::rename(new, to).with_context(|| format!("cannot replace {}", to.display()))
}
