// SPDX-License-Identifier: GPL-2.0-only
//! What the commands do: read inputs, check them against the index, let the backend
//! work, and report. A module for each command or group of commands.

pub mod bench;
pub mod completions;
pub mod del;
pub mod get;
pub mod import;
pub mod index;
pub mod man;
pub mod put;
mod rows;
pub mod search;
pub mod stat;

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::backend::{self, Access, Backend};
use crate::cli::{Cli, Command};
use crate::model::{self, printable};

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Index(command) => index::run(cli, command),
        Command::Put(args) => put::run(cli, args),
        Command::Get(args) => get::run(cli, args),
        Command::Del(args) => del::run(cli, args),
        Command::Import(args) => import::run(cli, args),
        Command::Search(args) => search::run(cli, args),
        Command::Bench(args) => bench::run(cli, args),
        Command::Stat(args) => stat::run(cli, args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}

/// Opens the filesystem, lets `work` use it, and ends its use in either case.
fn with_backend<T>(
    cli: &Cli,
    path: &Path,
    access: Access,
    work: impl FnOnce(&mut dyn Backend) -> Result<T>,
) -> Result<T> {
    let mut backend = backend::open(cli.img.as_deref(), path, access)?;
    let result = work(&mut *backend);
    let finished = backend.finish().context("not everything was kept");
    // The first reason is the cause.
    let value = result?;
    finished?;
    Ok(value)
}

/// The index called `name`, with that name in the error.
fn find_index(backend: &mut dyn Backend, name: &str) -> Result<model::Index> {
    backend
        .info(name)
        .with_context(|| format!("index {}", printable(name.as_bytes())))
}

/// A path for messages.
fn shown(path: &Path) -> String {
    printable(path.as_os_str().as_encoded_bytes())
}
