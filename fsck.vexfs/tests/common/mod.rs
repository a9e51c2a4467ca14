// SPDX-License-Identifier: GPL-2.0-only
//! Images for the tests: a filesystem with something of everything in it, ways to damage one thing, and the problems that a check finds.
#![allow(dead_code)] // each test file uses its own part

pub mod damage;

use engine::inode::NewInode;
use engine::vector::{self, NewIndex};
use engine::xattr::{self, SetFlags};
use fsck_vexfs::{check, Code, Observer, Options, Problem, Summary};
use image::checksum::crc32;
use image::device::{Device, MemDevice};
use image::format;
use image::{Image, Mode};
use layout::attr::Namespace;
use layout::block::{self, BlockKind};
use layout::inode::{mode, Inode, Slot, Time, INODE_SIZE};
use layout::superblock::Super;
use layout::vector::{Element, Metric};
use layout::{Block, BLOCK_SIZE};
use std::rc::Rc;

/// Collects everything.
#[derive(Default)]
pub struct Collector(pub Vec<Problem>);

impl Observer for Collector {
    fn problem(&mut self, problem: &Problem) {
        self.0.push(problem.clone());
    }
}

/// Checks a device: what was found, and the summary.
pub fn fsck(dev: &dyn Device) -> (Vec<Problem>, Summary) {
    fsck_with(dev, &Options::default())
}

pub fn fsck_with(dev: &dyn Device, options: &Options) -> (Vec<Problem>, Summary) {
    let mut found = Collector::default();
    let summary = check(dev, options, &mut found);
    (found.0, summary)
}

/// Kinds of the problems found.
pub fn codes(dev: &dyn Device) -> Vec<Code> {
    fsck(dev).0.iter().map(|p| p.code).collect()
}

pub fn assert_clean(dev: &dyn Device) -> Summary {
    let (problems, summary) = fsck(dev);
    let list: Vec<_> = problems.iter().map(Problem::to_string).collect();
    assert!(list.is_empty(), "{}", list.join("\n"));
    summary
}

/// The first `size` bytes of nothing but a new filesystem.
pub fn fresh(blocks: u64) -> MemDevice {
    let dev = MemDevice::new(blocks * BLOCK_SIZE as u64);
    let options = format::Options {
        uuid: *b"fsck test image\0",
        hash_seed: *b"0123456789abcdef",
        label: "test".into(),
        journal_blocks: Some(1024),
        now: 1_700_000_000,
        ..format::Options::new(blocks)
    };
    format::format(&dev, &options).unwrap();
    dev
}

pub const FILE: NewInode<'static> = NewInode {
    mode: mode::REGULAR | 0o644,
    uid: 1000,
    gid: 1000,
    rdev: 0,
    flags: 0,
    project: 0,
    default_index: 0,
    target: &[],
};

pub fn open(dev: &Rc<MemDevice>) -> Image {
    let image = Image::open_device(Box::new(Rc::clone(dev)), Mode::ReadWrite).unwrap();
    image.set_time(Some(Time {
        sec: 1_700_000_001,
        nsec: 5,
    }));
    image
}

/// Number of vectors in the populated image.
pub const VECTORS: u32 = 40;
/// Their dimension.
pub const DIM: u32 = 16;

/// Elements of vector `n`.
pub fn elements(n: u32) -> Vec<u8> {
    (0..DIM)
        .flat_map(|i| ((n * DIM + i) as f32 + 0.5).to_le_bytes())
        .collect()
}

fn try_image<T>(result: image::Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

/// Something of everything: directories with one and with many entries, files of all forms, links, devices, attributes of all sizes,
/// long and short symbolic links, two indexes and records in them.
pub fn populate(image: &mut Image) {
    try_image(image.mkdir("dir"));
    try_image(image.mkdir("dir/sub"));
    try_image(image.mkdir("many"));
    for n in 0..400 {
        let path = format!("many/a file with quite a long name, number {n:05}");
        try_image(image.create(path, &FILE));
    }
    let inline = try_image(image.create("dir/inline", &FILE));
    try_image(image.write_at(inline.ino, 0, b"some bytes"));
    let file = try_image(image.create("dir/file", &FILE));
    try_image(image.write_at(file.ino, 0, &vec![7; 300_000]));
    try_image(image.link(file.ino, "dir/sub/second name"));
    // Every other block: many extents, so that their tree has nodes.
    let sparse = try_image(image.create("sparse", &FILE));
    for n in 0..600u64 {
        try_image(image.write_at(sparse.ino, n * 8192, b"x"));
    }
    try_image(image.symlink("short link", b"dir/file"));
    try_image(image.symlink("long link", "x/".repeat(700).as_bytes()));
    for (name, bits) in [("fifo", mode::FIFO), ("null", mode::CHAR)] {
        let rdev = if bits == mode::CHAR { 0x103 } else { 0 };
        let new = NewInode {
            mode: bits | 0o600,
            rdev,
            ..FILE
        };
        try_image(image.create(name, &new));
    }
    for (name, len) in [(&b"small"[..], 10), (b"large", 20_000), (b"empty", 0)] {
        let value = vec![b'v'; len];
        let ns = Namespace::User;
        let ino = file.ino;
        let credits = image
            .read(|io| {
                let inode = engine::inode::load(io, ino)?;
                xattr::set_credits(io, &inode, ns, name, len)
            })
            .unwrap();
        try_image(image.with_credits(credits, |cx| {
            xattr::set(cx, ino, ns, name, &value, SetFlags::Any).map(|_| ())
        }));
    }
    populate_vectors(image, file.ino, inline.ino);
}

fn populate_vectors(image: &mut Image, first: u64, second: u64) {
    for (name, metric) in [(&b"notes"[..], Metric::Cosine), (b"other", Metric::L2)] {
        let new = NewIndex {
            name,
            dim: DIM,
            element: Element::F32,
            metric,
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        try_image(image.with_txn(|cx| vector::create(cx, &new).map(|_| ())));
    }
    for n in 0..VECTORS {
        put(image, if n % 4 == 0 { second } else { first }, 1, n);
    }
    // Holes among the slots.
    for n in [5, 6, 11] {
        delete(image, first, 1, n);
    }
}

/// Stores vector `n` as the record labelled `n` of an inode.
pub fn put(image: &mut Image, ino: u64, index: u32, n: u32) {
    let record = image::ops::NewRecord {
        label: n.into(),
        tag: 9,
        elements: &elements(n),
    };
    try_image(image.put_records(ino, index, &[record]));
}

/// Deletes the record labelled `n`.
pub fn delete(image: &mut Image, ino: u64, index: u32, n: u32) {
    try_image(image.with_txn(|cx| {
        let mut inode = engine::inode::load(cx.io, ino)?;
        let mut index = vector::load(cx.io, index)?;
        vector::delete(cx, &mut inode, &mut index, n.into())?;
        engine::inode::store(cx, &inode)
    }));
}

/// The populated filesystem, closed cleanly.
pub fn populated() -> MemDevice {
    let dev = Rc::new(fresh(40_000));
    let mut image = open(&dev);
    populate(&mut image);
    try_image(image.close());
    Rc::try_unwrap(dev).unwrap_or_else(|dev| (*dev).clone())
}

pub fn read_block(dev: &dyn Device, number: u64) -> Block {
    let mut data = [0; BLOCK_SIZE];
    dev.read_at(number * BLOCK_SIZE as u64, &mut data).unwrap();
    data
}

pub fn write_block(dev: &dyn Device, number: u64, data: &Block) {
    dev.write_at(number * BLOCK_SIZE as u64, data).unwrap();
}

pub fn superblock(dev: &dyn Device) -> Super {
    Super::parse(&read_block(dev, 0), 0, crc32).unwrap()
}

/// Changes a block and seals it again: damage that no checksum shows.
pub fn forge(dev: &dyn Device, number: u64, kind: BlockKind, change: impl FnOnce(&mut Block)) {
    let mut data = read_block(dev, number);
    change(&mut data);
    block::seal(kind, &mut data, superblock(dev).seed, crc32);
    write_block(dev, number, &data);
}

/// The inode `ino`.
pub fn inode(dev: &dyn Device, ino: u64) -> Inode {
    let place = superblock(dev).geometry.inode_place(ino).unwrap();
    let data = read_block(dev, place.block);
    match Inode::parse(&data[place.offset..place.offset + INODE_SIZE], ino).unwrap() {
        Slot::Used(inode) => inode,
        other => panic!("inode {ino}: {other:?}"),
    }
}

/// Changes an inode's bytes and seals it again.
pub fn forge_inode(dev: &dyn Device, ino: u64, change: impl FnOnce(&mut Inode)) {
    let mut changed = inode(dev, ino);
    change(&mut changed);
    forge_inode_bytes(dev, ino, |raw| raw.copy_from_slice(&changed.to_bytes()));
}

pub fn forge_inode_bytes(dev: &dyn Device, ino: u64, change: impl FnOnce(&mut [u8])) {
    let place = superblock(dev).geometry.inode_place(ino).unwrap();
    forge(dev, place.block, BlockKind::InodeTable, |data| {
        change(&mut data[place.offset..place.offset + INODE_SIZE]);
    });
}

/// The number of the inode at `path`.
pub fn ino_of(dev: &MemDevice, path: &str) -> u64 {
    let copy = Rc::new(dev.clone());
    let image = Image::open_device(Box::new(copy), Mode::ReadOnly).unwrap();
    image.resolve_no_follow(path).unwrap().ino
}
