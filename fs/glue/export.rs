// SPDX-License-Identifier: GPL-2.0-only
//! File handles: inodes by number and generation.

use super::error::{errno, read_failed};
use super::{inode, VexFs};
use crate::vfs::{code, ARef, ExportOperations, INode, Lookup, Result, SuperBlock};
use engine::dir::parents;

impl ExportOperations for VexFs {
    fn inode_by_handle(
        sb: &SuperBlock<Self>,
        ino: u64,
        generation: u32,
    ) -> Result<ARef<INode<Self>>> {
        // Numbers come from outside: they are checked before an inode is made in memory for them.
        let load = || {
            sb.mount()
                .read(|io| engine::inode::load_handle(io, ino, generation))
                .map_err(|e| match e {
                    engine::Error::Stale => errno(e),
                    e => read_failed(sb, ino, e),
                })
        };
        load()?;
        let found = match sb.lookup_inode(ino)? {
            Lookup::Found(inode) => inode,
            Lookup::New(new) => {
                // Read again: until now nobody kept it from changing.
                let loaded = load()?;
                // Nobody has it open, and what removes it is on its way.
                if loaded.links == 0 {
                    return Err(code::ESTALE);
                }
                inode::fill(new, &loaded)?
            }
        };
        // One without links is only kept by those who have it open, and good for others as long.
        if found.generation() != generation {
            return Err(code::ESTALE);
        }
        Ok(found)
    }

    fn parent(dir: &INode<Self>) -> Result<ARef<INode<Self>>> {
        let sb = dir.sb();
        let parent = sb
            .mount()
            .read(|io| parents::parent_of(io, &engine::inode::load(io, dir.ino())?))
            .map_err(|e| read_failed(sb, dir.ino(), e))?;
        inode::get(sb, parent)
    }

    fn commit_metadata(inode: &INode<Self>) -> Result {
        inode::commit(inode)
    }
}
