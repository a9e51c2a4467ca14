// SPDX-License-Identifier: GPL-2.0-only
//! Pass 2, second half: nodes of trees, extents, blocks used twice.

use crate::common::*;
use crate::plant::*;
use engine::io::Transaction as _;
use engine::tree::Which;
use image::device::MemDevice;
use layout::block::{write_header, BlockKind, Header, HEADER_SIZE};
use layout::btree::{Key, TreeKind, BODY_HEADER};
use layout::bytes::{put_u16, put_u64, u64_at};
use layout::extent::Extent;
use layout::ino;
use layout::inode::{Fork, ForkFormat};

/// The root node of the directory with many entries, which has a level of leaves below it.
fn root(dev: &MemDevice) -> u64 {
    let (block, level) = inode(dev, ino_of(dev, "many")).data.root().unwrap();
    assert_eq!(level, 1);
    block
}

/// Byte offset of entry `i` of an internal node of a tree with keys of one word.
fn entry(i: usize) -> usize {
    HEADER_SIZE + BODY_HEADER + i * TreeKind::Directory.entry_size()
}

/// A leaf of that directory.
fn leaf(dev: &MemDevice) -> u64 {
    u64_at(&read_block(dev, root(dev)), entry(1) + 8).unwrap()
}

fn forge_node(dev: &MemDevice, block: u64, change: impl FnOnce(&mut layout::Block)) {
    forge(dev, block, BlockKind::Node, change);
}

fn extents(dev: &MemDevice, path: &str) -> Vec<Entry> {
    entries(dev, ino_of(dev, path), Which::Data)
}

faults! {
    child_in_the_journal [TreeOutside] |dev| forge_node(dev, root(dev), |data| {
        put_u64(data, entry(1) + 8, 100).unwrap();
    });
    child_beyond_the_end [TreeOutside] |dev| forge_node(dev, root(dev), |data| {
        put_u64(data, entry(1) + 8, 1 << 40).unwrap();
    });
    node_checksum [TreeNodeBad] |dev| flip(dev, leaf(dev), 3000);
    node_with_another_number [TreeNodeBad] |dev| {
        let data = read_block(dev, leaf(dev));
        let other = u64_at(&read_block(dev, root(dev)), entry(2) + 8).unwrap();
        write_block(dev, other, &data);
    };
    node_of_another_inode [TreeOwner] |dev| forge_node(dev, leaf(dev), |data| data[16] ^= 1);
    node_of_another_kind [TreeKind] |dev| {
        forge_node(dev, leaf(dev), |data| data[24] = TreeKind::Orphan as u8);
    };
    fork_with_another_level [TreeLevel] |dev| {
        forge_inode(dev, ino_of(dev, "many"), |inode| inode.data.bytes[8] = 2);
    };
    separator_too_high [TreeRange] |dev| {
        let data = read_block(dev, root(dev));
        let child = u64_at(&data, entry(2) + 8).unwrap();
        let first = u64_at(&read_block(dev, child), HEADER_SIZE + BODY_HEADER).unwrap();
        forge_node(dev, root(dev), |data| put_u64(data, entry(2), first + 1).unwrap());
    };
    children_exchanged [TreeRange, TreeRange] |dev| forge_node(dev, root(dev), |data| {
        let (a, b) = (u64_at(data, entry(1) + 8).unwrap(), u64_at(data, entry(2) + 8).unwrap());
        put_u64(data, entry(1) + 8, b).unwrap();
        put_u64(data, entry(2) + 8, a).unwrap();
    });
    leaf_in_a_fork_empty [TreeEmpty] |dev| {
        let ino = ino_of(dev, "many/a file with quite a long name, number 00001");
        forge_inode(dev, ino, |inode| {
            inode.data = Fork { format: ForkFormat::Leaf, ..Fork::EMPTY };
            put_u16(&mut inode.data.bytes, 2, 176).unwrap();
        });
    };
    root_with_a_single_child [TreeThin] |dev| edit_inode(dev, ino::VECTOR_MAP, |cx, inode| {
        let (old, level) = inode.data.root().unwrap();
        let block = engine::space::alloc_meta(cx, old)?;
        let mut data = cx.io.create(block, BlockKind::Node)?;
        let node = Some((TreeKind::VectorMap, level + 1));
        let header = Header { block, owner: inode.ino, node };
        write_header(&mut data, BlockKind::Node, header).unwrap();
        let body = &mut data[HEADER_SIZE..];
        engine::node::entry_insert(body, TreeKind::VectorMap, 0, &Key::MIN, old).unwrap();
        inode.data.set_root(block, level + 1);
        inode.blocks += 1;
        Ok(())
    });
    two_values_in_one_place [TreeValues] |dev| {
        // Two links of one name: the values are equal, so only their place is wrong.
        let ino = ino_of(dev, "dir/inline");
        let copy = std::rc::Rc::new(dev.clone());
        let mut image = open(&copy);
        for dir in ["dir/sub", "many"] {
            image.link(ino, format!("{dir}/same")).unwrap();
        }
        image.close().unwrap();
        for number in copy.written_blocks() {
            write_block(dev, number, &read_block(&*copy, number));
        }
        let same: Vec<_> = entries(dev, ino, Which::Attr)
            .into_iter()
            .filter(|e| e.value == b"same")
            .collect();
        same[0].share_value(dev, &same[1]);
    };

    extent_flags [ExtentBad] |dev| extents(dev, "sparse")[9].poke_value(dev, 12, &[8]);
    extent_without_blocks [ExtentBad] |dev| extents(dev, "sparse")[9].poke_value(dev, 8, &[0]);
    extents_overlap [ExtentOrder] |dev| {
        let ino = ino_of(dev, "dir/file");
        let old = extents(dev, "dir/file").remove(0);
        let whole = Extent::parse(old.key.a(), &old.value).unwrap();
        let half = whole.len / 2;
        let first = Extent { len: half, ..whole };
        let second = Extent {
            logical: u64::from(half) - 1,
            start: whole.start + u64::from(half),
            len: whole.len - half,
            unwritten: false,
        };
        edit_inode(dev, ino, |cx, inode| {
            engine::tree::remove(cx, inode, Which::Data, &old.key)?;
            for e in [first, second] {
                let key = Key::one(e.logical);
                engine::tree::insert(cx, inode, Which::Data, &key, &e.to_bytes())?;
            }
            Ok(())
        });
    };
    extent_in_the_super_block [ExtentOutside] |dev| {
        extents(dev, "sparse")[3].poke_value(dev, 0, &0u64.to_le_bytes());
    };
    extent_in_a_bitmap [ExtentOutside] |dev| {
        let bitmap = superblock(dev).geometry.block_bitmap(0);
        extents(dev, "sparse")[3].poke_value(dev, 0, &bitmap.to_le_bytes());
    };
    symlink_with_extents [ExtentType] |dev| {
        edit_inode(dev, ino_of(dev, "short link"), |cx, inode| {
            let start = engine::space::alloc_meta(cx, 0)?;
            inode.data = Fork::EMPTY;
            inode.blocks = 1;
            let e = Extent { logical: 0, start, len: 1, unwritten: false };
            engine::tree::insert(cx, inode, Which::Data, &Key::one(0), &e.to_bytes())
        });
    };
    two_extents_on_one_block [BlockShared] |dev| {
        let all = extents(dev, "sparse");
        all[100].poke_value(dev, 0, &all[200].value[..8]);
    };
    file_on_a_node [BlockShared] |dev| {
        let node = leaf(dev);
        extents(dev, "sparse")[5].poke_value(dev, 0, &node.to_le_bytes());
    };
}
