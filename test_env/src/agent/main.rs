// SPDX-License-Identifier: GPL-2.0-only
//! Process 1 of a guest: mounts its root, then runs what the host asks for over
//! a virtio-serial port or a serial line. It knows nothing of what it runs.
//!
//! Commands run side by side. A process that outlives its command and holds its
//! output open keeps the command from ending, as with ssh.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use nix::kmod::init_module;
use nix::mount::{mount, MsFlags};
use nix::sys::reboot::{reboot, RebootMode};
use nix::sys::termios::{cfmakeraw, tcgetattr, tcsetattr, SetArg};

use test_env::protocol::{self, Exec, Kind, MAX_PAYLOAD, PORT};

/// Variables of the environment that name, for a kernel whose devices do not say what they
/// are, the disk of the root, that of /host, and the terminal that is the line to the host.
const ROOT: &str = "AGENT_ROOT";
const HOST: &str = "AGENT_HOST";
const LINE: &str = "AGENT_PORT";

/// The standard streams' way to the host, shared by all commands.
type Port = Arc<Mutex<File>>;

fn main() {
    if let Err(error) = serve() {
        // Not on the console while it is quiet: the kernel's log is.
        let text = format!("guest-agent: {error:#}\n");
        if let Ok(mut log) = File::options().write(true).open("/dev/kmsg") {
            let _ = log.write_all(text.as_bytes());
        }
        eprint!("{text}");
    }
    // Process 1 may not end: the kernel would panic.
    nix::unistd::sync();
    let _ = reboot(RebootMode::RB_POWER_OFF);
    loop {
        std::thread::park();
    }
}

fn serve() -> Result<()> {
    for (kind, path) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        attach(kind, kind, path, MsFlags::empty())?;
    }
    let mut modules: Vec<PathBuf> = fs::read_dir("/modules")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    modules.sort();
    for module in modules {
        init_module(&fs::read(&module)?, c"").with_context(|| format!("{}", module.display()))?;
    }
    attach(&disk("root", ROOT)?, "ext4", "/root", MsFlags::MS_NOATIME)?;
    attach(
        &disk("host", HOST)?,
        "ext4",
        "/root/host",
        MsFlags::MS_RDONLY,
    )?;
    for path in ["/dev", "/proc", "/sys"] {
        let to = format!("/root{path}");
        mount(
            Some(path),
            to.as_str(),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )?;
    }
    std::env::set_current_dir("/root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")?;
    fs::create_dir_all("/dev/pts")?;
    fs::create_dir_all("/dev/shm")?;
    attach("devpts", "devpts", "/dev/pts", MsFlags::empty())?;
    for path in ["/dev/shm", "/run", "/tmp"] {
        attach("tmpfs", "tmpfs", path, MsFlags::empty())?;
    }
    attach("debugfs", "debugfs", "/sys/kernel/debug", MsFlags::empty())?;
    fs::write("/proc/sys/kernel/hostname", "vexfs")?;
    // From here on the console shows every message of the kernel.
    fs::write("/proc/sys/kernel/printk", "8 4 1 8")?;

    let mut commands = port()?;
    let port: Port = Arc::new(Mutex::new(commands.try_clone()?));
    send(&port, 0, Kind::Ready, &[])?;
    let mut inputs: HashMap<u32, ChildStdin> = HashMap::new();
    loop {
        let frame = protocol::read(&mut commands)?;
        match frame.kind {
            Kind::Exec => match start(&frame.payload) {
                Ok(mut child) => {
                    if let Some(input) = child.stdin.take() {
                        inputs.insert(frame.id, input);
                    }
                    let port = Arc::clone(&port);
                    std::thread::spawn(move || follow(&port, frame.id, child));
                }
                Err(error) => {
                    send(
                        &port,
                        frame.id,
                        Kind::Stderr,
                        format!("{error:#}\n").as_bytes(),
                    )?;
                    send(&port, frame.id, Kind::Exit, &(-1_i32).to_le_bytes())?;
                }
            },
            Kind::Stdin if frame.payload.is_empty() => {
                inputs.remove(&frame.id);
            }
            Kind::Stdin => {
                if let Some(input) = inputs.get_mut(&frame.id) {
                    // A command may end without reading its input.
                    let _ = input.write_all(&frame.payload);
                }
            }
            Kind::PowerOff => return Ok(()),
            Kind::Ready | Kind::Stdout | Kind::Stderr | Kind::Exit => {
                bail!("the host sent {:?}", frame.kind);
            }
        }
    }
}

fn attach(source: &str, kind: &str, path: &str, flags: MsFlags) -> Result<()> {
    mount(Some(source), path, Some(kind), flags, None::<&str>)
        .with_context(|| format!("cannot mount {source} on {path}"))
}

/// The block device that the environment names, or that with the serial number, once it
/// is there.
fn disk(serial: &str, variable: &str) -> Result<String> {
    if let Ok(path) = std::env::var(variable) {
        return Ok(path);
    }
    wait_for(&format!("disk `{serial}`"), "/sys/block", |folder| {
        let found = fs::read_to_string(folder.join("serial")).ok()?;
        (found.trim() == serial).then(|| device(folder))
    })
}

/// The line to the host: the terminal that the environment names, or the virtio-serial
/// port, once it is there.
fn port() -> Result<File> {
    let open = |path: &str| {
        let file = File::options().read(true).write(true).open(path);
        file.with_context(|| format!("cannot open {path}"))
    };
    if let Ok(path) = std::env::var(LINE) {
        let line = open(&path)?;
        let mut settings = tcgetattr(&line)?;
        cfmakeraw(&mut settings);
        tcsetattr(&line, SetArg::TCSANOW, &settings)?;
        return Ok(line);
    }
    let path = wait_for("port", "/sys/class/virtio-ports", |folder| {
        let found = fs::read_to_string(folder.join("name")).ok()?;
        (found.trim() == PORT).then(|| device(folder))
    })?;
    open(&path)
}

fn device(folder: &Path) -> String {
    format!(
        "/dev/{}",
        folder.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// What `pick` finds among the entries of a folder, polled for a minute.
fn wait_for(what: &str, folder: &str, pick: impl Fn(&Path) -> Option<String>) -> Result<String> {
    for _ in 0..6000 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        if let Some(found) = entries
            .map(|entry| entry.path())
            .find_map(|path| pick(&path))
        {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("no {what} appeared")
}

fn start(payload: &[u8]) -> Result<Child> {
    let exec: Exec = serde_json::from_slice(payload)?;
    let (program, arguments) = exec.argv.split_first().context("empty command")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/host/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LC_ALL", "C.UTF-8")
        .env("TERM", "linux")
        .env("HOME", if exec.user.is_some() { "/tmp" } else { "/root" })
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(user) = exec.user {
        command.uid(user).gid(user);
    }
    command
        .spawn()
        .with_context(|| format!("cannot start {program}"))
}

/// Sends a command's output as it comes, then its status.
fn follow(port: &Port, id: u32, mut child: Child) {
    let streams: Vec<_> = [
        child
            .stdout
            .take()
            .map(|stream| pump(port, id, Kind::Stdout, stream)),
        child
            .stderr
            .take()
            .map(|stream| pump(port, id, Kind::Stderr, stream)),
    ]
    .into_iter()
    .flatten()
    .collect();
    for stream in streams {
        let _ = stream.join();
    }
    let status = child.wait().map_or(-1, status_number);
    // If the host is gone there is nobody to tell.
    let _ = send(port, id, Kind::Exit, &status.to_le_bytes());
}

fn status_number(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

fn pump(
    port: &Port,
    id: u32,
    kind: Kind,
    mut stream: impl Read + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let port = Arc::clone(port);
    std::thread::spawn(move || {
        let mut buffer = vec![0; MAX_PAYLOAD / 16];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if send(&port, id, kind, &buffer[..length]).is_err() {
                break;
            }
        }
    })
}

fn send(port: &Port, id: u32, kind: Kind, payload: &[u8]) -> Result<()> {
    let mut port = port.lock().unwrap_or_else(PoisonError::into_inner);
    protocol::write(&mut *port, id, kind, payload)
}
