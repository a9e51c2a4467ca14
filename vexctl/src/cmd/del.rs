// SPDX-License-Identifier: GPL-2.0-only
//! `del`: a record of a file, or all that it has in an index.

use anyhow::{Context as _, Result};

use super::{find_index, shown, with_backend};
use crate::backend::Access;
use crate::cli::{Cli, Del};
use crate::model::Changed;
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Del) -> Result<()> {
    let file = &args.record.file;
    let label = (!args.all).then_some(args.record.label);
    let deleted = with_backend(cli, file, Access::WriteFile, |backend| {
        let index = find_index(backend, &args.record.name)?;
        backend.delete(&index, label).with_context(|| shown(file))
    })?;
    let report = Changed {
        index: args.record.name.clone(),
        deleted: Some(deleted),
        ..Changed::default()
    };
    output::print(cli.json, &report)
}
