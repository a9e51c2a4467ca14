// SPDX-License-Identifier: GPL-2.0-only
//! Reads a kernel's log for signs that something is wrong. Judges text and
//! nothing else.

/// What the kernel prints when it is not well. Compared without regard to case.
const SIGNS: &[&str] = &[
    "] warning: ",
    "] bug: ",
    "kernel bug at",
    "oops:",
    "general protection fault",
    "unable to handle",
    "kernel panic",
    "panicked at",
    "rust_kernel: panic",
    "call trace:",
    "kasan:",
    "ubsan:",
    "kmemleak:",
    "lockdep",
    "bad unlock balance",
    "inconsistent lock state",
    "deadlock",
    "refcount_t:",
    "underflow;",
    "use-after-free",
    "list_add corruption",
    "list_del corruption",
    "sleeping function called from invalid context",
    "scheduling while atomic",
    "suspicious rcu usage",
    "blocked for more than",
    "hung task",
    "soft lockup",
    "hard lockup",
    "rcu: info:",
    "objects remaining",
    "slab cache still has objects",
    "busy inodes after unmount",
    "vfs: brelse: trying to free free buffer",
    "page_alloc: allocation failure",
    "page allocation failure",
    "bad page state",
    "invalid padding area",
    "jbd2 unexpected failure",
];

/// Lines that hold a sign and are well nevertheless.
const EXCEPTIONS: &[&str] = &[
    // The check itself names the word.
    "lockdep is turned off",
    // The stock kernel at every boot in a virtual machine.
    "hung_task_timeout",
];

/// The lines of a log that show a defect, each once.
pub fn defects(log: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in log.lines() {
        let lower = line.to_lowercase();
        let is_sign = SIGNS.iter().any(|sign| lower.contains(sign))
            && !EXCEPTIONS.iter().any(|exception| lower.contains(exception));
        if is_sign && !found.iter().any(|known| known == line) {
            found.push(line.trim_end().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::defects;

    #[test]
    fn a_warning_is_found_and_taint_is_not() {
        let log = "[    1.0] vexfs: loading out-of-tree module taints kernel.\n\
                   [    1.1] vexfs: module verification failed: signature and/or required key missing - tainting kernel\n\
                   [    2.0] WARNING: fs/jbd2/transaction.c:334 at start_this_handle+0x4/0x8, CPU#1: cp/12\n\
                   [    2.0] WARNING: CPU: 1 PID: 12 at fs/jbd2/transaction.c:334 start_this_handle\n\
                   [    3.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n";
        assert_eq!(defects(log).len(), 3, "{:?}", defects(log));
    }

    #[test]
    fn a_clean_log_is_clean() {
        assert!(defects(
            "[    0.1] ..MP-BIOS bug: 8254 timer not connected to IO-APIC\n\
             [    1.0] vexfs: mounted vdb\n[    1.2] EXT4-fs (vda): mounted filesystem\n"
        )
        .is_empty());
    }
}
