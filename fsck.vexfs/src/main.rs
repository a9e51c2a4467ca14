// SPDX-License-Identifier: GPL-2.0-only
//! fsck.vexfs: check a VexFS filesystem.
fn main() {}
