// SPDX-License-Identifier: GPL-2.0-only
//! Serves requests: measures what the [store](super::store) does. Knows nothing about kinds of indexes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{json, Value};

use super::clock;
use super::matrix::{write_rows, Matrix};
use super::protocol::{Knobs, Request};
use super::store::Store;

/// While a rate is not known, a call takes as many queries as take about this long.
const CALL: Duration = Duration::from_millis(50);
/// A round that was to use the processor for some time ends after so many times that, if it had to wait as long.
const PATIENCE: f64 = 20.0;

/// A peer, and the queries that it is asked.
pub struct Driver {
    store: Store,
    queries: Matrix,
    /// The query that the next round begins with.
    next: usize,
    /// Answers of the last call, to use their memory again.
    rows: Vec<i64>,
}

impl Driver {
    /// Without queries.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            queries: Matrix::default(),
            next: 0,
            rows: Vec::new(),
        }
    }

    /// Does what a request asks for.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub fn serve(&mut self, request: Request) -> Result<Value> {
        match request {
            Request::Describe {} => Ok(json!({
                "version": env!("CARGO_PKG_VERSION"),
                "knobs": self.store.knobs(),
                "can": ["insert", "delete", "sync"],
            })),
            Request::Load { queries } => {
                self.queries = Matrix::read(&queries)?;
                Ok(json!({}))
            }
            Request::Build { base, store } => {
                let base = Matrix::read(&base)?;
                let watch = Watch::start()?;
                let built = self.store.build(&base, &store)?;
                let (wall, cpu) = watch.read()?;
                Ok(json!({
                    "seconds": wall,
                    "cpu_seconds": cpu,
                    "save_seconds": 0.0,
                    "disk_bytes": built.disk_bytes,
                    "options": {},
                }))
            }
            Request::Open {
                store,
                spare,
                k,
                knobs,
            } => {
                let start = Instant::now();
                self.store.open(&store, spare > 0)?;
                let opened = start.elapsed();
                self.answer(0, 1, k, &knobs)?;
                let answered = start.elapsed();
                Ok(json!({
                    "seconds": opened.as_secs_f64(),
                    "first_seconds": answered.as_secs_f64(),
                }))
            }
            Request::Calibrate {
                k,
                knobs,
                seconds,
                output,
            } => {
                let watch = Watch::start()?;
                let rows = self.calibrate(k, &knobs, seconds)?;
                let (wall, cpu) = watch.read()?;
                write_rows(&output, &rows, k as usize)?;
                Ok(json!({ "queries": rows.len() / k.max(1) as usize, "wall": wall, "cpu": cpu }))
            }
            Request::Search {
                k,
                knobs,
                queries,
                batch,
                seconds,
                warm_seconds,
            } => {
                self.rounds(queries, batch, k, &knobs, warm_seconds)?;
                let watch = Watch::start()?;
                let count = self.rounds(queries, batch, k, &knobs, seconds)?;
                let (wall, cpu) = watch.read()?;
                Ok(json!({ "queries": count, "wall": wall, "cpu": cpu }))
            }
            Request::Memory => {
                let (resident, file) = clock::resident()?;
                Ok(json!({ "resident": resident, "file": file }))
            }
            Request::Change {
                insert,
                rows,
                durable,
                batch,
                seconds,
            } => {
                let vectors = insert.map(|path| Matrix::read(&path)).transpose()?;
                let watch = Watch::start()?;
                let done = self.change(vectors.as_ref(), &rows, durable, batch.max(1), seconds)?;
                let (wall, cpu) = watch.read()?;
                Ok(json!({ "rows": done, "wall": wall, "cpu": cpu }))
            }
        }
    }

    /// Answers `count` queries from `first` on in one call, into `self.rows`.
    fn answer(&mut self, first: usize, count: usize, k: u32, knobs: &Knobs) -> Result<()> {
        self.rows.clear();
        let queries = self.queries.part(first, count);
        self.store.search(queries, k, knobs, &mut self.rows)
    }

    fn calibrate(&mut self, k: u32, knobs: &Knobs, seconds: f64) -> Result<Vec<i64>> {
        let mut rows = Vec::new();
        let (mut done, mut size) = (0, 1);
        let start = Instant::now();
        while done < self.queries.rows() {
            let before = Instant::now();
            self.answer(done, size, k, knobs)?;
            rows.extend_from_slice(&self.rows);
            done += size;
            if start.elapsed().as_secs_f64() >= seconds {
                break;
            }
            if before.elapsed() < CALL {
                size *= 2;
            }
        }
        Ok(rows)
    }

    /// Answers the first `queries` queries for so many seconds of the processor, going on where the last round ended, and returns how many it were.
    fn rounds(
        &mut self,
        queries: usize,
        batch: usize,
        k: u32,
        knobs: &Knobs,
        seconds: f64,
    ) -> Result<usize> {
        let watch = Watch::start()?;
        let mut count = 0;
        loop {
            let first = if self.next < queries { self.next } else { 0 };
            self.next = (first + batch.max(1)).min(queries);
            self.answer(first, self.next - first, k, knobs)?;
            count += self.next - first;
            let (wall, cpu) = watch.read()?;
            if cpu >= seconds || wall >= PATIENCE * seconds {
                return Ok(count);
            }
        }
    }

    fn change(
        &mut self,
        vectors: Option<&Matrix>,
        rows: &[u64],
        durable: bool,
        batch: usize,
        seconds: f64,
    ) -> Result<usize> {
        let start = Instant::now();
        let mut done = 0;
        while done < rows.len() && start.elapsed().as_secs_f64() < seconds {
            let end = (done + batch).min(rows.len());
            let part = rows.get(done..end).context("no such rows")?;
            match vectors {
                Some(vectors) => self.store.insert(vectors.part(done, part.len()), part)?,
                None => self.store.delete(part)?,
            }
            if durable {
                self.store.sync()?;
            }
            done = end;
        }
        Ok(done)
    }
}

/// Wall and processor time from its start on.
struct Watch {
    wall: Instant,
    cpu: Duration,
}

impl Watch {
    fn start() -> Result<Self> {
        Ok(Self {
            cpu: clock::processor()?,
            wall: Instant::now(),
        })
    }

    /// Seconds of both.
    fn read(&self) -> Result<(f64, f64)> {
        let wall = self.wall.elapsed().as_secs_f64();
        let cpu = clock::processor()?.saturating_sub(self.cpu);
        Ok((wall, cpu.as_secs_f64()))
    }
}
