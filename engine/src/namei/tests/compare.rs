// SPDX-License-Identifier: GPL-2.0-only
//! Comparing what a program left behind with the model: through the checker's eyes, and through every reading function of the
//! engine.

use super::check::{check, Snapshot};
use super::model::Id;
use super::ops::name;
use super::program::Program;
use crate::dir::parents::Position;
use crate::dir::path::{self, PathSearch};
use crate::xattr;
use crate::{dir, symlink, vector, Error};
use layout::attr::Namespace;
use layout::ino;
use layout::inode::FileType;
use std::collections::BTreeMap;

impl Program {
    /// Checks all invariants and compares all contents with the model.
    pub fn compare(&self) -> Snapshot {
        let snap = check(&self.fs);
        let io = &self.fs.io;
        let mut live = 0;
        for (id, node) in self.model.nodes.iter().enumerate() {
            if node.gone {
                continue;
            }
            live += 1;
            let f = &snap.inodes[&node.ino];
            assert_eq!(f.inode.file_type(), node.file_type);
            assert_eq!(f.inode.mode & 0o7777, node.mode);
            assert_eq!(f.inode.links, node.links);
            assert_eq!(f.target, node.target);
            assert_eq!(f.xattrs, node.xattrs);
            let want: BTreeMap<Vec<u8>, u64> = node
                .entries
                .iter()
                .map(|(n, i)| (n.clone(), self.ino(*i)))
                .collect();
            assert_eq!(f.entries, want, "directory {}", node.ino);
            if !node.is_dir() {
                assert_eq!(f.inode.size, node.size);
            }
            if node.links == 0 {
                assert!(snap.orphans.contains(&node.ino));
            } else {
                assert!(!snap.orphans.contains(&node.ino));
            }
            let mut labels = 0;
            vector::for_each(io, &f.inode, vector::RecordPos::START, |r| {
                assert!(node.labels.contains(&r.label));
                labels += 1;
                Ok(true)
            })
            .expect("records");
            assert_eq!(labels, node.labels.len(), "records of inode {}", node.ino);
            self.read_back(id);
        }
        assert_eq!(live, snap.inodes.len(), "inodes in use");
        snap
    }

    /// The engine's own reading functions.
    fn read_back(&self, id: Id) {
        let io = &self.fs.io;
        let node = &self.model.nodes[id];
        let inode = self.load(id);
        if node.is_dir() {
            let mut seen = BTreeMap::new();
            let mut last = 0;
            dir::read(io, &inode, 0, |cookie, e| {
                assert!(cookie > last && cookie < 1 << 63);
                last = cookie;
                seen.insert(e.name.to_vec(), (e.ino, cookie));
                Ok(true)
            })
            .expect("readdir");
            for n in 0..40 {
                let n = name(n);
                let got = dir::lookup(io, &inode, &n).expect("lookup");
                let want = node.entries.get(&n).map(|i| self.ino(*i));
                assert_eq!(got.map(|e| e.ino), want);
                assert_eq!(got.map(|e| (e.ino, e.cookie)), seen.get(&n).copied());
            }
            assert_eq!(dir::is_empty(io, &inode), Ok(node.entries.is_empty()));
            let parent = match node.links {
                0 => Err(Error::Stale),
                _ => Ok(self.ino(node.parent)),
            };
            assert_eq!(dir::parents::parent_of(io, &inode), parent);
        }
        if node.file_type == FileType::Symlink {
            let mut buf = vec![0; 4096];
            assert_eq!(symlink::read(io, &inode, &mut buf), Ok(node.target.len()));
        }
        let mut listed = BTreeMap::new();
        xattr::list(io, &inode, |ns, name, len| {
            listed.insert((ns as u8, name.to_vec()), len);
            Ok(true)
        })
        .expect("list");
        let want: BTreeMap<_, _> = node
            .xattrs
            .iter()
            .map(|(k, v)| (k.clone(), v.len()))
            .collect();
        assert_eq!(listed, want);
        for ((ns, name), value) in &node.xattrs {
            let ns = Namespace::from_u8(*ns).expect("namespace");
            assert_eq!(xattr::get(io, &inode, ns, name, &mut []), Ok(value.len()));
            let mut buf = vec![0; value.len() + 1];
            assert_eq!(xattr::get(io, &inode, ns, name, &mut buf), Ok(value.len()));
            assert_eq!(&buf[..value.len()], value);
            if value.len() > 1 {
                let short = &mut buf[..value.len() - 1];
                let r = xattr::get(io, &inode, ns, name, short);
                assert_eq!(r, Err(Error::BufferTooSmall));
            }
        }
        self.paths(id);
    }

    fn paths(&self, id: Id) {
        let io = &self.fs.io;
        let inode = self.load(id);
        let want = if self.model.nodes[id].links == 0 {
            Default::default()
        } else {
            self.model.paths(id)
        };
        let mut got = std::collections::BTreeSet::new();
        let mut position = Position::default();
        let mut buf = vec![0; 16384];
        loop {
            match path::find(io, &inode, &mut position, 1, &mut buf, |_| Ok(true)) {
                Ok(PathSearch::Found(at)) => {
                    got.insert(buf[at..].to_vec());
                    if inode.ino == ino::ROOT {
                        break;
                    }
                }
                Ok(PathSearch::More) => {}
                Ok(PathSearch::None { too_long }) => {
                    assert!(!too_long);
                    break;
                }
                Err(e) => panic!("{e:?}"),
            }
        }
        assert_eq!(got, want);
        let any = path::any(io, inode.ino, &mut buf).map(|at| buf[at..].to_vec());
        match want.is_empty() {
            true => assert_eq!(any, Err(Error::NotFound)),
            false => assert!(want.contains(&any.expect("path"))),
        }
    }
}
