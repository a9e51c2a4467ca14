// SPDX-License-Identifier: GPL-2.0-only
//! Results on standard output, progress on standard error.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::model::{Report, VERSION};

#[derive(Serialize)]
struct Versioned<'a, R> {
    version: u32,
    #[serde(flatten)]
    report: &'a R,
}

/// Prints a result, as JSON or as text. A reader that has gone away (`| head`) is not
/// an error: it has seen enough.
///
/// # Errors
/// Standard output cannot be written.
pub fn print<R: Report>(json: bool, report: &R) -> Result<()> {
    write_all(|out| {
        if json {
            let version = VERSION;
            serde_json::to_writer(&mut *out, &Versioned { version, report })?;
            writeln!(out)
        } else {
            report.write_text(out)
        }
    })
}

/// Writes to standard output, with a buffer, and with the same view of readers that
/// have gone away.
///
/// # Errors
/// Standard output cannot be written.
pub fn write_all(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // What is left in the buffer has nowhere to go.
            let _ = out.into_parts();
            Ok(())
        }
        result => result.context("standard output"),
    }
}

/// An error and its causes on one line. Some errors tell their cause themselves: it is
/// not told again.
#[must_use]
pub fn reasons(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

/// A bar on standard error if that is a terminal and no program reads along.
#[must_use]
pub fn progress(json: bool, rows: Option<u64>) -> ProgressBar {
    if json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = match rows {
        Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
        None => "{msg} {spinner} {human_pos} {per_sec}",
    };
    let bar = ProgressBar::with_draw_target(rows, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
