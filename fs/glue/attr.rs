// SPDX-License-Identifier: GPL-2.0-only
//! What every inode can be asked and told: birth time, size, flags, names of extended attributes.

use super::{file, inode, xattr, VexFs};
use crate::vfs::{self, code, FileFlags, INode, INodeOperations, ListXattr, Result, Stat};
use engine::inode::SetAttributes;
use layout::inode::{FLAG_APPEND, FLAG_IMMUTABLE, FLAG_NOATIME, FLAG_NODUMP, FLAG_SYNC};
use layout::BLOCK_SIZE;

impl INodeOperations for VexFs {
    fn getattr(inode: &INode<Self>, stat: &mut Stat<'_>) -> Result {
        let t = inode.data().btime();
        stat.set_btime(vfs::Time {
            sec: t.sec,
            nsec: t.nsec,
        });
        stat.set_block_size(BLOCK_SIZE as u32);
        Ok(())
    }

    fn set_size(inode: &INode<Self>, size: u64) -> Result {
        file::set_size(inode, size)
    }

    fn check_writable(inode: &INode<Self>) -> Result {
        if super::error::is_stopped(inode.sb()) {
            return Err(code::EROFS);
        }
        Ok(())
    }

    fn list_xattrs(inode: &INode<Self>, list: &mut ListXattr<'_>) -> Result {
        xattr::list(inode, list)
    }

    fn change_rights(inode: &INode<Self>, change: impl FnOnce()) {
        inode.sb().mount().change_rights(change);
    }

    fn set_flags(inode: &INode<Self>, flags: FileFlags) -> Result {
        if flags.dirsync {
            return Err(code::EOPNOTSUPP);
        }
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let wanted = bit(flags.sync, FLAG_SYNC)
            | bit(flags.append, FLAG_APPEND)
            | bit(flags.immutable, FLAG_IMMUTABLE)
            | bit(flags.noatime, FLAG_NOATIME);
        let sb = inode.sb();
        let ctime = inode.touch_ctime();
        let (_, tid) = sb.mount().transact(
            sb,
            inode.ino(),
            engine::inode::SET_ATTRIBUTES_CREDITS,
            |cx| {
                // Flags that the kernel does not show stay as they are.
                let kept = engine::inode::load(cx.io, inode.ino())?.flags & FLAG_NODUMP;
                let set = SetAttributes {
                    flags: Some(wanted | kept),
                    ctime: Some(layout::inode::Time {
                        sec: ctime.sec,
                        nsec: ctime.nsec,
                    }),
                    ..SetAttributes::default()
                };
                engine::inode::set_attributes(cx, inode.ino(), &set)
            },
        )?;
        inode.data().changed_in(tid);
        if inode.is_dirsync() {
            inode::commit(inode)?;
        }
        Ok(())
    }
}
