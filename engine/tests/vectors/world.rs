// SPDX-License-Identifier: GPL-2.0-only
//! What the tests run: a filesystem with some inodes, and a model of what it must hold. Every transaction is held to its
//! declared credits.

use crate::common::{blank, load, MemFs, MemIo};
use crate::memory::Memory;
use engine::vector::{self, tree, NewIndex, RecordPos};
use engine::{inode, Cx, Error, Result};
use layout::inode::{mode, Inode};
use layout::vector::{Element, Index, Metric};
use std::collections::{BTreeMap, BTreeSet};

/// (inode, label) -> (tag, elements).
pub type Records = BTreeMap<(u64, u64), (u64, Vec<u8>)>;

#[derive(Clone, Default)]
pub struct ModelIndex {
    pub name: String,
    pub records: Records,
}

pub struct World {
    pub fs: MemFs,
    pub inos: Vec<u64>,
    /// Indexes in use, by id.
    pub indexes: BTreeMap<u32, ModelIndex>,
    /// Indexes being dropped, and how far that got.
    pub dropping: BTreeSet<u32>,
    /// Highest id ever seen.
    pub last_id: u32,
    /// Most blocks that a transaction of each kind changed, and its credits then.
    pub tightest: BTreeMap<&'static str, (usize, u32)>,
    /// Whether records get entries in the search tree, where there is room.
    pub tree: bool,
    /// Metric of new indexes.
    pub metric: Metric,
}

/// The elements of a test vector.
pub fn elements(dim: u32, n: u64) -> Vec<u8> {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut v = Vec::new();
    for _ in 0..dim {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let value = (x as i32) as f32 / (1 << 20) as f32;
        v.extend_from_slice(&value.to_le_bytes());
    }
    v
}

impl World {
    pub fn new(blocks: u64, files: usize) -> World {
        let mut fs = MemFs::new(blocks, 64, 9);
        let inos = fs
            .with(|cx| {
                let mut inos = Vec::new();
                for _ in 0..files {
                    let ino = engine::ialloc::alloc_inode(cx, 1, false)?;
                    let mut i = blank(ino, false);
                    i.mode = mode::REGULAR | 0o644;
                    i.links = 1;
                    inode::store(cx, &i)?;
                    inos.push(ino);
                }
                Ok(inos)
            })
            .unwrap();
        World {
            fs,
            inos,
            indexes: BTreeMap::new(),
            dropping: BTreeSet::new(),
            last_id: 0,
            tightest: BTreeMap::new(),
            tree: false,
            metric: Metric::L2,
        }
    }

    /// A world whose records get entries in the search tree.
    pub fn with_tree(blocks: u64, files: usize) -> World {
        World {
            tree: true,
            ..World::new(blocks, files)
        }
    }

    pub fn inode(&self, ino: u64) -> Inode {
        load(&self.fs.io, ino).unwrap()
    }

    pub fn index(&self, id: u32) -> Index {
        vector::load(&self.fs.io, id).unwrap()
    }

    /// A transaction that may change `credits` blocks.
    pub fn step<X>(
        &mut self,
        what: &'static str,
        credits: u32,
        op: impl FnOnce(&mut Cx<'_, MemIo>) -> Result<X>,
    ) -> Result<X> {
        let r = self.fs.with(op);
        if r.is_ok() {
            let n = self.fs.changed();
            assert!(
                n <= credits as usize,
                "{what}: {n} blocks, {credits} declared"
            );
            let t = self.tightest.entry(what).or_default();
            if n > t.0 {
                *t = (n, credits);
            }
        }
        r
    }

    pub fn create(&mut self, name: &str, dim: u32) -> Result<u32> {
        let credits = vector::index::create_credits(&self.fs.io)?;
        let new = NewIndex {
            name: name.as_bytes(),
            dim,
            element: Element::F32,
            metric: self.metric,
            mode: 0o640,
            uid: 5,
            gid: 6,
        };
        let index = self.step("create", credits, |cx| vector::create(cx, &new))?;
        assert!(index.id > self.last_id, "an index number was given twice");
        self.last_id = index.id;
        let model = ModelIndex {
            name: name.into(),
            ..ModelIndex::default()
        };
        self.indexes.insert(index.id, model);
        Ok(index.id)
    }

    pub fn put(&mut self, ino: u64, id: u32, label: u64, tag: u64, data: &[u8]) -> Result<()> {
        let mut memory = Memory::new(&self.index(id));
        let mut tree = self.tree;
        let (index, partitions) = loop {
            let mut index = self.index(id);
            let credits = vector::put_credits(&self.fs.io, &index)?;
            let mut inode = self.inode(ino);
            let mut builder = memory.builder();
            let builder = tree.then_some(&mut builder);
            let r = self.step("put", credits, |cx| {
                vector::put(cx, &mut inode, &mut index, label, tag, data, builder)?;
                inode::store(cx, &inode)
            });
            match r {
                Ok(()) => break (index, index.tree.partitions),
                Err(Error::Full { partition }) => {
                    match self.make_room(id, partition, &mut memory) {
                        // There is no run of blocks for a partition: the record goes without.
                        Err(Error::NoSpace) => tree = false,
                        other => other?,
                    }
                }
                Err(e) => return Err(e),
            }
        };
        assert_eq!(index, self.index(id), "the caller's index is up to date");
        assert!(!tree || partitions != 0);
        let records = &mut self.indexes.get_mut(&id).unwrap().records;
        records.insert((ino, label), (tag, data.to_vec()));
        Ok(())
    }

    fn make_room(&mut self, id: u32, partition: u64, memory: &mut Memory) -> Result<()> {
        let plan = tree::plan_room(&self.fs.io, id, partition, &mut memory.builder())?;
        self.carry_out(id, partition, plan, memory)
    }

    /// Makes room as it was planned, perhaps some time ago.
    pub fn carry_out(
        &mut self,
        id: u32,
        partition: u64,
        plan: Option<tree::Plan>,
        memory: &mut Memory,
    ) -> Result<()> {
        let credits = tree::make_room_credits(&self.index(id))?;
        self.step("make room", credits, |cx| {
            tree::make_room(cx, id, partition, plan, &mut memory.builder())
        })
    }

    /// Dissolves thin partitions until a sweep has found nothing more, or `steps` were taken.
    pub fn tidy(&mut self, id: u32, steps: usize) -> Result<bool> {
        let mut memory = Memory::new(&self.index(id));
        let mut sweep = tree::Sweep::default();
        let mut before = self.index(id).tree.changes;
        for _ in 0..steps {
            let credits = tree::tidy_credits(&self.index(id))?;
            self.step("tidy", credits, |cx| {
                tree::tidy_step(cx, id, &mut sweep, &mut memory.builder())
            })?;
            if sweep.done {
                let now = self.index(id).tree.changes;
                if now == before {
                    return Ok(true);
                }
                (before, sweep) = (now, tree::Sweep::default());
            }
        }
        Ok(false)
    }

    pub fn delete(&mut self, ino: u64, id: u32, label: u64) -> Result<()> {
        let mut index = self.index(id);
        let credits = vector::delete_credits(&self.fs.io, &index, 1)?;
        let mut inode = self.inode(ino);
        let expected = self.indexes[&id].records.contains_key(&(ino, label));
        let r = self.step("delete", credits, |cx| {
            vector::delete(cx, &mut inode, &mut index, label)?;
            inode::store(cx, &inode)
        });
        match r {
            Ok(()) => assert!(expected, "deleted a record that was not there"),
            Err(Error::NotFound) => assert!(!expected, "a record is not found"),
            Err(e) => return Err(e),
        }
        let records = &mut self.indexes.get_mut(&id).unwrap().records;
        records.remove(&(ino, label));
        Ok(())
    }

    pub fn kill(&mut self, ino: u64) -> Result<bool> {
        let mut inode = self.inode(ino);
        let had = inode.vectors != 0;
        let killed = vector::kill(&mut inode);
        assert_eq!(killed, had);
        self.step("kill", 1, |cx| inode::store(cx, &inode))?;
        for m in self.indexes.values_mut() {
            m.records.retain(|(i, _), _| *i != ino);
        }
        Ok(killed)
    }

    /// Reclaims dead records of `ino`, in steps of `max`, at most `steps` of them.
    pub fn reclaim(&mut self, ino: u64, max: u32, steps: usize) -> Result<bool> {
        let mut pos = RecordPos::START;
        for _ in 0..steps {
            let credits = vector::reclaim_credits(&self.fs.io, max)?;
            let inode = self.inode(ino);
            let next = self.step("reclaim", credits, |cx| {
                vector::reclaim_step(cx, &inode, pos, max)
            })?;
            match next {
                None => return Ok(true),
                Some(next) => {
                    assert!(next >= pos, "reclaim goes forward");
                    pos = next;
                }
            }
        }
        Ok(false)
    }

    /// Ends the inode's life and begins another, as unlink, eviction and create do together.
    pub fn reborn(&mut self, ino: u64) -> Result<()> {
        self.kill(ino)?;
        assert!(self.reclaim(ino, 5, usize::MAX)?);
        let mut inode = self.inode(ino);
        inode.generation += 1;
        self.step("reborn", 1, |cx| inode::store(cx, &inode))
    }

    pub fn drop_begin(&mut self, id: u32) -> Result<()> {
        let credits = vector::index::drop_begin_credits(&self.fs.io)?;
        self.step("drop_begin", credits, |cx| vector::drop_begin(cx, id))?;
        let model = self.indexes.remove(&id).unwrap();
        self.dropping.insert(id);
        assert_eq!(
            vector::find(&self.fs.io, model.name.as_bytes()),
            Err(Error::NotFound)
        );
        Ok(())
    }

    pub fn drop_step(&mut self, id: u32, max: u32) -> Result<bool> {
        let credits = vector::drop_index::drop_credits(&self.fs.io, max)?;
        let done = self.step("drop_step", credits, |cx| vector::drop_step(cx, id, max))?;
        if done {
            self.dropping.remove(&id);
        }
        Ok(done)
    }

    /// After a crash the indexes that are being dropped are found again.
    pub fn crash(&mut self) {
        let mut found = Vec::new();
        let mut after = 0;
        while let Some(id) = vector::next_dropping(&self.fs.io, after).unwrap() {
            found.push(id);
            after = id;
        }
        assert!(found.iter().eq(&self.dropping));
    }
}
