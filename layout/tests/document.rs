// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Holds docs/on-disk-format.md to the structures of this crate: every table that names a structure must list all its fields, in order, with
//! their offsets and sizes, without gaps, up to the structure's end.

use std::collections::BTreeMap;
use zerocopy::FromZeros as _;

/// A field: name, offset, bytes.
type Field = (String, usize, usize);

macro_rules! structures {
    ($($module:ident :: $name:ident { $($field:ident),* $(,)? })*) => {
        /// All structures on disk, by name, with their sizes.
        fn structures() -> BTreeMap<String, (usize, Vec<Field>)> {
            let mut all = BTreeMap::new();
            $({
                type S = layout::$module::$name;
                let zero = S::new_zeroed();
                let fields = vec![$((
                    stringify!($field).to_owned(),
                    core::mem::offset_of!(S, $field),
                    size_of_val(&zero.$field),
                )),*];
                let name = concat!(stringify!($module), "::", stringify!($name));
                all.insert(name.to_owned(), (size_of::<S>(), fields));
            })*
            all
        }
    };
}

structures! {
    superblock::RawSuper {
        magic, crc, version, feature_compat, feature_ro_compat, feature_incompat, uuid, label, block, blocks,
        block_size, group_blocks, groups, inodes_per_group, gdt_start, gdt_blocks, journal_blocks, journal_start,
        system_end, reserved_blocks, hash_seed, made_at, mounted_at, written_at, mounts, state, on_error, errors,
        reserved0, first_error_at, last_error_at, last_error_block, last_error_ino, last_error, last_mounted,
        reserved,
    }
    block::RawHeader { magic, crc, block, owner, tree, level, key_words, reserved }
    group::RawGroupDesc { free_blocks, free_inodes, itable_init, dirs, flags, reserved }
    inode::RawInode {
        magic, mode, crc, ino, generation, links, uid, gid, size, blocks, atime, mtime, ctime, btime, atime_ns,
        mtime_ns, ctime_ns, btime_ns, flags, rdev, project, vector_epoch, vectors, version, data_format,
        attr_format, data_len, default_index, reserved, data, attr,
    }
    extent::RawExtent { start, len, flags }
    vector::RawIndex {
        id, dim, element, metric, mode, uid, gid, dropping, records, segments, next_segment, free_slots, hint,
        name_len, made_at, name, root, entries, rotation, changes, partitions, height, efforts,
        graph,
    }
    vector::RawSegmentRef { start, blocks, slots, free, reserved }
    vector::RawSlotAddr { segment, slot }
    graph::RawRoot {
        state, stale, nodes, live, linked, entry, segment, slot, fresh, extents, gone, generation,
    }
    segment::RawSlot { ino, label, tag, generation, epoch, index, crc }
    jbd2::RawHeader { magic, blocktype, sequence }
    jbd2::RawSuper {
        header, blocksize, maxlen, first, sequence, start, errno, feature_compat, feature_incompat,
        feature_ro_compat, uuid, nr_users, dynsuper, max_transaction, max_trans_data, checksum_type, padding2,
        num_fc_blks, head, padding, checksum, users,
    }
    jbd2::RawTag { blocknr, flags, blocknr_high, checksum }
    jbd2::RawRevokeHeader { header, count }
    jbd2::RawCommit {
        header, chksum_type, chksum_size, padding, chksum, commit_sec, commit_nsec,
    }
}

const DOCUMENT: &str = include_str!("../../docs/on-disk-format.md");

/// The tables of the document that name a structure.
fn documented() -> BTreeMap<String, Vec<Field>> {
    let mut all = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let name = line
            .strip_prefix("<!-- struct ")
            .and_then(|l| l.strip_suffix(" -->"));
        let Some(name) = name else { continue };
        let rows = lines.by_ref().skip(2).take_while(|l| l.starts_with('|'));
        let field = |row: &str| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let number = |n: usize| cells[n].parse().unwrap_or_else(|_| panic!("{name}: {row}"));
            (cells[3].to_owned(), number(1), number(2))
        };
        all.insert(name.to_owned(), rows.map(field).collect());
    }
    all
}

#[test]
fn every_structure_is_documented_field_by_field() {
    let documented = documented();
    for (name, (size, fields)) in structures() {
        let table = documented
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not documented"));
        assert_eq!(*table, fields, "{name}");
        let mut end = 0;
        for (field, offset, bytes) in fields {
            assert_eq!(offset, end, "{name}: gap before {field}");
            end = offset + bytes;
        }
        assert_eq!(end, size, "{name}: bytes after its last field");
        println!("{name}: {size} bytes");
    }
}

#[test]
fn nothing_is_documented_that_does_not_exist() {
    let structures = structures();
    for name in documented().keys() {
        assert!(structures.contains_key(name), "{name}");
    }
}

/// Numbers that the text states outside of tables.
#[test]
fn numbers_in_the_text_are_those_of_the_code() {
    use layout::*;
    let has = |text: String| assert!(DOCUMENT.contains(&text), "{text}");
    has(format!("# The on-disk format, version {FORMAT_VERSION}"));
    has(format!(
        "blocks `g * {0} .. (g + 1) * {0}`",
        geometry::GROUP_BLOCKS
    ));
    has(format!(
        "at least {} blocks, is its *data area*",
        geometry::MIN_GROUP_DATA
    ));
    has(format!("{} descriptors a block", group::DESCS_PER_BLOCK));
    has(format!(
        "Levels count from 0 at the leaves to at most {}",
        btree::MAX_LEVELS - 1
    ));
    has("value length u16 (at most 1,024)".to_owned());
    assert_eq!((btree::MAX_VALUE, attr::CHUNK), (1024, 1024));
    has(format!(
        "the body of a B+tree leaf (below), {} bytes",
        inode::FORK_SIZE
    ));
    has("slots, at most 32,256".to_owned());
    assert_eq!(segment::MAX_SLOTS, 32_256);
    has(format!(
        "{} pairs of u64: that of slot",
        segment::BLOCK_LOCATIONS
    ));
    has(format!(
        "{} zero bytes, and {} *units* of {} bytes",
        32,
        partition::UNITS,
        partition::UNIT
    ));
    has(format!(
        "no more than {} blocks",
        partition::MAX_PARTITION_BLOCKS
    ));
    has(format!("the index, {} bytes, below", vector::INDEX_SIZE));
    has(format!("extents of {} blocks", graph::EXTENT_BLOCKS));
    has(format!("at most {} |", graph::MAX_FRESH));
    has(format!("neighbours u16 (at most {})", graph::DEGREE));
    has(format!("From byte {} of the block", graph::FRESH_AT));
    let units = |dim| graph::NodeShape::new(dim).unwrap().units();
    has("takes `2 n / 16 + 9` units".to_owned());
    assert_eq!((units(16), units(384)), (11, 57));
    has(format!(
        "levels of the tree, at most {}",
        partition::MAX_HEIGHT
    ));
    has(format!(
        "`i` from 0 to {} distinguishing names",
        dirent::COLLISIONS - 1
    ));
    has(format!(
        "`i` from 0 to {}\ndistinguishing",
        attr::XATTR_COLLISIONS - 1
    ));
    has(format!("| 5 to {} | reserved", ino::FIRST - 1));
    has("offset | bytes | meaning |\n|---|---|---|\n| 32 | 4 | segment number".to_owned());
    assert_eq!((block::HEADER_SIZE, segment::BITMAP_OFFSET), (32, 64));
    for kind in block::BlockKind::ALL {
        if let Some(magic) = kind.magic() {
            let bytes = magic.to_le_bytes();
            has(format!("`{}`", std::str::from_utf8(&bytes).unwrap()));
        }
    }
    for kind in btree::TreeKind::ALL {
        let words = kind.key_words();
        let row = |line: &&str| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            cells.len() == 6
                && cells[1] == (kind as u8).to_string()
                && cells[3] == words.to_string()
        };
        assert!(DOCUMENT.lines().any(|l| row(&l)), "{kind:?}");
    }
}
