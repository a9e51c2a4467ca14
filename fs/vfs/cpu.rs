// SPDX-License-Identifier: GPL-2.0-only
//! Sections of kernel code that may use vector registers, and what the processor offers for them.

use super::bindings;

/// What the processor and the kernel's state saving support.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    /// AVX2 and FMA.
    pub(crate) avx2: bool,
    /// AVX-512 F, BW, VL and DQ.
    pub(crate) avx512: bool,
    /// Conversion between binary16 and binary32.
    pub(crate) f16c: bool,
}

/// Asks the processor.
pub(crate) fn features() -> Features {
    // SAFETY: These read what the kernel found out when it booted.
    unsafe {
        Features {
            avx2: bindings::rvfs_cpu_has_avx2(),
            avx512: bindings::rvfs_cpu_has_avx512(),
            f16c: bindings::rvfs_cpu_has_f16c(),
        }
    }
}

/// Runs `work` where vector registers may be used, or gives `None` where they may not (an interrupt that came into such a section).
///
/// `work` cannot be preempted and must not sleep: no allocation that waits, no lock that sleeps, no user memory. Keep it to some
/// tens of microseconds and call [`super::task::cond_resched`] between.
pub(crate) fn with_fpu<R>(work: impl FnOnce() -> R) -> Option<R> {
    // SAFETY: A query of this processor's state.
    if !unsafe { bindings::rvfs_fpu_usable() } {
        return None;
    }
    // SAFETY: The registers are usable here, as was just asked, and the section is ended below; a panic in `work` does not unwind.
    unsafe { bindings::rvfs_fpu_begin() };
    let result = work();
    // SAFETY: Pairs with the begin above, on the same processor, as preemption is off.
    unsafe { bindings::rvfs_fpu_end() };
    Some(result)
}
