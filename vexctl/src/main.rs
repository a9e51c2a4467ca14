// SPDX-License-Identifier: GPL-2.0-only
//! vexctl: manage and query the vector indexes of a VexFS filesystem.
fn main() {}
