// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! The body of a B+tree node. A body is a byte area of any size up to a block's payload: 4,064 bytes in a node block, 176
//! bytes when a leaf lives in an inode's fork.
//!
//! Body header, 8 bytes: `count` u16, `heap` u16 (leaf: lowest offset used by values; internal: 0), zero u32.
//!
//! Leaf: slots follow the header, sorted by key: key (1 to 3 u64, compared word by word as numbers), value offset u16,
//! value length u16. Values fill the bytes from `heap` to the end, in any order, without gap or overlap.
//!
//! Internal node: entries follow the header, sorted: key, child block u64. Entry i leads to keys `>= key[i]` and below
//! `key[i + 1]`; the first entry also leads to keys below its own.

use crate::bytes::{u16_at, u64_at};
use crate::{Invalid, MAX_BLOCKS};

/// Bytes of the body header.
pub const BODY_HEADER: usize = 8;
/// Longest value.
pub const MAX_VALUE: usize = 1024;
/// Levels that a tree can have: 0 to MAX_LEVELS - 1. With the smallest fan-out (half of 126) seven levels exceed 2^40 leaves.
pub const MAX_LEVELS: u8 = 8;
/// Most words in a key.
pub const MAX_KEY_WORDS: usize = 3;

/// Which tree a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TreeKind {
    /// File extents: logical block -> [`crate::extent::Extent`].
    Extent = 1,
    /// Directory: cookie -> [`crate::dirent`].
    Directory = 2,
    /// Parent pointers and extended attributes: [`crate::attr`].
    Attr = 3,
    /// Index table: [`crate::vector`].
    Index = 4,
    /// (inode, index, label) -> [`crate::vector::SlotAddr`].
    VectorMap = 5,
    /// Inodes to finish: inode -> nothing.
    Orphan = 6,
}

impl TreeKind {
    /// All kinds.
    pub const ALL: [TreeKind; 6] = [
        TreeKind::Extent,
        TreeKind::Directory,
        TreeKind::Attr,
        TreeKind::Index,
        TreeKind::VectorMap,
        TreeKind::Orphan,
    ];

    /// From its number on disk.
    pub fn from_u8(v: u8) -> Option<TreeKind> {
        Some(match v {
            1 => TreeKind::Extent,
            2 => TreeKind::Directory,
            3 => TreeKind::Attr,
            4 => TreeKind::Index,
            5 => TreeKind::VectorMap,
            6 => TreeKind::Orphan,
            _ => return None,
        })
    }

    /// u64 words in a key.
    pub const fn key_words(self) -> usize {
        match self {
            TreeKind::Extent | TreeKind::Directory | TreeKind::Orphan => 1,
            TreeKind::Attr | TreeKind::Index => 2,
            TreeKind::VectorMap => 3,
        }
    }

    /// Bytes of a leaf slot.
    pub const fn slot_size(self) -> usize {
        self.key_words() * 8 + 4
    }

    /// Bytes of an internal entry.
    pub const fn entry_size(self) -> usize {
        self.key_words() * 8 + 8
    }
}

/// A key. Words that the tree does not use are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u64; MAX_KEY_WORDS]);

impl Key {
    /// The smallest key.
    pub const MIN: Key = Key([0; MAX_KEY_WORDS]);

    /// A key of one word.
    pub const fn one(a: u64) -> Key {
        Key([a, 0, 0])
    }
    /// A key of two words.
    pub const fn two(a: u64, b: u64) -> Key {
        Key([a, b, 0])
    }
    /// A key of three words.
    pub const fn three(a: u64, b: u64, c: u64) -> Key {
        Key([a, b, c])
    }

    /// First word.
    pub const fn a(&self) -> u64 {
        self.0[0]
    }
    /// Second word.
    pub const fn b(&self) -> u64 {
        self.0[1]
    }
    /// Third word.
    pub const fn c(&self) -> u64 {
        self.0[2]
    }

    /// The next larger key of a tree with `words` words, `None` after the largest.
    pub fn successor(&self, words: usize) -> Option<Key> {
        let mut k = *self;
        for w in k.0.iter_mut().take(words).rev() {
            let (v, over) = w.overflowing_add(1);
            *w = v;
            if !over {
                return Some(k);
            }
        }
        None
    }

    /// Reads a key of `words` words at `off`.
    #[inline]
    pub fn read(body: &[u8], off: usize, words: usize) -> Option<Key> {
        let mut k = Key::MIN;
        let mut at = off;
        for w in k.0.iter_mut().take(words) {
            *w = u64_at(body, at)?;
            at = at.checked_add(8)?;
        }
        Some(k)
    }

    /// Writes it at `off`.
    #[inline]
    pub fn write(&self, body: &mut [u8], off: usize, words: usize) -> Option<()> {
        let mut at = off;
        for w in self.0.iter().take(words) {
            crate::bytes::put_u64(body, at, *w)?;
            at = at.checked_add(8)?;
        }
        Some(())
    }
}

/// Number of entries or slots.
#[inline]
pub fn count(body: &[u8]) -> usize {
    usize::from(u16_at(body, 0).unwrap_or(0))
}

/// Checks the inner order of a body: counts and offsets inside, keys strictly ascending, values inside the heap and not
/// overlapping in total, children in range. Linear time, no memory.
pub fn verify_body(body: &[u8], kind: TreeKind, level: u8) -> Result<(), Invalid> {
    let n = count(body);
    let words = kind.key_words();
    let heap = usize::from(u16_at(body, 2).ok_or(Invalid("short node"))?);
    if crate::bytes::u32_at(body, 4) != Some(0) {
        return Err(Invalid("reserved bytes of a node not zero"));
    }
    let step = if level == 0 {
        kind.slot_size()
    } else {
        kind.entry_size()
    };
    let end = n
        .checked_mul(step)
        .and_then(|s| s.checked_add(BODY_HEADER))
        .filter(|e| *e <= body.len())
        .ok_or(Invalid("node count too large"))?;
    if level == 0 {
        if heap < end || heap > body.len() {
            return Err(Invalid("node heap overlaps its slots"));
        }
    } else {
        if heap != 0 {
            return Err(Invalid("an internal node has a heap"));
        }
        if n == 0 {
            return Err(Invalid("an internal node is empty"));
        }
    }
    let mut last: Option<Key> = None;
    let mut values = 0usize;
    let mut at = BODY_HEADER;
    for _ in 0..n {
        let key = Key::read(body, at, words).ok_or(Invalid("short node"))?;
        if last.is_some_and(|l| l >= key) {
            return Err(Invalid("node keys not ascending"));
        }
        last = Some(key);
        let rest = at.saturating_add(words * 8);
        if level == 0 {
            let off = usize::from(u16_at(body, rest).ok_or(Invalid("short node"))?);
            let len =
                usize::from(u16_at(body, rest.saturating_add(2)).ok_or(Invalid("short node"))?);
            if len > MAX_VALUE || off < heap || off.saturating_add(len) > body.len() {
                return Err(Invalid("node value outside its heap"));
            }
            values = values.saturating_add(len);
        } else {
            let child = u64_at(body, rest).ok_or(Invalid("short node"))?;
            if child == 0 || child >= MAX_BLOCKS {
                return Err(Invalid("child block out of range"));
            }
        }
        at = at.saturating_add(step);
    }
    if level == 0 && values != body.len().saturating_sub(heap) {
        return Err(Invalid("node values do not fill the heap"));
    }
    Ok(())
}
