// SPDX-License-Identifier: GPL-2.0-only
//! Records one by one: put, get, delete. What single requests, batches and the attribute view have in common is here too: which
//! files carry records, finding one, and storing it in a transaction.

use super::rights::{self, Right};
use super::{failed, kind, named, request};
use crate::glue::blocks::{Reader, Txn};
use crate::glue::error::read_failed;
use crate::glue::inode::{self, transact};
use crate::glue::mount::Failure;
use crate::glue::tree::{self, TreeMemory};
use crate::glue::VexFs;
use crate::vfs::{code, task, FileRef, INode, IoctlArg, Result, SetMode, SuperBlock, Tid};
use engine::vector::tree::Builder;
use engine::vector::{self, Record, RecordPos};
use engine::{Cx, Error};
use layout::inode::{Inode, Time};
use layout::vector::Index;
use uapi::record::{DELETE_ALL, GET_NEXT, PUT_EXCL};
use uapi::{Delete, Get, Put};

/// Records that one transaction deletes.
const DELETE_STEP: usize = 16;

/// Checks that an inode can carry records. Errors: `EISDIR`, `EOPNOTSUPP`.
fn check_kind(inode: &INode<VexFs>) -> Result {
    if inode.is_dir() {
        return Err(code::EISDIR);
    }
    if !inode.is_file() {
        return Err(code::EOPNOTSUPP);
    }
    Ok(())
}

/// The inode of a file whose records may be changed through this descriptor.
///
/// Errors: `EISDIR`, `EOPNOTSUPP`, `EBADF`; `EPERM` if it was made immutable since it was opened.
pub(super) fn writable<'a>(file: &FileRef<'a, VexFs>) -> Result<&'a INode<VexFs>> {
    let inode = file.inode();
    check_kind(inode)?;
    if !file.is_writable() {
        return Err(code::EBADF);
    }
    if inode.attributes().flags.immutable {
        return Err(code::EPERM);
    }
    Ok(inode)
}

/// Checks that `elements` may be stored in `index`. Errors: `EINVAL`.
pub(super) fn check_vector(index: &Index, elements: &[u8]) -> Result {
    ::vector::validate(&kind(index)?, elements).map_err(|_| code::EINVAL)
}

/// The first record of `inode` in index `id` whose label is not below `label`.
pub(super) fn first_from<R: engine::io::ReadBlocks>(
    io: &R,
    inode: &Inode,
    id: u32,
    label: u64,
) -> Result<Option<Record>, Error> {
    let mut found = None;
    vector::for_each(io, inode, RecordPos { index: id, label }, |r| {
        found = (r.index == id).then_some(*r);
        Ok(false)
    })?;
    Ok(found)
}

/// The record of `inode` in index `id` with `label`.
#[inline(never)]
pub(super) fn exactly<R: engine::io::ReadBlocks>(
    io: &R,
    inode: &Inode,
    id: u32,
    label: u64,
) -> Result<Option<Record>, Error> {
    Ok(first_from(io, inode, id, label)?.filter(|r| r.label == label))
}

/// The time of a change of `inode`, as the kernel stamps it.
pub(super) fn stamp(inode: &INode<VexFs>) -> Time {
    let t = inode.touch_ctime();
    Time {
        sec: t.sec,
        nsec: t.nsec,
    }
}

/// Transaction `tid` changed records of `inode`. Waits for it if the file or the mount asks for that.
pub(super) fn changed(inode: &INode<VexFs>, tid: Tid) -> Result {
    inode.data().changed_in(tid);
    if inode.is_dirsync() {
        inode::commit(inode)?;
    }
    Ok(())
}

/// What becomes of the tag.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    /// It is this one.
    Set(u64),
    /// It is that of the record that was there, or 0.
    Keep,
}

/// A record to store.
pub(super) struct NewRecord<'a> {
    pub(super) label: u64,
    pub(super) tag: Tag,
    pub(super) elements: &'a [u8],
}

/// Stores a record of an inode just loaded, which the caller stores. Without a `builder` it has no entry in the search tree.
///
/// Errors: clean [`Error::Exists`] and [`Error::NotFound`] as `mode` demands; those of [`vector::put`].
pub(super) fn store(
    cx: &mut Cx<'_, Txn<'_>>,
    inode: &mut Inode,
    index: &mut Index,
    mode: SetMode,
    new: &NewRecord<'_>,
    builder: Option<&mut Builder<'_, '_>>,
) -> Result<(), Error> {
    let old = match (mode, new.tag) {
        (SetMode::Any, Tag::Set(_)) => None,
        _ => exactly(cx.io, inode, index.id, new.label)?,
    };
    match mode {
        SetMode::Create if old.is_some() => return Err(Error::Exists),
        SetMode::Replace if old.is_none() => return Err(Error::NotFound),
        _ => {}
    }
    let tag = match new.tag {
        Tag::Set(tag) => tag,
        Tag::Keep => old.map_or(0, |r| r.tag),
    };
    vector::put(cx, inode, index, new.label, tag, new.elements, builder)
}

/// Stores one record in a transaction of its own; room for its entry in the search tree is made in others before.
#[inline(never)]
pub(super) fn store_one(
    inode: &INode<VexFs>,
    index: &Index,
    mode: SetMode,
    new: &NewRecord<'_>,
) -> Result<Tid, Failure> {
    let sb = inode.sb();
    let (ino, id, now) = (inode.ino(), index.id, stamp(inode));
    let mut memory = TreeMemory::for_putting(index).map_err(Failure::Kernel)?;
    let activity = sb.mount().activities().of(id).map_err(Failure::Kernel)?;
    let mut in_tree = true;
    loop {
        let credits = |io: &Reader<'_>| vector::put_credits(io, &vector::load(io, id)?);
        let stored = transact(sb, ino, credits, |cx| {
            let mut loaded = engine::inode::load(cx.io, ino)?;
            let mut index = vector::load(cx.io, id)?;
            loaded.ctime = now;
            let mut builder = memory.builder();
            let builder = in_tree.then_some(&mut builder);
            store(cx, &mut loaded, &mut index, mode, new, builder)?;
            engine::inode::store(cx, &loaded).map_err(Error::late)
        });
        match stored {
            Err(Failure::Clean(Error::Full { partition })) => {
                in_tree = tree::make_room(sb, id, partition)?;
            }
            Err(e) => return Err(e),
            Ok(((), tid)) => {
                sb.mount().counters().puts.add(1);
                activity.puts.add(1);
                return Ok(tid);
            }
        }
    }
}

#[inline(never)]
pub(super) fn put(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let r = request::read::<Put>(arg)?.body;
    let inode = writable(file)?;
    let _writing = file.want_write()?;
    let index = named(inode.sb(), &r.name)?;
    rights::check(file.idmap(), &index, Right::Write)?;
    let len = index.vector_bytes();
    if r.vector_bytes as usize != len {
        return Err(code::EINVAL);
    }
    let mut elements = request::buffer(len)?;
    request::copy_in(r.vector, 0, &mut elements)?;
    check_vector(&index, &elements)?;
    let mode = if r.flags & PUT_EXCL != 0 {
        SetMode::Create
    } else {
        SetMode::Any
    };
    let new = NewRecord {
        label: r.label,
        tag: Tag::Set(r.tag),
        elements: &elements,
    };
    let tid = store_one(inode, &index, mode, &new).map_err(failed)?;
    changed(inode, tid)
}

#[inline(never)]
pub(super) fn get(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<Get>(arg)?;
    let inode = file.inode();
    check_kind(inode)?;
    if !file.is_readable() {
        return Err(code::EBADF);
    }
    let sb = inode.sb();
    let index = named(sb, &r.body.name)?;
    rights::check(file.idmap(), &index, Right::Search)?;
    let len = index.vector_bytes();
    let (wanted, next) = (r.body.label, r.body.flags & GET_NEXT != 0);
    let mut elements = request::buffer(len)?;
    let found = sb.mount().read(|io| {
        let loaded = engine::inode::load(io, inode.ino())?;
        let label = match next {
            true => {
                first_from(io, &loaded, index.id, wanted)?
                    .ok_or(Error::NotFound)?
                    .label
            }
            false => wanted,
        };
        let (_, tag) = vector::get(io, &loaded, &index, label, &mut elements)?;
        Ok((label, tag))
    });
    let (label, tag) = found.map_err(|e| read_failed(sb, inode.ino(), e))?;
    r.body.vector_bytes = u32::try_from(len).map_err(|_| code::EINVAL)?;
    // Without room for elements the caller asks for label, tag and length.
    if r.body.capacity != 0 {
        if (r.body.capacity as usize) < len {
            r.write_back()?;
            return Err(code::ERANGE);
        }
        request::write(r.body.vector, 0, &elements)?;
    }
    r.body.label = label;
    r.body.tag = tag;
    r.write_back()
}

/// Deletes one record in a transaction of its own.
#[inline(never)]
pub(super) fn delete_one(inode: &INode<VexFs>, index: &Index, label: u64) -> Result<Tid, Failure> {
    let sb = inode.sb();
    let (ino, id, now) = (inode.ino(), index.id, stamp(inode));
    let activity = sb.mount().activities().of(id).map_err(Failure::Kernel)?;
    let credits = |io: &Reader<'_>| vector::delete_credits(io, &vector::load(io, id)?, 1);
    let ((), tid) = transact(sb, ino, credits, |cx| {
        let mut loaded = engine::inode::load(cx.io, ino)?;
        let mut index = vector::load(cx.io, id)?;
        loaded.ctime = now;
        vector::delete(cx, &mut loaded, &mut index, label)?;
        engine::inode::store(cx, &loaded).map_err(Error::late)
    })?;
    sb.mount().counters().deletes.add(1);
    activity.deletes.add(1);
    sb.mount().tidy().note(1);
    Ok(tid)
}

/// Deletes up to [`DELETE_STEP`] records of a file in index `id`, and at most until a segment became free, since one transaction
/// can forget the blocks of no more than one. Returns how many, and whether those were all.
fn delete_some(
    cx: &mut Cx<'_, Txn<'_>>,
    ino: u64,
    id: u32,
    now: Time,
) -> Result<(u64, bool), Error> {
    let mut loaded = engine::inode::load(cx.io, ino)?;
    let mut index = vector::load(cx.io, id)?;
    let segments = index.segments;
    loaded.ctime = now;
    let mut deleted = 0u64;
    let mut all = false;
    for _ in 0..DELETE_STEP {
        let Some(record) = first_from(cx.io, &loaded, id, 0)? else {
            all = true;
            break;
        };
        vector::delete(cx, &mut loaded, &mut index, record.label)?;
        deleted = deleted.saturating_add(1);
        if index.segments != segments {
            break;
        }
    }
    if deleted != 0 {
        engine::inode::store(cx, &loaded).map_err(Error::late)?;
    }
    Ok((deleted, all))
}

/// Deletes all records of a file in an index, counting them in `deleted` as they go.
#[inline(never)]
fn delete_all(
    sb: &SuperBlock<VexFs>,
    inode: &INode<VexFs>,
    index: &Index,
    deleted: &mut u64,
) -> Result {
    let (ino, id) = (inode.ino(), index.id);
    let activity = sb.mount().activities().of(id)?;
    loop {
        let now = stamp(inode);
        let credits = |io: &Reader<'_>| {
            vector::delete_credits(io, &vector::load(io, id)?, DELETE_STEP as u32)
        };
        let ((n, all), tid) =
            transact(sb, ino, credits, |cx| delete_some(cx, ino, id, now)).map_err(failed)?;
        *deleted = deleted.saturating_add(n);
        sb.mount().counters().deletes.add(n);
        activity.deletes.add(n);
        sb.mount().tidy().note(n);
        if n != 0 {
            changed(inode, tid)?;
        }
        if all {
            return Ok(());
        }
        if task::fatal_signal_pending() {
            return Err(code::EINTR);
        }
        task::cond_resched();
    }
}

#[inline(never)]
pub(super) fn delete(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<Delete>(arg)?;
    let mut deleted = 0;
    let result = delete_named(file, &r.body, &mut deleted);
    r.body.deleted = deleted;
    r.write_back()?;
    result
}

fn delete_named(file: &FileRef<'_, VexFs>, r: &Delete, deleted: &mut u64) -> Result {
    let inode = writable(file)?;
    let sb = inode.sb();
    let _writing = file.want_write()?;
    let index = named(sb, &r.name)?;
    rights::check(file.idmap(), &index, Right::Write)?;
    if r.flags & DELETE_ALL != 0 {
        return delete_all(sb, inode, &index, deleted);
    }
    let tid = delete_one(inode, &index, r.label).map_err(failed)?;
    *deleted = 1;
    changed(inode, tid)
}
