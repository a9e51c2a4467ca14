// SPDX-License-Identifier: GPL-2.0-only
//! A disk with a volatile write cache: a file served to QEMU over the network
//! block device protocol. Writes stay in memory until the guest flushes; at a
//! power cut, every sector that was not flushed is kept or lost by chance.
//!
//! This is what a real disk may do, and what killing QEMU alone does not show:
//! the host's page cache keeps everything. The protocol is the "fixed newstyle"
//! of <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, one
//! connection, simple replies. It may not interpret what is stored.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{bail, ensure, Context, Result};
use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Sectors that the cache holds before it writes some back on its own.
const CACHE_SECTORS: usize = (32 << 20) / SECTOR;

const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const FLAG_FIXED_NEWSTYLE: u16 = 1;
const FLAG_NO_ZEROES: u16 = 2;
const OPTION_EXPORT_NAME: u32 = 1;
const OPTION_ABORT: u32 = 2;
const OPTION_INFO: u32 = 6;
const OPTION_GO: u32 = 7;
const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_ERR_UNSUP: u32 = 0x8000_0001;
const INFO_EXPORT: u16 = 0;
/// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES.
const TRANSMISSION_FLAGS: u16 = 1 | 4 | 8 | 0x20 | 0x40;
const COMMAND_READ: u16 = 0;
const COMMAND_WRITE: u16 = 1;
const COMMAND_DISCONNECT: u16 = 2;
const COMMAND_FLUSH: u16 = 3;
const COMMAND_TRIM: u16 = 4;
const COMMAND_WRITE_ZEROES: u16 = 6;
const COMMAND_FLAG_FUA: u16 = 1;
const EIO: u32 = 5;
const EINVAL: u32 = 22;
/// Longest request that is served.
const MAX_REQUEST: u32 = 64 << 20;

/// What became of the cache at a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Sectors that were not flushed and reached the disk all the same.
    pub kept: usize,
    /// Sectors that were not flushed and are lost.
    pub lost: usize,
}

struct State {
    file: File,
    bytes: u64,
    cache: HashMap<u64, [u8; SECTOR]>,
    eviction: StdRng,
}

/// The disk.
pub struct Volatile {
    state: Arc<Mutex<State>>,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Volatile {
    /// A disk whose lasting contents are the file's.
    ///
    /// # Errors
    /// The file cannot be opened, or is not made of whole sectors.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let bytes = file.metadata()?.len();
        ensure!(
            bytes % SECTOR as u64 == 0,
            "{} is not made of sectors",
            path.display()
        );
        let state = State {
            file,
            bytes,
            cache: HashMap::new(),
            eviction: StdRng::seed_from_u64(bytes),
        };
        Ok(Self {
            state: Arc::new(Mutex::new(state)),
            server: Mutex::new(None),
        })
    }

    /// Serves one connection on a new socket, in a thread of its own.
    pub(super) fn serve(&self, socket: &Path) -> Result<()> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let state = Arc::clone(&self.state);
        let thread = std::thread::spawn(move || {
            // The connection ends when QEMU does, however it ends.
            if let Ok((stream, _)) = listener.accept() {
                let _ = serve(stream, &state);
            }
        });
        *lock(&self.server) = Some(thread);
        Ok(())
    }

    /// The power is cut: of what was not flushed, each sector is kept or lost by
    /// chance, and at times all of it is lost. To be called when QEMU is dead.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn cut(&self, seed: u64) -> Result<Loss> {
        self.join();
        let mut random = StdRng::seed_from_u64(seed);
        // All lost, much lost, much kept.
        let keep = [0.0, 0.3, 0.9]
            .into_iter()
            .choose(&mut random)
            .unwrap_or(0.0);
        let mut state = lock(&self.state);
        let cache = std::mem::take(&mut state.cache);
        let mut sectors: Vec<_> = cache.into_iter().collect();
        // The same seed must give the same loss.
        sectors.sort_unstable_by_key(|(number, _)| *number);
        let mut loss = Loss { kept: 0, lost: 0 };
        for (number, data) in sectors {
            if random.gen_bool(keep) {
                state.file.write_all_at(&data, number * SECTOR as u64)?;
                loss.kept += 1;
            } else {
                loss.lost += 1;
            }
        }
        Ok(loss)
    }

    /// The machine was shut down in order: the disk writes its cache.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn settle(&self) -> Result<()> {
        self.join();
        lock(&self.state).flush()
    }

    fn join(&self) {
        if let Some(thread) = lock(&self.server).take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn read(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(data, offset)?;
        for (number, sector) in (offset / SECTOR as u64..).zip(data.chunks_exact_mut(SECTOR)) {
            if let Some(cached) = self.cache.get(&number) {
                sector.copy_from_slice(cached);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8], through: bool) -> Result<()> {
        for (number, sector) in (offset / SECTOR as u64..).zip(data.chunks_exact(SECTOR)) {
            if through {
                self.cache.remove(&number);
            } else {
                let mut copy = [0; SECTOR];
                copy.copy_from_slice(sector);
                self.cache.insert(number, copy);
            }
        }
        if through {
            self.file.write_all_at(data, offset)?;
        } else if self.cache.len() > CACHE_SECTORS {
            // Half of it, in no order that a file system could rely on.
            let victims: Vec<u64> = self
                .cache
                .keys()
                .copied()
                .choose_multiple(&mut self.eviction, CACHE_SECTORS / 2);
            for number in victims {
                if let Some(sector) = self.cache.remove(&number) {
                    self.file.write_all_at(&sector, number * SECTOR as u64)?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        for (number, sector) in self.cache.drain() {
            self.file.write_all_at(&sector, number * SECTOR as u64)?;
        }
        Ok(())
    }
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) -> Result<()> {
    if !negotiate(&mut stream, lock(state).bytes)? {
        return Ok(());
    }
    while handle(&mut stream, state)? {}
    Ok(())
}

/// The handshake; false if the client leaves.
fn negotiate(stream: &mut UnixStream, bytes: u64) -> Result<bool> {
    let mut hello = NBD_MAGIC.to_be_bytes().to_vec();
    hello.extend(OPTION_MAGIC.to_be_bytes());
    hello.extend((FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES).to_be_bytes());
    stream.write_all(&hello)?;
    let client_flags = u32::from_be_bytes(take(stream)?);
    loop {
        ensure!(
            u64::from_be_bytes(take(stream)?) == OPTION_MAGIC,
            "bad option"
        );
        let option = u32::from_be_bytes(take(stream)?);
        let length = u32::from_be_bytes(take(stream)?);
        ensure!(length <= 4096, "option of {length} bytes");
        let mut data = vec![0; length as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPTION_EXPORT_NAME => {
                let mut reply = bytes.to_be_bytes().to_vec();
                reply.extend(TRANSMISSION_FLAGS.to_be_bytes());
                if client_flags & u32::from(FLAG_NO_ZEROES) == 0 {
                    reply.extend([0; 124]);
                }
                stream.write_all(&reply)?;
                return Ok(true);
            }
            OPTION_INFO | OPTION_GO => {
                let mut info = INFO_EXPORT.to_be_bytes().to_vec();
                info.extend(bytes.to_be_bytes());
                info.extend(TRANSMISSION_FLAGS.to_be_bytes());
                reply_option(stream, option, REPLY_INFO, &info)?;
                reply_option(stream, option, REPLY_ACK, &[])?;
                if option == OPTION_GO {
                    return Ok(true);
                }
            }
            OPTION_ABORT => {
                reply_option(stream, option, REPLY_ACK, &[])?;
                return Ok(false);
            }
            _ => reply_option(stream, option, REPLY_ERR_UNSUP, &[])?,
        }
    }
}

fn reply_option(stream: &mut UnixStream, option: u32, kind: u32, data: &[u8]) -> Result<()> {
    let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(option.to_be_bytes());
    reply.extend(kind.to_be_bytes());
    reply.extend((data.len() as u32).to_be_bytes());
    reply.extend(data);
    Ok(stream.write_all(&reply)?)
}

/// One request; false if it was the last.
fn handle(stream: &mut UnixStream, state: &Mutex<State>) -> Result<bool> {
    ensure!(
        u32::from_be_bytes(take(stream)?) == REQUEST_MAGIC,
        "bad request"
    );
    let flags = u16::from_be_bytes(take(stream)?);
    let command = u16::from_be_bytes(take(stream)?);
    let cookie: [u8; 8] = take(stream)?;
    let offset = u64::from_be_bytes(take(stream)?);
    let length = u32::from_be_bytes(take(stream)?);
    if command == COMMAND_DISCONNECT {
        return Ok(false);
    }
    let has_data = matches!(command, COMMAND_READ | COMMAND_WRITE | COMMAND_WRITE_ZEROES);
    if has_data && length > MAX_REQUEST {
        bail!("request of {length} bytes");
    }
    let mut data = vec![0; if has_data { length as usize } else { 0 }];
    if command == COMMAND_WRITE {
        stream.read_exact(&mut data)?;
    }
    let mut state = lock(state);
    let aligned = offset % SECTOR as u64 == 0 && length as usize % SECTOR == 0;
    let inside = offset
        .checked_add(u64::from(length))
        .is_some_and(|end| end <= state.bytes);
    let through = flags & COMMAND_FLAG_FUA != 0;
    let result = match command {
        COMMAND_FLUSH => state.flush(),
        // Discarded data may be anything; here it stays as it was.
        COMMAND_TRIM => Ok(()),
        COMMAND_READ | COMMAND_WRITE | COMMAND_WRITE_ZEROES if !aligned || !inside => {
            return reply(stream, EINVAL, cookie, &[]);
        }
        COMMAND_READ => state.read(offset, &mut data),
        COMMAND_WRITE | COMMAND_WRITE_ZEROES => state.write(offset, &data, through),
        _ => return reply(stream, EINVAL, cookie, &[]),
    };
    drop(state);
    match result {
        Ok(()) if command == COMMAND_READ => reply(stream, 0, cookie, &data),
        Ok(()) => reply(stream, 0, cookie, &[]),
        Err(_) => reply(stream, EIO, cookie, &[]),
    }
}

fn reply(stream: &mut UnixStream, error: u32, cookie: [u8; 8], data: &[u8]) -> Result<bool> {
    let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
    reply.extend(error.to_be_bytes());
    reply.extend(cookie);
    reply.extend(data);
    stream.write_all(&reply)?;
    Ok(true)
}

fn take<const N: usize>(stream: &mut UnixStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{lock, Volatile, SECTOR};

    fn disk() -> (tempfile::NamedTempFile, Volatile) {
        let file = tempfile::NamedTempFile::new().expect("file");
        file.as_file().set_len(64 * SECTOR as u64).expect("size");
        let disk = Volatile::open(file.path()).expect("open");
        (file, disk)
    }

    fn contents(file: &tempfile::NamedTempFile) -> Vec<u8> {
        std::fs::read(file.path()).expect("read")
    }

    #[test]
    fn what_was_flushed_survives_every_cut() {
        for seed in 0..20 {
            let (file, disk) = disk();
            let mut state = lock(&disk.state);
            state.write(0, &[1; 4 * SECTOR], false).expect("write");
            state.flush().expect("flush");
            state
                .write(8 * SECTOR as u64, &[2; SECTOR], true)
                .expect("write through");
            state.write(0, &[3; 2 * SECTOR], false).expect("overwrite");
            let mut seen = [0; SECTOR];
            state.read(0, &mut seen).expect("read");
            assert_eq!(seen, [3; SECTOR], "the guest sees what it wrote");
            drop(state);
            let loss = disk.cut(seed).expect("cut");
            assert_eq!(loss.kept + loss.lost, 2);
            let bytes = contents(&file);
            for sector in bytes[..2 * SECTOR].chunks(SECTOR) {
                assert!(
                    sector == [1; SECTOR] || sector == [3; SECTOR],
                    "whole sectors, old or new"
                );
            }
            assert_eq!(bytes[2 * SECTOR..4 * SECTOR], [1; 2 * SECTOR]);
            assert_eq!(bytes[8 * SECTOR..9 * SECTOR], [2; SECTOR]);
        }
    }

    #[test]
    fn some_cut_loses_something_and_some_keeps_something() {
        let losses: Vec<_> = (0..40)
            .map(|seed| {
                let (_file, disk) = disk();
                lock(&disk.state)
                    .write(0, &[1; 64 * SECTOR], false)
                    .expect("write");
                disk.cut(seed).expect("cut")
            })
            .collect();
        assert!(losses.iter().any(|loss| loss.kept == 0));
        assert!(losses.iter().any(|loss| loss.kept > loss.lost));
        assert!(losses.iter().all(|loss| loss.lost > 0));
    }

    #[test]
    fn an_orderly_end_loses_nothing() {
        let (file, disk) = disk();
        lock(&disk.state)
            .write(0, &[7; 3 * SECTOR], false)
            .expect("write");
        disk.settle().expect("settle");
        assert_eq!(contents(&file)[..3 * SECTOR], [7; 3 * SECTOR]);
    }
}
