// SPDX-License-Identifier: GPL-2.0-only
//! A filesystem without faults gives no problems, whatever its size and contents, and whatever was done to it.

mod common;

use common::*;
use image::device::MemDevice;
use std::rc::Rc;

#[test]
fn new_filesystems_of_all_sizes_are_clean() {
    for blocks in [2048, 4000, 32_512, 40_000, 100_000, 1 << 22, 1 << 32] {
        let summary = assert_clean(&fresh(blocks));
        assert_eq!(
            (summary.inodes, summary.directories),
            (4, 1),
            "{blocks} blocks"
        );
    }
}

#[test]
fn a_populated_filesystem_is_clean_and_counted() {
    let summary = assert_clean(&populated());
    assert_eq!(summary.directories, 4);
    assert_eq!(summary.inodes, 4 + 3 + 400 + 3 + 2 + 2);
    assert_eq!((summary.indexes, summary.records), (2, 37));
    assert_eq!(summary.replayed, 0);
}

#[test]
fn a_filesystem_that_was_not_closed_is_clean_after_replay_in_memory() {
    let dev = Rc::new(fresh(40_000));
    let mut image = open(&dev);
    populate(&mut image);
    image.sync().unwrap();
    drop(image);
    let before: Vec<_> = blocks_of(&dev);
    let summary = assert_clean(&*dev);
    assert!(summary.replayed > 0);
    assert_eq!(blocks_of(&dev), before, "the check changed the device");
}

fn blocks_of(dev: &MemDevice) -> Vec<(u64, Vec<u8>)> {
    let numbers = dev.written_blocks().into_iter();
    numbers.map(|n| (n, read_block(dev, n).to_vec())).collect()
}

#[test]
fn emptied_again_it_is_clean_and_all_space_is_back() {
    let dev = Rc::new(fresh(40_000));
    let free = assert_clean(&*dev).free_blocks;
    let mut image = open(&dev);
    populate(&mut image);
    for n in 0..400 {
        let path = format!("many/a file with quite a long name, number {n:05}");
        image.unlink(path).unwrap();
    }
    let files = [
        "dir/inline",
        "dir/file",
        "dir/sub/second name",
        "sparse",
        "short link",
        "long link",
        "fifo",
        "null",
    ];
    for path in files {
        image.unlink(path).unwrap();
    }
    for path in ["dir/sub", "dir", "many"] {
        image.rmdir(path).unwrap();
    }
    // An index without records keeps a leaf until its tree is tidied.
    for index in image.list_indexes().unwrap() {
        image.tidy_index(index.id).unwrap();
    }
    image.close().unwrap();
    let summary = assert_clean(&*dev);
    assert_eq!((summary.inodes, summary.records), (4, 0));
    // The two indexes are still there and do not fit into an inode.
    assert_eq!(summary.free_blocks, free - 1);
}
