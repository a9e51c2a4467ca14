// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vector registers of x86-64: when they may be used, and what there is of
 * them; see ../helpers.h. Also for User Mode Linux on x86-64.
 */
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>

#include "../helpers.h"

/* kernel_fpu_begin() gives MXCSR its default. */
bool rvfs_fpu_usable(void) { return irq_fpu_usable(); }
void rvfs_fpu_begin(void) { kernel_fpu_begin(); }
void rvfs_fpu_end(void) { kernel_fpu_end(); }

/* Under User Mode Linux the host saves every register that its processor has. */
#ifdef CONFIG_UML
#define SAVES(mask) true
#else
#define SAVES(mask) cpu_has_xfeatures(mask, NULL)
#endif

bool rvfs_cpu_has_avx2(void)
{
	return boot_cpu_has(X86_FEATURE_AVX2) && boot_cpu_has(X86_FEATURE_FMA) &&
	       boot_cpu_has(X86_FEATURE_F16C) && boot_cpu_has(X86_FEATURE_POPCNT) &&
	       SAVES(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM);
}

bool rvfs_cpu_has_avx512(void)
{
	return boot_cpu_has(X86_FEATURE_AVX512F) && boot_cpu_has(X86_FEATURE_AVX512BW) &&
	       boot_cpu_has(X86_FEATURE_AVX512VL) && boot_cpu_has(X86_FEATURE_AVX512DQ) &&
	       SAVES(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512);
}

/* The kernel's CRC-32 goes byte by byte, where the processor could do better. */
bool rvfs_crc32_lacks_clmul(void)
{
	return !IS_ENABLED(CONFIG_CRC32_ARCH) && boot_cpu_has(X86_FEATURE_PCLMULQDQ) &&
	       boot_cpu_has(X86_FEATURE_XMM4_1) && SAVES(XFEATURE_MASK_SSE);
}
