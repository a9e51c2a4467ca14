// SPDX-License-Identifier: GPL-2.0-only
//! What host and guest say to each other over a virtio-serial port. Only the
//! format; see `guest::link` and `agent` for those who speak it.
//!
//! A frame is: length of the payload (u32), number of the command that it
//! belongs to (u32), kind (u8), payload. Integers are little-endian.

use std::io::{Read, Write};

use anyhow::{ensure, Result};
use serde::{Deserialize, Serialize};

/// Name of the port on both sides.
pub const PORT: &str = "vexfs.agent";

/// Longest payload of a frame.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Guest: it is up.
    Ready,
    /// Host: run a command; the payload is an [`Exec`] in JSON.
    Exec,
    /// Host: standard input of a command; empty means its end.
    Stdin,
    /// Guest: standard output of a command.
    Stdout,
    /// Guest: standard error of a command.
    Stderr,
    /// Guest: a command has ended; the payload is its status, an i32: the exit
    /// status, or 128 and the number of the signal, or -1 if it did not start.
    Exit,
    /// Host: write back everything and power off.
    PowerOff,
}

const KINDS: [Kind; 7] = [
    Kind::Ready,
    Kind::Exec,
    Kind::Stdin,
    Kind::Stdout,
    Kind::Stderr,
    Kind::Exit,
    Kind::PowerOff,
];

/// A command to run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// User and group to run as; root without.
    pub user: Option<u32>,
}

/// One frame.
#[derive(Debug)]
pub struct Frame {
    /// The command that it belongs to; 0 if none.
    pub id: u32,
    /// What it means.
    pub kind: Kind,
    /// The rest.
    pub payload: Vec<u8>,
}

/// Writes a frame.
///
/// # Errors
/// The payload is too long, or writing fails.
pub fn write(to: &mut impl Write, id: u32, kind: Kind, payload: &[u8]) -> Result<()> {
    ensure!(
        payload.len() <= MAX_PAYLOAD,
        "payload of {} bytes",
        payload.len()
    );
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    frame.extend_from_slice(&id.to_le_bytes());
    frame.push(kind as u8);
    frame.extend_from_slice(payload);
    to.write_all(&frame)?;
    to.flush()?;
    Ok(())
}

/// Reads a frame.
///
/// # Errors
/// Reading fails or ends, or what comes is no frame.
pub fn read(from: &mut impl Read) -> Result<Frame> {
    let (mut length, mut id, mut kind) = ([0; 4], [0; 4], [0; 1]);
    from.read_exact(&mut length)?;
    from.read_exact(&mut id)?;
    from.read_exact(&mut kind)?;
    let length = u32::from_le_bytes(length) as usize;
    ensure!(length <= MAX_PAYLOAD, "frame of {length} bytes");
    let kind = KINDS.iter().find(|known| **known as u8 == kind[0]);
    let Some(&kind) = kind else {
        anyhow::bail!("frame of an unknown kind")
    };
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    Ok(Frame {
        id: u32::from_le_bytes(id),
        kind,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::{read, write, Kind, KINDS};

    #[test]
    fn a_frame_comes_back_as_it_was_written() {
        let mut bytes = Vec::new();
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(number, kind as usize);
            write(&mut bytes, 7, kind, b"payload").expect("write");
        }
        let mut rest = bytes.as_slice();
        for kind in KINDS {
            let frame = read(&mut rest).expect("read");
            assert_eq!(
                (frame.id, frame.kind, frame.payload.as_slice()),
                (7, kind, b"payload".as_slice())
            );
        }
        assert!(read(&mut rest).is_err());
        let mut unknown = [0_u8; 9].as_slice();
        assert_eq!(read(&mut unknown).expect("zero is Ready").kind, Kind::Ready);
        let mut unknown = [0, 0, 0, 0, 0, 0, 0, 0, 99].as_slice();
        assert!(read(&mut unknown).is_err());
    }
}
