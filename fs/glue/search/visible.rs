// SPDX-License-Identifier: GPL-2.0-only
//! What the caller of a search may see, and wants to: whether a record still lives, whether he may read its file and search the directories
//! of one of its paths, and that path.
//!
//! Permissions are asked of the inodes in memory, so that capabilities, id maps and security modules have their say. That takes inode
//! references and may wait, so it never happens under the metadata lock: a path is followed under the lock with the verdicts that are known,
//! directories that are not known yet are noted and asked about afterwards, and the path is followed once more. Verdicts are kept
//! for one request, as long as no inode's permissions change: while a hit is judged they cannot, and after a change everything is
//! asked anew. So whatever is shown could have been opened at one moment, that when its path was followed last.

use super::filter::Conditions;
use super::table::Table;
use crate::glue::error::read_failed;
use crate::glue::inode;
use crate::glue::ioctl::request;
use crate::glue::VexFs;
use crate::vfs::{
    attr::IdMap, caller, code, task, ARef, Access, FileRef, INode, Result, SuperBlock,
};
use engine::dir::parents::Position;
use engine::dir::path::{self, PathSearch};
use engine::{vector, Error};
use kernel::prelude::*;
use layout::inode::Inode;
use layout::segment::SlotHeader;

/// Verdicts of one kind that are kept.
const KEPT: usize = 1 << 16;
/// Directories that are asked about at a time.
const ASKED: usize = 16;
/// Longest path in bytes, counted from the root of the filesystem. A file whose paths are all longer is no hit: it can hardly be opened either.
const PATH_ROOM: usize = 16 * 1024;

/// The caller's memory for paths, filled from its beginning.
struct Paths {
    address: u64,
    capacity: u64,
    /// Bytes used, or needed.
    used: u64,
}

impl Paths {
    /// Adds a path if there is room, and counts it in any case. Returns where it begins.
    fn add(&mut self, path: &[u8]) -> Result<u64> {
        let start = self.used;
        self.used = start.saturating_add(path.len() as u64);
        if self.used <= self.capacity {
            let offset = usize::try_from(start).map_err(|_| code::EFAULT)?;
            request::write(self.address, offset, path)?;
        }
        Ok(start)
    }
}

/// Where a hit's path lies in the caller's memory.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// The caller's view of the filesystem, for one request.
pub(super) struct Visible<'a> {
    sb: &'a SuperBlock<VexFs>,
    idmap: IdMap<'a>,
    /// Inode at the root of the caller's mount; nothing outside it is visible.
    root: u64,
    /// How often permissions had changed when verdicts were looked at last.
    rights: u64,
    /// Verdicts by inode and [`version`].
    files: Table<bool>,
    dirs: Table<bool>,
    /// Paths that were given out, by inode and [`version`].
    shown: Table<Place>,
    /// In which state of the metadata records of an inode were found to live, by the inode and [`age`].
    alive: Table<u64>,
    buf: KVVec<u8>,
    paths: Paths,
    conditions: &'a Conditions,
}

impl<'a> Visible<'a> {
    /// What the current task sees through `file`, of what meets the conditions. Paths go to `capacity` bytes of its memory at `address`.
    pub(super) fn new(
        file: &FileRef<'a, VexFs>,
        address: u64,
        capacity: u32,
        conditions: &'a Conditions,
    ) -> Result<Self> {
        Ok(Self {
            sb: file.inode().sb(),
            idmap: file.idmap(),
            root: file.mount_root(),
            rights: 0,
            files: Table::new(KEPT)?,
            dirs: Table::new(KEPT)?,
            shown: Table::new(KEPT)?,
            alive: Table::new(KEPT)?,
            buf: request::buffer(PATH_ROOM)?,
            paths: Paths {
                address,
                capacity: u64::from(capacity),
                used: 0,
            },
            conditions,
        })
    }

    /// Bytes of paths, those that did not fit included.
    pub(super) fn paths_used(&self) -> u64 {
        self.paths.used
    }

    /// Whether a record may be a hit.
    pub(super) fn admits(&mut self, record: &SlotHeader) -> Result<bool> {
        let mount = self.sb.mount();
        let _rights = mount.hold_rights();
        self.rights = mount.rights_state();
        if !self.is_live(record)? {
            return Ok(false);
        }
        let (ino, generation) = (record.ino, record.generation);
        let version = version(generation, self.rights);
        if let Some(verdict) = self.files.get(ino, version) {
            return Ok(verdict);
        }
        let verdict =
            self.ask(ino, generation, Access::Read)? && self.climb(ino, generation)?.is_some();
        self.files.insert(ino, version, verdict)?;
        Ok(verdict)
    }

    /// The path of a record that may be a hit, now in the caller's memory if there was room. `None` if it is none.
    pub(super) fn path(&mut self, record: &SlotHeader) -> Result<Option<Place>> {
        if let Some(place) = self.known(record) {
            return Ok(Some(place));
        }
        let mount = self.sb.mount();
        let rights = mount.hold_rights();
        self.rights = mount.rights_state();
        if !self.is_live(record)? {
            return Ok(None);
        }
        let (ino, generation) = (record.ino, record.generation);
        let version = version(generation, self.rights);
        if let Some(place) = self.shown.get(ino, version) {
            return Ok(Some(place));
        }
        let readable = match self.files.get(ino, version) {
            Some(verdict) => verdict,
            None => self.ask(ino, generation, Access::Read)?,
        };
        let start = if readable {
            self.climb(ino, generation)?
        } else {
            None
        };
        // The caller's memory may have to be read from a disk first.
        drop(rights);
        self.files.insert(ino, version, start.is_some())?;
        let Some(path) = start.and_then(|at| self.buf.get(at..)) else {
            return Ok(None);
        };
        let place = Place {
            offset: self.paths.add(path)?,
            len: path.len() as u64,
        };
        self.shown.insert(ino, version, place)?;
        Ok(Some(place))
    }

    /// The path of a record that may be a hit, if another hit has the same and nothing has changed since that was shown: neither permissions nor
    /// metadata. Takes no lock, as both would tell by a number.
    fn known(&self, record: &SlotHeader) -> Option<Place> {
        let mount = self.sb.mount();
        if mount.rights_state() != self.rights || !self.still_lives(record) {
            return None;
        }
        self.shown
            .get(record.ino, version(record.generation, self.rights))
    }

    /// Whether the record was found to live, and no metadata has changed since.
    fn still_lives(&self, record: &SlotHeader) -> bool {
        let found = self.alive.get(record.ino, age(record));
        found.is_some_and(|state| state == self.sb.mount().state())
    }

    fn is_live(&mut self, record: &SlotHeader) -> Result<bool> {
        if self.still_lives(record) {
            return Ok(true);
        }
        let mount = self.sb.mount();
        let (live, state) = mount.read_with_state(|io| vector::is_live(io, record));
        let live = live.map_err(|e| read_failed(self.sb, record.ino, e))?;
        if live {
            self.alive.insert(record.ino, age(record), state)?;
        }
        Ok(live)
    }

    /// Whether the inode is still the one of this generation, and the current task has `access` to it; of a file that is to be read, also
    /// whether it meets the conditions on files.
    #[inline(never)]
    fn ask(&self, ino: u64, generation: u32, access: Access) -> Result<bool> {
        if task::fatal_signal_pending() {
            return Err(code::EINTR);
        }
        task::cond_resched();
        let inode = match self.inode(ino) {
            Err(e) if e == code::ESTALE => return Ok(false),
            other => other?,
        };
        if inode.generation() != generation || inode.nlink() == 0 {
            return Ok(false);
        }
        if access == Access::Read {
            let a = inode.attributes();
            let (uid, _) = caller::shown(self.idmap, a.uid, a.gid);
            if !self.conditions.admits_file(uid, a.mtime.sec) {
                return Ok(false);
            }
        }
        match inode.permission(self.idmap, access) {
            Ok(()) => Ok(true),
            Err(e) if e == code::EACCES || e == code::EPERM => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Finds an inode that may have gone: `ESTALE` then.
    fn inode(&self, ino: u64) -> Result<ARef<INode<VexFs>>> {
        self.sb.inode(ino, |new| {
            let loaded = self.sb.mount().read(|io| engine::inode::load(io, ino));
            let loaded = loaded.map_err(|e| match e {
                Error::Stale => code::ESTALE,
                e => read_failed(self.sb, ino, e),
            })?;
            inode::fill(new, &loaded)
        })
    }

    /// Finds a path of a file that the caller may follow, relative to the root of his mount: the bytes of `buf` from the returned
    /// place on.
    #[inline(never)]
    fn climb(&mut self, ino: u64, generation: u32) -> Result<Option<usize>> {
        if ino == self.root {
            // The mount is of this file alone.
            return Ok(self.conditions.subtree.is_none().then_some(self.buf.len()));
        }
        let mut position = Position::default();
        loop {
            if task::fatal_signal_pending() {
                return Err(code::EINTR);
            }
            let begin = position;
            let mut way = Way {
                root: self.root,
                rights: self.rights,
                levels: 0,
                below: None,
                unknown: [(0, 0); ASKED],
                count: 0,
                through: self.conditions.subtree,
            };
            let (dirs, buf) = (&self.dirs, &mut self.buf);
            let found = self.sb.mount().read(|io| {
                let inode = engine::inode::load(io, ino)?;
                if inode.generation != generation || inode.links == 0 {
                    return Err(Error::Stale);
                }
                path::find(io, &inode, &mut position, 1, buf, |dir| {
                    Ok(way.passes(dir, dirs))
                })
            });
            let found = match found {
                Err(Error::Stale) => return Ok(None),
                other => other.map_err(|e| read_failed(self.sb, ino, e))?,
            };
            if way.count != 0 {
                for &(dir, generation) in way.unknown.iter().take(way.count) {
                    let verdict = self.ask(dir, generation, Access::Search)?;
                    self.dirs
                        .insert(dir, version(generation, self.rights), verdict)?;
                }
                position = begin;
                continue;
            }
            // A path that does not lead through the folder that is wanted is as good as none.
            match (found, way.below.filter(|_| way.through.is_none())) {
                (PathSearch::Found(at), Some(levels)) => return Ok(tail(&self.buf, at, levels)),
                // Another name may be visible.
                (PathSearch::Found(_), None) | (PathSearch::More, _) => task::cond_resched(),
                (PathSearch::None { .. }, _) => return Ok(None),
            }
        }
    }
}

/// The directories of one path, from below.
struct Way {
    root: u64,
    /// As in [`Visible`].
    rights: u64,
    /// Directories so far.
    levels: usize,
    /// How many there were up to the root of the mount, once that was passed.
    below: Option<usize>,
    /// Directories, with generations, of which no verdict is known.
    unknown: [(u64, u32); ASKED],
    count: usize,
    /// A folder that has still to be met.
    through: Option<u64>,
}

impl Way {
    /// Whether the path may go on upwards through `dir`. Without a verdict it may, if the question can be noted.
    fn passes(&mut self, dir: &Inode, verdicts: &Table<bool>) -> bool {
        if self.below.is_some() {
            // What lies above the root of the mount is not asked for when a path is opened either.
            return true;
        }
        self.levels = self.levels.saturating_add(1);
        if self.through == Some(dir.ino) {
            self.through = None;
        }
        if dir.ino == self.root {
            self.below = Some(self.levels);
        }
        if let Some(verdict) = verdicts.get(dir.ino, version(dir.generation, self.rights)) {
            return verdict;
        }
        match self.unknown.get_mut(self.count) {
            Some(place) => {
                *place = (dir.ino, dir.generation);
                self.count = self.count.saturating_add(1);
                true
            }
            None => false,
        }
    }
}

/// What verdicts hold for, beside the inode's number: its generation, and how often permissions had changed, of which 32 bits are more than enough for one request.
fn version(generation: u32, rights: u64) -> u64 {
    (rights << 32) | u64::from(generation)
}

/// What decides whether the records of an inode live, beside the inode itself.
fn age(record: &SlotHeader) -> u64 {
    u64::from(record.generation) << 32 | u64::from(record.epoch)
}

/// Where the last `names` names of the path `buf[at..]` begin, behind the slash.
fn tail(buf: &[u8], at: usize, names: usize) -> Option<usize> {
    let path = buf.get(at..)?;
    let mut slashes = path
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'/');
    let (slash, _) = slashes.nth(names.checked_sub(1)?)?;
    at.checked_add(slash)?.checked_add(1)
}
