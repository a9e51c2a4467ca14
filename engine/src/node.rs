// SPDX-License-Identifier: GPL-2.0-only
//! Operations inside one B+tree node body ([`layout::btree`] has the format): search, insert, remove, move. It may not
//! know blocks or trees. Every function returns `None` where the body's own numbers do not make sense, which
//! callers turn into [`crate::Error::Corrupt`].

use core::cmp::Ordering;
use layout::btree::{count, Key, TreeKind, BODY_HEADER};
use layout::bytes::{put, put_u16, put_u64, shift, slice, u16_at, u64_at, zero};

/// Makes an empty leaf body of `body`.
#[must_use]
pub fn init_leaf(body: &mut [u8]) -> Option<()> {
    body.fill(0);
    let end = u16::try_from(body.len()).ok()?;
    put_u16(body, 2, end)
}

/// Offset of slot or entry `i`, each `step` bytes.
#[inline]
fn at(i: usize, step: usize) -> Option<usize> {
    i.checked_mul(step)?.checked_add(BODY_HEADER)
}

/// Key of slot or entry `i`.
#[inline]
pub fn key(body: &[u8], kind: TreeKind, leaf: bool, i: usize) -> Option<Key> {
    let step = if leaf {
        kind.slot_size()
    } else {
        kind.entry_size()
    };
    Key::read(body, at(i, step)?, kind.key_words())
}

/// Position of `want`: `Ok(i)` if slot i has it, `Err(i)` if it would be inserted before slot i.
pub fn find(body: &[u8], kind: TreeKind, leaf: bool, want: &Key) -> Option<Result<usize, usize>> {
    let (mut lo, mut hi) = (0usize, count(body));
    while lo < hi {
        let mid = lo.checked_add(hi)? / 2;
        match key(body, kind, leaf, mid)?.cmp(want) {
            Ordering::Less => lo = mid.checked_add(1)?,
            Ordering::Greater => hi = mid,
            Ordering::Equal => return Some(Ok(mid)),
        }
    }
    Some(Err(lo))
}

/// Index of the child of an internal node that leads to `want`.
pub fn child_index(body: &[u8], kind: TreeKind, want: &Key) -> Option<usize> {
    match find(body, kind, false, want)? {
        Ok(i) => Some(i),
        Err(i) => Some(i.saturating_sub(1)),
    }
}

/// Child block of entry `i`.
pub fn child(body: &[u8], kind: TreeKind, i: usize) -> Option<u64> {
    if i >= count(body) {
        return None;
    }
    u64_at(
        body,
        at(i, kind.entry_size())?.checked_add(kind.key_words() * 8)?,
    )
}

/// Value of leaf slot `i`.
#[inline]
pub fn value(body: &[u8], kind: TreeKind, i: usize) -> Option<&[u8]> {
    if i >= count(body) {
        return None;
    }
    let (off, len) = slot(body, kind, i)?;
    slice(body, off, len)
}

/// Offset and length of the value of slot `i`.
#[inline]
fn slot(body: &[u8], kind: TreeKind, i: usize) -> Option<(usize, usize)> {
    let o = at(i, kind.slot_size())?.checked_add(kind.key_words() * 8)?;
    Some((
        usize::from(u16_at(body, o)?),
        usize::from(u16_at(body, o.checked_add(2)?)?),
    ))
}

/// Bytes that slot `i` and its value take.
pub fn slot_bytes(body: &[u8], kind: TreeKind, i: usize) -> Option<usize> {
    slot(body, kind, i)?.1.checked_add(kind.slot_size())
}

/// Bytes of a leaf in use, without the body header.
pub fn leaf_used(body: &[u8], kind: TreeKind) -> Option<usize> {
    let heap = usize::from(u16_at(body, 2)?);
    count(body)
        .checked_mul(kind.slot_size())?
        .checked_add(body.len().checked_sub(heap)?)
}

/// Bytes that a leaf body of `len` bytes can hold, without the body header.
pub fn leaf_room(len: usize) -> usize {
    len.saturating_sub(BODY_HEADER)
}

/// Entries that an internal body of `len` bytes can hold.
pub fn max_entries(len: usize, kind: TreeKind) -> usize {
    len.saturating_sub(BODY_HEADER) / kind.entry_size()
}

/// Inserts a slot before slot `i`. `Some(false)`, and nothing changed, if it does not fit.
pub fn leaf_insert(body: &mut [u8], kind: TreeKind, i: usize, k: &Key, v: &[u8]) -> Option<bool> {
    let n = count(body);
    let need = kind.slot_size().checked_add(v.len())?;
    if leaf_used(body, kind)?.checked_add(need)? > leaf_room(body.len()) {
        return Some(false);
    }
    let heap = usize::from(u16_at(body, 2)?).checked_sub(v.len())?;
    let from = at(i, kind.slot_size())?;
    let end = at(n, kind.slot_size())?;
    shift(
        body,
        from,
        from.checked_add(kind.slot_size())?,
        end.checked_sub(from)?,
    )?;
    k.write(body, from, kind.key_words())?;
    let o = from.checked_add(kind.key_words() * 8)?;
    put_u16(body, o, u16::try_from(heap).ok()?)?;
    put_u16(body, o.checked_add(2)?, u16::try_from(v.len()).ok()?)?;
    put(body, heap, v)?;
    put_u16(body, 2, u16::try_from(heap).ok()?)?;
    put_u16(body, 0, u16::try_from(n.checked_add(1)?).ok()?)?;
    Some(true)
}

/// Whether no other slot's value has bytes of that of slot `i`, which is not empty: [`layout::btree::verify_body`] holds values to the sum of their lengths,
/// which a value that lies in another's bytes leaves as it was; fsck holds each pair apart (its problem 228).
fn is_apart(body: &[u8], kind: TreeKind, i: usize) -> Option<bool> {
    let (off, len) = slot(body, kind, i)?;
    let end = off.checked_add(len)?;
    for j in (0..count(body)).filter(|j| *j != i) {
        let (other, len) = slot(body, kind, j)?;
        if other < end && other.checked_add(len)? > off {
            return Some(false);
        }
    }
    Some(true)
}

/// Removes slot `i`; the heap closes up, so that a leaf never holds garbage, and freed bytes are zeroed. `None`, and nothing changed, if its value shares bytes
/// with another.
#[must_use]
pub fn leaf_remove(body: &mut [u8], kind: TreeKind, i: usize) -> Option<()> {
    let n = count(body);
    if i >= n {
        return None;
    }
    let (off, len) = slot(body, kind, i)?;
    if len != 0 && !is_apart(body, kind, i)? {
        return None;
    }
    let heap = usize::from(u16_at(body, 2)?);
    shift(body, heap, heap.checked_add(len)?, off.checked_sub(heap)?)?;
    zero(body, heap, len)?;
    put_u16(body, 2, u16::try_from(heap.checked_add(len)?).ok()?)?;
    let from = at(i, kind.slot_size())?;
    let next = from.checked_add(kind.slot_size())?;
    let end = at(n, kind.slot_size())?;
    shift(body, next, from, end.checked_sub(next)?)?;
    zero(body, end.checked_sub(kind.slot_size())?, kind.slot_size())?;
    let n = n.checked_sub(1)?;
    put_u16(body, 0, u16::try_from(n).ok()?)?;
    for j in 0..n {
        let o = at(j, kind.slot_size())?.checked_add(kind.key_words() * 8)?;
        let other = usize::from(u16_at(body, o)?);
        // An empty value can share the offset of the one that left.
        if other <= off {
            put_u16(body, o, u16::try_from(other.checked_add(len)?).ok()?)?;
        }
    }
    Some(())
}

/// Overwrites the value of slot `i` with one of the same length; `Some(false)` if the length differs.
pub fn leaf_overwrite(body: &mut [u8], kind: TreeKind, i: usize, v: &[u8]) -> Option<bool> {
    if i >= count(body) {
        return None;
    }
    let (off, len) = slot(body, kind, i)?;
    if len != v.len() {
        return Some(false);
    }
    put(body, off, v)?;
    Some(true)
}

/// Appends slots `from..` of leaf `src` to leaf `dst`; they must fit.
#[must_use]
pub fn leaf_append(dst: &mut [u8], src: &[u8], kind: TreeKind, from: usize) -> Option<()> {
    for i in from..count(src) {
        let k = key(src, kind, true, i)?;
        let n = count(dst);
        if !leaf_insert(dst, kind, n, &k, value(src, kind, i)?)? {
            return None;
        }
    }
    Some(())
}

/// Removes slots `from..` of a leaf.
#[must_use]
pub fn leaf_truncate(body: &mut [u8], kind: TreeKind, from: usize) -> Option<()> {
    while count(body) > from {
        leaf_remove(body, kind, count(body).checked_sub(1)?)?;
    }
    Some(())
}

/// Inserts an entry before entry `i` of an internal node. `Some(false)`, and nothing changed, if it is full.
pub fn entry_insert(
    body: &mut [u8],
    kind: TreeKind,
    i: usize,
    k: &Key,
    block: u64,
) -> Option<bool> {
    let n = count(body);
    if n >= max_entries(body.len(), kind) {
        return Some(false);
    }
    let from = at(i, kind.entry_size())?;
    let end = at(n, kind.entry_size())?;
    shift(
        body,
        from,
        from.checked_add(kind.entry_size())?,
        end.checked_sub(from)?,
    )?;
    k.write(body, from, kind.key_words())?;
    put_u64(body, from.checked_add(kind.key_words() * 8)?, block)?;
    put_u16(body, 0, u16::try_from(n.checked_add(1)?).ok()?)?;
    Some(true)
}

/// Gives entry `i` of an internal node another key; the order must stay.
#[must_use]
pub fn entry_set_key(body: &mut [u8], kind: TreeKind, i: usize, k: &Key) -> Option<()> {
    if i >= count(body) {
        return None;
    }
    k.write(body, at(i, kind.entry_size())?, kind.key_words())
}

/// Removes entry `i` of an internal node.
#[must_use]
pub fn entry_remove(body: &mut [u8], kind: TreeKind, i: usize) -> Option<()> {
    let n = count(body);
    if i >= n {
        return None;
    }
    let from = at(i, kind.entry_size())?;
    let next = from.checked_add(kind.entry_size())?;
    let end = at(n, kind.entry_size())?;
    shift(body, next, from, end.checked_sub(next)?)?;
    zero(body, end.checked_sub(kind.entry_size())?, kind.entry_size())?;
    put_u16(body, 0, u16::try_from(n.checked_sub(1)?).ok()?)
}

/// Appends entries `from..` of internal node `src` to `dst`; they must fit.
#[must_use]
pub fn entry_append(dst: &mut [u8], src: &[u8], kind: TreeKind, from: usize) -> Option<()> {
    for i in from..count(src) {
        let n = count(dst);
        if !entry_insert(
            dst,
            kind,
            n,
            &key(src, kind, false, i)?,
            child(src, kind, i)?,
        )? {
            return None;
        }
    }
    Some(())
}

/// Removes entries `from..` of an internal node.
#[must_use]
pub fn entry_truncate(body: &mut [u8], kind: TreeKind, from: usize) -> Option<()> {
    while count(body) > from {
        entry_remove(body, kind, count(body).checked_sub(1)?)?;
    }
    Some(())
}

/// Where to split a leaf that has no room for a slot of `need` bytes before slot `i`: (slots that stay left, whether the new slot
/// goes left). Appending past the end leaves the old leaf full, so that ascending keys fill leaves completely.
pub fn split_point(body: &[u8], kind: TreeKind, i: usize, need: usize) -> Option<(usize, bool)> {
    let n = count(body);
    if i == n {
        return Some((n, false));
    }
    let half = leaf_used(body, kind)?.checked_add(need)? / 2;
    let mut sum = 0usize;
    let mut left = 0usize;
    // Walk the sequence with the new slot in its place until half the bytes lie left.
    for j in 0..n {
        if j == i {
            sum = sum.checked_add(need)?;
            if sum >= half {
                return Some((left, true));
            }
        }
        sum = sum.checked_add(slot_bytes(body, kind, j)?)?;
        left = j.checked_add(1)?;
        if sum >= half {
            break;
        }
    }
    // `left` slots stay; the new one stays left if it was passed.
    Some((left.min(n), i < left))
}

#[cfg(test)]
mod tests {
    use super::{init_leaf, leaf_insert, leaf_remove, value};
    use layout::btree::{verify_body, Key, TreeKind};
    use layout::bytes::put_u16;

    const KIND: TreeKind = TreeKind::Directory;

    /// A leaf with values of 20, 30, 0 and 25 bytes.
    fn leaf() -> [u8; 400] {
        let mut body = [0; 400];
        init_leaf(&mut body).unwrap();
        for (i, len) in [20, 30, 0, 25].into_iter().enumerate() {
            let value = [i as u8 + 1; 30];
            let key = Key::one(i as u64);
            assert!(leaf_insert(&mut body, KIND, i, &key, &value[..len]).unwrap());
        }
        verify_body(&body, KIND, 0).unwrap();
        body
    }

    #[test]
    fn what_is_removed_leaves_the_others_as_they_were() {
        for gone in 0..4 {
            let mut body = leaf();
            leaf_remove(&mut body, KIND, gone).unwrap();
            verify_body(&body, KIND, 0).unwrap();
            let left = [20, 30, 0, 25].into_iter().enumerate();
            for (place, (i, len)) in left.filter(|(i, _)| *i != gone).enumerate() {
                let kept = value(&body, KIND, place).unwrap();
                assert_eq!(
                    (kept.len(), kept.iter().all(|b| *b == i as u8 + 1)),
                    (len, true)
                );
            }
        }
    }

    #[test]
    fn values_that_share_bytes_are_damage_and_not_moved() {
        // Slot i has its value's offset at 8 + 12 i + 8. Values lie at 380, 350, 350 (empty), 325.
        for (slot, to, removed) in [
            (1, 326, [1, 3]),
            (1, 370, [0, 1]),
            (3, 326, [1, 3]),
            (0, 349, [1, 3]),
            (2, 355, [1, 1]),
        ] {
            let mut body = leaf();
            put_u16(&mut body, 8 + 12 * slot + 8, to).unwrap();
            // Nothing that reading a node looks at is wrong.
            verify_body(&body, KIND, 0).unwrap();
            for i in removed {
                let mut changed = body;
                assert_eq!(
                    leaf_remove(&mut changed, KIND, i),
                    None,
                    "{slot} at {to}: {i}"
                );
                assert_eq!(changed, body);
            }
        }
    }
}
