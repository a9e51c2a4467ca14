// SPDX-License-Identifier: GPL-2.0-only
//! `bench`: how much of its own exact answers an index finds, and how fast, at several
//! efforts. Times are wall-clock times of whole requests, in this process.

use std::collections::HashSet;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use uapi::search::{SEARCH_HITS_MAX, SEARCH_QUERIES_MAX};

use super::rows::Rows;
use super::{find_index, with_backend};
use crate::backend::{Access, Backend, Effort, Filter, Queries};
use crate::cli::{Bench, Cli};
use crate::input::Vectors;
use crate::model::{self, Hit};
use crate::output;

/// The efforts that are tried unless the user says which, in ten thousandths.
const RECALLS: [u32; 5] = [9_000, 9_500, 9_800, 9_900, 9_950];
/// Most queries that are used.
const MOST: u32 = 10_000;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Bench) -> Result<()> {
    let mut rows = Vectors::open(&args.npy)?;
    let report = with_backend(cli, &args.index.path, Access::Read, |backend| {
        let index = find_index(backend, &args.index.name)?;
        let asked = Asked::read(&mut rows, &args.npy, &index, args.k)?;
        let mut run = Run {
            backend,
            index: &index,
            asked: &asked,
            slice: Duration::from_secs_f64(args.seconds),
        };
        let (exact, truth) = run.measure("exact", Effort::All)?;
        let mut efforts = vec![exact];
        let recalls: &[u32] = match args.recall.as_slice() {
            [] => &RECALLS,
            given => given,
        };
        for recall in recalls {
            let name = format!("recall {}", f64::from(*recall) / 10_000.0);
            let (mut line, answers) = run.measure(&name, Effort::Recall(*recall))?;
            line.recall = found(&truth, &answers);
            efforts.push(line);
        }
        for probes in &args.probes {
            let name = format!("probes {probes}");
            let (mut line, answers) = run.measure(&name, Effort::Probes(*probes))?;
            line.recall = found(&truth, &answers);
            efforts.push(line);
        }
        for beam in &args.beam {
            let name = format!("beam {beam}");
            let (mut line, answers) = run.measure(&name, Effort::Beam(*beam))?;
            line.recall = found(&truth, &answers);
            efforts.push(line);
        }
        Ok(model::Bench {
            index: index.name.clone(),
            records: index.records,
            k: args.k,
            queries: asked.count,
            efforts,
        })
    })?;
    output::print(cli.json, &report)
}

/// What is measured, and with what.
struct Run<'a> {
    backend: &'a mut dyn Backend,
    index: &'a model::Index,
    asked: &'a Asked,
    slice: Duration,
}

impl Run<'_> {
    /// Answers all queries once, for the answers, and then as often as fit the time.
    fn measure(&mut self, name: &str, effort: Effort) -> Result<(model::BenchLine, Vec<Vec<Hit>>)> {
        let answers = self.pass(effort)?;
        let (start, mut passes) = (Instant::now(), 0u32);
        while passes == 0 || start.elapsed() < self.slice {
            self.pass(effort)?;
            passes += 1;
        }
        let each = start.elapsed().as_secs_f64() / f64::from(passes) / f64::from(self.asked.count);
        let line = model::BenchLine {
            effort: name.to_owned(),
            recall: 1.0,
            rate: each.recip(),
            microseconds: each * 1e6,
        };
        Ok((line, answers))
    }

    fn pass(&mut self, effort: Effort) -> Result<Vec<Vec<Hit>>> {
        self.asked.answers(self.backend, self.index, effort)
    }
}

/// Queries that are asked again and again.
pub(super) struct Asked {
    vectors: Vec<u8>,
    pub(super) count: u32,
    k: u32,
}

impl Asked {
    /// Takes the queries of a file, for `k` hits each.
    pub(super) fn read<R: BufRead>(
        rows: &mut Vectors<R>,
        path: &Path,
        index: &model::Index,
        k: u32,
    ) -> Result<Self> {
        let mut rows = Rows::new(rows, path, index)?;
        let mut vectors = Vec::new();
        let mut count = 0;
        while count < MOST && rows.next(&mut vectors)? {
            count += 1;
        }
        ensure!(count > 0, "{}: no queries", super::shown(path));
        Ok(Asked { vectors, count, k })
    }

    /// The answers to all of them.
    pub(super) fn answers(
        &self,
        backend: &mut dyn Backend,
        index: &model::Index,
        effort: Effort,
    ) -> Result<Vec<Vec<Hit>>> {
        let most = (SEARCH_HITS_MAX / self.k.max(1)).clamp(1, SEARCH_QUERIES_MAX) as usize;
        let filter = Filter::default();
        let mut answers = Vec::with_capacity(self.count as usize);
        for vectors in self.vectors.chunks(most * index.vector_bytes()) {
            let queries = Queries {
                vectors,
                count: (vectors.len() / index.vector_bytes()) as u32,
                k: self.k,
                effort,
                filter: &filter,
            };
            answers.extend(backend.search(index, &queries)?);
        }
        Ok(answers)
    }
}

/// The part of the right answers that was found. Of equally near records any is right.
pub(super) fn found(truth: &[Vec<Hit>], answers: &[Vec<Hit>]) -> f64 {
    let (mut same, mut all) = (0usize, 0usize);
    for (right, hits) in truth.iter().zip(answers) {
        let known: HashSet<(u64, u64)> = right.iter().map(|hit| (hit.inode, hit.label)).collect();
        let farthest = right.last().map(|hit| hit.distance);
        let counts =
            |hit: &&Hit| known.contains(&(hit.inode, hit.label)) || Some(hit.distance) == farthest;
        same += hits.iter().filter(counts).count().min(right.len());
        all += right.len();
    }
    match all {
        0 => 1.0,
        all => same as f64 / all as f64,
    }
}
