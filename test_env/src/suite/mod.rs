// SPDX-License-Identifier: GPL-2.0-only
//! Tests that run in guests. The suites of test_env/guest/ are scripts that run
//! inside; what has to happen outside of a guest, such as cutting its power, is
//! here. Each file has a function `run`.

mod crash;
mod debug;
mod environment;
mod limits;
mod scripts;
pub mod smoke;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::guest::{Config, Disk, Guest};
use crate::harness::Context;
use crate::report::Report;
use crate::{cache, host, project, rootfs};

/// Variables that say how much a suite does, handed on to it when they are set.
const PASSED_ON: [&str; 6] = [
    "VEXFS_HOSTILE",
    "VEXFS_IO_STEP",
    "VEXFS_LARGE_DIR",
    "VEXFS_RELOADS",
    "VEXFS_SEED",
    "VEXFS_STRESS",
];
/// Size of the scratch disk that scripts get; see test_env/guest/README.md.
const SCRATCH_BYTES: u64 = 6 << 30;
/// Guests at a time; each has a gigabyte of memory.
const MOST_GUESTS: usize = 4;
/// Memory of a guest that is User Mode Linux: the debug kernel's records of memory
/// lie in it.
const USER_MODE_MIB: u32 = 2048;
/// Where scripts mount.
const MOUNT: &str = "/mnt/vexfs";
/// Where the tree of real files is mounted in the guest.
const TREE: &str = "/srv";

/// Runs every guest test that was asked for.
pub fn run(context: &Context, report: &Report) {
    environment::run(context, report);
    let wants_products = context.wants("limits")
        || context.wants("crash")
        || scripts::names().is_ok_and(|names| names.iter().any(|name| context.wants(name)))
        || limits::NAMES.iter().any(|name| context.wants(name));
    if !wants_products {
        return;
    }
    if let Err(error) = share(context) {
        report.failed("module_and_tools_build", &format!("{error:#}"));
        return;
    }
    report.passed("module_and_tools_build");
    if filesystem() == "vexfs" {
        judge_module(context, report);
    }
    limits::run(context, report);
    // What takes longest comes first.
    let mut work: Vec<Work> = Vec::new();
    if context.wants("crash") {
        work.push(Box::new(|| crash::run(context, report)));
    }
    match scripts::names() {
        Ok(names) => work.extend(
            names
                .into_iter()
                .filter(|name| context.wants(name))
                .map(|name| Box::new(move || scripts::run(context, report, &name)) as Work),
        ),
        Err(error) => report.failed("scripts", &format!("{error:#}")),
    }
    side_by_side(work);
}

/// Runs every test of the debug kernel that was asked for.
pub fn run_debug(context: &Context, report: &Report) {
    debug::run(context, report);
}

/// Runs a selection of them, which takes minutes.
pub fn run_debug_briefly(context: &Context, report: &Report) {
    debug::run_briefly(context, report);
}

/// Does pieces of work, each of which keeps a processor busy: as many at a time as
/// [`host::guests_at_a_time`] says.
fn side_by_side(work: Vec<Work>) {
    let queue = Mutex::new(work.into_iter());
    let workers = host::guests_at_a_time().min(MOST_GUESTS);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(work) = next else { break };
                work();
            });
        }
    });
}

/// A piece of work for one thread.
type Work<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Makes everything that the scripts use visible in the guests.
/// What the module's machine code says of it: it cannot panic, and it does not take too much of a stack. Of the stock kernel's x86-64 code.
fn judge_module(context: &Context, report: &Report) {
    let kernel = context.setup.kernel();
    match crate::module::panics(kernel) {
        Ok((symbols, _)) if symbols.is_empty() => report.passed("module_cannot_panic"),
        Ok((symbols, paths)) => {
            let callers: Vec<_> = paths.iter().map(|path| path.caller.as_str()).collect();
            report.failed(
                "module_cannot_panic",
                &format!("{symbols:?}, from {}", callers.join(", ")),
            );
        }
        Err(error) => report.failed("module_cannot_panic", &format!("{error:#}")),
    }
    match crate::stack::chains(kernel) {
        Ok(chains) => match chains.first() {
            Some(chain) if chain.bytes <= crate::stack::LIMIT => report.passed("module_stack"),
            Some(chain) => report.failed("module_stack", &format!("{chain:?}")),
            None => report.failed("module_stack", "no function in the module"),
        },
        Err(error) => report.failed("module_stack", &format!("{error:#}")),
    }
}

fn share(context: &Context) -> Result<()> {
    let setup = &context.setup;
    // To try the scripts themselves on a file system of the stock kernel.
    if filesystem() == "vexfs" {
        setup.add_products()?;
    }
    let root = project::root();
    setup.share(&[
        (&root.join("test_env/guest"), "tests"),
        (&root.join("demo"), "demo"),
        (&root.join("test_env/debug"), "debug"),
    ])?;
    if let Some(data) = real_data() {
        setup.share(&[(&data, "data")])?;
    }
    Ok(())
}

/// `vexfs`, or what `$FSTYP` says, to try the scripts themselves.
fn filesystem() -> String {
    std::env::var("FSTYP").unwrap_or_else(|_| "vexfs".to_owned())
}

/// The folder of real vectors: `$VEXFS_DATA`, or `shared/data` beside the checkout.
fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("VEXFS_DATA")
        .map_or_else(|| project::root().join("../shared/data"), PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// A guest with the scratch disk and the tree of real files; the second value is
/// the environment of a script, for `env`. `amounts` are for those variables of
/// [`PASSED_ON`] that are not set.
fn script_guest(
    context: &Context,
    scratch: Disk,
    amounts: &[(&str, &str)],
) -> Result<(Guest, String)> {
    let tree = Disk::ReadOnly(documentation(context)?);
    let config = Config {
        memory: if context.setup.uml().is_some() {
            USER_MODE_MIB
        } else {
            Config::default().memory
        },
        ..Config::with_disks([scratch, tree])
    };
    let guest = Guest::start(&context.setup, config)?;
    guest.run(&format!("mount -o ro {} {TREE}", guest.disk(1)))?;
    let mut environment = format!(
        "VEXFS_DEV={} VEXFS_MNT={MOUNT} VEXFS_KO=/host/vexfs.ko VEXFS_TREE={TREE} \
         VEXFS_DEMO=/host/demo PYTHONDONTWRITEBYTECODE=1 FSTYP={}",
        guest.disk(0),
        filesystem()
    );
    if real_data().is_some() {
        environment += " VEXFS_DATA=/host/data";
    }
    for name in PASSED_ON {
        if let Ok(value) = std::env::var(name) {
            environment += &format!(" {name}='{}'", value.replace('\'', ""));
        } else if let Some((_, value)) = amounts.iter().find(|(known, _)| *known == name) {
            environment += &format!(" {name}={value}");
        }
    }
    Ok((guest, environment))
}

/// An image of the kernel's Documentation/: some ten thousand real files.
fn documentation(context: &Context) -> Result<PathBuf> {
    let kernel = context.setup.kernel();
    let source = kernel.source().join("Documentation");
    let inputs = ["documentation 1".to_owned(), source.display().to_string()];
    let entry = cache::entry("documentation", &inputs, |folder| {
        rootfs::make_image(
            &source,
            &folder.join("tree.img"),
            0,
            true,
            &folder.join("log"),
        )
    })?;
    Ok(entry.join("tree.img"))
}

/// Reports the lines that a script prints (test_env/guest/README.md).
struct Lines<'a> {
    report: &'a Report,
    /// In front of every name.
    prefix: String,
    pending: Vec<u8>,
    /// Whether anything was reported.
    any: bool,
    failed: bool,
}

impl<'a> Lines<'a> {
    fn new(report: &'a Report, prefix: &str) -> Self {
        Self {
            report,
            prefix: prefix.to_owned(),
            pending: Vec::new(),
            any: false,
            failed: false,
        }
    }

    /// Takes in a piece of output; reports the lines that are complete.
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end());
        }
    }

    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("ok ") {
            self.any = true;
            match rest.split_once(" # SKIP ") {
                Some((name, why)) => self.report.skipped(&format!("{}{name}", self.prefix), why),
                None => self.report.passed(&format!("{}{rest}", self.prefix)),
            }
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            self.any = true;
            self.failed = true;
            let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
            self.report.failed(&format!("{}{name}", self.prefix), why);
        } else if !line.is_empty() {
            self.report.note(line.trim_start_matches("# "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;
    use crate::report::{Count, Report};

    #[test]
    fn lines_of_a_script_are_counted() {
        let report = Report::default();
        let mut lines = Lines::new(&report, "");
        lines.push(b"ok a.b\nok a.c # SKIP because\nnot o");
        lines.push(b"k a.d: why: so\n# a: a remark\n");
        assert!(lines.any && lines.failed);
        assert_eq!(
            report.count(),
            Count {
                passed: 1,
                failed: 1,
                skipped: 1
            }
        );
    }
}
