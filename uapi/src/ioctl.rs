// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! How a request number is made: the layout of `asm-generic/ioctl.h`, which x86,
//! arm64 and riscv use.

/// The type byte of all requests; 0xE7 00-1F is unused by the kernel's register
/// (Documentation/userspace-api/ioctl/ioctl-number.rst).
pub const TYPE: u32 = 0xE7;

/// The structure only goes into the kernel.
pub const WRITE: u32 = 1;
/// The structure goes in and comes back.
pub const READ_WRITE: u32 = 3;

/// The number of request `nr` whose structure has `size` bytes.
pub const fn number(direction: u32, nr: u32, size: usize) -> u32 {
    direction << 30 | (size as u32) << 16 | TYPE << 8 | nr
}
