// SPDX-License-Identifier: GPL-2.0-only
//! The smoke test: from mkfs to rmmod, with a power cut in the middle, in some two
//! minutes of an emulated guest. It says whether the module works on a kernel at
//! all; what it does in detail is for the other suites.

use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context as _, Result};

use super::{crash, Lines, MOUNT};
use crate::guest::{Config, Disk, Guest, Setup};
use crate::project;
use crate::report::Report;

/// Size of the disk.
const DISK_BYTES: u64 = 2 << 30;
/// How long a step may take.
pub(crate) const STEP: Duration = Duration::from_secs(300);
/// Decides what is written when the power is cut.
const SEED: u64 = 1;

/// What the steps before the power cut do, each a script that has to succeed. `$M`
/// is where the filesystem is mounted. The first one loads the module.
pub(crate) const STEPS: &[(&str, &str)] = &[
    (
        "load",
        "insmod /host/vexfs.ko && grep -qw vexfs /proc/filesystems",
    ),
    ("mkfs", "mkfs.vexfs --quiet --force /dev/vdb"),
    ("mount", "mount -t vexfs /dev/vdb $M && findmnt -t vexfs $M"),
    (
        "files",
        "cp -a /host/demo/notes $M/ && diff -r /host/demo/notes $M/notes && \
         head -c 24000001 /dev/urandom > /tmp/large && cp /tmp/large $M/large && sync -f $M && \
         echo 3 > /proc/sys/vm/drop_caches && cmp /tmp/large $M/large && \
         truncate -s 5000 $M/large && cmp -n 5000 /tmp/large $M/large && \
         ln $M/large $M/link && mv $M/link $M/moved && rm $M/large && [ $(stat -c %h $M/moved) = 1 ] && \
         ln -s moved $M/symbolic && [ $(readlink $M/symbolic) = moved ] && \
         mkdir -p $M/a/b/c && mv $M/a/b $M/b && rmdir $M/b/c $M/b $M/a && \
         fallocate -l 1M $M/space && [ $(stat -c %b $M/space) -ge 2048 ] && rm $M/space && \
         setfattr -n user.colour -v green $M/moved && \
         [ $(getfattr --only-values -n user.colour $M/symbolic) = green ]",
    ),
    (
        "mapped",
        "python3 -c \"
import mmap, os
with open('$M/mapped', 'wb+') as file:
    file.truncate(1 << 20)
    with mmap.mmap(file.fileno(), 0) as view:
        view[4090:4102] = b'over a border'[:12]
        view.flush()
    assert os.pread(file.fileno(), 12, 4090) == b'over a borde'\"",
    ),
    (
        "vectors",
        "vexctl index create $M notes --dim 384 --metric cosine && \
         vexctl import $M notes --npy /host/demo/vectors.npy --jsonl /host/demo/vectors.jsonl && \
         getfattr --only-values -n user.vexfs.notes $M/notes/repair/dripping-tap.txt | wc -c | grep -qx 1536",
    ),
    // Every note is the best answer to its own vector.
    (
        "search",
        "vexctl --json search $M notes --npy /host/demo/vectors.npy -k 1 > /tmp/own && \
         grep -o '\"path\": *\"[^\"]*\"' /tmp/own | sed 's/.*\"\\(.*\\)\"/\\1/; s,^/,,' > /tmp/found && \
         grep -o '\"path\": *\"[^\"]*\"' /host/demo/vectors.jsonl | sed 's/.*\"\\(.*\\)\"/\\1/; s,^/,,' > /tmp/asked && \
         [ -s /tmp/asked ] && diff /tmp/asked /tmp/found && \
         vexctl --json search $M notes --npy /host/demo/queries.npy -k 10 > /tmp/before",
    ),
    // A process that rounds upwards gets the same distances, to the last bit.
    (
        "rounding",
        "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/host/tests python3 -c \"
import ctypes, os, struct, vexabi
upward = {'x86_64': 0x800, 'aarch64': 0x400000}[os.uname().machine]
file = open('/host/demo/queries.npy', 'rb').read()
start = 10 + struct.unpack_from('<H', file, 8)[0]
queries = memoryview(file)[start:].cast('f', shape=[(len(file) - start) // 1536, 384])
before = vexabi.search('$M', 'notes', queries, 10)
libm, large = ctypes.CDLL('libm.so.6'), float('1e16')
assert libm.fesetround(upward) == 0 and large + float('1') > large
after = vexabi.search('$M', 'notes', queries, 10)
libm.fesetround(0)
assert len(before[0]) == 10 and before == after, (before, after)\"",
    ),
    (
        "remount",
        "umount $M && mount -t vexfs /dev/vdb $M && diff -r /host/demo/notes $M/notes && \
         vexctl --json search $M notes --npy /host/demo/queries.npy -k 10 | cmp - /tmp/before",
    ),
    (
        "unlink",
        "rm $M/notes/repair/dripping-tap.txt && \
         vexctl --json search $M notes --npy /host/demo/queries.npy -k 125 > /tmp/after && \
         grep -q repair/running-toilet.txt /tmp/after && ! grep -q repair/dripping-tap.txt /tmp/after",
    ),
    (
        "fsck",
        "umount $M && fsck.vexfs -f -n /dev/vdb && \
         vexctl --img /dev/vdb --json search / notes --npy /host/demo/queries.npy -k 125 > /tmp/image && \
         cmp /tmp/image /tmp/after",
    ),
];

/// How far the smoke test came.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the guest booted.
    pub booted: bool,
    /// Steps that were right.
    pub passed: usize,
    /// What was wrong, if anything; the steps after it were not done.
    pub failure: Option<String>,
}

/// The number of steps.
pub const TOTAL: usize = STEPS.len() + 2;

/// Makes what the guests need visible to them: the tools in `bin`, a module.
///
/// # Errors
/// Something cannot be copied.
pub fn share(setup: &Setup, bin: &Path, module: &Path) -> Result<()> {
    let root = project::root();
    setup.share(&[
        (bin, "bin"),
        (module, "vexfs.ko"),
        (&root.join("test_env/guest"), "tests"),
        (&root.join("demo"), "demo"),
    ])
}

/// Runs it in guests of `setup`, which [`share`] prepared.
pub fn run(setup: &Setup) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(error) = steps(setup, &mut outcome) {
        outcome.failure = Some(format!("{error:#}"));
    }
    outcome
}

fn steps(setup: &Setup, outcome: &mut Outcome) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("vexfs-smoke-").tempdir()?;
    let image = folder.path().join("disk.img");
    Disk::create(&image, DISK_BYTES)?;
    let start = || Guest::start(setup, Config::with_disks([Disk::volatile(&image)?.0]));
    let guest = start()?;
    outcome.booted = true;
    let release = guest.run("uname -r")?;
    ensure!(
        release.trim() == setup.kernel().release(),
        "this is Linux {release}"
    );
    for (name, script) in STEPS {
        let script = format!("set -o pipefail; M={MOUNT}; {script}");
        guest
            .run_within(&script, STEP)
            .with_context(|| format!("step {name}"))?;
        outcome.passed += 1;
    }
    power_cut(guest, &start).context("step power cut")?;
    outcome.passed += 2;
    Ok(())
}

/// Cuts the power under a load, and looks in a second guest whether all that was
/// acknowledged is there; then the module is unloaded.
fn power_cut(guest: Guest, start: &dyn Fn() -> Result<Guest>) -> Result<()> {
    let environment = format!(
        "VEXFS_DEV=/dev/vdb VEXFS_MNT={MOUNT} VEXFS_KO=/host/vexfs.ko FSTYP=vexfs \
         PYTHONDONTWRITEBYTECODE=1"
    );
    let load = format!("cd /host/tests && exec env {environment} ./crash_load.py {SEED}");
    let (acknowledged, _) = crash::cut(guest, &load, SEED)?;
    let guest = start()?;
    guest.write_file("/tmp/acknowledged", &acknowledged)?;
    let output = guest.output(&format!(
        "cd /host/tests && exec env {environment} ./crash_verify.py {SEED} < /tmp/acknowledged"
    ))?;
    let report = Report::silent();
    let mut lines = Lines::new(&report, "");
    lines.push(&output.stdout);
    ensure!(
        lines.any && !lines.failed && output.status == 0,
        "not everything is there after the power cut:\n{}{}",
        output.text(),
        output.errors()
    );
    guest
        .run("! findmnt -t vexfs; rmmod vexfs && ! grep -q '^vexfs ' /proc/modules")
        .context("unload")?;
    guest.shutdown()
}
