// SPDX-License-Identifier: GPL-2.0-only
//! What mkfs writes, read back through `layout`, for sizes from the smallest to 16 TiB.

use super::*;
use crate::device::MemDevice;
use layout::geometry::GROUP_BLOCKS;
use layout::superblock::Super;

fn read(dev: &MemDevice, block: u64) -> Block {
    let mut data = [0; BLOCK_SIZE];
    dev.read_at(block * BLOCK_SIZE as u64, &mut data).unwrap();
    data
}

fn made(blocks: u64) -> (MemDevice, Report) {
    let dev = MemDevice::new(blocks * BLOCK_SIZE as u64);
    let options = Options {
        uuid: [7; 16],
        ..Options::new(blocks)
    };
    let report = format(&dev, &options).unwrap();
    (dev, report)
}

#[test]
fn every_written_block_verifies_and_counts_add_up() {
    for blocks in [
        4400,
        5000,
        32_512,
        32_512 + 100,
        100_000,
        1 << 20,
        1 << 28,
        1 << 32,
    ] {
        let (dev, report) = made(blocks);
        let sb = Super::parse(&read(&dev, 0), 0, crc32).unwrap();
        let geo = sb.geometry;
        assert_eq!(geo, report.sb.geometry, "{blocks} blocks");
        for block in backups(&geo) {
            let copy = Super::parse(&read(&dev, block), block, crc32).unwrap();
            assert_eq!(copy.geometry, geo);
        }
        let check = |kind, block| {
            let data = read(&dev, block);
            block::verify(kind, block, &data, sb.seed, crc32).unwrap();
            data
        };
        let mut free = (0, 0);
        let mut table = [0; BLOCK_SIZE];
        for g in 0..geo.groups {
            let (block, n) = geo.desc_place(g);
            if n == 0 {
                table = check(BlockKind::Gdt, block);
            }
            let desc = GroupDesc::read(&table, n).unwrap();
            free.0 += u64::from(desc.free_blocks);
            free.1 += u64::from(desc.free_inodes);
            assert_eq!(desc.flags == 0, g == geo.first_group);
        }
        assert_eq!(free, (report.free_blocks, report.free_inodes));
        let g = geo.first_group;
        let bits = check(BlockKind::BlockBitmap, geo.block_bitmap(g));
        let clear = engine::bitmap::count_clear(&bits, GROUP_BLOCKS as u32);
        assert_eq!(clear, geo.data_blocks(g));
        check(BlockKind::InodeBitmap, geo.inode_bitmap(g));
        for n in 0..2 {
            check(BlockKind::InodeTable, geo.inode_table(g) + n);
        }
        let log = read(&dev, geo.journal_start);
        let journal = jbd2::Super::read(&log, u64::from(geo.journal_blocks), crc32c).unwrap();
        assert_eq!((journal.start, journal.uuid), (0, [7; 16]));
    }
}

#[test]
fn the_reserved_inodes_parse() {
    let (dev, report) = made(100_000);
    let geo = report.sb.geometry;
    for number in 1..ino::FIRST {
        let place = geo.inode_place(number).unwrap();
        let data = read(&dev, place.block);
        let slot = Inode::parse(&data[place.offset..], number).unwrap();
        match (number, slot) {
            (1, inode::Slot::Used(i)) => assert_eq!((i.mode, i.links), (0o040755, 2)),
            (2..=4, inode::Slot::Used(i)) => {
                assert_eq!((i.mode, i.links, i.flags), (0o100600, 1, FLAG_SYSTEM));
            }
            (5.., inode::Slot::Unused) => {}
            (n, slot) => panic!("inode {n}: {slot:?}"),
        }
    }
}

#[test]
fn every_size_either_works_or_says_how_many_blocks_are_needed() {
    let (mut good, mut small) = (0, 0);
    for blocks in (0..3000)
        .chain(4000..6000)
        .chain(32_400..35_000)
        .chain(64_900..65_300)
    {
        match plan(&Options::new(blocks)) {
            Ok(sb) => {
                good += 1;
                assert!(sb.geometry.blocks <= blocks && sb.geometry.blocks + 5000 > blocks);
            }
            Err(FormatError::TooSmall { needed, .. }) => {
                small += 1;
                assert!(needed > blocks);
                assert!(
                    plan(&Options::new(needed)).is_ok(),
                    "{blocks} needs {needed}"
                );
            }
            Err(e) => panic!("{blocks} blocks: {e}"),
        }
    }
    assert!(good > 4000 && small > 1000, "{good} {small}");
}

#[test]
fn wishes_out_of_range_are_refused() {
    let base = || Options::new(100_000);
    let bad = |o: Options| plan(&o).map(|_| ()).unwrap_err().to_string();
    let label = "x".repeat(65);
    assert!(bad(Options { label, ..base() }).contains("label"));
    assert!(bad(Options {
        reserved: 5001,
        ..base()
    })
    .contains("50 percent"));
    assert!(bad(Options {
        bytes_per_inode: Some(100),
        ..base()
    })
    .contains("bytes per inode"));
    assert!(bad(Options {
        journal_blocks: Some(1000),
        ..base()
    })
    .contains("journal"));
    assert!(bad(Options {
        journal_blocks: Some(50_001),
        ..base()
    })
    .contains("journal"));
    assert!(bad(Options::new(u64::MAX)).contains("more than"));
}

#[test]
fn equal_options_give_equal_bytes_and_old_contents_do_not_matter() {
    let blocks = 8192;
    let options = Options::new(blocks);
    let clean = MemDevice::new(blocks * 4096);
    let dirty = MemDevice::new(blocks * 4096);
    for block in 0..blocks {
        dirty.write_at(block * 4096, &[0xa5; 4096]).unwrap();
    }
    format(&clean, &options).unwrap();
    let geo = format(&dirty, &options).unwrap().sb.geometry;
    let data = geo.data_start(geo.first_group);
    let meta =
        (0..geo.gdt_start + 1).chain(geo.journal_start..geo.inode_table(geo.first_group) + 2);
    for block in meta {
        assert!(
            block < data && read(&clean, block) == read(&dirty, block),
            "block {block}"
        );
    }
}
