// SPDX-License-Identifier: GPL-2.0-only
//! Search: the nearest records that the caller may see, with paths.
//!
//! | module | responsibility |
//! |---|---|
//! | [`filter`] | conditions that hits must meet |
//! | [`near`] | the search tree's candidates for one query |
//! | [`pass`] | comparing; all records of an index against all queries |
//! | [`rounds`] | what is tried after what, until every query has its hits |
//! | [`visible`] | liveness, permissions, paths |
//! | [`table`] | hash table for verdicts |

mod filter;
mod near;
mod pass;
mod rounds;
mod table;
mod visible;

use super::ioctl::{self, request, rights, Right};
use super::VexFs;
use crate::vfs::{code, FileRef, IoctlArg, Result};
use engine::vector::tree::Aim;
use filter::Conditions;
use rounds::{Rounds, Wanted};
use uapi::search::{SEARCH_EXACT, SEARCH_RECALL};
use uapi::Search;
use visible::Visible;

/// Serves the request.
#[inline(never)]
pub(super) fn serve(file: &FileRef<'_, VexFs>, arg: IoctlArg) -> Result {
    let mut r = request::read::<Search>(arg)?;
    let s = &mut r.body;
    let sb = file.inode().sb();
    let index = ioctl::named(sb, &s.name)?;
    rights::check(file.idmap(), &index, Right::Search)?;
    if s.query_bytes as usize != index.vector_bytes() {
        return Err(code::EINVAL);
    }
    let wanted = Wanted {
        count: s.query_count as usize,
        k: s.k as usize,
        exact: s.flags & SEARCH_EXACT != 0,
        aim: match (s.probes, s.recall) {
            (0, 0) => Aim::Recall(SEARCH_RECALL),
            (0, recall) => Aim::Recall(recall),
            (probes, _) => Aim::Probes(probes as usize),
        },
    };
    let mut queries = request::buffer(wanted.count.saturating_mul(index.vector_bytes()))?;
    request::copy_in(s.queries, 0, &mut queries)?;
    let filter = Conditions::read(sb, s.filter)?;
    let visible = Visible::new(file, s.paths, s.paths_capacity, &filter)?;
    let mut rounds = Rounds::new(sb, &index, &queries, wanted, &filter, visible)?;
    rounds.run()?;
    let activity = sb.mount().activities().of(index.id)?;
    activity.queries.add(wanted.count as u64);
    activity.distances.add(rounds.computed());
    activity.partitions.add(rounds.looked);
    activity.restarts.add(rounds.restarts);
    let counters = sb.mount().counters();
    counters.queries.add(wanted.count as u64);
    counters.distances.add(rounds.computed());
    s.distances = rounds.computed();
    let paths_used = rounds.visible.paths_used();
    s.paths_used = u32::try_from(paths_used).unwrap_or(u32::MAX);
    if paths_used > u64::from(s.paths_capacity) {
        s.distances = 0;
        r.write_back()?;
        return Err(code::ERANGE);
    }
    rounds.results.write(s.hits, s.counts)?;
    r.write_back()
}
