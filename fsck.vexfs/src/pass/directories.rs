// SPDX-License-Identifier: GPL-2.0-only
//! Pass 3: what directories hold. Every entry must lead to an inode in use and be matched by exactly one parent pointer, every parent
//! pointer by exactly one entry; names stand under their own hash; links and sizes are counted; all directories hang together below the root.
//!
//! Both sides of the match are lists of 32 bytes a name, sorted and merged: no inode is looked up at random.

use crate::check::Check;
use crate::inodes::{Info, Known, Link};
use crate::problem::{Code, Problem};
use crate::tree::{walk, NodeFault, Tree, Visitor};
use image::checksum::crc32;
use layout::btree::{Key, TreeKind};
use layout::bytes::slice;
use layout::dirent::{first_cookie, siphash24, Dirent, COLLISIONS};
use layout::ino;
use layout::inode::{verify_crc, FileType, Inode, Slot, INODE_SIZE};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Runs the pass.
pub fn run(check: &mut Check<'_>) {
    let dirs: Vec<Info> = check
        .inodes
        .used()
        .iter()
        .filter(|info| info.file_type == FileType::Directory)
        .copied()
        .collect();
    check.begin(3, dirs.len() as u64);
    let mut links = Vec::new();
    for (done, info) in dirs.iter().enumerate() {
        directory(check, info, &mut links);
        check.progress(done as u64 + 1);
    }
    links.sort_unstable();
    match_parents(check, &links);
    count_links(check, &links, &dirs);
    find_cycles(check, &links, &dirs);
}

/// Reads inode `ino` once more; it parsed in pass 2.
pub fn load(check: &Check<'_>, ino: u64) -> Option<Inode> {
    let place = check.reader.sb.geometry.inode_place(ino)?;
    let block = check.reader.raw(place.block).ok()?;
    let raw = slice(block.as_slice(), place.offset, INODE_SIZE)?;
    verify_crc(raw, check.reader.sb.seed, crc32).ok()?;
    match Inode::parse(raw, ino) {
        Ok(Slot::Used(inode)) => Some(inode),
        _ => None,
    }
}

struct DirVisitor<'a, 'b> {
    check: &'a mut Check<'b>,
    info: &'a Info,
    links: &'a mut Vec<Link>,
    entries: u64,
    /// First cookie of the hash that the last entries share, and their names.
    run: (u64, Vec<Vec<u8>>),
}

fn directory(check: &mut Check<'_>, info: &Info, links: &mut Vec<Link>) {
    let Some(inode) = load(check, info.ino) else {
        return;
    };
    let reader = check.reader;
    let mut visitor = DirVisitor {
        check,
        info,
        links,
        entries: 0,
        run: (0, Vec::new()),
    };
    let tree = Tree {
        fork: &inode.data,
        kind: TreeKind::Directory,
        owner: inode.ino,
    };
    walk(&reader, tree, &mut visitor);
    let entries = visitor.entries;
    if !info.data_whole {
        return;
    }
    if entries != info.size {
        let what = format!("{}, not {entries}", info.size);
        check.report(Problem::new(Code::DirSize).ino(info.ino).detail(what));
    }
    if info.links == 0 && entries != 0 {
        check.report(Problem::new(Code::DirentRemoved).ino(info.ino));
    }
}

impl Visitor for DirVisitor<'_, '_> {
    fn node(&mut self, _: u64) -> bool {
        true
    }

    fn fault(&mut self, _: Option<u64>, _: NodeFault) {
        // Pass 2 has reported it.
    }

    fn entry(&mut self, key: &Key, value: &[u8]) -> bool {
        self.entries += 1;
        let cookie = key.a();
        let dir = self.info.ino;
        let entry = match Dirent::parse(value) {
            Ok(entry) => entry,
            Err(e) => {
                let what = format!("cookie {cookie:#x}: {}", e.0);
                self.check.lost_names = true;
                self.check
                    .report(Problem::new(Code::DirentBad).ino(dir).detail(what));
                return true;
            }
        };
        let seed = self.check.reader.sb.raw.hash_seed;
        let what = || format!("'{}' in directory {dir}", entry.name.escape_ascii());
        let mut report = |code, ino| {
            self.check
                .report(Problem::new(code).ino(ino).detail(what()));
        };
        let first = first_cookie(&seed, entry.name);
        if !(first..first.saturating_add(COLLISIONS)).contains(&cookie) {
            report(Code::DirentHash, dir);
        }
        if self.run.0 != first {
            self.run = (first, Vec::new());
        }
        // At most COLLISIONS names share a hash, so this list is short.
        if self.run.1.iter().any(|name| name == entry.name) {
            report(Code::DirentDuplicate, dir);
        } else {
            self.run.1.push(entry.name.to_vec());
        }
        let (code, counts) = match self.check.inodes.get(entry.ino) {
            _ if entry.ino < ino::FIRST => (Some(Code::DirentReserved), false),
            Known::Free => (Some(Code::DirentDangling), false),
            Known::Used(target) if target.file_type != entry.file_type => {
                (Some(Code::DirentType), true)
            }
            _ => (None, true),
        };
        if let Some(code) = code {
            self.check
                .report(Problem::new(code).ino(entry.ino).detail(what()));
        }
        if !counts {
            return true;
        }
        self.links.push(Link {
            ino: entry.ino,
            dir,
            cookie,
            name: siphash24(&seed, entry.name),
        });
        true
    }
}

/// Merges the sorted lists of entries and parent pointers.
fn match_parents(check: &mut Check<'_>, links: &[Link]) {
    let mut parents = std::mem::take(&mut check.parents);
    parents.sort_unstable();
    let place = |l: &Link| (l.ino, l.dir, l.cookie);
    let what = |l: &Link| format!("directory {}, cookie {:#x}", l.dir, l.cookie);
    let (mut entries, mut pointers) = (links.iter().peekable(), parents.iter().peekable());
    loop {
        let order = match (entries.peek(), pointers.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(e), Some(p)) => place(e).cmp(&place(p)),
        };
        let entry = (order != Ordering::Greater)
            .then(|| entries.next())
            .flatten();
        let pointer = (order != Ordering::Less).then(|| pointers.next()).flatten();
        match (entry, pointer) {
            (Some(e), Some(p)) if e.name != p.name => {
                check.report(Problem::new(Code::ParentName).ino(e.ino).detail(what(e)));
            }
            (Some(e), None) => {
                let known = matches!(check.inodes.get(e.ino), Known::Used(i) if i.attr_whole);
                if known {
                    check.report(Problem::new(Code::ParentMissing).ino(e.ino).detail(what(e)));
                }
            }
            (None, Some(p)) => {
                let lost = match check.inodes.get(p.dir) {
                    Known::Used(i) => i.file_type == FileType::Directory && !i.data_whole,
                    Known::Free => false,
                    Known::Unknown => true,
                };
                if !lost && !check.lost_names {
                    check.report(
                        Problem::new(Code::ParentDangling)
                            .ino(p.ino)
                            .detail(what(p)),
                    );
                }
            }
            _ => {}
        }
    }
}

/// Compares the links that inodes count with the entries that lead to them.
fn count_links(check: &mut Check<'_>, links: &[Link], dirs: &[Info]) {
    let is_dir = |ino: u64| dirs.binary_search_by_key(&ino, |d| d.ino).is_ok();
    let mut subdirs: HashMap<u64, u64> = HashMap::new();
    for link in links.iter().filter(|l| is_dir(l.ino)) {
        *subdirs.entry(link.dir).or_insert(0) += 1;
    }
    let used: Vec<Info> = check.inodes.used().to_vec();
    let mut rest = links;
    for info in &used {
        let skip = rest.partition_point(|l| l.ino < info.ino);
        let names = rest[skip..].partition_point(|l| l.ino == info.ino);
        rest = &rest[skip + names..];
        let names = names as u64;
        let problem = |code| Problem::new(code).ino(info.ino);
        if (ino::ROOT + 1..ino::FIRST).contains(&info.ino) {
            continue;
        }
        let root = info.ino == ino::ROOT;
        let directory = info.file_type == FileType::Directory;
        if names == 0 && info.links > 0 && !root {
            if !check.lost_names {
                check.report(problem(Code::Unattached));
            }
            continue;
        }
        if directory && names > 1 {
            check.report(problem(Code::DirLinked).detail(format!("{names} names")));
        }
        let real = match (directory, names == 0 && !root) {
            (true, false) => 2 + subdirs.get(&info.ino).copied().unwrap_or(0),
            (true, true) => 0,
            (false, _) => names,
        };
        let stored = u64::from(info.links);
        let whole = !check.lost_names && (!directory || info.data_whole);
        if stored != real && (whole || stored < real) {
            let what = format!("{stored}, not {real}");
            check.report(problem(Code::LinkCount).detail(what));
        }
    }
}

/// Climbs from every directory towards the root, over the first entry that leads to each.
fn find_cycles(check: &mut Check<'_>, links: &[Link], dirs: &[Info]) {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        OnPath,
        Done,
    }
    let at = |ino: u64| dirs.binary_search_by_key(&ino, |d| d.ino).ok();
    let mut parent: Vec<Option<usize>> = vec![None; dirs.len()];
    for link in links.iter().rev() {
        if let (Some(child), Some(dir)) = (at(link.ino), at(link.dir)) {
            parent[child] = Some(dir);
        }
    }
    let mut state = vec![State::New; dirs.len()];
    let mut path = Vec::new();
    for start in 0..dirs.len() {
        let mut next = Some(start);
        while let Some(i) = next {
            match state[i] {
                State::Done => break,
                State::OnPath => {
                    let mut members: Vec<u64> = path
                        .iter()
                        .rev()
                        .take_while(|&&j| j != i)
                        .chain([&i])
                        .map(|&j: &usize| dirs[j].ino)
                        .collect();
                    members.sort_unstable();
                    let shown: Vec<_> = members.iter().take(8).map(u64::to_string).collect();
                    let what = format!("{} directories: {}", members.len(), shown.join(", "));
                    check.report(Problem::new(Code::DirCycle).ino(members[0]).detail(what));
                    break;
                }
                State::New => {
                    state[i] = State::OnPath;
                    path.push(i);
                    let root = dirs[i].ino == ino::ROOT;
                    next = if root { None } else { parent[i] };
                }
            }
        }
        for i in path.drain(..) {
            state[i] = State::Done;
        }
    }
}
