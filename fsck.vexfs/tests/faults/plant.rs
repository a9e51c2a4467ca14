// SPDX-License-Identifier: GPL-2.0-only
//! Tools to plant faults: the engine's own trees for what needs space and order, single entries changed in place for the rest.

use crate::common::*;
use engine::tree::Which;
use image::device::{Device, MemDevice};
use image::{Image, Mode};
use layout::block::{BlockKind, HEADER_SIZE};
use layout::btree::{count, Key, TreeKind, BODY_HEADER};
use layout::bytes::{u16_at, u64_at};
use layout::group::GroupDesc;
use layout::inode::{ForkFormat, Inode};
use std::io;
use std::rc::Rc;

/// Declares tests: name, expected problems, and what plants the fault. Also lists the problems in `CODES`.
macro_rules! faults {
    ($($name:ident [$($code:ident),+] $plant:expr;)*) => {
        pub const CODES: &[fsck_vexfs::Code] = &[$($(fsck_vexfs::Code::$code),+),*];
        $(#[test]
        fn $name() {
            let dev = $crate::common::populated();
            let plant: fn(&image::device::MemDevice) = $plant;
            plant(&dev);
            $crate::plant::expect(&dev, &[$(fsck_vexfs::Code::$code),+]);
        })*
    };
}
pub(crate) use faults;

/// The check must find exactly these problems.
pub fn expect(dev: &dyn Device, codes: &[fsck_vexfs::Code]) {
    let (problems, _) = fsck(dev);
    let found: Vec<_> = problems.iter().map(|p| p.code).collect();
    let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found, codes, "\n{}", text.join("\n"));
    println!("{}", text.join("\n"));
}

pub type Cx<'a, 'b> = engine::Cx<'a, image::txn::Txn<'b>>;

/// Runs engine operations on the closed filesystem, in one transaction.
pub fn edit(dev: &MemDevice, mut f: impl FnMut(&mut Cx<'_, '_>) -> engine::Result<()>) {
    let copy = Rc::new(dev.clone());
    let mut image = Image::open_device(Box::new(Rc::clone(&copy)), Mode::ReadWrite).unwrap();
    image.with_txn(&mut f).unwrap();
    image.close().unwrap();
    for number in copy.written_blocks() {
        write_block(dev, number, &read_block(&*copy, number));
    }
}

/// Changes one inode with engine operations and stores it.
pub fn edit_inode(
    dev: &MemDevice,
    ino: u64,
    mut f: impl FnMut(&mut Cx<'_, '_>, &mut Inode) -> engine::Result<()>,
) {
    edit(dev, |cx| {
        let mut inode = engine::inode::load(cx.io, ino)?;
        f(cx, &mut inode)?;
        engine::inode::store(cx, &inode)
    });
}

/// Adds an entry to a tree of an inode.
pub fn insert(dev: &MemDevice, ino: u64, which: Which, key: Key, value: &[u8]) {
    edit_inode(dev, ino, |cx, inode| {
        engine::tree::insert(cx, inode, which_copy(&which), &key, value)
    });
}

/// Replaces an entry.
pub fn replace(dev: &MemDevice, ino: u64, which: Which, key: Key, value: &[u8]) {
    edit_inode(dev, ino, |cx, inode| {
        engine::tree::replace(cx, inode, which_copy(&which), &key, value)
    });
}

/// Removes an entry.
pub fn remove(dev: &MemDevice, ino: u64, which: Which, key: Key) {
    edit_inode(dev, ino, |cx, inode| {
        engine::tree::remove(cx, inode, which_copy(&which), &key)
    });
}

fn which_copy(which: &Which) -> Which {
    match which {
        Which::Data => Which::Data,
        Which::Attr => Which::Attr,
    }
}

/// An entry of a tree, and where its bytes are.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: Key,
    pub value: Vec<u8>,
    /// The inode, whose fork holds it, or the node's block.
    home: Result<u64, u64>,
    key_at: usize,
    slot_at: usize,
    value_at: usize,
}

const DATA_FORK: usize = 160;
const ATTR_FORK: usize = 336;

/// All entries of a tree, in order.
pub fn entries(dev: &MemDevice, ino: u64, which: Which) -> Vec<Entry> {
    let inode = inode(dev, ino);
    let (fork, base, kind) = match which {
        Which::Data => (inode.data, DATA_FORK, inode.data_tree().unwrap()),
        Which::Attr => (inode.attr, ATTR_FORK, TreeKind::Attr),
    };
    let mut out = Vec::new();
    match fork.format {
        ForkFormat::Leaf => leaf(&fork.bytes, kind, Err(ino), base, &mut out),
        ForkFormat::Tree => {
            let (root, level) = fork.root().unwrap();
            node(dev, kind, root, level, &mut out);
        }
        _ => {}
    }
    out
}

fn node(dev: &MemDevice, kind: TreeKind, block: u64, level: u8, out: &mut Vec<Entry>) {
    let data = read_block(dev, block);
    let body = &data[HEADER_SIZE..];
    if level == 0 {
        return leaf(body, kind, Ok(block), HEADER_SIZE, out);
    }
    for i in 0..count(body) {
        let at = BODY_HEADER + i * kind.entry_size() + kind.key_words() * 8;
        node(dev, kind, u64_at(body, at).unwrap(), level - 1, out);
    }
}

fn leaf(body: &[u8], kind: TreeKind, home: Result<u64, u64>, base: usize, out: &mut Vec<Entry>) {
    for i in 0..count(body) {
        let at = BODY_HEADER + i * kind.slot_size();
        let slot = at + kind.key_words() * 8;
        let offset = usize::from(u16_at(body, slot).unwrap());
        let len = usize::from(u16_at(body, slot + 2).unwrap());
        out.push(Entry {
            key: Key::read(body, at, kind.key_words()).unwrap(),
            value: body[offset..offset + len].to_vec(),
            home,
            key_at: base + at,
            slot_at: base + slot,
            value_at: base + offset,
        });
    }
}

impl Entry {
    fn poke(&self, dev: &MemDevice, at: usize, bytes: &[u8]) {
        let change = |data: &mut [u8]| data[at..at + bytes.len()].copy_from_slice(bytes);
        match self.home {
            Ok(block) => forge(dev, block, BlockKind::Node, |data| change(data)),
            Err(ino) => forge_inode_bytes(dev, ino, change),
        }
    }

    /// Overwrites bytes of the value, from its byte `at` on.
    pub fn poke_value(&self, dev: &MemDevice, at: usize, bytes: &[u8]) {
        self.poke(dev, self.value_at + at, bytes);
    }

    /// Overwrites word `n` of the key.
    pub fn poke_key(&self, dev: &MemDevice, n: usize, word: u64) {
        self.poke(dev, self.key_at + n * 8, &word.to_le_bytes());
    }

    /// Makes the slot point to the value of another entry of the same leaf.
    pub fn share_value(&self, dev: &MemDevice, other: &Entry) {
        assert_eq!(self.home, other.home);
        let base = match self.home {
            Ok(_) => HEADER_SIZE,
            Err(_) => ATTR_FORK,
        };
        let offset = (other.value_at - base) as u16;
        self.poke(dev, self.slot_at, &offset.to_le_bytes());
    }
}

/// The entry that `path`'s last name is: (directory, entry).
pub fn dirent(dev: &MemDevice, path: &str) -> (u64, Entry) {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("/", path));
    let dir = ino_of(dev, parent);
    let found = entries(dev, dir, Which::Data)
        .into_iter()
        .find(|e| e.value[layout::dirent::DIRENT_HEADER..] == *name.as_bytes())
        .unwrap();
    (dir, found)
}

/// Flips one byte without sealing.
pub fn flip(dev: &dyn Device, block: u64, at: usize) {
    let mut data = read_block(dev, block);
    data[at] ^= 0x40;
    write_block(dev, block, &data);
}

/// A device with one block that cannot be read.
pub struct BadBlock<'a> {
    pub base: &'a MemDevice,
    pub block: u64,
}

impl Device for BadBlock<'_> {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let bad = self.block * 4096..(self.block + 1) * 4096;
        if offset < bad.end && offset + buf.len() as u64 > bad.start {
            return Err(io::Error::other("bad block"));
        }
        self.base.read_at(offset, buf)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) -> io::Result<bool> {
        Ok(false)
    }
}

/// Changes the descriptor of a group.
pub fn forge_desc(dev: &MemDevice, group: u32, change: impl FnOnce(&mut GroupDesc)) {
    let (block, n) = superblock(dev).geometry.desc_place(group);
    forge(dev, block, BlockKind::Gdt, |data| {
        let mut desc = GroupDesc::read(data, n).unwrap();
        change(&mut desc);
        desc.write(data, n).unwrap();
    });
}
