// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Conditions that a record must meet to be a hit of a search.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::request::require;
use crate::BadRequest;

/// Condition of [`Filter`]: `label_min <= label <= label_max`.
pub const FILTER_LABEL: u32 = 1;
/// Condition of [`Filter`]: `tag & tag_mask == tag_value`.
pub const FILTER_TAG: u32 = 2;
/// Condition of [`Filter`]: the file's owner is `uid`, as the caller knows users.
pub const FILTER_UID: u32 = 4;
/// Condition of [`Filter`]: the file's modification time, in whole seconds, lies between
/// `mtime_min` and `mtime_max`, both included.
pub const FILTER_MTIME: u32 = 8;
/// Condition of [`Filter`]: one of the file's paths that the caller may follow leads through the folder
/// that `subtree` is an open descriptor of; that path is in the hit.
pub const FILTER_SUBTREE: u32 = 16;
/// Condition of [`Filter`]: the distance is not greater than `distance_max`.
pub const FILTER_DISTANCE: u32 = 32;

/// All conditions.
const FILTER_ALL: u32 =
    FILTER_LABEL | FILTER_TAG | FILTER_UID | FILTER_MTIME | FILTER_SUBTREE | FILTER_DISTANCE;

/// What [`crate::Search::filter`] leads to. A record is a hit only if it meets all of
/// `conditions`; fields of others do not matter.
///
/// A search with a filter has as many hits as one without, as long as there are as many
/// records that meet it: it looks at more of the search tree, at last at all records.
///
/// | errno | why |
/// |---|---|
/// | `EINVAL` | an unknown condition, an impossible size, a reserved field that is not zero, a `distance_max` that is not a number |
/// | `E2BIG` | it is longer than the kernel knows it |
/// | `EBADF`, `EXDEV`, `ENOTDIR` | `subtree` is no open descriptor, or one of another filesystem, or of no folder |
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Filter {
    /// Size of this structure.
    pub size: u32,
    /// `FILTER_*`, or-ed.
    pub conditions: u32,
    /// Smallest label.
    pub label_min: u64,
    /// Greatest label.
    pub label_max: u64,
    /// The bits of the tag that matter.
    pub tag_mask: u64,
    /// What they must be; no others may be set.
    pub tag_value: u64,
    /// Owner.
    pub uid: u32,
    /// Descriptor of a folder.
    pub subtree: i32,
    /// Earliest modification, seconds since 1970.
    pub mtime_min: i64,
    /// Latest modification.
    pub mtime_max: i64,
    /// Greatest distance: the bits of a binary64 (`double`).
    pub distance_max: u64,
    /// Zero.
    pub reserved: [u64; 4],
}

impl Filter {
    /// Checks what needs no looking up.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), BadRequest> {
        let known = core::mem::size_of::<Self>();
        match self.size as usize {
            size if size > known => return Err(BadRequest::TooNew),
            size if size < known => return Err(BadRequest::Size),
            _ => {}
        }
        if self.conditions & !FILTER_ALL != 0 {
            return Err(BadRequest::Flags);
        }
        if self.reserved != [0; 4] {
            return Err(BadRequest::Reserved);
        }
        let has = |condition| self.conditions & condition != 0;
        require(!has(FILTER_TAG) || self.tag_value & !self.tag_mask == 0)?;
        let magnitude = self.distance_max & !(1 << 63);
        require(!has(FILTER_DISTANCE) || magnitude <= 0x7ff << 52)
    }

    /// Whether label and tag of a record meet the conditions on them.
    pub const fn admits(&self, label: u64, tag: u64) -> bool {
        (self.conditions & FILTER_LABEL == 0
            || (self.label_min <= label && label <= self.label_max))
            && (self.conditions & FILTER_TAG == 0 || tag & self.tag_mask == self.tag_value)
    }

    /// Whether owner and modification time of a file meet the conditions on them.
    pub const fn admits_file(&self, uid: u32, mtime: i64) -> bool {
        (self.conditions & FILTER_UID == 0 || uid == self.uid)
            && (self.conditions & FILTER_MTIME == 0
                || (self.mtime_min <= mtime && mtime <= self.mtime_max))
    }

    /// Whether there is a condition on files, so that looking at a record is not enough.
    pub const fn asks_files(&self) -> bool {
        self.conditions & (FILTER_UID | FILTER_MTIME | FILTER_SUBTREE) != 0
    }
}
