// SPDX-License-Identifier: GPL-2.0-only
//! Passes 0 and 1: super block, its copies, journal.

use crate::common::*;
use crate::plant::*;
use fsck_vexfs::{Code, Options};
use image::checksum::{crc32, crc32c};
use image::device::{Device, MemDevice};
use layout::jbd2;
use layout::superblock::{RawSuper, SUPER_OFFSET};
use std::rc::Rc;

/// The first copy.
const COPY: u64 = 32_512;

/// Changes a super block, or a copy, and seals it.
fn forge_super(dev: &MemDevice, block: u64, change: impl FnOnce(&mut RawSuper)) {
    let data = read_block(dev, block);
    let mut raw = layout::superblock::Super::parse(&data, block, crc32)
        .unwrap()
        .raw;
    change(&mut raw);
    dev.write_at(
        block * 4096 + SUPER_OFFSET as u64,
        &raw.sealed(block, crc32),
    )
    .unwrap();
}

fn forge_journal(dev: &MemDevice, change: impl FnOnce(&mut jbd2::Super)) {
    let geo = superblock(dev).geometry;
    let mut data = read_block(dev, geo.journal_start);
    let mut sb = jbd2::Super::read(&data, geo.journal_blocks.into(), crc32c).unwrap();
    change(&mut sb);
    sb.write(&mut data, crc32c);
    write_block(dev, geo.journal_start, &data);
}

faults! {
    super_block_damaged [SuperBad] |dev| flip(dev, 0, SUPER_OFFSET + 50);
    super_block_and_copy_damaged [SuperBad, SuperNone] |dev| {
        flip(dev, 0, SUPER_OFFSET);
        flip(dev, COPY, SUPER_OFFSET);
    };
    copy_damaged [SuperBackupBad] |dev| flip(dev, COPY, SUPER_OFFSET + 200);
    copy_differs [SuperBackupDiffers] |dev| forge_super(dev, COPY, |raw| raw.hash_seed[3] ^= 1);
    super_reserved_bytes [SuperReserved] |dev| forge_super(dev, 0, |raw| raw.reserved[599] = 1);
    super_state_unknown [SuperState] |dev| forge_super(dev, 0, |raw| raw.state = 0x81.into());
    super_behaviour_unknown [SuperState] |dev| forge_super(dev, 0, |raw| raw.on_error = 0.into());
    super_counts_errors [SuperErrors] |dev| forge_super(dev, 0, |raw| raw.errors = 3.into());
    super_label_no_text [SuperText] |dev| forge_super(dev, 0, |raw| raw.label[0] = 0xff);
    super_bytes_after_text [SuperText] |dev| forge_super(dev, 0, |raw| raw.last_mounted[9] = 1);
    super_unknown_features [SuperReadOnlyFeatures] |dev| {
        for block in [0, COPY] {
            forge_super(dev, block, |raw| raw.feature_ro_compat = 1.into());
        }
    };
    journal_super_damaged [JournalSuper] |dev| {
        flip(dev, superblock(dev).geometry.journal_start, 20);
    };
    journal_of_another_filesystem [JournalUuid] |dev| forge_journal(dev, |sb| sb.uuid[0] ^= 1);
    journal_aborted [JournalErrno] |dev| forge_journal(dev, |sb| sb.errno = 5);
    journal_transaction_damaged [JournalLog] |dev| {
        // A transaction that is committed but in the log only.
        let copy = Rc::new(dev.clone());
        let mut image = open(&copy);
        image.create("new", &FILE).unwrap();
        image.sync().unwrap();
        drop(image);
        for number in copy.written_blocks() {
            write_block(dev, number, &read_block(&*copy, number));
        }
        let log = superblock(dev).geometry.journal_start;
        // Log block 1 is the descriptor, 2 the first block of data.
        flip(dev, log + 2, 100);
    };
}

/// What the macro cannot list.
pub const MORE: &[Code] = &[Code::DeviceTooSmall];

#[test]
fn a_device_cut_off() {
    let whole = populated();
    let dev = MemDevice::new(39_000 * 4096);
    for number in whole.written_blocks() {
        write_block(&dev, number, &read_block(&whole, number));
    }
    expect(&dev, &[Code::DeviceTooSmall]);
}

#[test]
fn a_copy_asked_for_is_used() {
    let dev = populated();
    flip(&dev, 0, SUPER_OFFSET);
    let options = Options { backup: Some(COPY) };
    let (problems, summary) = fsck_with(&dev, &options);
    let codes: Vec<_> = problems.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::SuperBad]);
    assert_eq!(summary.records, 37);
    // A wrong one is reported, and another found.
    let options = Options { backup: Some(7) };
    let codes: Vec<_> = fsck_with(&populated(), &options).0;
    let codes: Vec<_> = codes.iter().map(|p| p.code).collect();
    assert_eq!(codes, [Code::SuperBad]);
}
