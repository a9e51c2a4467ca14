// SPDX-License-Identifier: GPL-2.0-only
//! `man`: manual pages, made from the command line's description. docs/man holds what
//! this writes, and a test compares the two.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_mangen::Man as Page;

use super::shown;
use crate::cli::{Cli, Man, EXIT_STATUS, JSON_OUTPUT};
use crate::output;

/// Runs the command.
///
/// # Errors
/// Standard output or the folder cannot be written.
pub fn run(args: &Man) -> Result<()> {
    let mut command = Cli::command();
    // Gives subcommands their full names, and the options that all have in common.
    command.build();
    let Some(folder) = &args.folder else {
        let page = page(&command)?;
        return output::write_all(|out| out.write_all(&page));
    };
    let mut left = vec![&command];
    while let Some(command) = left.pop() {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = folder.join(format!("{name}.1"));
        std::fs::write(&path, page(command)?).with_context(|| shown(&path))?;
        left.extend(command.get_subcommands());
    }
    Ok(())
}

/// The page of a command. The main one also says what holds for all.
fn page(command: &Command) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    // No date: pages change when the command line does, and not otherwise.
    let page = Page::new(command.clone()).source("VexFS");
    render(command, &page, &mut out).context("manual page")?;
    Ok(out)
}

fn render(command: &Command, page: &Page, out: &mut Vec<u8>) -> io::Result<()> {
    if command
        .get_display_name()
        .is_some_and(|name| name.contains('-'))
    {
        return page.render(out);
    }
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    page.render_subcommands_section(out)?;
    for (title, text) in [("EXIT STATUS", EXIT_STATUS), ("JSON OUTPUT", JSON_OUTPUT)] {
        // As it stands, without filling lines. No line begins with a control character.
        writeln!(out, ".SH \"{title}\"\n.nf\n{text}\n.fi")?;
    }
    page.render_version_section(out)
}
