// SPDX-License-Identifier: GPL-2.0-only
//! What people and scripts see: lines of text, one JSON object, a progress bar or progress lines. The JSON comes from the structures
//! here and nowhere else; fields are added to them, never renamed.

use fsck_vexfs::{Code, Observer, Problem, Severity, Summary, PASSES};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

/// Prints a line. That nobody reads it (a closed pipe) is no reason to stop: the exit status still counts.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// How progress is shown.
pub enum Progress {
    /// Not at all.
    None,
    /// A bar on standard error.
    Bar(ProgressBar),
    /// Lines to a file.
    Lines(File),
}

impl Progress {
    /// A bar.
    pub fn bar() -> Progress {
        let style = "pass {prefix} {wide_bar} {percent}% {eta}";
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress::Bar(bar)
    }
}

/// Prints problems as they are found, or keeps them for the JSON object.
pub struct Output {
    json: bool,
    limit: u64,
    progress: Progress,
    pass: (u8, u64),
    seen: BTreeMap<Code, u64>,
    kept: Vec<Problem>,
}

impl Output {
    /// `limit`: most problems of one kind that are shown, 0 for no limit.
    pub fn new(json: bool, limit: u64, progress: Progress) -> Output {
        Output {
            json,
            limit,
            progress,
            pass: (0, 0),
            seen: BTreeMap::new(),
            kept: Vec::new(),
        }
    }

    /// A line of text, past the progress bar.
    fn line(&self, text: &str) {
        match &self.progress {
            Progress::Bar(bar) => bar.suspend(|| say(text)),
            _ => say(text),
        }
    }

    /// Takes the progress bar away and gives the problems kept.
    pub fn finish(self) -> Vec<Problem> {
        if let Progress::Bar(bar) = &self.progress {
            bar.finish_and_clear();
        }
        self.kept
    }
}

impl Observer for Output {
    fn problem(&mut self, problem: &Problem) {
        let seen = self.seen.entry(problem.code).or_insert(0);
        *seen += 1;
        let shown = self.limit == 0 || *seen <= self.limit;
        let last = *seen == self.limit;
        if !shown {
            return;
        }
        if self.json {
            self.kept.push(problem.clone());
            return;
        }
        self.line(&problem.to_string());
        if last {
            self.line("    (further problems of this kind are counted, not shown)");
        }
    }

    fn pass(&mut self, pass: u8, total: u64) {
        let name = PASSES.get(usize::from(pass)).copied().unwrap_or_default();
        if !self.json {
            self.line(&format!("Pass {pass}: {name}"));
        }
        self.pass = (pass, total);
        if let Progress::Bar(bar) = &self.progress {
            bar.set_prefix(format!("{pass}: {name}"));
            bar.set_length(total);
            bar.set_position(0);
        }
        self.progress(0);
    }

    fn progress(&mut self, done: u64) {
        let (pass, total) = self.pass;
        match &mut self.progress {
            Progress::None => {}
            Progress::Bar(bar) => bar.set_position(done),
            Progress::Lines(file) => {
                // Nobody reads it any more: the check goes on.
                let _ = writeln!(file, "{pass} {done} {total}");
            }
        }
    }
}

/// The JSON object.
#[derive(Serialize)]
pub struct Report {
    /// Version of this structure.
    pub version: u32,
    device: String,
    uuid: Option<String>,
    label: Option<String>,
    /// "clean", "errors" or "fatal".
    status: &'static str,
    exit_status: u8,
    /// The full check was left out because the filesystem was unmounted cleanly.
    skipped: bool,
    errors: u64,
    warnings: u64,
    replayed_transactions: u32,
    inodes: u64,
    directories: u64,
    blocks: u64,
    used_blocks: u64,
    free_blocks: u64,
    orphans: u64,
    indexes: u64,
    records: u64,
    counts: Vec<Count>,
    problems: Vec<Found>,
}

/// How often a problem was found.
#[derive(Serialize)]
struct Count {
    code: u16,
    name: &'static str,
    count: u64,
}

/// A problem found.
#[derive(Serialize)]
struct Found {
    code: u16,
    name: &'static str,
    severity: &'static str,
    pass: u8,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

impl Report {
    /// From the result of a check.
    pub fn new(
        device: &str,
        exit_status: u8,
        skipped: bool,
        s: &Summary,
        kept: Vec<Problem>,
    ) -> Report {
        let sb = s.sb.as_ref();
        Report {
            version: 1,
            device: device.to_owned(),
            uuid: sb.map(|sb| uuid::Uuid::from_bytes(sb.raw.uuid).to_string()),
            label: sb.map(|sb| label(&sb.raw.label)),
            status: if s.count(Severity::Fatal) > 0 {
                "fatal"
            } else if s.is_clean() {
                "clean"
            } else {
                "errors"
            },
            exit_status,
            skipped,
            errors: s.count(Severity::Error),
            warnings: s.count(Severity::Warning) - s.count(Severity::Error),
            replayed_transactions: s.replayed,
            inodes: s.inodes,
            directories: s.directories,
            blocks: sb.map_or(0, |sb| sb.geometry.blocks),
            used_blocks: s.used_blocks,
            free_blocks: s.free_blocks,
            orphans: s.orphans,
            indexes: s.indexes,
            records: s.records,
            counts: s
                .problems
                .iter()
                .map(|(code, count)| Count {
                    code: code.number(),
                    name: code.name(),
                    count: *count,
                })
                .collect(),
            problems: kept
                .into_iter()
                .map(|p| Found {
                    code: p.code.number(),
                    name: p.code.name(),
                    severity: p.code.severity().as_str(),
                    pass: p.code.pass(),
                    message: p.code.sentence(),
                    inode: p.ino,
                    block: p.block,
                    group: p.group,
                    index: p.index,
                    detail: p.detail,
                })
                .collect(),
        }
    }
}

/// A label without its padding.
fn label(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The last line for people.
pub fn conclusion(device: &str, s: &Summary, verbose: bool) -> String {
    let errors = s.count(Severity::Error);
    let warnings = s.count(Severity::Warning) - errors;
    let state = match (errors, warnings) {
        (0, 0) => "clean".to_owned(),
        (0, w) => format!("clean, {w} warnings"),
        (e, 0) => format!("{e} errors"),
        (e, w) => format!("{e} errors, {w} warnings"),
    };
    let blocks = s.sb.as_ref().map_or(0, |sb| sb.geometry.blocks);
    let mut text = format!(
        "{device}: {state}: {} inodes, {} directories, {} of {blocks} blocks free",
        s.inodes, s.directories, s.free_blocks
    );
    if s.indexes > 0 || s.records > 0 {
        text += &format!(", {} vector indexes with {} records", s.indexes, s.records);
    }
    if s.replayed > 0 {
        let n = s.replayed;
        text += &format!("\n{n} transactions of the journal were replayed in memory; a mount will replay them on the device");
    }
    if s.orphans > 0 && verbose {
        text += &format!(
            "\n{} inodes wait to be finished by the next mount",
            s.orphans
        );
    }
    text
}

/// The catalogue, for people and scripts (fields separated by tabs).
pub fn list_problems() {
    for code in Code::ALL {
        say(&format!(
            "{:03}\t{}\t{}\t{}",
            code.number(),
            code.name(),
            code.severity().as_str(),
            code.sentence()
        ));
    }
}
