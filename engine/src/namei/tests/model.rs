// SPDX-License-Identifier: GPL-2.0-only
//! What a filesystem is, without any block: nodes, names and attributes in maps. It says what each operation must return and
//! what must be there afterwards.

use crate::namei::RenameFlags;
use crate::xattr::SetFlags;
use crate::Error;
use layout::inode::FileType;
use std::collections::{BTreeMap, BTreeSet};

/// Index of a node in [`Model::nodes`]; 0 is the root.
pub type Id = usize;

#[derive(Clone, Debug)]
pub struct Node {
    /// The inode number that the engine gave it.
    pub ino: u64,
    pub file_type: FileType,
    pub links: u32,
    pub entries: BTreeMap<Vec<u8>, Id>,
    pub parent: Id,
    pub xattrs: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
    pub target: Vec<u8>,
    pub size: u64,
    pub mode: u16,
    pub labels: BTreeSet<u64>,
    /// A temporary file that never had a name.
    pub nameless: bool,
    /// Freed: no operation can name it any more.
    pub gone: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: Vec<Node>,
}

type Result<X> = std::result::Result<X, Error>;

impl Node {
    pub fn new(file_type: FileType, mode: u16, target: &[u8]) -> Node {
        Node {
            ino: 0,
            file_type,
            links: if file_type == FileType::Directory {
                2
            } else {
                1
            },
            entries: BTreeMap::new(),
            parent: 0,
            xattrs: BTreeMap::new(),
            target: target.to_vec(),
            size: target.len() as u64,
            mode,
            labels: BTreeSet::new(),
            nameless: false,
            gone: false,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }
}

impl Model {
    pub fn new() -> Model {
        let mut root = Node::new(FileType::Directory, 0o755, &[]);
        root.ino = layout::ino::ROOT;
        Model { nodes: vec![root] }
    }

    /// The `n`th (modulo their number) node that `f` likes.
    pub fn pick(&self, n: usize, f: impl Fn(&Node) -> bool) -> Option<Id> {
        let all: Vec<Id> = (0..self.nodes.len())
            .filter(|i| !self.nodes[*i].gone && f(&self.nodes[*i]))
            .collect();
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    fn dir(&self, dir: Id) -> Result<()> {
        if !self.nodes[dir].is_dir() {
            return Err(Error::NotDirectory);
        }
        if self.nodes[dir].links == 0 {
            return Err(Error::NotFound);
        }
        Ok(())
    }

    fn get(&self, dir: Id, name: &[u8]) -> Option<Id> {
        self.nodes[dir].entries.get(name).copied()
    }

    fn free_name(&self, dir: Id, name: &[u8]) -> Result<()> {
        self.dir(dir)?;
        match self.get(dir, name) {
            Some(_) => Err(Error::Exists),
            None => Ok(()),
        }
    }

    pub fn create(&mut self, dir: Id, name: &[u8], node: Node) -> Result<Id> {
        self.free_name(dir, name)?;
        let id = self.nodes.len();
        self.nodes[dir].links += u32::from(node.is_dir());
        self.nodes[dir].entries.insert(name.to_vec(), id);
        self.nodes.push(Node {
            parent: dir,
            ..node
        });
        Ok(id)
    }

    pub fn tmpfile(&mut self, dir: Id, node: Node) -> Result<Id> {
        self.dir(dir)?;
        self.nodes.push(Node {
            links: 0,
            nameless: true,
            ..node
        });
        Ok(self.nodes.len() - 1)
    }

    pub fn link(&mut self, id: Id, dir: Id, name: &[u8]) -> Result<()> {
        self.dir(dir)?;
        if self.nodes[id].is_dir() {
            return Err(Error::IsDirectory);
        }
        self.free_name(dir, name)?;
        self.nodes[id].links += 1;
        self.nodes[id].nameless = false;
        self.nodes[dir].entries.insert(name.to_vec(), id);
        Ok(())
    }

    /// A name of `id` in `dir` is gone.
    fn lose(&mut self, id: Id, dir: Id) {
        if self.nodes[id].is_dir() {
            self.nodes[id].links = 0;
            self.nodes[dir].links -= 1;
        } else {
            self.nodes[id].links -= 1;
        }
        if self.nodes[id].links == 0 {
            self.nodes[id].labels.clear();
        }
    }

    pub fn unlink(&mut self, dir: Id, name: &[u8]) -> Result<()> {
        self.dir(dir)?;
        let id = self.get(dir, name).ok_or(Error::NotFound)?;
        if self.nodes[id].is_dir() {
            return Err(Error::IsDirectory);
        }
        self.nodes[dir].entries.remove(name);
        self.lose(id, dir);
        Ok(())
    }

    fn removable(&self, id: Id) -> Result<()> {
        if !self.nodes[id].is_dir() {
            return Err(Error::NotDirectory);
        }
        if !self.nodes[id].entries.is_empty() {
            return Err(Error::NotEmpty);
        }
        Ok(())
    }

    pub fn rmdir(&mut self, dir: Id, name: &[u8]) -> Result<()> {
        self.dir(dir)?;
        let id = self.get(dir, name).ok_or(Error::NotFound)?;
        self.removable(id)?;
        self.nodes[dir].entries.remove(name);
        self.lose(id, dir);
        Ok(())
    }

    fn is_below(&self, dir: Id, ancestor: Id) -> bool {
        let mut at = dir;
        loop {
            if at == ancestor {
                return true;
            }
            if at == 0 {
                return false;
            }
            at = self.nodes[at].parent;
        }
    }

    pub fn rename(
        &mut self,
        od: Id,
        on: &[u8],
        nd: Id,
        nn: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        self.dir(od)?;
        let source = self.get(od, on).ok_or(Error::NotFound)?;
        self.dir(nd)?;
        let target = self.get(nd, nn);
        if flags == RenameFlags::NoReplace && target.is_some() {
            return Err(Error::Exists);
        }
        if flags == RenameFlags::Exchange && target.is_none() {
            return Err(Error::NotFound);
        }
        if target == Some(source) {
            return Ok(());
        }
        let exchange = flags == RenameFlags::Exchange;
        let s_dir = self.nodes[source].is_dir();
        let t_dir = target.is_some_and(|t| self.nodes[t].is_dir());
        if s_dir && self.is_below(nd, source) {
            return Err(Error::Loop);
        }
        if let Some(t) = target.filter(|_| t_dir) {
            if self.is_below(od, t) {
                return Err(if exchange {
                    Error::Loop
                } else {
                    Error::NotEmpty
                });
            }
        }
        if exchange {
            let target = target.expect("target");
            self.nodes[od].entries.insert(on.to_vec(), target);
            self.nodes[nd].entries.insert(nn.to_vec(), source);
            self.nodes[od].links += u32::from(t_dir);
            self.nodes[od].links -= u32::from(s_dir);
            self.nodes[nd].links += u32::from(s_dir);
            self.nodes[nd].links -= u32::from(t_dir);
            self.nodes[source].parent = nd;
            self.nodes[target].parent = od;
            return Ok(());
        }
        if let Some(t) = target {
            if s_dir {
                self.removable(t)?;
            } else if t_dir {
                return Err(Error::IsDirectory);
            }
            self.lose(t, nd);
        }
        self.nodes[od].entries.remove(on);
        self.nodes[nd].entries.insert(nn.to_vec(), source);
        self.nodes[od].links -= u32::from(s_dir);
        self.nodes[nd].links += u32::from(s_dir);
        self.nodes[source].parent = nd;
        Ok(())
    }

    pub fn set_xattr(
        &mut self,
        id: Id,
        ns: u8,
        name: &[u8],
        value: &[u8],
        flags: SetFlags,
    ) -> Result<()> {
        let key = (ns, name.to_vec());
        let there = self.nodes[id].xattrs.contains_key(&key);
        match flags {
            SetFlags::Create if there => return Err(Error::Exists),
            SetFlags::Replace if !there => return Err(Error::NotFound),
            _ => {}
        }
        self.nodes[id].xattrs.insert(key, value.to_vec());
        Ok(())
    }

    pub fn remove_xattr(&mut self, id: Id, ns: u8, name: &[u8]) -> Result<()> {
        match self.nodes[id].xattrs.remove(&(ns, name.to_vec())) {
            Some(_) => Ok(()),
            None => Err(Error::NotFound),
        }
    }

    /// One path of a node with links.
    pub fn paths(&self, id: Id) -> BTreeSet<Vec<u8>> {
        let mut all = BTreeSet::new();
        if id == 0 {
            all.insert(b"/".to_vec());
            return all;
        }
        for d in 0..self.nodes.len() {
            if self.nodes[d].gone || (d != 0 && self.nodes[d].links == 0) {
                continue;
            }
            for (name, child) in &self.nodes[d].entries {
                if *child == id {
                    for mut base in self.paths(d) {
                        if base.len() > 1 {
                            base.push(b'/');
                        }
                        base.extend_from_slice(name);
                        all.insert(base);
                    }
                }
            }
        }
        all
    }
}
