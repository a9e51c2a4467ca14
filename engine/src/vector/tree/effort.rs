// SPDX-License-Identifier: GPL-2.0-only
//! How much of a search tree is looked at for the recall that somebody wants: by a table, or by what was measured of the very index. Pure numbers; what a search really
//! missed, only a comparison with an exact one tells.

use layout::efforts::{Efforts, MEASURED_RECALLS};
use layout::vector::Index;

/// What a caller wants of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// So many leaves looked at; at least one is.
    Probes(usize),
    /// A beam of so many nodes of a graph ([`crate::vector::graph`]). Of the tree, as much as the usual recall takes.
    Beam(usize),
    /// This part of the nearest records found, in ten thousandths.
    Recall(u32),
}

/// How much is done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Leaves that are looked at.
    pub probes: usize,
    /// Records whose exact distances are computed, at most.
    pub wanted: usize,
}

type Table = [(u32, u32); 7];

/// Leaves in hundredths of the root of the number of partitions, by recall, of indexes of which nothing was measured. Chosen to err on the cautious side;
/// docs/decisions/012 has what indexes found with it.
const BY_RECALL: Table = [
    (5_000, 40),
    (9_000, 80),
    (9_500, 130),
    (9_800, 220),
    (9_900, 320),
    (9_950, 450),
    (10_000, 1_200),
];
/// The recall where somebody names a beam, and there is no graph.
const USUAL: u32 = 9_500;
/// Leaves that are looked at at least, where a recall is wanted and nothing was measured.
const LEAST: usize = 4;
/// Most candidates of one query.
const MOST_WANTED: usize = 8192;
/// Hits for each of which one leaf more is looked at.
const HITS: usize = 16;

impl Effort {
    /// For the `k` nearest records of an index.
    pub fn of(index: &Index, aim: Aim, k: usize) -> Effort {
        let aim = match aim {
            Aim::Beam(_) => Aim::Recall(USUAL),
            aim => aim,
        };
        let probes = match aim {
            Aim::Probes(probes) | Aim::Beam(probes) => probes.max(1),
            Aim::Recall(recall) => {
                let root = u64::from(index.tree.partitions)
                    .saturating_mul(10_000)
                    .isqrt();
                let (table, least) = match measured(index.efforts) {
                    Some(table) => (table, 1),
                    None => (BY_RECALL, LEAST),
                };
                let scaled = root.saturating_mul(hundredths(&table, recall));
                usize::try_from(scaled.div_ceil(10_000))
                    .unwrap_or(usize::MAX)
                    .max(least)
                    .saturating_add(k / HITS)
            }
        };
        Effort {
            probes,
            // Estimates are not exact, and some records are not for everybody.
            wanted: k.saturating_add(k / 8).saturating_add(2),
        }
    }

    /// Whether looking at the tree with it is less work than looking at all records. With more candidates than [`MOST_WANTED`] it is not: keeping them in order, in one
    /// piece of memory, would be most of it; and what somebody asks for must not become a bound on memory.
    pub fn pays(&self, index: &Index) -> bool {
        self.probes < index.tree.partitions as usize && self.wanted <= MOST_WANTED
    }

    /// Four times as much.
    pub fn more(self) -> Effort {
        Effort {
            probes: self.probes.saturating_mul(4),
            wanted: self.wanted.saturating_mul(4),
        }
    }
}

/// The table with what was measured in it. Between and beyond, it is stretched as much as where something was.
fn measured(efforts: Efforts) -> Option<Table> {
    let [low, middle, high] = efforts.hundredths()?;
    let [low_at, middle_at, high_at] = MEASURED_RECALLS;
    let mut table = BY_RECALL;
    for (recall, leaves) in &mut table {
        let usual = *leaves;
        let stretched = |now: u32, at: u32| {
            let least = hundredths(&BY_RECALL, at).max(1);
            let product = u64::from(usual).saturating_mul(u64::from(now));
            u32::try_from(product.div_ceil(least)).unwrap_or(u32::MAX)
        };
        *leaves = if *recall <= low_at {
            stretched(low, low_at)
        } else if *recall <= middle_at {
            stretched(middle, middle_at)
        } else if *recall < high_at {
            let (below, above) = (stretched(middle, middle_at), stretched(high, high_at));
            (below.saturating_add(above) / 2).clamp(middle, high)
        } else {
            stretched(high, high_at)
        };
    }
    Some(table)
}

/// The table's value for a recall, between two entries by their straight line.
fn hundredths(table: &Table, recall: u32) -> u64 {
    let mut before = (0, 0);
    for next in *table {
        if recall <= next.0 {
            let (width, height) = (
                next.0.saturating_sub(before.0),
                next.1.saturating_sub(before.1),
            );
            let part = height
                .saturating_mul(recall.saturating_sub(before.0))
                .checked_div(width)
                .unwrap_or(0);
            return u64::from(before.1.saturating_add(part));
        }
        before = next;
    }
    u64::from(before.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &Table) {
        let mut last = 0;
        for recall in (0..=10_000).step_by(50) {
            let now = hundredths(table, recall);
            assert!(now >= last, "{recall}: {now} after {last} in {table:?}");
            last = now;
        }
    }

    #[test]
    fn more_recall_takes_more_leaves() {
        check(&BY_RECALL);
        assert_eq!(hundredths(&BY_RECALL, 9_500), 130);
        assert_eq!(hundredths(&BY_RECALL, 9_000), 80);
        assert_eq!(hundredths(&BY_RECALL, u32::MAX), 1_200);
    }

    #[test]
    fn what_was_measured_is_what_is_done() {
        assert_eq!(measured(Efforts::default()), None);
        for efforts in [
            [17, 17, 17],
            [20, 60, 400],
            [80, 130, 320],
            [300, 310, 9_000],
        ] {
            let efforts = Efforts::new(efforts).unwrap();
            let table = measured(efforts).unwrap();
            check(&table);
            for (recall, leaves) in MEASURED_RECALLS.iter().zip(efforts.hundredths().unwrap()) {
                assert_eq!(hundredths(&table, *recall), u64::from(leaves), "{table:?}");
            }
        }
    }

    #[test]
    fn measuring_what_the_table_says_changes_little() {
        let table = measured(Efforts::new([80, 130, 320]).unwrap()).unwrap();
        for ((_, now), (_, before)) in table.iter().zip(BY_RECALL) {
            assert!(*now >= before && *now <= before + before / 10, "{table:?}");
        }
    }
}
