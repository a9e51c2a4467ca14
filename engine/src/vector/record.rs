// SPDX-License-Identifier: GPL-2.0-only
//! Records: put, get, delete, the records of one inode, and what happens to them when their inode ends. It may not know how
//! slots are laid out.

use super::graph;
use super::index::{self, table_block};
use super::segment::{self, most_location_blocks, slot_blocks, Segment, SlotReader};
use super::tree::place::{self, Placed};
use super::tree::Builder;
use super::{location, map, table, STORE_SYSTEM_CREDITS};
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
use crate::tree::{self, Which};
use layout::btree::Key;
use layout::inode::Inode;
use layout::segment::{SlotHeader, BLOCK_LOCATIONS, MAX_SLOTS, MAX_SLOT_SIZE};
use layout::vector::{record_key, Index, SlotAddr, SLOT_ADDR_SIZE};
use layout::BLOCK_SIZE;

/// Records that one step looks at before it changes any.
const GATHER: usize = 16;
/// Rounds of that in one [`reclaim_step`] that meets nothing but live records.
const ROUNDS: u32 = 64;
/// Blocks that a slot of any index touches at most.
pub(crate) const MAX_SLOT_BLOCKS: u32 = MAX_SLOT_SIZE.div_ceil(BLOCK_SIZE) as u32 + 1;
/// Most blocks of locations of any segment.
pub(crate) const MAX_LOCATION_BLOCKS: u32 = MAX_SLOTS.div_ceil(BLOCK_LOCATIONS);
/// Credits by which a tree operation may grow if the tree gains a level in the same transaction.
const GROWN: u32 = 4;

/// A record, without its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its index.
    pub index: u32,
    /// Its label.
    pub label: u64,
    /// The user's tag.
    pub tag: u64,
}

/// A position among the records of one inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordPos {
    /// Index number.
    pub index: u32,
    /// Label.
    pub label: u64,
}

impl RecordPos {
    /// Before all records.
    pub const START: RecordPos = RecordPos { index: 0, label: 0 };

    fn after(index: u32, label: u64) -> Option<RecordPos> {
        match label.checked_add(1) {
            Some(label) => Some(RecordPos { index, label }),
            None => index
                .checked_add(1)
                .map(|index| RecordPos { index, label: 0 }),
        }
    }
}

/// An entry of the vector map.
#[derive(Clone, Copy, Default)]
struct Entry {
    index: u32,
    label: u64,
    segment: u32,
    slot: u32,
}

impl Entry {
    fn addr(&self) -> SlotAddr {
        SlotAddr {
            segment: self.segment,
            slot: self.slot,
        }
    }
}

fn map_block<R: ReadBlocks>(io: &R, map: &Inode) -> u64 {
    table_block(io, map)
}

/// Where the record under `key` lies.
pub(crate) fn look_up<R: ReadBlocks>(io: &R, map: &Inode, key: &Key) -> Result<Option<SlotAddr>> {
    tree::get(io, map, Which::Data, key, |v| {
        SlotAddr::parse(v).map_err(|e| Error::corrupt(map_block(io, map), e.0))
    })
}

/// The segment of `addr`, whose slot is in use.
fn segment_of<R: ReadBlocks>(io: &R, index: &Index, addr: SlotAddr) -> Result<Segment> {
    let table = table(io)?;
    let s = segment::load(io, &table, index, addr.segment)?.ok_or(Error::corrupt(
        table_block(io, &table),
        "record in a segment that does not exist",
    ))?;
    let (data, h) = s.header(io)?;
    if addr.slot >= h.slots || !segment::is_used(&data, addr.slot) {
        return Err(Error::corrupt(s.at.start, "record in a slot that is free"));
    }
    Ok(s)
}

/// Holds a slot to the map entry that led to it.
fn check_slot(s: &Segment, slot: u32, h: &SlotHeader, ino: u64, label: u64) -> Result<()> {
    if h.ino != ino || h.label != label {
        return Err(Error::corrupt(
            s.block_of(slot),
            "slot holds another record than the vector map says",
        ));
    }
    Ok(())
}

/// Whether a slot's record belongs to the present life and epoch of `inode`.
fn is_current(inode: &Inode, h: &SlotHeader) -> bool {
    h.generation == inode.generation && h.epoch == inode.vector_epoch
}

/// Header of the record in `addr`, which the map gives for (ino, label).
fn header_at<R: ReadBlocks>(
    io: &R,
    index: &Index,
    addr: SlotAddr,
    ino: u64,
    label: u64,
) -> Result<(Segment, SlotHeader)> {
    let s = segment_of(io, index, addr)?;
    let h = SlotReader::new(io, &s).header(addr.slot)?;
    check_slot(&s, addr.slot, &h, ino, label)?;
    Ok((s, h))
}

/// Reads the elements of a record into `out` and returns their length in bytes and the record's tag.
///
/// Errors: [`Error::NotFound`], [`Error::BufferTooSmall`] if `out` is shorter than a vector of the index;
/// [`Error::Corrupt`], [`Error::Io`].
pub fn get<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    index: &Index,
    label: u64,
    out: &mut [u8],
) -> Result<(usize, u64)> {
    let key = record_key(inode.ino, index.id, label);
    let addr = look_up(io, &map(io)?, &key)?.ok_or(Error::NotFound)?;
    let s = segment_of(io, index, addr)?;
    let len = index.vector_bytes();
    let out = out.get_mut(..len).ok_or(Error::BufferTooSmall)?;
    let h = SlotReader::new(io, &s).parts(addr.slot, out)?;
    check_slot(&s, addr.slot, &h, inode.ino, label)?;
    if !is_current(inode, &h) {
        out.fill(0);
        return Err(Error::NotFound);
    }
    Ok((len, h.tag))
}

/// Gives the records of an inode from `from` on, by index and label, to `f`, until it returns `Ok(false)`.
pub fn for_each<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    from: RecordPos,
    mut f: impl FnMut(&Record) -> Result<bool>,
) -> Result<()> {
    let mut pos = Some(from);
    let mut index: Option<Index> = None;
    while let Some(p) = pos {
        let mut entries = [Entry::default(); GATHER];
        let (n, next) = gather(io, inode.ino, p, &mut entries)?;
        pos = next;
        for e in entries.iter().take(n) {
            let Some(i) = of_entry(io, &mut index, e.index)?.filter(|i| !i.dropping) else {
                continue;
            };
            let (_, h) = header_at(io, &i, e.addr(), inode.ino, e.label)?;
            let record = Record {
                index: e.index,
                label: e.label,
                tag: h.tag,
            };
            if is_current(inode, &h) && !f(&record)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The index `id`, from `held` if that is it.
fn of_entry<R: ReadBlocks>(io: &R, held: &mut Option<Index>, id: u32) -> Result<Option<Index>> {
    if held.as_ref().is_none_or(|i| i.id != id) {
        let table = table(io)?;
        *held = Some(index::read(io, &table, id)?.ok_or(Error::corrupt(
            table_block(io, &table),
            "record in an index that does not exist",
        ))?);
    }
    Ok(*held)
}

/// Copies map entries of `ino` from `from` on to `out`: how many, and where to go on, if there may be more.
fn gather<R: ReadBlocks>(
    io: &R,
    ino: u64,
    from: RecordPos,
    out: &mut [Entry; GATHER],
) -> Result<(usize, Option<RecordPos>)> {
    let map = map(io)?;
    let mut n = 0usize;
    let mut next = None;
    let key = record_key(ino, from.index, from.label);
    tree::walk(io, &map, Which::Data, &key, |k, v| {
        if k.a() != ino {
            return Ok(false);
        }
        let bad = |what| Error::corrupt(map_block(io, &map), what);
        let index = u32::try_from(k.b()).map_err(|_| bad("index number out of range"))?;
        let Some(place) = out.get_mut(n) else {
            next = Some(RecordPos {
                index,
                label: k.c(),
            });
            return Ok(false);
        };
        let addr = SlotAddr::parse(v).map_err(|e| bad(e.0))?;
        *place = Entry {
            index,
            label: k.c(),
            segment: addr.segment,
            slot: addr.slot,
        };
        n = n.saturating_add(1);
        Ok(true)
    })?;
    Ok((n, next))
}

/// Blocks that one [`put`] may change, the store of its inode included.
pub fn put_credits<R: ReadBlocks>(io: &R, index: &Index) -> Result<u32> {
    let map = tree::credits(&map(io)?, Which::Data).saturating_add(GROWN);
    let table = tree::credits(&table(io)?, Which::Data).saturating_add(GROWN);
    Ok([
        map,
        // A new segment: blocks, what was too much, header, entry.
        ALLOC_CREDITS,
        ALLOC_CREDITS,
        1,
        table,
        // Its entry and the index, replaced in place.
        2,
        slot_blocks(index),
        // A first block of locations; the entry in the search tree.
        1,
        place::put_credits(index)?,
        STORE_SYSTEM_CREDITS,
        STORE_CREDITS,
    ]
    .iter()
    .fold(0, |a: u32, b| a.saturating_add(*b)))
}

/// How many [`put`]s surely fit a transaction of `credits` blocks; 0 if not even one does.
pub fn puts_that_fit<R: ReadBlocks>(io: &R, index: &Index, credits: u32) -> Result<u32> {
    let each = put_credits(io, index)?;
    Ok(credits.checked_div(each).unwrap_or(0))
}

/// Stores `elements` and `tag` as the record (index, inode, label), in place of the one that may be there. `index` is brought
/// up to date; `inode` is changed in memory (`vectors`), the caller stores it.
///
/// The elements are taken as they are: whether they are numbers is the caller's to check (`vector::validate`).
///
/// With a `builder` the record gets its entry in the search tree; without one it has none.
///
/// Errors: clean [`Error::NotFound`] if the index is gone, [`Error::Range`] if `elements` is not one vector of it,
/// [`Error::Full`] if [`super::tree::make_room`] has to come first, [`Error::NoSpace`], [`Error::TooBig`]; the dirty ones.
pub fn put<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    index: &mut Index,
    label: u64,
    tag: u64,
    elements: &[u8],
    builder: Option<&mut Builder<'_, '_>>,
) -> Result<()> {
    *index = index::load(cx.io, index.id)?;
    if elements.len() != index.vector_bytes() {
        return Err(Error::Range("vector of the wrong length for its index"));
    }
    let header = SlotHeader {
        ino: inode.ino,
        label,
        tag,
        generation: inode.generation,
        epoch: inode.vector_epoch,
        index: index.id,
    };
    let key = record_key(inode.ino, index.id, label);
    let (old, map_blocks) = {
        let map = map(cx.io)?;
        let old = look_up(cx.io, &map, &key)?;
        let blocks = match old {
            Some(_) => 0,
            None => tree::insert_blocks(cx.io, &map, Which::Data, &key, SLOT_ADDR_SIZE)?,
        };
        (old, blocks)
    };
    let fresh = match old {
        Some(addr) => {
            let (s, h) = header_at(cx.io, index, addr, inode.ino, label)?;
            let leaf = location::get(cx.io, &s, addr.slot)?;
            let mut entry = builder
                .map(|b| {
                    let placed = b.place(cx.io, index, elements, leaf)?;
                    Ok((b, placed))
                })
                .transpose()?;
            let before = index.tree.entries;
            leave_tree(cx.io, index, &s, addr.slot).map_err(Error::late)?;
            // All blocks of a slot in use are initialised.
            segment::write_slot(cx.io, &s, addr.slot, u32::MAX, &header, elements)
                .map_err(Error::late)?;
            enter_tree(cx.io, index, &s, addr.slot, &mut entry).map_err(Error::late)?;
            graph::record_put(cx.io, index, &s, addr.slot).map_err(Error::late)?;
            if index.tree.entries != before {
                let mut table = table(cx.io)?;
                index::write(cx, &mut table, index).map_err(Error::late)?;
                inode::store(cx, &table).map_err(Error::late)?;
            }
            !is_current(inode, &h)
        }
        None => {
            let mut entry = builder
                .map(|b| {
                    let placed = b.place(cx.io, index, elements, 0)?;
                    Ok((b, placed))
                })
                .transpose()?;
            let addr = place(cx, index, &header, elements, map_blocks, &mut entry)?;
            enter(cx, &key, addr).map_err(Error::late)?;
            true
        }
    };
    inode.vectors = inode.vectors.saturating_add(u64::from(fresh));
    Ok(())
}

/// A record to store.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Label.
    pub label: u64,
    /// The user's tag.
    pub tag: u64,
    /// The elements.
    pub elements: &'a [u8],
}

/// Stores records of one inode and index one after the other, and the inode. Returns how many, and the clean error that ended the
/// sequence before its end, if one did: the records before it are part of the transaction and stay. The caller brings no more
/// than [`puts_that_fit`].
///
/// Errors: clean ones only if they concern the first record; the dirty ones.
pub fn put_many<'r, T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    index: &mut Index,
    records: impl IntoIterator<Item = NewRecord<'r>>,
    mut builder: Option<&mut Builder<'_, '_>>,
) -> Result<(u32, Option<Error>)> {
    let mut done = 0u32;
    let mut ended = None;
    for r in records {
        let builder = builder.as_deref_mut();
        match put(cx, inode, index, r.label, r.tag, r.elements, builder) {
            Ok(()) => done = done.saturating_add(1),
            Err(e) if e.is_clean() && done != 0 => {
                ended = Some(e);
                break;
            }
            Err(e) => return Err(e),
        }
    }
    if done != 0 {
        inode::store(cx, inode)?;
    }
    Ok((done, ended))
}

/// Who puts an entry into the search tree, and where.
type TreeEntry<'b, 'c, 'w> = Option<(&'b mut Builder<'c, 'w>, Placed)>;

/// Puts the entry of a record whose slot is written into the search tree, if it is to have one. `index` counts it in memory.
fn enter_tree<T: Transaction>(
    io: &T,
    index: &mut Index,
    s: &Segment,
    slot: u32,
    entry: &mut TreeEntry<'_, '_, '_>,
) -> Result<()> {
    if let Some((builder, placed)) = entry {
        builder.enter(io, index, s, slot, placed)?;
        index.tree.entries = index.tree.entries.saturating_add(1);
    }
    Ok(())
}

/// Takes the entry of a record out of the search tree, if it has one. `index` counts it in memory.
fn leave_tree<T: Transaction>(io: &T, index: &mut Index, s: &Segment, slot: u32) -> Result<()> {
    if place::leave(io, index, s, slot)? {
        index.tree.entries = index.tree.entries.checked_sub(1).ok_or(Error::corrupt(
            index.tree.root,
            "index counts fewer entries than its search tree has",
        ))?;
    }
    Ok(())
}

/// Writes a new record into a free slot, enters it into the search tree and updates the index.
fn place<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    header: &SlotHeader,
    elements: &[u8],
    map_blocks: u64,
    entry: &mut TreeEntry<'_, '_, '_>,
) -> Result<SlotAddr> {
    let mut table = table(cx.io)?;
    let mut s = match segment::with_room(cx.io, &table, index)? {
        Some(s) => {
            space::require(cx, map_blocks)?;
            s
        }
        None => segment::create(cx, &mut table, index, map_blocks)?,
    };
    let (slot, init) = segment::take_slot(cx, &mut table, index, &mut s).map_err(Error::late)?;
    segment::write_slot(cx.io, &s, slot, init, header, elements).map_err(Error::late)?;
    enter_tree(cx.io, index, &s, slot, entry).map_err(Error::late)?;
    graph::record_put(cx.io, index, &s, slot).map_err(Error::late)?;
    index.records = index.records.saturating_add(1);
    index::write(cx, &mut table, index).map_err(Error::late)?;
    inode::store(cx, &table).map_err(Error::late)?;
    Ok(SlotAddr {
        segment: s.number,
        slot,
    })
}

/// Enters a record into the map.
fn enter<T: Transaction>(cx: &mut Cx<'_, T>, key: &Key, addr: SlotAddr) -> Result<()> {
    let mut map = map(cx.io)?;
    tree::insert(cx, &mut map, Which::Data, key, &addr.to_bytes())?;
    inode::store(cx, &map)
}

/// Takes an entry out of the map.
pub(crate) fn leave<T: Transaction>(cx: &mut Cx<'_, T>, key: &Key) -> Result<()> {
    let mut map = map(cx.io)?;
    tree::remove(cx, &mut map, Which::Data, key)?;
    inode::store(cx, &map)
}

/// Blocks that removing one record may change beside those of the search tree and what [`freed_segment_credits`] counts.
pub(crate) fn remove_credits<R: ReadBlocks>(io: &R, slot_blocks: u32) -> Result<u32> {
    // Segment header, segment entry, index.
    Ok(tree::credits(&map(io)?, Which::Data)
        .saturating_add(slot_blocks)
        .saturating_add(3))
}

/// Blocks that freeing one segment with that many blocks of locations may change or forget.
pub(crate) fn freed_segment_credits<R: ReadBlocks>(io: &R, locations: u32) -> Result<u32> {
    Ok(tree::credits(&table(io)?, Which::Data)
        .saturating_add(ALLOC_CREDITS)
        .saturating_add(locations))
}

/// Blocks that up to `count` calls of [`delete`] for one inode may change, of which the last alone may free a segment (`segments` of the index tells), the
/// store of the inode included.
pub fn delete_credits<R: ReadBlocks>(io: &R, index: &Index, count: u32) -> Result<u32> {
    Ok(remove_credits(io, slot_blocks(index))?
        .saturating_add(place::remove_credits(index)?)
        .saturating_mul(count)
        .saturating_add(freed_segment_credits(io, most_location_blocks(index))?)
        .saturating_add(STORE_SYSTEM_CREDITS)
        .saturating_add(STORE_CREDITS))
}

/// Deletes a record and erases its slot. `index` is brought up to date; `inode` is changed in memory, the caller stores it.
///
/// Errors: clean [`Error::NotFound`]; the dirty ones. Needs no space.
pub fn delete<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    index: &mut Index,
    label: u64,
) -> Result<()> {
    *index = index::load(cx.io, index.id)?;
    let key = record_key(inode.ino, index.id, label);
    let addr = look_up(cx.io, &map(cx.io)?, &key)?.ok_or(Error::NotFound)?;
    let (_, h) = header_at(cx.io, index, addr, inode.ino, label)?;
    if !is_current(inode, &h) {
        return Err(Error::NotFound);
    }
    inode.vectors = inode.vectors.checked_sub(1).ok_or(Error::corrupt(
        inode::home_block(cx.io, inode.ino),
        "inode counts fewer vector records than it has",
    ))?;
    remove(cx, index, &key, addr).map_err(Error::late)?;
    Ok(())
}

/// Removes a record from map, search tree, segment and index, and erases it. Returns whether a segment was freed.
pub(crate) fn remove<T: Transaction>(
    cx: &mut Cx<'_, T>,
    index: &mut Index,
    key: &Key,
    addr: SlotAddr,
) -> Result<bool> {
    leave(cx, key)?;
    let mut table = table(cx.io)?;
    // Tree and graph of a dropped index are going or gone.
    if !index.dropping {
        let s = segment::load(cx.io, &table, index, addr.segment)?.ok_or(Error::corrupt(
            table_block(cx.io, &table),
            "record in a segment that does not exist",
        ))?;
        leave_tree(cx.io, index, &s, addr.slot)?;
        graph::record_gone(cx.io, index, &s, addr.slot)?;
    }
    let freed = segment::release_slot(cx, &mut table, index, addr)?;
    index.records = index.records.checked_sub(1).ok_or(Error::corrupt(
        table_block(cx.io, &table),
        "index counts fewer records than it has",
    ))?;
    // A search that pauses may have the segment's slots in mind.
    index.tree.changes = index.tree.changes.wrapping_add(u64::from(freed));
    index::write(cx, &mut table, index)?;
    inode::store(cx, &table)?;
    Ok(freed)
}

/// Ends all records of an inode: none is found or shown from this transaction on. Memory only; the caller stores the inode,
/// and if this returns true (there were records) puts it into the orphan tree and reclaims their slots.
pub fn kill(inode: &mut Inode) -> bool {
    if inode.vectors == 0 {
        return false;
    }
    inode.vector_epoch = inode.vector_epoch.wrapping_add(1);
    inode.vectors = 0;
    true
}

/// Blocks that [`reclaim_step`] may change for `max` records.
pub fn reclaim_credits<R: ReadBlocks>(io: &R, max: u32) -> Result<u32> {
    Ok(remove_credits(io, MAX_SLOT_BLOCKS)?
        .saturating_add(place::most_remove_credits())
        .saturating_mul(max)
        .saturating_add(freed_segment_credits(io, MAX_LOCATION_BLOCKS)?)
        .saturating_add(STORE_SYSTEM_CREDITS))
}

/// Removes records of earlier epochs and lives of an inode from `from` on, at most `max` (and 16) and at most one segment. Returns
/// where to go on, `None` when all were seen. Begin at [`RecordPos::START`]; after a crash too.
///
/// Before an inode is freed its records are killed, and this is called until it returns `None`.
///
/// Errors: the dirty ones. Needs no space.
pub fn reclaim_step<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &Inode,
    from: RecordPos,
    max: u32,
) -> Result<Option<RecordPos>> {
    let mut pos = from;
    let mut left = max;
    for _ in 0..ROUNDS {
        let mut entries = [Entry::default(); GATHER];
        let (n, next) = gather(cx.io, inode.ino, pos, &mut entries)?;
        let mut index: Option<Index> = None;
        for e in entries.iter().take(n) {
            let Some(mut i) = of_entry(cx.io, &mut index, e.index)? else {
                continue;
            };
            let (_, h) = header_at(cx.io, &i, e.addr(), inode.ino, e.label)?;
            if is_current(inode, &h) {
                continue;
            }
            if left == 0 {
                return Ok(Some(RecordPos {
                    index: e.index,
                    label: e.label,
                }));
            }
            left = left.saturating_sub(1);
            let key = record_key(inode.ino, e.index, e.label);
            let freed = remove(cx, &mut i, &key, e.addr()).map_err(Error::late)?;
            index = Some(i);
            if freed {
                return Ok(RecordPos::after(e.index, e.label));
            }
        }
        match next {
            None => return Ok(None),
            Some(next) => pos = next,
        }
        if left != max {
            break;
        }
    }
    Ok(Some(pos))
}
