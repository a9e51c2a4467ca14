// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Directory entries: values of a directory tree, under the key of the entry's cookie, and the name hash that makes
//! cookies.
//!
//! Value: inode u64, DT_* type u8, then the name (1 to 255 bytes, no NUL, no '/', not `.` or `..`).

use crate::bytes::{put, u64_at};
use crate::inode::FileType;
use crate::{Invalid, NAME_MAX};

/// Bytes before the name.
pub const DIRENT_HEADER: usize = 9;
/// Longest value.
pub const DIRENT_MAX: usize = DIRENT_HEADER + NAME_MAX;
/// Bits of a cookie that number the names of one hash.
pub const COLLISION_BITS: u32 = 8;
/// Names that can share one hash.
pub const COLLISIONS: u64 = 1 << COLLISION_BITS;
/// Smallest cookie of an entry: 0 is `.`, 1 is `..`.
pub const FIRST_COOKIE: u64 = 1 << COLLISION_BITS;

/// A directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirent<'a> {
    /// The inode.
    pub ino: u64,
    /// Its type.
    pub file_type: FileType,
    /// Its name here.
    pub name: &'a [u8],
}

/// Whether a name may stand in a directory.
pub fn check_name(name: &[u8]) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Invalid("length of a name out of range"));
    }
    if name.iter().any(|c| *c == 0 || *c == b'/') {
        return Err(Invalid("a name holds NUL or '/'"));
    }
    if name == b"." || name == b".." {
        return Err(Invalid("'.' and '..' are not stored"));
    }
    Ok(())
}

impl<'a> Dirent<'a> {
    /// Reads a value. Checked: inode not 0, type known, [`check_name`].
    pub fn parse(value: &'a [u8]) -> Result<Dirent<'a>, Invalid> {
        let ino = u64_at(value, 0).ok_or(Invalid("short directory entry"))?;
        let dt = value
            .get(8)
            .copied()
            .ok_or(Invalid("short directory entry"))?;
        let name = value
            .get(DIRENT_HEADER..)
            .ok_or(Invalid("short directory entry"))?;
        if ino == 0 {
            return Err(Invalid("directory entry without an inode"));
        }
        let file_type =
            FileType::from_dt(dt).ok_or(Invalid("unknown type in a directory entry"))?;
        check_name(name)?;
        Ok(Dirent {
            ino,
            file_type,
            name,
        })
    }

    /// Writes the value into `buf` and returns it.
    pub fn write<'b>(&self, buf: &'b mut [u8; DIRENT_MAX]) -> Result<&'b [u8], Invalid> {
        check_name(self.name)?;
        put(buf, 0, &self.ino.to_le_bytes()).ok_or(Invalid("short buffer"))?;
        put(buf, 8, &[self.file_type.dt()]).ok_or(Invalid("short buffer"))?;
        put(buf, DIRENT_HEADER, self.name).ok_or(Invalid("name too long"))?;
        buf.get(..DIRENT_HEADER.saturating_add(self.name.len()))
            .ok_or(Invalid("name too long"))
    }
}

/// The first of the cookies that `name` can have; the others follow it, [`COLLISIONS`] in all. At most 2^63 - 1, so that it
/// fits a loff_t, and at least [`FIRST_COOKIE`].
pub fn first_cookie(seed: &[u8; 16], name: &[u8]) -> u64 {
    // 55 bits of hash, 8 bits of collision index: 63 bits.
    let h = (siphash24(seed, name) >> 9).max(1);
    h << COLLISION_BITS
}

/// SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012), 64-bit result. A keyed hash, so that nobody
/// without the key can make names that collide.
pub fn siphash24(key: &[u8; 16], data: &[u8]) -> u64 {
    let k0 = u64_at(key, 0).unwrap_or(0);
    let k1 = u64_at(key, 8).unwrap_or(0);
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        let [a, b, c, d] = v;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    };
    let mut chunks = data.chunks_exact(8);
    for chunk in &mut chunks {
        let m = u64_at(chunk, 0).unwrap_or(0);
        v[3] ^= m;
        round(&mut v);
        round(&mut v);
        v[0] ^= m;
    }
    let mut last = [0u8; 8];
    let _ = put(&mut last, 0, chunks.remainder());
    let m = u64::from_le_bytes(last) | ((data.len() as u64 & 0xff) << 56);
    v[3] ^= m;
    round(&mut v);
    round(&mut v);
    v[0] ^= m;
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}
