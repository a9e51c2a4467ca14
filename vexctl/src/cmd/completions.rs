// SPDX-License-Identifier: GPL-2.0-only
//! `completions`: a script for a shell, made from the command line's description.

use anyhow::Result;
use clap::CommandFactory as _;

use crate::cli::{Cli, Completions};
use crate::output;

/// Runs the command.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &Completions) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vexctl", &mut script);
    output::write_all(|out| out.write_all(&script))
}
