// SPDX-License-Identifier: GPL-2.0-only
//! The safe side of the math object's CRC-32: who may use it. Unsafe code: one call.

use crate::math::{vexfs_math_crc32, CRC32_UNIT};
use core::marker::PhantomData;

/// The right to use carry-less multiplication.
///
/// # Invariants
/// While a value exists, the thread that made it may use vector registers, as for [`crate::Fpu`], and the CPU has PCLMULQDQ and SSE4.1. The type is
/// neither `Send` nor `Sync`.
pub struct CarryLess {
    not_send: PhantomData<*const ()>,
}

impl CarryLess {
    /// Claims it.
    ///
    /// # Safety
    /// The invariants above must hold for the life of the value.
    pub const unsafe fn claim() -> CarryLess {
        CarryLess {
            not_send: PhantomData,
        }
    }

    /// Takes as much of `data` into a CRC-32 as goes in whole units of 16 bytes. `register` is that of the bytes before, not inverted, as the
    /// kernel's `crc32_le` has it. Returns the register, and what is left of the data: less than 16 bytes.
    pub fn crc32<'d>(&self, register: u32, data: &'d [u8]) -> (u32, &'d [u8]) {
        let whole = data.len().saturating_sub(data.len() % CRC32_UNIT);
        let (units, rest) = data.split_at_checked(whole).unwrap_or((&[], data));
        if units.is_empty() {
            return (register, rest);
        }
        // SAFETY: The slice is readable, a multiple of the unit long and not empty; the invariant covers registers and features.
        let register = unsafe { vexfs_math_crc32(register, units.as_ptr(), units.len()) };
        (register, rest)
    }
}
