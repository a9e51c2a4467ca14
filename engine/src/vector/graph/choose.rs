// SPDX-License-Identifier: GPL-2.0-only
//! Which candidates become a node's neighbours: the nearest first, but none that is nearer to a neighbour chosen before than to the node (the rule of relative
//! neighbourhood graphs, as in NSG and Vamana). If that leaves places, those follow that were hidden the least, because a pack of 32 codes costs the same
//! whether it is full or not (SymphonyQG). It may not know where candidates come from.

use crate::error::{Error, Result};
use crate::vector::tree::memory::{part, row};
use ::vector::ann::{apart, hidden, ALONE};
use ::vector::Compute;
use layout::graph::DEGREE;

/// Memory of a choice among `n` candidates, slices of at least as many entries.
pub(crate) struct Candidates<'a> {
    /// Their vectors, in rotated space.
    pub rows: &'a [u32],
    /// Receives keys of their distances.
    pub keys: &'a mut [u32],
    /// Receives how hidden each one is.
    pub parts: &'a mut [u32],
}

/// Chooses among the first `count` candidates for the node at `centre`. Writes their numbers to `chosen`, and returns how many.
#[inline(never)]
pub(crate) fn choose(
    compute: &dyn Compute,
    centre: &[u32],
    candidates: Candidates<'_>,
    count: usize,
    chosen: &mut [u16; DEGREE],
) -> Result<usize> {
    let padded = centre.len();
    let rows = candidates
        .rows
        .get(..count.saturating_mul(padded))
        .ok_or(Error::Internal("workspace too small for its index"))?;
    let keys = part(candidates.keys, count)?;
    let parts = part(candidates.parts, count)?;
    let wrong = |_| Error::Internal("wrong lengths for a computation");
    apart(compute, rows, centre, keys).map_err(wrong)?;
    parts.fill(u32::MAX);
    let mut done = 0usize;
    for place in chosen.iter_mut() {
        let Some(next) = next(keys, parts) else {
            break;
        };
        *place = next as u16;
        done = done.saturating_add(1);
        hidden(compute, rows, row(rows, padded, next)?, keys, parts).map_err(wrong)?;
        // Taken: it is never looked at again.
        if let Some(part) = parts.get_mut(next) {
            *part = 0;
        }
    }
    Ok(done)
}

/// The nearest that is not hidden, else the least hidden. A part of 0 is none of a candidate that is left: these have at least the key of zero.
fn next(keys: &[u32], parts: &[u32]) -> Option<usize> {
    let left = || {
        let both = parts.iter().zip(keys).enumerate();
        both.filter(|(_, (part, _))| **part != 0)
    };
    let open = left().filter(|(_, (part, _))| **part > ALONE);
    let nearest = open.min_by_key(|(_, (_, key))| **key);
    let found = nearest.or_else(|| left().max_by_key(|(_, (part, _))| **part));
    found.map(|(n, _)| n)
}
