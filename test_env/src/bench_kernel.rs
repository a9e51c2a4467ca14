// SPDX-License-Identifier: GPL-2.0-only
//! The native-speed kernel at work: a guest of it runs a small workload on VexFS and
//! on its peers (test_env/bench/measure.py). Prints what that says and judges no time.

use std::time::Duration;

use anyhow::Result;

use crate::guest::{Config, Disk, Guest, Setup};
use crate::project;
use crate::uml::Flavour;

/// Size of each of the two disks.
const DISK_BYTES: u64 = 4 << 30;
/// Memory of the guest: nothing is to be short of it.
const MEMORY_MIB: u32 = 3072;
/// How long the workload may be silent for.
const SILENCE: Duration = Duration::from_secs(600);

/// Builds the kernel and the module, boots, measures.
///
/// # Errors
/// A build or the workload fails, or the kernel's log shows a defect.
pub fn run() -> Result<()> {
    let setup = Setup::user_mode(Flavour::Bench)?;
    setup.add_products()?;
    if let Some(kernel) = setup.uml() {
        println!("kernel {}", kernel.image().display());
    }
    setup.share(&[(&project::root().join("test_env/bench"), "bench")])?;
    let folder = tempfile::Builder::new().prefix("vexfs-bench-").tempdir()?;
    let disks = [
        Disk::create(&folder.path().join("vexfs.img"), DISK_BYTES)?,
        Disk::create(&folder.path().join("peer.img"), DISK_BYTES)?,
    ];
    let guest = Guest::start(
        &setup,
        Config {
            memory: MEMORY_MIB,
            ..Config::with_disks(disks)
        },
    )?;
    let release = guest.run("uname -r -v && nproc && insmod /host/vexfs.ko")?;
    println!("booted {}", release.trim().replace('\n', ", processors: "));
    let script = format!(
        "VEXFS_DEV={} PEER_DEV={} VEXFS_MNT=/mnt/vexfs PEER_MNT=/mnt/peer \
         python3 /host/bench/measure.py",
        guest.disk(0),
        guest.disk(1)
    );
    print!("{}", guest.run_within(&script, SILENCE)?);
    guest.run("rmmod vexfs")?;
    guest.shutdown()
}
