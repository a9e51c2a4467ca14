// SPDX-License-Identifier: GPL-2.0-only
//! Directories and symbolic links: the engine's operations on names, each one transaction, and what they mean for inodes in memory.

use super::error::read_failed;
use super::inode::{self, refresh, refresh_cached, transact};
use super::VexFs;
use crate::vfs::{
    self, code, ARef, DirEmitter, DirectoryOperations, INode, NewEntry, Owner, RenameMode,
    RenameSide, Result, SuperBlock, SymlinkOperations, Tid,
};
use engine::dir;
use engine::inode::NewInode;
use engine::namei::{self, remove, rename, RenameFlags};
use kernel::prelude::*;
use layout::inode::{FileType, Time};

/// Entries that are read in one hold of the metadata lock.
const ENTRIES_A_STEP: usize = 512;
/// Bytes of names that are read in one hold of the metadata lock.
const NAMES_A_STEP: usize = 32 * 1024;

/// Entries of a directory, copied so that they can be given out without a lock.
struct Chunk {
    entries: KVVec<(u64, u64, FileType, u8)>,
    names: KVVec<u8>,
}

fn vfs_type(t: FileType) -> vfs::FileType {
    match t {
        FileType::Regular => vfs::FileType::Regular,
        FileType::Directory => vfs::FileType::Directory,
        FileType::Symlink => vfs::FileType::Symlink,
        FileType::Char => vfs::FileType::Char,
        FileType::Block => vfs::FileType::Block,
        FileType::Fifo => vfs::FileType::Fifo,
        FileType::Socket => vfs::FileType::Socket,
    }
}

/// The time of an operation on `dir`, as the kernel stamps it.
fn stamp(dir: &INode<VexFs>) -> Time {
    let t = dir.touch_ctime();
    Time {
        sec: t.sec,
        nsec: t.nsec,
    }
}

/// If the mount or the directory asks for it, waits until the change of `dir` is durable. An error means that the mount was stopped: only
/// then may what the kernel shows differ from what the transaction did.
fn after_change(dir: &INode<VexFs>) -> Result {
    if dir.is_dirsync() {
        inode::commit_metadata(dir)?;
    }
    Ok(())
}

impl VexFs {
    fn removed(dir: &INode<Self>, inode: &INode<Self>, done: &remove::Removed, tid: Tid) -> Result {
        refresh(dir, &done.dir, tid);
        refresh(inode, &done.inode, tid);
        after_change(dir)
    }
}

fn remove_credits(
    dir: &INode<VexFs>,
    inode: &INode<VexFs>,
) -> impl Fn(&super::blocks::Reader<'_>) -> engine::Result<u32> {
    let (d, i) = (dir.ino(), inode.ino());
    move |io| {
        remove::remove_credits(
            io,
            &engine::inode::load(io, d)?,
            &engine::inode::load(io, i)?,
        )
    }
}

impl DirectoryOperations for VexFs {
    fn lookup(dir: &INode<Self>, name: &[u8]) -> Result<Option<ARef<INode<Self>>>> {
        let sb = dir.sb();
        let found = sb
            .mount()
            .read(|io| dir::lookup(io, &engine::inode::load(io, dir.ino())?, name))
            .map_err(|e| read_failed(sb, dir.ino(), e))?;
        found.map(|entry| inode::get(sb, entry.ino)).transpose()
    }

    fn create(
        dir: &INode<Self>,
        name: &[u8],
        owner: Owner,
        what: NewEntry<'_>,
    ) -> Result<ARef<INode<Self>>> {
        let (rdev, target) = match what {
            NewEntry::File | NewEntry::Directory => (0, &[][..]),
            NewEntry::Symlink(target) => (0, target),
            NewEntry::Special(dev) => (inode::encode_rdev(dev), &[][..]),
        };
        let new = NewInode {
            mode: owner.mode,
            uid: owner.uid,
            gid: owner.gid,
            rdev,
            target,
            ..NewInode::default()
        };
        let unhashed = dir.sb().unhashed_inode()?;
        let now = stamp(dir);
        let credits = |io: &super::blocks::Reader<'_>| {
            Ok(namei::create_credits(
                &engine::inode::load(io, dir.ino())?,
                target.len(),
            ))
        };
        let (made, tid) = transact(dir.sb(), dir.ino(), credits, |cx| {
            cx.now = now;
            namei::create(cx, dir.ino(), name, &new)
        })?;
        refresh(dir, &made.dir, tid);
        let shown = inode::show(unhashed, &made.inode, tid)?;
        after_change(dir)?;
        Ok(shown)
    }

    fn create_unnamed(dir: &INode<Self>, owner: Owner) -> Result<ARef<INode<Self>>> {
        let new = NewInode {
            mode: owner.mode,
            uid: owner.uid,
            gid: owner.gid,
            ..NewInode::default()
        };
        let unhashed = dir.sb().unhashed_inode()?;
        let (made, tid) = transact(
            dir.sb(),
            dir.ino(),
            |io| namei::tmpfile_credits(io),
            |cx| namei::tmpfile(cx, dir.ino(), &new),
        )?;
        inode::show(unhashed, &made, tid)
    }

    fn link(inode: &INode<Self>, dir: &INode<Self>, name: &[u8]) -> Result {
        let now = stamp(dir);
        let credits = |io: &super::blocks::Reader<'_>| {
            namei::link_credits(
                io,
                &engine::inode::load(io, inode.ino())?,
                &engine::inode::load(io, dir.ino())?,
            )
        };
        let (done, tid) = transact(dir.sb(), dir.ino(), credits, |cx| {
            cx.now = now;
            namei::link(cx, inode.ino(), dir.ino(), name)
        })?;
        refresh(dir, &done.dir, tid);
        refresh(inode, &done.inode, tid);
        after_change(dir)
    }

    fn unlink(dir: &INode<Self>, name: &[u8], inode: &INode<Self>) -> Result {
        let now = stamp(dir);
        let (done, tid) = transact(dir.sb(), dir.ino(), remove_credits(dir, inode), |cx| {
            cx.now = now;
            namei::unlink(cx, dir.ino(), name)
        })?;
        Self::removed(dir, inode, &done, tid)
    }

    fn rmdir(dir: &INode<Self>, name: &[u8], inode: &INode<Self>) -> Result {
        let now = stamp(dir);
        let (done, tid) = transact(dir.sb(), dir.ino(), remove_credits(dir, inode), |cx| {
            cx.now = now;
            namei::rmdir(cx, dir.ino(), name)
        })?;
        Self::removed(dir, inode, &done, tid)
    }

    fn rename(
        from: RenameSide<'_, Self>,
        inode: &INode<Self>,
        to: RenameSide<'_, Self>,
        target: Option<&INode<Self>>,
        mode: RenameMode,
    ) -> Result {
        let sb = from.dir.sb();
        let now = stamp(from.dir);
        let flags = match mode {
            RenameMode::Replace => RenameFlags::Replace,
            RenameMode::NoReplace => RenameFlags::NoReplace,
            RenameMode::Exchange => RenameFlags::Exchange,
        };
        let credits = |io: &super::blocks::Reader<'_>| {
            let load = |i: &INode<Self>| engine::inode::load(io, i.ino());
            let target = target.map(load).transpose()?;
            rename::rename_credits(
                io,
                &load(from.dir)?,
                &load(to.dir)?,
                &load(inode)?,
                target.as_ref(),
            )
        };
        // Four inodes are too much for a kernel stack.
        let mut done = KBox::new(rename::Renamed::default(), GFP_KERNEL)?;
        let ((), tid) = transact(sb, from.dir.ino(), credits, |cx| {
            cx.now = now;
            let (old, new) = (from.dir.ino(), to.dir.ino());
            rename::rename_into(cx, old, from.name, new, to.name, flags, &mut done)
        })?;
        refresh(from.dir, &done.old_dir, tid);
        if let Some(new_dir) = &done.new_dir {
            refresh(to.dir, new_dir, tid);
        }
        refresh(inode, &done.source, tid);
        if let Some(now) = &done.target {
            match target {
                Some(target) if target.ino() == now.ino => refresh(target, now, tid),
                _ => refresh_cached(sb, now, tid),
            }
        }
        after_change(from.dir)?;
        after_change(to.dir)
    }

    fn read_dir(dir: &INode<Self>, out: &mut DirEmitter<'_>) -> Result {
        let sb = dir.sb();
        let mut chunk = Chunk {
            entries: KVVec::with_capacity(ENTRIES_A_STEP, GFP_KERNEL)?,
            names: KVVec::with_capacity(NAMES_A_STEP, GFP_KERNEL)?,
        };
        loop {
            let from = out.pos();
            chunk.entries.clear();
            chunk.names.clear();
            let mut more = false;
            let read = sb.mount().read(|io| {
                let inode = engine::inode::load(io, dir.ino())?;
                // What an entry names is wanted next by many readers.
                dir::read(io, &inode, from, |cookie, entry| {
                    let full = chunk.entries.len() >= ENTRIES_A_STEP
                        || chunk.names.len().saturating_add(entry.name.len()) > NAMES_A_STEP;
                    if full {
                        more = true;
                        return Ok(false);
                    }
                    // Both have the capacity: nothing is allocated under the lock.
                    let pushed = chunk
                        .entries
                        .push(
                            (cookie, entry.ino, entry.file_type, entry.name.len() as u8),
                            GFP_NOWAIT,
                        )
                        .and_then(|()| chunk.names.extend_from_slice(entry.name, GFP_NOWAIT));
                    pushed.map_err(|_| engine::Error::NoMemory)?;
                    Ok(true)
                })
            });
            read.map_err(|e| read_failed(sb, dir.ino(), e))?;
            let mut rest: &[u8] = &chunk.names;
            for (cookie, ino, kind, len) in &chunk.entries {
                let (name, tail) = rest.split_at_checked(usize::from(*len)).ok_or(code::EIO)?;
                rest = tail;
                if !out.emit(*cookie, name, *ino, vfs_type(*kind)) {
                    return Ok(());
                }
            }
            if !more {
                return Ok(());
            }
            if vfs::task::fatal_signal_pending() {
                return Err(code::EINTR);
            }
            vfs::task::cond_resched();
        }
    }

    fn sync_dir(dir: &INode<Self>, _data_only: bool) -> Result {
        inode::commit(dir)
    }

    fn dir_ioctl(file: &vfs::FileRef<'_, Self>, cmd: u32, arg: vfs::IoctlArg) -> Result<i64> {
        super::ioctl::serve(file, cmd, arg)
    }
}

impl SymlinkOperations for VexFs {
    fn target(inode: &INode<Self>) -> Result<KVec<u8>> {
        let sb: &SuperBlock<Self> = inode.sb();
        let len = usize::try_from(inode.size())
            .ok()
            .filter(|n| *n <= engine::symlink::TARGET_MAX)
            .ok_or(code::EUCLEAN)?;
        let mut buf = KVec::from_elem(0u8, len, GFP_KERNEL)?;
        let n = sb
            .mount()
            .read(|io| engine::symlink::read(io, &engine::inode::load(io, inode.ino())?, &mut buf))
            .map_err(|e| read_failed(sb, inode.ino(), e))?;
        buf.truncate(n);
        Ok(buf)
    }
}
