// SPDX-License-Identifier: GPL-2.0-only
//! File extents against a map of every block: random programs on two files that fragment each other, every transaction checked
//! against bitmaps and credits, a full disk, faults at every access, inline data, symbolic link targets.

mod common;

use common::{blank, load, MemFs, MemIo};
use engine::extent::{self, Mapping};
use engine::{symlink, Cx, Error, Result};
use layout::inode::{mode, ForkFormat, Inode, INLINE_MAX};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const FILES: usize = 2;
/// Logical blocks that random programs use.
const SPAN: u64 = 2500;

#[derive(Clone, Debug)]
enum Op {
    Allocate(usize, u64, u64),
    Convert(usize, u64, u64),
    Unwrite(usize, u64, u64),
    Punch(usize, u64, u64, u32),
    Truncate(usize, u64, u32),
    /// Alternating single blocks of both files: the most extents for the fewest blocks.
    Weave(u64, u8),
    /// Every second block of a range is converted.
    Scatter(usize, u64, u8),
}

fn op() -> impl Strategy<Value = Op> {
    let f = 0..FILES;
    let at = 0..SPAN;
    let len = prop_oneof![3 => 1u64..8, 2 => 1u64..300];
    prop_oneof![
        4 => (f.clone(), at.clone(), len.clone()).prop_map(|(f, a, n)| Op::Allocate(f, a, n)),
        4 => (f.clone(), at.clone(), len.clone()).prop_map(|(f, a, n)| Op::Convert(f, a, n)),
        1 => (f.clone(), at.clone(), len.clone()).prop_map(|(f, a, n)| Op::Unwrite(f, a, n)),
        2 => (f.clone(), at.clone(), len.clone(), 1u32..4)
            .prop_map(|(f, a, n, m)| Op::Punch(f, a, n, m)),
        1 => (f.clone(), at.clone(), 1u32..4).prop_map(|(f, a, m)| Op::Truncate(f, a, m)),
        1 => (at.clone(), 1u8..150).prop_map(|(a, n)| Op::Weave(a, n)),
        1 => (f, at, 1u8..100).prop_map(|(f, a, n)| Op::Scatter(f, a, n)),
    ]
}

/// A file as the model knows it: for every allocated block, where it lies and whether it was never written.
#[derive(Clone, Default)]
struct Model(BTreeMap<u64, (u64, bool)>);

struct World {
    fs: MemFs,
    inos: Vec<u64>,
    models: Vec<Model>,
}

impl World {
    fn new(blocks: u64) -> World {
        let mut fs = MemFs::new(blocks, 64, 3);
        let inos = fs
            .with(|cx| {
                let mut inos = Vec::new();
                for _ in 0..FILES {
                    let ino = engine::ialloc::alloc_inode(cx, 1, false)?;
                    let mut inode = blank(ino, false);
                    inode.mode = mode::REGULAR | 0o644;
                    inode.links = 1;
                    engine::inode::store(cx, &inode)?;
                    inos.push(ino);
                }
                Ok(inos)
            })
            .unwrap();
        World {
            fs,
            inos,
            models: vec![Model::default(); FILES],
        }
    }

    fn inode(&self, f: usize) -> Inode {
        load(&self.fs.io, self.inos[f]).unwrap()
    }

    /// One transaction on file `f`, held to `credits` and one block for the inode.
    fn step<X>(
        &mut self,
        f: usize,
        credits: impl Fn(&Inode) -> u32,
        op: impl FnOnce(&mut Cx<'_, MemIo>, &mut Inode) -> Result<X>,
    ) -> Result<X> {
        let mut inode = self.inode(f);
        let allowed = credits(&inode) as usize + 1;
        let r = self.fs.with(|cx| {
            let x = op(cx, &mut inode)?;
            engine::inode::store(cx, &inode)?;
            Ok(x)
        });
        if r.is_ok() {
            let changed = self.fs.changed();
            assert!(
                changed <= allowed,
                "{changed} blocks changed, {allowed} declared"
            );
        }
        r
    }

    fn allocate(&mut self, f: usize, at: u64, len: u64) -> Result<()> {
        let e = self.step(f, extent::allocate_credits, |cx, inode| {
            extent::allocate(cx, inode, at, len)
        })?;
        assert!(e.logical <= at && at < e.logical_end());
        let fresh = !self.models[f].0.contains_key(&at);
        let mut new = 0;
        for l in e.logical..e.logical_end() {
            let now = (e.start + (l - e.logical), e.unwritten);
            match self.models[f].0.get(&l) {
                Some(was) => assert_eq!(*was, now, "block {l} moved"),
                None => {
                    assert!(
                        fresh && now.1 && l >= at && l < at + len,
                        "block {l} not asked for"
                    );
                    self.models[f].0.insert(l, now);
                    new += 1;
                }
            }
        }
        assert_eq!(new > 0, fresh);
        Ok(())
    }

    fn set_state(&mut self, f: usize, at: u64, len: u64, unwritten: bool) -> Result<()> {
        let (mut from, end) = (at, at + len);
        while from < end {
            let to = self.step(f, extent::convert_credits, |cx, inode| {
                if unwritten {
                    extent::mark_unwritten(cx, inode, from, end - from)
                } else {
                    extent::convert(cx, inode, from, end - from)
                }
            })?;
            assert!(to > from && to <= end, "no progress at {from}");
            for (_, (_, state)) in self.models[f].0.range_mut(from..to) {
                *state = unwritten;
            }
            from = to;
        }
        Ok(())
    }

    /// Frees `from..to` with `step` until that says it is done; each step must free something.
    fn free_all(
        &mut self,
        f: usize,
        from: u64,
        to: u64,
        credits: impl Fn(&Inode) -> u32,
        mut step: impl FnMut(&mut Cx<'_, MemIo>, &mut Inode) -> Result<bool>,
    ) -> Result<()> {
        loop {
            let done = self.step(f, &credits, &mut step)?;
            let mut left = BTreeMap::new();
            extent::for_each(&self.fs.io, &self.inode(f), 0, |e| {
                left.extend((e.logical..e.logical_end()).map(|l| (l, ())));
                Ok(true)
            })?;
            let before = self.models[f].0.len();
            self.models[f].0.retain(|l, _| {
                let gone = !left.contains_key(l);
                assert!(
                    !gone || (from..to).contains(l),
                    "block {l} freed outside the range"
                );
                !gone
            });
            if done {
                assert_eq!(self.models[f].0.range(from..to).count(), 0);
                return Ok(());
            }
            assert!(self.models[f].0.len() < before, "a step that freed nothing");
        }
    }

    fn run(&mut self, op: &Op) -> Result<()> {
        match *op {
            Op::Allocate(f, at, len) => self.allocate(f, at, len),
            Op::Convert(f, at, len) => self.set_state(f, at, len, false),
            Op::Unwrite(f, at, len) => self.set_state(f, at, len, true),
            Op::Punch(f, at, len, max) => self.free_all(
                f,
                at,
                at + len,
                |i| extent::punch_credits(i, max),
                |cx, i| extent::punch_step(cx, i, at, at + len, max),
            ),
            Op::Truncate(f, keep, max) => self.free_all(
                f,
                keep,
                u64::MAX,
                |i| extent::truncate_credits(i, max),
                |cx, i| extent::truncate_step(cx, i, keep, max),
            ),
            Op::Weave(at, n) => {
                for l in at..at + u64::from(n) {
                    for f in 0..FILES {
                        self.allocate(f, l, 1)?;
                    }
                }
                Ok(())
            }
            Op::Scatter(f, at, n) => {
                for l in at..at + u64::from(n) {
                    self.set_state(f, l * 2, 1, false)?;
                }
                Ok(())
            }
        }
    }

    /// Everything on disk against the model, and the bitmaps against everything.
    fn check(&self) {
        let mut owned = BTreeSet::new();
        let mut nodes = 0;
        for f in 0..FILES {
            let (inode, model) = (self.inode(f), &self.models[f].0);
            let mut seen = BTreeMap::new();
            extent::for_each(&self.fs.io, &inode, 0, |e| {
                for l in e.logical..e.logical_end() {
                    let place = e.start + (l - e.logical);
                    assert!(seen.insert(l, (place, e.unwritten)).is_none());
                    assert!(owned.insert(place), "block {place} has two owners");
                }
                Ok(true)
            })
            .unwrap();
            assert_eq!(&seen, model);
            nodes += inode.blocks - model.len() as u64;
            self.check_maps(&inode, model);
        }
        let meta = self.fs.metadata_blocks();
        assert_eq!(
            meta.len() as u64,
            nodes,
            "inodes' blocks count their tree nodes"
        );
        for b in meta {
            assert!(owned.insert(b), "node {b} is file data too");
        }
        assert_eq!(owned.into_iter().collect::<Vec<_>>(), self.fs.used_blocks());
    }

    fn check_maps(&self, inode: &Inode, model: &BTreeMap<u64, (u64, bool)>) {
        let io = &self.fs.io;
        for l in (0..SPAN + 400).step_by(7) {
            match extent::map(io, inode, l).unwrap() {
                Mapping::Extent(e) => {
                    assert_eq!(model.get(&l), Some(&(e.start + l - e.logical, e.unwritten)));
                }
                Mapping::Hole { len } => {
                    assert!(!model.contains_key(&l));
                    let next = model.range(l..).next();
                    assert_eq!(len, next.map_or(u64::MAX, |(n, _)| n - l));
                }
                Mapping::Inline => panic!("no inline data here"),
            }
            let data = model.range(l..).find(|(_, (_, unwritten))| !unwritten);
            assert_eq!(
                extent::seek_data(io, inode, l).unwrap(),
                data.map(|(n, _)| *n)
            );
            let hole = (l..).find(|n| model.get(n).is_none_or(|(_, unwritten)| *unwritten));
            assert_eq!(Some(extent::seek_hole(io, inode, l).unwrap()), hole);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_programs_agree_with_the_block_map(ops in proptest::collection::vec(op(), 1..60)) {
        let mut w = World::new(16384);
        for op in &ops {
            match w.run(op) {
                Ok(()) => {}
                Err(Error::NoSpace) => {}
                Err(e) => panic!("{op:?}: {e}"),
            }
            w.check();
        }
        // All of it can be given back.
        for f in 0..FILES {
            w.run(&Op::Truncate(f, 0, 3)).unwrap();
        }
        w.check();
        prop_assert!(w.fs.used_blocks().is_empty());
        prop_assert!((0..FILES).all(|f| w.inode(f).blocks == 0));
    }
}

#[test]
fn conversion_finds_its_nodes_on_a_full_disk() {
    let mut w = World::new(4096);
    let free = w.fs.space.free_blocks;
    // All space goes to one file, taken by a caller who may take the reserved blocks too.
    while w.models[0].0.len() < 6000 {
        let at = w.models[0].0.len() as u64;
        match w.allocate(0, at, 500) {
            Ok(()) => {}
            Err(Error::NoSpace) => break,
            Err(e) => panic!("{e}"),
        }
    }
    let taken = w.models[0].0.len() as u64;
    assert!(
        taken < free && taken + w.fs.space.meta_reserve + 8 >= free,
        "{taken} of {free}"
    );
    assert_eq!(w.allocate(1, 0, 1), Err(Error::NoSpace));
    // The worst order: every second block, so that each conversion splits an extent, until the file is in single blocks.
    for l in (0..taken).step_by(2) {
        w.set_state(0, l, 1, false)
            .unwrap_or_else(|e| panic!("block {l} of {taken}: {e}"));
    }
    w.check();
    assert!(w.inode(0).blocks > taken, "the splits took nodes");
    // And giving back works without any space.
    w.run(&Op::Punch(0, 10, 1001, 2)).unwrap();
    w.run(&Op::Truncate(0, 0, 2)).unwrap();
    w.check();
    assert!(w.fs.used_blocks().is_empty());
}

#[test]
fn writing_in_order_keeps_one_extent() {
    let mut w = World::new(16384);
    for i in 0..100 {
        w.allocate(0, i * 16, 16).unwrap();
        w.set_state(0, i * 16, 16, false).unwrap();
    }
    let mut n = 0;
    extent::for_each(&w.fs.io, &w.inode(0), 0, |_| {
        n += 1;
        Ok(true)
    })
    .unwrap();
    assert_eq!(n, 1);
    // Preallocate, then write back in order: never more than two extents, so never a node.
    w.allocate(1, 0, 1000).unwrap();
    for i in 0..100 {
        w.set_state(1, i * 10, 10, false).unwrap();
        assert_eq!(w.inode(1).data.format, ForkFormat::Leaf);
    }
    assert_eq!(w.inode(1).blocks, 1000);
    w.check();
}

#[test]
fn an_error_at_any_access_leaves_nothing_behind() {
    let mut w = World::new(16384);
    w.run(&Op::Weave(0, 200)).unwrap();
    w.run(&Op::Scatter(0, 0, 90)).unwrap();
    let ops = [
        Op::Allocate(0, 300, 50),
        Op::Convert(0, 301, 3),
        Op::Punch(0, 320, 5, 1),
        Op::Convert(0, 41, 1),
        Op::Unwrite(1, 0, 1),
        Op::Truncate(1, 180, 20),
    ];
    for op in ops {
        let mut failures = 0;
        for n in 0.. {
            let models = w.models.clone();
            w.fs.fail_in(Some(n));
            let load = load(&w.fs.io, w.inos[0]);
            if load.is_err() {
                w.fs.fail_in(None);
                continue;
            }
            w.fs.fail_in(Some(n));
            let r = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| w.run_once(&op)));
            w.fs.fail_in(None);
            match r.expect("no panic on an I/O error") {
                Ok(()) => break,
                Err(Error::Io { .. }) => failures += 1,
                Err(e) => panic!("{op:?}: {e}"),
            }
            w.models = models;
            w.check();
        }
        assert!(failures > 1, "{op:?} met no fault");
        w.check();
    }
}

impl World {
    /// As [`World::run`], for operations of one step, with reads before the step free of faults.
    fn run_once(&mut self, op: &Op) -> Result<()> {
        let (f, at) = match *op {
            Op::Allocate(f, at, _) | Op::Convert(f, at, _) | Op::Unwrite(f, at, _) => (f, at),
            Op::Punch(f, at, _, _) | Op::Truncate(f, at, _) => (f, at),
            Op::Weave(..) | Op::Scatter(..) => panic!("not one step"),
        };
        let mut inode = load(&self.fs.io, self.inos[f])?;
        let op = op.clone();
        self.fs.with(|cx| {
            match op {
                Op::Allocate(_, _, len) => {
                    extent::allocate(cx, &mut inode, at, len)?;
                }
                Op::Convert(_, _, len) => {
                    extent::convert(cx, &mut inode, at, len)?;
                }
                Op::Unwrite(_, _, len) => {
                    extent::mark_unwritten(cx, &mut inode, at, len)?;
                }
                Op::Punch(_, _, len, max) => {
                    extent::punch_step(cx, &mut inode, at, at + len, max)?;
                }
                Op::Truncate(_, keep, max) => {
                    extent::truncate_step(cx, &mut inode, keep, max)?;
                }
                Op::Weave(..) | Op::Scatter(..) => {}
            }
            engine::inode::store(cx, &inode)
        })?;
        // What happened is read back: the point here is that nothing happens halfway.
        let mut now = BTreeMap::new();
        extent::for_each(&self.fs.io, &inode, 0, |e| {
            now.extend(
                (e.logical..e.logical_end()).map(|l| (l, (e.start + l - e.logical, e.unwritten))),
            );
            Ok(true)
        })?;
        self.models[f] = Model(now);
        Ok(())
    }
}

#[test]
fn inline_data_moves_out_and_is_cut() {
    let mut w = World::new(8192);
    let mut inode = w.inode(0);
    assert_eq!(extent::uninline_credits(), 2);
    let data: Vec<u8> = (0..INLINE_MAX as u8).collect();
    extent::set_inline(&mut inode, &data).unwrap();
    assert_eq!((inode.size, inode.data.inline()), (176, Some(&data[..])));
    assert_eq!(extent::map(&w.fs.io, &inode, 0).unwrap(), Mapping::Inline);
    assert_eq!(extent::seek_data(&w.fs.io, &inode, 0).unwrap(), Some(0));
    assert_eq!(extent::seek_data(&w.fs.io, &inode, 1).unwrap(), None);
    let mut longer = data.clone();
    longer.push(0);
    assert_eq!(
        extent::set_inline(&mut inode, &longer),
        Err(Error::TooLarge)
    );
    extent::resize_inline(&mut inode, 3).unwrap();
    extent::resize_inline(&mut inode, 6).unwrap();
    assert_eq!(inode.data.inline(), Some(&[0, 1, 2, 0, 0, 0][..]));
    assert_eq!(extent::resize_inline(&mut inode, 177), Err(Error::TooLarge));
    w.step(
        0,
        |_| 0,
        |_, i| {
            *i = inode;
            Ok(())
        },
    )
    .unwrap();
    let refused = w.step(0, |_| 0, |cx, i| extent::allocate(cx, i, 0, 1));
    assert!(matches!(refused, Err(Error::Range(_))));
    let block = w
        .step(0, |_| extent::uninline_credits(), extent::uninline)
        .unwrap()
        .expect("a block");
    w.models[0].0.insert(0, (block, false));
    let inode = w.inode(0);
    assert_eq!(
        (inode.size, inode.blocks, inode.data.format),
        (6, 1, ForkFormat::Leaf)
    );
    w.check();
    assert!(matches!(
        extent::set_inline(&mut inode.clone(), b"x"),
        Err(Error::Range(_))
    ));
    w.run(&Op::Truncate(0, 0, 1)).unwrap();
    w.check();
}

#[test]
fn symbolic_link_targets_of_every_length_come_back() {
    let mut w = World::new(8192);
    let ino = w.inos[0];
    for len in [1, 100, 176, 177, 1023, 1024, 1025, 2048, 3000, 4095] {
        let target: Vec<u8> = (0..len).map(|i| b'a' + (i % 23) as u8).collect();
        let mut inode = blank(ino, false);
        inode.mode = mode::SYMLINK | 0o777;
        inode.links = 1;
        let allowed = symlink::credits(&inode, len) as usize;
        let blocks = symlink::new_blocks(&inode, len);
        w.fs.with(|cx| symlink::write(cx, &mut inode, &target))
            .unwrap();
        assert!(
            w.fs.changed() <= allowed && inode.blocks <= blocks,
            "length {len}"
        );
        w.fs.with(|cx| engine::inode::store(cx, &inode)).unwrap();
        let inode = load(&w.fs.io, ino).unwrap();
        let mut buf = vec![0; len];
        assert_eq!(symlink::read(&w.fs.io, &inode, &mut buf), Ok(len));
        assert_eq!(buf, target);
        assert_eq!(
            symlink::read(&w.fs.io, &inode, &mut buf[..len - 1]),
            Err(Error::BufferTooSmall)
        );
        w.fs.with(|cx| {
            let mut inode = inode;
            for n in 0..len.div_ceil(1024).min(if len > 176 { 4 } else { 0 }) as u64 {
                let key = layout::attr::symlink_key(n);
                engine::tree::remove(cx, &mut inode, engine::tree::Which::Attr, &key)?;
            }
            assert_eq!(inode.blocks, 0);
            Ok(())
        })
        .unwrap();
        assert!(w.fs.used_blocks().is_empty());
    }
    let mut inode = blank(ino, false);
    inode.mode = mode::SYMLINK | 0o777;
    for (target, error) in [
        (vec![b'x'; 4096], Error::NameTooLong),
        (
            vec![],
            Error::Range("a symbolic link needs a target without NUL"),
        ),
        (
            vec![b'x', 0],
            Error::Range("a symbolic link needs a target without NUL"),
        ),
    ] {
        let r = w.fs.with(|cx| symlink::write(cx, &mut inode, &target));
        assert_eq!(r, Err(error));
    }
}

#[test]
fn extents_that_point_at_metadata_are_refused() {
    let mut w = World::new(8192);
    w.allocate(0, 0, 4).unwrap();
    let inode = w.inode(0);
    for bad in [0u64, 1, 1030, 1 << 47] {
        let mut i = inode;
        let e = layout::extent::Extent {
            logical: 0,
            start: bad,
            len: 4,
            unwritten: false,
        };
        // The value lies at the end of the fork's leaf.
        let n = i.data.bytes.len();
        i.data.bytes[n - 16..].copy_from_slice(&e.to_bytes());
        let r = extent::map(&w.fs.io, &i, 0);
        assert!(matches!(r, Err(Error::Corrupt { .. })), "{bad}: {r:?}");
    }
}

#[test]
fn damaged_targets_of_symbolic_links_are_noticed() {
    use engine::tree::{self, Which};
    let mut w = World::new(8192);
    let mut inode = blank(w.inos[0], false);
    inode.mode = mode::SYMLINK | 0o777;
    inode.links = 1;
    w.fs.with(|cx| symlink::write(cx, &mut inode, &[b'x'; 2500]))
        .unwrap();
    let good = inode;
    let read = |w: &World, inode: &Inode| symlink::read(&w.fs.io, inode, &mut [0; 4096]);
    assert_eq!(read(&w, &good), Ok(2500));
    // A wrong size, shorter and longer than the chunks.
    for size in [2049, 2499, 2501, 4000, 1024, 200] {
        inode.size = size;
        let r = read(&w, &inode);
        assert!(matches!(r, Err(Error::Corrupt { .. })), "{size}: {r:?}");
    }
    inode.size = 2500;
    for (chunk, value) in [
        (1u64, Some(1023)),
        (2, Some(453)),
        (0, None),
        (1, None),
        (2, None),
    ] {
        let key = layout::attr::symlink_key(chunk);
        let r = w.fs.with(|cx| {
            match value {
                Some(len) => tree::replace(cx, &mut inode, Which::Attr, &key, &vec![b'y'; len])?,
                None => tree::remove(cx, &mut inode, Which::Attr, &key)?,
            }
            let r = symlink::read(cx.io, &inode, &mut [0; 4096]);
            // Undone, so that each damage is the only one.
            assert!(matches!(r, Err(Error::Corrupt { .. })), "{chunk}: {r:?}");
            Err::<(), _>(Error::Internal("undo"))
        });
        assert_eq!(r, Err(Error::Internal("undo")));
        inode = good;
        assert_eq!(read(&w, &inode), Ok(2500));
    }
}
