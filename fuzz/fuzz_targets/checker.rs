// SPDX-License-Identifier: GPL-2.0-only
//! fsck of a forged filesystem: it must come to an end without a panic.
#![no_main]

mod forge;

use forge::{common::fsck, forged, Change};

libfuzzer_sys::fuzz_target!(|changes: Vec<Change>| {
    let (problems, summary) = fsck(&forged(&changes));
    assert_eq!(problems.len() as u64, summary.problems.values().sum::<u64>());
});
