// SPDX-License-Identifier: GPL-2.0-only
//! The ioctl interface (crate `uapi`): which request is whose, and what requests have in common. It may not do the work of any.
//!
//! | module | responsibility |
//! |---|---|
//! | [`request`] | request structures and arrays between the caller's memory and the kernel's |
//! | [`rights`] | who may use an index |
//! | [`index`] | create, describe, list and drop indexes, note what searching one takes; statistics |
//! | [`record`] | put, get and delete records, one by one |
//! | [`batch`] | many records in few transactions |
//! | [`maintenance`] | verify and build search trees |
//! | [`view`] | vectors as extended attributes |
//!
//! Rights of an index are asked for when a request begins, those of a file when it is opened, as for reading and writing.

mod batch;
mod index;
mod maintenance;
mod record;
pub(super) mod request;
pub(super) mod rights;
mod view;

pub(super) use rights::{may_use, Right};
pub(super) use view::{get as get_view, set as set_view};

use super::error::{errno, read_failed};
use super::mount::Failure;
use super::{search, shutdown, VexFs};
use crate::vfs::{code, FileRef, IoctlArg, Result, SuperBlock};
use core::sync::atomic::{AtomicU64, Ordering};
use engine::{vector, Error};
use layout::vector::Index;
use uapi::{
    Delete, Get, IndexBuild, IndexCreate, IndexDrop, IndexEfforts, IndexInfo, IndexList,
    IndexVerify, Put, PutMany, Request, Search, Stats, NAME_SIZE,
};

/// What was done since the filesystem was mounted.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) queries: Counter,
    pub(super) distances: Counter,
    pub(super) puts: Counter,
    pub(super) deletes: Counter,
}

/// A number that only grows.
#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// Each handler is a function of its own, lest the stack has to hold what all of them need.

/// Serves a request on any file or directory of a mount. Errors: `ENOTTY` for numbers that are not known.
pub(super) fn serve(file: &FileRef<'_, VexFs>, cmd: u32, arg: IoctlArg) -> Result<i64> {
    match cmd {
        IndexCreate::NUMBER => index::create(file, arg),
        IndexInfo::NUMBER => index::info(file, arg),
        IndexList::NUMBER => index::list(file, arg),
        IndexDrop::NUMBER => index::remove(file, arg),
        IndexEfforts::NUMBER => index::note_efforts(file, arg),
        Put::NUMBER => record::put(file, arg),
        PutMany::NUMBER => batch::put_many(file, arg),
        Get::NUMBER => record::get(file, arg),
        Delete::NUMBER => record::delete(file, arg),
        Search::NUMBER => search::serve(file, arg),
        Stats::NUMBER => index::stats(file, arg),
        IndexVerify::NUMBER => maintenance::verify(file, arg),
        IndexBuild::NUMBER => maintenance::build(file, arg),
        shutdown::NUMBER => shutdown::serve(file.inode().sb(), arg),
        _ => return Err(code::ENOTTY),
    }?;
    Ok(0)
}

/// The index that a request names.
pub(super) fn named(sb: &SuperBlock<VexFs>, name: &[u8; NAME_SIZE]) -> Result<Index> {
    let name = uapi::parse_name(name).map_err(request::bad)?;
    by_name(sb, name.as_bytes())
}

/// The index called `name`. Errors: `ENOENT`, also for what is no name.
fn by_name(sb: &SuperBlock<VexFs>, name: &[u8]) -> Result<Index> {
    sb.mount()
        .read(|io| vector::find(io, name))
        .map_err(|e| read_failed(sb, layout::ino::INDEX_TABLE, e))
}

/// What the vectors of an index are, for distances.
pub(super) fn kind(index: &Index) -> Result<::vector::Kind> {
    ::vector::Kind::from_codes(index.element as u32, index.metric as u32, index.dim)
        .map_err(|_| code::EOPNOTSUPP)
}

/// The errno of a transaction on indexes or records: no number left means no space.
fn failed(failure: Failure) -> kernel::error::Error {
    match failure {
        Failure::Clean(Error::TooBig) => code::ENOSPC,
        Failure::Clean(e) => errno(e),
        Failure::Kernel(e) => e,
    }
}
