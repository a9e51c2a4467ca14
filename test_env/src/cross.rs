// SPDX-License-Identifier: GPL-2.0-only
//! The userspace programs for an architecture that is not this machine's: built by the
//! cargo of Debian's build root, with its cross-compiler and Rust's standard library of
//! that architecture, from crates that the cargo here has fetched. Knows no program by
//! name, and runs none.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::kernel::Kernel;
use crate::{cache, project, sys, tools};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "crates 1";

/// Variables and arguments of cargo that make it build for an architecture.
struct Cargo {
    command: Command,
    products: PathBuf,
}

/// Builds packages for what `kernel` runs on, with everything linked in; returns the
/// folder of the binaries, which have no debug information.
///
/// # Errors
/// The crates cannot be fetched, or the build fails.
pub fn cargo(kernel: &Kernel, packages: &[&str], arguments: &[&str]) -> Result<PathBuf> {
    let mut cargo = Cargo::new(kernel, "build")?;
    cargo.command.args(arguments);
    for package in packages {
        cargo.command.args(["--package", package]);
    }
    sys::run(&mut cargo.command)?;
    Ok(cargo.products)
}

/// Builds the tests of a package for what `kernel` runs on; returns the programs.
///
/// # Errors
/// As [`cargo`].
pub fn tests(kernel: &Kernel, package: &str) -> Result<Vec<PathBuf>> {
    let mut cargo = Cargo::new(kernel, "test")?;
    cargo
        .command
        .args(["--no-run", "--message-format=json", "--package", package]);
    executables(&sys::output(&mut cargo.command)?)
}

/// The programs that cargo's messages name.
fn executables(messages: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("a message of cargo's")?;
        if let Some(path) = message.get("executable").and_then(Value::as_str) {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

impl Cargo {
    fn new(kernel: &Kernel, subcommand: &str) -> Result<Self> {
        let architecture = kernel.architecture();
        let crates = crates()?;
        let project = project::root();
        // Another compiler's products, apart from those of the cargo here.
        let target = tools::target_folder().join(architecture.debian);
        std::fs::create_dir_all(&target)?;
        let target = target.canonicalize()?;
        let variable = architecture.rust.to_uppercase().replace('-', "_");
        let mut command = kernel
            .root()?
            .command_as_user(&[&project, &crates, &target], "env");
        command
            .arg(format!("--chdir={}", project.display()))
            .arg(format!("CARGO_TARGET_DIR={}", target.display()))
            .arg(format!("CARGO_HOME={}", target.join("home").display()))
            .arg(format!(
                "CARGO_TARGET_{variable}_LINKER={}",
                kernel.cross_compiler()?
            ))
            .arg("CARGO_PROFILE_RELEASE_STRIP=symbols")
            .arg("RUSTFLAGS=-C target-feature=+crt-static")
            .args(["cargo", subcommand, "--release", "--quiet", "--locked"])
            .args(["--offline", "--target", architecture.rust])
            .args(["--config", "source.crates-io.replace-with='fetched'"])
            .arg("--config")
            .arg(format!(
                "source.fetched.directory='{}'",
                crates.join("vendor").display()
            ));
        Ok(Self {
            command,
            products: target.join(architecture.rust).join("release"),
        })
    }
}

/// The sources of all crates that Cargo.lock names.
fn crates() -> Result<PathBuf> {
    let manifest = project::root().join("Cargo.toml");
    let lock = std::fs::read_to_string(manifest.with_file_name("Cargo.lock"))?;
    // A crate of our own that comes or goes changes the lock, too.
    cache::entry("crates", &[RECIPE.to_owned(), lock], |folder| {
        sys::run_logged(&mut vendor(&manifest, folder), &folder.join("log"))
    })
}

fn vendor(manifest: &Path, folder: &Path) -> Command {
    let mut command = Command::new(tools::cargo_program());
    command
        .args(["vendor", "--locked", "--versioned-dirs", "--manifest-path"])
        .arg(manifest)
        .arg(folder.join("vendor"));
    command
}

#[cfg(test)]
mod tests {
    use super::executables;

    #[test]
    fn programs_are_taken_from_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"executable\":\"/target/topk-1\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        let found = executables(messages).expect("messages");
        assert_eq!(found, [std::path::Path::new("/target/topk-1")]);
        assert!(executables("error: no\n").is_err());
    }
}
