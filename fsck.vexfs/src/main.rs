// SPDX-License-Identifier: GPL-2.0-only
//! fsck.vexfs: the program around the checker: arguments, who uses the device, output, exit status. Exit status as fsck(8) has it: 0,
//! 4 (errors left uncorrected), 8 (operational error), 16 (usage).
#![forbid(unsafe_code)]

mod args;
mod output;

use anyhow::{bail, Context, Result};
use args::Args;
use fsck_vexfs::{check, Options, Severity, Summary};
use image::device::{Access, FileDevice};
use image::in_use::{self, Use};
use image::{journal_region, superblock};
use output::{conclusion, list_problems, say, Output, Progress, Report};
use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

const UNCORRECTED: u8 = 4;
const OPERATIONAL: u8 = 8;
const USAGE: u8 = 16;

fn main() -> ExitCode {
    let args = match Args::from_words(std::env::args_os()) {
        Ok(args) => args,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { USAGE } else { 0 });
        }
    };
    if args.list_problems {
        list_problems();
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(e) => {
            eprintln!("fsck.vexfs: {e:#}");
            ExitCode::from(OPERATIONAL)
        }
    }
}

fn run(args: &Args) -> Result<u8> {
    let path = args.device.as_deref().context("no device")?;
    let shown = path.display().to_string();
    refuse_in_use(args, path)?;
    let dev =
        FileDevice::open(path, Access::Read).with_context(|| format!("cannot open {shown}"))?;
    if args.preen && !args.force && args.backup.is_none() {
        if let Some(summary) = was_clean(&dev) {
            if args.json {
                print_json(&Report::new(&shown, 0, true, &summary, Vec::new()))?;
            } else {
                say(&format!("{shown}: clean, not checked (use -f)"));
            }
            return Ok(0);
        }
    }
    let options = Options {
        backup: args.backup,
    };
    let mut output = Output::new(args.json, args.limit, progress(args)?);
    let summary = check(&dev, &options, &mut output);
    let kept = output.finish();
    let status = if summary.count(Severity::Fatal) > 0 {
        OPERATIONAL
    } else if summary.is_clean() {
        0
    } else {
        UNCORRECTED
    };
    if args.json {
        print_json(&Report::new(&shown, status, false, &summary, kept))?;
    } else {
        say(&conclusion(&shown, &summary, args.verbose));
    }
    if !summary.is_clean() && !args.no {
        eprintln!("fsck.vexfs: this version cannot repair; {shown} was not changed");
    }
    if summary.count(Severity::Fatal) > 0 && !args.json && args.backup.is_none() {
        eprintln!(
            "fsck.vexfs: is this a VexFS filesystem? If so, name a copy of its super block with -b"
        );
    }
    Ok(status)
}

fn print_json(report: &Report) -> Result<()> {
    say(&serde_json::to_string(report)?);
    Ok(())
}

/// A device that may change under the check gives problems that are none: refused, or with -n warned about.
fn refuse_in_use(args: &Args, path: &Path) -> Result<()> {
    for user in in_use::find(path).context("/proc/self/mountinfo")? {
        // A loop device or mapper by itself does not change anything; what is mounted on it is found as well.
        let changes = match user {
            Use::Mounted { read_only, .. } => !read_only,
            Use::Swap => true,
            Use::Loop(_) | Use::Held(_) => false,
        };
        if !changes {
            continue;
        }
        if !args.no {
            bail!("{} {user}; it can only be checked with -n", path.display());
        }
        eprintln!(
            "fsck.vexfs: warning: {} {user}; what is found may not be so",
            path.display()
        );
    }
    Ok(())
}

/// If the filesystem was unmounted cleanly, and its journal is empty, what its super block says.
fn was_clean(dev: &FileDevice) -> Option<Summary> {
    let sb = superblock::read(dev, 0).ok()?;
    let journal = journal_region(&sb.geometry).read_super(dev).ok()?;
    let clean = sb.is_clean() && journal.start == 0 && journal.errno == 0;
    clean.then(|| Summary {
        sb: Some(sb),
        ..Summary::default()
    })
}

fn progress(args: &Args) -> Result<Progress> {
    Ok(match args.progress {
        Some(fd) if fd > 0 => {
            let path = format!("/dev/fd/{fd}");
            let file = std::fs::OpenOptions::new().append(true).open(&path);
            Progress::Lines(file.with_context(|| format!("cannot write to {path}"))?)
        }
        Some(_) => Progress::bar(),
        None if std::io::stderr().is_terminal() && !args.json => Progress::bar(),
        None => Progress::None,
    })
}
