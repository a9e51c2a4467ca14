// SPDX-License-Identifier: GPL-2.0-only
//! `index calibrate`: how many leaves of the search tree the queries of a file must have looked at for some recalls, against exact
//! answers of the same index. What was found is noted in the index, and what searches aim at from then on.

use anyhow::{ensure, Context as _, Result};
use layout::efforts::{EFFORTS, HUNDREDTHS_MAX, MEASURED_RECALLS};

use crate::backend::{Access, Backend, Effort};
use crate::cli::{Calibrate, Cli};
use crate::cmd::bench::{found, Asked};
use crate::cmd::{find_index, with_backend};
use crate::input::Vectors;
use crate::model::{printable, Calibration, Index, Measured};
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why.
pub fn run(cli: &Cli, args: &Calibrate) -> Result<()> {
    let mut rows = args.npy.as_deref().map(Vectors::open).transpose()?;
    let report = with_backend(cli, &args.index.path, Access::Manage, |backend| {
        let index = find_index(backend, &args.index.name)?;
        let mut report = Calibration {
            index: index.name.clone(),
            records: index.records,
            partitions: index.tree.partitions,
            queries: 0,
            k: args.k,
            measured: Vec::new(),
        };
        let mut efforts = [0; EFFORTS];
        if let (Some(path), Some(rows)) = (&args.npy, &mut rows) {
            let asked = Asked::read(rows, path, &index, args.k)?;
            let shown = || format!("index {}", printable(index.name.as_bytes()));
            report.queries = asked.count;
            report.measured = measure(cli, backend, &index, &asked).with_context(shown)?;
            for (effort, line) in efforts.iter_mut().zip(&report.measured) {
                *effort = hundredths(line.leaves, index.tree.partitions);
            }
        }
        backend
            .note_efforts(&index, efforts)
            .with_context(|| format!("index {}", printable(index.name.as_bytes())))?;
        Ok(report)
    })?;
    output::print(cli.json, &report)
}

/// The least numbers of leaves that reach the recalls.
fn measure(
    cli: &Cli,
    backend: &mut dyn Backend,
    index: &Index,
    asked: &Asked,
) -> Result<Vec<Measured>> {
    ensure!(
        index.tree.partitions > 1 && index.tree.entries == index.records,
        "searches compare all records, since {}",
        match index.tree.entries == index.records {
            true => "its search tree has no more than one partition",
            false =>
                "not all of them have entries in its search tree: vexctl index build makes them",
        }
    );
    let progress = output::progress(cli.json, Some(MEASURED_RECALLS.len() as u64));
    progress.set_message("measuring");
    let truth = asked.answers(backend, index, Effort::All)?;
    let mut lines = Vec::new();
    let mut from = 1;
    for recall in MEASURED_RECALLS {
        let wanted = f64::from(recall) / 10_000.0;
        let line = least(from, index.tree.partitions, wanted, |leaves| {
            let answers = asked.answers(backend, index, Effort::Probes(leaves))?;
            Ok(found(&truth, &answers))
        })?;
        from = line.leaves;
        lines.push(line);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(lines)
}

/// The least number of leaves from `from` on whose recall is at least `wanted`: exactly while it is small, else to within a sixteenth, as it is noted. All
/// partitions find everything.
fn least(
    from: u32,
    partitions: u32,
    wanted: f64,
    mut recall: impl FnMut(u32) -> Result<f64>,
) -> Result<Measured> {
    let (mut below, mut leaves) = (from.saturating_sub(1), from);
    let mut now = recall(leaves)?;
    while now < wanted && leaves < partitions {
        below = leaves;
        leaves = leaves.saturating_mul(2).min(partitions);
        now = recall(leaves)?;
    }
    while leaves - below > (leaves / 16).max(1) {
        let middle = below.midpoint(leaves);
        let there = recall(middle)?;
        if there < wanted {
            below = middle;
        } else {
            (leaves, now) = (middle, there);
        }
    }
    Ok(Measured {
        wanted,
        leaves,
        recall: now,
    })
}

/// The least number of hundredths of the root of the number of partitions that makes so many leaves.
fn hundredths(leaves: u32, partitions: u32) -> u32 {
    let root = (u64::from(partitions) * 10_000).isqrt().max(1);
    let hundredths = (u64::from(leaves) * 10_000).div_ceil(root);
    u32::try_from(hundredths)
        .unwrap_or(u32::MAX)
        .min(HUNDREDTHS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_number_is_found_with_few_tries() {
        for right in [1, 2, 3, 7, 15, 16, 17, 40, 999, 1000] {
            let mut tries = 0;
            let line = least(1, 1000, 0.9, |leaves| {
                tries += 1;
                Ok(if leaves < right { 0.5 } else { 0.95 })
            })
            .unwrap();
            assert!(
                line.leaves >= right && line.leaves - right <= right / 16,
                "{right}: {line:?}"
            );
            assert_eq!(line.recall, 0.95);
            assert!(tries <= 17, "{right}: {tries} tries");
        }
    }

    #[test]
    fn it_begins_where_it_is_told_and_ends_at_the_last_partition() {
        let line = least(8, 100, 0.5, |_| Ok(0.9)).unwrap();
        assert_eq!((line.leaves, line.recall), (8, 0.9));
        let line = least(3, 100, 0.99, |leaves| {
            Ok(if leaves == 100 { 1.0 } else { 0.2 })
        })
        .unwrap();
        assert_eq!((line.leaves, line.recall), (100, 1.0));
    }

    #[test]
    fn what_is_noted_makes_the_leaves_that_were_measured() {
        for partitions in [2, 9, 127, 4096, 1_000_000] {
            for leaves in 1..=partitions.min(300) {
                let root = (u64::from(partitions) * 10_000).isqrt();
                let made = (root * u64::from(hundredths(leaves, partitions))).div_ceil(10_000);
                let above = made.checked_sub(leaves.into()).unwrap();
                assert!(
                    above <= 1 + root / 10_000,
                    "{leaves} of {partitions}: {made}"
                );
            }
        }
    }
}
