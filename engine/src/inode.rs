// SPDX-License-Identifier: GPL-2.0-only
//! Inodes: reading them from the inode table, storing them there, making new ones, giving them back, and changing their
//! attributes. It may not touch what hangs in their forks, nor directories.
//!
//! Operations load an inode, change the copy on the stack, and [`store`] it last: between the two the copy is the truth, so an
//! operation holds at most one copy of each inode.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::ialloc;
use crate::io::{ReadBlocks, Transaction};
use layout::block::BlockKind;
use layout::bytes;
use layout::group::GroupDesc;
use layout::inode::{
    mode, Fork, Inode, Slot, Time, FLAG_SYSTEM, INODES_PER_BLOCK, INODE_SIZE, KNOWN_FLAGS,
};
use layout::{ino, LINK_MAX};

/// Blocks that one [`store`] changes.
pub const STORE_CREDITS: u32 = 1;

/// What the inode table holds for `ino`.
///
/// Errors: [`Error::Corrupt`] if there is no such number (it came from disk; numbers from users go through
/// [`load_handle`]) or the inode is damaged; [`Error::Io`].
pub fn load_slot<R: ReadBlocks>(io: &R, ino: u64) -> Result<Slot> {
    let place = io.sb().geometry.inode_place(ino).ok_or(Error::corrupt(
        0,
        "an inode number lies outside the filesystem",
    ))?;
    let block = io.read(place.block, BlockKind::InodeTable)?;
    let raw = bytes::slice(&*block, place.offset, INODE_SIZE)
        .ok_or(Error::Internal("an inode lies outside its block"))?;
    Inode::parse(raw, ino).map_err(Error::at(place.block))
}

/// The inode `ino`. [`Error::Stale`] if it is not in use, else the errors of [`load_slot`].
pub fn load<R: ReadBlocks>(io: &R, ino: u64) -> Result<Inode> {
    match load_slot(io, ino)? {
        Slot::Used(inode) => Ok(inode),
        _ => Err(Error::Stale),
    }
}

/// The inode that a directory entry, parent pointer or orphan entry names: not being in use is damage here.
pub fn load_named<R: ReadBlocks>(io: &R, ino: u64) -> Result<Inode> {
    match load_slot(io, ino)? {
        Slot::Used(inode) => Ok(inode),
        _ => Err(not_in_use(io, ino)),
    }
}

/// As [`load_named`], into a place that the caller has. A function of its own, so that the copies that it makes leave the stack
/// with it: an operation on four inodes would otherwise need a good part of a kernel stack.
#[inline(never)]
pub(crate) fn load_named_into<R: ReadBlocks>(io: &R, ino: u64, to: &mut Inode) -> Result<()> {
    match load_into(io, ino, to) {
        Err(Error::Stale) => Err(not_in_use(io, ino)),
        other => other,
    }
}

/// The block of the inode table that holds inode `ino`: what errors name when the fault is the inode's, or lies in one of its trees and the node is not
/// known. 0 if there is no such inode.
pub(crate) fn home_block<R: ReadBlocks>(io: &R, ino: u64) -> u64 {
    io.sb().geometry.inode_place(ino).map_or(0, |p| p.block)
}

fn not_in_use<R: ReadBlocks>(io: &R, ino: u64) -> Error {
    Error::corrupt(
        home_block(io, ino),
        "an inode that is not in use is named by an entry",
    )
}

/// As [`load`], into a place that the caller has.
#[inline(never)]
pub(crate) fn load_into<R: ReadBlocks>(io: &R, ino: u64, to: &mut Inode) -> Result<()> {
    match load_slot(io, ino)? {
        Slot::Used(inode) => {
            *to = inode;
            Ok(())
        }
        _ => Err(Error::Stale),
    }
}

/// No inode: the place for one.
pub(crate) const BLANK: Inode = Inode {
    ino: 0,
    mode: 0,
    generation: 0,
    links: 0,
    uid: 0,
    gid: 0,
    size: 0,
    blocks: 0,
    atime: Time { sec: 0, nsec: 0 },
    mtime: Time { sec: 0, nsec: 0 },
    ctime: Time { sec: 0, nsec: 0 },
    btime: Time { sec: 0, nsec: 0 },
    flags: 0,
    rdev: 0,
    project: 0,
    vector_epoch: 1,
    vectors: 0,
    version: 1,
    default_index: 0,
    data: Fork::EMPTY,
    attr: Fork::EMPTY,
};

/// The inode that a file handle (number and generation, from a user) names.
///
/// Errors: [`Error::Stale`] for numbers that do not exist, are reserved for metadata, lie in a part of the inode table that was never
/// written, are not in use, or live another life.
pub fn load_handle<R: ReadBlocks>(io: &R, ino: u64, generation: u32) -> Result<Inode> {
    let geo = io.sb().geometry;
    let Some(place) = geo.inode_place(ino) else {
        return Err(Error::Stale);
    };
    if ino != ino::ROOT && ino < ino::FIRST {
        return Err(Error::Stale);
    }
    let (block, n) = geo.desc_place(place.group);
    let desc = GroupDesc::read(&*io.read(block, BlockKind::Gdt)?, n).map_err(Error::at(block))?;
    if place.index / INODES_PER_BLOCK as u32 >= desc.itable_init {
        return Err(Error::Stale);
    }
    let inode = load(io, ino)?;
    if inode.generation != generation {
        return Err(Error::Stale);
    }
    Ok(inode)
}

/// Writes an inode to its place.
#[inline(never)]
pub fn store<T: Transaction>(cx: &mut Cx<'_, T>, inode: &Inode) -> Result<()> {
    put(cx, inode.ino, &inode.to_bytes())
}

fn put<T: Transaction>(cx: &mut Cx<'_, T>, ino: u64, raw: &[u8; INODE_SIZE]) -> Result<()> {
    let place = cx
        .io
        .sb()
        .geometry
        .inode_place(ino)
        .ok_or(Error::Internal("storing an inode that cannot be"))?;
    let mut block = cx.io.modify(place.block, BlockKind::InodeTable)?;
    bytes::put(&mut *block, place.offset, raw)
        .ok_or(Error::Internal("an inode lies outside its block"))
}

/// What the caller decides about a new inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewInode<'a> {
    /// Type and permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of device nodes, else 0.
    pub rdev: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// Project id.
    pub project: u32,
    /// Index that it, or files below it, belong to; 0 if none.
    pub default_index: u32,
    /// Target of a symbolic link, else empty.
    pub target: &'a [u8],
}

/// Makes `inode` one without number, links and contents.
pub(crate) fn begin(inode: &mut Inode, new: &NewInode<'_>, now: Time) {
    *inode = BLANK;
    inode.mode = new.mode;
    inode.uid = new.uid;
    inode.gid = new.gid;
    inode.flags = new.flags;
    inode.rdev = new.rdev;
    inode.project = new.project;
    inode.default_index = new.default_index;
    inode.atime = now;
    inode.mtime = now;
    inode.ctime = now;
    inode.btime = now;
}

/// Takes a number near directory `near` for an inode that was begun, and starts a new generation of it. The caller stores the inode.
///
/// Errors: clean [`Error::NoInodes`]; the dirty ones.
pub(crate) fn enlist<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    near: u64,
) -> Result<()> {
    let ino = ialloc::alloc_inode(cx, near, inode.is_dir())?;
    let last = last_generation(cx.io, ino)?;
    inode.ino = ino;
    // 0 means "any generation" to some users of file handles.
    inode.generation = last.wrapping_add(1).max(1);
    Ok(())
}

/// The generation of the last life of a number that is free in the bitmap.
#[inline(never)]
fn last_generation<R: ReadBlocks>(io: &R, ino: u64) -> Result<u32> {
    let slot = load_slot(io, ino)?;
    if matches!(slot, Slot::Used(_)) {
        let block = io.sb().geometry.inode_place(ino).map_or(0, |p| p.block);
        return Err(Error::corrupt(
            block,
            "an inode in use is free in the inode bitmap",
        ));
    }
    Ok(slot.generation())
}

/// Gives an inode back whose forks hold no blocks any more.
pub(crate) fn free<T: Transaction>(cx: &mut Cx<'_, T>, inode: &Inode) -> Result<()> {
    put(
        cx,
        inode.ino,
        &Inode::freed_bytes(inode.ino, inode.generation),
    )?;
    ialloc::free_inode(cx, inode.ino, inode.is_dir())
}

/// Attributes to change; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttributes {
    /// Permission bits; the type bits are ignored.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last access.
    pub atime: Option<Time>,
    /// Last change of contents.
    pub mtime: Option<Time>,
    /// Last change of the inode.
    pub ctime: Option<Time>,
    /// `FLAG_*`, without [`FLAG_SYSTEM`].
    pub flags: Option<u32>,
    /// Project id.
    pub project: Option<u32>,
    /// Default index, 0 for none.
    pub default_index: Option<u32>,
}

/// Changes attributes of an inode and returns it. The change counter is raised unless only the access time changes.
///
/// Errors, clean: [`Error::Stale`], [`Error::Range`] for unknown flags and nanoseconds above 10^9.
pub fn set_attributes<T: Transaction>(
    cx: &mut Cx<'_, T>,
    ino: u64,
    set: &SetAttributes,
) -> Result<Inode> {
    let mut inode = load(cx.io, ino)?;
    apply(&mut inode, set)?;
    store(cx, &inode)?;
    Ok(inode)
}

/// Blocks that [`set_attributes`] may change.
pub const SET_ATTRIBUTES_CREDITS: u32 = STORE_CREDITS;

fn apply(inode: &mut Inode, set: &SetAttributes) -> Result<()> {
    let times = [set.atime, set.mtime, set.ctime];
    if times.iter().flatten().any(|t| t.nsec >= 1_000_000_000) {
        return Err(Error::Range("nanoseconds out of range"));
    }
    if set
        .flags
        .is_some_and(|f| f & !(KNOWN_FLAGS & !FLAG_SYSTEM) != 0)
    {
        return Err(Error::Range("unknown inode flags"));
    }
    if let Some(m) = set.mode {
        inode.mode = (inode.mode & mode::TYPE) | (m & !mode::TYPE);
    }
    inode.uid = set.uid.unwrap_or(inode.uid);
    inode.gid = set.gid.unwrap_or(inode.gid);
    inode.atime = set.atime.unwrap_or(inode.atime);
    inode.mtime = set.mtime.unwrap_or(inode.mtime);
    inode.ctime = set.ctime.unwrap_or(inode.ctime);
    if let Some(f) = set.flags {
        inode.flags = (inode.flags & FLAG_SYSTEM) | f;
    }
    inode.project = set.project.unwrap_or(inode.project);
    inode.default_index = set.default_index.unwrap_or(inode.default_index);
    let only_atime = SetAttributes {
        atime: None,
        ..*set
    };
    if !only_atime.is_empty() {
        inode.version = inode.version.wrapping_add(1);
    }
    Ok(())
}

impl SetAttributes {
    fn is_empty(&self) -> bool {
        let SetAttributes {
            mode,
            uid,
            gid,
            atime,
            mtime,
            ctime,
            flags,
            project,
            default_index,
        } = self;
        mode.is_none()
            && atime.is_none()
            && mtime.is_none()
            && ctime.is_none()
            && [uid, gid, flags, project, default_index]
                .iter()
                .all(|v| v.is_none())
    }
}

/// The inode changed: ctime and the change counter.
pub(crate) fn touch(inode: &mut Inode, now: Time) {
    inode.ctime = now;
    inode.version = inode.version.wrapping_add(1);
}

/// The contents changed: mtime, ctime and the change counter.
pub(crate) fn touch_contents(inode: &mut Inode, now: Time) {
    inode.mtime = now;
    touch(inode, now);
}

/// One more link; the caller has checked [`can_link`].
pub(crate) fn add_link(inode: &mut Inode) -> Result<()> {
    if !can_link(inode) {
        return Err(Error::Internal("one link too many"));
    }
    inode.links = inode.links.saturating_add(1);
    Ok(())
}

/// Whether one more link is possible.
pub(crate) fn can_link(inode: &Inode) -> bool {
    inode.links < LINK_MAX
}

/// One link less.
pub(crate) fn drop_link<R: ReadBlocks>(io: &R, inode: &mut Inode) -> Result<()> {
    inode.links = inode.links.checked_sub(1).ok_or(Error::corrupt(
        home_block(io, inode.ino),
        "an inode has more names than links",
    ))?;
    Ok(())
}
