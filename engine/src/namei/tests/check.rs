// SPDX-License-Identifier: GPL-2.0-only
//! An independent checker: reads all metadata from the blocks with nothing but `layout`, and holds everything to every
//! invariant that the engine promises. It panics with what is wrong, and returns what it found.

use super::common::MemFs;
use crate::io::ReadBlocks;
use crate::test_hash;
use layout::attr::{parse_parent_key, parse_symlink_key, parse_xattr_key, XattrHead, CHUNK};
use layout::block::{read_header, BlockKind, HEADER_SIZE};
use layout::btree::{count, Key, TreeKind};
use layout::bytes::{u16_at, u64_at};
use layout::dirent::{Dirent, COLLISIONS, COLLISION_BITS};
use layout::extent::Extent;
use layout::group::{BLOCK_UNINIT, INODE_UNINIT};
use layout::inode::{FileType, Fork, ForkFormat, Inode, Slot, INLINE_MAX, INODES_PER_BLOCK};
use layout::vector::{SegmentRef, CLASS_SEGMENT};
use layout::{ino, BLOCK_SIZE};
use std::collections::{BTreeMap, BTreeSet};

/// Directory, cookie, name: one name of an inode.
pub type Name = (u64, u64, Vec<u8>);

/// What one inode holds.
pub struct Found {
    pub inode: Inode,
    /// Name to inode, of a directory.
    pub entries: BTreeMap<Vec<u8>, u64>,
    pub names: BTreeSet<Name>,
    /// Namespace number and name to value.
    pub xattrs: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    pub target: Vec<u8>,
}

/// What the filesystem holds, but for the reserved inodes 2 to 4.
pub struct Snapshot {
    pub inodes: BTreeMap<u64, Found>,
    pub orphans: BTreeSet<u64>,
    /// Entries of the vector map, by inode.
    pub records: BTreeMap<u64, u64>,
}

/// An extended attribute whose chunks are being put together.
struct Partial {
    hash: u64,
    collision: u64,
    name: (u8, Vec<u8>),
    value: Vec<u8>,
    len: usize,
}

struct Walk<'a> {
    fs: &'a MemFs,
    used: BTreeSet<u64>,
}

impl Walk<'_> {
    fn claim(&mut self, start: u64, len: u64) {
        for b in start..start + len {
            assert!(self.used.insert(b), "block {b} is used twice");
        }
    }

    /// All entries of a tree, and the number of its blocks.
    fn tree(&mut self, owner: u64, fork: &Fork, kind: TreeKind) -> (Vec<(Key, Vec<u8>)>, u64) {
        let mut out = Vec::new();
        let before = self.used.len();
        match fork.format {
            ForkFormat::Empty | ForkFormat::Inline => {}
            ForkFormat::Leaf => leaf(&fork.bytes, kind, &mut out),
            ForkFormat::Tree => {
                let (root, level) = fork.root().expect("root");
                self.node(owner, kind, root, level, None, None, &mut out);
                assert!(!out.is_empty(), "inode {owner}: an empty tree has nodes");
            }
        }
        assert!(
            out.windows(2).all(|w| w[0].0 < w[1].0),
            "inode {owner}: keys of the tree are not ascending"
        );
        (out, (self.used.len() - before) as u64)
    }

    #[allow(clippy::too_many_arguments)]
    fn node(
        &mut self,
        owner: u64,
        kind: TreeKind,
        block: u64,
        level: u8,
        low: Option<Key>,
        high: Option<Key>,
        out: &mut Vec<(Key, Vec<u8>)>,
    ) {
        self.claim(block, 1);
        let data = self.fs.io.read(block, BlockKind::Node).expect("node");
        let h = read_header(&data, BlockKind::Node).expect("header");
        assert_eq!((h.owner, h.node), (owner, Some((kind, level))));
        let body = &data[HEADER_SIZE..];
        if level == 0 {
            let first = out.len();
            leaf(body, kind, out);
            for (k, _) in &out[first..] {
                assert!(low.is_none_or(|l| *k >= l) && high.is_none_or(|h| *k < h));
            }
            return;
        }
        let n = count(body);
        let at = |i: usize| layout::btree::BODY_HEADER + i * kind.entry_size();
        let key = |i: usize| Key::read(body, at(i), kind.key_words()).expect("key");
        for i in 0..n {
            let child = u64_at(body, at(i) + kind.key_words() * 8).expect("child");
            let from = if i == 0 { low } else { Some(key(i)) };
            let to = if i + 1 < n { Some(key(i + 1)) } else { high };
            self.node(owner, kind, child, level - 1, from, to, out);
        }
    }
}

fn leaf(body: &[u8], kind: TreeKind, out: &mut Vec<(Key, Vec<u8>)>) {
    for i in 0..count(body) {
        let at = layout::btree::BODY_HEADER + i * kind.slot_size();
        let key = Key::read(body, at, kind.key_words()).expect("key");
        let rest = at + kind.key_words() * 8;
        let off = usize::from(u16_at(body, rest).expect("offset"));
        let len = usize::from(u16_at(body, rest + 2).expect("length"));
        out.push((key, body[off..off + len].to_vec()));
    }
}

/// All inodes in use, by the inode tables, held to the bitmaps and descriptors.
fn inodes(fs: &MemFs) -> BTreeMap<u64, Inode> {
    let geo = fs.io.sb().geometry;
    let mut all = BTreeMap::new();
    for g in geo.first_group..geo.groups {
        let desc = fs.groups[g as usize].desc;
        let bitmap = (desc.flags & INODE_UNINIT == 0).then(|| {
            fs.io
                .read(geo.inode_bitmap(g), BlockKind::InodeBitmap)
                .expect("bitmap")
        });
        let (mut free, mut dirs) = (0, 0);
        for index in 0..geo.inodes_per_group {
            let number = geo.ino(g, index).expect("number");
            let used = bitmap
                .as_ref()
                .is_some_and(|b| b[HEADER_SIZE + index as usize / 8] >> (index % 8) & 1 == 1);
            free += u32::from(!used);
            if index / INODES_PER_BLOCK as u32 >= desc.itable_init {
                assert!(!used, "inode {number} is in use beyond the inode table");
                continue;
            }
            let reserved = (5..ino::FIRST).contains(&number);
            match crate::inode::load_slot(&fs.io, number).expect("inode") {
                Slot::Used(i) => {
                    assert!(used, "inode {number} is in use, its bit is clear");
                    dirs += u32::from(i.is_dir());
                    all.insert(number, i);
                }
                _ => assert_eq!(used, reserved, "inode {number} is free, its bit is set"),
            }
        }
        assert_eq!(
            (desc.free_inodes, desc.dirs),
            (free, dirs),
            "counts of group {g}"
        );
    }
    all
}

/// The attribute tree of one inode, taken apart.
fn attributes(fs: &MemFs, inode: &Inode, entries: &[(Key, Vec<u8>)], found: &mut Found) {
    let mut open: Option<Partial> = None;
    let mut next = 0;
    let mut finish = |open: &mut Option<Partial>| {
        if let Some(p) = open.take() {
            assert_eq!(p.value.len(), p.len, "attribute cut short");
            let twice = found.xattrs.insert(p.name, p.value);
            assert!(twice.is_none(), "attribute twice");
        }
    };
    for (key, value) in entries {
        if let Some((dir, cookie)) = parse_parent_key(key) {
            found.names.insert((dir, cookie, value.clone()));
        } else if let Some((collision, chunk)) = parse_xattr_key(key) {
            if chunk == 0 {
                finish(&mut open);
                let head = XattrHead::parse(value).expect("head");
                let seed = &fs.io.sb().raw.hash_seed;
                assert_eq!(
                    test_hash::xattr_hash(seed, head.namespace, head.name),
                    key.a()
                );
                open = Some(Partial {
                    hash: key.a(),
                    collision,
                    name: (head.namespace as u8, head.name.to_vec()),
                    value: head.first.to_vec(),
                    len: head.value_len as usize,
                });
                next = 1;
            } else {
                let p = open.as_mut().expect("chunk without a head");
                assert_eq!((p.hash, p.collision, next), (key.a(), collision, chunk));
                p.value.extend_from_slice(value);
                let last = p.value.len() == p.len;
                assert!(value.len() == CHUNK || last, "short chunk");
                next += 1;
            }
        } else if let Some(chunk) = parse_symlink_key(key) {
            assert_eq!(inode.file_type(), FileType::Symlink);
            assert_eq!(chunk as usize * CHUNK, found.target.len());
            found.target.extend_from_slice(value);
        } else {
            panic!("inode {}: unknown attribute key {key:?}", inode.ino);
        }
    }
    finish(&mut open);
    if inode.file_type() == FileType::Symlink {
        if let Some(t) = inode.data.inline() {
            assert!(found.target.is_empty() && t.len() <= INLINE_MAX);
            found.target = t.to_vec();
        }
        assert_eq!(found.target.len() as u64, inode.size);
    }
}

/// Checks everything.
pub fn check(fs: &MemFs) -> Snapshot {
    let geo = fs.io.sb().geometry;
    let seed = fs.io.sb().raw.hash_seed;
    let mut walk = Walk {
        fs,
        used: BTreeSet::new(),
    };
    let mut snap = Snapshot {
        inodes: BTreeMap::new(),
        orphans: BTreeSet::new(),
        records: BTreeMap::new(),
    };
    let mut by_entries: BTreeMap<u64, BTreeSet<Name>> = BTreeMap::new();
    let mut segments = Vec::new();
    for (number, inode) in inodes(fs) {
        let kind = inode.data_tree();
        let (data, mut blocks) = match kind {
            Some(kind) => walk.tree(number, &inode.data, kind),
            None => (Vec::new(), 0),
        };
        let (attr, n) = walk.tree(number, &inode.attr, TreeKind::Attr);
        blocks += n;
        let mut found = Found {
            inode,
            entries: BTreeMap::new(),
            names: BTreeSet::new(),
            xattrs: BTreeMap::new(),
            target: Vec::new(),
        };
        match kind {
            Some(TreeKind::Extent) => {
                let mut end = 0;
                for (key, value) in &data {
                    let e = Extent::parse(key.a(), value).expect("extent");
                    assert!(e.logical >= end && geo.is_data(e.start, u64::from(e.len)));
                    end = e.logical_end();
                    walk.claim(e.start, u64::from(e.len));
                    blocks += u64::from(e.len);
                }
            }
            Some(TreeKind::Directory) => {
                for (key, value) in &data {
                    let e = Dirent::parse(value).expect("entry");
                    let first = test_hash::first_cookie(&seed, e.name);
                    let cookie = key.a();
                    assert!((first..first + COLLISIONS).contains(&cookie));
                    assert_eq!(first & ((1 << COLLISION_BITS) - 1), 0);
                    assert!(
                        found.entries.insert(e.name.to_vec(), e.ino).is_none(),
                        "a name stands twice in directory {number}"
                    );
                    by_entries
                        .entry(e.ino)
                        .or_default()
                        .insert((number, cookie, e.name.to_vec()));
                    let Ok(child) = crate::inode::load(&fs.io, e.ino) else {
                        panic!("directory {number} names inode {}, which is free", e.ino);
                    };
                    assert_eq!(child.file_type(), e.file_type);
                }
                assert_eq!(inode.size, data.len() as u64, "size of directory {number}");
            }
            Some(TreeKind::Orphan) => snap.orphans = data.iter().map(|(k, _)| k.a()).collect(),
            Some(TreeKind::VectorMap) => {
                for (key, _) in &data {
                    *snap.records.entry(key.a()).or_default() += 1;
                }
            }
            Some(TreeKind::Index) => {
                for (key, value) in &data {
                    if key.a() >> 56 == CLASS_SEGMENT >> 56 {
                        segments.push(SegmentRef::parse(value).expect("segment"));
                    }
                }
            }
            _ => assert!(data.is_empty()),
        }
        attributes(fs, &inode, &attr, &mut found);
        assert_eq!(inode.blocks, blocks, "blocks of inode {number}");
        if inode.file_type() == FileType::Regular && number >= ino::FIRST {
            let keep = inode.size.div_ceil(BLOCK_SIZE as u64);
            let beyond = data
                .iter()
                .any(|(k, v)| Extent::parse(k.a(), v).expect("extent").logical_end() > keep);
            // No test preallocates beyond the size.
            assert!(
                !beyond || fs_orphan(fs, number),
                "inode {number} has data beyond its size"
            );
        }
        if !(ino::INDEX_TABLE..=ino::ORPHANS).contains(&number) {
            snap.inodes.insert(number, found);
        }
    }
    for s in segments {
        walk.claim(s.start, u64::from(s.blocks));
    }
    names(&snap, &by_entries);
    let used: BTreeSet<u64> = fs.used_blocks().into_iter().collect();
    assert_eq!(used, walk.used, "block bitmaps and use");
    for g in geo.first_group..geo.groups {
        let desc = fs.groups[g as usize].desc;
        let n = used.range(geo.data_start(g)..geo.group_end(g)).count() as u32;
        assert_eq!(
            desc.free_blocks,
            geo.data_blocks(g) - n,
            "free blocks of group {g}"
        );
        assert!(n == 0 || desc.flags & BLOCK_UNINIT == 0);
    }
    for number in snap.records.keys() {
        assert!(
            snap.inodes.contains_key(number),
            "record of inode {number}, which is free"
        );
    }
    snap
}

fn fs_orphan(fs: &MemFs, number: u64) -> bool {
    crate::orphan::contains(&fs.io, number).expect("orphans")
}

/// Entries, parent pointers, links and orphans agree, and every directory is reached from the root.
fn names(snap: &Snapshot, by_entries: &BTreeMap<u64, BTreeSet<Name>>) {
    let none = BTreeSet::new();
    for (number, f) in &snap.inodes {
        let entries = by_entries.get(number).unwrap_or(&none);
        assert_eq!(
            entries, &f.names,
            "entries and parent pointers of inode {number}"
        );
        let orphan = snap.orphans.contains(number);
        if f.inode.is_dir() {
            let subdirs = f
                .entries
                .values()
                .filter(|i| snap.inodes[i].inode.is_dir())
                .count() as u32;
            if *number == ino::ROOT {
                assert!(f.names.is_empty());
            } else {
                assert_eq!(
                    f.names.len(),
                    usize::from(f.inode.links != 0),
                    "names of directory {number}"
                );
            }
            if f.inode.links == 0 {
                assert!(
                    f.entries.is_empty(),
                    "removed directory {number} has entries"
                );
            } else {
                assert_eq!(f.inode.links, 2 + subdirs, "links of directory {number}");
            }
        } else {
            assert_eq!(
                f.inode.links as usize,
                f.names.len(),
                "links of inode {number}"
            );
        }
        assert!(
            f.inode.links != 0 || orphan,
            "inode {number} has no links and is no orphan"
        );
    }
    for number in &snap.orphans {
        assert!(snap.inodes.contains_key(number), "orphan {number} is free");
    }
    let mut reached = BTreeSet::from([ino::ROOT]);
    let mut todo = vec![ino::ROOT];
    while let Some(d) = todo.pop() {
        for child in snap.inodes[&d].entries.values() {
            if snap.inodes[child].inode.is_dir() {
                assert!(reached.insert(*child), "directory {child} is reached twice");
                todo.push(*child);
            }
        }
    }
    for (number, f) in &snap.inodes {
        assert!(
            !f.inode.is_dir() || f.inode.links == 0 || reached.contains(number),
            "directory {number} is not reached from the root"
        );
    }
}
