// SPDX-License-Identifier: GPL-2.0-only
//! One fault, one problem: every test plants a single fault into a populated filesystem, with all checksums right unless the checksum is
//! the fault, and expects exactly the problem that names it. The last test sees to it that no problem is without such a test.

#[path = "../common/mod.rs"]
mod common;
mod plant;

mod bitmaps;
mod graphs;
mod inodes;
mod names;
mod superblock;
mod trees;
mod vectors;

use fsck_vexfs::Code;

#[test]
fn every_problem_has_a_test() {
    let tested: Vec<Code> = [
        superblock::CODES,
        superblock::MORE,
        inodes::CODES,
        trees::CODES,
        names::CODES,
        inodes::MORE,
        vectors::CODES,
        graphs::CODES,
        vectors::MORE,
        bitmaps::CODES,
    ]
    .concat();
    let missing: Vec<_> = Code::ALL.iter().filter(|c| !tested.contains(c)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
