// SPDX-License-Identifier: GPL-2.0-only
//! Every rule of the vector store, checked on what lies on disk: read with the layout's parsers, not with the code under
//! test, and compared with the model through the public functions.

use crate::common::{crc32, load, MemIo};
use crate::world::World;
use engine::io::ReadBlocks;
use engine::tree::{self, Which};
use engine::vector::{self, RecordPos, ScanPos};
use engine::Error;
use layout::block::{read_header, BlockKind};
use layout::btree::Key;
use layout::ino;
use layout::inode::Inode;
use layout::segment::{
    location, segment_blocks, slot_area_blocks, slot_size, verify_slot, SegmentHeader, SlotHeader,
    BITMAP_OFFSET, BLOCK_LOCATIONS, SLOT_HEADER,
};
use layout::vector::{
    parse_name, Index, SegmentRef, SlotAddr, CLASS_COUNTER, CLASS_INDEX, CLASS_NAME, CLASS_SEGMENT,
};
use layout::BLOCK_SIZE;
use std::collections::{BTreeMap, BTreeSet};

/// The index table, read whole.
#[derive(Default)]
struct Table {
    indexes: BTreeMap<u32, Index>,
    names: BTreeMap<String, u32>,
    segments: BTreeMap<(u32, u32), SegmentRef>,
    counter: u32,
}

fn entries(io: &MemIo, ino: u64) -> (Inode, Vec<(Key, Vec<u8>)>) {
    let inode = load(io, ino).unwrap();
    let mut v = Vec::new();
    tree::walk(io, &inode, Which::Data, &Key::MIN, |k, value| {
        v.push((*k, value.to_vec()));
        Ok(true)
    })
    .unwrap();
    (inode, v)
}

fn table(io: &MemIo) -> (Inode, Table) {
    let (inode, all) = entries(io, ino::INDEX_TABLE);
    let mut t = Table::default();
    for (k, v) in all {
        match k.a() >> 56 << 56 {
            CLASS_INDEX => {
                let index = Index::parse(k.b() as u32, &v).unwrap();
                t.indexes.insert(index.id, index);
            }
            CLASS_NAME => {
                let (id, name) = parse_name(&v).unwrap();
                assert!(t.names.insert(name.as_str().into(), id).is_none());
            }
            CLASS_SEGMENT => {
                let id = (k.a() & !CLASS_SEGMENT) as u32;
                let at = SegmentRef::parse(&v).unwrap();
                t.segments.insert((id, k.b() as u32), at);
            }
            CLASS_COUNTER => t.counter = u32::from_le_bytes(v[..].try_into().unwrap()),
            _ => panic!("unknown class of key {k:?}"),
        }
    }
    (inode, t)
}

/// A segment, read whole.
pub struct Slots {
    /// Slots in use: number, header, elements and padding.
    pub used: Vec<(u32, SlotHeader, Vec<u8>)>,
    /// Location of every slot.
    pub locations: Vec<u64>,
    /// Blocks that were never written.
    lazy: Vec<u64>,
}

fn slots(io: &MemIo, id: u32, number: u32, at: &SegmentRef, size: usize) -> Slots {
    let data = io.read(at.start, BlockKind::Segment).unwrap();
    assert_eq!(
        read_header(&data, BlockKind::Segment).unwrap().owner,
        u64::from(id)
    );
    let h = SegmentHeader::read(&data).unwrap();
    assert_eq!((h.segment, h.slot_size as usize), (number, size));
    assert_eq!((h.slots, h.blocks), (at.slots, at.blocks));
    assert_eq!(h.slots - h.used, at.free);
    assert_eq!(u64::from(at.blocks), segment_blocks(at.slots, size as u32));
    let mut area = Vec::new();
    for b in 0..u64::from(h.init) {
        area.extend_from_slice(&io.read(at.start + 1 + b, BlockKind::Slots).unwrap()[..]);
    }
    let mut used = Vec::new();
    for slot in 0..at.slots {
        let range = slot as usize * size..(slot as usize + 1) * size;
        if data[BITMAP_OFFSET + slot as usize / 8] & (1 << (slot % 8)) != 0 {
            let bytes = &area[range];
            verify_slot(bytes, io.sb().seed, crc32).unwrap();
            let header = SlotHeader::read(bytes).unwrap();
            used.push((slot, header, bytes[SLOT_HEADER..].to_vec()));
        } else {
            let end = range.end.min(area.len());
            let part = area.get(range.start..end).unwrap_or(&[]);
            assert!(
                part.iter().all(|b| *b == 0),
                "free slot {slot} is not erased"
            );
        }
    }
    let tail = (at.slots as usize * size).min(area.len());
    assert!(area[tail..].iter().all(|b| *b == 0));
    let first = at.start + 1 + slot_area_blocks(at.slots, size as u32);
    let mut locations = Vec::new();
    for n in 0..h.located {
        let block = io.read(first + u64::from(n), BlockKind::Locations).unwrap();
        let owner = read_header(&block, BlockKind::Locations).unwrap().owner;
        assert_eq!(owner, u64::from(id));
        locations.extend((0..BLOCK_LOCATIONS).map(|slot| location(&block, slot).unwrap()));
    }
    assert!(locations.iter().skip(at.slots as usize).all(|l| *l == 0));
    locations.resize(at.slots as usize, 0);
    let end = at.start + u64::from(at.blocks);
    let lazy = (at.start + 1 + u64::from(h.init)..first)
        .chain(first + u64::from(h.located)..end)
        .collect();
    Slots {
        used,
        locations,
        lazy,
    }
}

impl World {
    /// The rules of the format, and that disk and model agree.
    pub fn check(&self) {
        let io = &self.fs.io;
        let (table_inode, t) = table(io);
        let (map_inode, map) = entries(io, ino::VECTOR_MAP);
        let mut map: BTreeMap<(u64, u32, u64), SlotAddr> = map
            .iter()
            .map(|(k, v)| ((k.a(), k.b() as u32, k.c()), SlotAddr::parse(v).unwrap()))
            .collect();
        let mut live: BTreeMap<u64, u64> = self.inos.iter().map(|i| (*i, 0)).collect();
        let mut owned = BTreeSet::new();
        let mut lazy = BTreeSet::new();

        let known: Vec<u32> = self.indexes.keys().chain(&self.dropping).copied().collect();
        assert_eq!(t.indexes.len(), known.len());
        assert_eq!(t.counter, self.last_id);
        assert_eq!(
            t.names.len(),
            self.indexes.len(),
            "a name for each index in use"
        );
        for (id, index) in &t.indexes {
            assert_eq!(index.dropping, self.dropping.contains(id));
            if !index.dropping {
                assert_eq!(t.names[index.name.as_str()], *id);
            }
            let size = slot_size(index.vector_bytes());
            let mine: Vec<_> = t.segments.iter().filter(|((i, _), _)| i == id).collect();
            assert_eq!(mine.len(), index.segments as usize);
            let free: u64 = mine.iter().map(|(_, at)| u64::from(at.free)).sum();
            assert_eq!(free, index.free_slots);
            let mut records = 0;
            let mut segments = BTreeMap::new();
            for ((_, number), at) in mine {
                assert!(*number < index.next_segment);
                let read = slots(io, *id, *number, at, size);
                assert!(
                    !read.used.is_empty(),
                    "segment {number} of index {id} is empty"
                );
                for b in at.start..at.start + u64::from(at.blocks) {
                    assert!(owned.insert(b), "block {b} has two owners");
                }
                lazy.extend(read.lazy.iter().copied());
                segments.insert(at.start, read);
                for (slot, h, _) in &segments[&at.start].used {
                    let slot = *slot;
                    assert_eq!(h.index, *id);
                    let here = SlotAddr {
                        segment: *number,
                        slot,
                    };
                    let entry = map.remove(&(h.ino, *id, h.label));
                    if entry != Some(here) {
                        assert!(index.dropping && entry.is_none(), "slot without map entry");
                        continue;
                    }
                    records += 1;
                    let owner = load(io, h.ino).unwrap();
                    if h.generation == owner.generation && h.epoch == owner.vector_epoch {
                        *live.get_mut(&h.ino).unwrap() += 1;
                    }
                }
            }
            assert_eq!(records, index.records, "records of index {id}");
            for b in crate::check_tree::check(io, index, &segments) {
                assert!(owned.insert(b), "block {b} of a partition has two owners");
            }
        }
        assert!(map.is_empty(), "map entries without slots: {map:?}");
        assert!(t.segments.keys().all(|(id, _)| t.indexes.contains_key(id)));
        for (ino, n) in &live {
            assert_eq!(
                load(io, *ino).unwrap().vectors,
                *n,
                "records of inode {ino}"
            );
        }

        // Blocks: segments and tree nodes, nothing else, and only what was written is in the journal's care.
        let written = self.fs.metadata_blocks();
        let nodes: Vec<u64> = written
            .iter()
            .copied()
            .filter(|b| !owned.contains(b))
            .collect();
        assert_eq!(table_inode.blocks + map_inode.blocks, nodes.len() as u64);
        assert!(written.iter().all(|b| !lazy.contains(b)));
        assert_eq!(written.len() - nodes.len(), owned.len() - lazy.len());
        owned.extend(nodes);
        assert_eq!(owned.into_iter().collect::<Vec<_>>(), self.fs.used_blocks());
        self.check_model();
        for id in self.indexes.keys() {
            self.verify_right(*id);
        }
    }

    fn check_model(&self) {
        let io = &self.fs.io;
        let mut listed = Vec::new();
        vector::list(io, 0, |i| {
            listed.push(i.id);
            Ok(true)
        })
        .unwrap();
        assert!(listed.iter().eq(self.indexes.keys()));
        for (id, model) in &self.indexes {
            let index = vector::find(io, model.name.as_bytes()).unwrap();
            assert_eq!((index.id, index), (*id, self.index(*id)));
            let mut buf = vec![0; index.vector_bytes()];
            for ((ino, label), (tag, data)) in &model.records {
                let got = vector::get(io, &self.inode(*ino), &index, *label, &mut buf);
                assert_eq!(got, Ok((data.len(), *tag)));
                assert_eq!(&buf, data);
            }
            self.check_scan(&index);
        }
        for ino in &self.inos {
            let mut seen = Vec::new();
            vector::for_each(io, &self.inode(*ino), RecordPos::START, |r| {
                seen.push((r.index, r.label, r.tag));
                Ok(true)
            })
            .unwrap();
            let mut expected = Vec::new();
            for (id, model) in &self.indexes {
                let mine = model.records.range((*ino, 0)..=(*ino, u64::MAX));
                expected.extend(mine.map(|((_, label), (tag, _))| (*id, *label, *tag)));
            }
            assert_eq!(seen, expected, "records of inode {ino}");
        }
    }

    /// A scan with a buffer of odd size finds exactly the records, once dead ones are left out.
    fn check_scan(&self, index: &Index) {
        let io = &self.fs.io;
        let size = slot_size(index.vector_bytes());
        let mut buf = vec![0; size * 5 + size / 2];
        let (mut pos, mut seen) = (ScanPos::default(), BTreeMap::new());
        while let Some(batch) = vector::scan(io, index, &mut pos, &mut buf).unwrap() {
            assert!(batch.count() <= 5 && batch.bytes().len() == batch.count() * batch.stride());
            for n in 0..batch.count() {
                let h = batch.header(n).unwrap();
                if vector::is_live(io, &h).unwrap() {
                    let at = n * batch.stride() + vector::Batch::ELEMENTS;
                    let data = batch.bytes()[at..at + index.vector_bytes()].to_vec();
                    assert!(seen.insert((h.ino, h.label), (h.tag, data)).is_none());
                }
            }
        }
        assert_eq!(seen, self.indexes[&index.id].records);
        let r = vector::scan(io, index, &mut ScanPos::default(), &mut buf[..size - 1]);
        assert!(matches!(r, Err(Error::BufferTooSmall)));
    }

    /// Blocks of a segment's slot area, for tests that look for leftovers.
    pub fn slot_bytes(&self, id: u32) -> Vec<u8> {
        let (_, t) = table(&self.fs.io);
        let mut v = Vec::new();
        for ((i, _), at) in &t.segments {
            for b in at.start + 1..at.start + u64::from(at.blocks) {
                if *i == id && self.fs.metadata_blocks().contains(&b) {
                    v.extend_from_slice(&self.fs.io.read(b, BlockKind::Slots).unwrap()[..]);
                }
            }
        }
        assert_eq!(v.len() % BLOCK_SIZE, 0);
        v
    }

    /// Start blocks and sizes of an index's segments.
    pub fn segments(&self, id: u32) -> Vec<SegmentRef> {
        let (_, t) = table(&self.fs.io);
        let mine = t.segments.iter().filter(|((i, _), _)| *i == id);
        mine.map(|(_, at)| *at).collect()
    }
}
