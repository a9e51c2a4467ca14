// SPDX-License-Identifier: GPL-2.0-only
//! I/O errors at every access, and damaged blocks: an error, never a panic, and nothing done halfway.

use crate::memory::Memory;
use crate::world::{elements, World};
use engine::vector::{self, tree, RecordPos, ScanPos};
use engine::{inode, Error, Result};
use layout::block::BlockKind;
use layout::bytes::put_u32;

fn populated() -> (World, u32) {
    let mut w = World::new(16384, 2);
    let id = w.create("faulty", 200).unwrap();
    for label in 0..60 {
        let ino = w.inos[label as usize % 2];
        w.put(ino, id, label, label, &elements(200, label)).unwrap();
    }
    (w, id)
}

/// Runs `op` with an I/O error at its first, second, third, ... access until it gets through; returns the number of failures.
fn at_every_access(w: &mut World, op: impl FnMut(&mut World) -> Result<()>) -> usize {
    at_accesses(w, |n| n + 1, op)
}

/// The same for long operations: the later the accesses, the more of them are left out.
fn at_many_accesses(w: &mut World, op: impl FnMut(&mut World) -> Result<()>) -> usize {
    at_accesses(w, |n| n + 1 + n / 5, op)
}

fn at_accesses(
    w: &mut World,
    next: impl Fn(u64) -> u64,
    mut op: impl FnMut(&mut World) -> Result<()>,
) -> usize {
    let (mut n, mut failed) = (0, 0);
    loop {
        let (indexes, dropping) = (w.indexes.clone(), w.dropping.clone());
        w.fs.fail_in(Some(n));
        let r = op(w);
        w.fs.fail_in(None);
        match r {
            Ok(()) => return failed,
            Err(Error::Io { .. }) => failed += 1,
            Err(e) => panic!("access {n}: {e}"),
        }
        (w.indexes, w.dropping) = (indexes, dropping);
        w.check();
        n = next(n);
    }
}

#[test]
fn an_io_error_at_any_access_leaves_nothing_behind() {
    let (mut w, id) = populated();
    let (a, b) = (w.inos[0], w.inos[1]);
    let mut total = 0;
    for (ino, label) in [(a, 1000), (a, 0), (b, 2000)] {
        let data = elements(200, label + 5);
        let (mut i, mut x) = (w.inode(ino), w.index(id));
        total += at_every_access(&mut w, |w| {
            i = load(w, ino)?;
            w.fs.with(|cx| {
                vector::put(cx, &mut i, &mut x, label, 9, &data, None)?;
                inode::store(cx, &i)
            })
        });
        let records = &mut w.indexes.get_mut(&id).unwrap().records;
        records.insert((ino, label), (9, data));
        w.check();
    }
    total += at_every_access(&mut w, |w| {
        let mut i = load(w, a)?;
        let mut x = vector::load(&w.fs.io, id)?;
        w.fs.with(|cx| {
            vector::delete(cx, &mut i, &mut x, 2)?;
            inode::store(cx, &i)
        })
    });
    w.indexes.get_mut(&id).unwrap().records.remove(&(a, 2));
    w.check();
    w.kill(a).unwrap();
    total += at_every_access(&mut w, |w| {
        let i = load(w, a)?;
        let r =
            w.fs.with(|cx| vector::reclaim_step(cx, &i, RecordPos::START, 3));
        r.map(|_| ())
    });
    w.check();
    w.drop_begin(id).unwrap();
    loop {
        let mut done = false;
        total += at_every_access(&mut w, |w| {
            done = w.fs.with(|cx| vector::drop_step(cx, id, 9))?;
            Ok(())
        });
        if done {
            break;
        }
        w.check();
    }
    w.dropping.clear();
    w.check();
    assert!(total > 200, "only {total} faults");
}

/// The same with the search tree: an entry put, replaced and removed, partitions divided, dissolved and freed.
#[test]
fn an_io_error_in_the_search_tree_leaves_nothing_behind() {
    // Partitions of 96 entries, the fewest members for their blocks.
    let dim = 1536;
    let mut w = World::with_tree(16384, 1);
    let id = w.create("faulty", dim).unwrap();
    let ino = w.inos[0];
    let full = layout::partition::Shape::new(dim).unwrap().capacity() as u64;
    for label in 0..full {
        w.put(ino, id, label, label, &elements(dim, label)).unwrap();
    }
    let mut total = 0;
    let mut memory = Memory::new(&w.index(id));
    let leaf = w.index(id).tree.root;
    // The root leaf is divided, then one of its sides once more.
    total += at_many_accesses(&mut w, |w| {
        w.fs.with(|cx| tree::make_room(cx, id, leaf, None, &mut memory.builder()))
    });
    w.check();
    assert_eq!(w.index(id).tree.height, 2);
    let before = w.index(id).tree.partitions;
    for label in full.. {
        let data = elements(dim, label % 7);
        let done = at_put(&mut w, &mut memory, (ino, id, label), &data);
        total += done;
        if w.index(id).tree.partitions != before {
            break;
        }
    }
    w.check();
    for (label, n) in [(3, 1), (4, 2)] {
        total += at_put(
            &mut w,
            &mut memory,
            (ino, id, label),
            &elements(dim, n + 9000),
        );
    }
    let labels: Vec<u64> = w.indexes[&id].records.keys().map(|(_, l)| *l).collect();
    for (n, label) in labels.iter().enumerate().skip(5) {
        if n % 40 == 0 {
            total += at_many_accesses(&mut w, |w| {
                let mut i = load(w, ino)?;
                let mut x = vector::load(&w.fs.io, id)?;
                w.fs.with(|cx| {
                    vector::delete(cx, &mut i, &mut x, *label)?;
                    inode::store(cx, &i)
                })
            });
            w.indexes
                .get_mut(&id)
                .unwrap()
                .records
                .remove(&(ino, *label));
        } else {
            w.delete(ino, id, *label).unwrap();
        }
    }
    w.check();
    let mut sweep = tree::Sweep::default();
    while w.index(id).tree.partitions != 1 {
        total += at_many_accesses(&mut w, |w| {
            let mut next = sweep;
            w.fs.with(|cx| tree::tidy_step(cx, id, &mut next, &mut memory.builder()))?;
            sweep = next;
            Ok(())
        });
        if sweep.done {
            sweep = tree::Sweep::default();
        }
    }
    // Taken down, and built again.
    let mut done = false;
    while !done {
        total += at_many_accesses(&mut w, |w| {
            done = w.fs.with(|cx| tree::take_down_step(cx, id))?;
            Ok(())
        });
    }
    let mut at = tree::Completion::default();
    while !tree::is_complete(&w.index(id)) {
        let mut full = None;
        total += at_many_accesses(&mut w, |w| {
            let mut next = at;
            let r =
                w.fs.with(|cx| tree::complete_step(cx, id, &mut next, &mut memory.builder()));
            match r {
                Err(Error::Full { partition }) => full = Some(partition),
                other => {
                    other?;
                    at = next;
                }
            }
            Ok(())
        });
        if let Some(partition) = full {
            total += at_many_accesses(&mut w, |w| {
                w.fs.with(|cx| tree::make_room(cx, id, partition, None, &mut memory.builder()))
            });
        }
    }
    w.check();
    w.drop_begin(id).unwrap();
    for _ in 0..2 {
        total += at_many_accesses(&mut w, |w| {
            w.fs.with(|cx| vector::drop_step(cx, id, 9)).map(|_| ())
        });
        w.check();
    }
    w.wind_up();
    println!("{total} faults");
    assert!(total > 300, "only {total} faults");
}

/// Puts a record, making room before, with an I/O error at every access of either.
fn at_put(
    w: &mut World,
    memory: &mut Memory,
    (ino, id, label): (u64, u32, u64),
    data: &[u8],
) -> usize {
    let mut total = 0;
    loop {
        let mut full = None;
        total += at_many_accesses(w, |w| {
            let mut i = load(w, ino)?;
            let mut x = vector::load(&w.fs.io, id)?;
            let r = w.fs.with(|cx| {
                let mut builder = memory.builder();
                vector::put(cx, &mut i, &mut x, label, 9, data, Some(&mut builder))?;
                inode::store(cx, &i)
            });
            match r {
                Err(Error::Full { partition }) => full = Some(partition),
                other => other?,
            }
            Ok(())
        });
        let Some(partition) = full else { break };
        total += at_many_accesses(w, |w| {
            w.fs.with(|cx| tree::make_room(cx, id, partition, None, &mut memory.builder()))
        });
    }
    let records = &mut w.indexes.get_mut(&id).unwrap().records;
    records.insert((ino, label), (9, data.to_vec()));
    total
}

fn load(w: &World, ino: u64) -> Result<layout::inode::Inode> {
    crate::common::load(&w.fs.io, ino)
}

/// Whatever is wrong with a slot or a segment header is noticed by reading it, and named with its block.
#[test]
fn damaged_slots_and_headers_are_noticed() {
    let (w, id) = populated();
    let s = w.segments(id)[0];
    let index = w.index(id);
    let ino = w.inos[0];
    let get = |w: &World| {
        let mut buf = vec![0; 800];
        vector::get(&w.fs.io, &w.inode(ino), &index, 0, &mut buf).map(|_| ())
    };
    let scan = |w: &World| {
        let mut buf = vec![0; 1 << 16];
        let mut pos = ScanPos::default();
        while vector::scan(&w.fs.io, &index, &mut pos, &mut buf)?.is_some() {}
        Ok(())
    };
    let expect = |w: &World, block: u64, what: &str| {
        for r in [get(w), scan(w)] {
            match r {
                Err(Error::Corrupt { block: b, .. }) if b == block => {}
                other => panic!("{what}: {other:?}"),
            }
        }
    };
    assert_eq!((get(&w), scan(&w)), (Ok(()), Ok(())));
    // Slot 0 is the record (ino, 0): each byte of header and elements, in turn.
    for at in (0..840).step_by(13) {
        let flip = |b: &mut layout::Block| b[at] ^= 0x10;
        w.fs.poke(s.start + 1, BlockKind::Slots, flip);
        expect(&w, s.start + 1, &format!("byte {at} of a slot"));
        w.fs.poke(s.start + 1, BlockKind::Slots, flip);
    }
    // Segment number, slot size, slots, used, blocks: checksum right, contents wrong.
    for field in [0, 4, 8, 12, 16] {
        let mut old = 0;
        w.fs.poke(s.start, BlockKind::Segment, |b| {
            old = layout::bytes::u32_at(b, 32 + field).unwrap();
            put_u32(b, 32 + field, old ^ 8).unwrap();
        });
        expect(&w, s.start, &format!("header field at {field}"));
        w.fs.poke(s.start, BlockKind::Segment, |b| {
            put_u32(b, 32 + field, old).unwrap();
        });
    }
    // A bit that names a free slot, with the count to match, leads to zeros, which are no record.
    w.check();
}

/// A record moved to another label's slot is not given out under the wrong name.
#[test]
fn map_and_slots_must_agree() {
    let (mut w, id) = populated();
    let (a, index) = (w.inos[0], w.index(id));
    let key = |label| layout::vector::record_key(a, id, label);
    w.fs.with(|cx| {
        let mut map = crate::common::load(cx.io, layout::ino::VECTOR_MAP)?;
        let which = engine::tree::Which::Data;
        let at = |slot| layout::vector::SlotAddr { segment: 0, slot }.to_bytes();
        // Label 0 lies in slot 0, label 2 in slot 2: exchange them.
        engine::tree::replace(cx, &mut map, which, &key(0), &at(2))?;
        engine::tree::replace(cx, &mut map, which, &key(2), &at(0))?;
        inode::store(cx, &map)
    })
    .unwrap();
    let mut buf = vec![0; 800];
    let inode = w.inode(a);
    let r = vector::get(&w.fs.io, &inode, &index, 0, &mut buf);
    assert!(matches!(r, Err(Error::Corrupt { .. })), "{r:?}");
    let r = w.delete(a, id, 2);
    assert!(matches!(r, Err(Error::Corrupt { .. })), "{r:?}");
    // A free slot, and one beyond the segment.
    for slot in [62, 1_000_000] {
        w.fs.with(|cx| {
            let mut map = crate::common::load(cx.io, layout::ino::VECTOR_MAP)?;
            let at = layout::vector::SlotAddr { segment: 0, slot }.to_bytes();
            engine::tree::replace(cx, &mut map, engine::tree::Which::Data, &key(0), &at)?;
            inode::store(cx, &map)
        })
        .unwrap();
        let r = vector::get(&w.fs.io, &inode, &index, 0, &mut buf);
        assert!(
            matches!(r, Err(Error::Corrupt { .. })),
            "slot {slot}: {r:?}"
        );
    }
}

/// The bytes that fill a slot up to a multiple of eight are part of what is checked.
#[test]
fn damaged_padding_is_noticed() {
    let mut w = World::new(16384, 1);
    let id = w.create("odd", 3).unwrap();
    let ino = w.inos[0];
    w.put(ino, id, 0, 0, &elements(3, 0)).unwrap();
    w.put(ino, id, 1, 0, &elements(3, 1)).unwrap();
    let (index, start) = (w.index(id), w.segments(id)[0].start);
    for at in 52..56 {
        w.fs.poke(start + 1, BlockKind::Slots, |b| b[at] = 1);
        let mut buf = vec![0; 56];
        let got = vector::get(&w.fs.io, &w.inode(ino), &index, 0, &mut buf);
        assert!(matches!(got, Err(Error::Corrupt { .. })), "{at}: {got:?}");
        let r = vector::scan(&w.fs.io, &index, &mut ScanPos::default(), &mut buf);
        assert!(matches!(r, Err(Error::Corrupt { .. })), "{at}: {r:?}");
        assert!(matches!(w.delete(ino, id, 0), Err(Error::Corrupt { .. })));
        w.fs.poke(start + 1, BlockKind::Slots, |b| b[at] = 0);
    }
    w.check();
}
