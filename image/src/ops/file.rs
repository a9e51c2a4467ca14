// SPDX-License-Identifier: GPL-2.0-only
//! Contents of files. Data is written straight to its place, before the transaction that makes it part of the file: the commit makes both durable in
//! this order.

use engine::extent::{self, Mapping};
use engine::inode::{self, STORE_CREDITS};
use engine::{namei, Cx};
use layout::inode::{FileType, ForkFormat, Inode, Time, INLINE_MAX};
use layout::{BLOCK_SIZE, MAX_FILE_SIZE};

use crate::error::Result;
use crate::image::Image;
use crate::txn::Txn;

/// Blocks written in one transaction: 8 MiB.
const WRITE_BLOCKS: u64 = 2048;

impl Image {
    /// Reads from a file into `buf`; returns how many bytes there were.
    ///
    /// # Errors
    /// [`engine::Error::IsDirectory`], [`engine::Error::Corrupt`], I/O errors.
    pub fn read_at(&self, file: &Inode, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read(|_| check_regular(file))?;
        let there = file.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..there];
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let logical = at / BLOCK_SIZE as u64;
            let inside = (at % BLOCK_SIZE as u64) as usize;
            let rest = buf.len() - done;
            let target = &mut buf[done..];
            match self.read(|io| extent::map(io, file, logical))? {
                Mapping::Inline => {
                    let data = file.data.inline().unwrap_or(&[]);
                    // Checked when the inode was read: inline data is as long as the file.
                    let from = data.get(at as usize..).unwrap_or(&[]);
                    let len = from.len().min(rest);
                    target[..len].copy_from_slice(&from[..len]);
                    target[len..].fill(0);
                    done += rest;
                }
                Mapping::Hole { len } => {
                    let len = bytes_from(inside, len).min(rest);
                    target[..len].fill(0);
                    done += len;
                }
                Mapping::Extent(extent) => {
                    let skip = logical - extent.logical;
                    let len = bytes_from(inside, u64::from(extent.len) - skip).min(rest);
                    if extent.unwritten {
                        target[..len].fill(0);
                    } else {
                        self.read_blocks(extent.start + skip, inside, &mut target[..len])?;
                    }
                    done += len;
                }
            }
        }
        Ok(there)
    }

    /// Fills `buf` from byte `inside` of block `start` on.
    fn read_blocks(&self, start: u64, inside: usize, buf: &mut [u8]) -> Result<()> {
        if inside == 0 && buf.len() % BLOCK_SIZE == 0 {
            return self.read(|io| io.read_data(start, buf));
        }
        let blocks = (inside + buf.len()).div_ceil(BLOCK_SIZE);
        let mut whole = vec![0; blocks * BLOCK_SIZE];
        self.read(|io| io.read_data(start, &mut whole))?;
        buf.copy_from_slice(&whole[inside..inside + buf.len()]);
        Ok(())
    }

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// As for [`Image::read_at`]; [`engine::Error::TooLarge`] if the file is longer than `limit`.
    pub fn read_all(&self, file: &Inode, limit: u64) -> Result<Vec<u8>> {
        if file.size > limit {
            return Err(engine::Error::TooLarge.into());
        }
        let mut data = vec![0; file.size as usize];
        self.read_at(file, 0, &mut data)?;
        Ok(data)
    }

    /// Writes `data` at `offset`, and extends the file if it ends before. Up to the first few MiB the write is atomic; a longer one may be in part
    /// there after a crash.
    ///
    /// # Errors
    /// [`engine::Error::IsDirectory`], [`engine::Error::NoSpace`] (what was written before the space ran out stays), [`engine::Error::TooLarge`], I/O errors.
    pub fn write_at(&mut self, ino: u64, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .filter(|end| *end <= MAX_FILE_SIZE)
            .ok_or(engine::Error::TooLarge)?;
        if data.is_empty() {
            return Ok(());
        }
        let file = self.inode(ino)?;
        self.read(|_| check_regular(&file))?;
        if is_inline(&file) && end <= INLINE_MAX as u64 {
            return self.write_inline(ino, offset as usize, data);
        }
        self.uninline(ino)?;
        let mut at = offset;
        while at < end {
            let rest = &data[(at - offset) as usize..];
            at = self.write_run(ino, at, rest)?;
        }
        Ok(())
    }

    fn write_inline(&mut self, ino: u64, offset: usize, data: &[u8]) -> Result<()> {
        self.with_credits(STORE_CREDITS, |cx| {
            let mut file = inode::load(cx.io, ino)?;
            let end = offset.saturating_add(data.len());
            let mut bytes = vec![0; end.max(file.size as usize)];
            let old = file.data.inline().unwrap_or(&[]);
            bytes[..old.len()].copy_from_slice(old);
            bytes[offset..end].copy_from_slice(data);
            extent::set_inline(&mut file, &bytes)?;
            touch(&mut file, cx.now);
            inode::store(cx, &file)
        })
    }

    /// Moves data out of the inode, if it is there.
    fn uninline(&mut self, ino: u64) -> Result<()> {
        if self.inode(ino)?.data.format != ForkFormat::Inline {
            return Ok(());
        }
        self.with_credits(extent::uninline_credits() + STORE_CREDITS, |cx| {
            let mut file = inode::load(cx.io, ino)?;
            let mut block = vec![0; BLOCK_SIZE];
            if let Some(data) = file.data.inline() {
                block[..data.len()].copy_from_slice(data);
            }
            if let Some(start) = extent::uninline(cx, &mut file)? {
                cx.io.write_data(start, &block)?;
            }
            inode::store(cx, &file)
        })
    }

    /// Writes the beginning of `data` at `offset`, as much as lies in one extent; returns up to where.
    fn write_run(&mut self, ino: u64, offset: u64, data: &[u8]) -> Result<u64> {
        let file = self.inode(ino)?;
        let credits = extent::allocate_credits(&file)
            .saturating_add(extent::convert_credits(&file))
            // The allocation may have made the tree higher.
            .saturating_mul(2)
            .saturating_add(STORE_CREDITS);
        self.with_credits(credits, |cx| {
            let mut file = inode::load(cx.io, ino)?;
            let logical = offset / BLOCK_SIZE as u64;
            let inside = (offset % BLOCK_SIZE as u64) as usize;
            let wanted = ((inside + data.len()).div_ceil(BLOCK_SIZE) as u64).min(WRITE_BLOCKS);
            let extent = extent::allocate(cx, &mut file, logical, wanted)?;
            let skip = logical - extent.logical;
            let blocks = (u64::from(extent.len) - skip).min(wanted);
            let len = bytes_from(inside, blocks).min(data.len());
            write_blocks(
                cx,
                extent.start + skip,
                extent.unwritten,
                inside,
                &data[..len],
            )?;
            let mut end = offset + len as u64;
            if extent.unwritten {
                let converted = extent::convert(cx, &mut file, logical, blocks)?;
                end = end.min(converted.saturating_mul(BLOCK_SIZE as u64));
                if end <= offset {
                    return Err(engine::Error::Internal(
                        "conversion of an extent got nowhere",
                    ));
                }
            }
            file.size = file.size.max(end);
            touch(&mut file, cx.now);
            inode::store(cx, &file)?;
            Ok(end)
        })
    }

    /// Sets the size of a file; what is beyond a smaller size is freed.
    ///
    /// # Errors
    /// Those of [`namei::set_size`].
    pub fn set_size(&mut self, ino: u64, size: u64) -> Result<Inode> {
        let file = self.inode(ino)?;
        self.read(|_| check_regular(&file))?;
        if file.data.format == ForkFormat::Inline && size > INLINE_MAX as u64 {
            self.uninline(ino)?;
        }
        self.zero_tail(&file, size)?;
        let credits = self.read(|io| namei::size::set_size_credits(io, &file))?;
        let resized = self.with_credits(credits, |cx| namei::set_size(cx, ino, size))?;
        if resized.unfinished {
            self.finish_orphan(ino)?;
        }
        self.inode(ino)
    }

    /// Zeroes what the last block of the file will hold beyond `size`: it must not come back when the file grows again.
    fn zero_tail(&self, file: &Inode, size: u64) -> Result<()> {
        let inside = (size % BLOCK_SIZE as u64) as usize;
        if size >= file.size || inside == 0 {
            return Ok(());
        }
        let logical = size / BLOCK_SIZE as u64;
        self.read(|io| match extent::map(io, file, logical)? {
            Mapping::Extent(extent) if !extent.unwritten => {
                let start = extent.start + (logical - extent.logical);
                let mut block = vec![0; BLOCK_SIZE];
                io.read_data(start, &mut block)?;
                block[inside..].fill(0);
                io.write_data(start, &block)
            }
            _ => Ok(()),
        })
    }
}

/// Writes `data` from byte `inside` of block `start` on. What shares the first and last block with it is kept, or is zero if the blocks are `new`.
fn write_blocks(
    cx: &Cx<'_, Txn<'_>>,
    start: u64,
    new: bool,
    inside: usize,
    data: &[u8],
) -> engine::Result<()> {
    if inside == 0 && data.len() % BLOCK_SIZE == 0 {
        return cx.io.write_data(start, data);
    }
    let blocks = (inside + data.len()).div_ceil(BLOCK_SIZE);
    let mut whole = vec![0; blocks * BLOCK_SIZE];
    if !new {
        let last = (blocks - 1) * BLOCK_SIZE;
        cx.io.read_data(start, &mut whole[..BLOCK_SIZE])?;
        cx.io
            .read_data(start + (blocks - 1) as u64, &mut whole[last..])?;
    }
    whole[inside..inside + data.len()].copy_from_slice(data);
    cx.io.write_data(start, &whole)
}

/// Bytes from byte `inside` of a run of `blocks` blocks to its end.
fn bytes_from(inside: usize, blocks: u64) -> usize {
    usize::try_from(blocks.saturating_mul(BLOCK_SIZE as u64))
        .map_or(usize::MAX, |bytes| bytes - inside)
}

/// Whether the file's data is in the inode, or could be.
fn is_inline(file: &Inode) -> bool {
    match file.data.format {
        ForkFormat::Inline => true,
        ForkFormat::Empty => file.size <= INLINE_MAX as u64,
        ForkFormat::Leaf | ForkFormat::Tree => false,
    }
}

fn check_regular(file: &Inode) -> engine::Result<()> {
    match file.file_type() {
        FileType::Regular => Ok(()),
        FileType::Directory => Err(engine::Error::IsDirectory),
        _ => Err(engine::Error::Range("only regular files have contents")),
    }
}

fn touch(file: &mut Inode, now: Time) {
    file.mtime = now;
    file.ctime = now;
    file.version = file.version.wrapping_add(1);
}
