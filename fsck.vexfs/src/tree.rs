// SPDX-License-Identifier: GPL-2.0-only
//! A walk through a whole B+tree that trusts nothing: it shares no code with the engine's tree, so that neither can hide the
//! other's mistakes. It reports nodes and entries to a visitor and keeps going past what is damaged.
//!
//! Why it ends on any input: levels descend, so a path has at most [`MAX_LEVELS`] nodes; and a node is entered only if all its keys lie in the
//! range that its parent gives it. Ranges of siblings are disjoint and a node is not empty, so no node is entered twice.

use crate::reader::{Fault, Reader};
use layout::block::{read_header, BlockKind, HEADER_SIZE};
use layout::btree::{count, Key, TreeKind, BODY_HEADER};
use layout::bytes::{slice, u16_at, u64_at};
use layout::inode::{Fork, ForkFormat};
use layout::Block;

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeFault {
    /// It lies where no node can be.
    Outside,
    /// It cannot be read or verified.
    Bad(Fault),
    /// It belongs to another inode.
    Owner(u64),
    /// It is of another kind.
    Kind(TreeKind),
    /// It has another level than expected (found, expected).
    Level(u8, u8),
    /// A key outside its parent's range.
    Range,
    /// It holds nothing.
    Empty,
    /// A root with a single child.
    Thin,
    /// Values overlap or bytes are lost.
    Values,
    /// The visitor did not want it: used already.
    Shared,
}

impl NodeFault {
    /// Whether entries below are lost to the walk.
    pub fn loses_entries(&self) -> bool {
        !matches!(self, NodeFault::Empty | NodeFault::Thin | NodeFault::Values)
    }
}

/// Who watches a walk.
pub trait Visitor {
    /// A node block is about to be read. `false`: do not.
    fn node(&mut self, block: u64) -> bool;
    /// A node is faulty; `block` is `None` for a leaf in a fork.
    fn fault(&mut self, block: Option<u64>, fault: NodeFault);
    /// An entry, in ascending order of keys. `false`: end the walk.
    fn entry(&mut self, key: &Key, value: &[u8]) -> bool;
}

/// A tree: its fork, kind, and the inode it belongs to.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    /// The fork it hangs in.
    pub fork: &'a Fork,
    /// Its kind.
    pub kind: TreeKind,
    /// The inode.
    pub owner: u64,
}

struct Frame {
    data: Box<Block>,
    level: u8,
    next: usize,
    lower: Key,
    /// Keys are below this; `None`: no bound.
    upper: Option<Key>,
}

/// Walks all of `tree`.
pub fn walk(reader: &Reader<'_>, tree: Tree<'_>, visitor: &mut dyn Visitor) {
    match tree.fork.format {
        ForkFormat::Empty | ForkFormat::Inline => {}
        ForkFormat::Leaf => {
            let body = &tree.fork.bytes[..];
            if count(body) == 0 {
                visitor.fault(None, NodeFault::Empty);
            }
            if !values_tile(body, tree.kind) {
                visitor.fault(None, NodeFault::Values);
            }
            leaf_entries(body, tree.kind, visitor);
        }
        ForkFormat::Tree => {
            if let Some((root, level)) = tree.fork.root() {
                walk_blocks(reader, tree, root, level, visitor);
            }
        }
    }
}

fn walk_blocks(
    reader: &Reader<'_>,
    tree: Tree<'_>,
    root: u64,
    level: u8,
    visitor: &mut dyn Visitor,
) {
    let mut path: Vec<Frame> = Vec::new();
    match enter(reader, tree, root, level, (Key::MIN, None), visitor) {
        Some(frame) => {
            if level > 0 && count(&frame.data[HEADER_SIZE..]) == 1 {
                visitor.fault(Some(root), NodeFault::Thin);
            }
            path.push(frame);
        }
        None => return,
    }
    while let Some(top) = path.last_mut() {
        let body = &top.data[HEADER_SIZE..];
        if top.level == 0 {
            if !leaf_entries(body, tree.kind, visitor) {
                return;
            }
            path.pop();
            continue;
        }
        let i = top.next;
        let Some((key, child)) = entry_at(body, tree.kind, i) else {
            path.pop();
            continue;
        };
        top.next += 1;
        // The first child also has what is below its key.
        let lower = if i == 0 { top.lower } else { key };
        let upper = entry_at(body, tree.kind, i + 1).map_or(top.upper, |(k, _)| Some(k));
        let level = top.level - 1;
        if let Some(frame) = enter(reader, tree, child, level, (lower, upper), visitor) {
            path.push(frame);
        }
    }
}

/// Reads a node and checks it against its place in the tree; `None` if it cannot be entered.
fn enter(
    reader: &Reader<'_>,
    tree: Tree<'_>,
    block: u64,
    level: u8,
    range: (Key, Option<Key>),
    visitor: &mut dyn Visitor,
) -> Option<Frame> {
    let result = if !reader.sb.geometry.is_data(block, 1) {
        Err(NodeFault::Outside)
    } else if !visitor.node(block) {
        Err(NodeFault::Shared)
    } else {
        load(reader, tree, block, level, range)
    };
    match result {
        Ok(frame) => {
            if level == 0 && !values_tile(&frame.data[HEADER_SIZE..], tree.kind) {
                visitor.fault(Some(block), NodeFault::Values);
            }
            Some(frame)
        }
        Err(fault) => {
            visitor.fault(Some(block), fault);
            None
        }
    }
}

fn load(
    reader: &Reader<'_>,
    tree: Tree<'_>,
    block: u64,
    level: u8,
    (lower, upper): (Key, Option<Key>),
) -> Result<Frame, NodeFault> {
    let data = reader
        .block(block, BlockKind::Node)
        .map_err(NodeFault::Bad)?;
    let header =
        read_header(&data, BlockKind::Node).map_err(|e| NodeFault::Bad(Fault::Invalid(e.0)))?;
    let (kind, found_level) = header
        .node
        .ok_or(NodeFault::Bad(Fault::Invalid("node without a kind")))?;
    if header.owner != tree.owner {
        return Err(NodeFault::Owner(header.owner));
    }
    if kind != tree.kind {
        return Err(NodeFault::Kind(kind));
    }
    if found_level != level {
        return Err(NodeFault::Level(found_level, level));
    }
    let body = &data[HEADER_SIZE..];
    let n = count(body);
    if n == 0 {
        return Err(NodeFault::Empty);
    }
    // Keys ascend (verified with the block), so the first and the last stand for all.
    let step = if level == 0 {
        kind.slot_size()
    } else {
        kind.entry_size()
    };
    let key = |i: usize| Key::read(body, BODY_HEADER + i * step, kind.key_words());
    let inside = |k: Key| k >= lower && upper.is_none_or(|u| k < u);
    if !(key(0).is_some_and(inside) && key(n - 1).is_some_and(inside)) {
        return Err(NodeFault::Range);
    }
    Ok(Frame {
        data,
        level,
        next: 0,
        lower,
        upper,
    })
}

/// Key and child of entry `i` of an internal body.
fn entry_at(body: &[u8], kind: TreeKind, i: usize) -> Option<(Key, u64)> {
    if i >= count(body) {
        return None;
    }
    let at = BODY_HEADER + i * kind.entry_size();
    let key = Key::read(body, at, kind.key_words())?;
    Some((key, u64_at(body, at + kind.key_words() * 8)?))
}

/// Key, offset and length of slot `i` of a leaf body.
fn slot_at(body: &[u8], kind: TreeKind, i: usize) -> Option<(Key, usize, usize)> {
    let at = BODY_HEADER + i * kind.slot_size();
    let key = Key::read(body, at, kind.key_words())?;
    let value = at + kind.key_words() * 8;
    let offset = usize::from(u16_at(body, value)?);
    Some((key, offset, usize::from(u16_at(body, value + 2)?)))
}

/// Gives all entries of a leaf to the visitor; whether it wants more.
fn leaf_entries(body: &[u8], kind: TreeKind, visitor: &mut dyn Visitor) -> bool {
    for i in 0..count(body) {
        let Some((key, offset, len)) = slot_at(body, kind, i) else {
            return true;
        };
        let Some(value) = slice(body, offset, len) else {
            continue;
        };
        if !visitor.entry(&key, value) {
            return false;
        }
    }
    true
}

/// Whether the values of a leaf lie in its heap without overlap and fill it, less what the leaf declares as garbage.
fn values_tile(body: &[u8], kind: TreeKind) -> bool {
    let mut ranges: Vec<(usize, usize)> = (0..count(body))
        .filter_map(|i| slot_at(body, kind, i))
        .filter(|(_, _, len)| *len > 0)
        .map(|(_, offset, len)| (offset, offset + len))
        .collect();
    ranges.sort_unstable();
    ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}
