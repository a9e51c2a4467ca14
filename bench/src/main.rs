// SPDX-License-Identifier: GPL-2.0-only
//! Measurements, each beside a peer in the same run: `cargo run --release -p bench -- NAME`. Says which machine it was,
//! alternates the contestants, and prints medians and ratios. Asserts nothing about time. `ann-driver` is no measurement
//! of its own but one side of bench/ann.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::{Parser, Subcommand};

mod allocator;
mod ann;
mod extent_trees;
mod memory;
mod report;

/// Measurements, each beside a peer in the same run.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Finding free blocks: the engine's scan of bitmaps, against trees of free extents in memory
    Allocator {
        /// Rounds of each contestant, alternating
        #[arg(long, default_value_t = 7)]
        rounds: usize,
        /// Allocations a round
        #[arg(long, default_value_t = 20_000)]
        operations: usize,
    },
    /// VexFS as a peer of bench/ann, which starts this (make bench-ann)
    AnnDriver {
        /// How the index is searched
        #[arg(long)]
        kind: ann::Kind,
        /// A mounted VexFS, in place of images in this process
        #[arg(long)]
        mount: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Allocator { rounds, operations } => {
            report::machine();
            allocator::run(rounds.max(1), operations.max(1))
        }
        What::AnnDriver { kind, mount } => ann::run(kind, mount),
    }
}
