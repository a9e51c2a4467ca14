// SPDX-License-Identifier: GPL-2.0-only
//! Pass 4: inodes that wait to be finished. Those without links must be listed; those listed must exist.

use crate::check::Check;
use crate::inodes::Known;
use crate::pass::directories::load;
use crate::problem::{Code, Problem};
use crate::tree::{walk, NodeFault, Tree, Visitor};
use layout::btree::{Key, TreeKind};
use layout::ino;

struct OrphanVisitor {
    /// Numbers, ascending, and whether the entry's value is empty.
    found: Vec<(u64, bool)>,
}

impl Visitor for OrphanVisitor {
    fn node(&mut self, _: u64) -> bool {
        true
    }

    fn fault(&mut self, _: Option<u64>, _: NodeFault) {
        // Pass 2 has reported it.
    }

    fn entry(&mut self, key: &Key, value: &[u8]) -> bool {
        self.found.push((key.a(), value.is_empty()));
        true
    }
}

/// The inodes that the orphan tree names, ascending.
pub fn list(check: &Check<'_>) -> Vec<(u64, bool)> {
    let mut visitor = OrphanVisitor { found: Vec::new() };
    if let Some(inode) = load(check, ino::ORPHANS) {
        let tree = Tree {
            fork: &inode.data,
            kind: TreeKind::Orphan,
            owner: inode.ino,
        };
        walk(&check.reader, tree, &mut visitor);
    }
    visitor.found
}

/// Runs the pass.
pub fn run(check: &mut Check<'_>) {
    check.begin(4, 1);
    let found = list(check);
    check.summary.orphans = found.len() as u64;
    for (number, empty) in &found {
        if !empty {
            check.report(Problem::new(Code::OrphanBad).ino(*number));
        }
        let code = match check.inodes.get(*number) {
            _ if *number < ino::FIRST => Code::OrphanReserved,
            Known::Free => Code::OrphanFree,
            _ => continue,
        };
        check.report(Problem::new(code).ino(*number));
    }
    let Known::Used(table) = check.inodes.get(ino::ORPHANS) else {
        return;
    };
    let (whole, count) = (table.data_whole, table.size);
    if !whole {
        return;
    }
    if count != found.len() as u64 {
        let what = format!("{count}, not {}", found.len());
        check.report(
            Problem::new(Code::OrphanCount)
                .ino(ino::ORPHANS)
                .detail(what),
        );
    }
    let listed = |ino: u64| found.binary_search_by_key(&ino, |(n, _)| *n).is_ok();
    let unlisted: Vec<u64> = check
        .inodes
        .used()
        .iter()
        .filter(|info| info.links == 0 && info.ino >= ino::FIRST && !listed(info.ino))
        .map(|info| info.ino)
        .collect();
    for ino in unlisted {
        check.report(Problem::new(Code::OrphanUnlisted).ino(ino));
    }
}
