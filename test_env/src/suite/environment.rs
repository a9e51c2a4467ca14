// SPDX-License-Identifier: GPL-2.0-only
//! The test environment tests itself: a runner that cannot fail proves nothing.

use anyhow::{ensure, Result};

use crate::guest::{Config, Disk, Guest};
use crate::harness::Context;
use crate::report::Report;

/// Runs the tests of this file.
pub fn run(context: &Context, report: &Report) {
    context.test(report, "environment.stock_kernel_boots", stock_kernel_boots);
    context.test(
        report,
        "environment.power_cut_keeps_what_was_flushed",
        power_cut_keeps_what_was_flushed,
    );
    context.test(
        report,
        "environment.defects_in_the_log_are_noticed",
        defects_in_the_log_are_noticed,
    );
}

/// The stock kernel comes up, commands run as root and as the ordinary user, and
/// their status and output arrive.
fn stock_kernel_boots(context: &Context) -> Result<()> {
    let setup = &context.setup;
    let guest = Guest::start(setup, Config::default())?;
    ensure!(guest.run("uname -r")?.trim() == setup.kernel().release());
    ensure!(guest.run("id -u")?.trim() == "0");
    ensure!(guest.run_as_user("id -u")?.trim() == crate::rootfs::USER_ID.to_string());
    let output = guest.output("echo out; echo err >&2; exit 7")?;
    ensure!(
        (
            output.status,
            output.text().as_str(),
            output.errors().as_str()
        ) == (7, "out\n", "err\n")
    );
    ensure!(guest.run("exit 3").is_err());
    guest.write_file("/tmp/x", &[0, 1, 255])?;
    ensure!(guest.output("cat /tmp/x")?.stdout == [0, 1, 255]);
    guest.shutdown()?;
    Ok(())
}

/// On a volatile disk, fsynced data of a proven file system survives a power cut
/// and its journal recovers. If this failed, crash tests would blame the wrong one.
fn power_cut_keeps_what_was_flushed(context: &Context) -> Result<()> {
    let image = context.scratch("volatile.img");
    Disk::create(&image, 256 << 20)?;
    let (disk, _) = Disk::volatile(&image)?;
    let guest = Guest::start(&context.setup, Config::with_disks([disk]))?;
    guest.run("mke2fs -q -t ext4 /dev/vdb && mount /dev/vdb /mnt")?;
    guest.run("dd if=/dev/urandom of=/mnt/a bs=64k count=16 conv=fsync 2>&1 && sync")?;
    let sum = guest.run("sha256sum /mnt/a")?;
    let _load = guest.spawn(
        "while :; do dd if=/dev/urandom of=/mnt/b$RANDOM bs=64k count=4; done 2> /dev/null",
    )?;
    guest.run("sleep 2; dd if=/dev/zero of=/mnt/c bs=4k count=1 conv=fsync 2>&1")?;
    let losses = guest.power_cut(1)?;
    ensure!(losses.len() == 1);
    let (disk, _) = Disk::volatile(&image)?;
    let guest = Guest::start(&context.setup, Config::with_disks([disk]))?;
    guest.run("mount /dev/vdb /mnt && test -s /mnt/c")?;
    ensure!(guest.run("sha256sum /mnt/a")? == sum);
    guest.run("umount /mnt && e2fsck -fn /dev/vdb")?;
    guest.shutdown()?;
    Ok(())
}

/// A warning of the kernel makes the command that caused it fail.
fn defects_in_the_log_are_noticed(context: &Context) -> Result<()> {
    let guest = Guest::start(&context.setup, Config::default())?;
    let error = guest.run("echo 'WARNING: at the door' > /dev/kmsg; sleep 1");
    let Err(error) = error else {
        anyhow::bail!("a warning went unnoticed")
    };
    ensure!(error.to_string().contains("at the door"), "{error}");
    // And a crash ends the guest at once instead of hanging the run.
    let guest = Guest::start(&context.setup, Config::default())?;
    ensure!(
        guest.run("echo c > /proc/sysrq-trigger").is_err(),
        "a crash went unnoticed"
    );
    Ok(())
}
