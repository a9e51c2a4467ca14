// SPDX-License-Identifier: GPL-2.0-only
//! Pass 6: indexes, segments, records, slots.

use crate::common::*;
use crate::plant::*;
use engine::tree::{self, Which};
use fsck_vexfs::Code;
use image::checksum::crc32;
use image::device::{Device, MemDevice};
use layout::block::BlockKind;
use layout::btree::Key;
use layout::ino::{INDEX_TABLE, VECTOR_MAP};
use layout::partition::{
    clear_entry, copy_entry, find, get_entry, put_entry, record_reference, reference, unit_of,
    unit_of_mut, Header, Shape, FACTORS,
};
use layout::segment::{put_location, slot_area_blocks, slot_size, SlotHeader, SLOT_HEADER};
use layout::vector::{
    counter_key, index_key, record_key, segment_key, Index, SegmentRef, SlotAddr, CLASS_NAME,
};
use layout::Block;

/// The index that has records.
const ID: u32 = 1;

fn table(dev: &MemDevice, key: Key) -> Entry {
    let all = entries(dev, INDEX_TABLE, Which::Data);
    all.into_iter().find(|e| e.key == key).unwrap()
}

/// Entry of the name of index [`ID`].
fn name(dev: &MemDevice) -> Entry {
    let all = entries(dev, INDEX_TABLE, Which::Data);
    let names = |e: &Entry| e.key.a() >> 56 == CLASS_NAME >> 56 && e.value[0] == ID as u8;
    all.into_iter().find(names).unwrap()
}

fn edit_index(dev: &MemDevice, change: impl FnOnce(&mut Index)) {
    let entry = table(dev, index_key(ID));
    let mut index = Index::parse(ID, &entry.value).unwrap();
    change(&mut index);
    entry.poke_value(dev, 0, &index.to_bytes());
}

fn segment(dev: &MemDevice) -> (Entry, SegmentRef) {
    let entry = table(dev, segment_key(ID, 0));
    let at = SegmentRef::parse(&entry.value).unwrap();
    (entry, at)
}

fn edit_segment_ref(dev: &MemDevice, change: impl FnOnce(&mut SegmentRef)) {
    let (entry, mut at) = segment(dev);
    change(&mut at);
    entry.poke_value(dev, 0, &at.to_bytes());
}

/// The record labelled `label`.
fn record(dev: &MemDevice, label: u64) -> (Entry, SlotAddr) {
    let all = entries(dev, VECTOR_MAP, Which::Data);
    let entry = all.into_iter().find(|e| e.key.c() == label).unwrap();
    let addr = SlotAddr::parse(&entry.value).unwrap();
    (entry, addr)
}

/// Byte offset of a slot on the device.
fn slot_at(dev: &MemDevice, slot: u32) -> u64 {
    let size = slot_size(DIM as usize * 4) as u64;
    (segment(dev).1.start + 1) * 4096 + u64::from(slot) * size
}

/// Writes a slot with a right checksum.
fn write_slot(dev: &MemDevice, slot: u32, header: SlotHeader, elements: &[u8]) {
    let size = slot_size(elements.len());
    let sum = header.checksum(elements, size, superblock(dev).seed, crc32);
    let bytes = [&header.to_bytes(sum)[..], elements].concat();
    dev.write_at(slot_at(dev, slot), &bytes).unwrap();
}

fn read_slot(dev: &MemDevice, slot: u32) -> (SlotHeader, Vec<u8>) {
    let mut bytes = vec![0; slot_size(DIM as usize * 4)];
    dev.read_at(slot_at(dev, slot), &mut bytes).unwrap();
    let header = SlotHeader::read(&bytes).unwrap();
    (header, bytes[SLOT_HEADER..].to_vec())
}

/// Changes the header of the slot of the record labelled 1.
fn edit_slot(dev: &MemDevice, change: impl FnOnce(&mut SlotHeader)) {
    let slot = record(dev, 1).1.slot;
    let (mut header, elements) = read_slot(dev, slot);
    change(&mut header);
    write_slot(dev, slot, header, &elements);
}

/// A slot that was freed.
fn free_slot(dev: &MemDevice) -> u32 {
    let used: Vec<u32> = entries(dev, VECTOR_MAP, Which::Data)
        .iter()
        .map(|e| SlotAddr::parse(&e.value).unwrap().slot)
        .collect();
    (0..used.len() as u32).find(|s| !used.contains(s)).unwrap()
}

fn file(dev: &MemDevice) -> u64 {
    ino_of(dev, "dir/file")
}

fn add_record(dev: &MemDevice, key: Key, slot: u32) {
    let addr = SlotAddr { segment: 0, slot };
    insert(dev, VECTOR_MAP, Which::Data, key, &addr.to_bytes());
}

fn vectors_less_one(dev: &MemDevice) {
    forge_inode(dev, file(dev), |inode| inode.vectors -= 1);
}

/// The block of locations of the first segment.
fn locations(dev: &MemDevice) -> u64 {
    let at = segment(dev).1;
    let size = slot_size(DIM as usize * 4) as u32;
    at.start + 1 + slot_area_blocks(at.slots, size)
}

/// The root of the search tree, which is a leaf.
fn root(dev: &MemDevice) -> u64 {
    let entry = table(dev, index_key(ID));
    Index::parse(ID, &entry.value).unwrap().tree.root
}

fn shape() -> Shape {
    Shape::new(DIM).unwrap()
}

/// The blocks of the root.
fn tree_blocks(dev: &MemDevice) -> Vec<Block> {
    let start = root(dev);
    (start..start + shape().blocks() as u64)
        .map(|number| read_block(dev, number))
        .collect()
}

fn forge_tree(dev: &MemDevice, blocks: &[Block]) {
    for (number, block) in (root(dev)..).zip(blocks) {
        forge(dev, number, BlockKind::Partition, |data| *data = *block);
    }
}

/// Changes code, factors and reference of entry 7 of the root.
fn forge_entry(dev: &MemDevice, change: impl FnOnce(&mut [u8], &mut [u32; FACTORS], &mut u64)) {
    let mut blocks = tree_blocks(dev);
    let mut code = vec![0; shape().padded()];
    let mut factors = get_entry(&shape(), &blocks[..], 7, &mut code).unwrap();
    let mut refers = reference(&shape(), &blocks[..], 7).unwrap();
    change(&mut code, &mut factors, &mut refers);
    put_entry(&shape(), &mut blocks[..], 7, &code, &factors, refers).unwrap();
    forge_tree(dev, &blocks);
}

faults! {
    table_key_of_no_class [IndexKey] |dev| {
        insert(dev, INDEX_TABLE, Which::Data, Key::two(7 << 56, 0), b"x");
    };
    // Its search tree cannot be found any more.
    index_without_dimension [IndexBad, FreeBlocks, BlockLeaked] |dev| {
        table(dev, index_key(ID)).poke_value(dev, 4, &[0; 4]);
    };
    name_of_another_index [IndexNameBad] |dev| name(dev).poke_value(dev, 4, b"m");
    name_that_cannot_be [IndexNameBad] |dev| name(dev).poke_value(dev, 4, b"/");
    name_missing [IndexNameMissing] |dev| {
        let key = name(dev).key;
        remove(dev, INDEX_TABLE, Which::Data, key);
    };
    counter_too_low [IndexCounter] |dev| table(dev, counter_key()).poke_value(dev, 0, &[1]);
    segment_of_no_slots [SegmentRefBad] |dev| segment(dev).0.poke_value(dev, 12, &[0; 4]);
    segment_of_no_index [SegmentRefBad] |dev| {
        // Blocks that are in use, so that only the reference is wrong.
        let mut at = segment(dev).1;
        edit_inode(dev, INDEX_TABLE, |cx, table| {
            (at.start, at.blocks) = engine::space::alloc(cx, 0, 2, 2)?;
            let key = segment_key(77, 0);
            tree::insert(cx, table, Which::Data, &key, &at.to_bytes())
        });
    };
    segment_header_damaged [SegmentHeader] |dev| flip(dev, segment(dev).1.start, 40);
    segment_of_another_number [SegmentDiffers] |dev| {
        forge(dev, segment(dev).1.start, BlockKind::Segment, |data| data[32] = 9);
    };
    segment_of_another_index [SegmentDiffers] |dev| {
        forge(dev, segment(dev).1.start, BlockKind::Segment, |data| data[16] = 9);
    };
    segment_free_slots [SegmentDiffers] |dev| edit_segment_ref(dev, |at| at.free -= 1);
    segment_outside [SegmentOutside] |dev| edit_segment_ref(dev, |at| at.start = 50);
    segment_over_group_end [SegmentOutside] |dev| edit_segment_ref(dev, |at| at.start = 32_510);
    index_segments [IndexSegments] |dev| edit_index(dev, |index| index.segments = 5);
    index_next_segment [IndexSegments] |dev| edit_index(dev, |index| index.next_segment = 0);
    index_free_slots [IndexFree] |dev| edit_index(dev, |index| index.free_slots += 1);
    index_records [IndexRecords] |dev| edit_index(dev, |index| index.records -= 1);
    record_too_short [RecordBad] |dev| {
        let key = record(dev, 1).0.key;
        replace(dev, VECTOR_MAP, Which::Data, key, b"1234");
    };
    record_of_an_impossible_index [RecordBad] |dev| {
        add_record(dev, Key::three(file(dev), 1 << 40, 1), 0);
    };
    record_of_no_index [RecordIndex] |dev| add_record(dev, record_key(file(dev), 77, 1), 0);
    record_in_a_free_slot [RecordSlot] |dev| {
        let slot = free_slot(dev);
        add_record(dev, record_key(file(dev), ID, 999), slot);
    };
    record_beyond_the_last_slot [RecordSlot] |dev| {
        add_record(dev, record_key(file(dev), ID, 999), 1 << 20);
    };
    record_in_no_segment [RecordSlot] |dev| {
        let addr = SlotAddr { segment: 9, slot: 0 };
        let key = record_key(file(dev), ID, 999);
        insert(dev, VECTOR_MAP, Which::Data, key, &addr.to_bytes());
    };
    two_records_in_one_slot [RecordShared] |dev| {
        let slot = record(dev, 1).1.slot;
        add_record(dev, record_key(file(dev), ID, 999), slot);
    };
    record_of_no_inode [RecordInode] |dev| {
        let (entry, addr) = record(dev, 1);
        remove(dev, VECTOR_MAP, Which::Data, entry.key);
        add_record(dev, record_key(5000, ID, 1), addr.slot);
        let (header, elements) = read_slot(dev, addr.slot);
        write_slot(dev, addr.slot, SlotHeader { ino: 5000, ..header }, &elements);
        vectors_less_one(dev);
    };
    slot_without_record [SlotUnmapped] |dev| {
        let key = record(dev, 1).0.key;
        remove(dev, VECTOR_MAP, Which::Data, key);
    };
    slot_checksum [SlotChecksum] |dev| {
        let at = slot_at(dev, record(dev, 1).1.slot) + 50;
        flip(dev, at / 4096, (at % 4096) as usize);
    };
    slot_of_another_record [SlotHeader] |dev| edit_slot(dev, |header| header.label = 12_345);
    slot_of_another_index [SlotHeader] |dev| edit_slot(dev, |header| header.index = 2);
    slot_of_an_earlier_epoch [SlotStale] |dev| {
        edit_slot(dev, |header| header.epoch = header.epoch.wrapping_sub(1));
        vectors_less_one(dev);
    };
    slot_of_an_earlier_life [SlotStale] |dev| {
        edit_slot(dev, |header| header.generation = 77);
        vectors_less_one(dev);
    };
    free_slot_with_bytes [SlotNotErased] |dev| {
        let at = slot_at(dev, free_slot(dev)) + 60;
        dev.write_at(at, b"secret").unwrap();
    };
    element_not_finite [SlotElements, PartitionCode] |dev| {
        let slot = record(dev, 1).1.slot;
        let (header, mut elements) = read_slot(dev, slot);
        elements[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        write_slot(dev, slot, header, &elements);
    };
    cosine_of_nothing [SlotElements, PartitionCode] |dev| {
        let slot = record(dev, 1).1.slot;
        let header = read_slot(dev, slot).0;
        write_slot(dev, slot, header, &[0; DIM as usize * 4]);
    };
    vectors_of_an_inode [InodeVectors] |dev| vectors_less_one(dev);
    locations_damaged [LocationsBad] |dev| flip(dev, locations(dev), 100);
    location_of_a_free_slot [LocationsBad] |dev| {
        let (slot, leaf) = (free_slot(dev), root(dev));
        forge(dev, locations(dev), BlockKind::Locations, |data| {
            put_location(data, slot, leaf).unwrap();
        });
    };
    location_of_no_entry [PartitionEntry] |dev| {
        // One that an entry leads to, but does not lead back.
        let slot = record(dev, 1).1.slot;
        let mut blocks = tree_blocks(dev);
        let mut header = Header::read(&shape(), unit_of(&blocks[0], 0).unwrap()).unwrap();
        let last = usize::from(header.entries) - 1;
        let wanted = record_reference(segment(dev).1.start, slot);
        let at = find(&shape(), &blocks[..], last + 1, wanted).unwrap().unwrap();
        if at != last {
            copy_entry(&shape(), &mut blocks[..], last, at).unwrap();
        }
        clear_entry(&shape(), &mut blocks[..], last).unwrap();
        header.entries -= 1;
        header.write(unit_of_mut(&mut blocks[0], 0).unwrap()).unwrap();
        forge_tree(dev, &blocks);
        edit_index(dev, |index| index.tree.entries -= 1);
    };
    entry_of_a_free_slot [PartitionEntry, PartitionEntry] |dev| {
        let wrong = record_reference(segment(dev).1.start, free_slot(dev));
        forge_entry(dev, |_, _, reference| *reference = wrong);
    };
    entry_of_no_segment [PartitionEntry, PartitionEntry] |dev| {
        forge_entry(dev, |_, _, reference| *reference = record_reference(40_000_000, 0));
    };
    partition_damaged [PartitionBad] |dev| flip(dev, root(dev), 300);
    partition_of_another_level [PartitionBad] |dev| {
        forge(dev, root(dev), BlockKind::Partition, |data| data[64 + 4] = 1);
    };
    partition_with_a_parent [PartitionBad] |dev| {
        forge(dev, root(dev), BlockKind::Partition, |data| data[64 + 8] = 1);
    };
    partition_of_another_index [PartitionBad] |dev| {
        forge(dev, root(dev), BlockKind::Partition, |data| data[64] = 9);
    };
    partition_outside [PartitionBad] |dev| edit_index(dev, |index| index.tree.root = 50);
    code_of_another_vector [PartitionCode] |dev| forge_entry(dev, |code, _, _| code[3] ^= 1);
    sign_of_another_vector [PartitionCode] |dev| forge_entry(dev, |code, _, _| code[5] ^= 16);
    factor_of_another_vector [PartitionCode] |dev| forge_entry(dev, |_, factors, _| factors[2] ^= 1);
    place_with_bytes [PartitionNotErased] |dev| {
        let mut blocks = tree_blocks(dev);
        put_entry(&shape(), &mut blocks[..], 150, &[1; 16], &[0; 5], 0).unwrap();
        forge_tree(dev, &blocks);
    };
    tree_entries [IndexTree] |dev| edit_index(dev, |index| index.tree.entries += 1);
    tree_partitions [IndexTree] |dev| edit_index(dev, |index| index.tree.partitions += 1);
}

#[test]
fn slots_that_cannot_be_read() {
    let base = populated();
    let block = segment(&base).1.start + 1;
    expect(&BadBlock { base: &base, block }, &[Code::SegmentUnreadable]);
}

/// What the macro cannot list.
pub const MORE: &[Code] = &[Code::SegmentUnreadable];
