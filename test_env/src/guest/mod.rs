// SPDX-License-Identifier: GPL-2.0-only
//! Guests: virtual machines with the stock kernel, or User Mode Linux, in which
//! commands are run, whose power is cut at will, and whose kernel log is read for
//! defects.
//!
//! A guest has its root on /dev/vda (changes are thrown away), the disks it is
//! given from /dev/vdb on ([`Guest::disk`] says what they are called), and the files that it is given under /host, read only;
//! /host/bin is in the search path. Several may run at once: each keeps all that
//! it has in a temporary folder of its own.

mod accel;
mod disk;
mod link;
mod log;
pub mod machine;
mod qemu;
mod setup;
mod user_mode;
mod volatile;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

pub use accel::Accel;
pub(crate) use disk::escape;
pub use disk::Disk;
pub use link::{Output, Running};
pub use log::defects;
pub use setup::Setup;
pub use volatile::{Loss, Volatile};

use crate::protocol::Exec;
use crate::{project, rootfs, sys};
use link::{Link, Progress};

/// How long a command may take if nothing else is said.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// How often an emulated guest may try to boot.
const BOOT_ATTEMPTS: u32 = 3;
/// How often the kernel's log is looked at while a command runs.
const GLANCE: Duration = Duration::from_secs(2);
/// How long the way down may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(120);

/// How a guest is to be.
pub struct Config {
    /// Disks: /dev/vdb and on.
    pub disks: Vec<Disk>,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// How long the way up may take.
    pub boot_timeout: Duration,
    /// How code is executed; probed if not said.
    pub accel: Option<Accel>,
    /// Kernel parameters beside the usual ones.
    pub parameters: String,
    /// Whether this process's terminal is the guest's first serial port.
    pub terminal: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disks: Vec::new(),
            memory: 1024,
            cpus: 2,
            boot_timeout: Duration::from_secs(180),
            accel: None,
            parameters: String::new(),
            terminal: false,
        }
    }
}

impl Config {
    /// A guest with these disks, and all else as usual.
    pub fn with_disks(disks: impl IntoIterator<Item = Disk>) -> Self {
        Self {
            disks: disks.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// Where a guest keeps what it has.
struct Place<'a> {
    /// A folder of its own.
    folder: &'a Path,
    /// The file that the kernel's log goes to.
    console: &'a Path,
    /// The file for what the program that is the guest has to say itself.
    errors: &'a Path,
}

/// A running guest. Dropping it kills it.
pub struct Guest {
    machine: Child,
    link: Link,
    console: PathBuf,
    disks: Vec<Disk>,
    is_user_mode: bool,
    folder: tempfile::TempDir,
}

impl Guest {
    /// Boots a guest and waits until it takes commands.
    ///
    /// Emulated by several threads, a kernel at times executes a breakpoint that it has
    /// just put into its own code, and dies of it. While it boots nothing of ours is in
    /// it, so a boot that fails in emulation is tried again, and says so.
    ///
    /// # Errors
    /// It does not come up; the error carries the end of its console.
    pub fn start(setup: &Setup, config: Config) -> Result<Self> {
        let accel = match (&setup.user_mode, config.accel) {
            (Some(_), _) => None,
            (None, Some(accel)) => Some(accel),
            (None, None) => Some(Accel::probe(setup)?),
        };
        let mut attempts = if accel == Some(Accel::Tcg) {
            BOOT_ATTEMPTS
        } else {
            1
        };
        loop {
            attempts -= 1;
            match Self::boot(setup, &config, accel) {
                Err(error) if attempts > 0 => {
                    let text = format!("{error:#}");
                    let sign = defects(&text).into_iter().next().unwrap_or(text);
                    eprintln!("booting once more, emulation died: {sign}");
                }
                result => return result,
            }
        }
    }

    /// One attempt.
    fn boot(setup: &Setup, config: &Config, accel: Option<Accel>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vexfs-guest-").tempdir()?;
        let console = folder.path().join("console");
        File::create(&console)?;
        let place = Place {
            folder: folder.path(),
            console: &console,
            errors: &folder.path().join("machine.log"),
        };
        let started = match (&setup.user_mode, accel) {
            (Some(kernel), _) => user_mode::start(setup, kernel, config, &place),
            (None, accel) => qemu::start(setup, config, accel.unwrap_or(Accel::Tcg), &place),
        };
        let opened = started.and_then(|(mut machine, stream)| {
            match Link::open(stream, config.boot_timeout) {
                Ok(link) => Ok((machine, link)),
                Err(error) => {
                    let _ = machine.kill();
                    let _ = machine.wait();
                    Err(error)
                }
            }
        });
        let (machine, link) = opened.map_err(|error| {
            let text = [place.console, place.errors]
                .map(|path| sys::tail(&std::fs::read(path).unwrap_or_default()));
            error.context(format!("the guest does not boot:\n{}", text.concat()))
        })?;
        Ok(Self {
            machine,
            link,
            console,
            disks: config.disks.clone(),
            is_user_mode: setup.user_mode.is_some(),
            folder,
        })
    }

    /// The path of a disk in the guest.
    pub fn disk(&self, index: u8) -> String {
        let letter = char::from(b'b'.saturating_add(index));
        if self.is_user_mode {
            format!("/dev/ubd{letter}")
        } else {
            format!("/dev/vd{letter}")
        }
    }

    /// Runs a shell command as root, which must succeed; returns its output.
    ///
    /// # Errors
    /// It ends with another status than 0 (the error carries its output), takes too
    /// long, the guest dies, or the kernel's log shows a defect.
    pub fn run(&self, script: &str) -> Result<String> {
        self.checked(script, self.output(script)?)
    }

    /// [`run`](Self::run), as the ordinary user.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_as_user(&self, script: &str) -> Result<String> {
        self.checked(script, self.output_as_user(script)?)
    }

    /// Runs a shell command as root, whatever its status.
    ///
    /// # Errors
    /// It takes too long, the guest dies, or the kernel's log shows a defect.
    pub fn output(&self, script: &str) -> Result<Output> {
        self.finish(self.spawn(script)?, COMMAND_TIMEOUT)
    }

    /// [`output`](Self::output), as the ordinary user.
    ///
    /// # Errors
    /// As `output`.
    pub fn output_as_user(&self, script: &str) -> Result<Output> {
        let exec = Exec {
            argv: shell(script),
            user: Some(rootfs::USER_ID),
        };
        self.finish(self.link.start(&exec, &[])?, COMMAND_TIMEOUT)
    }

    /// [`run`](Self::run) with another limit of time.
    ///
    /// # Errors
    /// As `run`.
    pub fn run_within(&self, script: &str, timeout: Duration) -> Result<String> {
        self.checked(script, self.finish(self.spawn(script)?, timeout)?)
    }

    /// Starts a shell command as root and does not wait for it.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn spawn(&self, script: &str) -> Result<Running> {
        self.link.start(
            &Exec {
                argv: shell(script),
                user: None,
            },
            &[],
        )
    }

    /// Writes a file in the guest.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_file(&self, path: &str, contents: &[u8]) -> Result<()> {
        let argv = ["sh", "-c", "cat > \"$1\"", "sh", path]
            .map(str::to_owned)
            .to_vec();
        let running = self.link.start(&Exec { argv, user: None }, contents)?;
        let output = self.finish(running, COMMAND_TIMEOUT)?;
        self.checked(&format!("write {path}"), output)?;
        Ok(())
    }

    /// All that the kernel has printed so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Looks for defects in the kernel's log.
    ///
    /// # Errors
    /// There are; the error carries the end of the log.
    pub fn check_log(&self) -> Result<()> {
        check(&self.console())
    }

    /// Writes everything back, powers off, and looks at the kernel's log.
    ///
    /// # Errors
    /// The guest does not go down, or the log shows a defect.
    pub fn shutdown(mut self) -> Result<()> {
        self.link.power_off()?;
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        while self.machine.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!(
                    "the guest does not power off:\n{}",
                    sys::tail(self.console().as_bytes())
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for disk in &self.disks {
            if let Disk::Volatile(volatile) = disk {
                volatile.settle()?;
            }
        }
        self.check_log()
    }

    /// Cuts the power. What becomes of unflushed writes on volatile disks depends
    /// on `seed`.
    ///
    /// # Errors
    /// The guest cannot be killed, or the log shows a defect up to here.
    pub fn power_cut(mut self, seed: u64) -> Result<Vec<Loss>> {
        self.machine.kill().context("cannot kill the guest")?;
        self.machine.wait()?;
        let mut losses = Vec::new();
        for disk in &self.disks {
            if let Disk::Volatile(volatile) = disk {
                losses.push(volatile.cut(seed)?);
            }
        }
        self.check_log()?;
        Ok(losses)
    }

    /// Gives the terminal to a shell in the guest until it ends. Only for a guest
    /// that was started with [`Config::terminal`].
    ///
    /// # Errors
    /// The guest dies.
    pub fn shell(&self, rows: u16, columns: u16) -> Result<()> {
        let script = format!(
            "stty rows {rows} cols {columns} < /dev/ttyS0; cd /root; \
             exec setsid --ctty --wait bash -l < /dev/ttyS0 > /dev/ttyS0 2>&1"
        );
        let mut running = self.spawn(&script)?;
        while running.poll(GLANCE)? != Progress::Ended {
            running.take_stdout();
        }
        Ok(())
    }

    /// Waits until a command has output to take; false if it ended without more.
    /// The kernel's log is watched all the while.
    ///
    /// # Errors
    /// The command is silent for longer than `silence`, the guest dies, or the log
    /// shows a defect.
    pub fn wait_output(&self, running: &mut Running, silence: Duration) -> Result<bool> {
        let deadline = Instant::now() + silence;
        loop {
            let progress = running.poll(GLANCE);
            // A defect explains a dead guest better than its being dead does.
            self.check_log()?;
            match progress {
                Ok(Progress::Output) => return Ok(true),
                Ok(Progress::Ended) => return Ok(false),
                Ok(Progress::Silent) if Instant::now() < deadline => {}
                Ok(Progress::Silent) => bail!(
                    "`{}` takes too long; end of the console:\n{}",
                    running.name(),
                    sys::tail(self.console().as_bytes())
                ),
                Err(error) => {
                    let console = sys::tail(self.console().as_bytes());
                    return Err(error.context(format!("end of the console:\n{console}")));
                }
            }
        }
    }

    /// Waits until a command ends, which may take as long as `timeout` after its last
    /// output.
    fn finish(&self, mut running: Running, timeout: Duration) -> Result<Output> {
        let mut stdout = Vec::new();
        while self.wait_output(&mut running, timeout)? {
            stdout.extend(running.take_stdout());
        }
        let mut output = running.into_output();
        output.stdout = stdout;
        Ok(output)
    }

    fn checked(&self, script: &str, output: Output) -> Result<String> {
        ensure!(
            output.status == 0,
            "`{script}` ended with status {}\n{}{}",
            output.status,
            sys::tail(&output.stdout),
            sys::tail(&output.stderr)
        );
        Ok(output.text())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Already dead after an orderly end; nothing to be done about an error.
        let _ = self.machine.kill();
        let _ = self.machine.wait();
        if let Some(keep) = std::env::var_os("VEXFS_KEEP_CONSOLES") {
            let name = self.folder.path().file_name().unwrap_or_default();
            let _ = std::fs::copy(&self.console, Path::new(&keep).join(name));
        }
    }
}

fn shell(script: &str) -> Vec<String> {
    ["bash", "-c", script].map(str::to_owned).to_vec()
}

fn check(console: &str) -> Result<()> {
    let defects = defects(console);
    if defects.is_empty() {
        return Ok(());
    }
    // From the first defect on, the log tells the story.
    let first = defects.first().map(String::as_str).unwrap_or_default();
    let start = console.find(first).unwrap_or(0);
    let story: Vec<&str> = console
        .get(start..)
        .unwrap_or_default()
        .lines()
        .take(60)
        .collect();
    bail!("the kernel's log shows a defect:\n{}", story.join("\n"))
}

/// Where the disk of the demonstration is, for the shell to find it again.
///
/// # Errors
/// The build folder cannot be created.
pub fn demo_disk() -> Result<PathBuf> {
    Ok(project::build_folder("demo")?.join("disk.img"))
}
