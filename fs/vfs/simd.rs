// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's vector unit for the mathematics of crate `vector`, whose kernels are linked in from the object that is compiled for it.

use super::cpu;
use core::cell::Cell;
use vector::{Compute, Fpu, Isa};

/// Floating-point time from the kernel: each [`Compute::with_fpu`] is one section in which nothing is preempted.
pub(crate) struct KernelFpu {
    /// # Invariants: the processor has its features, and the kernel saves its registers.
    isa: Isa,
    refused: Cell<bool>,
}

impl KernelFpu {
    /// With the best instruction set of this processor.
    pub(crate) fn new() -> Self {
        let features = cpu::features();
        let avx2 = features.avx2 && features.f16c;
        let isa = if avx2 && features.avx512 {
            Isa::Avx512
        } else if avx2 {
            Isa::Avx2
        } else {
            Isa::Portable
        };
        // INVARIANT: Just asked.
        Self {
            isa,
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
        // `KernelFpu`. `kernel_fpu_begin` gives MXCSR its default.
        let done = cpu::with_fpu(|| run(&unsafe { Fpu::claim(self.isa) }));
        if done.is_none() {
            self.refused.set(true);
        }
    }
}
