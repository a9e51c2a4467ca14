// SPDX-License-Identifier: GPL-2.0-only
//! The architectures that guests have, and what Debian, compilers, the kernel's build and
//! QEMU call them. Does nothing itself.
//!
//! Whatever the guest is, programs of the build run on this machine, which is an x86-64
//! one: for another architecture the compilers are cross-compilers.

/// An architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Debian's name.
    pub debian: &'static str,
    /// `ARCH` of the kernel's build.
    pub kernel: &'static str,
    /// The triplet in the names of GNU's compilers.
    pub gnu: &'static str,
    /// The target of programs in rustc's words.
    pub rust: &'static str,
    /// QEMU's program.
    pub qemu: &'static str,
    /// The package that it is in.
    pub qemu_package: &'static str,
    /// QEMU's program for the architecture's programs.
    pub qemu_user: &'static str,
    /// The machine that it is told to be.
    pub machine: &'static [&'static str],
    /// The processor that it emulates: all that is known of the architecture.
    pub emulated: &'static str,
    /// The first serial port.
    pub console: &'static str,
    /// Parameters that its kernels need in a machine of QEMU's, with a space in front.
    pub parameters: &'static str,
    /// What the root with the compilers has besides, for the kernel and the programs.
    pub packages: &'static [&'static str],
    /// Variables of the kernel's build that its configuration depends on.
    pub variables: &'static [(&'static str, &'static str)],
}

/// That of this machine.
pub const HOST: &Architecture = &AMD64;

/// x86-64.
pub static AMD64: Architecture = Architecture {
    debian: "amd64",
    kernel: "x86",
    gnu: "x86_64-linux-gnu",
    rust: "x86_64-unknown-linux-gnu",
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    qemu_user: "qemu-x86_64",
    machine: &[],
    emulated: "max",
    console: "ttyS0",
    // The kernel takes a timer whose interrupts come late, for the host is busy, for one that
    // does not work, and panics. It is always right in a machine of QEMU's, and under KVM the
    // kernel leaves the check out by itself.
    parameters: " no_timer_check",
    packages: &[],
    variables: &[],
};

/// 64-bit ARM.
pub static ARM64: Architecture = Architecture {
    debian: "arm64",
    kernel: "arm64",
    gnu: "aarch64-linux-gnu",
    rust: "aarch64-unknown-linux-gnu",
    qemu: "qemu-system-aarch64",
    qemu_package: "qemu-system-arm",
    qemu_user: "qemu-aarch64",
    machine: &["-machine", "virt"],
    // Pointers are signed at every call; the algorithm that the architecture describes
    // is a slow one to emulate.
    emulated: "max,pauth-impdef=on",
    console: "ttyAMA0",
    parameters: "",
    packages: &["cargo", "gcc-arm-linux-gnueabihf", "libc6-dev-arm64-cross"],
    // Debian's kernels run 32-bit programs, whose vDSO is built with their compiler.
    variables: &[("CROSS_COMPILE_COMPAT", "arm-linux-gnueabihf-")],
};

impl Architecture {
    /// Whether programs for it have to be cross-compiled.
    pub fn is_foreign(&self) -> bool {
        self != HOST
    }
}
