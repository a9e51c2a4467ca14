// SPDX-License-Identifier: GPL-2.0-only
//! Memory for the search tree, as a caller of the engine brings it.

use engine::vector::tree::{Builder, Lengths, Near, Search, SearchMemory, Workspace};
use layout::partition::FACTORS;
use layout::vector::Index;
use vector::ann::Noted;
use vector::Userspace;

/// What a [`Builder`] works in.
pub struct Memory {
    compute: Userspace,
    signs: Vec<u16>,
    rotated: Vec<u32>,
    table: Vec<u8>,
    bytes: Vec<u8>,
    rows: Vec<u32>,
    centres: Vec<u32>,
    keys: Vec<u32>,
    side: Vec<u8>,
    references: Vec<u64>,
    code: Vec<u8>,
    codes: Vec<u8>,
    factors: Vec<[u32; FACTORS]>,
    raw: Vec<u8>,
    noted: Box<Noted>,
}

impl Memory {
    /// For an index.
    pub fn new(index: &Index) -> Memory {
        let l = Lengths::of(index).unwrap();
        Memory {
            compute: Userspace::detect(),
            signs: vec![0; l.signs],
            rotated: vec![0; l.rotated],
            table: vec![0; l.table],
            bytes: vec![0; l.bytes],
            rows: vec![0; l.rows],
            centres: vec![0; l.centres],
            keys: vec![0; l.members],
            side: vec![0; l.members],
            references: vec![0; l.members],
            code: vec![0; l.code],
            codes: vec![0; l.codes],
            factors: vec![[0; FACTORS]; l.members],
            raw: vec![0; l.raw],
            noted: Box::default(),
        }
    }

    pub fn builder(&mut self) -> Builder<'_, '_> {
        let memory = Workspace {
            signs: &mut self.signs,
            rotated: &mut self.rotated,
            table: &mut self.table,
            bytes: &mut self.bytes,
            rows: &mut self.rows,
            centres: &mut self.centres,
            keys: &mut self.keys,
            side: &mut self.side,
            references: &mut self.references,
            code: &mut self.code,
            codes: &mut self.codes,
            factors: &mut self.factors,
            raw: &mut self.raw,
            noted: &mut self.noted,
        };
        Builder::new(&self.compute, memory)
    }
}

/// What a [`Search`] works in.
pub struct ForSearch {
    pub compute: Userspace,
    signs: Vec<u16>,
    rotated: Vec<u32>,
    table: Vec<u8>,
    bytes: Vec<u8>,
    partitions: Vec<Near>,
    found: Vec<Near>,
    noted: Box<Noted>,
}

impl ForSearch {
    /// For an index, that many leaves and records.
    pub fn new(index: &Index, probes: usize, wanted: usize) -> ForSearch {
        let (signs, [rotated, table, bytes]) = Search::lengths(index).unwrap();
        ForSearch {
            compute: Userspace::detect(),
            signs: vec![0; signs],
            rotated: vec![0; rotated],
            table: vec![0; table],
            bytes: vec![0; bytes],
            partitions: vec![Near::default(); Search::partitions(probes)],
            found: vec![Near::default(); wanted],
            noted: Box::default(),
        }
    }

    pub fn search(&mut self, index: &Index, vector: &[u8], probes: usize) -> Search<'_> {
        let memory = SearchMemory {
            signs: &mut self.signs,
            rotated: &mut self.rotated,
            table: &mut self.table,
            bytes: &mut self.bytes,
            partitions: &mut self.partitions,
            found: &mut self.found,
            noted: &mut self.noted,
        };
        Search::new(&self.compute, index, vector, probes, memory).unwrap()
    }
}
