// SPDX-License-Identifier: GPL-2.0-only
//! Many records in few transactions. A batch of the caller's array is copied, its files are looked up and its vectors checked before a
//! transaction begins; what fails there or in the transaction ends the request after the records before it.

use super::record::{changed, check_vector, stamp, store, writable, NewRecord, Tag};
use super::rights::{self, Right};
use super::{failed, named, request};
use crate::glue::blocks::{Reader, Txn};
use crate::glue::error::read_failed;
use crate::glue::inode::transact;
use crate::glue::mount::Failure;
use crate::glue::tree::{self, TreeMemory};
use crate::glue::VexFs;
use crate::vfs::{code, task, FileRef, INode, IoctlArg, OpenFile, Result, SetMode};
use core::mem::size_of;
use engine::vector::tree::Builder;
use engine::{vector, Cx, Error};
use kernel::prelude::*;
use layout::inode::{Inode, Time};
use layout::vector::Index;
use uapi::record::{PUT_EXCL, THIS_FILE};
use uapi::{PutMany, PutRecord};
use zerocopy::FromBytes;

/// Most records of one transaction.
const BATCH_RECORDS: usize = 128;
/// Most bytes of vectors of one transaction, unless a single one is longer.
const BATCH_BYTES: usize = 256 * 1024;
/// The part of the journal's largest transaction that a batch may ask for. What is asked for and not used is given back, but
/// a handle that asks for much waits until the running transaction has as much room.
const JOURNAL_SHARE: u32 = 4;

/// A file that records of a batch are for.
struct Target {
    fd: i32,
    ino: u64,
    now: Time,
    /// `None`: the file that the request was made on.
    file: Option<OpenFile<VexFs>>,
}

impl Target {
    fn inode<'a>(&'a self, this: &FileRef<'a, VexFs>) -> Result<&'a INode<VexFs>> {
        match &self.file {
            Some(file) => Ok(file.file()?.inode()),
            None => Ok(this.inode()),
        }
    }
}

/// A record of a batch that may be stored.
struct Ready {
    label: u64,
    tag: u64,
    /// Its file among the targets.
    target: usize,
}

/// Memory for one batch.
struct Batch {
    records: KVVec<u8>,
    vectors: KVVec<u8>,
    targets: KVVec<Target>,
    ready: KVVec<Ready>,
}

#[inline(never)]
pub(super) fn put_many(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<PutMany>(arg)?;
    let mut done = 0;
    let result = store_all(file, &r.body, &mut done);
    r.body.done = done;
    r.write_back()?;
    result
}

fn store_all(file: &FileRef<'_, VexFs>, r: &PutMany, done: &mut u32) -> Result {
    let sb = file.inode().sb();
    let _writing = file.want_write()?;
    let index = named(sb, &r.name)?;
    rights::check(file.idmap(), &index, Right::Write)?;
    let len = index.vector_bytes();
    if r.vector_bytes as usize != len {
        return Err(code::EINVAL);
    }
    let room = BATCH_BYTES
        .checked_div(len)
        .unwrap_or(1)
        .clamp(1, BATCH_RECORDS);
    let mut batch = Batch {
        records: request::buffer(room.saturating_mul(size_of::<PutRecord>()))?,
        vectors: request::buffer(room.saturating_mul(len))?,
        targets: KVVec::new(),
        ready: KVVec::new(),
    };
    let mut memory = TreeMemory::for_putting(&index)?;
    let activity = sb.mount().activities().of(index.id)?;
    let mut in_tree = true;
    while *done < r.count {
        let left = (r.count.saturating_sub(*done)) as usize;
        // A record that has no room in the search tree goes alone; the next one tries again.
        let most = match in_tree {
            true => room.min(fitting(file, index.id)?),
            false => 1,
        };
        let ended = batch.fill(file, r, &index, *done as usize, left.min(most));
        let memory = in_tree.then_some(&mut memory);
        let stored = match batch.store(file, &index, r.flags & PUT_EXCL != 0, memory) {
            Err(Failure::Clean(Error::Full { partition })) => {
                in_tree = tree::make_room(sb, index.id, partition).map_err(failed)?;
                0
            }
            other => {
                in_tree = true;
                other.map_err(failed)?
            }
        };
        *done = done.saturating_add(stored);
        sb.mount().counters().puts.add(u64::from(stored));
        activity.puts.add(u64::from(stored));
        // All that came before the bad record must be stored first.
        if stored as usize == batch.ready.len() {
            ended?;
        }
        if task::fatal_signal_pending() {
            return Err(code::EINTR);
        }
        task::cond_resched();
    }
    Ok(())
}

/// Records that fit one transaction, at least one.
#[inline(never)]
fn fitting(file: &FileRef<'_, VexFs>, id: u32) -> Result<usize> {
    let sb = file.inode().sb();
    let mount = sb.mount();
    let credits = mount.journal().max_credits() / JOURNAL_SHARE;
    let fits = mount.read(|io| vector::puts_that_fit(io, &vector::load(io, id)?, credits));
    Ok(fits
        .map_err(|e| read_failed(sb, layout::ino::INDEX_TABLE, e))?
        .max(1) as usize)
}

impl Batch {
    /// Copies up to `count` records from number `first` on and checks them. Those before the first bad one are ready; its error is returned.
    #[inline(never)]
    fn fill(
        &mut self,
        file: &FileRef<'_, VexFs>,
        r: &PutMany,
        index: &Index,
        first: usize,
        count: usize,
    ) -> Result {
        // Closes files of the last batch, without a transaction open.
        self.targets.clear();
        self.ready.clear();
        let (each, len) = (size_of::<PutRecord>(), index.vector_bytes());
        let records = self
            .records
            .get_mut(..count.saturating_mul(each))
            .ok_or(code::EINVAL)?;
        request::copy_in(r.records, first.saturating_mul(each), records)?;
        let vectors = self
            .vectors
            .get_mut(..count.saturating_mul(len))
            .ok_or(code::EINVAL)?;
        request::copy_in(r.vectors, first.saturating_mul(len), vectors)?;
        for (raw, elements) in records
            .chunks_exact(each)
            .zip(vectors.chunks_exact(len.max(1)))
        {
            let record = PutRecord::read_from_bytes(raw).map_err(|_| code::EINVAL)?;
            record.check().map_err(request::bad)?;
            check_vector(index, elements)?;
            let target = target(&mut self.targets, file, record.fd)?;
            self.ready.push(
                Ready {
                    label: record.label,
                    tag: record.tag,
                    target,
                },
                GFP_KERNEL,
            )?;
        }
        Ok(())
    }

    /// Stores what is ready in one transaction, as much as goes, with entries in the search tree if there is memory for that. Returns how many
    /// records were.
    #[inline(never)]
    fn store(
        &mut self,
        this: &FileRef<'_, VexFs>,
        index: &Index,
        exclusive: bool,
        mut memory: Option<&mut TreeMemory>,
    ) -> Result<u32, Failure> {
        if self.ready.is_empty() {
            return Ok(0);
        }
        let sb = this.inode().sb();
        let mode = if exclusive {
            SetMode::Create
        } else {
            SetMode::Any
        };
        let count = self.ready.len() as u32; // at most BATCH_RECORDS
        let credits = |io: &Reader<'_>| {
            let each = vector::put_credits(io, &vector::load(io, index.id)?)?;
            Ok(each.saturating_mul(count))
        };
        let (stored, tid) = transact(sb, this.inode().ino(), credits, |cx| {
            let mut builder = memory.as_deref_mut().map(TreeMemory::builder);
            self.store_in(cx, index.id, mode, builder.as_mut())
        })?;
        for target in &self.targets {
            let inode = target.inode(this).map_err(Failure::Kernel)?;
            changed(inode, tid).map_err(Failure::Kernel)?;
        }
        Ok(stored)
    }

    /// The work of [`Batch::store`]. A clean error is returned only for the first record; one that comes later ends the transaction
    /// with those before it, and comes again when the next one begins with its record.
    fn store_in(
        &self,
        cx: &mut Cx<'_, Txn<'_>>,
        id: u32,
        mode: SetMode,
        mut builder: Option<&mut Builder<'_, '_>>,
    ) -> Result<u32, Error> {
        let mut index = vector::load(cx.io, id)?;
        let len = index.vector_bytes();
        let mut stored = 0u32;
        let mut open: Option<(usize, Inode)> = None;
        for (r, elements) in self.ready.iter().zip(self.vectors.chunks_exact(len.max(1))) {
            let mut inode = match open.take() {
                Some((target, inode)) if target == r.target => inode,
                other => {
                    if let Some((_, inode)) = other {
                        engine::inode::store(cx, &inode).map_err(Error::late)?;
                    }
                    let target = self
                        .targets
                        .get(r.target)
                        .ok_or(Error::Internal("record without a file"))?;
                    let mut inode = match engine::inode::load(cx.io, target.ino) {
                        Err(e) if e.is_clean() && stored != 0 => return Ok(stored),
                        other => other?,
                    };
                    inode.ctime = target.now;
                    inode
                }
            };
            let new = NewRecord {
                label: r.label,
                tag: Tag::Set(r.tag),
                elements,
            };
            let result = store(
                cx,
                &mut inode,
                &mut index,
                mode,
                &new,
                builder.as_deref_mut(),
            );
            open = Some((r.target, inode));
            match result {
                Ok(()) => stored = stored.saturating_add(1),
                Err(e) if e.is_clean() && stored != 0 => break,
                Err(e) => return Err(e),
            }
        }
        if let Some((_, inode)) = open {
            engine::inode::store(cx, &inode).map_err(Error::late)?;
        }
        Ok(stored)
    }
}

/// The place of descriptor `fd` among the targets; looked up and checked if it is not there yet.
fn target(targets: &mut KVVec<Target>, this: &FileRef<'_, VexFs>, fd: i32) -> Result<usize> {
    // Records of one file stand next to each other.
    if let Some(at) = targets.iter().rposition(|t| t.fd == fd) {
        return Ok(at);
    }
    let file = if fd == THIS_FILE {
        None
    } else {
        Some(OpenFile::get(this.inode().sb(), fd)?)
    };
    let target = {
        let inode = match &file {
            Some(file) => writable(&file.file()?)?,
            None => writable(this)?,
        };
        (inode.ino(), stamp(inode))
    };
    let (ino, now) = target;
    targets.push(Target { fd, ino, now, file }, GFP_KERNEL)?;
    Ok(targets.len().saturating_sub(1))
}
