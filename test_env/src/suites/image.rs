// SPDX-License-Identifier: GPL-2.0-only
//! What the guests of the suites boot from: a Debian root with the programs that
//! the suites call and the users that they expect. Contains no suite.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::chroot::Root;
use crate::kernel::Kernel;
use crate::{cache, rootfs, sys};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "suites root 1";

/// What xfstests' scripts, pjdfstest and LTP call or are linked with, and the suites
/// that are Debian packages themselves.
const PACKAGES: &[&str] = &[
    "acl",
    "attr",
    "bc",
    "bzip2",
    "coreutils",
    "dbench",
    "diffutils",
    "dmsetup",
    "e2fsprogs",
    "ed",
    "file",
    "findutils",
    "fio",
    "gawk",
    "grep",
    "hostname",
    "iproute2",
    "keyutils",
    "kmod",
    "libacl1",
    "libaio1t64",
    "libcap2-bin",
    "libgdbm6t64",
    "libgdbm-compat4t64",
    "liburing2",
    "lvm2",
    "mount",
    "perl",
    "procps",
    "psmisc",
    "python3",
    "quota",
    "rsync",
    "sed",
    "strace",
    "stress-ng",
    "tar",
    "util-linux",
    "uuid-runtime",
    "xfsprogs",
    "xxd",
    "xz-utils",
];

/// Users, folders and files that suites expect: those of xfstests (README, "Setup
/// environment"), `tests` for pjdfstest.
const SETUP: &str = "\
for user in fsgqa fsgqa2 123456-fsgqa tests; do
    useradd --badname --create-home --shell /bin/bash --user-group \"$user\"
done
mkdir -p /host /mnt/vexfs /mnt/test /mnt/scratch /srv/suite /var/results
ln -sf /proc/self/mounts /etc/mtab
echo guest > /etc/hostname
";

/// Free space of the image: results, and what tests put into /tmp.
const SLACK_BYTES: u64 = 2 << 30;

/// The image for guests with this kernel.
///
/// # Errors
/// A step of its making fails.
pub fn root(apt: &Apt, kernel: &Kernel) -> Result<PathBuf> {
    let mut inputs = vec![
        RECIPE.to_owned(),
        SETUP.to_owned(),
        kernel.modules().display().to_string(),
    ];
    inputs.extend(apt.versions(PACKAGES)?);
    let entry = cache::entry("suites-root", &inputs, |folder| {
        eprintln!("preparing the root file system of the suites' guests");
        make(apt, kernel, folder)
    })?;
    Ok(entry.join("root.img"))
}

fn make(apt: &Apt, kernel: &Kernel, folder: &Path) -> Result<()> {
    let log = folder.join("log");
    let packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    let root = Root::create(apt, folder.join("root"), &packages, &log)?;
    sys::run_logged(
        sys::as_root("cp")
            .arg("-a")
            .arg(kernel.modules().parent().context("no parent")?)
            .arg(root.path().join("usr/lib/")),
        &log,
    )?;
    sys::run_logged(root.command("depmod").arg(kernel.release()), &log)?;
    sys::run_logged(root.command("sh").args(["-euc", SETUP]), &log)?;
    let image = folder.join("root.img");
    rootfs::make_image(root.path(), &image, SLACK_BYTES, true, &log)?;
    cache::remove(root.path())
}
