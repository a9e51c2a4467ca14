// SPDX-License-Identifier: GPL-2.0-only
//! mkfs.vexfs: make a VexFS filesystem.
fn main() {}
