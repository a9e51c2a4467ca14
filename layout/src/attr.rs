// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! What the attribute tree of an inode holds, under keys of two words: parent pointers, extended attributes, and the targets
//! of symbolic links that are too long for the data fork.
//!
//! Parent pointer: key (1 << 56 | parent directory's inode, cookie of the entry there), value: the entry's name.
//!
//! Extended attribute: key (2 << 56 | 56 bits of the hash of namespace and name, collision index << 32 | chunk number).
//! The value of chunk 0 is: namespace u8, name length u8, zero u16, total value length u32, the name, then value bytes;
//! chunks 1, 2, ... hold the rest, [`CHUNK`] bytes each but the last. Chunk 0 holds as many value bytes as fill it to [`CHUNK`].
//!
//! Symbolic link: key (3 << 56, chunk number), value: [`CHUNK`] bytes of the target, the rest in the last chunk. So a target is
//! journalled like everything else that names files.

use crate::btree::{Key, MAX_VALUE};
use crate::bytes::{put, slice, u32_at};
use crate::dirent::siphash24;
use crate::{Invalid, NAME_MAX};

/// Longest value of an extended attribute (XATTR_SIZE_MAX).
pub const XATTR_VALUE_MAX: usize = 65536;
/// Bytes of a full chunk.
pub const CHUNK: usize = MAX_VALUE;
/// Bytes of chunk 0 before the name.
pub const XATTR_HEADER: usize = 8;
/// Names that can share a hash.
pub const XATTR_COLLISIONS: u64 = 64;

const CLASS_SHIFT: u32 = 56;
const CLASS_MASK: u64 = 0xff << CLASS_SHIFT;
/// Class of parent pointers, in the top byte of the first word.
pub const CLASS_PARENT: u64 = 1 << CLASS_SHIFT;
/// Class of extended attributes.
pub const CLASS_XATTR: u64 = 2 << CLASS_SHIFT;

/// Class of symbolic link targets.
pub const CLASS_SYMLINK: u64 = 3 << CLASS_SHIFT;

/// Namespace of an extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Namespace {
    /// `user.`
    User = 1,
    /// `trusted.`
    Trusted = 2,
    /// `security.`
    Security = 3,
    /// `system.` (ACLs)
    System = 4,
}

impl Namespace {
    /// From its number on disk.
    pub fn from_u8(v: u8) -> Option<Namespace> {
        Some(match v {
            1 => Namespace::User,
            2 => Namespace::Trusted,
            3 => Namespace::Security,
            4 => Namespace::System,
            _ => return None,
        })
    }

    /// The prefix of names, with its dot.
    pub fn prefix(self) -> &'static str {
        match self {
            Namespace::User => "user.",
            Namespace::Trusted => "trusted.",
            Namespace::Security => "security.",
            Namespace::System => "system.",
        }
    }
}

/// Key of the parent pointer for the entry `cookie` of directory `parent`.
pub fn parent_key(parent: u64, cookie: u64) -> Key {
    Key::two(CLASS_PARENT | (parent & !CLASS_MASK), cookie)
}

/// Directory and cookie of a parent pointer's key; `None` if it is none.
pub fn parse_parent_key(key: &Key) -> Option<(u64, u64)> {
    (key.a() & CLASS_MASK == CLASS_PARENT).then_some((key.a() & !CLASS_MASK, key.b()))
}

/// First word of the keys of an extended attribute.
pub fn xattr_hash(seed: &[u8; 16], ns: Namespace, name: &[u8]) -> u64 {
    let mut key = *seed;
    // The namespace enters through the key, so that no buffer is needed to join it with the name.
    key[0] ^= ns as u8;
    CLASS_XATTR | (siphash24(&key, name) >> 8)
}

/// Key of a chunk.
pub fn xattr_key(hash: u64, collision: u64, chunk: u64) -> Key {
    Key::two(hash, (collision << 32) | chunk)
}

/// Collision index and chunk number of an extended attribute's key; `None` if it is none.
pub fn parse_xattr_key(key: &Key) -> Option<(u64, u64)> {
    (key.a() & CLASS_MASK == CLASS_XATTR).then_some((key.b() >> 32, key.b() & 0xffff_ffff))
}

/// Key of a chunk of a symbolic link's target.
pub fn symlink_key(chunk: u64) -> Key {
    Key::two(CLASS_SYMLINK, chunk)
}

/// Chunk number of a symbolic link target's key; `None` if it is none.
pub fn parse_symlink_key(key: &Key) -> Option<u64> {
    (key.a() == CLASS_SYMLINK).then_some(key.b())
}

/// Chunk 0 of an extended attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XattrHead<'a> {
    /// Namespace.
    pub namespace: Namespace,
    /// Name without the prefix.
    pub name: &'a [u8],
    /// Length of the whole value.
    pub value_len: u32,
    /// The value's first bytes.
    pub first: &'a [u8],
}

impl<'a> XattrHead<'a> {
    /// Bytes of the value that chunk 0 holds, for a name of this length.
    pub fn room(name_len: usize) -> usize {
        CHUNK.saturating_sub(XATTR_HEADER).saturating_sub(name_len)
    }

    /// Chunks of an attribute.
    pub fn chunks(name_len: usize, value_len: usize) -> usize {
        value_len
            .saturating_sub(Self::room(name_len))
            .div_ceil(CHUNK)
            .saturating_add(1)
    }

    /// Reads chunk 0. Checked: namespace, name not empty and without NUL, lengths.
    pub fn parse(value: &'a [u8]) -> Result<XattrHead<'a>, Invalid> {
        let bad = Invalid("short extended attribute");
        let ns = value.first().copied().ok_or(bad)?;
        let namespace = Namespace::from_u8(ns).ok_or(Invalid("unknown attribute namespace"))?;
        let name_len = usize::from(value.get(1).copied().ok_or(bad)?);
        if slice(value, 2, 2) != Some(&[0, 0]) {
            return Err(Invalid("reserved bytes of an attribute not zero"));
        }
        let value_len = u32_at(value, 4).ok_or(bad)?;
        let name = slice(value, XATTR_HEADER, name_len).ok_or(bad)?;
        let first = value
            .get(XATTR_HEADER.saturating_add(name_len)..)
            .ok_or(bad)?;
        if name.is_empty() || name.contains(&0) {
            return Err(Invalid("bad attribute name"));
        }
        let total = value_len as usize;
        if total > XATTR_VALUE_MAX || first.len() != total.min(Self::room(name_len)) {
            return Err(Invalid("bad attribute length"));
        }
        Ok(XattrHead {
            namespace,
            name,
            value_len,
            first,
        })
    }

    /// Writes chunk 0 into `buf` and returns it; `first` must be as long as [`XattrHead::room`] and `value_len` say.
    pub fn write<'b>(&self, buf: &'b mut [u8; CHUNK]) -> Result<&'b [u8], Invalid> {
        let bad = Invalid("attribute does not fit");
        let name_len = u8::try_from(self.name.len()).map_err(|_| bad)?;
        if self.name.is_empty() || self.name.len() > NAME_MAX {
            return Err(bad);
        }
        put(buf, 0, &[self.namespace as u8, name_len, 0, 0]).ok_or(bad)?;
        put(buf, 4, &self.value_len.to_le_bytes()).ok_or(bad)?;
        put(buf, XATTR_HEADER, self.name).ok_or(bad)?;
        let at = XATTR_HEADER.saturating_add(self.name.len());
        put(buf, at, self.first).ok_or(bad)?;
        buf.get(..at.saturating_add(self.first.len())).ok_or(bad)
    }
}
