// SPDX-License-Identifier: GPL-2.0-only
//! What the host itself must have: a few Debian or Ubuntu packages, installed
//! when they are missing; and how many guests it is given at a time. Touches
//! nothing of the host besides that.

use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::architecture::Architecture;
use crate::sys;

/// A program or file of the host, and the package that brings it.
struct Need {
    found: fn() -> bool,
    package: &'static str,
}

/// How many guests, each of which keeps a processor busy, are to run side by side: as many as
/// there are processors, or what `$VEXFS_GUESTS` says, for a machine that has other work.
pub fn guests_at_a_time() -> usize {
    std::env::var("VEXFS_GUESTS")
        .ok()
        .and_then(|number| number.parse().ok())
        .filter(|number| *number > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What preparing and running guests needs.
const NEEDS: &[Need] = &[
    Need {
        found: || sys::have("mmdebstrap"),
        package: "mmdebstrap",
    },
    Need {
        found: || sys::have("qemu-system-x86_64"),
        package: "qemu-system-x86",
    },
    Need {
        found: || sys::have("mke2fs"),
        package: "e2fsprogs",
    },
    Need {
        found: || sys::have("xz"),
        package: "xz-utils",
    },
    Need {
        found: || sys::have("python3"),
        package: "python3",
    },
    Need {
        found: || sys::have("nm"),
        package: "binutils",
    },
    Need {
        found: || sys::have("cc"),
        package: "gcc",
    },
    Need {
        found: || std::path::Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists(),
        package: "debian-archive-keyring",
    },
];

/// Installs the packages that are missing.
///
/// # Errors
/// The machine is not an x86-64 one with apt, or apt fails.
pub fn prepare() -> Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        bail!("guests are x86-64 so far, and this machine is not");
    }
    install_missing(NEEDS)
}

/// Installs what guests of an architecture need beside that.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_guests(architecture: &Architecture) -> Result<()> {
    match sys::have(architecture.qemu) {
        true => Ok(()),
        false => install(&[architecture.qemu_package]),
    }
}

/// Installs what running an architecture's programs needs.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_programs(architecture: &Architecture) -> Result<()> {
    match sys::have(architecture.qemu_user) {
        true => Ok(()),
        false => install(&["qemu-user"]),
    }
}

/// Installs what the static checks need when it is missing: shellcheck, rustfmt and
/// clippy.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_checks() -> Result<()> {
    let shellcheck = Need {
        found: || sys::have("shellcheck"),
        package: "shellcheck",
    };
    let rustfmt = Need {
        found: || answers("rustfmt"),
        package: "rustfmt",
    };
    let clippy = Need {
        found: || answers("cargo-clippy"),
        package: "rust-clippy",
    };
    // A toolchain of rustup's brings its own, though a minimal one leaves them out.
    if sys::have("rustup") {
        if !(rustfmt.found)() || !(clippy.found)() {
            sys::run(Command::new("rustup").args(["component", "add", "rustfmt", "clippy"]))?;
        }
        return install_missing(&[shellcheck]);
    }
    install_missing(&[shellcheck, rustfmt, clippy])
}

/// Whether a program is there and works: rustup has stand-ins for what is not.
fn answers(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn install_missing(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|need| !(need.found)())
        .map(|need| need.package)
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => install(&missing),
    }
}

fn install(missing: &[&str]) -> Result<()> {
    if !sys::have("apt-get") {
        bail!(
            "missing: {} (and there is no apt-get to install them with)",
            missing.join(", ")
        );
    }
    eprintln!("installing {}", missing.join(", "));
    let log = crate::project::cache()?.join("host-packages.log");
    let apt = || {
        let mut command = sys::as_root("env");
        command.args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "--quiet",
            "--yes",
        ]);
        command
    };
    sys::run_logged(apt().arg("update"), &log)?;
    sys::run_logged(
        apt()
            .args(["install", "--no-install-recommends"])
            .args(missing),
        &log,
    )
    .with_context(|| format!("cannot install {}", missing.join(", ")))
}
