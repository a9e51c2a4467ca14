// SPDX-License-Identifier: GPL-2.0-only
//! Top-k against a model that sorts everything.

mod common;

use common::config;
use proptest::prelude::*;
use vector::{Candidate, Distance, Rank, TopK};

/// Distances, inodes and labels from small ranges, so that ties happen, in an order
/// that the strategy shuffles; no two of the same (inode, label), as in an index.
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::btree_map((0u64..20, 0u64..20), (0u64..30, any::<u64>()), 0..300)
        .prop_map(|records| {
            records
                .into_iter()
                .map(|((inode, label), (distance, tag))| Candidate {
                    rank: Rank {
                        // 29 stands for "no distance".
                        distance: match distance {
                            29 => Distance::INVALID,
                            d => Distance::from_f64(d as f64 - 10.0),
                        },
                        inode,
                        label,
                    },
                    tag,
                    location: inode << 32 | label,
                })
                .collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// All that can be hits, nearest first.
fn sorted(candidates: &[Candidate]) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = candidates
        .iter()
        .filter(|c| c.rank.distance.is_valid())
        .copied()
        .collect();
    all.sort_by_key(|c| c.rank);
    all
}

fn permitted(candidate: &Candidate) -> bool {
    candidate.rank.inode % 3 != 0
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn collects_the_k_nearest(all in candidates(), k in 0usize..320) {
        let mut memory = vec![Candidate::default(); k];
        let mut top = TopK::new(&mut memory);
        for candidate in &all {
            let admitted = top.admits(&candidate.rank);
            prop_assert_eq!(top.offer(*candidate), admitted);
            prop_assert!(top.len() <= k);
            // The root is the farthest.
            prop_assert_eq!(
                top.farthest().map(|c| c.rank),
                top.collected().iter().map(|c| c.rank).max()
            );
        }
        let mut expected = sorted(&all);
        expected.truncate(k);
        prop_assert_eq!(top.is_full(), expected.len() == k);
        prop_assert_eq!(top.is_empty(), expected.is_empty());
        prop_assert_eq!(top.into_sorted(), &expected[..]);
    }

    #[test]
    fn merging_is_collecting_all(a in candidates(), b in candidates(), k in 1usize..100) {
        // Two parts of one index: labels of the second begin where the first ends.
        let b: Vec<Candidate> = b
            .into_iter()
            .map(|mut c| { c.rank.label += 1000; c })
            .collect();
        let (mut left_memory, mut right_memory) = (vec![Candidate::default(); k], vec![Candidate::default(); k]);
        let (mut left, mut right) = (TopK::new(&mut left_memory), TopK::new(&mut right_memory));
        for c in &a { left.offer(*c); }
        for c in &b { right.offer(*c); }
        left.merge(&right);
        let mut expected = sorted(&[a, b].concat());
        expected.truncate(k);
        prop_assert_eq!(left.into_sorted(), &expected[..]);
    }

    /// Passes of `batch` candidates, each behind the last one, see every candidate
    /// once and in order.
    #[test]
    fn passes_continue_where_the_last_one_ended(all in candidates(), batch in 1usize..50) {
        let mut seen = Vec::new();
        let mut memory = vec![Candidate::default(); batch];
        let mut last = None;
        loop {
            let mut top = match last {
                None => TopK::new(&mut memory),
                Some(last) => TopK::after(&mut memory, last),
            };
            for c in &all { top.offer(*c); }
            let pass = top.into_sorted();
            let Some(end) = pass.last() else { break };
            last = Some(end.rank);
            seen.extend_from_slice(pass);
        }
        prop_assert_eq!(seen, sorted(&all));
    }

    /// Both ways of the module's documentation give the k nearest permitted ones.
    #[test]
    fn forbidden_candidates_take_nobodys_place(all in candidates(), k in 1usize..50) {
        let mut expected = sorted(&all);
        expected.retain(permitted);
        expected.truncate(k);

        let mut memory = vec![Candidate::default(); k];
        let mut top = TopK::new(&mut memory);
        for c in &all {
            if top.admits(&c.rank) && permitted(c) {
                top.offer(*c);
            }
        }
        prop_assert_eq!(top.into_sorted(), &expected[..]);

        let mut hits = Vec::new();
        let mut last = None;
        while hits.len() < k {
            let mut top = match last {
                None => TopK::new(&mut memory),
                Some(last) => TopK::after(&mut memory, last),
            };
            for c in &all { top.offer(*c); }
            let full = top.is_full();
            let pass = top.into_sorted();
            last = pass.last().map(|c| c.rank);
            hits.extend(pass.iter().copied().filter(permitted));
            if !full { break; }
        }
        hits.truncate(k);
        prop_assert_eq!(hits, expected);
    }

    #[test]
    fn integers_order_as_the_distances_do(a in any::<f64>(), b in any::<f64>()) {
        let (x, y) = (Distance::from_f64(a), Distance::from_f64(b));
        if a.is_nan() {
            prop_assert!(!x.is_valid() && y <= x);
        } else {
            prop_assert!(x.is_valid());
            prop_assert_eq!(x.to_f64().to_bits(), a.to_bits());
            if !b.is_nan() {
                // Except that -0, which no metric gives, comes before +0.
                if a != b { prop_assert_eq!(x < y, a < b); }
            }
        }
    }
}

#[test]
fn ten_thousand_of_a_hundred_thousand() {
    // The largest k, with distances from a full-period sequence.
    let candidate = |i: u64| {
        let distance = (i * 48_271 % 100_003) / 7;
        Candidate {
            rank: Rank {
                distance: Distance::from_f64(distance as f64),
                inode: i % 1_000,
                label: i,
            },
            tag: i,
            location: i,
        }
    };
    let all: Vec<Candidate> = (0..100_003).map(candidate).collect();
    let mut memory = vec![Candidate::default(); 10_000];
    let mut top = TopK::new(&mut memory);
    let admitted = all.iter().filter(|c| top.offer(**c)).count();
    println!("{admitted} of {} offers admitted", all.len());
    assert_eq!(top.into_sorted(), &sorted(&all)[..10_000]);
}
