// SPDX-License-Identifier: GPL-2.0-only
//! What the vector tree computes: rotation, codes, estimates, divisions. Safe
//! interface of the code kernels (`math::ann`), for a tree that somebody else keeps
//! in blocks (layout::partition); it may not know how the tree is searched.
//!
//! A binary32 is carried as its bits in a `u32`; a distance inside the tree as an
//! ordered `u32` *key*: smaller is nearer, and nothing else may be done with it than
//! compare it with others of the same query. Keys are estimates; what a search
//! returns are [`crate::Distance`]s.
//!
//! | module | responsibility |
//! |---|---|
//! | `rotation` | the random rotation of an index |
//! | `query` | a query's tables, and its look at a partition |
//! | `graph` | a query's look at a node of a graph, and choosing neighbours |
//! | `divide` | dividing the members of a partition in two |
//! | `means` | dividing many vectors among many centres |
//! | `call` | the calls of the code kernels: the unsafe code |

mod call;
mod divide;
mod graph;
mod means;
mod query;
mod rotation;

pub use divide::{mean, two_means, TwoMeans};
pub use graph::{apart, hidden, Neighbours, ALONE};
pub use means::{k_means, MAX_CENTRES};
pub use query::{Centroid, Noted, Query, QueryMemory};
pub use rotation::Rotation;

/// A key that no entry reaches.
pub const NO_LIMIT: u32 = u32::MAX;

use crate::Error;

/// `Ok` if a slice has the length that it must have.
fn expect(actual: usize, expected: usize) -> Result<(), Error> {
    if actual == expected {
        Ok(())
    } else {
        Err(Error::Length { expected, actual })
    }
}
