// SPDX-License-Identifier: GPL-2.0-only
//! The part of pass 6 that reads segments: every header against its reference, every slot in use against the record that leads to it, every
//! free slot for having been erased.

use super::tree::Located;
use super::{orphan_numbers, Found, Record};
use crate::check::Check;
use crate::inodes::Known;
use crate::problem::{Code, Problem};
use crate::reader::Fault;
use image::checksum::crc32;
use layout::block::{read_header, BlockKind};
use layout::ino;
use layout::segment::{
    location, node, slot_area_blocks, slot_size, verify_slot, SegmentHeader, SlotHeader,
    BITMAP_OFFSET, BLOCK_LOCATIONS, SLOT_HEADER,
};
use layout::vector::{Index, SegmentRef};
use layout::{Block, BLOCK_SIZE};
use std::collections::HashMap;

/// Bytes of slots read at once.
const READ_AT_ONCE: usize = 1 << 20;

/// Checks all segments. Returns the records of each inode's present epoch.
pub fn run(check: &mut Check<'_>, found: &mut Found) -> HashMap<u64, u64> {
    let orphans = orphan_numbers(check);
    let mut counts = HashMap::new();
    // The map itself was not whole: what follows can only add to this.
    let lost_map = found.lost;
    let segments: Vec<_> = found.segments.iter().map(|(k, v)| (*k, *v)).collect();
    check.begin(6, segments.len() as u64);
    let records = std::mem::take(&mut found.records);
    let mut rest = &records[..];
    for (done, ((id, number), at)) in segments.into_iter().enumerate() {
        let before = rest.partition_point(|r| (r.index, r.segment) < (id, number));
        homeless(check, found, &rest[..before]);
        rest = &rest[before..];
        let own = rest.partition_point(|r| (r.index, r.segment) == (id, number));
        let mut segment = Segment {
            check,
            orphans: &orphans,
            counts: &mut counts,
            lost_records: lost_map || found.bad.contains(&id),
            id,
            number,
            at,
            located: None,
        };
        match found.indexes.get(&id).copied() {
            Some(index) => {
                found.lost |= !segment.run(&index, &rest[..own]);
                if let Some(located) = segment.located.take() {
                    found.located.insert((id, at.start), located);
                }
            }
            None => {
                segment.claim();
                found.lost = true;
                if !found.bad.contains(&id) {
                    segment.report(Code::SegmentRefBad, "its index does not exist");
                }
            }
        }
        rest = &rest[own..];
        check.progress(done as u64 + 1);
    }
    homeless(check, found, rest);
    found.records = records;
    counts
}

/// Records that lead to segments which do not exist.
fn homeless(check: &mut Check<'_>, found: &mut Found, records: &[Record]) {
    for r in records {
        found.lost = true;
        if found.bad.contains(&r.index) {
            continue;
        }
        let code = if found.indexes.contains_key(&r.index) {
            Code::RecordSlot
        } else {
            Code::RecordIndex
        };
        check.report(problem(code, r));
    }
}

fn problem(code: Code, r: &Record) -> Problem {
    let what = format!(
        "label {:#x}, segment {}, slot {}",
        r.label, r.segment, r.slot
    );
    Problem::new(code).ino(r.ino).index(r.index).detail(what)
}

struct Segment<'a, 'b> {
    check: &'a mut Check<'b>,
    orphans: &'a [u64],
    counts: &'a mut HashMap<u64, u64>,
    lost_records: bool,
    id: u32,
    number: u32,
    at: SegmentRef,
    /// For the search tree, once read.
    located: Option<Located>,
}

impl Segment<'_, '_> {
    fn report(&mut self, code: Code, what: &str) {
        let problem = Problem::new(code).index(self.id).block(self.at.start);
        let what = format!("segment {}: {what}", self.number);
        self.check.report(problem.detail(what));
    }

    /// Marks the segment's blocks. Whether they can be its.
    fn claim(&mut self) -> bool {
        let (start, blocks) = (self.at.start, u64::from(self.at.blocks));
        if !self.check.reader.sb.geometry.is_data(start, blocks) {
            self.check.lost_blocks = true;
            self.report(Code::SegmentOutside, "no data blocks");
            return false;
        }
        self.check.mark(start, blocks, ino::INDEX_TABLE)
    }

    /// Checks header and slots against `records`, those that lead here, by slot. Whether everything could be read.
    fn run(&mut self, index: &Index, records: &[Record]) -> bool {
        if !self.claim() {
            return false;
        }
        let data = match self.check.reader.block(self.at.start, BlockKind::Segment) {
            Ok(data) => data,
            Err(why) => {
                self.report(Code::SegmentHeader, &why.to_string());
                return false;
            }
        };
        let owner = read_header(&data, BlockKind::Segment).map_or(0, |h| h.owner);
        let Ok(header) = SegmentHeader::read(&data) else {
            return false;
        };
        let size = slot_size(index.vector_bytes());
        let right = owner == u64::from(self.id)
            && header.segment == self.number
            && header.slot_size as usize == size
            && (header.slots, header.blocks) == (self.at.slots, self.at.blocks);
        if !right {
            self.report(Code::SegmentDiffers, "number, owner or size");
            return false;
        }
        let free = header.slots - header.used;
        if free != self.at.free {
            let what = format!("{} free slots, not {free}", self.at.free);
            self.report(Code::SegmentDiffers, &what);
        }
        self.locations(index, &data, &header);
        self.slots(index, &data, &header, records) && free == self.at.free
    }

    /// Reads the locations and holds them to the slot bitmap.
    fn locations(&mut self, index: &Index, head: &Block, header: &SegmentHeader) {
        let area = slot_area_blocks(header.slots, header.slot_size);
        let first = self.at.start + 1 + area;
        let mut locations = Vec::new();
        let mut nodes = Vec::new();
        for n in 0..u64::from(header.located) {
            let block = match self.check.reader.block(first + n, BlockKind::Locations) {
                Ok(block) => block,
                Err(why) => return self.report(Code::LocationsBad, &why.to_string()),
            };
            let owner = read_header(&block, BlockKind::Locations).map_or(0, |h| h.owner);
            if owner != u64::from(self.id) {
                return self.report(Code::LocationsBad, "of another index");
            }
            locations.extend((0..BLOCK_LOCATIONS).map(|n| location(&block, n).unwrap_or(0)));
            nodes.extend((0..BLOCK_LOCATIONS).map(|n| node(&block, n).unwrap_or(0)));
        }
        locations.resize(locations.len().max(header.slots as usize), 0);
        nodes.resize(locations.len(), 0);
        let used: Vec<bool> = (0..locations.len())
            .map(|slot| {
                slot < header.slots as usize
                    && head[BITMAP_OFFSET + slot / 8] & (1 << (slot % 8)) != 0
            })
            .collect();
        for (slot, leaf) in locations.iter().zip(&nodes).enumerate() {
            if leaf != (&0, &0) && !used[slot] && !index.dropping {
                self.report(Code::LocationsBad, &format!("slot {slot} is free"));
            }
        }
        self.located = Some(Located {
            size: header.slot_size as usize,
            used,
            locations,
            nodes,
        });
    }

    fn slots(
        &mut self,
        index: &Index,
        head: &Block,
        header: &SegmentHeader,
        records: &[Record],
    ) -> bool {
        let size = header.slot_size as usize;
        let written = header.init as usize * BLOCK_SIZE;
        let per_read = (READ_AT_ONCE / size).max(1) as u32;
        let mut whole = true;
        let mut rest = records;
        let mut first = 0;
        while first < header.slots {
            let n = per_read.min(header.slots - first);
            let bytes = match self.read(first as usize * size, n as usize * size, written) {
                Ok(bytes) => bytes,
                Err(why) => {
                    let what = format!("slots from {first} on: {why}");
                    self.report(Code::SegmentUnreadable, &what);
                    whole = false;
                    rest = &rest[rest.partition_point(|r| r.slot < first + n)..];
                    first += n;
                    continue;
                }
            };
            for (slot, bytes) in (first..).zip(bytes.chunks_exact(size)) {
                let here = rest.partition_point(|r| r.slot == slot);
                let (own, later) = rest.split_at(here);
                rest = later;
                let used = head[BITMAP_OFFSET + slot as usize / 8] & (1 << (slot % 8)) != 0;
                whole &= self.slot(index, slot, used, bytes, own);
            }
            first += n;
        }
        for r in rest {
            whole = false;
            self.check.report(problem(Code::RecordSlot, r));
        }
        whole
    }

    /// `len` bytes of the slot area from `from` on; what lies beyond the first `written` bytes counts as zero.
    fn read(&self, from: usize, len: usize, written: usize) -> Result<Vec<u8>, Fault> {
        let mut out = vec![0; len];
        let end = (from + len).min(written);
        if from < end {
            let block = from / BLOCK_SIZE;
            let blocks = end.div_ceil(BLOCK_SIZE) - block;
            let mut data = vec![0; blocks * BLOCK_SIZE];
            let start = self.at.start + 1 + block as u64;
            self.check.reader.run(start, &mut data)?;
            let skip = from - block * BLOCK_SIZE;
            let n = end - from;
            out[..n].copy_from_slice(&data[skip..skip + n]);
        }
        Ok(out)
    }

    /// Checks one slot. Whether it was good enough to count its record.
    fn slot(
        &mut self,
        index: &Index,
        slot: u32,
        used: bool,
        bytes: &[u8],
        records: &[Record],
    ) -> bool {
        let at = format!("slot {slot}");
        if !used {
            for r in records {
                self.check.report(problem(Code::RecordSlot, r));
            }
            if bytes.iter().any(|b| *b != 0) {
                self.report(Code::SlotNotErased, &at);
            }
            return records.is_empty();
        }
        for r in records.iter().skip(1) {
            self.check.report(problem(Code::RecordShared, r));
        }
        let record = records.first();
        if let Err(e) = verify_slot(bytes, self.check.reader.sb.seed, crc32) {
            self.report(Code::SlotChecksum, &format!("{at}: {}", e.0));
            return false;
        }
        let Some(h) = SlotHeader::read(bytes) else {
            return false;
        };
        let Some(r) = record else {
            // The slots of an index that is being dropped go with their segments; the record may also be one of
            // those that could not be read.
            if !index.dropping && !self.lost_records {
                let what = format!("{at}: inode {}, label {:#x}", h.ino, h.label);
                self.report(Code::SlotUnmapped, &what);
            }
            return index.dropping;
        };
        if (h.index, h.ino, h.label) != (r.index, r.ino, r.label) {
            let what = format!(
                "{at}: index {}, inode {}, label {:#x}",
                h.index, h.ino, h.label
            );
            self.report(Code::SlotHeader, &what);
            return false;
        }
        let end = SLOT_HEADER + index.vector_bytes();
        let (elements, padding) = (&bytes[SLOT_HEADER..end], &bytes[end..]);
        if !accepted(index, elements) || padding.iter().any(|b| *b != 0) {
            self.report(Code::SlotElements, &at);
        }
        self.life(r, &h) && records.len() == 1
    }

    /// Whether the record's inode lives, and if the record is of an earlier life or epoch, whether somebody will remove it.
    fn life(&mut self, r: &Record, h: &SlotHeader) -> bool {
        let info = match self.check.inodes.get(r.ino) {
            Known::Used(info) => *info,
            Known::Unknown => return false,
            Known::Free => {
                self.check.report(problem(Code::RecordInode, r));
                return true;
            }
        };
        if (h.generation, h.epoch) == (info.generation, info.epoch) {
            *self.counts.entry(r.ino).or_insert(0) += 1;
        } else if self.orphans.binary_search(&r.ino).is_err() {
            self.check.report(problem(Code::SlotStale, r));
        }
        true
    }
}

/// Whether the index takes such elements.
fn accepted(index: &Index, elements: &[u8]) -> bool {
    vector::Kind::from_codes(index.element as u32, index.metric as u32, index.dim)
        .is_ok_and(|kind| vector::validate(&kind, elements).is_ok())
}
