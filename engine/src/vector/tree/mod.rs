// SPDX-License-Identifier: GPL-2.0-only
//! The search tree of an index: a balanced hierarchy of partitions, whose leaves have an entry, a compact code, for each record
//! (layout::partition says how they lie in blocks, `::vector::ann` computes what is in them). It may not know whose a record is, nor who
//! may see it.
//!
//! | module | what |
//! |---|---|
//! | [`memory`] | the memory that all of this works in, which the caller owns |
//! | [`node`] | a partition that is read |
//! | [`edit`] | a partition that is changed |
//! | [`entry`] | single entries: appended, removed, replaced |
//! | [`descend`] | the way from the root to where a vector belongs |
//! | [`place`] | where a record's entry goes when it is put, and taking it out again |
//! | [`members`] | the vectors of a partition's entries, exact |
//! | [`split`] | making room: the first leaf, and dividing a full partition |
//! | [`seed`] | leaves for many vectors, before they are put |
//! | [`dissolve`] | moving the entries of a thin partition elsewhere and freeing it |
//! | [`path`] | the way to one leaf after the other, for walks in steps |
//! | [`verify`] | holding a tree to the records of its index |
//! | [`rebuild`] | entering records that have no entry, and taking a tree down |
//! | [`clear`] | freeing the partitions of a dropped index |
//! | [`effort`] | how much is looked at for a recall |
//! | [`fetch`] | copying the records that were found |
//! | [`view`] | a partition that a search looks at |
//! | [`search`] | finding the records near a query, in bounded steps |
//!
//! # What always holds
//! Every partition but the root has exactly one entry in its parent, and names that parent; an entry of a leaf names a slot in use of the index,
//! whose location names the leaf. Codes are those of the exact vectors (above the leaves: of the children's centroids) against the partition's
//! centroid: whoever changes a centroid encodes all entries anew. No partition above the leaves is without entries. Freed partitions are erased.
//!
//! # Transactions
//! Putting a record changes one leaf, removing it one. A leaf without room is divided before, in a transaction of its own
//! ([`make_room`]), and its parent before it: [`Error::Full`](crate::Error::Full) says so, cleanly. A partition that became thin is dissolved in steps
//! ([`tidy_step`]) whenever there is time. So a crash finds a tree that is right, if perhaps not balanced.
//!
//! Records can be without an entry: those that were put without a [`Builder`], which is how callers go on that find no room for
//! a partition. `entries` of the index is less than its `records` then, and a search has to scan the segments, until [`complete_step`] has entered them.

pub(crate) mod clear;
pub(crate) mod descend;
pub mod dissolve;
pub(crate) mod edit;
pub mod effort;
pub(crate) mod entry;
pub(crate) mod fetch;
pub(crate) mod members;
pub mod memory;
pub(crate) mod node;
pub(crate) mod path;
pub mod place;
pub mod rebuild;
pub mod search;
pub mod seed;
pub mod split;
pub mod verify;
pub(crate) mod view;

pub use dissolve::{tidy_credits, tidy_step, Sweep};
pub use effort::{Aim, Effort};
pub use memory::{Builder, Lengths, Workspace};
pub use rebuild::{complete_credits, complete_step, take_down_credits, take_down_step, Completion};
pub use search::{Fetched, Near, Progress, Search, SearchMemory};
pub use split::{make_room, make_room_credits, plan_room, Plan};
pub use verify::{verify_step, Seen, Verification};

use crate::error::{Error, Result};
use ::vector::{Compute, Fpu, Kind, Metric};
use layout::partition::Shape;
use layout::vector::Index;

/// Whether every record of an index has its entry, so that a search of the tree can find it.
pub fn is_complete(index: &Index) -> bool {
    index.tree.entries == index.records
}

/// The shape of the partitions of an index.
pub(crate) fn shape(index: &Index) -> Result<Shape> {
    Shape::new(index.dim).map_err(|e| Error::Internal(e.0))
}

/// The metric as the mathematics knows it.
pub(crate) fn metric(index: &Index) -> Metric {
    match index.metric {
        layout::vector::Metric::L2 => Metric::L2,
        layout::vector::Metric::Cosine => Metric::Cosine,
        layout::vector::Metric::Dot => Metric::Dot,
        layout::vector::Metric::Hamming => Metric::Hamming,
    }
}

/// What vectors of an index are, as the mathematics knows it.
pub(crate) fn kind(index: &Index) -> Result<Kind> {
    Kind::from_codes(index.element as u32, index.metric as u32, index.dim)
        .map_err(|_| Error::Internal("an index of a kind that there is not"))
}

/// Runs `run` where the floating-point unit may be used.
pub(crate) fn with_fpu<X>(
    compute: &dyn Compute,
    run: impl FnOnce(&Fpu) -> core::result::Result<X, ::vector::Error>,
) -> Result<X> {
    let mut run = Some(run);
    let mut result = None;
    compute.with_fpu(&mut |fpu| {
        if let Some(run) = run.take() {
            result = Some(run(fpu));
        }
    });
    match result {
        Some(Ok(x)) => Ok(x),
        Some(Err(_)) => Err(Error::Internal("wrong lengths for a computation")),
        None => Err(Error::Internal("the floating-point unit was refused")),
    }
}
