// SPDX-License-Identifier: GPL-2.0-only
//! Very large file systems. Their times are printed, never judged.

use std::process::Command;
use std::time::Instant;

use anyhow::{ensure, Result};

use crate::guest::{Config, Disk, Guest};
use crate::harness::Context;
use crate::report::Report;
use crate::{project, sys};

/// The tests of this file.
pub const NAMES: [&str; 2] = ["limits.make_16_tib", "limits.mount_1_tib"];

/// Runs them.
pub fn run(context: &Context, report: &Report) {
    if super::filesystem() != "vexfs" {
        return;
    }
    let mut notes = Vec::new();
    context.test(report, NAMES[0], |context| {
        let image = context.scratch("16tib.img");
        // The largest file that ext4 can hold is a block short of 16 TiB.
        Disk::create(&image, (16 << 40) - 4096)?;
        let start = Instant::now();
        make(&image)?;
        notes.push(format!(
            "mkfs.vexfs of 16 TiB: {:.2} s",
            start.elapsed().as_secs_f32()
        ));
        std::fs::remove_file(&image)?;
        Ok(())
    });
    context.test(report, NAMES[1], |context| {
        let image = context.scratch("1tib.img");
        let disk = Disk::create(&image, 1 << 40)?;
        make(&image)?;
        let guest = Guest::start(&context.setup, Config::with_disks([disk]))?;
        guest.run("insmod /host/vexfs.ko")?;
        let time = guest.run(
            "s=$(date +%s%N); mount -t vexfs /dev/vdb /mnt/vexfs; e=$(date +%s%N); \
             echo $(( (e - s) / 1000000 ))",
        )?;
        notes.push(format!("mount of 1 TiB: {} ms", time.trim()));
        let size = guest.run("stat -f -c '%b * %S' /mnt/vexfs")?;
        let (blocks, unit) = size.trim().split_once(" * ").unwrap_or_default();
        let bytes = blocks.parse::<u64>()? * unit.parse::<u64>()?;
        ensure!(bytes > (1 << 40) / 100 * 95, "statfs says {bytes} bytes");
        guest.run("echo there > /mnt/vexfs/file && sync && umount /mnt/vexfs")?;
        guest.run("mount -t vexfs /dev/vdb /mnt/vexfs && grep -q there /mnt/vexfs/file && umount /mnt/vexfs")?;
        guest.shutdown()?;
        std::fs::remove_file(&image)?;
        Ok(())
    });
    for note in notes {
        report.note(&note);
    }
}

fn make(image: &std::path::Path) -> Result<()> {
    sys::run(
        Command::new(project::build_folder("bin")?.join("mkfs.vexfs"))
            .arg("--force")
            .arg(image),
    )
}
