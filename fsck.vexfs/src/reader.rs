// SPDX-License-Identifier: GPL-2.0-only
//! Reading of blocks that may be damaged: a block comes with its checksum, magic and inner order verified, or with the reason why not. It
//! decides nothing about problems.

use image::checksum::crc32;
use image::device::Device;
use layout::block::{self, BlockKind};
use layout::superblock::Super;
use layout::{Block, BLOCK_SIZE};
use std::fmt;

/// Why a block cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It lies outside the filesystem or the device.
    Outside,
    /// The device gave an error.
    Io(String),
    /// Its contents are not valid.
    Invalid(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Outside => f.write_str("outside the device"),
            Fault::Io(e) => f.write_str(e),
            Fault::Invalid(e) => f.write_str(e),
        }
    }
}

/// Reads blocks of one filesystem.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    dev: &'a dyn Device,
    /// The super block in use.
    pub sb: Super,
}

impl<'a> Reader<'a> {
    /// For the filesystem that `sb` describes.
    pub fn new(dev: &'a dyn Device, sb: Super) -> Reader<'a> {
        Reader { dev, sb }
    }

    /// A block as it is.
    pub fn raw(&self, number: u64) -> Result<Box<Block>, Fault> {
        let mut data = Box::new([0; BLOCK_SIZE]);
        self.run(number, data.as_mut_slice())?;
        Ok(data)
    }

    /// Consecutive blocks as they are.
    pub fn run(&self, start: u64, out: &mut [u8]) -> Result<(), Fault> {
        let end = start.saturating_add((out.len() / BLOCK_SIZE) as u64);
        let fits = self.dev.size() / BLOCK_SIZE as u64;
        if end > self.sb.geometry.blocks || end > fits {
            return Err(Fault::Outside);
        }
        self.dev
            .read_at(start * BLOCK_SIZE as u64, out)
            .map_err(|e| Fault::Io(e.to_string()))
    }

    /// A block of a kind, verified.
    pub fn block(&self, number: u64, kind: BlockKind) -> Result<Box<Block>, Fault> {
        let data = self.raw(number)?;
        block::verify(kind, number, &data, self.sb.seed, crc32).map_err(|e| Fault::Invalid(e.0))?;
        Ok(data)
    }
}
