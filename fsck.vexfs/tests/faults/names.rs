// SPDX-License-Identifier: GPL-2.0-only
//! Pass 3: directory entries, parent pointers, links, reachability.

use crate::common::*;
use crate::plant::*;
use engine::tree::{self, Which};
use image::device::MemDevice;
use layout::attr::parent_key;
use layout::btree::Key;
use layout::dirent::first_cookie;
use layout::ino;

/// A value for a directory entry.
fn value(ino: u64, dt: u8, name: &[u8]) -> Vec<u8> {
    [&ino.to_le_bytes()[..], &[dt], name].concat()
}

fn cookie(dev: &MemDevice, name: &[u8]) -> u64 {
    first_cookie(&superblock(dev).raw.hash_seed, name)
}

/// Adds an entry to a directory and counts it, without anything else.
fn add_entry(dev: &MemDevice, dir: u64, cookie: u64, value: &[u8]) {
    edit_inode(dev, dir, |cx, dir| {
        dir.size += 1;
        tree::insert(cx, dir, Which::Data, &Key::one(cookie), value)
    });
}

/// Takes the entry and the parent pointer of a path away.
fn detach(dev: &MemDevice, path: &str) {
    let ino = ino_of(dev, path);
    let (dir, entry) = dirent(dev, path);
    edit_inode(dev, dir, |cx, dir| {
        dir.size -= 1;
        tree::remove(cx, dir, Which::Data, &entry.key)
    });
    remove(dev, ino, Which::Attr, parent_key(dir, entry.key.a()));
}

/// Parent pointer of a path: (inode, key).
fn pointer(dev: &MemDevice, path: &str) -> (u64, Key) {
    let (dir, entry) = dirent(dev, path);
    (ino_of(dev, path), parent_key(dir, entry.key.a()))
}

faults! {
    entry_without_inode [DirentBad] |dev| dirent(dev, "dir/file").1.poke_value(dev, 0, &[0; 8]);
    entry_with_a_slash [DirentBad] |dev| dirent(dev, "dir/file").1.poke_value(dev, 10, b"/");
    entry_under_another_cookie [DirentHash] |dev| {
        let (dir, entry) = dirent(dev, "fifo");
        let (ino, old) = pointer(dev, "fifo");
        let moved = entry.key.a() + (1 << 20);
        edit_inode(dev, dir, |cx, dir| {
            tree::remove(cx, dir, Which::Data, &entry.key)?;
            tree::insert(cx, dir, Which::Data, &Key::one(moved), &entry.value)
        });
        edit_inode(dev, ino, |cx, inode| {
            tree::remove(cx, inode, Which::Attr, &old)?;
            tree::insert(cx, inode, Which::Attr, &parent_key(dir, moved), b"fifo")
        });
    };
    name_twice [DirentDuplicate] |dev| {
        let (dir, entry) = dirent(dev, "fifo");
        let ino = ino_of(dev, "fifo");
        add_entry(dev, dir, entry.key.a() + 1, &entry.value);
        edit_inode(dev, ino, |cx, inode| {
            inode.links += 1;
            let key = parent_key(dir, entry.key.a() + 1);
            tree::insert(cx, inode, Which::Attr, &key, b"fifo")
        });
    };
    entry_to_a_free_inode [DirentDangling] |dev| {
        add_entry(dev, ino::ROOT, cookie(dev, b"gone"), &value(5000, 8, b"gone"));
    };
    entry_to_no_inode_at_all [DirentDangling] |dev| {
        add_entry(dev, ino::ROOT, cookie(dev, b"gone"), &value(1 << 50, 8, b"gone"));
    };
    entry_to_the_vector_map [DirentReserved] |dev| {
        add_entry(dev, ino::ROOT, cookie(dev, b"map"), &value(ino::VECTOR_MAP, 8, b"map"));
    };
    entry_to_the_root [DirentReserved] |dev| {
        add_entry(dev, ino_of(dev, "dir"), cookie(dev, b"up"), &value(ino::ROOT, 4, b"up"));
    };
    entry_of_another_type [DirentType] |dev| dirent(dev, "fifo").1.poke_value(dev, 8, &[8]);
    removed_directory_with_entries [DirentRemoved] |dev| {
        let sub = ino_of(dev, "dir/sub");
        let dir = ino_of(dev, "dir");
        detach(dev, "dir/sub");
        forge_inode(dev, dir, |inode| inode.links -= 1);
        forge_inode(dev, sub, |inode| inode.links = 0);
        edit_inode(dev, ino::ORPHANS, |cx, table| {
            table.size += 1;
            tree::insert(cx, table, Which::Data, &Key::one(sub), b"")
        });
    };
    directory_size [DirSize] |dev| forge_inode(dev, ino_of(dev, "many"), |inode| inode.size = 399);

    parent_name_with_a_slash [ParentBad] |dev| {
        let (ino, key) = pointer(dev, "dir/inline");
        let all = entries(dev, ino, Which::Attr);
        all.iter().find(|e| e.key == key).unwrap().poke_value(dev, 1, b"/");
    };
    parent_pointer_missing [ParentMissing] |dev| {
        let (ino, key) = pointer(dev, "dir/inline");
        remove(dev, ino, Which::Attr, key);
    };
    parent_pointer_with_another_name [ParentName] |dev| {
        let (ino, key) = pointer(dev, "dir/inline");
        replace(dev, ino, Which::Attr, key, b"outline");
    };
    parent_pointer_too_many [ParentDangling] |dev| {
        let key = parent_key(ino_of(dev, "many"), 0x1234_5600);
        insert(dev, ino_of(dev, "dir/inline"), Which::Attr, key, b"nowhere");
    };
    parent_pointer_to_a_file [ParentDangling] |dev| {
        let key = parent_key(ino_of(dev, "fifo"), 0x1234_5600);
        insert(dev, ino_of(dev, "dir/inline"), Which::Attr, key, b"nowhere");
    };

    links_of_a_file [LinkCount] |dev| {
        forge_inode(dev, ino_of(dev, "dir/file"), |inode| inode.links = 3);
    };
    links_of_a_directory [LinkCount] |dev| {
        forge_inode(dev, ino_of(dev, "dir"), |inode| inode.links = 2);
    };
    links_of_the_root [LinkCount] |dev| forge_inode(dev, ino::ROOT, |inode| inode.links = 9);
    file_without_a_name [Unattached] |dev| detach(dev, "fifo");
    directory_without_a_name [Unattached] |dev| {
        detach(dev, "dir");
        forge_inode(dev, ino::ROOT, |inode| inode.links -= 1);
    };
    directory_with_two_names [DirLinked] |dev| {
        let (sub, many) = (ino_of(dev, "dir/sub"), ino_of(dev, "many"));
        let place = cookie(dev, b"again");
        add_entry(dev, many, place, &value(sub, 4, b"again"));
        insert(dev, sub, Which::Attr, parent_key(many, place), b"again");
        forge_inode(dev, many, |inode| inode.links += 1);
    };
    directories_in_a_circle [DirCycle] |dev| {
        let (dir, sub) = (ino_of(dev, "dir"), ino_of(dev, "dir/sub"));
        detach(dev, "dir");
        let place = cookie(dev, b"dir");
        add_entry(dev, sub, place, &value(dir, 4, b"dir"));
        insert(dev, dir, Which::Attr, parent_key(sub, place), b"dir");
        forge_inode(dev, ino::ROOT, |inode| inode.links -= 1);
        forge_inode(dev, sub, |inode| inode.links += 1);
    };
}
