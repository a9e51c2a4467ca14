// SPDX-License-Identifier: GPL-2.0-only
//! Random programs: each operation runs on the engine and on the model, with or without an I/O error on the way; results,
//! credits and contents must agree.

use super::check::check;
use super::common::{MemFs, MemIo};
use super::model::{Id, Model, Node};
use super::ops::{name, Op};
use crate::extent;
use crate::inode::{self, NewInode, SetAttributes};
use crate::io::ReadBlocks;
use crate::namei::{self, RenameFlags};
use crate::orphan::{self, Cursor, Progress};
use crate::vector::{self, NewIndex};
use crate::xattr::{self, SetFlags};
use crate::{Cx, Error, Result};
use layout::attr::Namespace;
use layout::inode::{mode, FileType, ForkFormat};
use layout::{ino, BLOCK_SIZE};

const NAMESPACES: [Namespace; 4] = [
    Namespace::User,
    Namespace::Trusted,
    Namespace::Security,
    Namespace::System,
];
const DIM: u32 = 4;

fn bytes(n: usize, salt: usize) -> Vec<u8> {
    (0..n)
        .map(|i| ((i * 7 + salt * 13) % 250 + 1) as u8)
        .collect()
}

pub struct Program {
    pub fs: MemFs,
    pub model: Model,
    index: u32,
    /// Operations that returned Ok.
    pub done: usize,
    /// I/O errors that an operation met and that undid it.
    pub failed: usize,
}

impl Program {
    pub fn new(seed: u8) -> Program {
        let mut fs = MemFs::new(40_000, 256, seed);
        let index = fs
            .with(|cx| {
                vector::create(
                    cx,
                    &NewIndex {
                        name: b"test",
                        dim: DIM,
                        element: layout::vector::Element::F32,
                        metric: layout::vector::Metric::L2,
                        mode: 0o644,
                        uid: 0,
                        gid: 0,
                    },
                )
            })
            .expect("index")
            .id;
        Program {
            fs,
            model: Model::new(),
            index,
            done: 0,
            failed: 0,
        }
    }

    /// Runs a transaction with an I/O error after `fail` accesses; if it hits, once more without. Checks the credits.
    fn run<X>(
        &mut self,
        fail: Option<u64>,
        credits: u32,
        f: impl Fn(&mut Cx<'_, MemIo>) -> Result<X>,
    ) -> Result<X> {
        if let Some(n) = fail {
            self.fs.fail_in(Some(n));
            let r = self.fs.with(&f);
            self.fs.fail_in(None);
            match r {
                Err(Error::Io { .. }) => self.failed += 1,
                other => return self.judge(other, credits),
            }
        }
        let r = self.fs.with(&f);
        self.judge(r, credits)
    }

    fn judge<X>(&mut self, r: Result<X>, credits: u32) -> Result<X> {
        match &r {
            Ok(_) => {
                self.done += 1;
                let n = self.fs.changed();
                assert!(
                    n <= credits as usize,
                    "{n} blocks changed with {credits} credits"
                );
            }
            Err(e) => assert!(e.is_clean(), "{e:?}"),
        }
        r
    }

    pub fn ino(&self, id: Id) -> u64 {
        self.model.nodes[id].ino
    }

    pub fn load(&self, id: Id) -> layout::inode::Inode {
        inode::load(&self.fs.io, self.ino(id)).expect("inode of a live node")
    }

    /// The inode that a name leads to, for credits.
    fn named(&self, d: Id, n: &[u8]) -> Option<layout::inode::Inode> {
        let child = self.model.nodes[d].entries.get(n)?;
        Some(self.load(*child))
    }

    pub fn step(&mut self, op: &Op, fail: Option<u64>) {
        let any_dir = |m: &Model, n| m.pick(n, Node::is_dir).expect("the root is a directory");
        match *op {
            Op::Create(d, n, kind, len) => {
                let d = any_dir(&self.model, d);
                let n = name(n);
                let (m, target, rdev) = match kind {
                    0..=3 => (mode::DIRECTORY | 0o755, vec![], 0),
                    4..=5 => (mode::REGULAR | 0o644, vec![], 0),
                    6..=7 => (mode::SYMLINK | 0o777, bytes(len.min(4095), len), 0),
                    8 => (mode::FIFO | 0o600, vec![], 0),
                    _ => (mode::CHAR | 0o600, vec![], 0x105),
                };
                let new = NewInode {
                    mode: m,
                    uid: 1,
                    gid: 2,
                    rdev,
                    target: &target,
                    ..NewInode::default()
                };
                let file_type = FileType::from_mode(m).expect("type");
                let want = self
                    .model
                    .create(d, &n, Node::new(file_type, m & 0o7777, &target));
                let credits = namei::create_credits(&self.load(d), target.len());
                let dir = self.ino(d);
                let got = self.run(fail, credits, |cx| namei::create(cx, dir, &n, &new));
                assert_eq!(got.as_ref().map(|_| ()).err(), want.as_ref().err());
                if let (Ok(got), Ok(id)) = (got, want) {
                    self.model.nodes[id].ino = got.inode.ino;
                    assert_eq!(got.dir, self.load(d));
                    assert_eq!(got.inode, self.load(id));
                }
            }
            Op::Tmpfile(d) => {
                let d = any_dir(&self.model, d);
                let new = NewInode {
                    mode: mode::REGULAR | 0o600,
                    ..NewInode::default()
                };
                let want = self
                    .model
                    .tmpfile(d, Node::new(FileType::Regular, 0o600, &[]));
                let dir = self.ino(d);
                let credits = namei::tmpfile_credits(&self.fs.io).expect("credits");
                let got = self.run(fail, credits, |cx| namei::tmpfile(cx, dir, &new));
                assert_eq!(got.as_ref().map(|_| ()).err(), want.as_ref().err());
                if let (Ok(got), Ok(id)) = (got, want) {
                    self.model.nodes[id].ino = got.ino;
                }
            }
            Op::Link(i, d, n) => {
                // Links to removed files are the caller's to refuse.
                let Some(i) = self.model.pick(i, |n| n.links != 0 || n.nameless) else {
                    return;
                };
                let d = any_dir(&self.model, d);
                let n = name(n);
                let want = self.model.link(i, d, &n);
                let (inode, dir) = (self.load(i), self.load(d));
                let credits = namei::link_credits(&self.fs.io, &inode, &dir).expect("credits");
                let got = self.run(fail, credits, |cx| namei::link(cx, inode.ino, dir.ino, &n));
                assert_eq!(got.map(|_| ()), want);
            }
            Op::Unlink(d, n) | Op::Rmdir(d, n) => {
                let d = any_dir(&self.model, d);
                let n = name(n);
                let rmdir = matches!(op, Op::Rmdir(..));
                let child = self.named(d, &n);
                let dir = self.load(d);
                let credits = child.map_or(0, |c| {
                    namei::remove::remove_credits(&self.fs.io, &dir, &c).expect("credits")
                });
                let want = if rmdir {
                    self.model.rmdir(d, &n)
                } else {
                    self.model.unlink(d, &n)
                };
                let got = self.run(fail, credits, |cx| {
                    if rmdir {
                        namei::rmdir(cx, dir.ino, &n)
                    } else {
                        namei::unlink(cx, dir.ino, &n)
                    }
                });
                assert_eq!(got.map(|_| ()), want);
            }
            Op::Rename(od, on, nd, nn, f) => {
                let od = any_dir(&self.model, od);
                // One in four stays in its directory.
                let nd = if f == 3 { od } else { any_dir(&self.model, nd) };
                let (on, nn) = (name(on), name(nn));
                let flags = match f {
                    0 => RenameFlags::NoReplace,
                    1 => RenameFlags::Exchange,
                    _ => RenameFlags::Replace,
                };
                let (o, n) = (self.load(od), self.load(nd));
                let (source, target) = (self.named(od, &on), self.named(nd, &nn));
                let credits = source.map_or(0, |s| {
                    namei::rename::rename_credits(&self.fs.io, &o, &n, &s, target.as_ref())
                        .expect("credits")
                });
                let want = self.model.rename(od, &on, nd, &nn, flags);
                let got = self.run(fail, credits, |cx| {
                    namei::rename(cx, o.ino, &on, n.ino, &nn, flags)
                });
                assert_eq!(got.as_ref().map(|_| ()).map_err(|e| *e), want);
                if let Ok(got) = got {
                    let now =
                        |i: &layout::inode::Inode| inode::load(&self.fs.io, i.ino).expect("inode");
                    for i in [Some(got.old_dir), got.new_dir, Some(got.source), got.target] {
                        assert!(i.is_none_or(|i| i == now(&i)));
                    }
                }
            }
            Op::SetXattr(i, s, n, len, f) => {
                let Some(i) = self.model.pick(i, |_| true) else {
                    return;
                };
                let n = name(n);
                let value = bytes(len, usize::from(n[1]));
                let ns = NAMESPACES[usize::from(s)];
                let flags = match f {
                    0 => SetFlags::Create,
                    1 => SetFlags::Replace,
                    _ => SetFlags::Any,
                };
                let want = self.model.set_xattr(i, ns as u8, &n, &value, flags);
                let inode = self.load(i);
                let credits =
                    xattr::set_credits(&self.fs.io, &inode, ns, &n, len).expect("credits");
                let got = self.run(fail, credits, |cx| {
                    xattr::set(cx, inode.ino, ns, &n, &value, flags)
                });
                assert_eq!(got.map(|_| ()), want);
            }
            Op::RemoveXattr(i, s, n) => {
                let Some(i) = self.model.pick(i, |_| true) else {
                    return;
                };
                let n = name(n);
                let ns = NAMESPACES[usize::from(s)];
                let want = self.model.remove_xattr(i, ns as u8, &n);
                let inode = self.load(i);
                let credits = xattr::set_credits(&self.fs.io, &inode, ns, &n, 0).expect("credits");
                let got = self.run(fail, credits, |cx| xattr::remove(cx, inode.ino, ns, &n));
                assert_eq!(got.map(|_| ()), want);
            }
            Op::Write(i, at, n, sparse) => {
                let Some(i) = self.model.pick(i, |n| n.file_type == FileType::Regular) else {
                    return;
                };
                let ino = self.ino(i);
                if self.load(i).data.format == ForkFormat::Inline {
                    return;
                }
                let end = u64::from(at) + u64::from(n);
                let size = self.load(i).size.max(end * BLOCK_SIZE as u64);
                let r = self.run(None, u32::MAX, |cx| {
                    let mut inode = inode::load(cx.io, ino)?;
                    let step = if sparse { 2 } else { 1 };
                    for b in (u64::from(at)..end).step_by(step) {
                        extent::allocate(cx, &mut inode, b, 1)?;
                    }
                    inode.size = size;
                    inode::store(cx, &inode)
                });
                assert_eq!(r, Ok(()));
                self.model.nodes[i].size = size;
            }
            Op::Inline(i, len) => {
                let Some(i) = self
                    .model
                    .pick(i, |n| n.file_type == FileType::Regular && n.size == 0)
                else {
                    return;
                };
                let ino = self.ino(i);
                if self.load(i).data.format != ForkFormat::Empty {
                    return;
                }
                let r = self.run(None, 1, |cx| {
                    let mut inode = inode::load(cx.io, ino)?;
                    extent::set_inline(&mut inode, &bytes(usize::from(len), 3))?;
                    inode::store(cx, &inode)
                });
                assert_eq!(r, Ok(()));
                self.model.nodes[i].size = u64::from(len);
            }
            Op::SetSize(i, size) => {
                let Some(i) = self.model.pick(i, |_| true) else {
                    return;
                };
                let inode = self.load(i);
                let node = &mut self.model.nodes[i];
                let inline = inode.data.format == ForkFormat::Inline;
                let want = match node.file_type {
                    FileType::Directory => Err(Error::IsDirectory),
                    FileType::Regular if inline && size > 176 => {
                        Err(Error::Range("data inside the inode would outgrow it"))
                    }
                    FileType::Regular => Ok(()),
                    _ => Err(Error::Range("only a regular file has a size to set")),
                };
                if want.is_ok() {
                    node.size = size;
                    if size == 0 {
                        node.labels.clear();
                    }
                }
                let credits = namei::size::set_size_credits(&self.fs.io, &inode).expect("credits");
                // Both ways to a size end in the same state once the work that is left is done.
                let got = self.run(fail, credits, |cx| match size % 2 {
                    0 => namei::set_size(cx, inode.ino, size),
                    _ => namei::cut_size(cx, inode.ino, size),
                });
                assert_eq!(got.as_ref().map(|_| ()).map_err(|e| *e), want);
                if got.is_ok_and(|g| g.unfinished) {
                    assert!(orphan::contains(&self.fs.io, inode.ino).expect("orphans"));
                    self.finish(inode.ino, true);
                }
            }
            Op::Put(i, n) => {
                let Some(i) = self.model.pick(i, |_| true) else {
                    return;
                };
                let ino = self.ino(i);
                let id = self.index;
                let start = self.model.nodes[i].labels.len() as u64;
                let r = self.run(None, u32::MAX, |cx| {
                    let mut inode = inode::load(cx.io, ino)?;
                    let mut index = vector::load(cx.io, id)?;
                    for l in start..start + u64::from(n) {
                        vector::put(
                            cx,
                            &mut inode,
                            &mut index,
                            l,
                            0,
                            &[0; DIM as usize * 4],
                            None,
                        )?;
                    }
                    inode::store(cx, &inode)
                });
                assert_eq!(r, Ok(()));
                self.model.nodes[i]
                    .labels
                    .extend(start..start + u64::from(n));
            }
            Op::SetMode(i, m) => {
                let Some(i) = self.model.pick(i, |_| true) else {
                    return;
                };
                let set = SetAttributes {
                    mode: Some(m),
                    uid: Some(u32::from(m)),
                    ..SetAttributes::default()
                };
                let ino = self.ino(i);
                let before = self.load(i);
                let r = self.run(fail, inode::SET_ATTRIBUTES_CREDITS, |cx| {
                    inode::set_attributes(cx, ino, &set)
                });
                let after = r.expect("set attributes");
                assert_eq!((after.uid, after.gid), (u32::from(m), before.gid));
                assert_eq!(after.version, before.version + 1);
                self.model.nodes[i].mode = m & 0o7777;
            }
            Op::Finish(i) => {
                let Some(i) = self.model.pick(i, |n| n.links == 0) else {
                    return;
                };
                self.finish(self.ino(i), false);
                self.model.nodes[i].gone = true;
            }
        }
    }

    /// All steps of finishing an orphan, or of trimming a file in use.
    fn finish(&mut self, ino: u64, trim: bool) {
        let mut cursor = Cursor::default();
        let mut steps = 0;
        loop {
            let inode = inode::load(&self.fs.io, ino).expect("orphan");
            let credits = orphan::finish_credits(&self.fs.io, &inode).expect("credits");
            let before = cursor;
            let r = self.fs.with(|cx| {
                if trim {
                    orphan::trim_step(cx, ino, &mut cursor)
                } else {
                    orphan::finish_step(cx, ino, &mut cursor)
                }
            });
            match self.judge(r, credits).expect("a step") {
                Progress::Done => break,
                Progress::More => {}
            }
            // A crash loses the cursor: forgetting it now and then must do no harm.
            if steps % 3 == 1 && !trim {
                cursor = before;
            }
            steps += 1;
            assert!(steps < 10_000, "finishing does not end");
        }
    }

    /// Removes everything and finishes all orphans: the filesystem must be as new.
    pub fn demolish(&mut self) {
        while let Some(d) = self.model.pick(0, |n| n.is_dir() && !n.entries.is_empty()) {
            // Down to a directory that holds no directory that holds anything.
            let mut d = d;
            while let Some(sub) = self.model.nodes[d]
                .entries
                .values()
                .find(|i| !self.model.nodes[**i].entries.is_empty())
            {
                d = *sub;
            }
            let (n, child) = self.model.nodes[d]
                .entries
                .iter()
                .map(|(n, i)| (n.clone(), *i))
                .next()
                .expect("entry");
            let dir = self.ino(d);
            let rmdir = self.model.nodes[child].is_dir();
            let r = if rmdir {
                self.model.rmdir(d, &n)
            } else {
                self.model.unlink(d, &n)
            };
            r.expect("model");
            self.fs
                .with(|cx| {
                    if rmdir {
                        namei::rmdir(cx, dir, &n)
                    } else {
                        namei::unlink(cx, dir, &n)
                    }
                })
                .expect("remove");
        }
        let mut from = 0;
        while let Some(ino) = orphan::first(&self.fs.io, from).expect("orphans") {
            self.finish(ino, false);
            from = ino;
        }
        let snap = check(&self.fs);
        assert_eq!(snap.inodes.keys().copied().collect::<Vec<_>>(), [ino::ROOT]);
        assert!(snap.orphans.is_empty());
        // Only the root's own records are left.
        let records = self.model.nodes[0].labels.len() as u64;
        assert_eq!(snap.records.values().sum::<u64>(), records);
        assert_eq!(snap.records.len() as u64, records.min(1));
        let root = inode::load(&self.fs.io, ino::ROOT).expect("root");
        assert_eq!(
            (root.links, root.size, root.data.format),
            (2, 0, ForkFormat::Empty)
        );
        let used = self.fs.used_blocks().len();
        // Root's attributes may hold blocks still; indexes may keep a segment.
        let attrs = root.blocks as usize;
        let table = inode::load(&self.fs.io, ino::INDEX_TABLE).expect("table");
        let index = vector::load(&self.fs.io, self.index).expect("index");
        assert_eq!(index.records, records);
        if index.segments == 0 {
            assert_eq!(used, attrs + table.blocks as usize, "blocks left over");
        }
        assert_eq!(self.fs.io.sb().geometry.first_group, 0);
    }
}
