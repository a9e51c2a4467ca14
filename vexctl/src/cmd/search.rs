// SPDX-License-Identifier: GPL-2.0-only
//! `search`: the nearest records of each query, in requests within the kernel's bounds.

use std::path::Path;

use anyhow::Result;
use uapi::search::{SEARCH_HITS_MAX, SEARCH_QUERIES_MAX};

use super::{check_dim, check_vector, find_index, with_backend};
use crate::backend::{Access, Queries};
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
    let mut rows = Vectors::open(npy)?;
    let report = with_backend(cli, &args.index.path, Access::Read, |backend| {
        let index = find_index(backend, &args.index.name)?;
        check_dim(&rows, npy, &index)?;
        let mut report = model::Search {
            index: index.name.clone(),
            metric: index.metric,
            k: args.k,
            queries: Vec::new(),
        };
        let most = (SEARCH_HITS_MAX / args.k.max(1)).clamp(1, SEARCH_QUERIES_MAX);
        let mut vectors = Vec::new();
        loop {
            vectors.clear();
            let first = report.queries.len() as u64;
            let count = read(&mut rows, &mut vectors, first, most, npy, &index)?;
            if count == 0 {
                return Ok(report);
            }
            let queries = Queries {
                vectors: &vectors,
                count,
                k: args.k,
                exact: args.exact,
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

/// Appends up to `most` queries, of which the first is row `first`; returns how many.
fn read<R: std::io::Read>(
    rows: &mut Vectors<R>,
    vectors: &mut Vec<u8>,
    first: u64,
    most: u32,
    file: &Path,
    index: &model::Index,
) -> Result<u32> {
    for count in 0..most {
        let start = vectors.len();
        if !rows.next_row(vectors)? {
            return Ok(count);
        }
        let vector = vectors.get(start..).unwrap_or_default();
        check_vector(vector, file, first + u64::from(count), index)?;
    }
    Ok(most)
}
