// SPDX-License-Identifier: GPL-2.0-only
//! Tells the crate what its compiler can do. Decides nothing else: the kernel
//! build does not run this file and passes the same `cfg`s itself.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC");
    // `vector_avx512`: the AVX-512 intrinsics may be named. They became stable
    // in Rust 1.89; the kernel build enables them by feature gate on 1.85.
    println!("cargo:rustc-check-cfg=cfg(vector_avx512)");
    // `vector_math_external`: the math kernels come from an object of their own
    // and this crate must not compile a single float operation.
    println!("cargo:rustc-check-cfg=cfg(vector_math_external)");
    if rustc_minor().is_some_and(|minor| minor >= 89) {
        println!("cargo:rustc-cfg=vector_avx512");
    }
}

/// The `y` of `rustc 1.y.z`, or `None` when it cannot be had.
fn rustc_minor() -> Option<u32> {
    let rustc = std::env::var_os("RUSTC")?;
    let output = Command::new(rustc).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(1)?;
    let mut parts = version.split('.');
    if parts.next()? != "1" {
        return None;
    }
    parts.next()?.parse().ok()
}
