// SPDX-License-Identifier: GPL-2.0-only
//! A query's look at a node of a graph (layout::graph), and what choosing a node's neighbours needs. It may not know how a graph
//! is built or searched.

use super::{expect, Query};
use crate::{Compute, Error, Fpu, Metric};
use layout::graph::{NodeShape, DEGREE};
use layout::partition::UNITS;
use layout::Block;

/// What a node says of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Key of the distance of the node's own vector, exact but for rounding.
    pub own: u32,
    /// Keys of the estimated distances of its neighbours. Places without neighbour have keys, too.
    pub keys: [u32; DEGREE],
}

impl Default for Neighbours {
    fn default() -> Self {
        Neighbours {
            own: super::NO_LIMIT,
            keys: [super::NO_LIMIT; DEGREE],
        }
    }
}

/// The part, as a key, that [`hidden`] leaves of 1: a row with a greater one is nearer to the node than to all that were chosen.
pub const ALONE: u32 = 0x3f80_0000 | 1 << 31;

/// Elements handled in one bracket of the floating-point unit.
const BRACKET: usize = 1 << 18;

impl Fpu {
    /// The distances of a node, which begins at unit `at` of its blocks, and of its neighbours.
    ///
    /// # Errors
    /// [`Error::Length`] if a block is missing; [`Error::Dimension`] if the query is of another dimension than the node; [`Error::Kind`] for
    /// inner products, for which there are no graphs.
    pub fn node(
        &self,
        query: &Query<'_>,
        shape: &NodeShape,
        blocks: &[Option<&Block>],
        at: usize,
        out: &mut Neighbours,
    ) -> Result<(), Error> {
        if query.shape.padded() != shape.padded() {
            return Err(Error::Dimension {
                dim: shape.padded() as u32,
            });
        }
        if query.dot {
            return Err(Error::Kind);
        }
        let needed = at.saturating_add(shape.units()).div_ceil(UNITS);
        let held = blocks.iter().take_while(|b| b.is_some()).count();
        if held < needed {
            return Err(Error::Length {
                expected: needed,
                actual: held,
            });
        }
        out.own = self.call_node(query, blocks, at, &mut out.keys);
        Ok(())
    }

    /// Like [`Fpu::encode`] for a code of which only the top bits are kept: its first two factors.
    ///
    /// # Errors
    /// As there.
    pub fn encode_top(
        &self,
        metric: Metric,
        vector: &[u32],
        centre: &[u32],
        code: &mut [u8],
    ) -> Result<[u32; 2], Error> {
        let [add, scale, ..] = self.encode(metric, vector, centre, code)?;
        Ok([add, scale])
    }
}

/// Keys of the squared distances of rows (in rotated space, end to end) from `centre`.
///
/// # Errors
/// [`Error::Length`] if there are not as many rows as keys.
pub fn apart<C: Compute + ?Sized>(
    compute: &C,
    rows: &[u32],
    centre: &[u32],
    keys: &mut [u32],
) -> Result<(), Error> {
    expect(rows.len(), keys.len().saturating_mul(centre.len()))?;
    let step = BRACKET.checked_div(centre.len()).unwrap_or(1).max(1);
    let parts = rows.chunks(step.saturating_mul(centre.len()).max(1));
    for (rows, keys) in parts.zip(keys.chunks_mut(step)) {
        compute.with_fpu(&mut |fpu| fpu.call_apart(rows, centre, None, keys));
    }
    Ok(())
}

/// Lowers `parts` to the distances of rows from `chosen` as parts of those that `own` says (keys of [`apart`]), where these are smaller. A row with a part below 1 is
/// nearer to something chosen than to the node: hidden behind it.
///
/// # Errors
/// [`Error::Length`] if there are not as many rows as keys.
pub fn hidden<C: Compute + ?Sized>(
    compute: &C,
    rows: &[u32],
    chosen: &[u32],
    own: &[u32],
    parts: &mut [u32],
) -> Result<(), Error> {
    expect(rows.len(), parts.len().saturating_mul(chosen.len()))?;
    expect(own.len(), parts.len())?;
    let step = BRACKET.checked_div(chosen.len()).unwrap_or(1).max(1);
    let each = rows
        .chunks(step.saturating_mul(chosen.len()).max(1))
        .zip(own.chunks(step));
    for ((rows, own), parts) in each.zip(parts.chunks_mut(step)) {
        compute.with_fpu(&mut |fpu| fpu.call_apart(rows, chosen, Some(own), parts));
    }
    Ok(())
}
