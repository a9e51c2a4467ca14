// SPDX-License-Identifier: GPL-2.0-only
//! The guests that suites run in: disks, module, mounts, and what is kept of a
//! test that failed. Knows no suite.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::outcome::{Ended, Outcome, Table};
use super::{image, Request};
use crate::apt::Apt;
use crate::guest::{Config, Disk, Guest, Output, Setup};
use crate::kernel::Kernel;
use crate::uml::Uml;
use crate::{host, project, rootfs};

/// Memory of a guest in MiB.
const MEMORY: u32 = 2048;
/// How much of a file is kept, from its end.
const KEEP_BYTES: u32 = 1 << 20;

/// Where a guest finds the suite's tree.
pub const TREE: &str = "/srv/suite";
/// Where the filesystem under test is mounted.
pub const MOUNT: &str = "/mnt/test";

/// What the guests of a suite are made of.
pub struct Environment {
    setup: Setup,
    filesystem: String,
    /// An image of the suite's tree.
    tree: Option<PathBuf>,
    folder: tempfile::TempDir,
}

impl Environment {
    /// Prepares kernel, root file system, module and tools, and the suite's tree.
    ///
    /// # Errors
    /// A step fails; the error says which.
    pub fn prepare(request: &Request) -> Result<Self> {
        host::prepare()?;
        let apt = Apt::open(false)?;
        let kernel = Kernel::prepare(&apt)?;
        let root = image::root(&apt, &kernel)?;
        let user_mode = request
            .kernel
            .map(|flavour| Uml::prepare(&kernel, flavour))
            .transpose()?;
        let setup = Setup::with_root(kernel, user_mode, root)?;
        if request.filesystem == "vexfs" {
            setup.add_products()?;
        }
        let folder = tempfile::Builder::new().prefix("vexfs-suite-").tempdir()?;
        let tree = match &request.tree {
            Some(tree) if tree.is_dir() => {
                let image = folder.path().join("tree.img");
                rootfs::make_image(tree, &image, 0, true, &folder.path().join("log"))?;
                Some(image)
            }
            Some(program) => {
                setup.share(&[(program, "suite")])?;
                None
            }
            None => None,
        };
        Ok(Self {
            setup,
            filesystem: request.filesystem.clone(),
            tree,
            folder,
        })
    }

    /// The filesystem under test.
    pub fn filesystem(&self) -> &str {
        &self.filesystem
    }

    /// Boots a guest with new, empty disks of these sizes in bytes, which replace those of an
    /// earlier guest of the same number. The module is loaded and the suite's tree is mounted.
    ///
    /// # Errors
    /// The guest does not come up.
    pub fn guest(&self, number: usize, sizes: &[u64]) -> Result<Guest> {
        let mut disks = Vec::new();
        for (index, size) in sizes.iter().enumerate() {
            let path = self.folder.path().join(format!("disk{number}.{index}.img"));
            disks.push(Disk::create(&path, *size)?);
        }
        disks.extend(self.tree.clone().map(Disk::ReadOnly));
        let guest = Guest::start(
            &self.setup,
            Config {
                disks,
                memory: MEMORY,
                ..Config::default()
            },
        )?;
        // Names of hosts appear in what the suites compare; servers of tests listen on lo; and no
        // udev makes the links through which a shell substitutes processes.
        guest.run(
            "hostname guest; ip link set lo up; ln -sfn /proc/self/fd /dev/fd; \
             mount -t tmpfs tmpfs /dev/shm 2> /dev/null || true",
        )?;
        if self.filesystem == "vexfs" {
            guest.run("insmod /host/vexfs.ko && ln -sf /host/bin/* /usr/sbin/")?;
        }
        if self.tree.is_some() {
            let device = device(&guest, sizes.len());
            // xfstests makes links in its own tree. What a guest changes dies with it.
            guest.run(&format!(
                "mkdir -p /srv/given /srv/changes/upper /srv/changes/work && \
                 mount -o ro {device} /srv/given && mount -t overlay -o \
                 lowerdir=/srv/given,upperdir=/srv/changes/upper,workdir=/srv/changes/work \
                 overlay {TREE}"
            ))?;
        }
        Ok(guest)
    }

    /// Options for mkfs that make it overwrite what is there without asking.
    pub fn mkfs_options(&self) -> &'static str {
        match self.filesystem.as_str() {
            "vexfs" | "ext4" => "-F -q",
            _ => "-f",
        }
    }

    /// Makes the filesystem on the first disk and mounts it on [`MOUNT`].
    ///
    /// # Errors
    /// The guest cannot.
    pub fn mount(&self, guest: &Guest) -> Result<()> {
        let filesystem = &self.filesystem;
        let (device, options) = (device(guest, 0), self.mkfs_options());
        guest.run(&format!(
            "mkfs.{filesystem} {options} {device} && mount -t {filesystem} {device} {MOUNT}"
        ))?;
        Ok(())
    }

    /// Unmounts, and lets fsck look at what the tests left behind: a test of its own.
    pub fn check(&self, guest: &Guest, table: &mut Table, name: &str) {
        let result = guest.run_within(
            &format!(
                "cd / && umount {MOUNT} && fsck.{} -n {}",
                self.filesystem,
                device(guest, 0)
            ),
            Duration::from_secs(1800),
        );
        table.add(Ended {
            name: name.to_owned(),
            outcome: match result {
                Ok(_) => Outcome::Passed,
                Err(error) => Outcome::Failed(format!("{error:#}")),
            },
            seconds: None,
        });
    }

    /// Keeps the end of a guest's file in build/suites, if it is there; returns where.
    ///
    /// # Errors
    /// The guest is gone, or the copy cannot be written.
    pub fn keep(&self, guest: &Guest, from: &str, name: &str) -> Result<Option<PathBuf>> {
        let output = guest.output(&format!("tail -c {KEEP_BYTES} -- {from}"))?;
        if output.status != 0 || output.stdout.is_empty() {
            return Ok(None);
        }
        let path = project::build_folder("suites")?.join(name);
        std::fs::create_dir_all(path.parent().context("no parent")?)?;
        std::fs::write(&path, &output.stdout)?;
        Ok(Some(path))
    }
}

/// Runs a shell command that may be silent for as long as `silence`.
///
/// # Errors
/// It is silent for longer, the guest dies, or the kernel's log shows a defect.
pub fn output(guest: &Guest, script: &str, silence: Duration) -> Result<Output> {
    let mut running = guest.spawn(script)?;
    let mut stdout = Vec::new();
    while guest.wait_output(&mut running, silence)? {
        stdout.extend(running.take_stdout());
    }
    let mut output = running.into_output();
    output.stdout = stdout;
    Ok(output)
}

/// The device of a guest's disk.
pub fn device(guest: &Guest, index: usize) -> String {
    guest.disk(u8::try_from(index).unwrap_or(u8::MAX))
}

/// What a guest that hangs is doing: the tasks that wait for something.
pub fn diagnose(guest: &Guest) -> String {
    let script = "for task in /proc/[0-9]*; do \
                  state=$(sed 's/.*) //' $task/stat 2> /dev/null | cut -c1); \
                  case $state in D) echo; cat $task/comm $task/stack;; esac; done; \
                  ps -eo pid,stat,etimes,args --sort=etimes | grep -v '\\[' | head -20";
    guest
        .output(script)
        .map_or_else(|error| format!("{error:#}"), |output| output.text())
}
