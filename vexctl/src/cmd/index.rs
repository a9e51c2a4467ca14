// SPDX-License-Identifier: GPL-2.0-only
//! `index create`, `list`, `info`, `optimize`, `drop`; the other commands for search trees have files of their own.

mod build;
mod calibrate;
mod verify;

use anyhow::{Context as _, Result};

use super::{find_index, with_backend};
use crate::backend::{Access, NewIndex};
use crate::cli::{Cli, Create, IndexCommand, Named};
use crate::model::{Changed, IndexInfo, IndexList};
use crate::output;

/// Runs a command for indexes.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, command: &IndexCommand) -> Result<()> {
    match command {
        IndexCommand::Create(args) => create(cli, args),
        IndexCommand::List(args) => {
            let indexes = with_backend(cli, &args.path, Access::Read, |backend| backend.list())?;
            output::print(cli.json, &IndexList { indexes })
        }
        IndexCommand::Info(args) => {
            let index = with_backend(cli, &args.path, Access::Read, |backend| {
                find_index(backend, &args.name)
            })?;
            output::print(cli.json, &IndexInfo { index })
        }
        IndexCommand::Verify(args) => verify::run(cli, args),
        IndexCommand::Build(args) => build::run(cli, args, build::From::Present),
        IndexCommand::Rebuild(args) => build::run(cli, args, build::From::Nothing),
        IndexCommand::Calibrate(args) => calibrate::run(cli, args),
        IndexCommand::Optimize(args) => optimize(cli, args),
        IndexCommand::Drop(args) => drop_index(cli, args),
    }
}

fn create(cli: &Cli, args: &Create) -> Result<()> {
    let name = &args.index.name;
    let index = with_backend(cli, &args.index.path, Access::Manage, |backend| {
        let new = NewIndex {
            name,
            kind: args.kind()?,
            mode: args.mode,
        };
        backend
            .create(&new)
            .with_context(|| format!("index {name}"))?;
        find_index(backend, name)
    })?;
    output::print(cli.json, &IndexInfo { index })
}

fn optimize(cli: &Cli, args: &Named) -> Result<()> {
    let bar = output::progress(cli.json, Some(0));
    bar.set_message("optimising");
    let index = with_backend(cli, &args.path, Access::Manage, |backend| {
        backend
            .optimize(&args.name, &mut |done, all| {
                bar.set_length(all);
                bar.set_position(done);
            })
            .with_context(|| format!("index {}", args.name))?;
        find_index(backend, &args.name)
    });
    bar.finish_and_clear();
    output::print(cli.json, &IndexInfo { index: index? })
}

fn drop_index(cli: &Cli, args: &Named) -> Result<()> {
    with_backend(cli, &args.path, Access::Manage, |backend| {
        backend
            .drop_index(&args.name)
            .with_context(|| format!("index {}", args.name))
    })?;
    let report = Changed {
        index: args.name.clone(),
        dropped: true,
        ..Changed::default()
    };
    output::print(cli.json, &report)
}
