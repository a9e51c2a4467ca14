// SPDX-License-Identifier: GPL-2.0-only
//! Every decoder of `layout`, on any bytes.
#![no_main]

use image::checksum::{crc32, crc32c};
use layout::attr::XattrHead;
use layout::block::{self, BlockKind};
use layout::btree::{self, TreeKind};
use layout::dirent::Dirent;
use layout::extent::Extent;
use layout::inode::Inode;
use layout::segment::{self, SlotHeader};
use layout::superblock::Super;
use layout::vector::{parse_name, Index, SegmentRef, SlotAddr};
use layout::{jbd2, BLOCK_SIZE};

libfuzzer_sys::fuzz_target!(|input: (u64, u8, Vec<u8>)| {
    let (number, n, bytes) = input;
    let _ = Dirent::parse(&bytes);
    let _ = Extent::parse(number, &bytes);
    let _ = XattrHead::parse(&bytes);
    let _ = Index::parse(number as u32, &bytes);
    let _ = SegmentRef::parse(&bytes);
    let _ = SlotAddr::parse(&bytes);
    let _ = parse_name(&bytes);
    let _ = SlotHeader::read(&bytes);
    let _ = segment::verify_slot(&bytes, 0, crc32);
    let _ = Inode::parse(&bytes, number);
    for kind in TreeKind::ALL {
        let _ = btree::verify_body(&bytes, kind, n % btree::MAX_LEVELS);
    }
    let mut data = [0; BLOCK_SIZE];
    data.iter_mut().zip(&bytes).for_each(|(d, b)| *d = *b);
    for kind in BlockKind::ALL {
        let _ = block::verify(kind, number, &data, 0, crc32);
        block::seal(kind, &mut data, 0, crc32);
        let _ = block::verify(kind, number, &data, 0, crc32);
    }
    let _ = Super::parse(&data, number, crc32);
    let _ = jbd2::Super::read(&data, number, crc32c);
    let _ = jbd2::Tags::of(&data).count();
    let _ = jbd2::Revoked::of(&data).map(Iterator::count);
});
