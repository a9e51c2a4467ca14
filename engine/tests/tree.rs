// SPDX-License-Identifier: GPL-2.0-only
//! The B+tree against a `BTreeMap`: random programs, every transaction checked block by block, faults at every access,
//! hostile nodes.

mod common;

use common::{blank, MemFs};
use engine::io::ReadBlocks;
use engine::tree::{self, Which};
use engine::Error;
use layout::block::{BlockKind, HEADER_SIZE};
use layout::btree::{Key, TreeKind};
use layout::inode::{ForkFormat, Inode};
use proptest::prelude::*;
use std::collections::btree_map::Entry;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, usize),
    Replace(u64, usize),
    Remove(u64),
    /// Remove many from here on: makes trees shrink as often as they grow.
    Sweep(u64, u8),
    /// Insert a run of ascending keys.
    Run(u64, u8, usize),
}

fn op(keys: u64) -> impl Strategy<Value = Op> {
    let len = prop_oneof![4 => 0usize..40, 1 => 0usize..=1024];
    prop_oneof![
        4 => (0..keys, len.clone()).prop_map(|(k, l)| Op::Insert(k, l)),
        2 => (0..keys, len.clone()).prop_map(|(k, l)| Op::Replace(k, l)),
        2 => (0..keys).prop_map(Op::Remove),
        1 => (0..keys, 1u8..60).prop_map(|(k, n)| Op::Sweep(k, n)),
        2 => (0..keys, 1u8..60, 0usize..100).prop_map(|(k, n, l)| Op::Run(k, n, l)),
    ]
}

/// The tree under test: attribute fork of the root directory (two key words), or another.
struct Subject {
    fs: MemFs,
    inode: Inode,
    which: Which,
    kind: TreeKind,
    model: BTreeMap<Key, Vec<u8>>,
}

impl Subject {
    fn new(kind: TreeKind) -> Subject {
        let (ino, which) = match kind {
            TreeKind::Attr => (1, Which::Attr),
            TreeKind::Directory => (1, Which::Data),
            TreeKind::VectorMap => (3, Which::Data),
            _ => panic!("not a subject"),
        };
        Subject {
            fs: MemFs::new(8192, 64, 7),
            inode: blank(ino, ino != 1),
            which,
            kind,
            model: BTreeMap::new(),
        }
    }

    fn key(&self, k: u64) -> Key {
        // Spread over all words, so that comparisons of later words matter.
        match self.kind.key_words() {
            1 => Key::one(k),
            2 => Key::two(k / 7, k % 7),
            _ => Key::three(k / 49, (k / 7) % 7, k % 7),
        }
    }

    fn value(k: &Key, len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| (k.a() as usize * 31 + k.b() as usize * 7 + k.c() as usize + i + len) as u8)
            .collect()
    }

    /// Runs one change in a transaction of its own and holds the number of changed blocks to the credits.
    fn change(
        &mut self,
        f: impl FnOnce(&mut engine::Cx<'_, common::MemIo>, &mut Inode) -> engine::Result<()>,
    ) -> engine::Result<()> {
        let credits = tree::credits(&self.inode, self.which) as usize;
        let mut inode = self.inode;
        let r = self.fs.with(|cx| f(cx, &mut inode));
        if r.is_ok() {
            assert!(
                self.fs.changed() <= credits,
                "{} blocks changed, {credits} declared",
                self.fs.changed()
            );
            self.inode = inode;
        }
        r
    }

    fn insert(&mut self, k: u64, len: usize) {
        let (key, which) = (self.key(k), self.which);
        let v = Self::value(&key, len);
        let r = self.change(|cx, i| tree::insert(cx, i, which, &key, &v));
        match self.model.entry(key) {
            Entry::Occupied(_) => assert_eq!(r, Err(Error::Exists)),
            Entry::Vacant(e) => {
                r.unwrap();
                e.insert(v);
            }
        }
    }

    fn apply(&mut self, op: &Op) {
        let which = self.which;
        match *op {
            Op::Insert(k, len) => self.insert(k, len),
            Op::Run(k, n, len) => (0..u64::from(n)).for_each(|i| self.insert(k + i, len)),
            Op::Replace(k, len) => {
                let key = self.key(k);
                let v = Self::value(&key, len);
                // A replace may be a remove and an insert.
                let credits = 2 * tree::credits(&self.inode, which) as usize;
                let mut inode = self.inode;
                let r = self
                    .fs
                    .with(|cx| tree::replace(cx, &mut inode, which, &key, &v));
                if let Entry::Occupied(mut e) = self.model.entry(key) {
                    r.unwrap();
                    assert!(self.fs.changed() <= credits);
                    e.insert(v);
                    self.inode = inode;
                } else {
                    assert_eq!(r, Err(Error::NotFound));
                }
            }
            Op::Remove(k) => {
                let key = self.key(k);
                let r = self.change(|cx, i| tree::remove(cx, i, which, &key));
                match self.model.remove(&key) {
                    Some(_) => r.unwrap(),
                    None => assert_eq!(r, Err(Error::NotFound)),
                }
            }
            Op::Sweep(k, n) => {
                let from = self.key(k);
                let keys: Vec<Key> = self
                    .model
                    .range(from..)
                    .take(usize::from(n))
                    .map(|(k, _)| *k)
                    .collect();
                for key in keys {
                    self.change(|cx, i| tree::remove(cx, i, which, &key))
                        .unwrap();
                    self.model.remove(&key);
                }
            }
        }
    }

    fn check(&self) {
        let io = &self.fs.io;
        let mut seen = Vec::new();
        tree::walk(io, &self.inode, self.which, &Key::MIN, |k, v| {
            seen.push((*k, v.to_vec()));
            Ok(true)
        })
        .unwrap();
        let want: Vec<_> = self.model.iter().map(|(k, v)| (*k, v.clone())).collect();
        assert!(seen == want, "tree and model differ");
        for probe in (0..200).map(|k| self.key(k * 13)) {
            let got = tree::get(io, &self.inode, self.which, &probe, |v| Ok(v.to_vec())).unwrap();
            assert_eq!(got.as_ref(), self.model.get(&probe));
            let got = tree::at_or_before(io, &self.inode, self.which, &probe, |k, v| {
                Ok((*k, v.to_vec()))
            })
            .unwrap();
            let want = self
                .model
                .range(..=probe)
                .next_back()
                .map(|(k, v)| (*k, v.clone()));
            assert_eq!(got, want);
        }
        // Blocks of the tree, the inode's count and the bitmaps agree.
        let nodes = nodes(&self.fs, &self.inode, self.which, self.kind);
        assert_eq!(nodes.len() as u64, self.inode.blocks);
        assert_eq!(nodes, self.fs.used_blocks());
        assert_eq!(nodes, self.fs.metadata_blocks());
        if self.model.is_empty() {
            assert_eq!(
                tree::fork(&self.inode, self.which).format,
                ForkFormat::Empty
            );
        }
    }
}

/// All node blocks, found by an independent walk that also holds keys to their parents' bounds.
fn nodes(fs: &MemFs, inode: &Inode, w: Which, kind: TreeKind) -> Vec<u64> {
    let mut found = Vec::new();
    let mut todo = Vec::new();
    if let Some((block, level)) = tree::fork(inode, w).root() {
        todo.push((block, level, Key::MIN, None::<Key>));
    }
    while let Some((block, level, lo, hi)) = todo.pop() {
        found.push(block);
        let data = fs.io.read(block, BlockKind::Node).unwrap();
        let body = &data[HEADER_SIZE..];
        let n = layout::btree::count(body);
        assert!(n > 0, "empty node in a tree");
        for i in 0..n {
            let key = engine::node::key(body, kind, level == 0, i).unwrap();
            assert!(key >= lo, "key below its parent's separator");
            assert!(
                hi.is_none_or(|h| key < h),
                "key above its parent's next separator"
            );
            if level > 0 {
                let next = if i + 1 < n {
                    engine::node::key(body, kind, false, i + 1)
                } else {
                    hi
                };
                let lo = if i == 0 { lo } else { key };
                todo.push((
                    engine::node::child(body, kind, i).unwrap(),
                    level - 1,
                    lo,
                    next,
                ));
            }
        }
    }
    found.sort_unstable();
    found
}

fn run(kind: TreeKind, ops: &[Op]) {
    let mut s = Subject::new(kind);
    for op in ops {
        s.apply(op);
    }
    s.check();
    // Emptied, everything is free again.
    s.apply(&Op::Sweep(0, 255));
    while !s.model.is_empty() {
        s.apply(&Op::Sweep(0, 255));
    }
    s.check();
}

/// Keys that come back below what is left of a tree whose first leaves are gone: the first key of the nodes on the left edge is
/// then larger than the separators of new splits.
#[test]
fn keys_below_a_first_leaf_that_is_gone() {
    for kind in [TreeKind::Directory, TreeKind::Attr, TreeKind::VectorMap] {
        let mut s = Subject::new(kind);
        // Three levels, as large values make many leaves.
        for n in 0..1500 {
            s.insert(5000 + n, 900);
        }
        assert!(tree::height(&s.inode, s.which) >= 3);
        // From the left, everything of the first inner node and more.
        for n in 0..900 {
            s.apply(&Op::Remove(5000 + n));
        }
        s.check();
        for n in (0..1200).rev() {
            s.insert(1000 + n, 900);
        }
        s.check();
        for n in 0..900 {
            s.insert(5000 + n, 100);
        }
        s.check();
        while !s.model.is_empty() {
            s.apply(&Op::Sweep(0, 255));
        }
        s.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tree_equals_model_two_words(ops in prop::collection::vec(op(3000), 1..150)) {
        run(TreeKind::Attr, &ops);
    }

    #[test]
    fn tree_equals_model_one_word(ops in prop::collection::vec(op(3000), 1..150)) {
        run(TreeKind::Directory, &ops);
    }

    #[test]
    fn tree_equals_model_three_words(ops in prop::collection::vec(op(3000), 1..150)) {
        run(TreeKind::VectorMap, &ops);
    }

    /// An I/O error at any access leaves the committed tree as it was before.
    #[test]
    fn io_error_anywhere_leaves_the_tree(ops in prop::collection::vec(op(600), 1..60), last in op(600), at in 0u64..30) {
        let mut s = Subject::new(TreeKind::Attr);
        for op in &ops {
            s.apply(op);
        }
        let before = (s.inode, s.model.clone());
        s.fs.fail_in(Some(at));
        let which = s.which;
        let (key, mut inode) = match last {
            Op::Insert(k, _) | Op::Replace(k, _) | Op::Remove(k) | Op::Sweep(k, _) | Op::Run(k, _, _) => (s.key(k), s.inode),
        };
        let r = s.fs.with(|cx| match last {
            Op::Remove(_) | Op::Sweep(..) => tree::remove(cx, &mut inode, which, &key),
            _ => tree::insert(cx, &mut inode, which, &key, &[1; 300]),
        });
        s.fs.fail_in(None);
        if let Ok(()) = r {
            s.inode = inode;
            match last {
                Op::Remove(_) | Op::Sweep(..) => { s.model.remove(&key); }
                _ => { s.model.insert(key, vec![1; 300]); }
            }
        } else {
            (s.inode, s.model) = before;
        }
        s.check();
    }
}

#[test]
fn two_hundred_thousand_keys_stay_shallow() {
    let mut s = Subject {
        fs: MemFs::new(60_000, 64, 3),
        ..Subject::new(TreeKind::Directory)
    };
    let which = s.which;
    // Scattered keys, as name hashes are.
    for batch in 0..2000u64 {
        let mut inode = s.inode;
        s.fs.with(|cx| {
            for i in 0..100u64 {
                let k = (batch * 100 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
                tree::insert(cx, &mut inode, which, &Key::one(k), &[7; 20])?;
            }
            Ok(())
        })
        .unwrap();
        s.inode = inode;
    }
    assert!(tree::height(&s.inode, which) <= 3);
    let before = s.fs.reads();
    let probe = Key::one((12_345u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1);
    assert_eq!(
        tree::get(&s.fs.io, &s.inode, which, &probe, |v| Ok(v.len())),
        Ok(Some(20))
    );
    assert_eq!(
        s.fs.reads() - before,
        3,
        "a look-up reads one block a level"
    );
}

#[test]
fn ascending_keys_fill_leaves() {
    let mut s = Subject::new(TreeKind::Directory);
    for k in 0..2000 {
        s.insert(k, 16);
    }
    s.check();
    // 28 bytes a slot with value: 144 a leaf.
    assert!(
        s.inode.blocks <= 2000 / 144 + 3,
        "{} blocks",
        s.inode.blocks
    );
}

#[test]
fn no_space_is_clean_and_complete() {
    let mut s = Subject {
        fs: MemFs::new(1400, 64, 3),
        ..Subject::new(TreeKind::Attr)
    };
    let which = s.which;
    let mut n = 0;
    let err = loop {
        let key = s.key(n);
        // `MemFs::with` asserts that clean errors changed nothing.
        if let Err(e) = s.change(|cx, i| tree::insert(cx, i, which, &key, &[9; 900])) {
            break e;
        }
        s.model.insert(key, vec![9; 900]);
        n += 1;
    };
    assert_eq!(err, Error::NoSpace);
    s.check();
    s.apply(&Op::Sweep(0, 200));
    s.check();
}

/// Nodes that pass their checksums but lie about the tree give errors, never loops or panics.
#[test]
fn hostile_nodes_are_errors() {
    let mut s = Subject::new(TreeKind::Directory);
    for k in 0..20_000 {
        s.insert(k, 16);
    }
    let (root, level) = s.inode.data.root().unwrap();
    assert_eq!(level, 1);
    let entry = |i: usize| HEADER_SIZE + 8 + i * TreeKind::Directory.entry_size() + 8;
    let first_child = {
        let d = s.fs.io.read(root, BlockKind::Node).unwrap();
        u64::from_le_bytes(d[entry(0)..entry(0) + 8].try_into().unwrap())
    };
    let faults: [(&str, u64); 4] = [
        ("child is the root itself", root),
        ("child outside the filesystem", 1 << 40),
        ("child is a bitmap", s.fs.io.sb().geometry.block_bitmap(0)),
        ("two entries lead to one child", first_child),
    ];
    for (what, child) in faults {
        let saved = *s.fs.io.read(root, BlockKind::Node).unwrap();
        s.fs.poke(root, BlockKind::Node, |d| {
            d[entry(1)..entry(1) + 8].copy_from_slice(&child.to_le_bytes())
        });
        let walk = tree::walk(&s.fs.io, &s.inode, Which::Data, &Key::MIN, |_, _| Ok(true));
        let mut inode = s.inode;
        let mut gone = Ok(());
        for k in 100..400 {
            gone =
                gone.and(s.fs.with(|cx| tree::remove(cx, &mut inode, Which::Data, &Key::one(k))));
            if gone.is_err() {
                break;
            }
        }
        assert!(walk.is_err() || gone.is_err(), "{what}: {walk:?} {gone:?}");
        s.fs.poke(root, BlockKind::Node, |d| *d = saved);
        s = Subject::new(TreeKind::Directory);
        for k in 0..20_000 {
            s.insert(k, 16);
        }
    }
}
