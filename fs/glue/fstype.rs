// SPDX-License-Identifier: GPL-2.0-only
//! Mounting, unmounting, sync, freeze, remount, statfs, options.

use super::blocks::{Reader, Seal, SIZE};
use super::deferred::Deferred;
use super::error::{is_stopped, Shown};
use super::inode::{self, transact};
use super::mount::{Failure, Meta, Mount};
use super::VexFs;
use crate::vfs::background::Background;
use crate::vfs::{
    checksum::crc32, code, task, ARef, FileSystem, FlushKind, INode, Journal, NewSuperBlock,
    OptionValue, Result, StatFs, SuperBlock,
};
use engine::io::ReadBlocks;
use engine::orphan;
use engine::space::{GroupMem, Space};
use engine::vector;
use engine::Error;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::{seq_print, str::CStr};
use layout::superblock::{OnError, Super, STATE_CLEAN, STATE_ERROR, STATFS_MAGIC};
use layout::{ino, BLOCK_SIZE, LINK_MAX, MAX_FILE_SIZE, NAME_MAX};

/// Records that one transaction of dropping an index removes.
pub(super) const DROP_STEP: u32 = 16;
/// Fewest blocks that a transaction must be able to change: a step of finishing an orphan, with trees of three levels.
const MIN_CREDITS: u32 = 960;
/// Milliseconds after which a mount begins to look after its search trees.
const TIDY_AFTER: u32 = 5_000;
/// Most seconds between commits.
const MAX_COMMIT_INTERVAL: u32 = 300;

/// Mount options as they were given.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    on_error: Option<OnError>,
    commit: Option<u32>,
}

impl FileSystem for VexFs {
    type Module = crate::VexFsModule;
    type Mount = Mount;
    type INode = inode::InodeData;
    type Options = Options;

    const NAME: &'static CStr = c"vexfs";

    fn set_option(options: &mut Options, name: &[u8], value: OptionValue<'_>) -> Result {
        match (name, value) {
            (b"errors", OptionValue::Text(text)) => {
                options.on_error = Some(match text {
                    b"remount-ro" => OnError::RemountRo,
                    b"continue" => OnError::Continue,
                    b"panic" => OnError::Panic,
                    _ => {
                        pr_err!("errors= must be remount-ro, continue or panic\n");
                        return Err(code::EINVAL);
                    }
                });
                Ok(())
            }
            (b"commit", OptionValue::Text(text)) => {
                let seconds = core::str::from_utf8(text)
                    .ok()
                    .and_then(|t| t.parse::<u32>().ok());
                let valid = seconds.filter(|s| (1..=MAX_COMMIT_INTERVAL).contains(s));
                if valid.is_none() {
                    pr_err!("commit= must be 1 to {} seconds\n", MAX_COMMIT_INTERVAL);
                    return Err(code::EINVAL);
                }
                options.commit = valid;
                Ok(())
            }
            _ => Err(code::ENOPARAM),
        }
    }

    fn fill_super(
        new: &mut NewSuperBlock<'_, Self>,
        options: Options,
        quiet: bool,
    ) -> Result<Pin<KBox<Mount>>> {
        let device = new.device()?;
        let mut buffers = new.take_buffers::<SIZE>()?;
        let block0 = buffers.set_aside(0)?;
        let mut block = KBox::new([0u8; SIZE], GFP_KERNEL)?;
        block0.read(&mut block);
        let sb = Super::parse(&*block, 0, crc32).map_err(|e| {
            if !quiet {
                pr_err!("(device {}): {}\n", new.id(), Shown(e));
            }
            code::EINVAL
        })?;
        let geo = sb.geometry;
        if geo.blocks.saturating_mul(BLOCK_SIZE as u64) > device.size() {
            pr_err!(
                "(device {}): filesystem of {} blocks on a smaller device\n",
                new.id(),
                geo.blocks
            );
            return Err(code::EINVAL);
        }
        if sb.read_only_features() && !new.is_read_only() {
            pr_err!(
                "(device {}): has features that allow mounting read-only alone\n",
                new.id()
            );
            return Err(code::EROFS);
        }
        if sb.raw.state.get() & STATE_ERROR != 0 {
            pr_warn!(
                "(device {}): errors were found earlier; run fsck.vexfs\n",
                new.id()
            );
        }
        let journal = Journal::load(
            &device,
            geo.journal_start,
            geo.journal_blocks,
            Seal { seed: sb.seed },
        )
        .inspect_err(|e| {
            pr_err!(
                "(device {}): the journal cannot be used: {:?}\n",
                new.id(),
                e
            )
        })?;
        if !sb.is_clean() {
            pr_info!(
                "(device {}): not unmounted cleanly; its journal was replayed\n",
                new.id()
            );
        }
        if journal.max_credits() < MIN_CREDITS {
            pr_err!(
                "(device {}): the journal of {} blocks is too small; 4096 are needed\n",
                new.id(),
                geo.journal_blocks
            );
            return Err(code::EINVAL);
        }
        if let Some(e) = journal.recorded_error() {
            pr_warn!(
                "(device {}): an earlier mount was stopped by an error ({:?}); run fsck.vexfs\n",
                new.id(),
                e
            );
            if !new.is_read_only() {
                journal.clear_error();
            }
        }
        let mut groups = KVVec::<GroupMem>::with_capacity(geo.groups as usize, GFP_KERNEL)?;
        for _ in 0..geo.groups {
            groups.push(GroupMem::default(), GFP_KERNEL)?;
        }
        let reader = Reader {
            buffers: &buffers,
            sb: &sb,
            again: false,
        };
        reader.prefetch(geo.gdt_start, geo.gdt_blocks.min(256));
        let space = Space::load(&reader, &mut groups).map_err(|e| {
            pr_err!("(device {}): {}\n", new.id(), Shown(e));
            super::error::errno(e)
        })?;
        new.set_limits(STATFS_MAGIC, MAX_FILE_SIZE, LINK_MAX);
        new.set_times(1, i64::MIN, i64::MAX);
        new.set_uuid(&sb.raw.uuid);
        new.enable_xattrs();
        new.enable_export();
        let deferred = Deferred::new(geo.groups)?;
        let on_error = options.on_error.unwrap_or(sb.on_error());
        let mount = Mount::new(
            sb,
            device,
            block0,
            journal,
            Meta {
                buffers,
                space,
                groups,
                deferred,
            },
            on_error,
            Background::new(new)?,
        )?;
        if let Some(seconds) = options.commit {
            mount.set_commit_interval(seconds);
        }
        Ok(mount)
    }

    fn root(sb: &SuperBlock<Self>) -> Result<ARef<INode<Self>>> {
        if !sb.is_read_only() {
            begin_writing(sb)?;
            finish_work(sb)?;
        }
        let root = inode::get(sb, ino::ROOT)?;
        // Nothing fails any more.
        sb.mount().background().arm(TIDY_AFTER);
        Ok(root)
    }

    fn put_super(sb: &SuperBlock<Self>) {
        sb.mount().background().stop();
        // One that was shut down is left as it is: the next mount replays the journal.
        if !sb.is_read_only() && !is_stopped(sb) {
            if let Err(e) = end_writing(sb.mount()) {
                pr_err!(
                    "(device {}): could not be closed cleanly: {:?}\n",
                    sb.id(),
                    e
                );
            }
        }
    }

    fn sync_fs(sb: &SuperBlock<Self>, kind: FlushKind) -> Result {
        let mount = sb.mount();
        let journal = mount.journal();
        let started = journal.start_commit();
        if kind == FlushKind::Start {
            return Ok(());
        }
        // A commit flushes what was written before it; without one, flush here.
        let flushes = started.is_some_and(|tid| journal.commit_will_flush(tid));
        if let Some(tid) = started {
            let committed = journal.commit(tid);
            committed.inspect_err(|_| _ = is_stopped(sb))?;
        }
        if is_stopped(sb) {
            return Err(code::EIO);
        }
        if flushes {
            return Ok(());
        }
        mount.device().flush()
    }

    fn freeze(sb: &SuperBlock<Self>) -> Result {
        if sb.is_read_only() {
            return Ok(());
        }
        end_writing(sb.mount())
    }

    fn unfreeze(sb: &SuperBlock<Self>) -> Result {
        if sb.is_read_only() {
            return Ok(());
        }
        // A thaw that fails leaves the mount frozen, with all who wait for it. The mark can wait: what has to be replayed, the journal
        // itself says, and a device that does not work is noticed by the next commit.
        if let Err(e) = mark_in_use(sb) {
            pr_warn!(
                "(device {}): could not be marked as in use: {:?}\n",
                sb.id(),
                e
            );
        }
        Ok(())
    }

    fn statfs(sb: &SuperBlock<Self>) -> Result<StatFs> {
        let mount = sb.mount();
        let usage = mount.usage();
        let super_block = mount.sb();
        let geo = &super_block.geometry;
        let uuid = layout::bytes::u64_at(&super_block.raw.uuid, 0).unwrap_or(0);
        let free = usage.free_blocks;
        let kept = usage.reserved.saturating_add(usage.meta_reserve);
        Ok(StatFs {
            magic: STATFS_MAGIC,
            block_size: BLOCK_SIZE as u32,
            blocks: mount.data_blocks(),
            free,
            available: free.saturating_sub(kept),
            files: geo.ino_end().saturating_sub(ino::FIRST),
            files_free: usage.free_inodes,
            name_max: NAME_MAX as u32,
            fsid: uuid,
        })
    }

    fn reconfigure(sb: &SuperBlock<Self>, options: Options, read_only: bool) -> Result {
        let mount = sb.mount();
        if let Some(on_error) = options.on_error {
            mount.set_on_error(on_error);
        }
        if let Some(seconds) = options.commit {
            mount.set_commit_interval(seconds);
        }
        match (sb.is_read_only(), read_only) {
            (false, true) if !is_stopped(sb) => {
                mount.background().stop();
                end_writing(mount)
            }
            (true, false) => {
                if is_stopped(sb) {
                    pr_err!(
                        "(device {}): stopped by an error; unmount it and run fsck.vexfs\n",
                        sb.id()
                    );
                    return Err(code::EROFS);
                }
                if mount.sb().read_only_features() || mount.device().is_read_only() {
                    return Err(code::EROFS);
                }
                begin_writing(sb)?;
                finish_work(sb)?;
                mount.background().arm(TIDY_AFTER);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn show_options(sb: &SuperBlock<Self>, out: &SeqFile) -> Result {
        let mount = sb.mount();
        match mount.on_error() {
            OnError::RemountRo => {}
            OnError::Continue => seq_print!(out, ",errors=continue"),
            OnError::Panic => seq_print!(out, ",errors=panic"),
        }
        if mount.commit_interval() != super::mount::COMMIT_INTERVAL {
            seq_print!(out, ",commit={}", mount.commit_interval());
        }
        Ok(())
    }

    fn dirty_inode(inode: &INode<Self>) -> Result {
        inode::record(inode)
    }

    fn write_inode(inode: &INode<Self>, wait: bool) -> Result {
        inode::record_again(inode)?;
        if wait {
            inode::commit(inode)?;
        }
        Ok(())
    }

    fn evict_inode(inode: &INode<Self>) {
        inode::evict(inode);
    }
}

/// The super block says from now on that the filesystem is in use.
fn mark_in_use(sb: &SuperBlock<VexFs>) -> Result {
    sb.mount()
        .update_super(|raw| raw.state.set(raw.state.get() & !STATE_CLEAN))
}

/// The first write of a mount.
fn begin_writing(sb: &SuperBlock<VexFs>) -> Result {
    sb.mount().update_super(|raw| {
        raw.state.set(raw.state.get() & !STATE_CLEAN);
        raw.mounts.set(raw.mounts.get().wrapping_add(1));
        raw.mounted_at.set(task::now().sec);
    })
}

/// Empties the journal and says in the super block that no replay is needed.
fn end_writing(mount: &Mount) -> Result {
    if mount.has_failed() {
        return Err(code::EROFS);
    }
    mount.journal().flush()?;
    mount.update_super(|raw| {
        if raw.state.get() & STATE_ERROR == 0 {
            raw.state.set(raw.state.get() | STATE_CLEAN);
        }
    })
}

/// Finishes what earlier mounts left: orphans, and indexes that were being dropped.
fn finish_work(sb: &SuperBlock<VexFs>) -> Result {
    let mount = sb.mount();
    let failed = |e| super::error::read_failed(sb, 0, e);
    let mut orphans = 0u64;
    let mut from = 0;
    while let Some(ino) = mount.read(|io| orphan::first(io, from)).map_err(failed)? {
        inode::finish(sb, ino)?;
        from = ino.saturating_add(1);
        orphans = orphans.saturating_add(1);
    }
    if orphans != 0 {
        pr_info!(
            "(device {}): {} unlinked or truncated files finished\n",
            sb.id(),
            orphans
        );
    }
    let mut after = 0;
    while let Some(id) = mount
        .read(|io| vector::next_dropping(io, after))
        .map_err(failed)?
    {
        finish_drop(sb, id)?;
        after = id;
    }
    Ok(())
}

/// Frees what a dropped index holds, in steps.
pub(super) fn finish_drop(sb: &SuperBlock<VexFs>, id: u32) -> Result<(), Failure> {
    loop {
        let credits = |io: &Reader<'_>| vector::drop_index::drop_credits(io, DROP_STEP);
        let (done, _) = match transact(sb, 0, credits, |cx| vector::drop_step(cx, id, DROP_STEP)) {
            Err(Failure::Clean(Error::NotFound)) => return Ok(()),
            other => other?,
        };
        if done {
            return Ok(());
        }
        task::cond_resched();
    }
}
