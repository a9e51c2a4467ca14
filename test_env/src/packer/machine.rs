// SPDX-License-Identifier: GPL-2.0-only
//! A machine that boots from the image, by its own boot loader, as a user's does:
//! commands go in by SSH. What it writes to the image is thrown away.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use super::build::Key;
use super::Host;
use crate::architecture::HOST;
use crate::guest::{defects, escape, machine, Accel};
use crate::sys;

/// How long the machine may take to come up, or to go down.
const BOOT: Duration = Duration::from_secs(600);
/// How often an emulated machine may try to boot; see [`crate::guest::Guest::start`].
const ATTEMPTS: u32 = 3;
/// How long the server may take to answer while the machine boots.
const ANSWER: Duration = Duration::from_secs(20);

/// What the machine is made of.
pub struct Parts<'a> {
    pub image: &'a Path,
    /// Disks: /dev/vdb and on.
    pub disks: &'a [PathBuf],
    pub accel: Accel,
}

/// A running machine. Dropping it kills it.
pub struct Machine<'a> {
    host: &'a Host,
    key: &'a Key,
    qemu: Child,
    port: u16,
    console: PathBuf,
    /// The number of the boot, as the kernel has it.
    boot: String,
}

impl<'a> Machine<'a> {
    /// Boots a machine and waits until it takes commands.
    ///
    /// # Errors
    /// It does not come up; the error carries the end of its console.
    pub fn start(host: &'a Host, key: &'a Key, parts: &Parts<'_>) -> Result<Self> {
        let mut attempts = if parts.accel == Accel::Tcg {
            ATTEMPTS
        } else {
            1
        };
        loop {
            attempts -= 1;
            let mut machine = Self::spawn(host, key, parts)?;
            match machine.wait_boot() {
                Ok(()) => return Ok(machine),
                Err(error) if attempts == 0 => return Err(error),
                Err(error) => eprintln!("booting once more: {error:#}"),
            }
        }
    }

    fn spawn(host: &'a Host, key: &'a Key, parts: &Parts<'_>) -> Result<Self> {
        let console = host.work().join("machine-console");
        // QEMU takes it in a moment. Should somebody be faster, QEMU says so and ends.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut qemu = machine::command("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(parts.accel.arguments(HOST))
            .args(["-smp", "2", "-m", "1024", "-vga", "none"])
            .arg("-drive")
            .arg(format!(
                "file={},format=qcow2,if=virtio,snapshot=on,cache=unsafe",
                escape(parts.image)
            ));
        for disk in parts.disks {
            qemu.arg("-drive").arg(format!(
                "file={},format=raw,if=virtio,cache=unsafe,discard=unmap",
                escape(disk)
            ));
        }
        qemu.arg("-netdev")
            .arg(format!(
                "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
            ))
            .args(["-device", "virtio-net-pci,netdev=net"])
            .args(["-device", "virtio-rng-pci"])
            .arg("-smbios")
            .arg(format!(
                "type=11,value=io.systemd.credential:ssh.authorized_keys.root={}",
                key.public
            ))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(Self {
            host,
            key,
            qemu: machine::spawn(qemu).context("cannot start qemu-system-x86_64")?,
            port,
            console,
            boot: String::new(),
        })
    }

    /// Waits until a boot other than the last one takes commands.
    fn wait_boot(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT;
        loop {
            if let Some(status) = self.qemu.try_wait()? {
                bail!("QEMU ended: {status}");
            }
            self.check_log()?;
            let output = self.ssh("cat /proc/sys/kernel/random/boot_id", ANSWER)?;
            let boot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if output.status.success() && boot != self.boot {
                self.boot = boot;
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the machine does not come up: {}\nend of the console:\n{}",
                String::from_utf8_lossy(&output.stderr),
                sys::tail(self.console().as_bytes())
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Runs a shell command as root, which must succeed; returns its output.
    ///
    /// # Errors
    /// It ends with another status than 0 (the error carries its output), takes longer
    /// than `timeout`, or the kernel's log shows a defect.
    pub fn run(&self, script: &str, timeout: Duration) -> Result<String> {
        let output = self.ssh(script, timeout)?;
        self.check_log()?;
        ensure!(
            output.status.success(),
            "`{script}`: {}\n{}{}",
            output.status,
            sys::tail(&output.stdout),
            sys::tail(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Boots again.
    ///
    /// # Errors
    /// The machine does not come up.
    pub fn reboot(&mut self) -> Result<()> {
        // The connection may be gone before there is a status.
        self.ssh("systemctl reboot", ANSWER)?;
        self.wait_boot()
    }

    /// Powers off, and looks at the kernel's log.
    ///
    /// # Errors
    /// The machine does not go down, or the log shows a defect.
    pub fn shutdown(mut self) -> Result<()> {
        self.ssh("systemctl poweroff", ANSWER)?;
        let deadline = Instant::now() + BOOT;
        while self.qemu.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the machine does not power off:\n{}",
                sys::tail(self.console().as_bytes())
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.check_log()
    }

    /// A command for root's shell.
    fn ssh(&self, script: &str, timeout: Duration) -> Result<Output> {
        self.host
            .root()
            .command("timeout")
            .arg(timeout.as_secs().to_string())
            .args(["ssh", "-F", "none", "-i"])
            .arg(self.host.shown(&self.key.file()))
            .args(["-p", &self.port.to_string()])
            .args(
                [
                    "BatchMode=yes",
                    "ConnectTimeout=10",
                    "IdentitiesOnly=yes",
                    "LogLevel=ERROR",
                    "StrictHostKeyChecking=no",
                    "UserKnownHostsFile=/dev/null",
                ]
                .iter()
                .flat_map(|option| ["-o", option]),
            )
            .args(["root@127.0.0.1", script])
            .stdin(Stdio::null())
            .output()
            .context("cannot start ssh")
    }

    fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    fn check_log(&self) -> Result<()> {
        let console = self.console();
        let found = defects(&console);
        ensure!(
            found.is_empty(),
            "the kernel's log shows a defect: {}\n{}",
            found.join("\n"),
            sys::tail(console.as_bytes())
        );
        Ok(())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // Already dead after an orderly end; nothing to be done about an error.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}
