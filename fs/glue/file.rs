// SPDX-License-Identifier: GPL-2.0-only
//! What changes a file as a whole: its size, holes and space made in advance, fsync. Where its data lies is [`super::mapping`]'s.

use super::blocks::{Reader, SIZE};
use super::error::read_failed;
use super::inode::{self, transact};
use super::mapping::{allocate_credits, look_up, make_space, move_out, BLOCK};
use super::VexFs;
use crate::vfs::{
    self, code, Extent as Place, Fallocate, FileOperations, FileRef, INode, IoctlArg, Result,
};
use engine::extent;
use engine::inode::STORE_CREDITS;
use engine::namei::size;
use kernel::prelude::*;
use layout::inode::{ForkFormat, INLINE_MAX};

/// Extents freed in one transaction of a hole punched.
const PUNCH_STEP: u32 = 16;

/// Whether truncating the file to the size that it has would free something: space that was allocated beyond it, or vector records, which
/// truncating to nothing ends even if the file was empty.
fn has_more(inode: &INode<VexFs>, size: u64) -> Result<bool> {
    let sb = inode.sb();
    sb.mount()
        .read(|io| {
            let loaded = engine::inode::load(io, inode.ino())?;
            Ok(size == 0 && loaded.vectors != 0 || extent::reaches_beyond(io, &loaded, size)?)
        })
        .map_err(|e| read_failed(sb, inode.ino(), e))
}

/// Sets the size of a file. The inode's lock is held.
pub(super) fn set_size(inode: &INode<VexFs>, size: u64) -> Result {
    let sb = inode.sb();
    let old = inode.size();
    if !inode.is_file() {
        return Err(code::EINVAL);
    }
    inode.wait_for_direct_io();
    if size == old && inode.data().disk_size() == size && !has_more(inode, size)? {
        return Ok(());
    }
    if size > INLINE_MAX as u64 && old > 0 && old <= INLINE_MAX as u64 && inode.sectors() == 0 {
        // Data that lies in the inode cannot stay there in a file this large.
        make_room_for_growth(inode)?;
    }
    let _faults = inode.lock_invalidate();
    if size < old {
        if inode.zero_block_tail(size)? {
            // On the device before the size is: else a crash could leave the old bytes behind the end, for a later growth or a
            // mapping in memory to show.
            inode.write_and_wait(size, size.saturating_add(1))?;
        }
    } else {
        // What a mapping in memory left behind the end of the last block must not appear.
        inode.zero_range(
            old,
            (old.div_ceil(BLOCK).saturating_mul(BLOCK))
                .min(size)
                .saturating_sub(old),
        )?;
    }
    let on_disk = inode.data().disk_size();
    if size > on_disk && old > on_disk {
        // A size on disk does not run ahead of the data below it.
        inode.write_and_wait(on_disk, size)?;
    }
    let credits =
        |io: &Reader<'_>| size::set_size_credits(io, &engine::inode::load(io, inode.ino())?);
    let (done, tid) = transact(sb, inode.ino(), credits, |cx| {
        let done = match size > old {
            true => size::set_size(cx, inode.ino(), size)?,
            false => size::cut_size(cx, inode.ino(), size)?,
        };
        // In here, as a write that completes compares the two sizes under the same lock.
        inode.data().set_disk_size(size);
        inode.set_size(size);
        inode.data().remapped();
        Ok(done)
    })?;
    // The size is certain: only now may the page cache lose what lies beyond it, and only then may the blocks be freed.
    inode.truncate_to(size);
    if size > old {
        inode.cache_extended(old, size);
    }
    if size != old {
        // truncate(2) does not ask for new times, but POSIX does; the caller records them.
        let now = inode.touch_ctime();
        inode.set_mtime(now);
    }
    inode.data().changed_in(tid);
    if done.unfinished {
        inode::trim(sb, inode.ino())?;
    }
    // The size is set. A number of blocks that cannot be looked up now is corrected by the next change.
    let _ = show_blocks(inode);
    Ok(())
}

/// Moves the data of an inline file to a block.
fn make_room_for_growth(inode: &INode<VexFs>) -> Result {
    let sb = inode.sb();
    let mut buffer = KBox::new([0u8; SIZE], GFP_KERNEL)?;
    let ((), tid) = transact(
        sb,
        inode.ino(),
        |io| allocate_credits(io, inode.ino()),
        |cx| {
            let mut loaded = engine::inode::load(cx.io, inode.ino())?;
            if loaded.data.format == ForkFormat::Inline {
                move_out(cx, &mut loaded, sb.mount().device(), &mut buffer)?;
                engine::inode::store(cx, &loaded)?;
                inode.data().remapped();
                inode.set_sectors(loaded.blocks.saturating_mul(BLOCK / 512));
            }
            Ok(())
        },
    )?;
    inode.data().changed_in(tid);
    Ok(())
}

/// Takes the number of blocks over into memory.
fn show_blocks(inode: &INode<VexFs>) -> Result {
    let sb = inode.sb();
    let now = sb
        .mount()
        .read(|io| engine::inode::load(io, inode.ino()))
        .map_err(|e| read_failed(sb, inode.ino(), e))?;
    inode.set_sectors(now.blocks.saturating_mul(BLOCK / 512));
    Ok(())
}

/// Frees whole blocks `from..to` of a file.
fn punch(inode: &INode<VexFs>, from: u64, to: u64) -> Result {
    let sb = inode.sb();
    loop {
        let credits = |io: &Reader<'_>| {
            let loaded = engine::inode::load(io, inode.ino())?;
            Ok(extent::punch_credits(&loaded, PUNCH_STEP).saturating_add(STORE_CREDITS))
        };
        let (done, tid) = transact(sb, inode.ino(), credits, |cx| {
            let mut loaded = engine::inode::load(cx.io, inode.ino())?;
            let done = extent::punch_step(cx, &mut loaded, from, to, PUNCH_STEP)?;
            engine::inode::store(cx, &loaded)?;
            inode.data().remapped();
            Ok(done)
        })?;
        inode.data().changed_in(tid);
        if done {
            return show_blocks(inode);
        }
        vfs::task::cond_resched();
    }
}

/// Makes space for bytes `pos..end`.
fn preallocate(inode: &INode<VexFs>, pos: u64, end: u64) -> Result {
    let mut at = pos;
    while at < end {
        let found = look_up(inode, at)?;
        let mapping = match found.extent {
            Place::Hole | Place::Inline(_) => make_space(inode, at, end.saturating_sub(at))?,
            _ => found,
        };
        at = mapping.offset.saturating_add(mapping.len);
        if vfs::task::fatal_signal_pending() {
            return Err(code::EINTR);
        }
    }
    Ok(())
}

impl FileOperations for VexFs {
    fn sync(inode: &INode<Self>, _data_only: bool) -> Result {
        inode::commit(inode)
    }

    fn fallocate(
        inode: &INode<Self>,
        what: Fallocate,
        pos: u64,
        len: u64,
        keep_size: bool,
    ) -> Result {
        let end = pos.checked_add(len).ok_or(code::EFBIG)?;
        inode.wait_for_direct_io();
        let old = inode.size();
        let faults = inode.lock_invalidate();
        if matches!(what, Fallocate::PunchHole | Fallocate::ZeroRange) {
            let is_inline = matches!(look_up(inode, 0)?.extent, Place::Inline(_));
            if is_inline {
                make_room_for_growth(inode)?;
            }
            inode.write_and_wait(pos, end)?;
            // Parts of blocks at both ends are overwritten, whole blocks between are taken away.
            let (first, last) = (pos.div_ceil(BLOCK), end / BLOCK);
            if first > last {
                inode.zero_range(pos, len)?;
            } else {
                inode.zero_range(pos, first.saturating_mul(BLOCK).saturating_sub(pos))?;
                let tail = last.saturating_mul(BLOCK);
                inode.zero_range(tail, end.saturating_sub(tail))?;
            }
            if first < last {
                inode.drop_cache(first.saturating_mul(BLOCK), last.saturating_mul(BLOCK));
                punch(inode, first, last)?;
            }
        }
        if matches!(what, Fallocate::Allocate | Fallocate::ZeroRange) {
            preallocate(inode, pos, end)?;
        }
        drop(faults);
        if !keep_size && end > old {
            // Last: without space for all of it the size stays.
            set_size(inode, end)?;
        }
        let mtime = inode.touch_ctime();
        inode.set_mtime(mtime);
        inode.record()
    }

    fn ioctl(file: &FileRef<'_, Self>, cmd: u32, arg: IoctlArg) -> Result<i64> {
        super::ioctl::serve(file, cmd, arg)
    }
}
