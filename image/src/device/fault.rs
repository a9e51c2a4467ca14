// SPDX-License-Identifier: GPL-2.0-only
//! A device for tests that fails when told to.

use std::cell::Cell;
use std::io;

use super::Device;

/// Which access fails. Counted from 0, each kind on its own, from when the fault was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The nth read.
    Read(u64),
    /// The nth write.
    Write(u64),
    /// The nth flush.
    Flush(u64),
}

/// A device that returns EIO for one chosen access, or for it and all later ones of its kind.
#[derive(Debug)]
pub struct FaultDevice<D> {
    base: D,
    fault: Cell<Option<(Fault, bool)>>,
    reads: Cell<u64>,
    writes: Cell<u64>,
    flushes: Cell<u64>,
    hit: Cell<bool>,
}

impl<D: Device> FaultDevice<D> {
    /// Passes everything through until a fault is set.
    #[must_use]
    pub fn new(base: D) -> Self {
        Self {
            base,
            fault: Cell::new(None),
            reads: Cell::new(0),
            writes: Cell::new(0),
            flushes: Cell::new(0),
            hit: Cell::new(false),
        }
    }

    /// Sets the fault and starts counting anew. `lasting`: all later accesses of the kind fail too.
    pub fn set(&self, fault: Fault, lasting: bool) {
        self.fault.set(Some((fault, lasting)));
        self.reads.set(0);
        self.writes.set(0);
        self.flushes.set(0);
        self.hit.set(false);
    }

    /// Passes everything through again.
    pub fn clear(&self) {
        self.fault.set(None);
    }

    /// Whether the fault set last has been met.
    #[must_use]
    pub fn was_hit(&self) -> bool {
        self.hit.get()
    }

    /// The device below.
    #[must_use]
    pub fn base(&self) -> &D {
        &self.base
    }

    fn check(&self, counter: &Cell<u64>, wanted: impl Fn(Fault) -> Option<u64>) -> io::Result<()> {
        let now = counter.get();
        counter.set(now + 1);
        let Some((fault, lasting)) = self.fault.get() else {
            return Ok(());
        };
        match wanted(fault) {
            Some(n) if now == n || (lasting && now > n) => {
                self.hit.set(true);
                Err(io::Error::from(nix::errno::Errno::EIO))
            }
            _ => Ok(()),
        }
    }
}

impl<D: Device> Device for FaultDevice<D> {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check(&self.reads, |fault| match fault {
            Fault::Read(n) => Some(n),
            _ => None,
        })?;
        self.base.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.check(&self.writes, |fault| match fault {
            Fault::Write(n) => Some(n),
            _ => None,
        })?;
        self.base.write_at(offset, buf)
    }

    fn flush(&self) -> io::Result<()> {
        self.check(&self.flushes, |fault| match fault {
            Fault::Flush(n) => Some(n),
            _ => None,
        })?;
        self.base.flush()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        self.base.discard(offset, len)
    }
}
