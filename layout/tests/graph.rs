// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Nodes of graphs: sizes for every dimension, what is written read back without touching a node beside it, and roots that cannot be refused.

use layout::block::{seal, verify, write_header, BlockKind, Header};
use layout::graph::{
    fresh, get_code, get_vector, node_reference, parse_extent, put_fresh, reference, referred_node,
    verify_root, NodeHeader, NodeShape, NodeUnits, Root, State, Tombstone, DEGREE, EXTENT_BLOCKS,
    MAX_FRESH, MAX_NODE_BLOCKS,
};
use layout::partition::{Units as _, UNIT, UNITS};
use layout::{Block, BLOCK_SIZE, MAX_BLOCKS};
use proptest::prelude::*;

#[test]
fn every_dimension_has_a_shape() {
    for dim in 1..=4096 {
        let s = NodeShape::new(dim).unwrap();
        assert!(s.padded() >= dim as usize && s.padded() < dim as usize + 16);
        assert!(s.blocks() <= MAX_NODE_BLOCKS);
        assert!(s.per_block() * s.units() <= UNITS * s.blocks());
        assert!(s.per_block() == 1 || s.blocks() == 1);
        // No two nodes of an extent share a unit, and none leaves it.
        let last = (0..s.per_extent())
            .map(|n| s.place(n))
            .fold(None, |before, at| {
                let from = at.0 as usize * UNITS + s.first_unit(at.1);
                assert!(before.is_none_or(|end| from >= end), "{dim}");
                Some(from + s.units())
            });
        assert!(last.unwrap() <= EXTENT_BLOCKS as usize * UNITS, "{dim}");
    }
    assert!(NodeShape::new(0).is_err() && NodeShape::new(4097).is_err());
    let sizes = |dim| {
        let s = NodeShape::new(dim).unwrap();
        (s.units(), s.blocks(), s.per_block(), s.per_extent())
    };
    assert_eq!(sizes(384), (57, 1, 1, 64));
    assert_eq!(sizes(128), (25, 1, 2, 128));
    assert_eq!(sizes(16), (11, 1, 5, 320));
    assert_eq!(sizes(4096), (521, 9, 1, 7));
}

#[test]
fn references_lead_back() {
    for (block, n) in [(1, 0), (77, 4), (MAX_BLOCKS - 1, 255)] {
        assert_eq!(referred_node(node_reference(block, n)), (block, n));
    }
    assert_eq!(parse_extent(&77u64.to_le_bytes()), Ok(77));
    for wrong in [0, MAX_BLOCKS - 64, u64::MAX] {
        assert!(parse_extent(&wrong.to_le_bytes()).is_err(), "{wrong}");
    }
    assert!(parse_extent(&[1; 7]).is_err() && parse_extent(&[1; 9]).is_err());
}

/// What a test writes into a node.
#[derive(Clone, Debug)]
struct Contents {
    header: NodeHeader,
    vector: Vec<u32>,
    neighbours: Vec<(Vec<u8>, [u32; 2], u64)>,
}

fn contents(padded: usize) -> impl Strategy<Value = Contents> {
    let neighbour = (
        prop::collection::vec(0u8..32, padded),
        any::<[u32; 2]>(),
        any::<u64>(),
    );
    (
        any::<(u32, bool)>(),
        1..u64::MAX,
        prop::collection::vec(any::<u32>(), padded),
        prop::collection::vec(neighbour, 0..=DEGREE),
    )
        .prop_map(|((index, linked), record, vector, neighbours)| Contents {
            header: NodeHeader {
                index,
                linked,
                neighbours: neighbours.len() as u16,
                record,
            },
            vector,
            neighbours,
        })
}

fn write(shape: &NodeShape, blocks: &mut [Block], n: usize, c: &Contents) {
    let mut units = NodeUnits::new(blocks, shape.first_unit(n));
    units.set_header(&c.header).unwrap();
    units.put_vector(shape, &c.vector).unwrap();
    for (n, (code, factors, refers)) in c.neighbours.iter().enumerate() {
        units.put_code(shape, n, code, *factors).unwrap();
        units.put_reference(shape, n, *refers).unwrap();
    }
}

fn compare(shape: &NodeShape, blocks: &[Block], n: usize, c: &Contents) {
    let first = shape.first_unit(n);
    let unit = blocks.unit(first).unwrap();
    assert_eq!(NodeHeader::read(unit), Ok(Some(c.header)));
    let mut vector = vec![0; shape.padded()];
    get_vector(shape, blocks, first, &mut vector).unwrap();
    assert_eq!(vector, c.vector);
    for (n, (code, factors, refers)) in c.neighbours.iter().enumerate() {
        let mut top = vec![0; shape.padded()];
        assert_eq!(get_code(shape, blocks, first, n, &mut top), Ok(*factors));
        assert!(top.iter().zip(code).all(|(a, b)| *a == b & 16));
        assert_eq!(reference(shape, blocks, first, n), Ok(*refers));
    }
}

fn bury(shape: &NodeShape, blocks: &mut [Block], n: usize, c: &Contents) {
    let first = shape.first_unit(n);
    let tombstone = Tombstone {
        index: c.header.index,
        neighbours: c.header.neighbours,
    };
    NodeUnits::new(blocks, first)
        .bury(shape, &tombstone)
        .unwrap();
    let unit = blocks.unit(first).unwrap();
    assert_eq!(Tombstone::read(unit), Ok(Some(tombstone)));
    assert_eq!(NodeHeader::read(unit), Ok(None));
    for unit in 1..shape.references_at() {
        assert_eq!(blocks.unit(first + unit), Some(&[0; UNIT]), "unit {unit}");
    }
    for (n, (_, _, refers)) in c.neighbours.iter().enumerate() {
        assert_eq!(reference(shape, blocks, first, n), Ok(*refers));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nodes_do_not_touch_each_other(
        (dim, nodes) in prop::sample::select(vec![1u32, 16, 100, 128, 384, 401, 1000])
            .prop_flat_map(|dim| {
                let shape = NodeShape::new(dim).unwrap();
                (Just(dim), prop::collection::vec(contents(shape.padded()), shape.per_block()))
            }),
    ) {
        let shape = NodeShape::new(dim).unwrap();
        let mut blocks = vec![[0; BLOCK_SIZE]; shape.blocks()];
        for (n, c) in nodes.iter().enumerate() {
            write(&shape, &mut blocks[..], n, c);
        }
        for (n, c) in nodes.iter().enumerate() {
            compare(&shape, &blocks, n, c);
        }
        // Buried, of which the references stay; written again.
        for (n, c) in nodes.iter().enumerate() {
            bury(&shape, &mut blocks[..], n, c);
            for (other, c) in nodes.iter().enumerate().filter(|(other, _)| *other != n) {
                compare(&shape, &blocks, other, c);
            }
            write(&shape, &mut blocks[..], n, c);
        }
        // Written again over other neighbours, then erased, one by one.
        for (n, c) in nodes.iter().enumerate() {
            let mut units = NodeUnits::new(&mut blocks[..], shape.first_unit(n));
            units.clear_neighbours(&shape).unwrap();
            write(&shape, &mut blocks[..], n, c);
            compare(&shape, &blocks, n, c);
        }
        for n in 0..nodes.len() {
            NodeUnits::new(&mut blocks[..], shape.first_unit(n)).erase(&shape).unwrap();
            let unit = blocks[..].unit(shape.first_unit(n)).unwrap();
            assert_eq!(NodeHeader::read(unit), Ok(None));
            for (later, c) in nodes.iter().enumerate().skip(n + 1) {
                compare(&shape, &blocks, later, c);
            }
        }
        assert!(blocks.iter().all(|b| b.iter().all(|byte| *byte == 0)));
    }
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let good = NodeHeader {
        index: 3,
        linked: true,
        neighbours: 32,
        record: 77 << 16,
    };
    let mut unit = [0; UNIT];
    good.write(&mut unit).unwrap();
    assert_eq!(NodeHeader::read(&unit), Ok(Some(good)));
    for (at, value) in [(4, 2), (5, 1), (6, 33), (7, 1), (16, 1), (63, 1)] {
        let mut wrong = unit;
        wrong[at] = value;
        assert!(NodeHeader::read(&wrong).is_err(), "byte {at}");
    }
    assert_eq!(Tombstone::read(&unit), Ok(None));
    let mut wrong = [0; UNIT];
    wrong[3] = 1;
    assert!(NodeHeader::read(&wrong).is_err(), "not erased");

    let gone = Tombstone {
        index: 3,
        neighbours: 32,
    };
    gone.write(&mut unit).unwrap();
    assert_eq!(Tombstone::read(&unit), Ok(Some(gone)));
    for (at, value) in [(4, 1), (4, 0), (5, 1), (6, 33), (7, 1), (16, 1), (63, 1)] {
        let mut wrong = unit;
        wrong[at] = value;
        assert!(Tombstone::read(&wrong).is_err(), "byte {at}");
        assert!(NodeHeader::read(&wrong).is_err(), "byte {at}");
    }
}

fn crc(start: u32, data: &[u8]) -> u32 {
    data.iter().fold(start ^ 0x55, |sum, byte| {
        sum.rotate_left(5).wrapping_add(u32::from(*byte))
    })
}

fn root_block(root: &Root, list: &[u64]) -> Block {
    let mut block = [0; BLOCK_SIZE];
    let header = Header {
        block: 9,
        owner: 3,
        node: None,
    };
    write_header(&mut block, BlockKind::GraphRoot, header).unwrap();
    root.write(&mut block).unwrap();
    for (n, refers) in list.iter().enumerate() {
        put_fresh(&mut block, n, *refers).unwrap();
    }
    block
}

#[test]
fn roots_that_cannot_be_are_refused() {
    let good = Root {
        state: State::Ready,
        stale: false,
        nodes: 10,
        live: 9,
        linked: 10,
        entry: node_reference(500, 1),
        segment: 4,
        slot: 7,
        fresh: 2,
        extents: 1,
        gone: 1,
        generation: 12,
    };
    let mut block = root_block(&good, &[5, 6]);
    assert_eq!(Root::read(&block), Ok(good));
    assert_eq!((fresh(&block, 1), fresh(&block, 2)), (Some(6), Some(0)));
    seal(BlockKind::GraphRoot, &mut block, 1, crc);
    assert_eq!(verify(BlockKind::GraphRoot, 9, &block, 1, crc), Ok(()));

    let refused = |root: Root, list: &[u64]| verify_root(&root_block(&root, list)).is_err();
    assert!(!refused(good, &[5, 6]));
    assert!(refused(good, &[5]) && refused(good, &[5, 6, 7]) && refused(good, &[0, 6]));
    assert!(refused(Root { live: 11, ..good }, &[5, 6]));
    assert!(refused(Root { gone: 2, ..good }, &[5, 6]));
    assert!(refused(Root { linked: 11, ..good }, &[5, 6]));
    assert!(refused(
        Root {
            stale: true,
            ..good
        },
        &[5, 6]
    ));
    assert!(refused(Root { entry: 0, ..good }, &[5, 6]));
    assert!(refused(
        Root {
            entry: u64::MAX,
            ..good
        },
        &[5, 6]
    ));
    let many = MAX_FRESH as u32 + 1;
    assert!(refused(
        Root {
            fresh: many,
            ..good
        },
        &[5, 6]
    ));
    let making = Root {
        state: State::Making,
        ..good
    };
    assert!(refused(making, &[5, 6]) && !refused(Root { entry: 0, ..making }, &[5, 6]));
    let mut wrong = root_block(&good, &[5, 6]);
    wrong[104] = 1;
    assert!(verify_root(&wrong).is_err(), "reserved bytes");
    wrong = root_block(&good, &[5, 6]);
    wrong[32] = 9;
    assert!(verify_root(&wrong).is_err(), "state");
}
