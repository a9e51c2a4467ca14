// SPDX-License-Identifier: GPL-2.0-only
//! `index stats`: what was done with an index since the filesystem was mounted.

use anyhow::{Context as _, Result};

use crate::backend::Access;
use crate::cli::{Cli, Named};
use crate::cmd::{find_index, with_backend};
use crate::model::{printable, IndexStats};
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Named) -> Result<()> {
    let report = with_backend(cli, &args.path, Access::Read, |backend| {
        let index = find_index(backend, &args.name)?;
        let since_mount = backend
            .activity(&index)
            .with_context(|| format!("index {}", printable(index.name.as_bytes())))?;
        Ok(IndexStats { index, since_mount })
    })?;
    output::print(cli.json, &report)
}
