// SPDX-License-Identifier: GPL-2.0-only
//! Names, orphans and attributes against a model, with every invariant checked by a reader of its own; then the cases that random
//! programs do not reach.

mod check;
#[path = "../../tests/common/mod.rs"]
mod common;
mod compare;
mod directed;
mod faults;
mod large;
mod model;
mod ops;
mod paths;
mod program;

use crate::test_hash;
use ops::{op, Op};
use program::Program;
use proptest::prelude::*;

/// Runs a program; every `n`th operation meets an I/O error somewhere.
fn run(hashes: Option<u64>, ops: &[(Op, Option<u64>)]) {
    test_hash::weaken(hashes);
    let mut p = Program::new(9);
    for (i, (op, fail)) in ops.iter().enumerate() {
        p.step(op, *fail);
        if i % 40 == 39 {
            p.compare();
        }
    }
    p.compare();
    p.demolish();
    test_hash::weaken(None);
}

fn programs(names: u8, len: usize) -> impl Strategy<Value = Vec<(Op, Option<u64>)>> {
    let fail = prop_oneof![3 => Just(None), 1 => (0u64..40).prop_map(Some)];
    prop::collection::vec((op(names), fail), 1..len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree_with_the_model(ops in programs(12, 400)) {
        run(None, &ops);
    }

    #[test]
    fn random_programs_with_colliding_hashes_agree_with_the_model(ops in programs(40, 400)) {
        run(Some(3), &ops);
    }
}
