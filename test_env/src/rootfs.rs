// SPDX-License-Identifier: GPL-2.0-only
//! What guests boot from: an image of a small Debian root with the stock
//! kernel's modules, and the initial root file system. Starts no guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::chroot::Root;
use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::{cache, sys, tools};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "guest root 2";
/// As above.
const BASE_RECIPE: &str = "guest base 1";

/// What tests, the demonstration and people in a guest's shell use.
const PACKAGES: &[&str] = &[
    "acl",
    "attr",
    "coreutils",
    "diffutils",
    "e2fsprogs",
    "file",
    "findutils",
    "grep",
    "kmod",
    "less",
    "mount",
    "nano",
    "procps",
    "psmisc",
    "python3",
    "python3-numpy",
    "rsync",
    "sed",
    "strace",
    "tar",
    "util-linux",
    "xxd",
];

/// What every Debian system has without being asked, of which a root that is only
/// unpacked has nothing.
const ESSENTIAL: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "dash",
    "debianutils",
    "gzip",
    "hostname",
    "libc-bin",
    "mawk",
];

/// What the configuration of these packages would have done, for what tests use. Arguments:
/// the root, the user's name, his number.
const CONFIGURE: &str = "\
root=$1 user=$2 id=$3
for file in passwd group; do
  cp \"$root/usr/share/base-passwd/$file.master\" \"$root/etc/$file\"
done
echo \"$user:x:$id:$id::/home/$user:/bin/bash\" >> \"$root/etc/passwd\"
echo \"$user:x:$id:\" >> \"$root/etc/group\"
mkdir -p \"$root/home/$user\" \"$root/host\" \"$root/mnt/vexfs\"
chown \"$id:$id\" \"$root/home/$user\"
ln -s mawk \"$root/usr/bin/awk\"
";

/// The ordinary user of the guest.
pub const USER: &str = "reader";
/// His number, and his group's.
pub const USER_ID: u32 = 1000;

/// Modules that the initial root file system loads, in this order.
const BOOT_MODULES: &[&str] = &["kernel/drivers/block/virtio_blk.ko"];

/// Free space of the image.
const SLACK_BYTES: u64 = 512 << 20;

/// The image of the root file system for guests with this kernel.
///
/// # Errors
/// A step of its making fails.
pub fn image(apt: &Apt, kernel: &Kernel) -> Result<PathBuf> {
    let mut inputs = vec![BASE_RECIPE.to_owned()];
    inputs.extend(apt.versions(&packages(apt))?);
    let architecture = apt.architecture();
    if architecture.is_foreign() {
        inputs.push(format!("{} {CONFIGURE}", architecture.debian));
    }
    let base = cache::entry("guest-base", &inputs, |folder| {
        eprintln!("preparing the guest's root file system");
        make_base(apt, folder)
    })?;
    let inputs = [
        RECIPE.to_owned(),
        kernel.modules().display().to_string(),
        base.display().to_string(),
    ];
    let entry = cache::entry("guest-root", &inputs, |folder| {
        make(&base.join("root"), kernel, folder)
    })?;
    Ok(entry.join("root.img"))
}

/// What the root is asked to have.
fn packages(apt: &Apt) -> Vec<&'static str> {
    let essential: &[&str] = match apt.architecture().is_foreign() {
        true => ESSENTIAL,
        false => &[],
    };
    [PACKAGES, essential].concat()
}

/// The root file system without a kernel's modules.
fn make_base(apt: &Apt, folder: &Path) -> Result<()> {
    let log = folder.join("log");
    let packages: Vec<String> = packages(apt).into_iter().map(str::to_owned).collect();
    let id = USER_ID.to_string();
    if apt.architecture().is_foreign() {
        let root = Root::extract(apt, folder.join("root"), &packages, &log)?;
        let configure = ["-euc", CONFIGURE, "configure"];
        return sys::run_logged(
            sys::as_root("sh")
                .args(configure)
                .arg(root.path())
                .args([USER, &id]),
            &log,
        );
    }
    let root = Root::create(apt, folder.join("root"), &packages, &log)?;
    sys::run_logged(
        root.command("useradd")
            .args(["--create-home", "--shell=/bin/bash", "--uid", &id, USER]),
        &log,
    )?;
    sys::run_logged(root.command("mkdir").args(["/host", "/mnt/vexfs"]), &log)
}

/// The image of a root file system with a kernel's modules.
fn make(base: &Path, kernel: &Kernel, folder: &Path) -> Result<()> {
    let log = folder.join("log");
    let root = Root::at(folder.join("root"));
    sys::run_logged(
        sys::as_root("cp").arg("-a").arg(base).arg(root.path()),
        &log,
    )?;
    sys::run_logged(
        sys::as_root("cp")
            .arg("-a")
            .arg(kernel.modules().parent().context("no parent")?)
            .arg(root.path().join("usr/lib/")),
        &log,
    )?;
    // The build root's, for that of the guest's need not run here.
    let path = root.path().to_owned();
    sys::run_logged(
        kernel
            .root()?
            .with([(path.clone(), path.clone())])
            .command("depmod")
            .arg("--basedir")
            .args([path.as_os_str(), kernel.release().as_ref()]),
        &log,
    )?;
    let image = folder.join("root.img");
    make_image(root.path(), &image, SLACK_BYTES, true, &log)?;
    cache::remove(root.path())
}

/// An ext4 image of a folder, with `slack` bytes to spare. The tree is read as
/// root when `as_root` is set.
///
/// # Errors
/// mke2fs fails.
pub fn make_image(
    folder: &Path,
    image: &Path,
    slack: u64,
    as_root: bool,
    log: &Path,
) -> Result<()> {
    let command = |program: &str| {
        if as_root {
            sys::as_root(program)
        } else {
            Command::new(program)
        }
    };
    let used = sys::output(
        command("du")
            .args(["--summarize", "--block-size=1", "--"])
            .arg(folder),
    )?;
    let used: u64 = used
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .parse()
        .context("du")?;
    // Blocks for inode tables and bitmaps come on top: a sixteenth is plenty.
    let kibibytes = (used + used / 16 + slack).div_ceil(1024) + 4096;
    // No journal: the image is never written to, only overlays of it are.
    sys::run_logged(
        command(
            &sys::find("mke2fs")
                .context("mke2fs is missing")?
                .to_string_lossy(),
        )
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^has_journal",
            "-m",
            "0",
            "-d",
        ])
        .arg(folder)
        .arg(image)
        .arg(format!("{kibibytes}k")),
        log,
    )?;
    if as_root {
        let owner = format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid());
        sys::run_logged(sys::as_root("chown").arg(owner).arg(image), log)?;
    }
    Ok(())
}

/// The initial root file system: process 1, and the drivers of the root disk from
/// this kernel's modules, if it has them as modules.
///
/// # Errors
/// The agent cannot be built, or a driver is missing.
pub fn initramfs(kernel: Option<&Kernel>) -> Result<Vec<u8>> {
    let agent = tools::build_agent(kernel)?;
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "root", "modules"] {
        archive.folder(folder);
    }
    archive.file(
        "init",
        &std::fs::read(&agent).with_context(|| format!("cannot read {}", agent.display()))?,
    );
    let drivers = BOOT_MODULES.iter().enumerate();
    for (kernel, (number, module)) in kernel
        .into_iter()
        .flat_map(|kernel| drivers.clone().map(move |driver| (kernel, driver)))
    {
        let compressed = kernel.modules().join(format!("{module}.xz"));
        let output = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(&compressed)
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "cannot unpack {}",
            compressed.display()
        );
        archive.file(&format!("modules/{number:02}.ko"), &output.stdout);
    }
    Ok(archive.finish())
}
