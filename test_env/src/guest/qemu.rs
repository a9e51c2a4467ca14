// SPDX-License-Identifier: GPL-2.0-only
//! Guests that are machines of QEMU's: what it is told about them. Knows nothing
//! of what runs inside.

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use super::{disk, machine, Accel, Config, Place, Setup};
use crate::protocol::PORT;

/// Starts QEMU and waits until it has connected the agent's port.
///
/// # Errors
/// It cannot be started, ends, or does not connect in time.
pub(super) fn start(
    setup: &Setup,
    config: &Config,
    accel: Accel,
    place: &Place<'_>,
) -> Result<(Child, UnixStream)> {
    let socket = place.folder.join("agent");
    let listener = UnixListener::bind(&socket)?;

    let architecture = setup.kernel.architecture();
    let mut qemu = machine::command(architecture.qemu);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-vga",
        "none",
    ])
    .args(architecture.machine)
    .args(accel.arguments(architecture))
    .arg("-smp")
    .arg(config.cpus.to_string())
    .arg("-m")
    .arg(config.memory.to_string())
    .arg("-kernel")
    .arg(setup.kernel.image())
    .arg("-initrd")
    .arg(&setup.initramfs)
    .arg("-append")
    .arg(format!(
        "console={} quiet panic=-1 oops=panic{} {}",
        architecture.console, architecture.parameters, config.parameters
    ))
    .arg("-chardev");
    let log = format!("logfile={},logappend=on", disk::escape(place.console));
    if config.terminal {
        qemu.arg(format!("stdio,id=console,signal=off,{log}"));
    } else {
        qemu.arg(format!("null,id=console,{log}"));
    }
    qemu.args(["-serial", "chardev:console"])
        .arg("-chardev")
        .arg(format!("socket,id=agent,path={}", disk::escape(&socket)))
        .args(["-device", "virtio-serial-pci", "-device"])
        .arg(format!("virtserialport,chardev=agent,name={PORT}"))
        .args(["-device", "virtio-rng-pci"]);
    // Nobody writes to the image. Without locks, as User Mode Linux locks it for reading
    // in a way that keeps QEMU from doing so, too.
    let root = format!(
        "file={},format=raw,snapshot=on,cache=unsafe,file.locking=off",
        disk::escape(&setup.root_image)
    );
    qemu.args(disk::drive_arguments("root", &root, "root"));
    for (index, disk) in config.disks.iter().enumerate() {
        qemu.args(disk.arguments(index, place.folder)?);
    }
    let shared = setup.shared()?;
    let shared = format!(
        "file={},format=raw,readonly=on,file.locking=off",
        disk::escape(&shared)
    );
    qemu.args(disk::drive_arguments("host", &shared, "host"));
    qemu.stdout(if config.terminal {
        Stdio::inherit()
    } else {
        Stdio::null()
    })
    .stdin(if config.terminal {
        Stdio::inherit()
    } else {
        Stdio::null()
    })
    .stderr(File::create(place.errors)?);
    let mut qemu =
        machine::spawn(qemu).with_context(|| format!("cannot start {}", architecture.qemu))?;

    match accept(&listener, &mut qemu, config.boot_timeout) {
        Ok(stream) => Ok((qemu, stream)),
        Err(error) => {
            let _ = qemu.kill();
            let _ = qemu.wait();
            Err(error)
        }
    }
}

/// Waits for QEMU to connect, or to end.
fn accept(listener: &UnixListener, qemu: &mut Child, timeout: Duration) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + timeout;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended: {status}");
        }
        ensure!(Instant::now() < deadline, "QEMU does not connect");
        std::thread::sleep(Duration::from_millis(10));
    }
}
