// SPDX-License-Identifier: GPL-2.0-only
//! Who may use an index: owner, group and nine permission bits, as for a file. It may not look at files.

use crate::vfs::{attr::IdMap, caller, code, Result};
use caller::Capability;
use layout::vector::Index;

/// What an index can be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::glue) enum Right {
    /// Searching it and getting records: the read bits.
    Search,
    /// Putting and deleting records: the write bits.
    Write,
}

/// Whether the current task has the right, for callers that know no mount (extended attributes): ids are those on disk.
pub(in crate::glue) fn may_use(index: &Index, right: Right) -> bool {
    is_allowed(IdMap::none(), index, right)
}

/// Checks that the current task has the right, through a mount with `idmap`. Errors: `EACCES`.
pub(in crate::glue) fn check(idmap: IdMap<'_>, index: &Index, right: Right) -> Result {
    if is_allowed(idmap, index, right) {
        Ok(())
    } else {
        Err(code::EACCES)
    }
}

/// Checks that the current task owns the index or may act as its owner. Errors: `EPERM`.
pub(in crate::glue) fn check_owner(idmap: IdMap<'_>, index: &Index) -> Result {
    if caller::is_user(idmap, index.uid) || caller::is_capable(Capability::Owner) {
        Ok(())
    } else {
        Err(code::EPERM)
    }
}

/// As for files: the first class that the task is in decides alone, then capabilities.
fn is_allowed(idmap: IdMap<'_>, index: &Index, right: Right) -> bool {
    let class = if caller::is_user(idmap, index.uid) {
        index.mode >> 6
    } else if caller::is_in_group(idmap, index.gid) {
        index.mode >> 3
    } else {
        index.mode
    };
    match right {
        Right::Search => {
            class & 4 != 0
                || caller::is_capable(Capability::ReadSearch)
                || caller::is_capable(Capability::Override)
        }
        Right::Write => class & 2 != 0 || caller::is_capable(Capability::Override),
    }
}
