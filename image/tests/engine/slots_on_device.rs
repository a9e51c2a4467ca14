// SPDX-License-Identifier: GPL-2.0-only
//! Searches of an index whose vectors are too many to be kept in memory read them from the device, one by one: what is only in memory or in the journal must be found
//! all the same, and damage must be named.

use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::{Batch, NewIndex};
use image::device::{Device, Fault, FaultDevice, MemDevice};
use image::format::{self, Options};
use image::ops::{NewRecord, Searcher};
use image::{Image, Mode};
use layout::inode::mode;
use layout::vector::{Element, Metric};
use layout::BLOCK_SIZE;

use crate::common::Random;
use crate::corpus::normal;

const BLOCKS: u64 = 30_000;
const DIM: usize = 2048;
const NAME: &[u8] = b"wide";
/// With their headers more than the 8 MiB that are kept.
const VECTORS: u64 = 1100;

fn vectors(random: &mut Random) -> Vec<Vec<u8>> {
    let vector = |random: &mut Random| {
        (0..DIM)
            .flat_map(|_| normal(random).to_le_bytes())
            .collect()
    };
    (0..VECTORS).map(|_| vector(random)).collect()
}

/// The label of the record that has just these elements, if the tree finds it.
fn find(image: &Image, elements: &[u8]) -> image::Result<Option<u64>> {
    let index = image.find_index(NAME)?;
    let mut found = None;
    let mut searcher = Searcher::new(&index, 4, 3)?;
    searcher.nearest(image, &index, elements, |batch| {
        for n in 0..batch.count() {
            let at = n * batch.stride() + Batch::ELEMENTS;
            if batch.bytes()[at..at + 4 * DIM] == *elements {
                found = batch.header(n).map(|header| header.label);
            }
        }
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn vectors_in_memory_in_the_journal_and_on_the_device_are_found() {
    let mut random = Random::new(5);
    let all = vectors(&mut random);
    let device = MemDevice::new(BLOCKS * BLOCK_SIZE as u64);
    format::format(&device, &Options::new(BLOCKS)).unwrap();
    let device = Rc::new(FaultDevice::new(device));
    let open = |mode| Image::open_device(Box::new(Rc::clone(&device)), mode).unwrap();
    let mut image = open(Mode::ReadWrite);
    let index = NewIndex {
        name: NAME,
        dim: DIM as u32,
        element: Element::F32,
        metric: Metric::L2,
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let index = image.create_index(&index).unwrap().id;
    let new = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    let file = image.create("/vectors", &new).unwrap().ino;
    let put = |image: &mut Image, label: u64, elements: &[u8]| {
        let record = NewRecord {
            label,
            tag: 0,
            elements,
        };
        image.put_records(file, index, &[record]).unwrap();
    };
    for (label, elements) in (0..).zip(&all) {
        put(&mut image, label, elements);
    }
    image.close().unwrap();

    // On the device alone: every record is read from there, and one read is enough to see an error.
    let image = open(Mode::ReadOnly);
    for (label, elements) in (0..).zip(&all).step_by(50) {
        assert_eq!(find(&image, elements).unwrap(), Some(label));
    }
    device.set(Fault::Read(0), true);
    let failed = find(&image, &all[0]).unwrap_err();
    assert!(device.was_hit(), "read from memory");
    assert!(failed.to_string().contains("access to block"), "{failed}");
    device.clear();
    drop(image);

    // Written over: at first only in memory, then in the journal, then at home.
    let mut image = open(Mode::ReadWrite);
    let fresh = vectors(&mut random);
    for label in 0..20 {
        put(&mut image, label, &fresh[label as usize]);
        assert_eq!(find(&image, &fresh[label as usize]).unwrap(), Some(label));
        assert_ne!(find(&image, &all[label as usize]).unwrap(), Some(label));
    }
    image.sync().unwrap();
    drop(image);
    for mode in [Mode::ReadOnly, Mode::ReadWrite] {
        // Not closed: what was synced has to be replayed.
        let image = open(mode);
        for label in 0..20 {
            assert_eq!(find(&image, &fresh[label as usize]).unwrap(), Some(label));
        }
    }

    // A bit of every slot that has block 0 of its vector here: found damaged, by whoever comes near it.
    let base = device.base();
    let mut hit = 0;
    for block in base.written_blocks() {
        let mut bytes = [0; BLOCK_SIZE];
        base.read_at(block * BLOCK_SIZE as u64, &mut bytes).unwrap();
        if let Some(at) = bytes.windows(16).position(|w| *w == all[900][..16]) {
            bytes[at] ^= 1;
            base.write_at(block * BLOCK_SIZE as u64, &bytes).unwrap();
            hit += 1;
        }
    }
    assert!(hit > 0, "no block has the vector");
    let image = open(Mode::ReadOnly);
    let damaged = find(&image, &all[900]).unwrap_err();
    assert!(damaged.to_string().contains("checksum"), "{damaged}");
}
