// SPDX-License-Identifier: GPL-2.0-only
//! Kernels, guests and test runs for VexFS (cargo xtask).
fn main() {}
