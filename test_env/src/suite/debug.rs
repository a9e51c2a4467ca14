// SPDX-License-Identifier: GPL-2.0-only
//! Tests in the debug kernel: the suites of test_env/guest/ and of test_env/debug/,
//! each followed by a verdict of lockdep and of kmemleak; and the proof that the
//! kernel notices what is planted.

use anyhow::{bail, ensure, Context as _, Result};

use super::scripts::{self, Part};
use super::{share, side_by_side, Work};
use crate::guest::{Config, Guest};
use crate::harness::Context;
use crate::project;
use crate::report::Report;

/// What is planted, and what the kernel says to it.
const DEFECTS: &[(&str, &str)] = &[
    (LEAK, "new suspected memory leaks"),
    ("lock_inversion", "possible circular locking dependency"),
    ("use_after_free", "KASAN: slab-use-after-free"),
    (
        "sleep_in_atomic",
        "sleeping function called from invalid context",
    ),
    ("out_of_bounds", "UBSAN: array-index-out-of-bounds"),
    ("list_corruption", "list_del corruption"),
];

/// The defect that only a scan shows.
const LEAK: &str = "leak";

/// What kmemleak finds. It judges objects that are five seconds old and have not changed
/// since the last scan.
const SCAN: &str = "set -e; sleep 6; \
                    for i in 1 2; do echo scan > /sys/kernel/debug/kmemleak; done; \
                    cat /sys/kernel/debug/kmemleak";

/// In front of the names of suites that also run elsewhere.
const PREFIX: &str = "debug.";
/// How much suites do here; the others do what they do on any kernel.
const AMOUNTS: &[(&str, &str)] = &[("VEXFS_RELOADS", "1000")];
/// Suites that take longest.
const LONG: [&str; 4] = ["module_reload", "failslab", "io_errors", "stress"];

/// The selection that takes minutes: something of every kind.
const BRIEF: &[Part<'_>] = &[
    Part {
        name: "failslab",
        folder: "debug",
        prefix: PREFIX,
        tests: &["create", "rename_over", "write_inline", "put", "mount"],
        amounts: &[],
    },
    Part {
        name: "posix_namespace",
        folder: "tests",
        prefix: PREFIX,
        tests: &[],
        amounts: &[],
    },
    Part {
        name: "stress",
        folder: "debug",
        prefix: PREFIX,
        tests: &["with_freezes"],
        amounts: &[("VEXFS_STRESS", "150")],
    },
    Part {
        name: "posix_attributes",
        folder: "tests",
        prefix: PREFIX,
        tests: &[],
        amounts: &[],
    },
    Part {
        name: "vectors_records",
        folder: "tests",
        prefix: PREFIX,
        tests: &[],
        amounts: &[],
    },
    Part {
        name: "vectors_tree",
        folder: "tests",
        prefix: PREFIX,
        tests: &["thin_partitions_go", "beside_a_writer"],
        amounts: &[],
    },
    Part {
        name: "module_reload",
        folder: "tests",
        prefix: PREFIX,
        tests: &[],
        amounts: &[("VEXFS_RELOADS", "20")],
    },
];

/// Runs the tests of this file.
pub fn run(context: &Context, report: &Report) {
    proofs(context, report);
    let mut wanted: Vec<(&str, String)> = Vec::new();
    for (folder, source) in [("debug", "test_env/debug"), ("tests", "test_env/guest")] {
        match scripts::names_in(source) {
            Ok(names) => wanted.extend(
                names
                    .into_iter()
                    .filter(|name| context.wants(&format!("{PREFIX}{name}")))
                    .map(|name| (folder, name)),
            ),
            Err(error) => report.failed("scripts", &format!("{error:#}")),
        }
    }
    wanted.sort_by_key(|(_, name)| {
        LONG.iter()
            .position(|long| long == name)
            .unwrap_or(LONG.len())
    });
    let parts: Vec<Part<'_>> = wanted
        .iter()
        .map(|(folder, name)| Part {
            name,
            folder,
            prefix: PREFIX,
            tests: &[],
            amounts: AMOUNTS,
        })
        .collect();
    run_parts(context, report, &parts);
}

/// Runs the selection.
pub fn run_briefly(context: &Context, report: &Report) {
    proofs(context, report);
    run_parts(context, report, BRIEF);
}

/// The kernel's checks work, and show what is planted.
fn proofs(context: &Context, report: &Report) {
    context.test(report, "debug.kernel_checks_are_on", checks_are_on);
    if !DEFECTS
        .iter()
        .any(|(defect, _)| context.wants(&proof_name(defect)))
    {
        return;
    }
    if let Err(error) = share_plant(context) {
        report.failed("debug.plant_builds", &format!("{error:#}"));
        return;
    }
    let proofs = DEFECTS.iter().map(|(defect, sign)| {
        Box::new(move || {
            context.test(report, &proof_name(defect), |context| {
                is_noticed(context, defect, sign)
            });
        }) as Work
    });
    side_by_side(proofs.collect());
}

/// Runs suites, each followed by the verdict of the kernel's checks.
fn run_parts(context: &Context, report: &Report, parts: &[Part<'_>]) {
    if parts.is_empty() {
        return;
    }
    if let Err(error) = share(context) {
        report.failed("debug.module_and_tools_build", &format!("{error:#}"));
        return;
    }
    report.passed("debug.module_and_tools_build");
    let work = parts.iter().map(|part| {
        Box::new(move || {
            scripts::run_part(context, report, part, |guest| {
                verdict(guest)?;
                report.passed(&format!("{PREFIX}{}.kernel_checks", part.name));
                Ok(())
            });
        }) as Work
    });
    side_by_side(work.collect());
}

fn proof_name(defect: &str) -> String {
    format!("debug.notices_{defect}")
}

/// Builds the module with the defects.
fn share_plant(context: &Context) -> Result<()> {
    let kernel = context.setup.uml().context("not the debug kernel")?;
    let source = project::root().join("test_env/debug/plant");
    let module = kernel.build_external(&source, "plant")?;
    context.setup.share(&[(&module, "plant.ko")])
}

/// After a boot with nothing of ours in it, every check works and has nothing to say.
fn checks_are_on(context: &Context) -> Result<()> {
    let guest = Guest::start(&context.setup, Config::default())?;
    verdict(&guest)?;
    for file in ["failslab", "fail_page_alloc", "fail_make_request"] {
        guest.run(&format!("test -e /sys/kernel/debug/{file}/probability"))?;
    }
    guest.run("test -e /proc/self/fail-nth && zgrep -q CONFIG_KASAN=y /proc/config.gz")?;
    guest.shutdown()
}

/// Lockdep was on to the end, nothing was leaked, and taking the module out leaves nothing
/// behind.
fn verdict(guest: &Guest) -> Result<()> {
    let locks = guest.run("grep debug_locks: /proc/lockdep_stats")?;
    ensure!(
        locks.split_whitespace().last() == Some("1"),
        "lockdep switched itself off: {locks}"
    );
    let unload = "if grep -q '^vexfs ' /proc/modules; then rmmod vexfs; fi";
    for step in ["true", unload] {
        guest.run(step)?;
        let leaks = guest.run(SCAN)?;
        ensure!(leaks.is_empty(), "kmemleak: {leaks}");
    }
    Ok(())
}

/// The kernel reports a defect that the module plants.
fn is_noticed(context: &Context, defect: &str, sign: &str) -> Result<()> {
    let guest = Guest::start(&context.setup, Config::default())?;
    guest.check_log()?;
    let look = if defect == LEAK { SCAN } else { "sleep 1" };
    let script = format!("insmod /host/plant.ko defect={defect}; {look}");
    match guest.run(&script) {
        Ok(_) => bail!("{defect} went unnoticed; the console:\n{}", guest.console()),
        Err(error) => {
            let console = guest.console();
            ensure!(
                console.contains(sign),
                "{defect}: something else was reported: {error:#}\n{console}"
            );
        }
    }
    Ok(())
}
