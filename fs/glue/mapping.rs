// SPDX-License-Identifier: GPL-2.0-only
//! Where file data lies: looking it up, making space for it, completing writes.
//!
//! Space is made when a write begins, as unwritten extents; when the data has reached the device, [`complete`] turns them into
//! written ones and moves the size on disk forward, in one transaction. So nothing that was never written is ever seen, and a size on disk
//! never runs ahead of data. A file of up to [`INLINE_MAX`] bytes lies in its inode and is written through the journal.

use super::blocks::{Reader, Txn, SIZE};
use super::error::{is_stopped, read_failed};
use super::inode::transact;
use super::mount::Failure;
use super::VexFs;
use crate::vfs::{
    code, BlockDevice, Completion, Extent as Place, INode, InlineData, MapRequest, Mapping,
    MappingOperations, Result,
};
use engine::extent::{self, Mapping as Mapped};
use engine::inode::STORE_CREDITS;
use engine::{Cx, Error};
use kernel::prelude::*;
use layout::inode::{ForkFormat, Inode, INLINE_MAX};
use layout::BLOCK_SIZE;

/// Bytes in a block.
pub(super) const BLOCK: u64 = BLOCK_SIZE as u64;
/// Most blocks that are made for one mapping: 16 MiB.
const MAX_ALLOCATE: u64 = 4096;
/// Length of a hole without an end.
const FOREVER: u64 = i64::MAX as u64;

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
pub(super) fn look_up(inode: &INode<VexFs>, pos: u64) -> Result<Mapping> {
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
pub(super) fn move_out(
    cx: &mut Cx<'_, Txn<'_>>,
    loaded: &mut Inode,
    device: &BlockDevice,
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
    cx.io.update.forget_aliases(at, 1);
    device
        .write(at.saturating_mul(BLOCK), block)
        .map_err(|_| Error::Io { block: at })
}

/// Credits for making space.
pub(super) fn allocate_credits(io: &Reader<'_>, ino: u64) -> Result<u32, Error> {
    let loaded = engine::inode::load(io, ino)?;
    Ok(extent::allocate_credits(&loaded)
        .saturating_add(extent::uninline_credits())
        .saturating_add(STORE_CREDITS))
}

/// Maps for a write: space is made if there is none.
///
/// What is remembered of the inode in memory is changed inside the transaction, step by step with the inode on disk: if there is no
/// space for the second step, the first has been done. And the version belongs to the mapping only if nobody changes it in between.
pub(super) fn make_space(inode: &INode<VexFs>, pos: u64, len: u64) -> Result<Mapping> {
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
