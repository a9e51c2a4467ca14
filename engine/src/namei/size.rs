// SPDX-License-Identifier: GPL-2.0-only
//! Changing the size of a regular file: the size and what can be freed in one transaction at once, the rest as an orphan.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::{extent, orphan, space, vector};
use layout::inode::{FileType, ForkFormat, Inode, INLINE_MAX};
use layout::{BLOCK_SIZE, MAX_FILE_SIZE};

/// A file after its size was changed.
#[derive(Clone, Copy, Debug)]
pub struct Resized {
    /// The inode.
    pub inode: Inode,
    /// Whether blocks or records are left to free: the inode is an orphan then, and the caller goes on with
    /// [`orphan::trim_step`] before anybody can extend the file.
    pub unfinished: bool,
}

/// Sets the size of regular file `ino`. Beyond it, what its last block holds must be zeroed by the caller (that is file data); data
/// inside the inode is cut or filled with zeros here. Truncating to nothing kills the file's vector records.
///
/// Errors, clean: [`Error::IsDirectory`], [`Error::Range`] for other types and for inline data that would outgrow the inode
/// (the caller moves it to a block first), [`Error::TooLarge`], [`Error::Stale`]; [`Error::NoSpace`] only if even the metadata
/// reserve is used up.
pub fn set_size<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64, size: u64) -> Result<Resized> {
    resize(cx, ino, size, true)
}

/// As [`set_size`], but frees nothing yet: all that lies beyond the size, and the records of a file truncated to nothing, are left to
/// [`orphan::trim_step`]. For a caller that caches file data: it may throw cached data away only when the new size is certain, and the
/// blocks may be given to somebody else only when nothing is being written to them any more. So the cache is cut between the two.
///
/// Errors: those of [`set_size`].
pub fn cut_size<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64, size: u64) -> Result<Resized> {
    resize(cx, ino, size, false)
}

fn resize<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64, size: u64, free: bool) -> Result<Resized> {
    let mut done = Resized {
        inode: inode::BLANK,
        unfinished: false,
    };
    let Resized { inode, unfinished } = &mut done;
    inode::load_into(cx.io, ino, inode)?;
    match inode.file_type() {
        FileType::Regular => {}
        FileType::Directory => return Err(Error::IsDirectory),
        _ => return Err(Error::Range("only a regular file has a size to set")),
    }
    if size > MAX_FILE_SIZE {
        return Err(Error::TooLarge);
    }
    // The same size frees what was allocated beyond it.
    let shrinks = size <= inode.size;
    let inline = inode.data.format == ForkFormat::Inline;
    if inline && size > INLINE_MAX as u64 {
        return Err(Error::Range("data inside the inode would outgrow it"));
    }
    // A shrinking file can need its tree split nowhere, but an orphan entry may need a node.
    space::require_reserve(cx, orphan::new_blocks(cx.io)?)?;
    if inline {
        extent::resize_inline(inode, size)?;
    }
    inode.size = size;
    inode::touch_contents(inode, cx.now);
    if free {
        if shrinks && !orphan::truncate(cx, inode, size.div_ceil(BLOCK_SIZE as u64))? {
            *unfinished = true;
        }
        if size == 0 && orphan::kill_records(cx, inode)? {
            *unfinished = true;
        }
    } else {
        // Whatever the size on disk was: what is cached may have blocks far beyond it.
        *unfinished = extent::reaches_beyond(cx.io, inode, size)?;
        if size == 0 && vector::kill(inode) {
            *unfinished = true;
        }
    }
    // A file without links is an orphan anyway.
    if *unfinished && inode.links != 0 {
        orphan::add(cx, ino).map_err(Error::late)?;
    }
    inode::store(cx, inode)?;
    Ok(done)
}

/// Blocks that [`set_size`] or [`cut_size`] may change.
pub fn set_size_credits<R: ReadBlocks>(io: &R, inode: &Inode) -> Result<u32> {
    Ok(orphan::table_credits(io)?
        .saturating_add(extent::truncate_credits(inode, orphan::STEP_EXTENTS))
        .saturating_add(orphan::kill_credits(io, inode)?)
        .saturating_add(STORE_CREDITS))
}
