// SPDX-License-Identifier: GPL-2.0-only
//! Pass 5: what attribute trees hold besides parent pointers: extended attributes and the targets of long symbolic links,
//! both cut into chunks.

use crate::check::Check;
use crate::inodes::Info;
use crate::pass::directories::load;
use crate::problem::{Code, Problem};
use crate::tree::{walk, NodeFault, Tree, Visitor};
use layout::attr::{
    parse_parent_key, parse_symlink_key, parse_xattr_key, xattr_hash, Namespace, XattrHead, CHUNK,
    XATTR_COLLISIONS,
};
use layout::btree::{Key, TreeKind};
use layout::inode::{FileType, ForkFormat, Inode};

/// Runs the pass.
pub fn run(check: &mut Check<'_>) {
    let infos: Vec<Info> = check
        .inodes
        .used()
        .iter()
        .filter(|info| info.has_attributes && info.attr_whole)
        .copied()
        .collect();
    check.begin(5, infos.len() as u64);
    for (done, info) in infos.iter().enumerate() {
        if let Some(inode) = load(check, info.ino) {
            inode_attributes(check, &inode);
        }
        check.progress(done as u64 + 1);
    }
}

/// An extended attribute whose chunks are being read.
struct Open {
    /// First key word.
    hash: u64,
    collision: u64,
    next_chunk: u64,
    /// Bytes of the value still to come.
    left: usize,
}

struct AttrVisitor<'a, 'b> {
    check: &'a mut Check<'b>,
    ino: u64,
    open: Option<Open>,
    /// The hash that is being read, and the names under it.
    names: (u64, Vec<(Namespace, Vec<u8>)>),
    /// Hash and collision index of an attribute whose first chunk is bad: the rest of it is not complained about.
    skipped: Option<(u64, u64)>,
    target_chunks: u64,
    target_len: usize,
    target_good: bool,
}

fn inode_attributes(check: &mut Check<'_>, inode: &Inode) {
    let reader = check.reader;
    let mut visitor = AttrVisitor {
        check,
        ino: inode.ino,
        open: None,
        names: (0, Vec::new()),
        skipped: None,
        target_chunks: 0,
        target_len: 0,
        target_good: true,
    };
    let tree = Tree {
        fork: &inode.attr,
        kind: TreeKind::Attr,
        owner: inode.ino,
    };
    walk(&reader, tree, &mut visitor);
    visitor.close();
    let (chunks, len, mut good) = (
        visitor.target_chunks,
        visitor.target_len,
        visitor.target_good,
    );
    if inode.file_type() == FileType::Symlink {
        match inode.data.inline() {
            Some(target) => good &= chunks == 0 && !target.contains(&0),
            None if inode.data.format == ForkFormat::Empty => good &= len as u64 == inode.size,
            // Extents: pass 2 has reported them.
            None => {}
        }
    } else {
        good &= chunks == 0;
    }
    if !good {
        check.report(Problem::new(Code::SymlinkTarget).ino(inode.ino));
    }
}

impl Visitor for AttrVisitor<'_, '_> {
    fn node(&mut self, _: u64) -> bool {
        true
    }

    fn fault(&mut self, _: Option<u64>, _: NodeFault) {
        // Pass 2 has reported it.
    }

    fn entry(&mut self, key: &Key, value: &[u8]) -> bool {
        if parse_parent_key(key).is_some() {
        } else if let Some((collision, chunk)) = parse_xattr_key(key) {
            self.xattr(key.a(), collision, chunk, value);
        } else if let Some(chunk) = parse_symlink_key(key) {
            // Chunks are full but for the last: the total says whether it was.
            self.target_good &= chunk == self.target_chunks
                && self.target_len == chunk as usize * CHUNK
                && !value.is_empty()
                && value.len() <= CHUNK
                && !value.contains(&0);
            self.target_chunks += 1;
            self.target_len += value.len();
        } else {
            let what = format!("{:#x}, {:#x}", key.a(), key.b());
            self.problem(Code::AttrKey, what);
        }
        true
    }
}

impl AttrVisitor<'_, '_> {
    fn problem(&mut self, code: Code, detail: String) {
        let problem = Problem::new(code).ino(self.ino).detail(detail);
        self.check.report(problem);
    }

    /// The attribute that was being read must be complete.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            if open.left != 0 {
                let what = format!("{} bytes of the value are missing", open.left);
                self.problem(Code::XattrChunks, what);
            }
        }
    }

    fn xattr(&mut self, hash: u64, collision: u64, chunk: u64, value: &[u8]) {
        let place = (hash, collision);
        if chunk != 0 {
            if self.skipped == Some(place) {
                return;
            }
            if let Some(open) = &mut self.open {
                let want = open.left.min(CHUNK);
                let fits = (open.hash, open.collision, open.next_chunk) == (hash, collision, chunk);
                if fits && want > 0 && value.len() == want {
                    open.next_chunk += 1;
                    open.left -= want;
                    return;
                }
                if (open.hash, open.collision) == place {
                    self.open = None;
                } else {
                    self.close();
                }
            }
            self.skipped = Some(place);
            let what = format!("chunk {chunk} does not belong here");
            return self.problem(Code::XattrChunks, what);
        }
        self.close();
        let head = match XattrHead::parse(value) {
            Ok(head) => head,
            Err(e) => {
                self.skipped = Some(place);
                return self.problem(Code::XattrBad, e.0.to_owned());
            }
        };
        let what = || {
            let prefix = head.namespace.prefix();
            format!("'{prefix}{}'", head.name.escape_ascii())
        };
        let seed = self.check.reader.sb.raw.hash_seed;
        if xattr_hash(&seed, head.namespace, head.name) != hash || collision >= XATTR_COLLISIONS {
            self.problem(Code::XattrHash, what());
        }
        // Names with equal hashes are neighbours; others cannot be equal.
        if self.names.0 != hash {
            self.names = (hash, Vec::new());
        }
        let name = (head.namespace, head.name.to_vec());
        if self.names.1.contains(&name) {
            self.problem(Code::XattrDuplicate, what());
        } else {
            self.names.1.push(name);
        }
        self.open = Some(Open {
            hash,
            collision,
            next_chunk: 1,
            left: head.value_len as usize - head.first.len(),
        });
    }
}
