// SPDX-License-Identifier: GPL-2.0-only
//! `put`: one vector for one file.

use anyhow::{ensure, Context as _, Result};

use super::rows::Rows;
use super::{find_index, shown, with_backend};
use crate::backend::{Access, NewRecord};
use crate::cli::{Cli, Put};
use crate::input::Vectors;
use crate::model::Changed;
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Put) -> Result<()> {
    let npy = &args.npy;
    let mut rows = Vectors::open(npy)?;
    let file = &args.record.file;
    with_backend(cli, file, Access::WriteFile, |backend| {
        let index = find_index(backend, &args.record.name)?;
        let mut rows = Rows::new(&mut rows, npy, &index)?;
        let (mut vector, mut more) = (Vec::new(), Vec::new());
        ensure!(rows.next(&mut vector)?, "{}: no row", shown(npy));
        ensure!(
            !rows.next(&mut more)?,
            "{}: several rows, but put stores one (import stores many)",
            shown(npy)
        );
        let record = NewRecord {
            label: args.record.label,
            tag: args.tag,
            row: 0,
        };
        backend
            .put(&index, record, &vector)
            .with_context(|| shown(file))
    })?;
    let report = Changed {
        index: args.record.name.clone(),
        stored: Some(1),
        ..Changed::default()
    };
    output::print(cli.json, &report)
}
