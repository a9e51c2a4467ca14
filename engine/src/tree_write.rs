// SPDX-License-Identifier: GPL-2.0-only
//! Changing the B+tree of [`crate::tree`]: insert, replace, remove, with splits on the way in and merges on the way out.
//!
//! Order of things: `NoSpace`, `Exists` and `NotFound` are found while nothing is changed yet. A leaf that runs full is
//! split by bytes, an internal node by entries. A node that falls below a third is merged with a sibling if both fit one block; an
//! empty node leaves the tree at once. A root leaf that fits into half a fork moves back into it.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode;
use crate::io::{ReadBlocks, Transaction};
use crate::node;
use crate::space;
use crate::tree::{body, body_mut, check, fork, fork_mut, kind, new_blocks, Which, ODD};
use layout::block::{write_header, BlockKind, Header, PAYLOAD_SIZE};
use layout::btree::{count, Key, TreeKind, MAX_LEVELS, MAX_VALUE};
use layout::inode::{Fork, ForkFormat, Inode, FORK_SIZE};

/// A leaf of this many bytes or fewer moves back into its fork.
const BACK_INTO_FORK: usize = FORK_SIZE / 2;

/// The nodes from the root to a leaf: (block, index of the child taken), by level.
struct Path {
    root: u8,
    steps: [(u64, usize); MAX_LEVELS as usize],
}

impl Path {
    fn block(&self, level: u8) -> Result<u64> {
        Ok(self.step(level)?.0)
    }

    fn step(&self, level: u8) -> Result<(u64, usize)> {
        self.steps
            .get(usize::from(level))
            .copied()
            .ok_or(Error::Internal("level outside a path"))
    }

    /// The smallest key that belongs into the path's node of `level`: the nearest separator left of the path.
    fn lower_bound<R: ReadBlocks>(&self, io: &R, kind: TreeKind, level: u8) -> Result<Key> {
        let mut above = level.saturating_add(1);
        while above <= self.root {
            let (block, i) = self.step(above)?;
            if i != 0 {
                let data = io.read(block, BlockKind::Node)?;
                let key = node::key(body(&data), kind, false, i);
                return key.ok_or(Error::corrupt(block, ODD));
            }
            above = above.saturating_add(1);
        }
        Ok(Key::MIN)
    }

    /// Descends to the leaf for `key`.
    fn descend<R: ReadBlocks>(
        io: &R,
        inode: &Inode,
        kind: TreeKind,
        root: (u64, u8),
        key: &Key,
    ) -> Result<Path> {
        let (mut block, mut level) = root;
        let mut path = Path {
            root: level,
            steps: [(0, 0); MAX_LEVELS as usize],
        };
        if level >= MAX_LEVELS {
            return Err(Error::corrupt(block, "tree too high"));
        }
        loop {
            let data = io.read(block, BlockKind::Node)?;
            check(block, &data, inode.ino, kind, level)?;
            let odd = Error::corrupt(block, ODD);
            let step = path
                .steps
                .get_mut(usize::from(level))
                .ok_or(Error::Internal("level outside a path"))?;
            if level == 0 {
                *step = (block, 0);
                return Ok(path);
            }
            let i = node::child_index(body(&data), kind, key).ok_or(odd)?;
            *step = (block, i);
            let child = node::child(body(&data), kind, i).ok_or(odd)?;
            // A block on its own path would be held twice when it is changed.
            if path.steps.iter().any(|(b, _)| *b == child) {
                return Err(Error::corrupt(child, "node is its own ancestor"));
            }
            block = child;
            level = level.saturating_sub(1);
        }
    }
}

/// Makes a node block for `inode`'s tree.
fn new_node<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    kind: TreeKind,
    level: u8,
    near: u64,
) -> Result<(u64, T::Mut)> {
    let block = space::alloc_meta(cx, near)?;
    let mut data = cx.io.create(block, BlockKind::Node)?;
    let header = Header {
        block,
        owner: inode.ino,
        node: Some((kind, level)),
    };
    write_header(&mut data, BlockKind::Node, header).map_err(Error::at(block))?;
    if level == 0 {
        node::init_leaf(body_mut(&mut data)).ok_or(Error::Internal("leaf too large"))?;
    }
    inode.blocks = inode.blocks.saturating_add(1);
    Ok((block, data))
}

/// Frees a node block; its guards must be gone.
fn free_node<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, block: u64) -> Result<()> {
    cx.io.forget(block, BlockKind::Node)?;
    space::free(cx, block, 1)?;
    inode.blocks = inode.blocks.saturating_sub(1);
    Ok(())
}

/// A place near the inode, for the first node of a tree.
fn home<T: Transaction>(cx: &Cx<'_, T>, inode: &Inode) -> u64 {
    let geo = cx.io.sb().geometry;
    geo.inode_place(inode.ino)
        .map_or(0, |p| geo.data_start(p.group))
}

/// Inserts `value` under `key`.
///
/// Errors: clean [`Error::Exists`], [`Error::NoSpace`], [`Error::Range`] for a value too long; the dirty ones.
pub fn insert<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    key: &Key,
    value: &[u8],
) -> Result<()> {
    let kind = kind(inode, w)?;
    if value.len() > MAX_VALUE {
        return Err(Error::Range("tree value too long"));
    }
    let root = match fork(inode, w).format {
        ForkFormat::Inline => {
            return Err(Error::Internal("tree insert into a fork with inline data"))
        }
        ForkFormat::Tree => fork(inode, w)
            .root()
            .ok_or(Error::Internal("tree without root"))?,
        ForkFormat::Empty | ForkFormat::Leaf => {
            let home = inode::home_block(cx.io, inode.ino);
            if insert_in_fork(fork_mut(inode, w), home, kind, key, value)? {
                return Ok(());
            }
            space::require_reserve(cx, 1)?;
            spill(cx, inode, w, kind)?
        }
    };
    let path = Path::descend(cx.io, inode, kind, root, key)?;
    let block = path.block(0)?;
    let odd = Error::corrupt(block, ODD);
    let i = {
        let data = cx.io.read(block, BlockKind::Node)?;
        let b = body(&data);
        let i = match node::find(b, kind, true, key).ok_or(odd)? {
            Ok(_) => return Err(Error::Exists),
            Err(i) => i,
        };
        let need = kind.slot_size().saturating_add(value.len());
        let used = node::leaf_used(b, kind).ok_or(odd)?;
        if used.saturating_add(need) > node::leaf_room(b.len()) {
            let blocks = insert_blocks(cx.io, inode, w, key, value.len())?;
            space::require_reserve(cx, blocks)?;
        }
        i
    };
    let mut data = cx.io.modify(block, BlockKind::Node)?;
    if node::leaf_insert(body_mut(&mut data), kind, i, key, value).ok_or(odd)? {
        return Ok(());
    }
    let need = kind.slot_size().saturating_add(value.len());
    let (keep, goes_left) = node::split_point(body(&data), kind, i, need).ok_or(odd)?;
    let (right_block, mut right) = new_node(cx, inode, kind, 0, block)?;
    node::leaf_append(body_mut(&mut right), body(&data), kind, keep).ok_or(odd)?;
    node::leaf_truncate(body_mut(&mut data), kind, keep).ok_or(odd)?;
    let (target, at) = if goes_left {
        (&mut data, i)
    } else {
        (&mut right, i.saturating_sub(keep))
    };
    if !node::leaf_insert(body_mut(target), kind, at, key, value).ok_or(odd)? {
        return Err(Error::Internal("a split made no room"));
    }
    let separator = node::key(body(&right), kind, true, 0).ok_or(odd)?;
    drop((data, right));
    insert_child(cx, inode, w, kind, &path, &separator, right_block)
}

/// Blocks that [`insert`] of a value of `len` bytes under `key` allocates, if it is the next change of the tree: none if its leaf has room, else one for every
/// node on the way up that has to be split, and a new root if all have.
///
/// Errors: [`Error::Corrupt`], [`Error::Io`].
pub fn insert_blocks<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    w: Which,
    key: &Key,
    len: usize,
) -> Result<u64> {
    let kind = kind(inode, w)?;
    let need = kind.slot_size().saturating_add(len);
    let f = fork(inode, w);
    let Some(root) = f.root() else {
        let used = match f.format {
            ForkFormat::Leaf => node::leaf_used(&f.bytes, kind)
                .ok_or(Error::corrupt(inode::home_block(io, inode.ino), ODD))?,
            _ => 0,
        };
        let fits = used.saturating_add(need) <= node::leaf_room(f.bytes.len());
        return Ok(u64::from(!fits));
    };
    let path = Path::descend(io, inode, kind, root, key)?;
    let mut blocks = 0u64;
    for level in 0..=path.root {
        let block = path.block(level)?;
        let data = io.read(block, BlockKind::Node)?;
        let b = body(&data);
        let fits = if level == 0 {
            let used = node::leaf_used(b, kind).ok_or(Error::corrupt(block, ODD))?;
            used.saturating_add(need) <= node::leaf_room(b.len())
        } else {
            count(b) < node::max_entries(b.len(), kind)
        };
        if fits {
            return Ok(blocks);
        }
        blocks = blocks.saturating_add(1);
    }
    Ok(blocks.saturating_add(1))
}

/// Inserts into an empty fork or a leaf in a fork; `false`, and nothing changed, if it does not fit.
fn insert_in_fork(
    f: &mut Fork,
    home: u64,
    kind: TreeKind,
    key: &Key,
    value: &[u8],
) -> Result<bool> {
    let odd = Error::corrupt(home, ODD);
    let mut new = *f;
    if new.format == ForkFormat::Empty {
        new.format = ForkFormat::Leaf;
        node::init_leaf(&mut new.bytes).ok_or(odd)?;
    }
    let i = match node::find(&new.bytes, kind, true, key).ok_or(odd)? {
        Ok(_) => return Err(Error::Exists),
        Err(i) => i,
    };
    if !node::leaf_insert(&mut new.bytes, kind, i, key, value).ok_or(odd)? {
        return Ok(false);
    }
    *f = new;
    Ok(true)
}

/// Moves a tree out of its fork into a leaf block; returns the root.
fn spill<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    kind: TreeKind,
) -> Result<(u64, u8)> {
    let near = home(cx, inode);
    let (block, mut data) = new_node(cx, inode, kind, 0, near)?;
    let odd = Error::corrupt(inode::home_block(cx.io, inode.ino), ODD);
    let f = fork_mut(inode, w);
    if f.format == ForkFormat::Leaf {
        node::leaf_append(body_mut(&mut data), &f.bytes, kind, 0).ok_or(odd)?;
    }
    f.set_root(block, 0);
    Ok((block, 0))
}

/// Inserts the right half of a split into the parents, splitting them as needed.
fn insert_child<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    kind: TreeKind,
    path: &Path,
    separator: &Key,
    block: u64,
) -> Result<()> {
    let mut separator = *separator;
    let mut new = block;
    let mut level = 1u8;
    while level <= path.root {
        let (parent, child) = path.step(level)?;
        let odd = Error::corrupt(parent, ODD);
        let i = child.saturating_add(1);
        let low = if child == 0 {
            Some(path.lower_bound(cx.io, kind, level)?)
        } else {
            None
        };
        let mut data = cx.io.modify(parent, BlockKind::Node)?;
        if let Some(low) = low {
            // The first child also has what lies below its key, so once the nodes before it are gone a separator
            // inside it may be smaller than that key.
            if node::key(body(&data), kind, false, 0).ok_or(odd)? >= separator {
                node::entry_set_key(body_mut(&mut data), kind, 0, &low).ok_or(odd)?;
            }
        }
        if node::entry_insert(body_mut(&mut data), kind, i, &separator, new).ok_or(odd)? {
            return Ok(());
        }
        let n = count(body(&data));
        // As in leaves: appending leaves the old node full.
        let keep = if i == n { n } else { n / 2 };
        let (right_block, mut right) = new_node(cx, inode, kind, level, parent)?;
        node::entry_append(body_mut(&mut right), body(&data), kind, keep).ok_or(odd)?;
        node::entry_truncate(body_mut(&mut data), kind, keep).ok_or(odd)?;
        let (target, at) = if i <= keep && keep != n {
            (&mut data, i)
        } else {
            (&mut right, i.saturating_sub(keep))
        };
        if !node::entry_insert(body_mut(target), kind, at, &separator, new).ok_or(odd)? {
            return Err(Error::Internal("a split made no room"));
        }
        separator = node::key(body(&right), kind, false, 0).ok_or(odd)?;
        new = right_block;
        level = level.saturating_add(1);
    }
    if level >= MAX_LEVELS {
        return Err(Error::Internal("tree would grow too high"));
    }
    let old = path.block(path.root)?;
    let (root, mut data) = new_node(cx, inode, kind, level, old)?;
    let odd = Error::corrupt(root, ODD);
    let b = body_mut(&mut data);
    let first = node::entry_insert(b, kind, 0, &Key::MIN, old).ok_or(odd)?;
    let second = node::entry_insert(b, kind, 1, &separator, new).ok_or(odd)?;
    if !(first && second) {
        return Err(Error::Internal("an empty node is full"));
    }
    fork_mut(inode, w).set_root(root, level);
    Ok(())
}

/// Replaces the value under `key`; the length may change.
///
/// Errors: clean [`Error::NotFound`], [`Error::NoSpace`], [`Error::Range`]; the dirty ones.
pub fn replace<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    key: &Key,
    value: &[u8],
) -> Result<()> {
    let kind = kind(inode, w)?;
    if value.len() > MAX_VALUE {
        return Err(Error::Range("tree value too long"));
    }
    let f = fork(inode, w);
    // A value that fits its leaf needs no space: deleting must work on a full device.
    if f.format == ForkFormat::Tree {
        let root = f.root().ok_or(Error::Internal("tree without root"))?;
        let block = Path::descend(cx.io, inode, kind, root, key)?.block(0)?;
        let odd = Error::corrupt(block, ODD);
        let (i, fits) = {
            let data = cx.io.read(block, BlockKind::Node)?;
            let b = body(&data);
            let i = node::find(b, kind, true, key)
                .ok_or(odd)?
                .map_err(|_| Error::NotFound)?;
            (i, fits(b, kind, i, value).ok_or(odd)?)
        };
        if fits {
            let mut data = cx.io.modify(block, BlockKind::Node)?;
            return replace_in(body_mut(&mut data), kind, i, key, value).ok_or(odd);
        }
    } else {
        let odd = Error::corrupt(inode::home_block(cx.io, inode.ino), ODD);
        if f.format != ForkFormat::Leaf {
            return Err(Error::NotFound);
        }
        let i = node::find(&f.bytes, kind, true, key)
            .ok_or(odd)?
            .map_err(|_| Error::NotFound)?;
        if fits(&f.bytes, kind, i, value).ok_or(odd)? {
            let b = &mut fork_mut(inode, w).bytes;
            return replace_in(b, kind, i, key, value).ok_or(odd);
        }
    }
    space::require_reserve(cx, new_blocks(inode, w))?;
    remove(cx, inode, w, key)?;
    insert(cx, inode, w, key, value)
}

/// Whether a leaf has room for `value` in place of the value of slot `i`.
fn fits(b: &[u8], kind: TreeKind, i: usize, value: &[u8]) -> Option<bool> {
    let used = node::leaf_used(b, kind)?.checked_sub(node::slot_bytes(b, kind, i)?)?;
    let need = kind.slot_size().checked_add(value.len())?;
    Some(used.checked_add(need)? <= node::leaf_room(b.len()))
}

/// Replaces the value of slot `i` inside its leaf, where it fits.
fn replace_in(b: &mut [u8], kind: TreeKind, i: usize, key: &Key, value: &[u8]) -> Option<()> {
    if node::leaf_overwrite(b, kind, i, value)? {
        return Some(());
    }
    node::leaf_remove(b, kind, i)?;
    node::leaf_insert(b, kind, i, key, value)?.then_some(())
}

/// Removes `key`.
///
/// Errors: clean [`Error::NotFound`]; the dirty ones. Needs no space.
pub fn remove<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    key: &Key,
) -> Result<()> {
    let kind = kind(inode, w)?;
    let home = inode::home_block(cx.io, inode.ino);
    let f = fork_mut(inode, w);
    let root = match f.format {
        ForkFormat::Empty | ForkFormat::Inline => return Err(Error::NotFound),
        ForkFormat::Leaf => {
            let odd = Error::corrupt(home, ODD);
            let i = node::find(&f.bytes, kind, true, key)
                .ok_or(odd)?
                .map_err(|_| Error::NotFound)?;
            node::leaf_remove(&mut f.bytes, kind, i).ok_or(odd)?;
            if count(&f.bytes) == 0 {
                *f = Fork::EMPTY;
            }
            return Ok(());
        }
        ForkFormat::Tree => f.root().ok_or(Error::Internal("tree without root"))?,
    };
    let path = Path::descend(cx.io, inode, kind, root, key)?;
    let block = path.block(0)?;
    let odd = Error::corrupt(block, ODD);
    let i = {
        let data = cx.io.read(block, BlockKind::Node)?;
        node::find(body(&data), kind, true, key)
            .ok_or(odd)?
            .map_err(|_| Error::NotFound)?
    };
    let mut data = cx.io.modify(block, BlockKind::Node)?;
    node::leaf_remove(body_mut(&mut data), kind, i).ok_or(odd)?;
    drop(data);
    rebalance(cx, inode, w, kind, &path)
}

/// After a removal: takes empty nodes out and merges thin ones, from the leaf up, then lowers the root.
fn rebalance<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    kind: TreeKind,
    path: &Path,
) -> Result<()> {
    let mut level = 0u8;
    while level < path.root {
        let block = path.block(level)?;
        let (parent, i) = path.step(level.saturating_add(1))?;
        let (used, empty) = {
            let data = cx.io.read(block, BlockKind::Node)?;
            (
                used(body(&data), kind, level, block)?,
                count(body(&data)) == 0,
            )
        };
        if empty {
            let mut p = cx.io.modify(parent, BlockKind::Node)?;
            node::entry_remove(body_mut(&mut p), kind, i).ok_or(Error::corrupt(parent, ODD))?;
            drop(p);
            free_node(cx, inode, block)?;
        } else if used >= PAYLOAD_SIZE / 3 || !merge(cx, inode, kind, parent, i, level, used)? {
            return Ok(());
        }
        level = level.saturating_add(1);
    }
    lower_root(cx, inode, w, kind)
}

/// Bytes in use in a node.
fn used(b: &[u8], kind: TreeKind, level: u8, block: u64) -> Result<usize> {
    if level == 0 {
        node::leaf_used(b, kind).ok_or(Error::corrupt(block, ODD))
    } else {
        Ok(count(b).saturating_mul(kind.entry_size()))
    }
}

/// Merges child `i` of `parent` (using `mine` bytes) with its right or left sibling if both fit one node. Returns whether it did.
fn merge<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    kind: TreeKind,
    parent: u64,
    i: usize,
    level: u8,
    mine: usize,
) -> Result<bool> {
    let odd = Error::corrupt(parent, ODD);
    for left in [Some(i), i.checked_sub(1)].into_iter().flatten() {
        let (a, b) = {
            let p = cx.io.read(parent, BlockKind::Node)?;
            let right = left.saturating_add(1);
            if right >= count(body(&p)) {
                continue;
            }
            let a = node::child(body(&p), kind, left).ok_or(odd)?;
            (a, node::child(body(&p), kind, right).ok_or(odd)?)
        };
        if a == b {
            return Err(Error::corrupt(parent, "two entries lead to one node"));
        }
        let other = if left == i { b } else { a };
        let theirs = {
            let data = cx.io.read(other, BlockKind::Node)?;
            check(other, &data, inode.ino, kind, level)?;
            used(body(&data), kind, level, other)?
        };
        if mine.saturating_add(theirs) > node::leaf_room(PAYLOAD_SIZE) {
            continue;
        }
        let mut dst = cx.io.modify(a, BlockKind::Node)?;
        let src = cx.io.read(b, BlockKind::Node)?;
        if level == 0 {
            node::leaf_append(body_mut(&mut dst), body(&src), kind, 0).ok_or(odd)?;
        } else {
            // The first key of an internal node stands for "everything below": it takes the parent's separator when
            // it moves into the middle.
            let p = cx.io.read(parent, BlockKind::Node)?;
            let separator = node::key(body(&p), kind, false, left.saturating_add(1)).ok_or(odd)?;
            let n = count(body(&dst));
            let first = node::child(body(&src), kind, 0).ok_or(odd)?;
            if !node::entry_insert(body_mut(&mut dst), kind, n, &separator, first).ok_or(odd)? {
                return Err(Error::Internal("a merge did not fit"));
            }
            node::entry_append(body_mut(&mut dst), body(&src), kind, 1).ok_or(odd)?;
        }
        drop((dst, src));
        let mut p = cx.io.modify(parent, BlockKind::Node)?;
        node::entry_remove(body_mut(&mut p), kind, left.saturating_add(1)).ok_or(odd)?;
        drop(p);
        free_node(cx, inode, b)?;
        return Ok(true);
    }
    Ok(false)
}

/// Takes away roots with a single child or nothing in them, and moves a small root leaf back into the fork.
fn lower_root<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    w: Which,
    kind: TreeKind,
) -> Result<()> {
    while let Some((block, level)) = fork(inode, w).root() {
        let data = cx.io.read(block, BlockKind::Node)?;
        let b = body(&data);
        let odd = Error::corrupt(block, ODD);
        match (level, count(b)) {
            (_, 0) => *fork_mut(inode, w) = Fork::EMPTY,
            (0, _) => {
                if node::leaf_used(b, kind).ok_or(odd)? > BACK_INTO_FORK {
                    return Ok(());
                }
                let mut f = Fork::EMPTY;
                f.format = ForkFormat::Leaf;
                node::init_leaf(&mut f.bytes).ok_or(odd)?;
                node::leaf_append(&mut f.bytes, b, kind, 0).ok_or(odd)?;
                *fork_mut(inode, w) = f;
            }
            (_, 1) => {
                let child = node::child(b, kind, 0).ok_or(odd)?;
                fork_mut(inode, w).set_root(child, level.saturating_sub(1));
            }
            _ => return Ok(()),
        }
        drop(data);
        free_node(cx, inode, block)?;
    }
    Ok(())
}
