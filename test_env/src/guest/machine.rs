// SPDX-License-Identifier: GPL-2.0-only
//! The process that is a guest: ends when this program does, in whatever way that
//! ends. Knows neither QEMU nor User Mode Linux.
//!
//! The kernel of this machine sees to it: `setpriv --pdeathsig`, which the process is
//! started through, asks for a signal when the parent is gone. A parent in this sense is
//! a thread, so one thread that never ends starts them all.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{channel, Sender};
use std::sync::OnceLock;

/// In front of a program and its arguments: it is killed when its parent ends. Holds only
/// while the process keeps its user, so it belongs behind whatever changes that.
pub const ENDS_WITH_PARENT: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

/// A command, and where its process is wanted.
type Job = (Command, Sender<io::Result<Child>>);

/// The command for a program that ends when this one does; for [`spawn`].
pub fn command(program: &str) -> Command {
    let [setpriv, options @ ..] = ENDS_WITH_PARENT;
    let mut command = Command::new(setpriv);
    command.args(options).arg(program);
    command
}

/// Starts a command whose words include [`ENDS_WITH_PARENT`].
///
/// # Errors
/// It cannot be started.
pub fn spawn(command: Command) -> io::Result<Child> {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (jobs, queue) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                // Whoever asked waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        jobs
    });
    let (answer, child) = channel();
    let gone = || io::Error::other("the thread that starts machines is gone");
    jobs.send((command, answer)).map_err(|_| gone())?;
    child.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::{command, spawn};

    /// Set for the process that the test starts and kills.
    const VICTIM: &str = "VEXFS_TEST_VICTIM";
    const NAME: &str = "guest::machine::tests::a_machine_ends_when_we_are_killed";

    #[test]
    fn a_machine_ends_when_we_are_killed() {
        if std::env::var_os(VICTIM).is_some() {
            // From a thread that ends, as guests are started by tests that end.
            let machine = std::thread::spawn(|| {
                let mut sleep = command("sleep");
                sleep.arg("600");
                spawn(sleep).expect("sleep")
            });
            let mut machine = machine.join().expect("a thread");
            eprintln!("machine {}", machine.id());
            let status = machine.wait().expect("wait");
            panic!("it ended before us: {status}");
        }
        let mut victim = Command::new(std::env::current_exe().expect("our own path"))
            .args(["--exact", NAME, "--nocapture"])
            .env(VICTIM, "1")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ourselves");
        let said = BufReader::new(victim.stderr.take().expect("a pipe"));
        let machine: u32 = said
            .lines()
            .find_map(|line| line.ok()?.strip_prefix("machine ")?.parse().ok())
            .expect("the number of a process");
        // It runs although the thread that asked for it has ended.
        std::thread::sleep(Duration::from_millis(200));
        assert!(runs(machine), "it ended too early");
        victim.kill().expect("kill");
        victim.wait().expect("wait");
        for _ in 0..1000 {
            if !runs(machine) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("process {machine} goes on");
    }

    /// Whether a process is there and not dead.
    fn runs(process: u32) -> bool {
        let stat =
            std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
    }
}
