// SPDX-License-Identifier: GPL-2.0-only
//! The B+tree, one for everything: extents, directories, attributes, the index table, the vector map, orphans. Its root
//! lies in a fork of an inode: nothing, a small leaf, or the number of the root block ([`layout::btree`] has the format).
//! This file reads; [`crate::tree_write`] changes. It may not know what keys and values mean.
//!
//! Inode and tree are changed together: changing functions alter the [`Inode`] in memory (fork, blocks), the caller stores it.
//!
//! There are no sibling links: a walk descends anew for every leaf. That costs a few reads of cached inner nodes a leaf,
//! and saves a third block in every split and merge.

use crate::error::{Error, Result};
use crate::inode::home_block;
use crate::io::ReadBlocks;
use crate::node;
use layout::block::{read_header, BlockKind, HEADER_SIZE};
use layout::btree::{count, Key, TreeKind, MAX_LEVELS};
use layout::inode::{Fork, ForkFormat, Inode};
use layout::Block;

/// Which fork's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The data fork: extents, directory entries, or the reserved inodes' trees.
    Data,
    /// The attribute fork.
    Attr,
}

/// The fork that `w` names.
pub fn fork(inode: &Inode, w: Which) -> &Fork {
    match w {
        Which::Data => &inode.data,
        Which::Attr => &inode.attr,
    }
}

/// The fork that `w` names, to change.
pub fn fork_mut(inode: &mut Inode, w: Which) -> &mut Fork {
    match w {
        Which::Data => &mut inode.data,
        Which::Attr => &mut inode.attr,
    }
}

/// Kind of the tree in that fork.
pub fn kind(inode: &Inode, w: Which) -> Result<TreeKind> {
    match w {
        Which::Data => inode.data_tree().ok_or(Error::Internal(
            "no tree in the data fork of this type of inode",
        )),
        Which::Attr => Ok(TreeKind::Attr),
    }
}

/// Levels of blocks below the fork: 0 if the tree lives in it.
pub fn height(inode: &Inode, w: Which) -> u32 {
    fork(inode, w)
        .root()
        .map_or(0, |(_, level)| u32::from(level).saturating_add(1))
}

/// Blocks that one insert, replace or remove may change: every level with a sibling or a new node beside it, a new root,
/// and bitmap and descriptor of each allocation or free.
pub fn credits(inode: &Inode, w: Which) -> u32 {
    let levels = height(inode, w).saturating_add(1);
    levels.saturating_mul(4).saturating_add(2)
}

/// Most blocks that one insert or replace may allocate: a node a level, and a root.
pub fn new_blocks(inode: &Inode, w: Which) -> u64 {
    u64::from(height(inode, w)).saturating_add(1)
}

/// The body of a node block.
pub(crate) fn body(data: &Block) -> &[u8] {
    data.get(HEADER_SIZE..).unwrap_or(&[])
}

/// The body of a node block, to change.
pub(crate) fn body_mut(data: &mut Block) -> &mut [u8] {
    data.get_mut(HEADER_SIZE..).unwrap_or(&mut [])
}

/// Holds a node to what its parent says of it: owner, kind, level.
pub(crate) fn check(block: u64, data: &Block, owner: u64, kind: TreeKind, level: u8) -> Result<()> {
    let h = read_header(data, BlockKind::Node).map_err(Error::at(block))?;
    if h.owner != owner {
        return Err(Error::corrupt(block, "node belongs to another inode"));
    }
    match h.node {
        Some((k, l)) if k == kind && l == level => Ok(()),
        Some((k, _)) if k == kind => Err(Error::corrupt(block, "node of the wrong level")),
        _ => Err(Error::corrupt(block, "node of another kind of tree")),
    }
}

pub(crate) const ODD: &str = "node numbers make no sense";

/// Reads a node and holds it to what is expected.
fn read_node<R: ReadBlocks>(
    io: &R,
    block: u64,
    owner: u64,
    kind: TreeKind,
    level: u8,
) -> Result<R::Ref> {
    let data = io.read(block, BlockKind::Node)?;
    check(block, &data, owner, kind, level)?;
    Ok(data)
}

/// What a descent found.
enum Found<X> {
    Here(X),
    /// Nothing here; keys from this one on are in other leaves.
    Next(Option<Key>),
}

/// Value under `key`, given to `f` as it lies in its block. `None` if there is none.
pub fn get<R: ReadBlocks, X>(
    io: &R,
    inode: &Inode,
    w: Which,
    key: &Key,
    f: impl FnOnce(&[u8]) -> Result<X>,
) -> Result<Option<X>> {
    let kind = kind(inode, w)?;
    let mut f = Some(f);
    let found = leaf_for(io, inode, w, key, |block, body| {
        let odd = Error::corrupt(block, ODD);
        match node::find(body, kind, true, key).ok_or(odd)? {
            Ok(i) => {
                let v = node::value(body, kind, i).ok_or(odd)?;
                let f = f.take().ok_or(Error::Internal("leaf visited twice"))?;
                f(v).map(Some)
            }
            Err(_) => Ok(None),
        }
    })?;
    Ok(match found {
        Found::Here(x) => Some(x),
        Found::Next(_) => None,
    })
}

/// Descends to the leaf for `key` and gives its body to `f`; if that finds nothing, says where the next leaf begins.
fn leaf_for<R: ReadBlocks, X>(
    io: &R,
    inode: &Inode,
    w: Which,
    key: &Key,
    f: impl FnOnce(u64, &[u8]) -> Result<Option<X>>,
) -> Result<Found<X>> {
    let kind = kind(inode, w)?;
    let fork = fork(inode, w);
    let (mut block, mut level) = match fork.format {
        ForkFormat::Empty | ForkFormat::Inline => return Ok(Found::Next(None)),
        ForkFormat::Leaf => {
            return Ok(match f(home_block(io, inode.ino), &fork.bytes)? {
                Some(x) => Found::Here(x),
                None => Found::Next(None),
            })
        }
        ForkFormat::Tree => fork.root().ok_or(Error::Internal("tree without root"))?,
    };
    if level >= MAX_LEVELS {
        return Err(Error::corrupt(block, "tree too high"));
    }
    let mut next: Option<Key> = None;
    loop {
        let data = read_node(io, block, inode.ino, kind, level)?;
        let b = body(&data);
        if level == 0 {
            return Ok(match f(block, b)? {
                Some(x) => Found::Here(x),
                None => Found::Next(next),
            });
        }
        let odd = Error::corrupt(block, ODD);
        let i = node::child_index(b, kind, key).ok_or(odd)?;
        let after = i.saturating_add(1);
        if after < count(b) {
            next = Some(node::key(b, kind, false, after).ok_or(odd)?);
        }
        block = node::child(b, kind, i).ok_or(odd)?;
        level = level.saturating_sub(1);
    }
}

/// Gives the entries with keys from `from` on, in order, to `f`, until it returns `Ok(false)` or an error.
pub fn walk<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    w: Which,
    from: &Key,
    mut f: impl FnMut(&Key, &[u8]) -> Result<bool>,
) -> Result<()> {
    let kind = kind(inode, w)?;
    let mut from = *from;
    loop {
        let step = leaf_for(io, inode, w, &from, |block, body| {
            let odd = Error::corrupt(block, ODD);
            let start = match node::find(body, kind, true, &from).ok_or(odd)? {
                Ok(i) | Err(i) => i,
            };
            for i in start..count(body) {
                let k = node::key(body, kind, true, i).ok_or(odd)?;
                if !f(&k, node::value(body, kind, i).ok_or(odd)?)? {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })?;
        match step {
            Found::Here(()) | Found::Next(None) => return Ok(()),
            // Separators of a sound tree ascend from leaf to leaf; anything else could loop for ever.
            Found::Next(Some(next)) if next > from => from = next,
            Found::Next(Some(_)) => {
                let root = fork(inode, w).root().map_or(0, |r| r.0);
                return Err(Error::corrupt(
                    root,
                    "tree keys not ascending from leaf to leaf",
                ));
            }
        }
    }
}

/// Gives the entry with the largest key up to `key` to `f`; `None` if there is none.
pub fn at_or_before<R: ReadBlocks, X>(
    io: &R,
    inode: &Inode,
    w: Which,
    key: &Key,
    f: impl FnOnce(&Key, &[u8]) -> Result<X>,
) -> Result<Option<X>> {
    let kind = kind(inode, w)?;
    let fork = fork(inode, w);
    let take = |block: u64, b: &[u8], i: usize, f: &mut Option<_>| -> Result<X> {
        let odd = Error::corrupt(block, ODD);
        let k = node::key(b, kind, true, i).ok_or(odd)?;
        let v = node::value(b, kind, i).ok_or(odd)?;
        let f: Option<_> = Option::take(f);
        call(f, &k, v)
    };
    let mut f = Some(f);
    let (mut block, mut level) = match fork.format {
        ForkFormat::Empty | ForkFormat::Inline => return Ok(None),
        ForkFormat::Leaf => {
            let home = home_block(io, inode.ino);
            let odd = Error::corrupt(home, ODD);
            return Ok(match node::find(&fork.bytes, kind, true, key).ok_or(odd)? {
                Ok(i) => Some(take(home, &fork.bytes, i, &mut f)?),
                Err(0) => None,
                Err(i) => Some(take(home, &fork.bytes, i.saturating_sub(1), &mut f)?),
            });
        }
        ForkFormat::Tree => fork.root().ok_or(Error::Internal("tree without root"))?,
    };
    if level >= MAX_LEVELS {
        return Err(Error::corrupt(block, "tree too high"));
    }
    // The subtree just left of the path, from the deepest node that had one: where the answer is if the leaf has none.
    let mut left: Option<(u64, u8)> = None;
    let mut target = *key;
    loop {
        let data = read_node(io, block, inode.ino, kind, level)?;
        let b = body(&data);
        let odd = Error::corrupt(block, ODD);
        if level == 0 {
            let i = match node::find(b, kind, true, &target).ok_or(odd)? {
                Ok(i) => Some(i),
                Err(i) => i.checked_sub(1),
            };
            if let Some(i) = i {
                return take(block, b, i, &mut f).map(Some);
            }
            let Some((b, l)) = left.take() else {
                return Ok(None);
            };
            // Everything there is smaller: take its last leaf. `left` stays empty from now on, so this happens once.
            (block, level) = (b, l);
            target = Key([u64::MAX; layout::btree::MAX_KEY_WORDS]);
            continue;
        }
        let i = node::child_index(b, kind, &target).ok_or(odd)?;
        let below = level.saturating_sub(1);
        if let (Some(j), true) = (i.checked_sub(1), target == *key) {
            left = Some((node::child(b, kind, j).ok_or(odd)?, below));
        }
        block = node::child(b, kind, i).ok_or(odd)?;
        level = below;
    }
}

fn call<X>(f: Option<impl FnOnce(&Key, &[u8]) -> Result<X>>, k: &Key, v: &[u8]) -> Result<X> {
    f.ok_or(Error::Internal("leaf visited twice"))?(k, v)
}

pub use crate::tree_write::{insert, insert_blocks, remove, replace};
