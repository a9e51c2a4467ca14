// SPDX-License-Identifier: GPL-2.0-only
//! Pass 2, first half: group descriptors and inodes; and passes 4 and 5.

use crate::common::*;
use crate::plant::*;
use engine::tree::Which;
use fsck_vexfs::Code;
use image::device::{Device, MemDevice};
use layout::attr::{parse_xattr_key, symlink_key, xattr_key, XATTR_HEADER};
use layout::block::BlockKind;
use layout::btree::Key;
use layout::ino;
use layout::inode::{mode, Fork, Inode};

fn gdt(dev: &MemDevice) -> u64 {
    superblock(dev).geometry.gdt_start
}

/// A plain file.
fn file(dev: &MemDevice) -> u64 {
    ino_of(dev, "dir/inline")
}

/// Chunk 0 of the attribute `user.name` of dir/file.
fn xattr(dev: &MemDevice, name: &str) -> Entry {
    let ino = ino_of(dev, "dir/file");
    let head = |e: &Entry| {
        parse_xattr_key(&e.key).is_some_and(|(_, chunk)| chunk == 0)
            && e.value[XATTR_HEADER..].starts_with(name.as_bytes())
    };
    entries(dev, ino, Which::Attr)
        .into_iter()
        .find(head)
        .unwrap()
}

faults! {
    descriptors_damaged [GdtBad] |dev| flip(dev, gdt(dev), 40);
    descriptors_of_other_groups [GdtOwner] |dev| {
        forge(dev, gdt(dev), BlockKind::Gdt, |data| data[16] = 5);
    };
    descriptor_counts_too_much [GroupCounts] |dev| {
        forge_desc(dev, 0, |desc| desc.itable_init = 5000);
    };
    inode_checksum [InodeChecksum] |dev| {
        let place = superblock(dev).geometry.inode_place(file(dev)).unwrap();
        flip(dev, place.block, place.offset + 30);
    };
    inode_with_impossible_time [InodeBad] |dev| {
        forge_inode(dev, file(dev), |inode| inode.mtime.nsec = 2_000_000_000);
    };
    inode_with_another_number [InodeBad] |dev| {
        forge_inode(dev, file(dev), |inode| inode.ino += 1);
    };
    vector_map_missing [InodeReservedMissing] |dev| {
        forge_inode_bytes(dev, ino::VECTOR_MAP, |raw| raw.fill(0));
    };
    orphan_tree_missing [InodeReservedMissing] |dev| {
        forge_inode_bytes(dev, ino::ORPHANS, |raw| raw.fill(0));
    };
    reserved_inode_in_use [InodeReservedUsed] |dev| {
        let mut copy = inode(dev, file(dev));
        copy.ino = 7;
        copy.attr = Fork::EMPTY;
        copy.vectors = 0;
        forge_inode_bytes(dev, 7, |raw| raw.copy_from_slice(&copy.to_bytes()));
    };
    reserved_inode_freed [InodeReservedUsed] |dev| {
        forge_inode_bytes(dev, 9, |raw| raw.copy_from_slice(&Inode::freed_bytes(9, 3)));
    };
    device_number_of_a_file [InodeDevice] |dev| {
        forge_inode(dev, file(dev), |inode| inode.rdev = 0x103);
    };
    block_count [InodeBlocks] |dev| {
        forge_inode(dev, ino_of(dev, "sparse"), |inode| inode.blocks += 1);
    };
    size_of_a_fifo [InodeSize] |dev| {
        forge_inode(dev, ino_of(dev, "fifo"), |inode| inode.size = 4);
    };

    orphan_with_a_value [OrphanBad] |dev| {
        insert(dev, ino::ORPHANS, Which::Data, Key::one(file(dev)), b"x");
        forge_inode(dev, ino::ORPHANS, |inode| inode.size = 1);
    };
    orphan_not_in_use [OrphanFree] |dev| {
        insert(dev, ino::ORPHANS, Which::Data, Key::one(5000), b"");
        forge_inode(dev, ino::ORPHANS, |inode| inode.size = 1);
    };
    orphan_reserved [OrphanReserved] |dev| {
        insert(dev, ino::ORPHANS, Which::Data, Key::one(ino::VECTOR_MAP), b"");
        forge_inode(dev, ino::ORPHANS, |inode| inode.size = 1);
    };
    orphan_count [OrphanCount] |dev| forge_inode(dev, ino::ORPHANS, |inode| inode.size = 2);
    no_links_and_no_orphan [OrphanUnlisted] |dev| {
        let (dir, entry) = dirent(dev, "fifo");
        let ino = ino_of(dev, "fifo");
        edit_inode(dev, dir, |cx, dir| {
            dir.size -= 1;
            engine::tree::remove(cx, dir, Which::Data, &entry.key)
        });
        forge_inode(dev, ino, |inode| {
            inode.links = 0;
            inode.attr = Fork::EMPTY;
        });
    };

    attribute_of_no_class [AttrKey] |dev| {
        insert(dev, file(dev), Which::Attr, Key::two(9 << 56, 1), b"x");
    };
    xattr_namespace [XattrBad] |dev| xattr(dev, "small").poke_value(dev, 0, &[9]);
    xattr_under_another_hash [XattrHash] |dev| {
        let entry = xattr(dev, "empty");
        let ino = ino_of(dev, "dir/file");
        edit_inode(dev, ino, |cx, inode| {
            engine::tree::remove(cx, inode, Which::Attr, &entry.key)?;
            let key = Key::two(entry.key.a() ^ 1, 0);
            engine::tree::insert(cx, inode, Which::Attr, &key, &entry.value)
        });
    };
    xattr_collision_too_high [XattrHash] |dev| {
        let entry = xattr(dev, "empty");
        entry.poke_key(dev, 1, 64 << 32);
    };
    xattr_twice [XattrDuplicate] |dev| {
        let entry = xattr(dev, "small");
        let key = xattr_key(entry.key.a(), 1, 0);
        insert(dev, ino_of(dev, "dir/file"), Which::Attr, key, &entry.value);
    };
    xattr_chunk_missing [XattrChunks] |dev| {
        let key = xattr_key(xattr(dev, "large").key.a(), 0, 3);
        remove(dev, ino_of(dev, "dir/file"), Which::Attr, key);
    };
    xattr_last_chunk_missing [XattrChunks] |dev| {
        let key = xattr_key(xattr(dev, "large").key.a(), 0, 19);
        remove(dev, ino_of(dev, "dir/file"), Which::Attr, key);
    };
    xattr_chunk_too_many [XattrChunks] |dev| {
        let key = xattr_key(xattr(dev, "small").key.a(), 0, 1);
        insert(dev, ino_of(dev, "dir/file"), Which::Attr, key, b"more");
    };
    symlink_chunk_missing [SymlinkTarget] |dev| {
        remove(dev, ino_of(dev, "long link"), Which::Attr, symlink_key(1));
    };
    symlink_with_nul [SymlinkTarget] |dev| {
        forge_inode(dev, ino_of(dev, "short link"), |inode| inode.data.bytes[2] = 0);
    };
    symlink_chunk_of_a_file [SymlinkTarget] |dev| {
        let key = symlink_key(0);
        let ino = ino_of(dev, "dir/file");
        insert(dev, ino, Which::Attr, key, b"where");
    };
}

#[test]
fn a_system_group_with_free_blocks() {
    let dev = MemDevice::new(100_000 * 4096);
    let options = image::format::Options {
        journal_blocks: Some(40_000),
        ..image::format::Options::new(100_000)
    };
    image::format::format(&dev, &options).unwrap();
    assert_clean(&dev);
    forge_desc(&dev, 0, |desc| desc.free_blocks = 1);
    expect(&dev, &[Code::GroupSystem]);
}

#[test]
fn an_inode_block_that_cannot_be_read() {
    let base = populated();
    let file = ino_of(&base, "many/a file with quite a long name, number 00017");
    let block = superblock(&base).geometry.inode_place(file).unwrap().block;
    let dev = BadBlock { base: &base, block };
    expect(&dev, &[Code::InodeBlockUnreadable]);
    assert_eq!(dev.size(), base.size());
}

/// What the macro cannot list.
pub const MORE: &[Code] = &[Code::GroupSystem, Code::InodeBlockUnreadable];

#[test]
fn a_root_of_another_type() {
    let dev = populated();
    forge_inode(&dev, ino::ROOT, |inode| {
        inode.mode = mode::REGULAR | 0o755;
        inode.data = Fork::EMPTY;
        inode.size = 0;
    });
    let found = codes(&dev);
    assert!(found.contains(&Code::InodeReservedMissing), "{found:?}");
}
