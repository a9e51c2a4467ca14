// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Access to little-endian integers and sub-slices inside byte slices, by offset, that returns `None` instead of
//! panicking. It may not know any structure.

/// The `N` bytes at `off`.
#[inline]
pub fn array<const N: usize>(b: &[u8], off: usize) -> Option<[u8; N]> {
    let end = off.checked_add(N)?;
    b.get(off..end)?.try_into().ok()
}

/// Little-endian u16 at `off`.
#[inline]
pub fn u16_at(b: &[u8], off: usize) -> Option<u16> {
    array(b, off).map(u16::from_le_bytes)
}

/// Little-endian u32 at `off`.
#[inline]
pub fn u32_at(b: &[u8], off: usize) -> Option<u32> {
    array(b, off).map(u32::from_le_bytes)
}

/// Little-endian u64 at `off`.
#[inline]
pub fn u64_at(b: &[u8], off: usize) -> Option<u64> {
    array(b, off).map(u64::from_le_bytes)
}

/// `len` bytes at `off`.
#[inline]
pub fn slice(b: &[u8], off: usize, len: usize) -> Option<&[u8]> {
    b.get(off..off.checked_add(len)?)
}

/// `len` bytes at `off`, to change.
#[inline]
pub fn slice_mut(b: &mut [u8], off: usize, len: usize) -> Option<&mut [u8]> {
    b.get_mut(off..off.checked_add(len)?)
}

/// Copies `src` to `off`; `None`, and nothing changed, if it does not fit.
#[inline]
pub fn put(b: &mut [u8], off: usize, src: &[u8]) -> Option<()> {
    let dst = slice_mut(b, off, src.len())?;
    for (d, s) in dst.iter_mut().zip(src) {
        *d = *s;
    }
    Some(())
}

/// Stores a little-endian u16 at `off`.
#[inline]
pub fn put_u16(b: &mut [u8], off: usize, v: u16) -> Option<()> {
    put(b, off, &v.to_le_bytes())
}

/// Stores a little-endian u32 at `off`.
#[inline]
pub fn put_u32(b: &mut [u8], off: usize, v: u32) -> Option<()> {
    put(b, off, &v.to_le_bytes())
}

/// Stores a little-endian u64 at `off`.
#[inline]
pub fn put_u64(b: &mut [u8], off: usize, v: u64) -> Option<()> {
    put(b, off, &v.to_le_bytes())
}

/// Moves `len` bytes from `src` to `dst` inside `b` (they may overlap); `None`, and nothing changed, if either range
/// lies outside.
#[inline]
pub fn shift(b: &mut [u8], src: usize, dst: usize, len: usize) -> Option<()> {
    // Compared in the form that `copy_within` checks, so that the compiler sees that it cannot panic.
    let room = b.len().checked_sub(len)?;
    if src > room || dst > room {
        return None;
    }
    b.copy_within(src..src.checked_add(len)?, dst);
    Some(())
}

/// Zeroes `len` bytes at `off`.
#[inline]
pub fn zero(b: &mut [u8], off: usize, len: usize) -> Option<()> {
    slice_mut(b, off, len)?.fill(0);
    Some(())
}
