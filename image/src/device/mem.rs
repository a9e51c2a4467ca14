// SPDX-License-Identifier: GPL-2.0-only
//! A device in memory that stores only what was written: one of 16 TiB costs nothing. For tests and for building images before they are stored.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use layout::{Block, BLOCK_SIZE};

use super::{check_range, Device};

/// A sparse device in memory. Cloning it is cheap: blocks are shared until one of the clones writes them.
#[derive(Clone, Debug, Default)]
pub struct MemDevice {
    size: u64,
    blocks: RefCell<BTreeMap<u64, Rc<Block>>>,
}

impl MemDevice {
    /// A device of `size` bytes, all zero.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self {
            size,
            blocks: RefCell::default(),
        }
    }

    /// The blocks ever written and not discarded, in ascending order.
    #[must_use]
    pub fn written_blocks(&self) -> Vec<u64> {
        self.blocks.borrow().keys().copied().collect()
    }
}

/// Cuts the byte range into parts that each lie inside one block: (block, offset in it, position in the range, length).
pub(super) fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done >= len {
            return None;
        }
        let at = offset + done as u64;
        let inside = (at % BLOCK_SIZE as u64) as usize;
        let part = (BLOCK_SIZE - inside).min(len - done);
        let position = done;
        done += part;
        Some((at / BLOCK_SIZE as u64, inside, position, part))
    })
}

impl Device for MemDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, buf.len() as u64)?;
        let blocks = self.blocks.borrow();
        for (block, inside, position, len) in parts(offset, buf.len()) {
            let target = &mut buf[position..position + len];
            match blocks.get(&block) {
                Some(data) => target.copy_from_slice(&data[inside..inside + len]),
                None => target.fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, buf.len() as u64)?;
        let mut blocks = self.blocks.borrow_mut();
        for (block, inside, position, len) in parts(offset, buf.len()) {
            let data = blocks
                .entry(block)
                .or_insert_with(|| Rc::new([0; BLOCK_SIZE]));
            Rc::make_mut(data)[inside..inside + len]
                .copy_from_slice(&buf[position..position + len]);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        check_range(self.size, offset, len)?;
        let block_size = BLOCK_SIZE as u64;
        let (first, end) = (offset.div_ceil(block_size), (offset + len) / block_size);
        if first >= end {
            self.write_at(offset, &vec![0; len as usize])?;
            return Ok(true);
        }
        self.write_at(offset, &vec![0; (first * block_size - offset) as usize])?;
        self.write_at(
            end * block_size,
            &vec![0; (offset + len - end * block_size) as usize],
        )?;
        let mut blocks = self.blocks.borrow_mut();
        let mut rest = blocks.split_off(&first);
        blocks.append(&mut rest.split_off(&end));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_tebibytes_cost_what_was_written() {
        let device = MemDevice::new(16 << 40);
        device.write_at((16 << 40) - 3, b"end").unwrap();
        let mut buf = [9; 5];
        device.read_at((16 << 40) - 5, &mut buf).unwrap();
        assert_eq!(&buf, b"\0\0end");
        assert_eq!(device.written_blocks(), [(16 << 40) / 4096 - 1]);
        assert!(device.write_at((16 << 40) - 2, b"end").is_err());
    }

    #[test]
    fn discard_zeroes_exactly_the_range() {
        let device = MemDevice::new(5 * 4096);
        device.write_at(0, &[7; 5 * 4096]).unwrap();
        assert!(device.discard(4000, 2 * 4096).unwrap());
        let mut buf = vec![0; 5 * 4096];
        device.read_at(0, &mut buf).unwrap();
        assert!(buf
            .iter()
            .enumerate()
            .all(|(i, &b)| (b == 0) == (4000..4000 + 2 * 4096).contains(&i)));
        assert_eq!(device.written_blocks(), [0, 2, 3, 4]);
    }

    #[test]
    fn a_clone_does_not_see_later_writes() {
        let device = MemDevice::new(4096);
        device.write_at(0, b"a").unwrap();
        let clone = device.clone();
        device.write_at(0, b"b").unwrap();
        let mut buf = [0];
        clone.read_at(0, &mut buf).unwrap();
        assert_eq!(&buf, b"a");
    }
}
