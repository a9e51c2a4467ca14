// SPDX-License-Identifier: GPL-2.0-only
//! What was done with each index since the filesystem was mounted. Counting is adding to numbers that nobody waits for; looking an index up, which a request
//! does once, is the only lock. It may not know why anything is done.

use super::ioctl::Counter;
use crate::vfs::Result;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::{Arc, Mutex};

/// What was done with one index.
#[derive(Default)]
pub(super) struct Activity {
    /// Queries answered.
    pub(super) queries: Counter,
    /// Exact distances computed.
    pub(super) distances: Counter,
    /// Partitions of the search tree that searches looked at.
    pub(super) partitions: Counter,
    /// Searches that began anew because the tree changed under them.
    pub(super) restarts: Counter,
    /// Records put.
    pub(super) puts: Counter,
    /// Records deleted by request.
    pub(super) deletes: Counter,
    /// Partitions divided, or made where there was none.
    pub(super) divisions: Counter,
    /// Partitions freed because they had become thin.
    pub(super) dissolutions: Counter,
}

/// An index's number, and what was done with it.
type Entry = (u32, Arc<Activity>);

/// The activity of all indexes that something was done with.
#[pin_data]
pub(super) struct Activities {
    /// In no order. A place of number 0 is free.
    #[pin]
    entries: Mutex<KVVec<Entry>>,
}

impl Activities {
    /// Of no index.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- new_mutex!(KVVec::new()),
        })
    }

    /// That of index `id`, which is not 0. Errors: `ENOMEM`.
    pub(super) fn of(&self, id: u32) -> Result<Arc<Activity>> {
        let mut entries = self.entries.lock();
        if let Some((_, known)) = entries.iter().find(|(n, _)| *n == id) {
            return Ok(known.clone());
        }
        let new = Arc::new(Activity::default(), GFP_KERNEL)?;
        match entries.iter_mut().find(|(n, _)| *n == 0) {
            Some(place) => *place = (id, new.clone()),
            None => entries.push((id, new.clone()), GFP_KERNEL)?,
        }
        Ok(new)
    }

    /// Forgets index `id`, whose number is never used again.
    pub(super) fn forget(&self, id: u32) {
        let mut entries = self.entries.lock();
        if let Some(place) = entries.iter_mut().find(|(n, _)| *n == id) {
            place.0 = 0;
        }
    }
}
