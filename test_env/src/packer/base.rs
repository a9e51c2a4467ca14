// SPDX-License-Identifier: GPL-2.0-only
//! The disk image that Packer starts from: Debian with the stock kernel and an SSH
//! server, made from packages, without a boot loader and without anything of ours.
//! Nobody has a password or a key in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::apt::{Apt, Choice};
use crate::chroot::Root;
use crate::{cache, sys};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "virtual machine 1";

/// Where the kernel comes from.
const BACKPORTS: &str = "trixie-backports";

/// What the machine has beside what Debian calls essential.
const PACKAGES: &[&str] = &[
    "attr",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "grub-pc-bin",
    "grub2-common",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "less",
    "libpam-systemd",
    "make",
    "mount",
    "nano",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
    "xz-utils",
    "zstd",
];

/// The disk's size. The image has holes: it takes what is in it.
const DISK_BYTES: u64 = 4 << 30;
/// Where the root partition begins; before it is the boot loader's.
pub const ROOT_OFFSET: u64 = 2 << 20;
/// What the second copy of the partition table has at the end of the disk, at least.
const TAIL_BYTES: u64 = 1 << 20;

/// Sizes and kinds of the partitions, for sfdisk: one for GRUB's core image, which a
/// table of this kind has no gap for, and the root file system.
const PARTITIONS: &str = "label: gpt\\n\
    start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=boot\\n\
    start=2MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=root\\n";

/// The cache's entry with `disk.raw`, `vmlinuz` and `initrd.img`.
///
/// # Errors
/// A step of its making fails.
pub fn prepare(apt: &Apt) -> Result<PathBuf> {
    let (release, version) = apt.kernel(Choice::Newest(BACKPORTS))?;
    let mut inputs = vec![
        RECIPE.to_owned(),
        format!("linux {release} {version}"),
        cache::digest(&files())?,
    ];
    inputs.extend(apt.versions(PACKAGES)?);
    cache::entry("machine-base", &inputs, |folder| {
        eprintln!("preparing a Debian for Packer");
        // The kernel wants the linux-base of its own suite.
        let kernel = [
            format!("linux-image-{release}={version}"),
            format!("linux-base/{BACKPORTS}"),
        ];
        make(apt, &kernel, folder)
    })
}

/// The files that the machine has beside those of packages.
fn files() -> PathBuf {
    super::configuration().join("files")
}

fn make(apt: &Apt, kernel: &[String], folder: &Path) -> Result<()> {
    let log = folder.join("log");
    let mut packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    packages.extend_from_slice(kernel);
    let root = Root::create(apt, folder.join("root"), &packages, &log)?;
    sys::run_logged(
        sys::as_root("cp")
            .args(["-rT", "--no-preserve=mode,ownership", "--"])
            .arg(files())
            .arg(root.path()),
        &log,
    )?;
    // What mmdebstrap and the packages' scripts took from this machine, or made for
    // one machine alone.
    let script = "\
        rm -f /etc/ssh/ssh_host_* /etc/apt/sources.list /etc/apt/apt.conf.d/*mmdebstrap* /var/lib/dbus/machine-id; \
        : > /etc/machine-id; \
        ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf; \
        systemctl enable systemd-networkd systemd-resolved ssh ssh-host-key; \
        apt-get clean; rm -rf /var/lib/apt/lists/*";
    sys::run_logged(root.command("sh").args(["-euc", script]), &log)?;
    let owner = format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid());
    for (from, to) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd.img")] {
        let pattern = format!("{}/boot/{from}-*", root.path().display());
        let copy = format!("install -m 644 -o \"${{1%:*}}\" -g \"${{1#*:}}\" {pattern} \"$2\"");
        sys::run_logged(
            sys::as_root("sh")
                .args(["-euc", &copy, "sh", &owner])
                .arg(folder.join(to)),
            &log,
        )?;
    }
    disk(&root, &folder.join("disk.raw"), &owner, &log)?;
    cache::remove(root.path())
}

/// The image of a disk with the two partitions, the second one filled from `root`.
fn disk(root: &Root, image: &Path, owner: &str, log: &Path) -> Result<()> {
    File::create(image)?.set_len(DISK_BYTES)?;
    let mke2fs = sys::find("mke2fs").unwrap_or_else(|| "mke2fs".into());
    sys::run_logged(
        sys::as_root(mke2fs)
            .args(["-q", "-F", "-t", "ext4", "-L", "root", "-m", "1", "-E"])
            .arg(format!("offset={ROOT_OFFSET},root_owner=0:0"))
            .arg("-d")
            .arg(root.path())
            .arg(image)
            .arg(format!(
                "{}k",
                (DISK_BYTES - ROOT_OFFSET - TAIL_BYTES) / 1024
            )),
        log,
    )?;
    // Not before: the place to show the image at is a folder in the root.
    let folder = image.parent().unwrap_or(Path::new("/"));
    let script = format!(
        "printf '{PARTITIONS}' | sfdisk --quiet --no-reread --no-tell-kernel /disk/disk.raw"
    );
    sys::run_logged(
        Root::at(root.path().to_owned())
            .with([(folder.to_owned(), "/disk".into())])
            .command("sh")
            .args(["-euc", &script]),
        log,
    )?;
    sys::run_logged(sys::as_root("chown").arg(owner).arg(image), log)
}
