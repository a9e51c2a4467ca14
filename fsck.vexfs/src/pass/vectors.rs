// SPDX-License-Identifier: GPL-2.0-only
//! Pass 6: the index table, the vector map, and how map, segments, slots and search trees agree. Reading the table and the map is here; what lies in
//! segments is compared in [`slots`], the trees in [`tree`], the graphs in [`graph`].

use crate::check::Check;
use crate::inodes::Known;
use crate::pass::directories::load;
use crate::pass::orphans;
use crate::problem::{Code, Problem};
use crate::tree::{walk, NodeFault, Tree, Visitor};
use layout::btree::{Key, TreeKind};
use layout::bytes::u32_at;
use layout::graph::{parse_extent, CLASS_GRAPH};
use layout::ino;
use layout::vector::{
    name_key, parse_name, Index, IndexName, SegmentRef, SlotAddr, CLASS_COUNTER, CLASS_INDEX,
    CLASS_NAME, CLASS_SEGMENT, NAME_COLLISIONS,
};
use std::collections::{BTreeMap, HashMap};

mod graph;
mod slots;
mod tree;

const CLASS_MASK: u64 = 0xff << 56;

/// An entry of the vector map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    index: u32,
    segment: u32,
    slot: u32,
    ino: u64,
    label: u64,
}

/// What the two trees hold.
#[derive(Default)]
struct Found {
    indexes: BTreeMap<u32, Index>,
    /// Indexes whose description is damaged: what belongs to them is not complained about.
    bad: Vec<u32>,
    names: Vec<(Key, u32, IndexName)>,
    segments: BTreeMap<(u32, u32), SegmentRef>,
    /// First blocks of the extents of graphs, by index and number.
    extents: BTreeMap<(u32, u32), u64>,
    counter: Option<u32>,
    records: Vec<Record>,
    /// What is known of the segments that could be read, by index and first block.
    located: BTreeMap<(u32, u64), tree::Located>,
    /// Something could not be read: counts cannot be compared.
    lost: bool,
}

/// Runs the pass.
pub fn run(check: &mut Check<'_>) {
    let mut found = Found::default();
    for (number, kind) in [
        (ino::INDEX_TABLE, TreeKind::Index),
        (ino::VECTOR_MAP, TreeKind::VectorMap),
    ] {
        let Some(inode) = load(check, number) else {
            found.lost = true;
            continue;
        };
        let whole = matches!(check.inodes.get(number), Known::Used(i) if i.data_whole);
        found.lost |= !whole;
        let reader = check.reader;
        let mut visitor = TableVisitor {
            check,
            found: &mut found,
            kind,
        };
        let tree = Tree {
            fork: &inode.data,
            kind,
            owner: number,
        };
        walk(&reader, tree, &mut visitor);
    }
    found.records.sort_unstable();
    check.summary.indexes = found.indexes.values().filter(|i| !i.dropping).count() as u64;
    check.summary.records = found.records.len() as u64;
    names(check, &found);
    let counts = slots::run(check, &mut found);
    tree::run(check, &mut found);
    graph::run(check, &mut found);
    if !found.lost {
        index_counts(check, &found);
        inode_counts(check, &counts);
    }
}

struct TableVisitor<'a, 'b> {
    check: &'a mut Check<'b>,
    found: &'a mut Found,
    kind: TreeKind,
}

impl Visitor for TableVisitor<'_, '_> {
    fn node(&mut self, _: u64) -> bool {
        true
    }

    fn fault(&mut self, _: Option<u64>, _: NodeFault) {
        // Pass 2 has reported it.
    }

    fn entry(&mut self, key: &Key, value: &[u8]) -> bool {
        if self.kind == TreeKind::VectorMap {
            self.record(key, value);
        } else {
            self.table(key, value);
        }
        true
    }
}

impl TableVisitor<'_, '_> {
    fn table(&mut self, key: &Key, value: &[u8]) {
        let low = key.a() & !CLASS_MASK;
        let second = u32::try_from(key.b());
        match (key.a() & CLASS_MASK, second) {
            (CLASS_INDEX, Ok(id)) if low == 0 => match Index::parse(id, value) {
                Ok(index) => {
                    self.found.indexes.insert(id, index);
                }
                Err(e) => {
                    self.found.bad.push(id);
                    let problem = Problem::new(Code::IndexBad).index(id);
                    self.check.report(problem.detail(e.0));
                }
            },
            (CLASS_NAME, _) => match parse_name(value) {
                Ok((id, name)) => self.found.names.push((*key, id, name)),
                Err(e) => {
                    self.found.lost = true;
                    self.check
                        .report(Problem::new(Code::IndexNameBad).detail(e.0));
                }
            },
            (CLASS_SEGMENT, Ok(segment)) if u32::try_from(low).is_ok() => {
                let id = low as u32;
                match SegmentRef::parse(value) {
                    Ok(at) => {
                        self.found.segments.insert((id, segment), at);
                    }
                    Err(e) => {
                        self.found.bad.push(id);
                        self.check.lost_blocks = true;
                        let what = format!("segment {segment}: {}", e.0);
                        let problem = Problem::new(Code::SegmentRefBad).index(id);
                        self.check.report(problem.detail(what));
                    }
                }
            }
            (CLASS_GRAPH, Ok(n)) if u32::try_from(low).is_ok() => match parse_extent(value) {
                Ok(start) => {
                    self.found.extents.insert((low as u32, n), start);
                }
                Err(e) => {
                    self.check.lost_blocks = true;
                    let problem = Problem::new(Code::GraphBad).index(low as u32);
                    self.check.report(problem.detail(e.0));
                }
            },
            (CLASS_COUNTER, Ok(0)) if low == 0 && value.len() == 4 => {
                self.found.counter = u32_at(value, 0);
            }
            _ => {
                let what = format!("{:#x}, {:#x}", key.a(), key.b());
                self.check.report(Problem::new(Code::IndexKey).detail(what));
            }
        }
    }

    fn record(&mut self, key: &Key, value: &[u8]) {
        let Ok(index) = u32::try_from(key.b()) else {
            let problem = Problem::new(Code::RecordBad).ino(key.a());
            return self
                .check
                .report(problem.detail("index number out of range"));
        };
        match SlotAddr::parse(value) {
            Ok(SlotAddr { segment, slot }) => self.found.records.push(Record {
                index,
                segment,
                slot,
                ino: key.a(),
                label: key.c(),
            }),
            Err(e) => {
                self.found.bad.push(index);
                self.found.lost = true;
                let what = format!("label {:#x}: {}", key.c(), e.0);
                let problem = Problem::new(Code::RecordBad).ino(key.a()).index(index);
                self.check.report(problem.detail(what));
            }
        }
    }
}

/// Every usable index must be found by its name, and every name must lead to such an index.
fn names(check: &mut Check<'_>, found: &Found) {
    let seed = check.reader.sb.raw.hash_seed;
    let mut named: HashMap<u32, u32> = HashMap::new();
    for (key, id, name) in &found.names {
        let times = named.entry(*id).or_insert(0);
        *times += 1;
        if found.bad.contains(id) {
            continue;
        }
        let place = name_key(&seed, name).a() == key.a() && key.b() < NAME_COLLISIONS;
        let index = found.indexes.get(id);
        let right = index.is_some_and(|i| !i.dropping && i.name == *name);
        if !place || !right || *times > 1 {
            let problem = Problem::new(Code::IndexNameBad).index(*id);
            check.report(problem.detail(name.as_str()));
        }
    }
    for (id, index) in &found.indexes {
        let expected = !index.dropping && !found.lost;
        if expected && !named.contains_key(id) {
            let problem = Problem::new(Code::IndexNameMissing).index(*id);
            check.report(problem.detail(index.name.as_str()));
        }
    }
    let highest = found.indexes.keys().next_back().copied().unwrap_or(0);
    let counter = found.counter.unwrap_or(0);
    if counter < highest && !found.lost {
        let what = format!("{counter}, below {highest}");
        check.report(Problem::new(Code::IndexCounter).detail(what));
    }
}

/// Compares what indexes count with what table and map hold.
fn index_counts(check: &mut Check<'_>, found: &Found) {
    let mut records: HashMap<u32, u64> = HashMap::new();
    for record in &found.records {
        *records.entry(record.index).or_insert(0) += 1;
    }
    for (id, index) in found
        .indexes
        .iter()
        .filter(|(id, _)| !found.bad.contains(id))
    {
        let segments = || found.segments.range((*id, 0)..=(*id, u32::MAX));
        let last = segments().next_back().map(|((_, n), _)| *n);
        let free: u64 = segments().map(|(_, s)| u64::from(s.free)).sum();
        let count = segments().count() as u64;
        let mut compare = |code, stored: u64, real: u64| {
            if stored != real {
                let problem = Problem::new(code).index(*id);
                check.report(problem.detail(format!("{stored}, not {real}")));
            }
        };
        compare(Code::IndexSegments, u64::from(index.segments), count);
        compare(Code::IndexFree, index.free_slots, free);
        let real = records.get(id).copied().unwrap_or(0);
        compare(Code::IndexRecords, index.records, real);
        if last.is_some_and(|n| n >= index.next_segment) {
            let what = format!("next segment {} is in use", index.next_segment);
            check.report(Problem::new(Code::IndexSegments).index(*id).detail(what));
        }
    }
}

/// Compares what inodes count with the records of their present epoch.
fn inode_counts(check: &mut Check<'_>, counts: &HashMap<u64, u64>) {
    let wrong: Vec<(u64, u64, u64)> = check
        .inodes
        .used()
        .iter()
        .map(|i| (i.ino, i.vectors, counts.get(&i.ino).copied().unwrap_or(0)))
        .filter(|(_, stored, real)| stored != real)
        .collect();
    for (ino, stored, real) in wrong {
        let problem = Problem::new(Code::InodeVectors).ino(ino);
        check.report(problem.detail(format!("{stored}, not {real}")));
    }
}

/// Inodes in the orphan tree, ascending.
fn orphan_numbers(check: &Check<'_>) -> Vec<u64> {
    orphans::list(check)
        .into_iter()
        .map(|(ino, _)| ino)
        .collect()
}
