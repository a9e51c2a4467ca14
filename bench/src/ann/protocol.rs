// SPDX-License-Identifier: GPL-2.0-only
//! The requests that bench/ann makes of a peer. What each answers is described in docs/ann-benchmark.md and made by [`super::driver`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{json, Value};

/// Settings of a search, by name: how hard it tries. Each kind of index has its own.
pub type Knobs = BTreeMap<String, u64>;

/// A request.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    /// What can be done, and the settings to try.
    Describe {},
    /// Takes these queries for all that follows.
    Load { queries: PathBuf },
    /// Builds an index of the rows of `base` in the folder `store`, durably.
    Build { base: PathBuf, store: PathBuf },
    /// Opens an index and answers the first query.
    Open {
        store: PathBuf,
        spare: u64,
        k: u32,
        knobs: Knobs,
    },
    /// Answers all queries, or as many as it can in about so many seconds, and writes the rows found.
    Calibrate {
        k: u32,
        knobs: Knobs,
        seconds: f64,
        output: PathBuf,
    },
    /// Answers the first `queries` queries, `batch` in a call, going on where the last request ended.
    Search {
        k: u32,
        knobs: Knobs,
        queries: usize,
        batch: usize,
        seconds: f64,
        warm_seconds: f64,
    },
    /// Resident memory.
    Memory,
    /// Inserts the vectors of a file under the numbers `rows`, or without a file deletes these rows.
    Change {
        insert: Option<PathBuf>,
        rows: Vec<u64>,
        durable: bool,
        batch: usize,
        seconds: f64,
    },
}

/// The answer to a request that failed.
pub fn failure(why: &anyhow::Error) -> Value {
    json!({ "error": format!("{why:#}") })
}
