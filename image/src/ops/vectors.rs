// SPDX-License-Identifier: GPL-2.0-only
//! Indexes and records of an image: the engine's vector store with the batching, the upkeep of the search tree and the stepwise dropping around it. Vectors are
//! bytes here, which the caller has validated (crate `vector`); searching them is [`super::search`]'s.

use ::vector::ann::{k_means, mean, MAX_CENTRES};
use ::vector::Userspace;
use engine::inode;
use engine::vector::{self, tree, NewIndex, Record, RecordPos};
use layout::efforts::Efforts;
use layout::inode::Inode;
use layout::vector::Index;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::tree_memory::TreeMemory;

/// How full leaves will be that are made for a number of vectors.
const FILLED: (usize, usize) = (5, 8);
/// Fewer leaves are not worth it.
const LEAST_SEEDS: usize = 4;
/// Vectors that are looked at for the places of leaves, in all and for each leaf, whichever is more.
const SAMPLE: usize = 2048;
/// See [`SAMPLE`].
const SAMPLE_EACH: usize = 32;
/// Records removed in one step of dropping an index.
const DROP_RECORDS: u32 = 16;

/// A record to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Label, unique for file and index.
    pub label: u64,
    /// Tag, for the user.
    pub tag: u64,
    /// The elements, as the index has them, little-endian.
    pub elements: &'a [u8],
}

impl Image {
    /// Makes an index.
    ///
    /// # Errors
    /// Those of [`vector::create`].
    pub fn create_index(&mut self, new: &NewIndex<'_>) -> Result<Index> {
        let credits = self.read(vector::index::create_credits)?;
        self.with_credits(credits, |cx| vector::create(cx, new))
    }

    /// The index of this name.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`].
    pub fn find_index(&self, name: &[u8]) -> Result<Index> {
        self.read(|io| vector::find(io, name))
    }

    /// All indexes, by number.
    ///
    /// # Errors
    /// Those of reading the table.
    pub fn list_indexes(&self) -> Result<Vec<Index>> {
        let mut found = Vec::new();
        self.read(|io| {
            vector::list(io, 0, |index| {
                found.push(*index);
                Ok(true)
            })
        })?;
        Ok(found)
    }

    /// Notes what searching an index was found to take.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`].
    pub fn set_efforts(&mut self, id: u32, efforts: Efforts) -> Result<()> {
        self.with_credits(vector::index::SET_CREDITS, |cx| {
            vector::set_efforts(cx, id, efforts)
        })
    }

    /// Drops an index with all its records.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`].
    pub fn drop_index(&mut self, id: u32) -> Result<()> {
        let credits = self.read(vector::index::drop_begin_credits)?;
        self.with_credits(credits, |cx| vector::drop_begin(cx, id))?;
        self.finish_drop(id)
    }

    /// Finishes dropping indexes where a crash interrupted it.
    ///
    /// # Errors
    /// As for [`Image::with_txn`].
    pub fn finish_drops(&mut self) -> Result<()> {
        let mut after = 0;
        while let Some(id) = self.read(|io| vector::next_dropping(io, after))? {
            self.finish_drop(id)?;
            after = id;
        }
        Ok(())
    }

    fn finish_drop(&mut self, id: u32) -> Result<()> {
        loop {
            let credits = self.read(|io| vector::drop_index::drop_credits(io, DROP_RECORDS))?;
            if self.with_credits(credits, |cx| vector::drop_step(cx, id, DROP_RECORDS))? {
                return Ok(());
            }
        }
    }

    /// Stores records of one file in index `id`, each in place of the one that has its label, with entries in the search tree as long as partitions find room on the
    /// device. As many as fit go into one transaction; they become durable with the next [`Image::sync`] at the latest.
    ///
    /// # Errors
    /// Those of [`vector::put`]; the records before the one that failed may be stored.
    pub fn put_records(&mut self, ino: u64, id: u32, records: &[NewRecord<'_>]) -> Result<()> {
        let mut memory = self.tree_memory(id)?;
        let mut rest = records;
        let mut in_tree = true;
        while !rest.is_empty() {
            let index = self.read(|io| vector::load(io, id))?;
            let each = self.read(|io| vector::put_credits(io, &index))?;
            // Half of what may be changed between two commits: the rest of the batch may hold as much.
            let room = u32::try_from(self.blocks().limit(0) / 2).unwrap_or(u32::MAX);
            let fit = self
                .read(|io| vector::puts_that_fit(io, &index, room))?
                .max(1);
            // One without an entry is followed by another try.
            let count = if in_tree {
                rest.len().min(fit as usize)
            } else {
                1
            };
            let now = rest.get(..count).unwrap_or(rest);
            let stored = self.with_credits(each.saturating_mul(count as u32), |cx| {
                let mut inode = inode::load(cx.io, ino)?;
                let mut index = vector::load(cx.io, id)?;
                let records = now.iter().map(|r| vector::NewRecord {
                    label: r.label,
                    tag: r.tag,
                    elements: r.elements,
                });
                let mut builder = memory.builder();
                let builder = in_tree.then_some(&mut builder);
                vector::put_many(cx, &mut inode, &mut index, records, builder)
            });
            in_tree = true;
            let (done, ended) = match stored {
                Ok((done, ended)) => (done, ended),
                Err(Error::Engine(ended)) if ended.is_clean() => (0, Some(ended)),
                Err(e) => return Err(e),
            };
            rest = rest.get(done as usize..).unwrap_or_default();
            match ended {
                None => {}
                Some(engine::Error::Full { partition }) => {
                    in_tree = self.make_room(id, partition, &mut memory)?;
                }
                // With room made by a commit, or not at all, the next round says so.
                Some(_) if done != 0 => {}
                Some(e) => return Err(Error::Engine(e)),
            }
        }
        Ok(())
    }

    /// Prepares the search tree of an index without records for these vectors, elements as the index has them: leaves where their clusters are. Puts that
    /// follow find better places, and divide fewer leaves. Does nothing if they are few, or something else is in the tree already.
    ///
    /// # Errors
    /// [`engine::Error::Range`] if one is not a vector of the index; those of transactions.
    pub fn seed_index(&mut self, id: u32, vectors: &[&[u8]]) -> Result<()> {
        let index = self.read(|io| vector::load(io, id))?;
        let most = tree::seed::most_seeds(&index)?;
        let each = tree::seed::capacity(&index)? * FILLED.0 / FILLED.1;
        let count = (vectors.len() / each).min(most).min(MAX_CENTRES);
        if index.records != 0 || index.tree.root != 0 || count < LEAST_SEEDS {
            return Ok(());
        }
        let padded = tree::seed::padded(&index)?;
        let mut memory = self.tree_memory(id)?;
        // Vectors from all over.
        let sample = vectors.len().min(SAMPLE.max(SAMPLE_EACH * count));
        let mut rows = vec![0; sample * padded];
        for (n, row) in rows.chunks_exact_mut(padded).enumerate() {
            if let Some(vector) = vectors.get(n * vectors.len() / sample) {
                tree::seed::rotated(&index, vector, row, &mut memory.builder())?;
            }
        }
        let (compute, mut nearest) = (Userspace::detect(), vec![0; sample]);
        let (mut centres, mut middle) = (vec![0; count * padded], vec![0; padded]);
        let wrong = |_| engine::Error::Internal("wrong lengths for k-means");
        mean(&compute, padded, &rows, &nearest, 0, &mut middle);
        k_means(&compute, padded, &rows, &mut centres, &mut nearest).map_err(wrong)?;
        let credits = tree::seed::seed_credits(&index)?;
        for centre in centres.chunks_exact(padded) {
            let made = self.with_credits(credits, |cx| {
                tree::seed::seed(cx, id, &middle, centre, &mut memory.builder())
            });
            match made {
                Ok(true) => {}
                // It is only a preparation.
                Ok(false) | Err(Error::Engine(engine::Error::NoSpace)) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Makes room in the search tree. Returns whether there was a place for the partition.
    pub(super) fn make_room(
        &mut self,
        id: u32,
        partition: u64,
        memory: &mut TreeMemory,
    ) -> Result<bool> {
        let credits = self.read(|io| tree::make_room_credits(&vector::load(io, id)?))?;
        let made = self.with_credits(credits, |cx| {
            tree::make_room(cx, id, partition, None, &mut memory.builder())
        });
        match made {
            Ok(()) => Ok(true),
            Err(Error::Engine(engine::Error::NoSpace | engine::Error::TooBig)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    pub(super) fn tree_memory(&self, id: u32) -> Result<TreeMemory> {
        let lengths = self.read(|io| tree::Lengths::of(&vector::load(io, id)?))?;
        Ok(TreeMemory::new(&lengths))
    }

    /// Goes through the search tree of an index, dissolving partitions that have become thin, until a whole round frees none: where one went, the
    /// one above it may have become thin. And through its graph, as [`Image::sweep_graph`] does.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`]; those of transactions.
    pub fn tidy_index(&mut self, id: u32) -> Result<()> {
        let mut memory = self.tree_memory(id)?;
        loop {
            let before = self.read(|io| vector::load(io, id))?.tree.partitions;
            let mut sweep = tree::Sweep::default();
            while !sweep.done {
                let credits = self.read(|io| tree::tidy_credits(&vector::load(io, id)?))?;
                sweep = self.with_credits(credits, |cx| {
                    let mut next = sweep;
                    tree::tidy_step(cx, id, &mut next, &mut memory.builder())?;
                    Ok(next)
                })?;
            }
            if self.read(|io| vector::load(io, id))?.tree.partitions >= before {
                return self.sweep_graph(id);
            }
        }
    }

    /// The elements and tag of a record.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`].
    pub fn get_record(&self, file: &Inode, index: &Index, label: u64) -> Result<(Vec<u8>, u64)> {
        let mut elements = vec![0; index.vector_bytes()];
        let (len, tag) = self.read(|io| vector::get(io, file, index, label, &mut elements))?;
        elements.truncate(len);
        Ok((elements, tag))
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`].
    pub fn delete_record(&mut self, ino: u64, id: u32, label: u64) -> Result<()> {
        let index = self.read(|io| vector::load(io, id))?;
        let credits = self.read(|io| vector::delete_credits(io, &index, 1))?;
        self.with_credits(credits, |cx| {
            let mut inode = inode::load(cx.io, ino)?;
            let mut index = vector::load(cx.io, id)?;
            vector::delete(cx, &mut inode, &mut index, label)?;
            inode::store(cx, &inode)
        })
    }

    /// The records of a file in all indexes, by index and label.
    ///
    /// # Errors
    /// Those of reading them.
    pub fn records(&self, file: &Inode) -> Result<Vec<Record>> {
        let mut found = Vec::new();
        self.read(|io| {
            vector::for_each(io, file, RecordPos::START, |record| {
                found.push(*record);
                Ok(true)
            })
        })?;
        Ok(found)
    }
}
