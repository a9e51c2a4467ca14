// SPDX-License-Identifier: GPL-2.0-only
//! File data: where it lies, making space, completing writes, size, fallocate.
//!
//! Space is made when a write begins, as unwritten extents; when the data has reached the device, [`completed`] turns them into
//! written ones and moves the size on disk forward, in one transaction. So nothing that was never written is ever seen, and a size on disk
//! never runs ahead of data. A file of up to [`INLINE_MAX`] bytes lies in its inode and is written through the journal.

use super::blocks::{Reader, Txn, SIZE};
use super::error::{is_stopped, read_failed};
use super::inode::{self, transact};
use super::mount::Failure;
use super::VexFs;
use crate::vfs::{
    self, code, Completion, Extent as Place, Fallocate, FileOperations, FileRef, INode, InlineData,
    IoctlArg, MapRequest, Mapping, MappingOperations, Result,
};
use engine::extent::{self, Mapping as Mapped};
use engine::inode::STORE_CREDITS;
use engine::namei::size;
use engine::{Cx, Error};
use kernel::prelude::*;
use layout::inode::{ForkFormat, Inode, INLINE_MAX};
use layout::BLOCK_SIZE;

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Most blocks that are made for one mapping: 16 MiB.
const MAX_ALLOCATE: u64 = 4096;
/// Length of a hole without an end.
const FOREVER: u64 = i64::MAX as u64;
/// Extents freed in one transaction of a hole punched.
const PUNCH_STEP: u32 = 16;

/// The engine's answer for the block of byte `pos`, in bytes.
fn mapping(
    inode: &INode<VexFs>,
    pos: u64,
    version: u64,
    mapped: Mapped,
    data: Option<InlineData>,
) -> Mapping {
    let journal = inode.sb().mount().journal();
    let dirty = !journal.is_committed(inode.data().last_change());
    let (offset, len, extent) = match (mapped, data) {
        (Mapped::Extent(e), _) => {
            let at = e.start.saturating_mul(BLOCK);
            let place = if e.unwritten {
                Place::Unwritten(at)
            } else {
                Place::Mapped(at)
            };
            (
                e.logical.saturating_mul(BLOCK),
                u64::from(e.len).saturating_mul(BLOCK),
                place,
            )
        }
        (Mapped::Inline, Some(data)) => (0, INLINE_MAX as u64, Place::Inline(data)),
        (Mapped::Inline, None) => (0, FOREVER, Place::Hole),
        (Mapped::Hole { len }, _) => {
            let offset = pos - pos % BLOCK;
            (
                offset,
                len.saturating_mul(BLOCK)
                    .min(FOREVER.saturating_sub(offset)),
                Place::Hole,
            )
        }
    };
    Mapping {
        offset,
        len,
        extent,
        new: false,
        dirty,
        cookie: version,
    }
}

/// The inode's data as iomap wants it.
fn inline(inode: &Inode) -> Result<Option<InlineData>, Error> {
    let data = match inode.data.format {
        ForkFormat::Inline => inode.data.inline().unwrap_or(&[]),
        _ => return Ok(None),
    };
    InlineData::new(data, INLINE_MAX)
        .map(Some)
        .map_err(|_| Error::NoMemory)
}

/// Looks a mapping up, changing nothing.
fn look_up(inode: &INode<VexFs>, pos: u64) -> Result<Mapping> {
    let sb = inode.sb();
    // Taken before, so that a change in between makes the mapping out of date, not the other way round.
    let version = inode.data().map_version();
    let (mapped, data) = sb
        .mount()
        .read(|io| {
            let loaded = engine::inode::load(io, inode.ino())?;
            Ok((extent::map(io, &loaded, pos / BLOCK)?, inline(&loaded)?))
        })
        .map_err(|e| read_failed(sb, inode.ino(), e))?;
    if data.is_some() && pos >= INLINE_MAX as u64 {
        let offset = pos - pos % BLOCK;
        let hole = Mapped::Hole { len: u64::MAX };
        // Beyond the data of an inline file there is nothing.
        return Ok(Mapping {
            offset: offset.max(INLINE_MAX as u64),
            ..mapping(inode, pos, version, hole, None)
        });
    }
    Ok(mapping(inode, pos, version, mapped, data))
}

/// Moves inline data to a block of its own. The block is written here, before the transaction that maps it can commit, and
/// the commit's flush makes it durable before the mapping; so data that was durable stays so.
fn move_out(
    cx: &mut Cx<'_, Txn<'_>>,
    loaded: &mut Inode,
    device: &vfs::BlockDevice,
    block: &mut [u8; SIZE],
) -> Result<(), Error> {
    block.fill(0);
    let data = loaded.data;
    let bytes = data.inline().unwrap_or(&[]);
    layout::bytes::put(block, 0, bytes)
        .ok_or(Error::Internal("inline data longer than a block"))?;
    let Some(at) = extent::uninline(cx, loaded)? else {
        return Ok(());
    };
    cx.io.update.buffers().forget_aliases(at, 1);
    device
        .write(at.saturating_mul(BLOCK), block)
        .map_err(|_| Error::Io { block: at })
}

/// Credits for making space.
fn allocate_credits(io: &Reader<'_>, ino: u64) -> Result<u32, Error> {
    let loaded = engine::inode::load(io, ino)?;
    Ok(extent::allocate_credits(&loaded)
        .saturating_add(extent::uninline_credits())
        .saturating_add(STORE_CREDITS))
}

/// Maps for a write: space is made if there is none.
///
/// What is remembered of the inode in memory is changed inside the transaction, step by step with the inode on disk: if there is no
/// space for the second step, the first has been done. And the version belongs to the mapping only if nobody changes it in between.
fn make_space(inode: &INode<VexFs>, pos: u64, len: u64) -> Result<Mapping> {
    let sb = inode.sb();
    let mount = sb.mount();
    let first = pos / BLOCK;
    let blocks = pos
        .saturating_add(len)
        .div_ceil(BLOCK)
        .saturating_sub(first)
        .clamp(1, MAX_ALLOCATE);
    let mut buffer = KBox::new([0u8; SIZE], GFP_KERNEL)?;
    let changed = |now: &Inode| {
        inode.data().remapped();
        inode.set_sectors(now.blocks.saturating_mul(BLOCK / 512));
    };
    let ((mapped, new, version), tid) = transact(
        sb,
        inode.ino(),
        |io| allocate_credits(io, inode.ino()),
        |cx| {
            let mut loaded = engine::inode::load(cx.io, inode.ino())?;
            if loaded.data.format == ForkFormat::Inline {
                move_out(cx, &mut loaded, mount.device(), &mut buffer)?;
                engine::inode::store(cx, &loaded)?;
                changed(&loaded);
                inode.data().changed_in(cx.io.update.handle().tid());
            }
            match extent::map(cx.io, &loaded, first)? {
                Mapped::Hole { len } => {
                    let extent = extent::allocate(cx, &mut loaded, first, blocks.min(len))?;
                    cx.io
                        .update
                        .buffers()
                        .forget_aliases(extent.start, u64::from(extent.len));
                    engine::inode::store(cx, &loaded)?;
                    changed(&loaded);
                    Ok((Mapped::Extent(extent), true, inode.data().map_version()))
                }
                other => Ok((other, false, inode.data().map_version())),
            }
        },
    )?;
    inode.data().changed_in(tid);
    Ok(Mapping {
        new,
        ..mapping(inode, pos, version, mapped, None)
    })
}

impl MappingOperations for VexFs {
    fn map(inode: &INode<Self>, request: &MapRequest) -> Result<Mapping> {
        let found = look_up(inode, request.pos)?;
        if !request.write || request.zero && !matches!(found.extent, Place::Inline(_)) {
            return Ok(found);
        }
        if is_stopped(inode.sb()) {
            return Err(code::EROFS);
        }
        let end = request.pos.saturating_add(request.len);
        // Faults and direct I/O write to blocks: they do not come to `end` with what was written, or not under the folio's lock.
        let other_way = request.fault || request.direct;
        match found.extent {
            Place::Mapped(_) | Place::Unwritten(_) => return Ok(found),
            Place::Inline(_) if end <= INLINE_MAX as u64 && !other_way => return Ok(found),
            // A file without blocks and without size beyond the inode can begin its life there.
            Place::Hole
                if end <= INLINE_MAX as u64
                    && !other_way
                    && inode.size() <= INLINE_MAX as u64
                    && inode.data().disk_size() <= INLINE_MAX as u64
                    && inode.sectors() == 0 =>
            {
                let data = InlineData::new(&[], INLINE_MAX)?;
                return Ok(mapping(
                    inode,
                    request.pos,
                    found.cookie,
                    Mapped::Inline,
                    Some(data),
                ));
            }
            _ => {}
        }
        if request.overwrite_only {
            return Err(code::EAGAIN);
        }
        make_space(inode, request.pos, request.len)
    }

    fn end(
        inode: &INode<Self>,
        request: &MapRequest,
        written: u64,
        inline: Option<&[u8]>,
    ) -> Result {
        let Some(bytes) = inline else { return Ok(()) };
        if !(request.write || request.zero) || written == 0 {
            return Ok(());
        }
        // What is zeroed behind the size is zero in the inode already, and the size is not moved by it.
        let end = match request.zero {
            true if request.pos >= inode.size() => return Ok(()),
            true => inode.size(),
            false => request.pos.saturating_add(written).max(inode.size()),
        };
        let len = usize::try_from(end).map_err(|_| code::EFBIG)?;
        let data = bytes.get(..len.min(INLINE_MAX)).ok_or(code::EIO)?;
        let sb = inode.sb();
        let ((), tid) = sb.mount().transact(sb, inode.ino(), STORE_CREDITS, |cx| {
            let mut loaded = engine::inode::load(cx.io, inode.ino())?;
            if matches!(loaded.data.format, ForkFormat::Leaf | ForkFormat::Tree) {
                // A fault has moved the file to a block since the folio was unlocked, and made the folio dirty: it has the data.
                return Ok(());
            }
            extent::set_inline(&mut loaded, data)?;
            engine::inode::store(cx, &loaded)?;
            inode.data().set_disk_size(loaded.size);
            Ok(())
        })?;
        inode.data().changed_in(tid);
        Ok(())
    }

    fn is_current(inode: &INode<Self>, cookie: u64) -> bool {
        inode.data().map_version() == cookie
    }

    fn map_for_write_back(inode: &INode<Self>, pos: u64, _len: u64) -> Result<Mapping> {
        look_up(inode, pos)
    }

    fn wants_completion(inode: &INode<Self>, end: u64) -> bool {
        end > inode.data().disk_size()
    }

    fn completed(inode: &INode<Self>, what: &Completion) -> Result {
        complete(inode, what).map_err(Into::into)
    }
}

/// Data has reached the device.
fn complete(inode: &INode<VexFs>, what: &Completion) -> Result<(), Failure> {
    let sb = inode.sb();
    let end = what.offset.saturating_add(what.len);
    let last = end.div_ceil(BLOCK);
    let mut at = what.offset / BLOCK;
    loop {
        let credits = |io: &Reader<'_>| {
            let loaded = engine::inode::load(io, inode.ino())?;
            Ok(extent::convert_credits(&loaded).saturating_add(STORE_CREDITS))
        };
        let from = at;
        let (reached, tid) = transact(sb, inode.ino(), credits, |cx| {
            let mut loaded = engine::inode::load(cx.io, inode.ino())?;
            let mut reached = last;
            if what.unwritten && from < last {
                reached = extent::convert(cx, &mut loaded, from, last.saturating_sub(from))?
                    .max(from.saturating_add(1));
            }
            if reached >= last {
                // A truncation may have come in between; the size in memory knows.
                loaded.size = loaded.size.max(end.min(inode.size()));
            }
            engine::inode::store(cx, &loaded)?;
            // Under the lock, so that it cannot overtake a truncation.
            inode.data().set_disk_size(loaded.size);
            if what.unwritten {
                inode.data().remapped();
            }
            Ok(reached)
        })?;
        inode.data().changed_in(tid);
        if reached >= last {
            return Ok(());
        }
        at = reached;
    }
}

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
