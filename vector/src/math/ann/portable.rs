// SPDX-License-Identifier: GPL-2.0-only
//! The scans in plain Rust: the definition that the SIMD paths must match.

use core::mem::MaybeUninit;

use super::lanes::Portable;
use super::units::Units;
use super::{Scan, PACK, UNIT};

impl Scan for Portable {
    #[inline(always)]
    unsafe fn sums(units: &mut Units, count: usize, table: *const u8) -> [Self; 2] {
        let mut sums = MaybeUninit::<[i32; PACK]>::uninit();
        let out = sums.as_mut_ptr().cast::<i32>();
        // SAFETY: the caller guarantees `count` units and as many tables of 64
        // bytes; there are 32 sums, all written before they are read.
        unsafe {
            // Volatile, or it would become a call of memset, which these kernels do not have.
            for i in 0..PACK {
                out.add(i).write_volatile(0);
            }
            for unit in 0..count {
                let (p, t) = (units.next(), table.add(unit * UNIT));
                for s in 0..4 {
                    for b in 0..16 {
                        let code = usize::from(*p.add(16 * s + b));
                        *out.add(b) += i32::from(*t.add(16 * s + (code & 15)));
                        *out.add(16 + b) += i32::from(*t.add(16 * s + (code >> 4)));
                    }
                }
            }
            [
                Portable::from_integers(out),
                Portable::from_integers(out.add(16)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn fetch(_: *const u8) {}

    #[inline(always)]
    unsafe fn product(units: &mut Units, count: usize, bytes: *const i8) -> i32 {
        let mut sum = 0;
        for unit in 0..count {
            // SAFETY: the caller guarantees `count` units and 128 bytes for each.
            unsafe {
                let (p, q) = (units.next(), bytes.add(128 * unit));
                for b in 0..UNIT {
                    let code = i32::from(*p.add(b));
                    sum += (code & 15) * i32::from(*q.add(b));
                    sum += (code >> 4) * i32::from(*q.add(64 + b));
                }
            }
        }
        sum
    }
}
