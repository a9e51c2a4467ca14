// SPDX-License-Identifier: GPL-2.0-only
//! `index verify`: the search tree of an index held to its records, part by part, and the totals to what the index
//! counts.

use anyhow::{anyhow, Result};

use crate::backend::{Access, Backend, Verified};
use crate::cli::{Cli, Named};
use crate::cmd::{find_index, with_backend};
use crate::model::{self, printable, Problem, Verification};
use crate::output;

/// Runs the command.
///
/// # Errors
/// What could not be done; what is wrong with the index.
pub fn run(cli: &Cli, args: &Named) -> Result<()> {
    let report = with_backend(cli, &args.path, Access::Read, |backend| {
        let index = find_index(backend, &args.name)?;
        verify(cli, backend, &index)
    })?;
    output::print(cli.json, &report)?;
    match report.problem {
        None => Ok(()),
        Some(problem) => Err(anyhow!(
            "index {}: {problem}",
            printable(report.index.as_bytes())
        )),
    }
}

fn verify(cli: &Cli, backend: &mut dyn Backend, before: &model::Index) -> Result<Verification> {
    // Every partition is seen, and every record.
    let all = u64::from(before.tree.partitions).saturating_add(before.records);
    let progress = output::progress(cli.json, Some(all));
    progress.set_message("verifying");
    let mut at = [0; 4];
    let mut sum = Verified::default();
    let mut state = None;
    let mut still = true;
    while !sum.done {
        let part = backend.verify(before, &mut at)?;
        sum.partitions += part.partitions;
        sum.entries += part.entries;
        sum.records += part.records;
        sum.missing += part.missing;
        sum.done = part.done;
        sum.problem = part.problem;
        still &= part.state != 0 && *state.get_or_insert(part.state) == part.state;
        progress.set_position(sum.partitions.saturating_add(sum.records));
    }
    progress.finish_and_clear();
    // What changed between the first description and the first part, the second one shows.
    let after = find_index(backend, &before.name)?;
    let counted = still && after == *before && sum.problem.is_none();
    let problem = match sum.problem {
        Some((block, reason)) => Some(Problem {
            block: Some(block),
            reason,
        }),
        None if counted => totals(&sum, before).map(|reason| Problem {
            block: None,
            reason,
        }),
        None => None,
    };
    Ok(Verification {
        index: before.name.clone(),
        right: problem.is_none(),
        partitions: sum.partitions,
        entries: sum.entries,
        records: sum.records,
        missing: sum.missing,
        counted,
        problem,
    })
}

/// What the index counts otherwise than was seen.
fn totals(seen: &Verified, index: &model::Index) -> Option<String> {
    let tree = &index.tree;
    let missing = index.records.saturating_sub(tree.entries);
    [
        ("partitions", u64::from(tree.partitions), seen.partitions),
        ("entries", tree.entries, seen.entries),
        ("records", index.records, seen.records),
        ("records without an entry", missing, seen.missing),
    ]
    .into_iter()
    .find(|(_, counted, seen)| counted != seen)
    .map(|(what, counted, seen)| format!("the index counts {counted} {what}, and has {seen}"))
}

#[cfg(test)]
mod tests {
    use super::{totals, Verified};
    use crate::model::{Index, Tree};

    #[test]
    fn every_total_is_compared() {
        let index = Index {
            name: "i".into(),
            id: 1,
            kind: vector::Kind::new(vector::Element::F32, vector::Metric::L2, 3).unwrap(),
            mode: 0,
            uid: 0,
            gid: 0,
            records: 10,
            slots: 10,
            segments: 1,
            bytes: 0,
            created: 0,
            efforts: None,
            tree: Tree {
                entries: 8,
                partitions: 3,
                height: 2,
                bytes: 0,
            },
            graph: None,
        };
        let right = Verified {
            partitions: 3,
            entries: 8,
            records: 10,
            missing: 2,
            ..Verified::default()
        };
        assert_eq!(totals(&right, &index), None);
        let wrong: [fn(&mut Verified); 4] = [
            |seen| seen.partitions += 1,
            |seen| seen.entries += 1,
            |seen| seen.records -= 1,
            |seen| seen.missing = 0,
        ];
        for change in wrong {
            let mut seen = right.clone();
            change(&mut seen);
            assert!(totals(&seen, &index).is_some(), "{seen:?}");
        }
    }
}
