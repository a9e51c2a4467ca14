// SPDX-License-Identifier: GPL-2.0-only
//! The instruction sets of x86-64. May not decide what they are used for.

use super::super::bindings;
use vector::Isa;

/// The best one that this processor has and whose registers the kernel saves.
pub(super) fn best() -> Isa {
    // SAFETY: These read what the kernel found out when it booted.
    let (avx2, avx512) = unsafe {
        (
            bindings::rvfs_cpu_has_avx2(),
            bindings::rvfs_cpu_has_avx512(),
        )
    };
    if avx2 && avx512 {
        Isa::Avx512
    } else if avx2 {
        Isa::Avx2
    } else {
        Isa::Portable
    }
}
