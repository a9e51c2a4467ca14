// SPDX-License-Identifier: GPL-2.0-only
//! Who the current task is to a filesystem: its ids for files on disk, its groups, its capabilities. For objects that have an owner, a group and
//! permission bits without being inodes.
//!
//! Ids on disk belong to the initial user namespace, the only one that filesystem types of this layer can be mounted in.

use super::{attr::IdMap, bindings, code, Result};
use kernel::prelude::*;

/// Capabilities that filesystems ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capability {
    /// Acts as the owner of everything (CAP_FOWNER).
    Owner,
    /// Reads everything and searches all directories (CAP_DAC_READ_SEARCH).
    ReadSearch,
    /// Reads and writes everything (CAP_DAC_OVERRIDE).
    Override,
    /// Administers the system (CAP_SYS_ADMIN).
    Admin,
}

/// Whether the task has `capability` in the initial user namespace.
pub(crate) fn is_capable(capability: Capability) -> bool {
    let cap = match capability {
        Capability::Owner => bindings::CAP_FOWNER,
        Capability::ReadSearch => bindings::CAP_DAC_READ_SEARCH,
        Capability::Override => bindings::CAP_DAC_OVERRIDE,
        Capability::Admin => bindings::CAP_SYS_ADMIN,
    };
    // SAFETY: A query of the current task.
    unsafe { bindings::capable(cap as c_int) }
}

/// Filesystem uid and gid of the task, as they are stored on disk for what it makes through a mount with `idmap`.
///
/// Errors: `EOVERFLOW` if the map has no ids for it.
pub(crate) fn ids(idmap: IdMap<'_>) -> Result<(u32, u32)> {
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: The map is valid, and the ids may be written.
    if unsafe { bindings::rvfs_caller_ids(idmap.as_ptr(), &mut uid, &mut gid) } {
        Ok((uid, gid))
    } else {
        Err(code::EOVERFLOW)
    }
}

/// Whether the task's filesystem uid is `uid`, an id on disk.
pub(crate) fn is_user(idmap: IdMap<'_>, uid: u32) -> bool {
    // SAFETY: The map is valid.
    unsafe { bindings::rvfs_caller_is_user(idmap.as_ptr(), uid) }
}

/// Whether the task is in group `gid`, an id on disk.
pub(crate) fn is_in_group(idmap: IdMap<'_>, gid: u32) -> bool {
    // SAFETY: The map is valid.
    unsafe { bindings::rvfs_caller_in_group(idmap.as_ptr(), gid) }
}

/// Ids on disk as the task knows them: in its user namespace, the overflow ids if they have no place there.
pub(crate) fn shown(idmap: IdMap<'_>, uid: u32, gid: u32) -> (u32, u32) {
    let (mut uid, mut gid) = (uid, gid);
    // SAFETY: The map is valid, and the ids may be read and written.
    unsafe { bindings::rvfs_caller_sees_ids(idmap.as_ptr(), &mut uid, &mut gid) };
    (uid, gid)
}
