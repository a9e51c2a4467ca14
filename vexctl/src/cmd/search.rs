// SPDX-License-Identifier: GPL-2.0-only
//! `search`: the nearest records of each query, in requests within the kernel's bounds.

use anyhow::Result;
use uapi::search::{SEARCH_HITS_MAX, SEARCH_QUERIES_MAX};

use super::rows::Rows;
use super::{find_index, with_backend};
use crate::backend::{Access, Effort, Filter, Queries};
use crate::cli::{Cli, Search};
use crate::input::Vectors;
use crate::model::{self, Answer};
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Search) -> Result<()> {
    let npy = &args.npy;
    let effort = match (args.exact, args.probes, args.beam) {
        (true, ..) => Effort::All,
        (false, Some(probes), _) => Effort::Probes(probes),
        (false, None, Some(beam)) => Effort::Beam(beam),
        (false, None, None) => Effort::Recall(args.recall),
    };
    let filter = Filter {
        labels: args.labels,
        tag: args.tag,
        uid: args.uid,
        modified: args.modified,
        within: args.within.clone(),
        distance: args.distance,
    };
    let mut rows = Vectors::open(npy)?;
    let report = with_backend(cli, &args.index.path, Access::Read, |backend| {
        let index = find_index(backend, &args.index.name)?;
        let mut rows = Rows::new(&mut rows, npy, &index)?;
        let mut report = model::Search {
            index: index.name.clone(),
            metric: index.kind.metric(),
            k: args.k,
            queries: Vec::new(),
        };
        let most = (SEARCH_HITS_MAX / args.k.max(1)).clamp(1, SEARCH_QUERIES_MAX);
        let mut vectors = Vec::new();
        loop {
            vectors.clear();
            let first = report.queries.len() as u64;
            let count = read(&mut rows, &mut vectors, most)?;
            if count == 0 {
                return Ok(report);
            }
            let queries = Queries {
                vectors: &vectors,
                count,
                k: args.k,
                effort,
                filter: &filter,
            };
            let answers = backend.search(&index, &queries)?;
            report.queries.extend(
                (first..)
                    .zip(answers)
                    .map(|(query, hits)| Answer { query, hits }),
            );
        }
    })?;
    output::print(cli.json, &report)
}

/// Appends up to `most` queries; returns how many.
fn read<R: std::io::BufRead>(
    rows: &mut Rows<'_, R>,
    vectors: &mut Vec<u8>,
    most: u32,
) -> Result<u32> {
    for count in 0..most {
        if !rows.next(vectors)? {
            return Ok(count);
        }
    }
    Ok(most)
}
