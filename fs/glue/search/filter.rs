// SPDX-License-Identifier: GPL-2.0-only
//! Conditions that hits must meet, as the caller gave them. Those on records are asked for while records are compared; those on files with the
//! permissions, in [`super::visible`].

use crate::glue::ioctl::request;
use crate::glue::VexFs;
use crate::vfs::{code, OpenFile, Result, SuperBlock};
use ::vector::Distance;
use layout::segment::SlotHeader;
use uapi::filter::{FILTER_DISTANCE, FILTER_SUBTREE};
use uapi::Filter;
use zerocopy::{FromZeros, IntoBytes};

/// The conditions of a request.
pub(super) struct Conditions {
    filter: Filter,
    /// Inode of the folder that paths must lead through.
    pub(super) subtree: Option<u64>,
    /// Greatest distance.
    pub(super) farthest: Option<Distance>,
}

impl Conditions {
    /// Reads them from the caller's memory; at address 0 there are none.
    ///
    /// Errors: as [`Filter`] says; `EFAULT`.
    pub(super) fn read(sb: &SuperBlock<VexFs>, address: u64) -> Result<Self> {
        let mut filter = Filter::new_zeroed();
        if address != 0 {
            let mut size = [0u8; 4];
            request::copy_in(address, 0, &mut size)?;
            filter.size = u32::from_ne_bytes(size);
            // What cannot be all of it is not read.
            if filter.size as usize == filter.as_bytes().len() {
                request::copy_in(address, 0, filter.as_mut_bytes())?;
                // It may have changed since it was looked at.
                filter.size = u32::from_ne_bytes(size);
            }
            filter.check().map_err(request::bad)?;
        }
        let has = |condition| filter.conditions & condition != 0;
        let subtree = match has(FILTER_SUBTREE) {
            true => Some(folder(sb, filter.subtree)?),
            false => None,
        };
        Ok(Self {
            subtree,
            farthest: has(FILTER_DISTANCE).then(|| Distance::from_f64_bits(filter.distance_max)),
            filter,
        })
    }

    /// Whether a record meets those that it can answer itself.
    pub(super) fn admits(&self, record: &SlotHeader) -> bool {
        self.filter.admits(record.label, record.tag)
    }

    /// Whether a file meets those on its owner, an id that the caller knows, and its modification time.
    pub(super) fn admits_file(&self, uid: u32, mtime: i64) -> bool {
        self.filter.admits_file(uid, mtime)
    }

    /// Whether files have to be asked.
    pub(super) fn asks_files(&self) -> bool {
        self.filter.asks_files()
    }
}

/// The inode number of an open folder.
fn folder(sb: &SuperBlock<VexFs>, fd: i32) -> Result<u64> {
    let open = OpenFile::<VexFs>::get(sb, fd)?;
    let file = open.file()?;
    match file.inode().is_dir() {
        true => Ok(file.inode().ino()),
        false => Err(code::ENOTDIR),
    }
}
