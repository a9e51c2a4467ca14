// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vector registers of arm64: when they may be used; see ../helpers.h.
 */
#include <linux/fpu.h>
#include <asm/simd.h>
#include <asm/sysreg.h>

#include "../helpers.h"

/* kernel_fpu_begin() is for tasks only. */
bool rvfs_fpu_usable(void) { return in_task() && may_use_simd(); }
void rvfs_fpu_end(void) { kernel_fpu_end(); }

void rvfs_fpu_begin(void)
{
	kernel_fpu_begin();
	/*
	 * The task's registers are saved, but FPCR still says how it wants to
	 * round and what becomes of subnormals. Distances may not depend on it.
	 * The task's own value is loaded with its other registers.
	 */
	write_sysreg_s(0, SYS_FPCR);
}
