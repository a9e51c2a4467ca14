// SPDX-License-Identifier: GPL-2.0-only
//! The bytes of vectors that are gone are gone from the device, the journal's log aside: after single deletes, after the last record of a segment, with the
//! file, with the index; and after a power cut at any time, too.

use std::collections::BTreeSet;
use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::NewIndex;
use image::device::{Device, MemDevice};
use image::format::{self, Options};
use image::ops::NewRecord;
use image::{Image, Mode};
use layout::inode::mode;
use layout::vector::{Element, Metric};
use layout::BLOCK_SIZE;

/// Elements of a vector.
const DIM: u32 = 100;
/// Records: more than one segment of them.
const RECORDS: u64 = 700;
/// Stands in every secret vector, and nowhere else.
const MARK: &[u8; 16] = b"vector's secret!";

fn formatted() -> Rc<MemDevice> {
    let blocks = 8192;
    let device = MemDevice::new(blocks * BLOCK_SIZE as u64);
    let options = Options {
        journal_blocks: Some(1024),
        ..Options::new(blocks)
    };
    format::format(&device, &options).unwrap();
    Rc::new(device)
}

fn open(device: &Rc<MemDevice>) -> Image {
    Image::open_device(Box::new(Rc::clone(device)), Mode::ReadWrite).unwrap()
}

/// Blocks outside of the journal that have the mark.
fn marked(device: &MemDevice) -> Vec<u64> {
    let mut block = [0; BLOCK_SIZE];
    device.read_at(0, &mut block).unwrap();
    let sb = layout::superblock::Super::parse(&block, 0, image::checksum::crc32).unwrap();
    let geo = sb.geometry;
    let journal = geo.journal_start..geo.journal_start + u64::from(geo.journal_blocks);
    let mut found = Vec::new();
    for number in device.written_blocks() {
        device
            .read_at(number * BLOCK_SIZE as u64, &mut block)
            .unwrap();
        if !journal.contains(&number) && block.windows(MARK.len()).any(|b| b == MARK) {
            found.push(number);
        }
    }
    found
}

fn secret(label: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..DIM).flat_map(|i| (i as f32).to_le_bytes()).collect();
    bytes[..8].copy_from_slice(&label.to_le_bytes());
    for part in bytes[16..].chunks_exact_mut(MARK.len()) {
        part.copy_from_slice(MARK);
    }
    bytes
}

/// A file with all the records, at home on the device. Returns its number and the index's.
fn populate(image: &mut Image) -> (u64, u32) {
    let file = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    let ino = image.create("/file", &file).unwrap().ino;
    let index = image
        .create_index(&NewIndex {
            name: b"secrets",
            dim: DIM,
            element: Element::F32,
            metric: Metric::L2,
            mode: 0o644,
            uid: 0,
            gid: 0,
        })
        .unwrap();
    put(image, ino, index.id, 0..RECORDS);
    image.checkpoint().unwrap();
    (ino, index.id)
}

fn put(image: &mut Image, ino: u64, index: u32, labels: std::ops::Range<u64>) {
    for label in labels {
        let elements = secret(label);
        let record = NewRecord {
            label,
            tag: 0,
            elements: &elements,
        };
        image.put_records(ino, index, &[record]).unwrap();
    }
}

/// Deletes in one of the ways there are.
type Deletion = fn(&mut Image, u64, u32);

const DELETIONS: [(&str, Deletion); 4] = [
    ("records", |image, ino, index| {
        for label in 0..RECORDS {
            image.delete_record(ino, index, label).unwrap();
        }
    }),
    ("file", |image, _, _| image.unlink("/file").unwrap()),
    ("contents", |image, ino, _| {
        image.set_size(ino, 0).unwrap();
    }),
    ("index", |image, _, index| image.drop_index(index).unwrap()),
];

#[test]
fn what_is_deleted_is_nowhere_but_in_the_log() {
    for (what, delete) in DELETIONS {
        let device = formatted();
        let mut image = open(&device);
        let (ino, index) = populate(&mut image);
        let before = marked(&device);
        // Slots lie across block borders.
        let least = RECORDS * u64::from(DIM) * 4 / BLOCK_SIZE as u64;
        assert!(
            before.len() as u64 >= least,
            "{what}: {} blocks",
            before.len()
        );
        delete(&mut image, ino, index);
        image.checkpoint().unwrap();
        assert_eq!(marked(&device), [], "{what}, of {} blocks", before.len());
        image.close().unwrap();
        assert_eq!(marked(&device), [], "{what}, closed");
    }
}

#[test]
fn records_that_were_never_at_home_leave_nothing() {
    for (what, delete) in DELETIONS {
        let device = formatted();
        let mut image = open(&device);
        let (ino, index) = populate(&mut image);
        // Written over, and added to, without a checkpoint in between.
        put(&mut image, ino, index, 0..20);
        image.sync().unwrap();
        delete(&mut image, ino, index);
        image.close().unwrap();
        assert_eq!(marked(&device), [], "{what}");
    }
}

#[test]
fn a_deletion_that_only_the_log_has_is_carried_out_by_replay() {
    for (what, delete) in DELETIONS {
        let device = formatted();
        let mut image = open(&device);
        let (ino, index) = populate(&mut image);
        delete(&mut image, ino, index);
        image.sync().unwrap();
        let cut = Rc::new((*device).clone());
        drop(image);
        let image = open(&cut);
        image.close().unwrap();
        assert_eq!(marked(&cut), [], "{what}");
    }
}

#[test]
fn erased_blocks_wait_for_their_zeros_before_they_hold_data() {
    let device = formatted();
    let mut image = open(&device);
    let (ino, index) = populate(&mut image);
    let segments: BTreeSet<u64> = marked(&device).into_iter().collect();
    let data = [0x5a; BLOCK_SIZE];
    let mut at = 0;
    let mut fill = |image: &mut Image| {
        let from = at;
        while image.write_at(ino, at, &data).is_ok() {
            at += data.len() as u64;
        }
        (at - from) / data.len() as u64
    };
    fill(&mut image);
    image.drop_index(index).unwrap();
    image.sync().unwrap();
    // There is no other space than that of the segments: a checkpoint that nobody asked for makes it usable.
    let more = fill(&mut image);
    assert!(more * 2 > segments.len() as u64, "{more} blocks");
    image.sync().unwrap();
    let cut = Rc::new((*device).clone());
    drop(image);
    let image = open(&cut);
    let inode = image.resolve("/file").unwrap();
    let mut back = [0; BLOCK_SIZE];
    for offset in (0..inode.size).step_by(data.len()) {
        image.read_at(&inode, offset, &mut back).unwrap();
        assert!(
            back == data,
            "file data at {offset} is not what was written"
        );
    }
    image.close().unwrap();
    assert_eq!(marked(&cut), []);
    let mut block = [0; BLOCK_SIZE];
    let reused = segments.iter().filter(|number| {
        cut.read_at(*number * BLOCK_SIZE as u64, &mut block)
            .unwrap();
        block == data
    });
    assert!(
        reused.count() * 2 > segments.len(),
        "the space was not used again"
    );
}
