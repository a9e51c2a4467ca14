// SPDX-License-Identifier: GPL-2.0-only
//! Guests that are User Mode Linux: what the kernel is told about its disks, its
//! console and the agent's port. Knows nothing of what runs inside.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{bail, Context, Result};

use super::{machine, Config, Disk, Place, Setup};
use crate::uml::{Flavour, Uml};

/// Starts the kernel. The agent's port is its first serial line, which is one end of a
/// socket that it inherits as standard input.
///
/// # Errors
/// It cannot be started, or a disk is of a kind that it cannot have.
pub(super) fn start(
    setup: &Setup,
    kernel: &Uml,
    config: &Config,
    place: &Place<'_>,
) -> Result<(Child, UnixStream)> {
    if config.terminal {
        bail!("a guest of User Mode Linux has no terminal");
    }
    let (ours, theirs) = UnixStream::pair()?;
    let shared = setup.shared()?;
    // The root is an overlay over its image, made in the guest's own folder. What several
    // guests read at once is not locked (`c`): QEMU would refuse an image that another locks.
    let overlay = place.folder.join("root.cow");
    let mut folders = vec![place.folder];
    let mut disks = vec![format!(
        "ubd0c={},{}",
        overlay.display(),
        setup.root_image.display()
    )];
    let mut files = vec![setup.root_image.as_path(), &setup.initramfs, &shared];
    for (disk, number) in config.disks.iter().zip(1..) {
        let (path, flags) = match disk {
            // No discards: the driver takes them 32 KiB at a time, so that one mkfs would
            // keep the debug kernel busy for minutes.
            Disk::File(path) => (path, "t"),
            Disk::ReadOnly(path) => (path, "rc"),
            Disk::Volatile(_) => bail!("a guest of User Mode Linux has no volatile disks"),
        };
        disks.push(format!("ubd{number}{flags}={}", path.display()));
        files.push(path);
    }
    let last = disks.len();
    disks.push(format!("ubd{last}rc={}", shared.display()));
    for file in files {
        let folder = file.parent().context("a file without a folder")?;
        if !folders.iter().any(|known| folder.starts_with(known)) {
            folders.push(folder);
        }
    }
    let mut command = kernel.boot(&folders);
    command
        .arg(format!("mem={}M", config.memory))
        .arg(format!("initrd={}", setup.initramfs.display()))
        .arg(format!("uml_dir={}/", place.folder.display()))
        .args(&disks)
        .args(["con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:0"])
        .args(["quiet", "printk.time=1", "panic=-1"])
        .args(parameters(kernel.flavour()))
        // Words that the kernel does not know become the agent's environment.
        .args(["AGENT_PORT=/dev/ttyS0", "AGENT_ROOT=/dev/ubda"])
        .arg(format!("AGENT_HOST={}", device(last)))
        .args(config.parameters.split_whitespace())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(append(place.console)?)
        .stderr(append(place.errors)?);
    let child = machine::spawn(command).context("cannot start User Mode Linux")?;
    Ok((child, ours))
}

/// What a kernel is told beside the usual.
fn parameters(flavour: Flavour) -> &'static [&'static str] {
    match flavour {
        // The allocator links its free objects by pointers that stay in them when they are
        // given out: one stale reference to a lost object would hide all that were lost after it
        // from kmemleak.
        // The guest's clock is this machine's: where others take its processors, a minute goes
        // by in which the guest did nothing, which is no stall.
        Flavour::Debug => &["init_on_alloc=1", "rcupdate.rcu_cpu_stall_timeout=300"],
        _ => &[],
    }
}

/// What the kernel calls the disk of a number.
fn device(number: usize) -> String {
    let letter = u8::try_from(number).map_or('z', |number| char::from(b'a'.saturating_add(number)));
    format!("/dev/ubd{letter}")
}

fn append(path: &Path) -> Result<File> {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))
}
