// SPDX-License-Identifier: GPL-2.0-only
//! The test of the installation: a Debian root with nothing but packages gets what
//! `make install-tools install-dkms` stages, DKMS builds and installs the module
//! there, and a guest that boots from this very root loads it by mounting.
//!
//! DKMS runs in the root on this machine, at its speed: in an emulated guest the
//! compilers would need the better part of an hour. Everything that DKMS does is
//! the same there; the kernel that it builds for is named by its argument.

use std::path::Path;
use std::time::Instant;

use anyhow::{ensure, Context, Result};

use crate::apt::Apt;
use crate::chroot::Root;
use crate::guest::{Config, Disk, Guest, Setup};
use crate::kernel::{series, Kernel, DEFAULT};
use crate::report::{Count, Report};
use crate::{cache, host, project, rootfs, sys, tools};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "dkms root 1";

/// What DKMS needs to build the module, beside the kernel's headers and source;
/// docs/kernels.md names the same.
const PACKAGES: &[&str] = &[
    "bc",
    "bindgen",
    "bison",
    "dkms",
    "flex",
    "libclang-dev",
    "libelf-dev",
    "libssl-dev",
    "make",
    "openssl",
    "pahole",
    "python3",
    "rust-src",
    "rustc",
    "xz-utils",
];

const DISK_BYTES: u64 = 1 << 30;
/// Free space of the guest's root.
const SLACK_BYTES: u64 = 256 << 20;

/// Runs the test. The steps build on each other, so the first that fails is the last.
///
/// # Errors
/// What it needs cannot be prepared. That a step fails is in the count.
pub fn run() -> Result<Count> {
    host::prepare()?;
    let apt = Apt::open(false)?;
    let kernel = Kernel::prepare(&apt)?;
    let bin = tools::build()?;
    let entry = root_entry(&apt)?;
    let _lock = cache::lock_file(&entry.join("lock"))?;
    let scratch = tempfile::Builder::new().prefix("vexfs-dkms-").tempdir()?;
    let log = scratch.path().join("log");
    let root = Root::at(entry.join("root"));
    let report = Report::default();
    let test = Test {
        report: &report,
        root: &root,
        log: &log,
        module: format!("vexfs/{}", env!("CARGO_PKG_VERSION")),
        release: kernel.release().to_owned(),
    };
    // What a run that was interrupted may have left.
    test.remove()?;
    let result = test.install(&bin).and_then(|()| {
        let image = scratch.path().join("root.img");
        rootfs::make_image(root.path(), &image, SLACK_BYTES, true, &log)?;
        in_guest(kernel, image.clone(), &test)
    });
    let removed = test.remove();
    let last = result.and(removed).and_then(|()| test.nothing_left());
    match last {
        Ok(()) => report.passed("dkms::uninstall"),
        Err(error) => report.failed("dkms", &format!("{error:#}")),
    }
    Ok(report.count())
}

/// A Debian root with the stock kernel and DKMS, from packages alone.
fn root_entry(apt: &Apt) -> Result<std::path::PathBuf> {
    let (release, version) = apt.kernel(DEFAULT.choice)?;
    let mut inputs = vec![RECIPE.to_owned(), format!("linux {release} {version}")];
    inputs.extend(apt.versions(PACKAGES)?);
    cache::entry("dkms-root", &inputs, |folder| {
        eprintln!("preparing a Debian with DKMS");
        let log = folder.join("log");
        let mut packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
        for part in ["binary", "modules", "headers"] {
            packages.push(format!("linux-{part}-{release}={version}"));
        }
        packages.push(format!("linux-source-{}={version}", series(&release)));
        let root = Root::create(apt, folder.join("root"), &packages, &log)?;
        sys::run_logged(root.command("depmod").arg(&release), &log)?;
        sys::run_logged(root.command("mkdir").args(["/host", "/mnt/vexfs"]), &log)
    })
}

/// The installation in a root.
struct Test<'a> {
    report: &'a Report,
    root: &'a Root,
    log: &'a Path,
    /// As DKMS names it.
    module: String,
    release: String,
}

impl Test<'_> {
    /// `make` with the install targets of the project, into the root.
    fn make(&self, targets: &[&str]) -> Result<()> {
        sys::run_logged(
            sys::as_root("make")
                .arg("-C")
                .arg(project::root())
                .args(targets)
                .args([
                    "prefix=/usr",
                    &format!("BUILD={}", project::build()?.display()),
                ])
                .arg(format!("DESTDIR={}", self.root.path().display())),
            self.log,
        )
    }

    fn dkms(&self, arguments: &[&str]) -> Result<()> {
        sys::run_logged(
            self.root
                .command("dkms")
                .args(arguments)
                .args([&self.module, "-k", &self.release]),
            self.log,
        )
    }

    /// Stages the package tree, and lets DKMS build and install the module.
    fn install(&self, bin: &Path) -> Result<()> {
        self.make(&["install-tools", "install-dkms"])?;
        for tool in [
            "usr/sbin/mkfs.vexfs",
            "usr/sbin/fsck.vexfs",
            "usr/bin/vexctl",
        ] {
            let name = Path::new(tool).file_name().unwrap_or_default();
            let installed = std::fs::read(self.root.path().join(tool))
                .with_context(|| format!("{tool} was not installed"))?;
            ensure!(
                installed == std::fs::read(bin.join(name))?,
                "{tool} is another one"
            );
        }
        self.report.passed("dkms::install_targets");
        let start = Instant::now();
        self.dkms(&["install"]).with_context(|| self.make_log())?;
        self.report.passed("dkms::dkms_install");
        self.report.note(&format!(
            "{} s, with the metadata of the kernel's Rust crates",
            start.elapsed().as_secs()
        ));
        self.dkms(&["remove"])?;
        let start = Instant::now();
        // `remove` forgets the source, too, when no other kernel has it.
        self.dkms(&["install"])?;
        self.report.passed("dkms::dkms_install_again");
        self.report.note(&format!(
            "{} s, with the metadata of before",
            start.elapsed().as_secs()
        ));
        Ok(())
    }

    /// What the build printed, as far as it came.
    fn make_log(&self) -> String {
        let path = format!("var/lib/dkms/{}/build/make.log", self.module);
        let bytes = std::fs::read(self.root.path().join(path)).unwrap_or_default();
        sys::tail(&bytes)
    }

    /// Undoes it, as far as it was done.
    fn remove(&self) -> Result<()> {
        let script = format!(
            "! dkms status {0} | grep -q . || dkms remove {0} --all; \
             rm -rf /var/cache/vexfs /var/lib/dkms/vexfs; depmod {1}",
            self.module, self.release
        );
        sys::run_logged(self.root.command("sh").args(["-euc", &script]), self.log)?;
        self.make(&["uninstall"])
    }

    /// No file of ours may be left.
    fn nothing_left(&self) -> Result<()> {
        let text = sys::output(
            sys::as_root("find")
                .arg(self.root.path())
                .args(["-xdev", "-iname", "*vexfs*", "-o", "-iname", "*vexctl*"]),
        )?;
        let expected = self.root.path().join("mnt/vexfs");
        let left: Vec<&str> = text
            .lines()
            .filter(|line| Path::new(line) != expected)
            .collect();
        ensure!(left.is_empty(), "uninstall leaves {}", left.join(", "));
        Ok(())
    }
}

/// Boots the root and uses what was installed in it.
fn in_guest(kernel: Kernel, image: std::path::PathBuf, test: &Test) -> Result<()> {
    let setup = Setup::with_root(kernel, None, image)?;
    let folder = tempfile::tempdir()?;
    let disk = Disk::create(&folder.path().join("disk.img"), DISK_BYTES)?;
    let guest = Guest::start(&setup, Config::with_disks([disk]))?;
    let steps = [
        (
            "status",
            format!(
                "dkms status {} -k {} | tee /dev/stderr | grep -q installed",
                test.module, test.release
            ),
        ),
        (
            "modprobe",
            "modinfo vexfs && modprobe vexfs && lsmod | grep -w ^vexfs && rmmod vexfs".to_owned(),
        ),
        // Nobody says modprobe here: the kernel asks for the module by its alias.
        (
            "mount",
            "mkfs.vexfs --quiet /dev/vdb && mount -t vexfs /dev/vdb /mnt/vexfs && lsmod | grep -w ^vexfs && \
             cp -a /usr/share/doc/dkms /mnt/vexfs/ && diff -r /usr/share/doc/dkms /mnt/vexfs/dkms && \
             vexctl index create /mnt/vexfs notes --dim 4 --metric l2 && vexctl index list /mnt/vexfs"
                .to_owned(),
        ),
        (
            "unload",
            "umount /mnt/vexfs && fsck -t vexfs /dev/vdb -- -f -n && rmmod vexfs".to_owned(),
        ),
    ];
    for (name, script) in steps {
        guest
            .run(&format!("set -o pipefail; {script}"))
            .with_context(|| format!("step {name}"))?;
        test.report.passed(&format!("dkms::{name}"));
    }
    guest.shutdown()
}
