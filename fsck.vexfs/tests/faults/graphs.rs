// SPDX-License-Identifier: GPL-2.0-only
//! Pass 6: the graphs of indexes that were optimised.

use std::rc::Rc;

use crate::common::*;
use crate::plant::*;
use engine::tree::Which;
use fsck_vexfs::Code;
use image::device::MemDevice;
use layout::block::BlockKind;
use layout::graph::{
    extent_key, node_reference, put_fresh, referred_node, NodeHeader, NodeShape, NodeUnits, Root,
    Tombstone, FRESH_AT,
};
use layout::ino::{INDEX_TABLE, VECTOR_MAP};
use layout::partition::{unit_of, unit_of_mut, UNIT};
use layout::segment::{location, node, put_node, slot_area_blocks, slot_size, BLOCK_LOCATIONS};
use layout::vector::{index_key, segment_key, Index, SegmentRef, SlotAddr};
use layout::Block;

/// The index that has records.
const ID: u32 = 1;

/// A filesystem with an optimised index, of which two records were deleted, one of them before its graph was swept, and another put since.
fn optimised() -> MemDevice {
    let dev = Rc::new(fresh(40_000));
    let mut image = open(&dev);
    populate(&mut image);
    let index = image.read(|io| engine::vector::load(io, ID)).unwrap();
    image.optimize_index(index.id, |_| {}).unwrap();
    let file = image.resolve("dir/file").unwrap().ino;
    delete(&mut image, file, ID, 1);
    image.sweep_graph(ID).unwrap();
    delete(&mut image, file, ID, 2);
    put(&mut image, file, ID, 50_000);
    image.close().unwrap();
    Rc::into_inner(dev).unwrap()
}

fn shape() -> NodeShape {
    NodeShape::new(DIM).unwrap()
}

fn index(dev: &MemDevice) -> (Entry, Index) {
    let all = entries(dev, INDEX_TABLE, Which::Data);
    let entry = all.into_iter().find(|e| e.key == index_key(ID)).unwrap();
    let index = Index::parse(ID, &entry.value).unwrap();
    (entry, index)
}

fn root(dev: &MemDevice) -> (u64, Root) {
    let at = index(dev).1.graph;
    (at, Root::read(&read_block(dev, at)).unwrap())
}

fn forge_root(dev: &MemDevice, change: impl FnOnce(&mut Block, &mut Root)) {
    let (at, mut root) = root(dev);
    forge(dev, at, BlockKind::GraphRoot, |data| {
        change(data, &mut root);
        root.write(data).unwrap();
    });
}

fn extent(dev: &MemDevice) -> Entry {
    let all = entries(dev, INDEX_TABLE, Which::Data);
    let key = extent_key(ID, 0);
    all.into_iter().find(|e| e.key == key).unwrap()
}

/// What a node is.
#[derive(PartialEq)]
enum Is {
    Live,
    Tombstone,
    Erased,
}

/// Block and number in it of the first node of that kind.
fn a_node(dev: &MemDevice, wanted: Is) -> (u64, usize) {
    let first = u64::from_le_bytes(extent(dev).value.try_into().unwrap());
    let root = root(dev).1;
    (0..root.nodes as usize)
        .map(|n| shape().place(n))
        .map(|(block, n)| (first + block, n))
        .find(|(block, n)| {
            let data = read_block(dev, *block);
            let unit = unit_of(&data, shape().first_unit(*n)).unwrap();
            let (header, tombstone) = (NodeHeader::read(unit), Tombstone::read(unit));
            let is = match (header.unwrap(), tombstone.unwrap()) {
                (Some(_), _) => Is::Live,
                (None, Some(_)) => Is::Tombstone,
                (None, None) => Is::Erased,
            };
            is == wanted
        })
        .unwrap()
}

/// Changes the units of the first node that has a record.
fn forge_node(dev: &MemDevice, change: impl FnOnce(&mut NodeUnits<'_, [Block]>)) {
    let (block, n) = a_node(dev, Is::Live);
    forge(dev, block, BlockKind::Graph, |data| {
        let mut blocks = [*data];
        change(&mut NodeUnits::new(&mut blocks[..], shape().first_unit(n)));
        [*data] = blocks;
    });
}

/// The block of locations that has the slot of some record with a node, and the slot.
fn a_location(dev: &MemDevice) -> (u64, u32) {
    let all = entries(dev, INDEX_TABLE, Which::Data);
    let entry = all
        .into_iter()
        .find(|e| e.key == segment_key(ID, 0))
        .unwrap();
    let at = SegmentRef::parse(&entry.value).unwrap();
    let size = slot_size(DIM as usize * 4) as u32;
    let first = at.start + 1 + slot_area_blocks(at.slots, size);
    let used = entries(dev, VECTOR_MAP, Which::Data);
    let slots = used.iter().map(|e| SlotAddr::parse(&e.value).unwrap());
    let mut slots = slots.filter(|addr| addr.segment == 0).map(|addr| addr.slot);
    let slot = slots
        .find(|slot| {
            let data = read_block(dev, first + u64::from(slot / BLOCK_LOCATIONS));
            node(&data, *slot).unwrap() != 0 && location(&data, *slot).unwrap() != 0
        })
        .unwrap();
    (first + u64::from(slot / BLOCK_LOCATIONS), slot)
}

fn edit_index(dev: &MemDevice, change: impl FnOnce(&mut Index)) {
    let (entry, mut index) = index(dev);
    change(&mut index);
    entry.poke_value(dev, 0, &index.to_bytes());
}

macro_rules! graph_faults {
    ($($name:ident [$($code:ident),+] $plant:expr;)*) => {
        pub const CODES: &[Code] = &[Code::GraphVector, $($(Code::$code),+),*];
        $(#[test]
        fn $name() {
            let dev = optimised();
            let plant: fn(&MemDevice) = $plant;
            plant(&dev);
            expect(&dev, &[$(Code::$code),+]);
        })*
    };
}

graph_faults! {
    root_damaged [GraphBad] |dev| flip(dev, root(dev).0, 1000);
    root_of_another_index [GraphBad] |dev| {
        forge(dev, root(dev).0, BlockKind::GraphRoot, |data| data[16] = 9);
    };
    root_outside [GraphBad, FreeBlocks, BlockLeaked] |dev| edit_index(dev, |index| index.graph = 50);
    extent_outside [GraphBad, GraphBad] |dev| extent(dev).poke_value(dev, 0, &50u64.to_le_bytes());
    node_damaged [GraphBad, IndexGraph] |dev| {
        let (block, n) = a_node(dev, Is::Live);
        forge(dev, block, BlockKind::Graph, |data| {
            data[UNIT + shape().first_unit(n) * UNIT + 5] = 1;
        });
    };
    node_of_another_slot [GraphNode] |dev| {
        let (block, n) = a_node(dev, Is::Live);
        forge(dev, block, BlockKind::Graph, |data| {
            let unit = unit_of_mut(data, shape().first_unit(n)).unwrap();
            let mut header = NodeHeader::read(unit).unwrap().unwrap();
            header.record += 1;
            header.write(unit).unwrap();
        });
    };
    slot_of_another_node [GraphNode, GraphFresh] |dev| {
        let (block, slot) = a_location(dev);
        forge(dev, block, BlockKind::Locations, |data| put_node(data, slot, 0).unwrap());
    };
    neighbour_of_no_node [GraphNeighbour] |dev| {
        forge_node(dev, |units| units.put_reference(&shape(), 3, 50 << 8).unwrap());
    };
    code_of_another_neighbour [GraphNeighbour] |dev| {
        forge_node(dev, |units| units.put_code(&shape(), 3, &[16; DIM as usize], [1, 2]).unwrap());
    };
    erased_node_with_bytes [GraphNotErased] |dev| {
        let (block, n) = a_node(dev, Is::Erased);
        let at = UNIT + (shape().first_unit(n) + 2) * UNIT;
        forge(dev, block, BlockKind::Graph, |data| data[at] = 1);
    };
    tombstone_with_bytes [GraphNotErased] |dev| {
        let (block, n) = a_node(dev, Is::Tombstone);
        let at = UNIT + (shape().first_unit(n) + 2) * UNIT;
        forge(dev, block, BlockKind::Graph, |data| data[at] = 1);
    };
    tombstone_with_a_reference_too_many [GraphNotErased] |dev| {
        let (block, n) = a_node(dev, Is::Tombstone);
        forge(dev, block, BlockKind::Graph, |data| {
            let unit = unit_of_mut(data, shape().first_unit(n)).unwrap();
            let mut tombstone = Tombstone::read(unit).unwrap().unwrap();
            tombstone.neighbours -= 1;
            tombstone.write(unit).unwrap();
        });
    };
    neighbour_that_was_erased [GraphNeighbour] |dev| {
        let (block, n) = a_node(dev, Is::Erased);
        let gone = node_reference(block, n);
        forge_node(dev, |units| units.put_reference(&shape(), 3, gone).unwrap());
    };
    tombstones_counted_wrong [IndexGraph] |dev| forge_root(dev, |_, root| root.gone = 0);
    fresh_record_that_has_a_node [GraphFresh, GraphFresh] |dev| {
        let (block, n) = a_node(dev, Is::Live);
        let data = read_block(dev, block);
        let unit = unit_of(&data, shape().first_unit(n)).unwrap();
        let record = NodeHeader::read(unit).unwrap().unwrap().record;
        forge_root(dev, |data, root| {
            assert_eq!((root.fresh, FRESH_AT), (1, 128));
            put_fresh(data, 0, record).unwrap();
        });
    };
    nodes_counted_wrong [IndexGraph] |dev| forge_root(dev, |_, root| root.live -= 1);
    begins_at_an_erased_node [IndexGraph] |dev| {
        let (block, n) = a_node(dev, Is::Erased);
        let gone = node_reference(block, n);
        assert_eq!(referred_node(gone), (block, n));
        forge_root(dev, |_, root| root.entry = gone);
    };
}

#[test]
fn the_base_is_clean() {
    assert_clean(&optimised());
}

/// Codes of the node were made of the right vector, so what has it as a neighbour is reported, too.
#[test]
fn vector_of_another_record() {
    let dev = optimised();
    let (block, n) = a_node(&dev, Is::Live);
    let at = UNIT + (shape().first_unit(n) + 1) * UNIT;
    forge(&dev, block, BlockKind::Graph, |data| data[at + 40] ^= 1);
    let (problems, _) = fsck(&dev);
    let (vectors, others): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| problem.code == Code::GraphVector);
    assert_eq!(vectors.len(), 1, "{vectors:?}");
    let follow = |problem: &fsck_vexfs::Problem| problem.code == Code::GraphNeighbour;
    assert!(others.iter().all(follow), "{others:?}");
}
