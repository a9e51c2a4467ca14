// SPDX-License-Identifier: GPL-2.0-only
//! The host's end of the virtio-serial port: sends commands, sorts what comes
//! back by command. Knows nothing of QEMU.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::protocol::{self, Exec, Frame, Kind, MAX_PAYLOAD};

/// Where the frames of each command go. `None` once the guest is gone.
type Routes = Arc<Mutex<Option<HashMap<u32, Sender<Frame>>>>>;

/// The connection to a guest's agent.
pub struct Link {
    stream: Mutex<UnixStream>,
    routes: Routes,
    next_id: Mutex<u32>,
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit status; 128 and the signal's number if a signal ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// What waiting for a command showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is output to take.
    Output,
    /// The command ended and there is no more output.
    Ended,
    /// Nothing.
    Silent,
}

/// A command that runs in the guest.
pub struct Running {
    frames: Receiver<Frame>,
    gathered: Output,
    ended: bool,
    name: String,
}

impl Link {
    /// Takes over a connection and waits until the guest says that it is up.
    ///
    /// # Errors
    /// It does not, within `timeout`.
    pub fn open(mut stream: UnixStream, timeout: Duration) -> Result<Self> {
        stream.set_read_timeout(Some(timeout))?;
        let frame = protocol::read(&mut stream).context("the guest did not come up")?;
        if frame.kind != Kind::Ready {
            bail!("the guest began with {:?}", frame.kind);
        }
        stream.set_read_timeout(None)?;
        let routes: Routes = Arc::new(Mutex::new(Some(HashMap::new())));
        let mut incoming = stream.try_clone()?;
        let sorted = Arc::clone(&routes);
        std::thread::spawn(move || {
            while let Ok(frame) = protocol::read(&mut incoming) {
                let mut routes = lock(&sorted);
                let Some(routes) = routes.as_mut() else { break };
                let is_last = frame.kind == Kind::Exit;
                let id = frame.id;
                if let Some(route) = routes.get(&id) {
                    // Whoever started the command may not care any more.
                    let _ = route.send(frame);
                }
                if is_last {
                    routes.remove(&id);
                }
            }
            // Dropping the senders wakes everybody who waits.
            *lock(&sorted) = None;
        });
        Ok(Self {
            stream: Mutex::new(stream),
            routes,
            next_id: Mutex::new(1),
        })
    }

    /// Starts a command.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn start(&self, exec: &Exec, input: &[u8]) -> Result<Running> {
        let id = {
            let mut next = lock(&self.next_id);
            let id = *next;
            *next += 1;
            id
        };
        let (sender, frames) = channel();
        lock(&self.routes)
            .as_mut()
            .context("the guest is gone")?
            .insert(id, sender);
        let mut stream = lock(&self.stream);
        protocol::write(&mut *stream, id, Kind::Exec, &serde_json::to_vec(exec)?)?;
        for part in input.chunks(MAX_PAYLOAD) {
            protocol::write(&mut *stream, id, Kind::Stdin, part)?;
        }
        protocol::write(&mut *stream, id, Kind::Stdin, &[])?;
        Ok(Running {
            frames,
            gathered: Output {
                status: -1,
                stdout: Vec::new(),
                stderr: Vec::new(),
            },
            ended: false,
            name: exec.argv.join(" "),
        })
    }

    /// Asks the guest to power off.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn power_off(&self) -> Result<()> {
        protocol::write(&mut *lock(&self.stream), 0, Kind::PowerOff, &[])
    }
}

impl Running {
    /// Waits for `time` at most until there is standard output to
    /// [take](Self::take_stdout) or the command ends.
    ///
    /// # Errors
    /// The guest is gone.
    pub(super) fn poll(&mut self, time: Duration) -> Result<Progress> {
        let deadline = Instant::now() + time;
        while self.gathered.stdout.is_empty() && !self.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.frames.recv_timeout(left) {
                Ok(frame) => self.accept(frame),
                Err(RecvTimeoutError::Timeout) => return Ok(Progress::Silent),
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the guest died during `{}`", self.name)
                }
            }
        }
        Ok(if self.gathered.stdout.is_empty() {
            Progress::Ended
        } else {
            Progress::Output
        })
    }

    /// What the command is called in errors.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a command left behind that has ended.
    pub fn into_output(self) -> Output {
        self.gathered
    }

    /// Takes what has come of standard output, without waiting. Works on a guest
    /// that is gone, too.
    pub fn take_stdout(&mut self) -> Vec<u8> {
        while let Ok(frame) = self.frames.try_recv() {
            self.accept(frame);
        }
        std::mem::take(&mut self.gathered.stdout)
    }

    fn accept(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Stdout => self.gathered.stdout.extend(frame.payload),
            Kind::Stderr => self.gathered.stderr.extend(frame.payload),
            Kind::Exit => {
                let status = frame.payload.try_into().map_or(-1, i32::from_le_bytes);
                self.gathered.status = status;
                self.ended = true;
            }
            Kind::Ready | Kind::Exec | Kind::Stdin | Kind::PowerOff => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
