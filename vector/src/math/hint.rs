// SPDX-License-Identifier: GPL-2.0-only
//! A hint for the processor's cache. No mathematics, and not part of the math object: the one instruction needs no vector register, so kernel Rust is
//! compiled with it as it is, and it may be given anywhere.

/// Bytes of a cache line. Where lines are longer, some hints are given twice.
const LINE: usize = 64;

/// Says that `bytes` will be read soon, so that the processor can fetch them while it does something else. Changes nothing but time.
#[inline]
pub fn will_read(bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        fetch(line.as_ptr());
    }
    // The last byte may lie in one line more.
    if let Some(last) = bytes.last() {
        fetch(last);
    }
}

#[inline(always)]
fn fetch(p: *const u8) {
    // An instruction written out, since the intrinsic wants SSE, which kernel Rust does without.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: A prefetch accesses nothing that a program could see, and never faults.
    unsafe {
        core::arch::asm!("prefetcht0 [{p}]", p = in(reg) p, options(nostack, readonly, preserves_flags));
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: As above.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{p}]", p = in(reg) p, options(nostack, readonly, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = p;
}

#[cfg(test)]
mod tests {
    use super::will_read;

    #[test]
    fn any_bytes_will_do() {
        let bytes = [7u8; 300];
        for start in 0..bytes.len() {
            will_read(&bytes[start..]);
            will_read(&bytes[..start]);
        }
        assert_eq!(bytes, [7; 300]);
    }
}
