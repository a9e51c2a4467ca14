// SPDX-License-Identifier: GPL-2.0-only
//! What `index calibrate` finds out.

use std::io::{self, Write};

use serde::Serialize;

use super::{printable, records, Report};

/// `index calibrate`.
#[derive(Debug, Serialize)]
pub struct Calibration {
    /// The index.
    pub index: String,
    /// Its records.
    pub records: u64,
    /// Partitions of its search tree.
    pub partitions: u32,
    /// Queries asked.
    pub queries: u32,
    /// Hits wanted of each.
    pub k: u32,
    /// What was found, by recall; nothing if what was known before was forgotten.
    pub measured: Vec<Measured>,
}

/// What a recall takes.
#[derive(Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The recall that was wanted.
    pub wanted: f64,
    /// The least number of leaves that reached it.
    pub leaves: u32,
    /// The recall with so many.
    pub recall: f64,
}

impl Report for Calibration {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let index = printable(self.index.as_bytes());
        if self.measured.is_empty() {
            return writeln!(out, "{index}: what was measured is forgotten");
        }
        writeln!(
            out,
            "{index}: {} in {} partitions; {} queries for {} hits each",
            records(self.records),
            self.partitions,
            self.queries,
            self.k
        )?;
        for line in &self.measured {
            writeln!(
                out,
                "recall {} takes {} leaves ({:.4})",
                line.wanted, line.leaves, line.recall
            )?;
        }
        Ok(())
    }
}
