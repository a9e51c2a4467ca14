// SPDX-License-Identifier: GPL-2.0-only
//! Inodes in memory: filled from the engine's, recorded in transactions, finished when they go.
//!
//! The disk is the truth for everything but the size of regular files (in memory it runs ahead of what has been written) and
//! attributes that the kernel changes by itself, which [`record`] writes at once (or, without memory, when the inode is written back).

use super::blocks::{Txn, MEMORY_TRIES};
use super::error::{change_failed, is_stopped, read_failed};
use super::mount::Failure;
use super::VexFs;
use crate::vfs::{
    self, code, ARef, Attributes, FileFlags, INode, INodeKind, Lookup, NewINode, Result,
    SuperBlock, Tid, UnhashedINode,
};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use engine::inode::SetAttributes;
use engine::orphan::{self, Cursor, Progress};
use engine::{Cx, Error};
use kernel::prelude::*;
use layout::inode::{
    FileType, Inode, Time, FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOATIME, FLAG_SYNC, FLAG_SYSTEM,
};
use layout::BLOCK_SIZE;

/// Sectors of 512 bytes in a block.
const SECTORS: u64 = (BLOCK_SIZE / 512) as u64;
/// Added to credits that were computed before the transaction began: the trees may have grown by a level since.
const SLACK: u32 = 24;

/// What VexFS keeps beside the kernel's inode.
pub(crate) struct InodeData {
    /// Size on disk, of regular files.
    disk_size: AtomicU64,
    /// Raised when blocks of the file change place or state.
    map_version: AtomicU64,
    /// Last transaction that may have changed the inode.
    last_tid: AtomicU32,
    /// Attributes in memory could not be recorded.
    unrecorded: AtomicBool,
    /// Birth.
    btime: Time,
}

impl InodeData {
    /// `latest` is the youngest transaction: whoever changed the inode before it came into memory, and is not known any more, did
    /// so in that one or an older one.
    fn new(inode: &Inode, latest: Tid) -> Self {
        Self {
            disk_size: AtomicU64::new(inode.size),
            map_version: AtomicU64::new(0),
            last_tid: AtomicU32::new(latest.0),
            unrecorded: AtomicBool::new(false),
            btime: inode.btime,
        }
    }

    /// Size on disk.
    pub(super) fn disk_size(&self) -> u64 {
        self.disk_size.load(Ordering::Acquire)
    }

    /// The size on disk is now `size`. Called inside the transaction that stores it.
    pub(super) fn set_disk_size(&self, size: u64) {
        self.disk_size.store(size, Ordering::Release);
    }

    /// Version of the file's mapping.
    pub(super) fn map_version(&self) -> u64 {
        self.map_version.load(Ordering::Acquire)
    }

    /// The mapping has changed.
    pub(super) fn remapped(&self) {
        self.map_version.fetch_add(1, Ordering::AcqRel);
    }

    /// Transaction `tid` changed the inode.
    pub(super) fn changed_in(&self, tid: Tid) {
        let newer = |old: u32| Tid(old).is_before(tid).then_some(tid.0);
        // Callers may come here in another order than their transactions had.
        let _ = self
            .last_tid
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, newer);
    }

    /// The last transaction that may have changed it.
    pub(super) fn last_change(&self) -> Tid {
        Tid(self.last_tid.load(Ordering::Acquire))
    }

    /// Birth.
    pub(super) fn btime(&self) -> Time {
        self.btime
    }
}

/// Attributes for the kernel.
pub(super) fn attributes(i: &Inode) -> Attributes {
    let time = |t: Time| vfs::Time {
        sec: t.sec,
        nsec: t.nsec,
    };
    Attributes {
        mode: i.mode,
        uid: i.uid,
        gid: i.gid,
        nlink: i.links,
        size: i.size,
        sectors: i.blocks.saturating_mul(SECTORS),
        atime: time(i.atime),
        mtime: time(i.mtime),
        ctime: time(i.ctime),
        generation: i.generation,
        flags: FileFlags {
            sync: i.flags & FLAG_SYNC != 0,
            dirsync: false,
            append: i.flags & FLAG_APPEND != 0,
            immutable: i.flags & FLAG_IMMUTABLE != 0,
            noatime: i.flags & FLAG_NOATIME != 0,
        },
    }
}

/// The kernel's device number (major << 20 | minor) as it is stored, and back.
pub(super) fn encode_rdev(dev: u32) -> u32 {
    let (major, minor) = (dev >> 20, dev & 0xf_ffff);
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

fn decode_rdev(rdev: u32) -> u32 {
    let (major, minor) = (
        (rdev >> 8) & 0xfff,
        (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00),
    );
    (major << 20) | minor
}

/// Finds inode `ino`, which an entry names, in memory or on disk.
pub(super) fn get(sb: &SuperBlock<VexFs>, ino: u64) -> Result<ARef<INode<VexFs>>> {
    sb.inode(ino, |new| {
        let loaded = sb.mount().read(|io| engine::inode::load(io, ino));
        let inode = loaded.map_err(|e| match e {
            // An entry names it, so its not being in use is damage.
            Error::Stale => read_failed(
                sb,
                ino,
                Error::Corrupt {
                    block: 0,
                    what: "an entry names an inode that is not in use",
                },
            ),
            e => read_failed(sb, ino, e),
        })?;
        fill(new, &inode)
    })
}

/// Fills a new inode of memory.
pub(super) fn fill(new: NewINode<'_, VexFs>, inode: &Inode) -> Result<ARef<INode<VexFs>>> {
    if inode.flags & FLAG_SYSTEM != 0 {
        return Err(code::EUCLEAN);
    }
    let kind = match inode.file_type() {
        FileType::Regular => INodeKind::file(),
        FileType::Directory => INodeKind::directory(),
        FileType::Symlink => INodeKind::symlink(),
        FileType::Char | FileType::Block | FileType::Fifo | FileType::Socket => {
            INodeKind::special(inode.mode, decode_rdev(inode.rdev))
        }
    };
    // Asked for after the inode was read, so it is not older than what was read.
    let latest = new.sb().mount().journal().latest();
    new.fill(&attributes(inode), kind, InodeData::new(inode, latest))
}

/// Shows an inode that a transaction has just made. All the memory that this takes is in `unhashed`, so it does not fail: the name on disk
/// is never without its inode in memory.
pub(super) fn show(
    unhashed: UnhashedINode<'_, VexFs>,
    inode: &Inode,
    tid: Tid,
) -> Result<ARef<INode<VexFs>>> {
    let shown = match unhashed.hash(inode.ino)? {
        // By its handle, since the transaction.
        Lookup::Found(found) => found,
        Lookup::New(new) => fill(new, inode)?,
    };
    shown.data().changed_in(tid);
    Ok(shown)
}

/// Shows what an operation on names, attributes or records made of an inode: links, space, change time, and of a directory also size and
/// modification time. The rest is the kernel's: it may have newer values in memory, which are about to be recorded.
pub(super) fn refresh(inode: &INode<VexFs>, now: &Inode, tid: Tid) {
    let a = attributes(now);
    inode.set_nlink(a.nlink);
    inode.set_sectors(a.sectors);
    inode.set_ctime(a.ctime);
    if now.is_dir() {
        inode.set_mtime(a.mtime);
        inode.set_size(a.size);
    }
    inode.data().changed_in(tid);
}

/// As [`refresh`], for an inode that may not be in memory. Not inside a handle.
pub(super) fn refresh_cached(sb: &SuperBlock<VexFs>, now: &Inode, tid: Tid) {
    if let Some(inode) = sb.cached_inode(now.ino) {
        refresh(&inode, now, tid);
    }
}

/// Runs a transaction whose credits are computed from the present state by `credits`.
pub(super) fn transact<X>(
    sb: &SuperBlock<VexFs>,
    ino: u64,
    credits: impl Fn(&super::blocks::Reader<'_>) -> Result<u32, Error>,
    mut f: impl FnMut(&mut Cx<'_, Txn<'_>>) -> Result<X, Error>,
) -> Result<(X, Tid), Failure> {
    let mount = sb.mount();
    let refused = |e| Failure::of_read(sb, ino, e);
    let mut wanted = mount.read(&credits).map_err(refused)?.saturating_add(SLACK);
    loop {
        // While the handle was waited for, others may have made the trees higher: then it is asked for again.
        let enough = |io: &super::blocks::Reader<'_>| Ok(credits(io)? <= wanted);
        match mount.transact_if(sb, ino, wanted, &enough, &mut f)? {
            Some(done) => return Ok(done),
            None => wanted = mount.read(&credits).map_err(refused)?.saturating_add(SLACK),
        }
    }
}

/// Records attributes that the kernel changed in memory. What fails while the mount goes on is left to [`record_again`].
pub(super) fn record(inode: &INode<VexFs>) -> Result {
    let sb = inode.sb();
    inode.data().unrecorded.store(false, Ordering::Release);
    let tid = store_attributes(inode).inspect_err(|_| {
        let left = !is_stopped(sb);
        inode.data().unrecorded.store(left, Ordering::Release);
    })?;
    inode.data().changed_in(tid);
    Ok(())
}

/// Records what an earlier [`record`] could not. While the mount is frozen nothing is done: it stays to be recorded.
pub(super) fn record_again(inode: &INode<VexFs>) -> Result {
    if !inode.data().unrecorded.load(Ordering::Acquire) {
        return Ok(());
    }
    match inode.sb().try_internal_write() {
        Some(_writing) => inode.record(),
        None => Ok(()),
    }
}

fn store_attributes(inode: &INode<VexFs>) -> Result<Tid, Failure> {
    let sb = inode.sb();
    let time = |t: vfs::Time| {
        Some(Time {
            sec: t.sec,
            nsec: t.nsec,
        })
    };
    let (_, tid) = sb.mount().transact(
        sb,
        inode.ino(),
        engine::inode::SET_ATTRIBUTES_CREDITS,
        |cx| {
            // Taken inside: who changes an attribute records it after that, so that the last record has the last of each. Taken
            // before, an access time recorded late could bring back a mode that chmod(2) has replaced.
            let a = inode.attributes();
            let set = SetAttributes {
                mode: Some(a.mode),
                uid: Some(a.uid),
                gid: Some(a.gid),
                atime: time(a.atime),
                mtime: time(a.mtime),
                ctime: time(a.ctime),
                ..SetAttributes::default()
            };
            engine::inode::set_attributes(cx, inode.ino(), &set)
        },
    )?;
    Ok(tid)
}

/// Makes the last change of an inode durable, and the data that was written before.
pub(super) fn commit(inode: &INode<VexFs>) -> Result {
    record_again(inode)?;
    // The data is made durable by the commit's flush, or by one of our own.
    let mount = inode.sb().mount();
    let flushed = mount
        .journal()
        .commit_will_flush(inode.data().last_change());
    commit_metadata(inode)?;
    if !flushed {
        mount.device().flush()?;
    }
    Ok(())
}

/// Makes the last change of an inode durable, without data. Errors: only if the mount was stopped.
pub(super) fn commit_metadata(inode: &INode<VexFs>) -> Result {
    let sb = inode.sb();
    if is_stopped(sb) {
        return Err(code::EIO);
    }
    sb.mount()
        .journal()
        .commit(inode.data().last_change())
        .inspect_err(|_| _ = is_stopped(sb))
}

/// Finishes orphan `ino` step by step, each a transaction of its own.
pub(super) fn finish(sb: &SuperBlock<VexFs>, ino: u64) -> Result<(), Failure> {
    steps(sb, ino, |cx, cursor| orphan::finish_step(cx, ino, cursor))
}

/// Frees what lies beyond the size of a file in use. That has to be done before the file can grow: it would show what was cut off. So without
/// memory it is tried again, and at last the mount is stopped; the next one finishes the file.
pub(super) fn trim(sb: &SuperBlock<VexFs>, ino: u64) -> Result<(), Failure> {
    for _ in 0..MEMORY_TRIES {
        match steps(sb, ino, |cx, cursor| orphan::trim_step(cx, ino, cursor)) {
            Err(Failure::Kernel(e)) if e == code::ENOMEM && !is_stopped(sb) => {
                vfs::task::wait_for_memory();
            }
            done => return done,
        }
    }
    Err(Failure::Kernel(change_failed(sb, ino, Error::NoMemory)))
}

fn steps(
    sb: &SuperBlock<VexFs>,
    ino: u64,
    mut step: impl FnMut(&mut Cx<'_, Txn<'_>>, &mut Cursor) -> Result<Progress, Error>,
) -> Result<(), Failure> {
    let mut cursor = Cursor::default();
    loop {
        let credits = |io: &super::blocks::Reader<'_>| {
            orphan::finish_credits(io, &engine::inode::load(io, ino)?)
        };
        match transact(sb, ino, credits, |cx| step(cx, &mut cursor))?.0 {
            Progress::Done => {
                // Files with many records are seldom; they take many steps.
                sb.mount().tidy().note(1);
                return Ok(());
            }
            Progress::More => {
                sb.mount().tidy().note(1);
                vfs::task::cond_resched();
            }
        }
    }
}

/// The inode leaves memory. Without links it is freed on disk.
pub(super) fn evict(inode: &INode<VexFs>) {
    let sb = inode.sb();
    if inode.nlink() != 0 || sb.is_read_only() || is_stopped(sb) {
        return;
    }
    let _writing = sb.internal_write();
    match finish(sb, inode.ino()) {
        // A name that could not be made leaves no orphan.
        Ok(()) | Err(Failure::Clean(Error::NotFound | Error::Stale)) => {}
        Err(e) => {
            let e = kernel::error::Error::from(e);
            pr_err!(
                "(device {}): inode {} is left for the next mount: {:?}\n",
                sb.id(),
                inode.ino(),
                e
            );
        }
    }
}
