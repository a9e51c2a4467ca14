// SPDX-License-Identifier: GPL-2.0-only
//! Targets of symbolic links: up to [`INLINE_MAX`] bytes in the data fork, longer ones in chunks in the attribute tree. So
//! a link never has a data block, and its target is journalled with the directory entry that names it.
//! It may not create inodes; freeing the attribute tree frees the chunks with it.

use crate::budget;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::io::{ReadBlocks, Transaction};
use crate::space;
use crate::tree::{self, Which};
use layout::attr::{parse_symlink_key, symlink_key, CHUNK};
use layout::bytes::{put, slice_mut};
use layout::inode::{FileType, Inode, INLINE_MAX};
use layout::BLOCK_SIZE;

/// Longest target in bytes (PATH_MAX less its NUL).
pub const TARGET_MAX: usize = BLOCK_SIZE - 1;

fn chunks(len: usize) -> u32 {
    if len <= INLINE_MAX {
        0
    } else {
        len.div_ceil(CHUNK) as u32
    }
}

/// Blocks that [`write`] may change for a target of `len` bytes, the inode itself excluded.
pub fn credits(inode: &Inode, len: usize) -> u32 {
    budget::credits(inode, Which::Attr, chunks(len))
}

/// Blocks that [`write`] may allocate for a target of `len` bytes.
pub fn new_blocks(inode: &Inode, len: usize) -> u64 {
    budget::new_blocks(inode, Which::Attr, chunks(len))
}

/// Gives the new symbolic link `inode` its target and sets its size. The caller stores the inode.
///
/// Errors: clean [`Error::Range`] for an empty target or one that holds NUL, [`Error::NameTooLong`] above [`TARGET_MAX`],
/// [`Error::NoSpace`]; the dirty ones.
pub fn write<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, target: &[u8]) -> Result<()> {
    if target.is_empty() || target.contains(&0) {
        return Err(Error::Range("a symbolic link needs a target without NUL"));
    }
    if target.len() > TARGET_MAX {
        return Err(Error::NameTooLong);
    }
    if inode.file_type() != FileType::Symlink || inode.size != 0 {
        return Err(Error::Internal(
            "a target for an inode that is no new symbolic link",
        ));
    }
    if inode.data.set_inline(target).is_none() {
        space::require(cx, new_blocks(inode, target.len()))?;
        let mut n = 0u64;
        for chunk in target.chunks(CHUNK) {
            let key = symlink_key(n);
            n = n.saturating_add(1);
            tree::insert(cx, inode, Which::Attr, &key, chunk).map_err(Error::late)?;
        }
    }
    inode.size = target.len() as u64;
    Ok(())
}

/// Reads the target of `inode` into `buf` and returns its length.
///
/// Errors: [`Error::Range`] if it is no symbolic link, [`Error::BufferTooSmall`]; [`Error::Corrupt`] if chunks are missing or
/// of the wrong length; [`Error::Io`].
pub fn read<R: ReadBlocks>(io: &R, inode: &Inode, buf: &mut [u8]) -> Result<usize> {
    if inode.file_type() != FileType::Symlink {
        return Err(Error::Range("not a symbolic link"));
    }
    let len = usize::try_from(inode.size).map_err(|_| Error::TooLarge)?;
    let out = buf.get_mut(..len).ok_or(Error::BufferTooSmall)?;
    if let Some(target) = inode.data.inline() {
        put(out, 0, target).ok_or(Error::BufferTooSmall)?;
        return Ok(len);
    }
    let place = io.sb().geometry.inode_place(inode.ino);
    let bad = Error::corrupt(
        place.map_or(0, |p| p.block),
        "target of a symbolic link does not match its length",
    );
    let mut at = 0usize;
    let mut next = 0u64;
    tree::walk(io, inode, Which::Attr, &symlink_key(0), |key, chunk| {
        if parse_symlink_key(key).is_none() {
            return Ok(false);
        }
        let want = len.saturating_sub(at).min(CHUNK);
        if parse_symlink_key(key) != Some(next) || chunk.len() != want || want == 0 {
            return Err(bad);
        }
        let dst = slice_mut(out, at, want).ok_or(bad)?;
        put(dst, 0, chunk).ok_or(bad)?;
        at = at.saturating_add(want);
        next = next.saturating_add(1);
        Ok(true)
    })?;
    if at != len {
        return Err(bad);
    }
    Ok(len)
}
