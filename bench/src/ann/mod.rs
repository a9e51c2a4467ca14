// SPDX-License-Identifier: GPL-2.0-only
//! `ann-driver`: VexFS as a peer of bench/ann. Serves the requests of docs/ann-benchmark.md, one in JSON a line on standard input, with an answer a line on
//! standard output; times are taken here, around the work alone.
//!
//! | module | what |
//! |---|---|
//! | [`protocol`] | requests and answers |
//! | [`driver`] | serving them: times, rounds, files |
//! | [`store`] | the index that is measured, in an image or on a mount |
//! | [`matrix`] | arrays of numpy as requests name them |
//! | [`clock`] | the processor's time, and memory |

mod clock;
mod driver;
mod matrix;
mod protocol;
mod store;

use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;

use anyhow::Result;

pub use store::Kind;

/// Serves requests until standard input ends. `mount` is where a VexFS is mounted; without one, every store is an image.
///
/// # Errors
/// Reading requests or writing answers fails. What a request could not do is its answer.
pub fn run(kind: Kind, mount: Option<PathBuf>) -> Result<()> {
    let mut driver = driver::Driver::new(store::Store::new(kind, mount));
    for line in io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?)
            .map_err(anyhow::Error::new)
            .and_then(|request| driver.serve(request))
            .unwrap_or_else(|why| protocol::failure(&why));
        let mut out = io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
