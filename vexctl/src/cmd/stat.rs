// SPDX-License-Identifier: GPL-2.0-only
//! `stat`: what the vector part of a filesystem holds and did.

use anyhow::Result;

use super::with_backend;
use crate::backend::Access;
use crate::cli::{Cli, Stat};
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Stat) -> Result<()> {
    let report = with_backend(cli, &args.place.path, Access::Read, |backend| {
        backend.stat()
    })?;
    output::print(cli.json, &report)
}
