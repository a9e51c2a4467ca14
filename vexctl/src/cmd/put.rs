// SPDX-License-Identifier: GPL-2.0-only
//! `put`: one vector for one file.

use anyhow::{ensure, Context as _, Result};

use super::{check_dim, check_vector, find_index, shown, with_backend};
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
    let (mut vector, mut more) = (Vec::new(), Vec::new());
    rows.next_row(&mut vector)?;
    ensure!(
        !rows.next_row(&mut more)?,
        "{}: several rows, but put stores one (import stores many)",
        shown(npy)
    );
    let file = &args.record.file;
    with_backend(cli, file, Access::WriteFile, |backend| {
        let index = find_index(backend, &args.record.name)?;
        check_dim(&rows, npy, &index)?;
        check_vector(&vector, npy, 0, &index)?;
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
