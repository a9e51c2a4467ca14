// SPDX-License-Identifier: GPL-2.0-only
//! Storage as the rest of the crate sees it: bytes that can be read, written, flushed and discarded. Implementations: a file or block device, memory,
//! a layer that keeps writes in memory, and two for tests that inject errors and cut the power. They know nothing of what is stored.

use std::io;
use std::rc::Rc;

use layout::{Block, BLOCK_SIZE};

mod fault;
mod file;
mod mem;
mod overlay;
mod power;

pub use fault::{Fault, FaultDevice};
pub use file::{Access, FileDevice};
pub use mem::MemDevice;
pub use overlay::Overlay;
pub use power::{CutPoint, PowerCutDevice};

/// A storage device. All methods take `&self`: implementations use `pread`/`pwrite` or interior mutability.
///
/// A write is durable once a later [`Device::flush`] has returned `Ok`. Until then it may be lost, whole or in part, and out of order with other writes; sectors of
/// 512 bytes are assumed not to tear.
pub trait Device {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// Also if the range is not inside the device.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Also if the range is not inside the device, or the device was opened for reading.
    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()>;

    /// Makes everything written before durable.
    ///
    /// # Errors
    /// After an error nothing is known about the writes since the last flush; repeating the flush proves nothing.
    fn flush(&self) -> io::Result<()>;

    /// Tells the device that the contents of a range are not needed. Returns whether the range reads as zeros from now on; if not, its
    /// contents are undefined.
    ///
    /// # Errors
    /// A device that cannot discard returns `Ok(false)`; errors are those of I/O.
    fn discard(&self, offset: u64, len: u64) -> io::Result<bool>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<D: Device + ?Sized> Device for $pointer {
            fn size(&self) -> u64 {
                (**self).size()
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
                (**self).read_at(offset, buf)
            }
            fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
                (**self).write_at(offset, buf)
            }
            fn flush(&self) -> io::Result<()> {
                (**self).flush()
            }
            fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
                (**self).discard(offset, len)
            }
        }
    )*};
}
forward!(Box<D>, Rc<D>, &D);

/// Byte offset of a block. Block numbers are below 2^48, so this does not overflow for any block of a filesystem; for others it saturates, and the access is refused
/// as outside the device.
pub(crate) fn offset_of(block: u64) -> u64 {
    block.saturating_mul(BLOCK_SIZE as u64)
}

/// Reads one block.
pub(crate) fn read_block(device: &dyn Device, block: u64) -> io::Result<Box<Block>> {
    let mut data = Box::new([0; BLOCK_SIZE]);
    device.read_at(offset_of(block), data.as_mut_slice())?;
    Ok(data)
}

/// Refuses ranges that are not inside a device of `size` bytes.
fn check_range(size: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes at offset {offset} are not inside the device of {size} bytes"),
        )),
    }
}

/// Writes runs of consecutive blocks with as few calls as possible.
pub(crate) struct RunWriter<'a> {
    device: &'a dyn Device,
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    /// Longest write: 1 MiB.
    const LIMIT: usize = 256 * BLOCK_SIZE;

    pub(crate) fn new(device: &'a dyn Device) -> Self {
        Self {
            device,
            start: 0,
            buffer: Vec::new(),
        }
    }

    /// Adds `data` for `block`; what was collected is written first if `block` does not continue it.
    pub(crate) fn push(&mut self, block: u64, data: &Block) -> io::Result<()> {
        let next = self.start + (self.buffer.len() / BLOCK_SIZE) as u64;
        if !self.buffer.is_empty() && (block != next || self.buffer.len() >= Self::LIMIT) {
            self.finish()?;
        }
        if self.buffer.is_empty() {
            self.start = block;
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// Writes what is left. Must be called; dropping the writer writes nothing.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.device.write_at(offset_of(self.start), &self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
