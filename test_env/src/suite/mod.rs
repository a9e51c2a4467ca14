// SPDX-License-Identifier: GPL-2.0-only
//! Tests that run in guests. Each is an ordinary function over the guest API; to
//! add one, write it and list it in [`TESTS`].

mod environment;

use crate::harness::Test;

/// Every guest test, in the order in which they run.
pub const TESTS: &[Test] = &[
    Test {
        name: "environment::stock_kernel_boots",
        products: false,
        run: environment::stock_kernel_boots,
    },
    Test {
        name: "environment::power_cut_keeps_what_was_flushed",
        products: false,
        run: environment::power_cut_keeps_what_was_flushed,
    },
    Test {
        name: "environment::defects_in_the_log_are_noticed",
        products: false,
        run: environment::defects_in_the_log_are_noticed,
    },
];
