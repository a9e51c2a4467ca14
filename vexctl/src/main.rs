// SPDX-License-Identifier: GPL-2.0-only
//! vexctl: manage and query the vector indexes of a VexFS filesystem. Parses the
//! command line, runs the command, and turns its outcome into an exit status; what a
//! command does is the library's.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use vexctl::cli::Cli;

fn main() -> ExitCode {
    // Wrong usage ends here, with status 2.
    let cli = Cli::parse();
    match vexctl::cmd::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vexctl: {}", vexctl::output::reasons(&error));
            ExitCode::FAILURE
        }
    }
}
