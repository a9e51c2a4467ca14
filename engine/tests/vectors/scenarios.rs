// SPDX-License-Identifier: GPL-2.0-only
//! Named situations: full disks, growth, erasure, stale records, scans that meet changes, and indexes' names.

use crate::world::{elements, World};
use engine::io::ReadBlocks as _;
use engine::vector::{self, RecordPos, ScanPos};
use engine::Error;
use layout::block::BlockKind;
use layout::inode::INODE_SIZE;
use layout::segment::slot_size;
use std::collections::BTreeSet;

#[test]
fn segments_grow_from_64_kib_to_4_mib() {
    let mut w = World::new(60_000, 1);
    let id = w.create("grow", 4096).unwrap();
    let ino = w.inos[0];
    let data = elements(4096, 1);
    for label in 0..1100 {
        w.put(ino, id, label, 0, &data).unwrap();
    }
    let sizes: Vec<u32> = w.segments(id).iter().map(|s| s.blocks).collect();
    assert!(sizes[0] <= 16 && sizes.windows(2).all(|s| s[0] <= s[1] || s[0] > 1000));
    assert!(sizes.iter().any(|s| *s > 1000 && *s <= 1024), "{sizes:?}");
    // A new segment costs what its first slot costs, not its length.
    let (blocks, credits) = w.tightest["put"];
    assert!(
        blocks < 32,
        "a put changed {blocks} blocks ({credits} declared)"
    );
    w.check();
    w.drop_begin(id).unwrap();
    let mut steps = 0;
    while !w.drop_step(id, 50).unwrap() {
        steps += 1;
    }
    assert!(steps >= 1100 / 50);
    w.check();
}

#[test]
fn a_deleted_vector_is_erased_from_its_block() {
    let mut w = World::new(16384, 1);
    let id = w.create("secret", 16).unwrap();
    let ino = w.inos[0];
    let secret = elements(16, 0xdead);
    w.put(ino, id, 1, 0, &elements(16, 1)).unwrap();
    w.put(ino, id, 2, 0, &secret).unwrap();
    let holds = |w: &World| w.slot_bytes(id).windows(secret.len()).any(|b| b == secret);
    assert!(holds(&w));
    w.delete(ino, id, 2).unwrap();
    assert!(!holds(&w));
    // Replacing erases as well.
    w.put(ino, id, 3, 0, &secret).unwrap();
    w.put(ino, id, 3, 0, &elements(16, 2)).unwrap();
    assert!(!holds(&w));
    // And so does the end of an inode whose neighbours live on.
    let mut inode = w.inode(ino);
    assert_eq!(inode.vectors, 2);
    assert!(vector::kill(&mut inode));
    assert!(!vector::kill(&mut inode));
    w.check();
}

#[test]
fn records_end_with_their_inode_at_once() {
    let mut w = World::new(16384, 2);
    let id = w.create("i", 8).unwrap();
    let (a, b) = (w.inos[0], w.inos[1]);
    for label in 0..50 {
        w.put(a, id, label, label, &elements(8, label)).unwrap();
        w.put(b, id, label, label, &elements(8, label)).unwrap();
    }
    let old = w.inode(a);
    assert!(w.kill(a).unwrap());
    let index = w.index(id);
    let mut buf = [0; 32];
    assert_eq!(
        vector::get(&w.fs.io, &w.inode(a), &index, 3, &mut buf),
        Err(Error::NotFound)
    );
    assert_eq!(w.index(id).records, 100, "their slots are still there");
    // A new record takes the slot of the dead one of the same label.
    w.put(a, id, 3, 7, &elements(8, 99)).unwrap();
    assert_eq!((w.index(id).records, w.inode(a).vectors), (100, 1));
    w.check();
    assert!(w.reclaim(a, 4, 1000).unwrap());
    assert_eq!((w.index(id).records, w.inode(a).vectors), (51, 1));
    w.check();
    // Another life of the inode number does not inherit the records.
    w.reborn(a).unwrap();
    assert_eq!(w.index(id).records, 50);
    assert_ne!(w.inode(a).generation, old.generation);
    w.check();
}

#[test]
fn liveness_follows_links_generation_and_epoch() {
    let mut w = World::new(16384, 1);
    let id = w.create("i", 8).unwrap();
    let ino = w.inos[0];
    w.put(ino, id, 1, 0, &elements(8, 1)).unwrap();
    let mut buf = vec![0; 4096];
    let mut pos = ScanPos::default();
    let index = w.index(id);
    let batch = vector::scan(&w.fs.io, &index, &mut pos, &mut buf)
        .unwrap()
        .unwrap();
    let h = batch.header(0).unwrap();
    let live = |w: &World| vector::is_live(&w.fs.io, &h).unwrap();
    assert!(live(&w));
    let good = w.inode(ino);
    for change in 0..4 {
        let mut i = good;
        match change {
            0 => i.links = 0,
            1 => i.generation += 1,
            2 => i.vector_epoch += 1,
            _ => {}
        }
        w.fs.with(|cx| engine::inode::store(cx, &i)).unwrap();
        assert_eq!(live(&w), change == 3);
    }
    // An inode that was lost, its block zeroed, is damage: its records may not just be missing from the answers.
    let place = w.fs.io.sb().geometry.inode_place(ino).unwrap();
    w.fs.poke(place.block, BlockKind::InodeTable, |data| {
        data[place.offset..place.offset + INODE_SIZE].fill(0);
    });
    let lost = vector::is_live(&w.fs.io, &h);
    assert!(
        matches!(lost, Err(Error::Corrupt { block, .. }) if block == place.block),
        "{lost:?}"
    );
}

#[test]
fn a_full_disk_refuses_puts_and_still_deletes() {
    let mut w = World::new(1024 + 500, 1);
    let id = w.create("full", 384).unwrap();
    let ino = w.inos[0];
    let mut label = 0;
    loop {
        match w.put(ino, id, label, 0, &elements(384, label)) {
            Ok(()) => label += 1,
            Err(Error::NoSpace) => break,
            Err(e) => panic!("{e}"),
        }
    }
    w.check();
    assert!(label > 400, "{label} records");
    assert!(
        w.fs.space.free_blocks < 40,
        "the last small segments used the rest"
    );
    // Replacing needs no space, nor does deleting; what whole segments held can be put again.
    w.put(ino, id, 5, 1, &elements(384, 1)).unwrap();
    for l in 9..209 {
        w.delete(ino, id, l).unwrap();
    }
    for l in 9..100 {
        w.put(ino, id, l, 0, &elements(384, 7)).unwrap();
    }
    w.check();
    w.wind_up();
}

/// On a disk without a block left for anybody, a put needs space only for what really has to be made: nothing while segment and map leaf have room.
#[test]
fn a_put_into_a_free_slot_needs_no_space() {
    let mut w = World::new(1024 + 500, 1);
    let id = w.create("i", 8).unwrap();
    let ino = w.inos[0];
    // So many that the map has left its fork, and a root over leaves.
    for label in 0..400 {
        w.put(ino, id, label, 0, &elements(8, label)).unwrap();
    }
    let mut taken = Vec::new();
    while let Ok((start, len)) = w.fs.with(|cx| engine::space::alloc(cx, 0, 1, 64)) {
        taken.push((start, len));
    }
    let room = w.fs.with(|cx| Ok(engine::space::available_for_data(cx)));
    assert_eq!(room, Ok(0));
    // Labels in the middle: the leaf they belong to was left half full by its split.
    for label in 10..30 {
        w.delete(ino, id, label).unwrap();
    }
    for label in 10..30 {
        w.put(ino, id, label, 1, &elements(8, label + 1000))
            .unwrap();
    }
    // And ends cleanly when a leaf or the segment is full.
    let mut label = 400;
    let end = loop {
        match w.put(ino, id, label, 0, &elements(8, label)) {
            Ok(()) => label += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(end, Error::NoSpace);
    assert!(label > 400, "no put at the end of the map");
    for (start, len) in taken {
        w.fs.with(|cx| engine::space::free(cx, start, len)).unwrap();
    }
    w.check();
    w.wind_up();
}

#[test]
fn segments_fit_into_fragmented_space() {
    let mut w = World::new(1024 + 2000, 1);
    let id = w.create("frag", 384).unwrap();
    // Take everything, give back every run of 6 blocks out of 8.
    let mut taken = Vec::new();
    while let Ok((start, len)) = w.fs.with(|cx| engine::space::alloc(cx, 0, 1, 8)) {
        taken.push((start, len));
    }
    for (start, len) in taken {
        if len == 8 {
            w.fs.with(|cx| engine::space::free(cx, start, 6)).unwrap();
        }
    }
    for label in 0..100 {
        w.put(w.inos[0], id, label, 0, &elements(384, label))
            .unwrap();
    }
    let index = w.index(id);
    assert_eq!(index.records, 100);
    let small = w.segments(id).iter().filter(|s| s.blocks <= 6).count();
    let all: Vec<u32> = w.segments(id).iter().map(|s| s.blocks).collect();
    assert!(small >= 4, "{all:?}");
}

#[test]
fn a_scan_survives_changes_between_its_steps() {
    let mut w = World::new(16384, 2);
    let id = w.create("s", 384).unwrap();
    let (a, b) = (w.inos[0], w.inos[1]);
    for label in 0..300 {
        w.put(a, id, label, 0, &elements(384, label)).unwrap();
    }
    let index = w.index(id);
    let mut buf = vec![0; 10 * slot_size(index.vector_bytes())];
    let (mut pos, mut seen, mut round) = (ScanPos::default(), BTreeSet::new(), 0u64);
    while let Some(batch) = vector::scan(&w.fs.io, &index, &mut pos, &mut buf).unwrap() {
        for n in 0..batch.count() {
            let h = batch.header(n).unwrap();
            if h.ino == a && h.label < 100 {
                assert!(seen.insert(h.label), "label {} twice", h.label);
            }
        }
        // Labels below 100 stay; whole segments of the others go, new ones come.
        let gone = 100 + round * 12..(112 + round * 12).min(300);
        for label in gone {
            w.delete(a, id, label).unwrap();
        }
        w.put(b, id, round, 0, &elements(384, round)).unwrap();
        round += 1;
    }
    assert_eq!(seen.len(), 100);
    assert!(round > 10);
    w.check();
    // An index that goes away meanwhile ends the scan.
    let mut pos = ScanPos::default();
    vector::scan(&w.fs.io, &index, &mut pos, &mut buf)
        .unwrap()
        .unwrap();
    w.drop_begin(id).unwrap();
    while !w.drop_step(id, 16).unwrap() {}
    assert!(vector::scan(&w.fs.io, &index, &mut pos, &mut buf)
        .unwrap()
        .is_none());
    w.check();
}

#[test]
fn names_and_numbers_of_indexes() {
    let mut w = World::new(16384, 1);
    let a = w.create("notes", 4).unwrap();
    assert_eq!(w.create("notes", 8), Err(Error::Exists));
    assert!(matches!(w.create("", 4), Err(Error::Range(_))));
    assert!(matches!(w.create("a/b", 4), Err(Error::Range(_))));
    assert!(matches!(w.create("x", 0), Err(Error::Range(_))));
    assert!(matches!(w.create("x", 4097), Err(Error::Range(_))));
    assert_eq!(vector::find(&w.fs.io, b"other"), Err(Error::NotFound));
    let index = vector::find(&w.fs.io, b"notes").unwrap();
    assert_eq!(
        (index.mode, index.uid, index.gid, index.dim),
        (0o640, 5, 6, 4)
    );
    w.step("chmod", 2, |cx| vector::set_permissions(cx, a, 0o600, 7, 8))
        .unwrap();
    let index = w.index(a);
    assert_eq!((index.mode, index.uid, index.gid), (0o600, 7, 8));
    // The name is free while the old index is still being dropped, and the number is not used again.
    w.put(w.inos[0], a, 0, 0, &elements(4, 0)).unwrap();
    w.drop_begin(a).unwrap();
    assert_eq!(
        w.fs.with(|cx| vector::drop_begin(cx, a)),
        Err(Error::NotFound)
    );
    assert_eq!(vector::load(&w.fs.io, a), Err(Error::NotFound));
    let b = w.create("notes", 8).unwrap();
    assert!(b > a);
    w.check();
    let refused = w.fs.with(|cx| vector::drop_step(cx, b, 4));
    assert!(matches!(refused, Err(Error::Range(_))));
    while !w.drop_step(a, 4).unwrap() {}
    assert_eq!(w.create("third", 8).unwrap(), b + 1);
    w.check();
    // A directory's default index, and one that is gone.
    let mut dir = w.inode(1);
    assert_eq!(vector::inherited(&w.fs.io, &dir), Ok(None));
    dir.default_index = b;
    assert_eq!(vector::inherited(&w.fs.io, &dir).unwrap().unwrap().id, b);
    dir.default_index = a;
    assert_eq!(vector::inherited(&w.fs.io, &dir), Ok(None));
}

#[test]
fn wrong_vectors_are_refused_cleanly() {
    let mut w = World::new(16384, 1);
    let id = w.create("i", 8).unwrap();
    let ino = w.inos[0];
    for len in [0, 31, 33] {
        let r = w.put(ino, id, 0, 0, &vec![1; len]);
        assert!(matches!(r, Err(Error::Range(_))), "{len}");
    }
    w.put(ino, id, u64::MAX, u64::MAX, &elements(8, 3)).unwrap();
    let index = w.index(id);
    let r = vector::get(&w.fs.io, &w.inode(ino), &index, u64::MAX, &mut [0; 31]);
    assert_eq!(r, Err(Error::BufferTooSmall));
    let mut n = 0;
    vector::for_each(&w.fs.io, &w.inode(ino), RecordPos::START, |r| {
        n += 1;
        assert_eq!((r.label, r.tag), (u64::MAX, u64::MAX));
        Ok(true)
    })
    .unwrap();
    assert_eq!(n, 1);
    w.kill(ino).unwrap();
    assert!(w.reclaim(ino, 8, 10).unwrap());
    w.check();
}

#[test]
fn many_puts_fit_one_transaction_as_declared() {
    let mut w = World::new(16384, 1);
    let id = w.create("many", 96).unwrap();
    let ino = w.inos[0];
    for round in 0..8u64 {
        let credits = 400;
        let index = w.index(id);
        let n = vector::puts_that_fit(&w.fs.io, &index, credits).unwrap();
        assert!(n >= 5, "{n} puts");
        let (mut inode, mut index) = (w.inode(ino), index);
        let mut put = Vec::new();
        w.step("put_many", credits, |cx| {
            for k in 0..u64::from(n) {
                let label = k.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round;
                let data = elements(96, label);
                vector::put(cx, &mut inode, &mut index, label, k, &data, None)?;
                put.push(((ino, label), (k, data)));
            }
            engine::inode::store(cx, &inode)
        })
        .unwrap();
        w.indexes.get_mut(&id).unwrap().records.extend(put);
        w.check();
    }
    assert_eq!(vector::puts_that_fit(&w.fs.io, &w.index(id), 5), Ok(0));
}

#[test]
fn a_batch_that_fills_the_disk_keeps_what_fitted() {
    let mut w = World::new(1024 + 400, 1);
    let id = w.create("batch", 384).unwrap();
    let ino = w.inos[0];
    let vectors: Vec<Vec<u8>> = (0..1000).map(|n| elements(384, n)).collect();
    let mut next = 0;
    let ended = loop {
        let mut index = w.index(id);
        let mut inode = w.inode(ino);
        let n = vector::puts_that_fit(&w.fs.io, &index, 1000).unwrap() as usize;
        let records = vectors[next..].iter().zip(next as u64..).take(n);
        let records = records.map(|(elements, label)| vector::NewRecord {
            label,
            tag: label + 1,
            elements,
        });
        let put = w.step("put_many", 1000, |cx| {
            vector::put_many(cx, &mut inode, &mut index, records, None)
        });
        let (done, ended) = match put {
            Ok(x) => x,
            Err(e) => break e,
        };
        let model = &mut w.indexes.get_mut(&id).unwrap().records;
        for (label, data) in (next as u64..).zip(&vectors[next..next + done as usize]) {
            model.insert((ino, label), (label + 1, data.clone()));
        }
        next += done as usize;
        w.check();
        if let Some(e) = ended {
            break e;
        }
    };
    assert_eq!(ended, Error::NoSpace);
    assert!(next > 300, "{next} records");
    w.wind_up();
}
