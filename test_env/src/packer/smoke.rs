// SPDX-License-Identifier: GPL-2.0-only
//! What the image must stand: a look at it while it is cold, then a machine that boots
//! from it, in which VexFS is used as it was installed, removed, and installed again.
//! The steps build on each other, so the first that fails is the last.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::base::ROOT_OFFSET;
use super::build::{Key, Tree};
use super::machine::{Machine, Parts};
use super::Host;
use crate::guest::Accel;
use crate::report::Report;
use crate::suite::smoke;
use crate::{project, rootfs, sys};

/// Size of the disk for VexFS.
const DISK_BYTES: u64 = 2 << 30;
/// Where the machine mounts it.
const MOUNT: &str = "/mnt/vexfs";

/// Before the steps of [`smoke::STEPS`] but the first of them, which loads the module
/// by hand: here it is the mount that does.
const BEFORE: &[(&str, &str)] = &[
    // Not one unit may have failed.
    (
        "system",
        "state=$(systemctl is-system-running --wait) || { echo $state; systemctl --failed; exit 1; }; \
         mkdir /host $M && mount -o ro /dev/vdc /host",
    ),
    (
        "installed",
        "[ $(modinfo --field filename vexfs) -ef /usr/lib/modules/$(uname -r)/updates/vexfs.ko ] && \
         [ $(command -v mkfs.vexfs) = /usr/sbin/mkfs.vexfs ] && [ $(command -v vexctl) = /usr/bin/vexctl ] && \
         mkfs.vexfs --version && fsck.vexfs --version && vexctl --version && \
         [ -s /usr/share/man/man8/mkfs.vexfs.8 ] && [ -s /usr/include/vexfs.h ] && \
         ! grep -q '^vexfs ' /proc/modules",
    ),
];

/// After them.
const AFTER: &[(&str, &str)] = &[
    (
        "loaded_by_mount",
        "grep -q '^vexfs ' /proc/modules && rmmod vexfs && mount -t vexfs /dev/vdb $M && \
         grep -q '^vexfs ' /proc/modules && umount $M",
    ),
    (
        "sudo",
        "useradd --create-home --shell /bin/bash reader && \
         echo 'reader ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/reader && \
         runuser -u reader -- env M=$M bash /host/as-reader",
    ),
    (
        "fstab",
        "echo /dev/vdb $M vexfs defaults 0 2 >> /etc/fstab && systemctl daemon-reload",
    ),
];

/// What an ordinary user does in the step `sudo`: the tools serve him through sudo, and
/// without it they open neither the device nor what is root's in the filesystem.
const AS_READER: &str = "\
    set -eux\n\
    denied() { if \"$@\"; then exit 1; fi; }\n\
    denied mkfs.vexfs --quiet --force /dev/vdb\n\
    sudo mkfs.vexfs --quiet --force /dev/vdb\n\
    denied mount -t vexfs /dev/vdb $M\n\
    sudo mount -t vexfs /dev/vdb $M\n\
    denied touch $M/mine\n\
    denied vexctl index create $M notes --dim 384 --metric cosine\n\
    sudo vexctl index create $M private --dim 384 --metric cosine\n\
    sudo vexctl index create $M notes --dim 384 --metric cosine --mode 666\n\
    sudo install -d -o reader $M/notes\n\
    cp -rT /host/demo/notes $M/notes\n\
    denied vexctl import $M private --npy /host/demo/vectors.npy --jsonl /host/demo/vectors.jsonl\n\
    vexctl import $M notes --npy /host/demo/vectors.npy --jsonl /host/demo/vectors.jsonl\n\
    vexctl --json search $M notes --npy /host/demo/queries.npy -k 3 > /tmp/mine\n\
    sudo vexctl --json search $M notes --npy /host/demo/queries.npy -k 3 | cmp - /tmp/mine\n\
    denied umount $M\n\
    sudo umount $M\n\
    denied fsck.vexfs -f -n /dev/vdb\n\
    sudo fsck.vexfs -f -n /dev/vdb\n";

/// After another boot: the entry in fstab was followed, checker included.
const AGAIN: &[(&str, &str)] = &[
    (
        "mounted_at_boot",
        "state=$(systemctl is-system-running --wait) || { echo $state; systemctl --failed; exit 1; }; \
         findmnt -t vexfs $M && mount -o ro /dev/vdc /host && diff -r /host/demo/notes $M/notes && \
         [ $(systemctl show -P Result systemd-fsck@dev-vdb.service) = success ] && \
         journalctl -b -u systemd-fsck@dev-vdb.service | grep '/dev/vdb: clean' && \
         umount $M && rmmod vexfs",
    ),
    (
        "uninstall",
        "make -C /host/tree uninstall prefix=/usr && ! modprobe vexfs && ! modinfo vexfs && \
         left=$(find / -xdev \\( -iname '*vexfs*' -o -iname '*vexctl*' \\) ! -path $M) && \
         [ -z \"$left\" ] || { echo \"$left\"; exit 1; }",
    ),
    // The default prefix, and depmod in a system that runs.
    (
        "install",
        "make -C /host/tree install && [ $(command -v vexctl) = /usr/local/bin/vexctl ] && \
         [ -s /usr/local/share/man/man1/vexctl.1 ] && mount -t vexfs /dev/vdb $M && \
         vexctl index list $M | grep notes && umount $M && rmmod vexfs && \
         make -C /host/tree uninstall && ! modprobe vexfs",
    ),
];

/// Runs all of it.
///
/// # Errors
/// What the machine is made of cannot be prepared. That a step fails is in the report.
pub fn run(host: &Host, image: &Path, tree: &Tree, accel: Accel, report: &Report) -> Result<()> {
    let disk = host.work().join("disk.raw");
    std::fs::File::create(&disk)?.set_len(DISK_BYTES)?;
    let shared = share(host, tree)?;
    let disks = [disk, shared];
    if let Err((name, error)) = steps(host, image, &disks, accel, report) {
        report.failed(&format!("packer::{name}"), &format!("{error:#}"));
    }
    for disk in &disks {
        std::fs::remove_file(disk)?;
    }
    Ok(())
}

/// The disk of what the machine is given: the demonstration's notes, what steps of the smoke test run, the package tree.
fn share(host: &Host, tree: &Tree) -> Result<PathBuf> {
    let folder = tempfile::tempdir_in(host.work())?;
    // The root of the disk is for everybody, the folder was not.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    for (from, name) in [
        (project::root().join("demo"), "demo"),
        (project::root().join("test_env/guest"), "tests"),
        (tree.folder.clone(), "tree"),
    ] {
        sys::run(
            Command::new("cp")
                .args(["-rT", "--"])
                .arg(from)
                .arg(folder.path().join(name)),
        )?;
    }
    std::fs::write(folder.path().join("as-reader"), AS_READER)?;
    let image = host.work().join("shared.raw");
    let log = host.work().join("log");
    rootfs::make_image(folder.path(), &image, 0, false, &log)?;
    Ok(image)
}

/// The error is that of a step, and its name beside it.
fn steps<'a>(
    host: &Host,
    image: &Path,
    disks: &[PathBuf],
    accel: Accel,
    report: &Report,
) -> Result<(), (&'a str, anyhow::Error)> {
    let step = |name: &'a str, result: Result<()>| match result {
        Ok(()) => {
            report.passed(&format!("packer::{name}"));
            Ok(())
        }
        Err(error) => Err((name, error)),
    };
    step("sealed", sealed(host, image))?;
    let key = Key::make(host).map_err(|error| ("boot", error))?;
    let parts = Parts {
        image,
        disks,
        accel,
    };
    let mut machine = Machine::start(host, &key, &parts).map_err(|error| ("boot", error))?;
    step("boot", Ok(()))?;
    let first = BEFORE
        .iter()
        .chain(smoke::STEPS.iter().skip(1))
        .chain(AFTER);
    for (name, script) in first {
        step(name, perform(&machine, script))?;
    }
    step("reboot", machine.reboot())?;
    for (name, script) in AGAIN {
        step(name, perform(&machine, script))?;
    }
    step("shutdown", machine.shutdown())
}

fn perform(machine: &Machine<'_>, script: &str) -> Result<()> {
    let script = format!("set -o pipefail; M={MOUNT}; {script}");
    machine.run(&script, TIMEOUT).map(drop)
}

/// How long a step may take.
const TIMEOUT: Duration = smoke::STEP;

/// The image has nothing of the machine that made it: no key, no password, no number
/// of its own; and its root file system is well.
fn sealed(host: &Host, image: &Path) -> Result<()> {
    let root = host.work().join("root.raw");
    sys::output(
        host.root()
            .command_as_user(&[], "qemu-img")
            .args(["convert", "-O", "raw", "--image-opts"])
            .arg(format!(
                "driver=raw,offset={ROOT_OFFSET},file.driver=qcow2,file.file.driver=file,\
                 file.file.filename={}",
                host.shown(image).display()
            ))
            .arg(host.shown(&root)),
    )?;
    let result = look(&root);
    std::fs::remove_file(&root)?;
    result
}

fn look(root: &Path) -> Result<()> {
    let find = |program: &str| sys::find(program).with_context(|| format!("{program} is missing"));
    sys::output(Command::new(find("e2fsck")?).args(["-f", "-n"]).arg(root))?;
    let debugfs = find("debugfs")?;
    let ask = |request: &str| sys::output(Command::new(&debugfs).args(["-R", request]).arg(root));
    let names = |folder: &str| -> Result<Vec<String>> {
        // One line for each: /number/mode/user/group/name/size/
        let text = ask(&format!("ls -p {folder}"))?;
        Ok(text
            .lines()
            .filter_map(|line| line.split('/').nth(5))
            .filter(|name| !matches!(*name, "" | "." | ".."))
            .map(str::to_owned)
            .collect())
    };
    for (folder, name) in [
        ("/root", ".bashrc"),
        ("/etc/ssh", "sshd_config"),
        ("/var/lib/systemd", "deb-systemd-helper-enabled"),
    ] {
        let found = names(folder)?;
        ensure!(
            found.iter().any(|found| found == name),
            "no {folder}/{name}"
        );
        for private in [".ssh", "ssh_host_", "random-seed", "credential.secret"] {
            ensure!(
                !found.iter().any(|found| found.starts_with(private)),
                "{folder} has {}",
                found.join(" ")
            );
        }
    }
    ensure!(names("/var/tmp")?.is_empty(), "/var/tmp is not empty");
    ensure!(
        ask("cat /etc/machine-id")?.is_empty(),
        "it has a machine-id"
    );
    for line in ask("cat /etc/shadow")?.lines() {
        let password = line.split(':').nth(1).unwrap_or_default();
        ensure!(
            matches!(password, "*" | "!" | "!*"),
            "a password in /etc/shadow: {line}"
        );
    }
    Ok(())
}
