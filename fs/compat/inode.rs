// SPDX-License-Identifier: GPL-2.0-only
//! Numbers of inodes as the kernel has them in memory.

/// A number as the kernel has it: 64 bits since 7.1; before, as many as an address has, which is 64 here too.
#[cfg(linux_since = "7.1")]
pub(crate) type RawIno = u64;

/// A number as the kernel has it.
#[cfg(not(linux_since = "7.1"))]
pub(crate) type RawIno = kernel::ffi::c_ulong;

/// A number for the kernel.
#[cfg(linux_since = "7.1")]
pub(crate) const fn raw_ino(ino: u64) -> RawIno {
    ino
}

/// A number for the kernel.
#[cfg(not(linux_since = "7.1"))]
pub(crate) const fn raw_ino(ino: u64) -> RawIno {
    ino as RawIno
}

/// A number from the kernel.
#[cfg(linux_since = "7.1")]
pub(crate) const fn ino_from_raw(ino: RawIno) -> u64 {
    ino
}

/// A number from the kernel.
#[cfg(not(linux_since = "7.1"))]
pub(crate) const fn ino_from_raw(ino: RawIno) -> u64 {
    ino as u64
}

/// Nothing is lost on the way.
const _: () = assert!(size_of::<RawIno>() == size_of::<u64>());
