// SPDX-License-Identifier: GPL-2.0-only
//! Writes that stay in memory: for replaying a journal, and for everything else that must see a consistent filesystem without changing the device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;

use layout::{Block, BLOCK_SIZE};

use super::mem::parts;
use super::{check_range, Device};

/// A device whose writes go to memory, on top of one that is only read.
#[derive(Debug)]
pub struct Overlay<D> {
    base: D,
    blocks: RefCell<HashMap<u64, Box<Block>>>,
}

impl<D: Device> Overlay<D> {
    /// Puts a layer over `base`, which will not be written.
    #[must_use]
    pub fn new(base: D) -> Self {
        Self {
            base,
            blocks: RefCell::default(),
        }
    }

    /// The device below, unchanged.
    #[must_use]
    pub fn into_base(self) -> D {
        self.base
    }
}

impl<D: Device> Device for Overlay<D> {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.size(), offset, buf.len() as u64)?;
        self.base.read_at(offset, buf)?;
        let blocks = self.blocks.borrow();
        if !blocks.is_empty() {
            for (block, inside, position, len) in parts(offset, buf.len()) {
                if let Some(data) = blocks.get(&block) {
                    buf[position..position + len].copy_from_slice(&data[inside..inside + len]);
                }
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        check_range(self.size(), offset, buf.len() as u64)?;
        for (block, inside, position, len) in parts(offset, buf.len()) {
            let mut data = match self.blocks.borrow_mut().remove(&block) {
                Some(data) => data,
                // The last block of a device may be short.
                None => {
                    let start = block * BLOCK_SIZE as u64;
                    let there = (self.size() - start).min(BLOCK_SIZE as u64) as usize;
                    let mut data = Box::new([0; BLOCK_SIZE]);
                    if len < there {
                        self.base.read_at(start, &mut data[..there])?;
                    }
                    data
                }
            };
            data[inside..inside + len].copy_from_slice(&buf[position..position + len]);
            self.blocks.borrow_mut().insert(block, data);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _offset: u64, _len: u64) -> io::Result<bool> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemDevice;
    use super::*;

    #[test]
    fn writes_are_seen_and_the_base_is_not_touched() {
        let base = MemDevice::new(3 * 4096 + 100);
        base.write_at(0, &[1; 3 * 4096 + 100]).unwrap();
        let overlay = Overlay::new(base);
        overlay.write_at(4090, b"0123456789").unwrap();
        overlay.write_at(3 * 4096 + 90, b"0123456789").unwrap();
        let mut buf = [0; 14];
        overlay.read_at(4088, &mut buf).unwrap();
        assert_eq!(&buf, b"\x01\x010123456789\x01\x01");
        overlay.read_at(3 * 4096 + 86, &mut buf).unwrap();
        assert_eq!(&buf, b"\x01\x01\x01\x010123456789");
        let base = overlay.into_base();
        let mut all = vec![0; 3 * 4096 + 100];
        base.read_at(0, &mut all).unwrap();
        assert!(all.iter().all(|&byte| byte == 1));
    }
}
