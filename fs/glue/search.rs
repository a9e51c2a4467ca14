// SPDX-License-Identifier: GPL-2.0-only
//! Exact search: the nearest records that the caller may see, with paths.
//!
//! | module | responsibility |
//! |---|---|
//! | [`pass`] | all records of an index against all queries |
//! | [`visible`] | liveness, permissions, paths |
//! | [`table`] | hash table for verdicts |
//!
//! # Rounds
//! Asking for permission costs far more than a distance, so it is asked for what is returned, not for what is looked at. In the first round
//! the nearest records are collected whoever may see them, some more than are wanted; then, nearest first, those that are not visible or
//! not alive any more are left out. A query that is short of hits then, although there were more records, goes on in a second
//! round behind the last record that it has seen, which asks before a record is collected. So results are never short, whoever asks,
//! and who may see most files pays one pass and one question a hit.

mod pass;
mod table;
mod visible;

use super::ioctl::{self, request, rights, Right};
use super::VexFs;
use crate::vfs::{code, FileRef, IoctlArg, Result};
use ::vector::{Candidate, Queries, Rank, TopK};
use core::mem::size_of;
use kernel::prelude::*;
use layout::vector::Index;
use pass::Scanner;
use table::Table;
use uapi::{Hit, Search};
use visible::Visible;
use zerocopy::{FromZeros, IntoBytes};

/// What became of a query so far.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Hits found.
    found: usize,
    /// The last record that was looked at; all hits up to it are found.
    last: Option<Rank>,
    /// There is nothing more to find.
    complete: bool,
}

/// Hits as they will be returned, and what is left to do.
struct Results {
    /// Hits wanted of each query.
    k: usize,
    /// `k` for each query.
    hits: KVVec<Hit>,
    progress: KVVec<Progress>,
    /// Records that are hits, by inode and label: of which query, the last time. A record that was deleted and put again during a pass
    /// is seen in both places.
    seen: Table<usize>,
}

/// Serves the request.
pub(super) fn serve(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<Search>(arg)?;
    let s = &mut r.body;
    let sb = file.inode().sb();
    let index = ioctl::named(sb, &s.name)?;
    rights::check(file.idmap(), &index, Right::Search)?;
    if s.query_bytes as usize != index.vector_bytes() {
        return Err(code::EINVAL);
    }
    let (count, k) = (s.query_count as usize, s.k as usize);
    let mut queries = request::buffer(count.saturating_mul(index.vector_bytes()))?;
    request::copy_in(s.queries, 0, &mut queries)?;
    let mut results = Results {
        k,
        hits: KVVec::from_elem(
            Hit::new_zeroed(),
            count.saturating_mul(k),
            GFP_KERNEL_ACCOUNT,
        )?,
        progress: KVVec::from_elem(Progress::default(), count, GFP_KERNEL_ACCOUNT)?,
        seen: Table::new(usize::MAX)?,
    };
    let mut visible = Visible::new(file, s.paths, s.paths_capacity)?;
    let mut scanner = Scanner::new(&index, count)?;
    let mut ask_first = false;
    while results.progress.iter().any(|p| !p.complete) {
        round(
            file,
            &index,
            &queries,
            &mut scanner,
            &mut visible,
            &mut results,
            ask_first,
        )?;
        ask_first = true;
    }
    let counters = sb.mount().counters();
    counters.queries.add(count as u64);
    counters.distances.add(scanner.computed());
    s.paths_used = u32::try_from(visible.paths_used()).unwrap_or(u32::MAX);
    if visible.paths_used() > u64::from(s.paths_capacity) {
        r.write_back()?;
        return Err(code::ERANGE);
    }
    s.distances = scanner.computed();
    results.write(s.hits, s.counts)?;
    r.write_back()
}

/// Goes once through the index for all queries that are not complete.
fn round(
    file: &FileRef<'_, VexFs>,
    index: &Index,
    queries: &[u8],
    scanner: &mut Scanner,
    visible: &mut Visible<'_>,
    results: &mut Results,
    ask_first: bool,
) -> Result {
    let sb = file.inode().sb();
    let k = results.k;
    // Without asking first some more are collected, in place of those that the caller may not see.
    let room = if ask_first {
        k
    } else {
        k.saturating_add(k / 4).saturating_add(16)
    };
    let open = results.progress.iter().filter(|p| !p.complete).count();
    let mut candidates = KVVec::from_elem(
        Candidate::default(),
        open.saturating_mul(room),
        GFP_KERNEL_ACCOUNT,
    )?;
    let mut collections = KVVec::<TopK<'_>>::with_capacity(open, GFP_KERNEL_ACCOUNT)?;
    let mut bytes = KVVec::<u8>::with_capacity(
        open.saturating_mul(index.vector_bytes()),
        GFP_KERNEL_ACCOUNT,
    )?;
    let (mut rest, mut vectors) = (candidates.as_mut_slice(), queries);
    for p in &results.progress {
        let (query, others) = vectors
            .split_at_checked(index.vector_bytes())
            .ok_or(code::EINVAL)?;
        vectors = others;
        if p.complete {
            continue;
        }
        let wanted = if ask_first {
            k.saturating_sub(p.found)
        } else {
            room
        };
        let (memory, behind) = core::mem::take(&mut rest)
            .split_at_mut_checked(wanted)
            .ok_or(code::EINVAL)?;
        rest = behind;
        let collection = match p.last {
            Some(last) => TopK::after(memory, last),
            None => TopK::new(memory),
        };
        collections.push(collection, GFP_KERNEL_ACCOUNT)?;
        bytes.extend_from_slice(query, GFP_KERNEL_ACCOUNT)?;
    }
    let mut norms = KVVec::from_elem(0u64, open, GFP_KERNEL_ACCOUNT)?;
    let prepared = Queries::prepare(scanner.fpu(), &ioctl::kind(index)?, &bytes, &mut norms)
        .map_err(|_| code::EINVAL)?;
    scanner.pass(
        sb,
        index,
        &prepared,
        &mut collections,
        |record| match ask_first {
            true => visible.admits(record),
            false => Ok(true),
        },
    )?;
    let mut collections = collections.into_iter();
    for query in 0..results.progress.len() {
        if results.progress.get(query).is_some_and(|p| !p.complete) {
            let collection = collections.next().ok_or(code::EINVAL)?;
            results.take(query, index, collection, visible)?;
        }
    }
    Ok(())
}

impl Results {
    /// Makes hits of what was collected for a query.
    fn take(
        &mut self,
        query: usize,
        index: &Index,
        collection: TopK<'_>,
        visible: &mut Visible<'_>,
    ) -> Result {
        let more = collection.is_full();
        let start = query.saturating_mul(self.k);
        let hits = self
            .hits
            .get_mut(start..start.saturating_add(self.k))
            .ok_or(code::EINVAL)?;
        let progress = self.progress.get_mut(query).ok_or(code::EINVAL)?;
        // Other queries may have overwritten what an earlier round noted.
        for hit in hits.iter().take(progress.found) {
            self.seen.insert(hit.inode, hit.label, query)?;
        }
        for candidate in collection.into_sorted() {
            let Some(hit) = hits.get_mut(progress.found) else {
                break;
            };
            let rank = candidate.rank;
            progress.last = Some(rank);
            if self.seen.get(rank.inode, rank.label) == Some(query) {
                continue;
            }
            let record = pass::record(index.id, candidate);
            let Some(place) = visible.path(&record)? else {
                continue;
            };
            *hit = Hit {
                inode: rank.inode,
                label: rank.label,
                tag: candidate.tag,
                distance: rank.distance.to_f64_bits(),
                generation: record.generation,
                // Those that do not fit are not returned.
                path_offset: place.offset as u32,
                path_len: place.len as u32,
                reserved0: 0,
            };
            progress.found = progress.found.saturating_add(1);
            self.seen.insert(rank.inode, rank.label, query)?;
        }
        progress.complete = progress.found == self.k || !more;
        Ok(())
    }

    /// Writes hits and their numbers to the caller's arrays.
    fn write(&self, hits: u64, counts: u64) -> Result {
        for (query, progress) in self.progress.iter().enumerate() {
            let start = query.saturating_mul(self.k);
            let found = self
                .hits
                .get(start..start.saturating_add(progress.found))
                .ok_or(code::EINVAL)?;
            request::write(
                hits,
                start.saturating_mul(size_of::<Hit>()),
                found.as_bytes(),
            )?;
            let count = progress.found as u32;
            request::write(
                counts,
                query.saturating_mul(size_of::<u32>()),
                &count.to_ne_bytes(),
            )?;
        }
        Ok(())
    }
}
