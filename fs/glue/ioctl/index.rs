// SPDX-License-Identifier: GPL-2.0-only
//! Requests on indexes: create, describe, list, drop, note what searching one takes; and the statistics of the mount.

use super::{failed, named, request, rights};
use crate::glue::error::read_failed;
use crate::glue::fstype::finish_drop;
use crate::glue::inode::{self, transact};
use crate::glue::VexFs;
use crate::vfs::{
    attr::IdMap, caller, code, task, Access, FileRef, IoctlArg, KernelFpu, Result, SuperBlock,
};
use core::mem::size_of;
use engine::vector::{self, NewIndex, Usage};
use layout::efforts::Efforts;
use layout::vector::{Element, Index, Metric};
use layout::{ino, BLOCK_SIZE};
use uapi::{IndexCreate, IndexDrop, IndexEfforts, IndexInfo, IndexList, Stats};
use zerocopy::{FromZeros, IntoBytes};

/// Bytes that blocks occupy.
fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK_SIZE as u64)
}

#[inline(never)]
pub(super) fn create(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let r = request::read::<IndexCreate>(arg)?.body;
    let name = uapi::parse_name(&r.name).map_err(request::bad)?;
    if !r.is_supported() {
        return Err(code::EOPNOTSUPP);
    }
    let metric = u8::try_from(r.metric)
        .ok()
        .and_then(Metric::from_u8)
        .ok_or(code::EOPNOTSUPP)?;
    let element = u8::try_from(r.element)
        .ok()
        .and_then(Element::from_u8)
        .ok_or(code::EOPNOTSUPP)?;
    let sb = file.inode().sb();
    let _writing = file.want_write()?;
    inode::get(sb, ino::ROOT)?.permission(file.idmap(), Access::Write)?;
    let (uid, gid) = caller::ids(file.idmap())?;
    let new = NewIndex {
        name: name.as_bytes(),
        dim: r.dim,
        element,
        metric,
        mode: u16::try_from(r.mode).map_err(|_| code::EINVAL)?,
        uid,
        gid,
    };
    let made = transact(
        sb,
        ino::INDEX_TABLE,
        |io| vector::index::create_credits(io),
        |cx| vector::create(cx, &new),
    );
    let (_, tid) = made.map_err(failed)?;
    // So that fsync on the descriptor makes the index durable.
    file.inode().data().changed_in(tid);
    Ok(())
}

/// Describes an index to the current task.
fn describe(idmap: IdMap<'_>, index: &Index, usage: &Usage, out: &mut IndexInfo) {
    let (uid, gid) = caller::shown(idmap, index.uid, index.gid);
    // Names on disk are held to the same rules; one that is not would be shown empty.
    out.name = core::str::from_utf8(index.name.as_bytes())
        .ok()
        .and_then(|n| uapi::name::name_field(n).ok())
        .unwrap_or([0; uapi::NAME_SIZE]);
    out.id = index.id;
    out.dim = index.dim;
    out.element = index.element as u32;
    out.metric = index.metric as u32;
    out.mode = u32::from(index.mode);
    out.uid = uid;
    out.gid = gid;
    out.segments = index.segments;
    out.records = index.records;
    out.slots = usage.slots;
    out.bytes = bytes(usage.blocks);
    out.created = index.made_at;
    let blocks = layout::partition::Shape::new(index.dim).map_or(0, |shape| shape.blocks());
    out.tree_entries = index.tree.entries;
    out.tree_bytes = bytes(u64::from(index.tree.partitions).saturating_mul(blocks as u64));
    out.tree_partitions = index.tree.partitions;
    out.tree_height = u32::from(index.tree.height);
    let efforts = index.efforts.hundredths().unwrap_or_default();
    out.efforts = efforts.map(|leaves| u16::try_from(leaves).unwrap_or(u16::MAX));
}

/// The first index with a number above `after`, and what its segments amount to.
fn next(sb: &SuperBlock<VexFs>, after: u32) -> Result<Option<(Index, Usage)>> {
    let found = sb.mount().read(|io| {
        let mut found = None;
        vector::list(io, after, |index| {
            found = Some(*index);
            Ok(false)
        })?;
        found
            .map(|index| Ok((index, vector::usage(io, &index)?)))
            .transpose()
    });
    found.map_err(|e| read_failed(sb, ino::INDEX_TABLE, e))
}

#[inline(never)]
pub(super) fn info(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<IndexInfo>(arg)?;
    let sb = file.inode().sb();
    let index = named(sb, &r.body.name)?;
    let usage = sb
        .mount()
        .read(|io| vector::usage(io, &index))
        .map_err(|e| read_failed(sb, ino::INDEX_TABLE, e))?;
    describe(file.idmap(), &index, &usage, &mut r.body);
    r.write_back()
}

#[inline(never)]
pub(super) fn list(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<IndexList>(arg)?;
    let sb = file.inode().sb();
    let mut count = 0u32;
    // Numbers have 32 bits: nothing comes after greater ones.
    let mut after = u32::try_from(r.body.cursor).ok();
    while let Some(last) = after.filter(|_| count < r.body.capacity) {
        let Some((index, usage)) = next(sb, last)? else {
            break;
        };
        let mut entry = IndexInfo::new_zeroed();
        entry.size = size_of::<IndexInfo>() as u32;
        describe(file.idmap(), &index, &usage, &mut entry);
        let at = (count as usize)
            .checked_mul(size_of::<IndexInfo>())
            .ok_or(code::EFAULT)?;
        request::write(r.body.entries, at, entry.as_bytes())?;
        after = Some(index.id);
        r.body.cursor = u64::from(index.id);
        count = count.saturating_add(1);
        if task::fatal_signal_pending() {
            return Err(code::EINTR);
        }
        task::cond_resched();
    }
    r.body.count = count;
    r.write_back()
}

#[inline(never)]
pub(super) fn remove(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let r = request::read::<IndexDrop>(arg)?.body;
    let sb = file.inode().sb();
    let _writing = file.want_write()?;
    let index = named(sb, &r.name)?;
    rights::check_owner(file.idmap(), &index)?;
    let begun = transact(
        sb,
        ino::INDEX_TABLE,
        |io| vector::index::drop_begin_credits(io),
        |cx| vector::drop_begin(cx, index.id),
    );
    let ((), tid) = begun.map_err(failed)?;
    file.inode().data().changed_in(tid);
    finish_drop(sb, index.id).map_err(failed)
}

#[inline(never)]
pub(super) fn note_efforts(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let r = request::read::<IndexEfforts>(arg)?.body;
    let efforts = Efforts::new(r.efforts).map_err(|_| code::EINVAL)?;
    let sb = file.inode().sb();
    let _writing = file.want_write()?;
    let index = named(sb, &r.name)?;
    rights::check_owner(file.idmap(), &index)?;
    let noted = transact(
        sb,
        ino::INDEX_TABLE,
        |_| Ok(vector::index::SET_CREDITS),
        |cx| vector::set_efforts(cx, index.id, efforts),
    );
    let ((), tid) = noted.map_err(failed)?;
    file.inode().data().changed_in(tid);
    Ok(())
}

#[inline(never)]
pub(super) fn stats(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<Stats>(arg)?;
    let sb = file.inode().sb();
    let out = &mut r.body;
    (out.indexes, out.records, out.segments, out.slots, out.bytes) = (0, 0, 0, 0, 0);
    let mut after = 0;
    while let Some((index, usage)) = next(sb, after)? {
        after = index.id;
        out.indexes = out.indexes.saturating_add(1);
        out.records = out.records.saturating_add(index.records);
        out.segments = out.segments.saturating_add(u64::from(index.segments));
        out.slots = out.slots.saturating_add(usage.slots);
        out.bytes = out.bytes.saturating_add(bytes(usage.blocks));
        if task::fatal_signal_pending() {
            return Err(code::EINTR);
        }
        task::cond_resched();
    }
    let counters = sb.mount().counters();
    out.isa = KernelFpu::new().isa() as u32;
    out.queries = counters.queries.get();
    out.distances = counters.distances.get();
    out.puts = counters.puts.get();
    out.deletes = counters.deletes.get();
    r.write_back()
}
