// SPDX-License-Identifier: GPL-2.0-only
//! Extended attributes: get, set, remove, list. Values of up to 64 KiB are cut into chunks in the inode's attribute tree
//! ([`layout::attr`] has the format); a value is replaced as a whole in one transaction. It may not know what attributes mean, nor who may see
//! which namespace.

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::inode::{self, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::space::{self, ALLOC_CREDITS};
#[cfg(test)]
use crate::test_hash::xattr_hash;
use crate::tree::{self, Which};
#[cfg(not(test))]
use layout::attr::xattr_hash;
use layout::attr::{
    parse_xattr_key, xattr_key, Namespace, XattrHead, CHUNK, CLASS_XATTR, XATTR_COLLISIONS,
    XATTR_VALUE_MAX,
};
use layout::btree::Key;
use layout::inode::Inode;
use layout::{bytes, NAME_MAX};

/// What [`set`] may do about an attribute that is, or is not, there (setxattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetFlags {
    /// Create or replace.
    #[default]
    Any,
    /// XATTR_CREATE: fail if it exists.
    Create,
    /// XATTR_REPLACE: fail if it does not.
    Replace,
}

/// Where an attribute lies.
#[derive(Clone, Copy)]
struct Found {
    hash: u64,
    collision: u64,
    /// Length of the whole value.
    len: usize,
}

/// What lies under the hash of an attribute's name.
struct Probe {
    found: Option<Found>,
    /// Lowest collision index without an attribute; complete only if nothing was found.
    free: u64,
    hash: u64,
}

/// Position after all chunks of the attribute at `collision`.
fn after(hash: u64, collision: u64) -> Key {
    xattr_key(hash, collision, u64::from(u32::MAX))
}

fn check(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) {
        return Err(Error::Range("bad attribute name"));
    }
    Ok(())
}

fn probe<R: ReadBlocks>(io: &R, inode: &Inode, ns: Namespace, name: &[u8]) -> Result<Probe> {
    check(name)?;
    let hash = xattr_hash(&io.sb().raw.hash_seed, ns, name);
    let mut probe = Probe {
        found: None,
        free: 0,
        hash,
    };
    heads(io, inode, xattr_key(hash, 0, 0), |h, collision, head| {
        if h != hash {
            return Ok(false);
        }
        if collision == probe.free {
            probe.free = collision.saturating_add(1);
        }
        if head.namespace == ns && head.name == name {
            probe.found = Some(Found {
                hash,
                collision,
                len: head.value_len as usize,
            });
        }
        Ok(probe.found.is_none())
    })?;
    Ok(probe)
}

/// Gives chunk 0 of every attribute from key `from` on to `f`, with hash and collision index, until it returns `Ok(false)`.
fn heads<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    from: Key,
    mut f: impl FnMut(u64, u64, &XattrHead<'_>) -> Result<bool>,
) -> Result<()> {
    let mut from = Some(from);
    while let Some(start) = from.take() {
        tree::walk(io, inode, Which::Attr, &start, |key, value| {
            let Some((collision, chunk)) = parse_xattr_key(key) else {
                return Ok(false);
            };
            if chunk == u64::from(u32::MAX) {
                return Err(Error::corrupt(
                    inode::home_block(io, inode.ino),
                    "chunk number of an attribute out of range",
                ));
            }
            if chunk != 0 {
                return Err(Error::corrupt(
                    inode::home_block(io, inode.ino),
                    "chunks of an attribute without their first",
                ));
            }
            let head =
                XattrHead::parse(value).map_err(Error::at(inode::home_block(io, inode.ino)))?;
            if !f(key.a(), collision, &head)? {
                return Ok(false);
            }
            if XattrHead::chunks(head.name.len(), head.value_len as usize) > 1 {
                // Its other chunks may fill many leaves: go round them.
                from = Some(after(key.a(), collision));
                return Ok(false);
            }
            Ok(true)
        })?;
    }
    Ok(())
}

/// Reads an attribute into `buf` and returns its length. An empty `buf` asks for the length only.
///
/// Errors, clean: [`Error::NotFound`], [`Error::BufferTooSmall`], [`Error::NameTooLong`], [`Error::Range`].
pub fn get<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    ns: Namespace,
    name: &[u8],
    buf: &mut [u8],
) -> Result<usize> {
    let found = probe(io, inode, ns, name)?.found.ok_or(Error::NotFound)?;
    if buf.is_empty() {
        return Ok(found.len);
    }
    let buf = buf.get_mut(..found.len).ok_or(Error::BufferTooSmall)?;
    let chunks = XattrHead::chunks(name.len(), found.len) as u64;
    let mut at = 0usize;
    let mut next = 0u64;
    let torn = Error::corrupt(
        inode::home_block(io, inode.ino),
        "chunks of an attribute do not add up",
    );
    let from = xattr_key(found.hash, found.collision, 0);
    tree::walk(io, inode, Which::Attr, &from, |key, value| {
        if *key != xattr_key(found.hash, found.collision, next) {
            return Ok(false);
        }
        let part = if next == 0 {
            XattrHead::parse(value)
                .map_err(Error::at(inode::home_block(io, inode.ino)))?
                .first
        } else {
            value
        };
        bytes::put(buf, at, part).ok_or(torn)?;
        at = at.saturating_add(part.len());
        next = next.saturating_add(1);
        Ok(next < chunks)
    })?;
    if at != found.len || next != chunks {
        return Err(torn);
    }
    Ok(found.len)
}

/// Gives namespace, name (without the namespace's prefix) and value length of every attribute to `f`, until it returns `Ok(false)`.
///
/// `f` runs while a block of the attribute tree is held: it must not change that.
pub fn list<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    mut f: impl FnMut(Namespace, &[u8], usize) -> Result<bool>,
) -> Result<()> {
    heads(io, inode, Key::two(CLASS_XATTR, 0), |_, _, head| {
        f(head.namespace, head.name, head.value_len as usize)
    })
}

/// Sets an attribute of inode `ino` to `value` and returns the inode.
///
/// Errors, clean: [`Error::Exists`], [`Error::NotFound`] (by `flags`), [`Error::TooLarge`] for values above 64 KiB,
/// [`Error::NameTooLong`], [`Error::Range`], [`Error::HashFull`], [`Error::NoSpace`], [`Error::Stale`].
pub fn set<T: Transaction>(
    cx: &mut Cx<'_, T>,
    ino: u64,
    ns: Namespace,
    name: &[u8],
    value: &[u8],
    flags: SetFlags,
) -> Result<Inode> {
    let mut inode = inode::load(cx.io, ino)?;
    let probe = probe(cx.io, &inode, ns, name)?;
    match (flags, probe.found) {
        (SetFlags::Create, Some(_)) => return Err(Error::Exists),
        (SetFlags::Replace, None) => return Err(Error::NotFound),
        _ => {}
    }
    if value.len() > XATTR_VALUE_MAX {
        return Err(Error::TooLarge);
    }
    let (collision, old) = match probe.found {
        Some(f) => (f.collision, XattrHead::chunks(name.len(), f.len) as u64),
        None if probe.free < XATTR_COLLISIONS => (probe.free, 0),
        None => return Err(Error::HashFull),
    };
    let new = XattrHead::chunks(name.len(), value.len()) as u64;
    // Replacing a chunk by a longer one may split its leaf as an insertion does.
    space::require(cx, new_blocks(&inode, new))?;

    for chunk in (new..old).rev() {
        remove_chunk(cx, &mut inode, &xattr_key(probe.hash, collision, chunk))?;
    }
    let (first, rest) = value
        .split_at_checked(XattrHead::room(name.len()).min(value.len()))
        .ok_or(Error::Internal("attribute value cut behind its end"))?;
    let head = XattrHead {
        namespace: ns,
        name,
        value_len: value.len() as u32,
        first,
    };
    put_head(
        cx,
        &mut inode,
        &xattr_key(probe.hash, collision, 0),
        &head,
        old != 0,
    )?;
    let mut chunk = 1u64;
    for part in rest.chunks(CHUNK) {
        let key = xattr_key(probe.hash, collision, chunk);
        put_chunk(cx, &mut inode, &key, part, chunk < old)?;
        chunk = chunk.saturating_add(1);
    }
    inode::touch(&mut inode, cx.now);
    inode::store(cx, &inode)?;
    Ok(inode)
}

/// Blocks that writing `n` chunks may allocate. Each splits at most one leaf; a node above has 126 entries, so of 32 leaf splits
/// at most one splits it; and the first may split the whole path.
fn new_blocks(inode: &Inode, n: u64) -> u64 {
    n.saturating_add(n / 32)
        .saturating_add(tree::new_blocks(inode, Which::Attr).saturating_mul(2))
}

/// Writes chunk 0; a function of its own so that its buffer leaves the stack soon.
fn put_head<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    key: &Key,
    head: &XattrHead<'_>,
    exists: bool,
) -> Result<()> {
    let mut buf = [0; CHUNK];
    let value = head.write(&mut buf).map_err(|e| Error::Internal(e.0))?;
    put_chunk(cx, inode, key, value, exists)
}

fn put_chunk<T: Transaction>(
    cx: &mut Cx<'_, T>,
    inode: &mut Inode,
    key: &Key,
    value: &[u8],
    exists: bool,
) -> Result<()> {
    (if exists {
        tree::replace(cx, inode, Which::Attr, key, value)
    } else {
        tree::insert(cx, inode, Which::Attr, key, value)
    })
    .map_err(Error::late)
}

fn remove_chunk<T: Transaction>(cx: &mut Cx<'_, T>, inode: &mut Inode, key: &Key) -> Result<()> {
    match tree::remove(cx, inode, Which::Attr, key) {
        Err(Error::NotFound) => Err(Error::corrupt(
            inode::home_block(cx.io, inode.ino),
            "chunks of an attribute do not add up",
        )),
        other => other,
    }
}

/// Removes an attribute of inode `ino` and returns the inode. Needs no space.
///
/// Errors, clean: [`Error::NotFound`], [`Error::NameTooLong`], [`Error::Range`], [`Error::Stale`].
pub fn remove<T: Transaction>(
    cx: &mut Cx<'_, T>,
    ino: u64,
    ns: Namespace,
    name: &[u8],
) -> Result<Inode> {
    let mut inode = inode::load(cx.io, ino)?;
    let found = probe(cx.io, &inode, ns, name)?
        .found
        .ok_or(Error::NotFound)?;
    let chunks = XattrHead::chunks(name.len(), found.len) as u64;
    for chunk in (0..chunks).rev() {
        let key = xattr_key(found.hash, found.collision, chunk);
        remove_chunk(cx, &mut inode, &key)?;
    }
    inode::touch(&mut inode, cx.now);
    inode::store(cx, &inode)?;
    Ok(inode)
}

/// Blocks that [`set`] or [`remove`] may change on this inode: `new_len` is the length of the new value, 0 for removal.
///
/// Chunks are neighbours, so `n` of them lie in at most `n` leaves plus one at each end; each leaf may be split, merged or freed
/// once, with bitmap and descriptor; of the nodes above, one for each 32 leaves, plus the path.
///
/// Errors: as [`get`], but for what is not there.
pub fn set_credits<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    ns: Namespace,
    name: &[u8],
    new_len: usize,
) -> Result<u32> {
    let old_len = probe(io, inode, ns, name)?.found.map_or(0, |f| f.len);
    let chunks = |len: usize| XattrHead::chunks(name.len(), len.min(XATTR_VALUE_MAX)) as u32;
    // The old chunks' leaves are freed or filled again; the new ones may need leaves of their own.
    let n = chunks(old_len).saturating_add(chunks(new_len));
    let path = tree::credits(inode, Which::Attr).saturating_mul(2);
    Ok(n.saturating_add(n / 32)
        .saturating_mul(ALLOC_CREDITS.saturating_add(1))
        .saturating_add(path)
        .saturating_add(STORE_CREDITS))
}
