// SPDX-License-Identifier: GPL-2.0-only
//! `man`: manual pages, made from the command line's description. docs/man holds what
//! this writes, and a test compares the two.

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use super::shown;
use crate::cli::{Cli, Man};
use crate::output;

/// Runs the command.
///
/// # Errors
/// Standard output or the folder cannot be written.
pub fn run(args: &Man) -> Result<()> {
    match &args.folder {
        Some(folder) => {
            clap_mangen::generate_to(Cli::command(), folder).with_context(|| shown(folder))
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command())
                .render(&mut page)
                .context("manual page")?;
            output::write_all(|out| out.write_all(&page))
        }
    }
}
