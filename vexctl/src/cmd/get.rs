// SPDX-License-Identifier: GPL-2.0-only
//! `get`: a record of a file.

use anyhow::{Context as _, Result};

use super::{find_index, shown, with_backend};
use crate::backend::Access;
use crate::cli::{Cli, Record};
use crate::{model, output};

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Record) -> Result<()> {
    let (vector, tag) = with_backend(cli, &args.file, Access::Read, |backend| {
        let index = find_index(backend, &args.name)?;
        backend
            .get(&index, args.label)
            .with_context(|| shown(&args.file))
    })?;
    let report = model::Record {
        path: args.file.to_string_lossy().into_owned(),
        index: args.name.clone(),
        label: args.label,
        tag,
        elements: vector
            .chunks_exact(4)
            .filter_map(|element| element.try_into().ok().map(f32::from_le_bytes))
            .collect(),
    };
    output::print(cli.json, &report)
}
