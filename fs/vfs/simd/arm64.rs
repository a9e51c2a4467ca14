// SPDX-License-Identifier: GPL-2.0-only
//! The instruction sets of arm64. May not decide what they are used for.

use vector::Isa;

/// The best one that this processor has and whose registers the kernel saves.
pub(super) fn best() -> Isa {
    // Where there is none, no section is ever granted, and nothing runs without one.
    Isa::Neon
}
