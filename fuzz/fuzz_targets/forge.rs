// SPDX-License-Identifier: GPL-2.0-only
//! Forged changes to a populated filesystem, shared by the targets: what a fuzzer chooses is where and what, the checksums are made right.

use arbitrary::Arbitrary;
use image::device::{Device, MemDevice};
use layout::block::BlockKind;
use layout::superblock::{SUPER_OFFSET, SUPER_SIZE};

#[path = "../../fsck.vexfs/tests/common/mod.rs"]
pub mod common;

/// A change to one block.
#[derive(Arbitrary, Debug)]
pub struct Change {
    /// Which of the written blocks.
    block: u16,
    /// Where in it.
    offset: u16,
    /// What to write there.
    bytes: Vec<u8>,
    /// As which kind of block to seal it; other numbers: as a super block in block 0, else not.
    kind: u8,
}

thread_local! {
    static IMAGE: MemDevice = common::populated();
}

/// A copy of the populated filesystem with these changes.
pub fn forged(changes: &[Change]) -> MemDevice {
    let dev = IMAGE.with(MemDevice::clone);
    let seed = common::superblock(&dev).seed;
    let blocks = dev.written_blocks();
    for change in changes.iter().take(16) {
        let number = blocks[usize::from(change.block) % blocks.len()];
        let mut data = common::read_block(&dev, number);
        let at = usize::from(change.offset) % data.len();
        for (to, from) in data[at..].iter_mut().zip(&change.bytes) {
            *to = *from;
        }
        if let Some(kind) = BlockKind::ALL.get(usize::from(change.kind)) {
            layout::block::seal(*kind, &mut data, seed, image::checksum::crc32);
        } else if number == 0 {
            // The super block: its checksum stands in the 4 bytes after its magic.
            let sb = &mut data[SUPER_OFFSET..SUPER_OFFSET + SUPER_SIZE];
            sb[8..12].fill(0);
            let sum = image::checksum::crc32(0, sb);
            sb[8..12].copy_from_slice(&sum.to_le_bytes());
        }
        common::write_block(&dev, number, &data);
    }
    assert!(dev.size() > 0);
    dev
}
