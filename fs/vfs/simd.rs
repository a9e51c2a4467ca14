// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's vector unit for the mathematics of crate `vector`, whose kernels are linked in from the object that is compiled for it.
//!
//! What a processor offers, and how the kernel lends its registers, is different for every architecture: `simd/x86.rs` and `simd/arm64.rs`, each
//! with the C file of the same name. Nothing here touches a vector register itself.

use super::bindings;
use core::cell::Cell;
#[cfg(target_arch = "x86_64")]
use vector::crc32::CarryLess;
use vector::{Compute, Fpu, Isa};

#[cfg(target_arch = "aarch64")]
mod arm64;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
use arm64::best;
#[cfg(target_arch = "x86_64")]
use x86::best;

/// Floating-point time from the kernel: each [`Compute::with_fpu`] is one section in which nothing is preempted.
pub(crate) struct KernelFpu {
    /// # Invariants: the processor has its features, and the kernel saves its registers.
    isa: Isa,
    refused: Cell<bool>,
}

impl KernelFpu {
    /// With the best instruction set of this processor.
    pub(crate) fn new() -> Self {
        // INVARIANT: The architecture's `best` promises it.
        Self {
            isa: best(),
            refused: Cell::new(false),
        }
    }

    /// The instruction set in use.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether a section was ever refused, so that results are missing. It does not happen in process context.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused.get()
    }
}

impl Compute for KernelFpu {
    fn with_fpu(&self, run: &mut dyn FnMut(&Fpu)) {
        // SAFETY: The value is only used inside the section, where the registers are ours; the processor has the features by the invariant of
        // `KernelFpu`. Rounding is the default one in a section.
        let done = section(|| run(&unsafe { Fpu::claim(self.isa) }));
        if done.is_none() {
            self.refused.set(true);
        }
    }
}

/// Runs `work` with carry-less multiplication for checksums, if the kernel's own ones do without it, the processor has it, and vector registers may be used
/// here.
#[cfg(target_arch = "x86_64")]
pub(super) fn carry_less<R>(work: impl FnOnce(&CarryLess) -> R) -> Option<R> {
    // SAFETY: Reads what the kernel found out when it booted.
    if !unsafe { bindings::rvfs_crc32_lacks_clmul() } {
        return None;
    }
    // SAFETY: The value is only used inside the section, where the registers are ours, and the processor has the instructions.
    section(|| work(&unsafe { CarryLess::claim() }))
}

/// Runs `work` where vector registers may be used, or gives `None` where they may not (an interrupt that came into such a section).
///
/// `work` cannot be preempted and must not sleep: no allocation that waits, no lock that sleeps, no user memory. Keep it to some
/// tens of microseconds and call [`super::task::cond_resched`] between.
fn section<R>(work: impl FnOnce() -> R) -> Option<R> {
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
