// SPDX-License-Identifier: GPL-2.0-only
//! The way from the root to the partition that a vector belongs to: at every level the children that seem nearest are looked at by their
//! exact centroids, and the nearest one is entered. It may not change anything.

use super::node::Node;
use crate::error::{Error, Result};
use crate::io::ReadBlocks;
use ::vector::ann::{Noted, Query, NO_LIMIT};
use ::vector::Compute;
use layout::partition::Shape;
use layout::vector::{Index, Metric};

/// Children whose centroids are looked at.
const LOOK_AT: usize = 4;
/// The same where estimates are of another distance than the one that decides where a vector belongs.
const LOOK_AT_DOT: usize = 16;

/// Which partition is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Of this level.
    pub level: u8,
    /// Not this one, and one with room; 0: any.
    pub elsewhere: u64,
}

/// A partition that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// First block.
    pub start: u64,
    /// Whether it has no room.
    pub full: bool,
}

/// The nearest children by estimate: ascending keys.
struct Shortlist {
    best: [(u32, u64); LOOK_AT_DOT],
    len: usize,
    most: usize,
}

impl Shortlist {
    fn new(most: usize) -> Shortlist {
        Shortlist {
            best: [(NO_LIMIT, 0); LOOK_AT_DOT],
            len: 0,
            most: most.min(LOOK_AT_DOT),
        }
    }

    fn offer(&mut self, key: u32, child: u64) {
        let mut new = (key, child);
        for place in self.best.iter_mut().take(self.len) {
            if new < *place {
                core::mem::swap(&mut new, place);
            }
        }
        if self.len < self.most {
            if let Some(place) = self.best.get_mut(self.len) {
                *place = new;
                self.len = self.len.saturating_add(1);
            }
        }
    }
}

/// Finds the partition that the query's vector belongs to. `None` if there is none that is wanted where it belongs.
#[inline(never)]
pub(crate) fn descend<R: ReadBlocks>(
    io: &R,
    compute: &dyn Compute,
    index: &Index,
    shape: &Shape,
    query: &Query<'_>,
    noted: &mut Noted,
    wanted: Wanted,
) -> Result<Option<Target>> {
    let most = match index.metric {
        Metric::Dot => LOOK_AT_DOT,
        Metric::L2 | Metric::Cosine | Metric::Hamming => LOOK_AT,
    };
    let top = index
        .tree
        .height
        .checked_sub(1)
        .filter(|top| wanted.level <= *top)
        .ok_or(Error::Internal("looking for a level that is not there"))?;
    let mut start = index.tree.root;
    let mut level = top;
    let mut node = Node::closed(index, shape);
    while level > wanted.level {
        node.open(io, start, level)?;
        node.probe(io, compute, query, NO_LIMIT, most, noted)?;
        let mut list = Shortlist::new(most);
        for (entry, key) in noted.iter() {
            list.offer(key, node.child(entry)?);
        }
        level = level.saturating_sub(1);
        let mut nearest: Option<(u32, Target)> = None;
        for (_, child) in list.best.iter().take(list.len) {
            node.open(io, *child, level)?;
            let target = Target {
                start: *child,
                full: node.is_full(),
            };
            let elsewhere = wanted.elsewhere != 0 && level == wanted.level;
            if elsewhere && (target.full || *child == wanted.elsewhere) {
                continue;
            }
            node.load_centroid(io)?;
            let key = node.apart(compute, query)?.apart();
            if nearest.is_none_or(|(k, _)| key < k) {
                nearest = Some((key, target));
            }
        }
        let Some((_, target)) = nearest else {
            return Ok(None);
        };
        if level == wanted.level {
            return Ok(Some(target));
        }
        start = target.start;
    }
    node.open(io, start, level)?;
    let target = Target {
        start,
        full: node.is_full(),
    };
    let elsewhere = wanted.elsewhere != 0 && (target.full || start == wanted.elsewhere);
    Ok((!elsewhere).then_some(target))
}
