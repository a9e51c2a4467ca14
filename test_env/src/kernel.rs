// SPDX-License-Identifier: GPL-2.0-only
//! The stock kernel and what is needed to build a Rust module for it: Debian's
//! image, headers and source, and the metadata of the kernel's Rust crates.
//!
//! Debian's headers leave that metadata out. It is made again from the source
//! package with the configuration and the compilers of the stock build, and
//! accepted only if every symbol it relies on is one that the stock image
//! exports: without module versions a difference would go unnoticed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use crate::apt::Apt;
use crate::chroot::Root;
use crate::{cache, sys};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "kernel environment 1";

/// The LLVM that bindgen loads and that the kernel's scripts look for.
const LLVM: &str = "19";
/// The compiler that Debian's kernel was built with.
pub const CC: &str = "x86_64-linux-gnu-gcc-14";
const HOST_CC: &str = "gcc-14";

/// What builds kernels and modules.
const PACKAGES: &[&str] = &[
    "bc",
    "bindgen",
    "bison",
    "clang-19",
    "cpio",
    "flex",
    "gcc-14",
    "kmod",
    "libclang-19-dev",
    "libelf-dev",
    "libssl-dev",
    "lld-19",
    "llvm-19",
    "make",
    "openssl",
    "pahole",
    "python3",
    "rust-clippy",
    "rust-src",
    "rustc",
    "rustfmt",
    "xz-utils",
];

/// The kernel crates whose exports are compared with the stock image's.
const EXPORTING_CRATES: &[&str] = &["core", "bindings", "kernel", "helpers"];

/// A kernel with everything needed to build a module for it.
pub struct Kernel {
    folder: PathBuf,
    release: String,
}

impl Kernel {
    /// The newest stock kernel, prepared if it is not in the cache.
    ///
    /// # Errors
    /// A step of the preparation fails; the error says which.
    pub fn prepare(apt: &Apt) -> Result<Self> {
        let (release, version) = apt.newest_kernel()?;
        let mut inputs = vec![RECIPE.to_owned(), format!("linux {release} {version}")];
        inputs.extend(apt.versions(PACKAGES)?);
        let folder = cache::entry("kernel", &inputs, |folder| {
            make(apt, folder, &release, &version)
        })?;
        Ok(Self { folder, release })
    }

    /// What `uname -r` prints.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Debian's build root with compilers, headers and source.
    pub fn root(&self) -> Root {
        Root::at(self.folder.join("root"))
    }

    /// The kernel's own modules, and the image beside them.
    pub fn modules(&self) -> PathBuf {
        modules(&self.folder, &self.release)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.modules().join("vmlinuz")
    }

    /// The kernel's source tree.
    pub fn source(&self) -> PathBuf {
        self.folder
            .join("root")
            .join(source_in_root(&self.release).trim_start_matches('/'))
    }

    /// The stock list of exported symbols.
    pub fn symvers(&self) -> PathBuf {
        self.folder
            .join("root")
            .join(headers_in_root(&self.release).trim_start_matches('/'))
            .join("Module.symvers")
    }

    /// `make` for an external module in `source`, objects in `objects`; both must
    /// lie below one of `binds`.
    pub fn make_module(&self, binds: &[&Path], source: &Path, objects: &Path) -> Command {
        let mut command = self.root().command_as_user(binds, "env");
        command
            .args(toolchain())
            .arg("RUSTC_BOOTSTRAP=1")
            .arg("make")
            .arg(format!("CC={CC}"))
            .arg(format!("HOSTCC={HOST_CC}"))
            .arg("-C")
            .arg(headers_in_root(&self.release))
            .arg(format!("M={}", source.display()))
            .arg(format!("MO={}", objects.display()));
        command
    }
}

/// Paths of the compilers, for `env`.
fn toolchain() -> [String; 2] {
    [
        format!("PATH=/usr/lib/llvm-{LLVM}/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        format!("LIBCLANG_PATH=/usr/lib/llvm-{LLVM}/lib"),
    ]
}

/// `7.3` of `7.3.4+deb13-cloud-amd64`.
fn series(release: &str) -> String {
    release
        .split(['.', '+', '-', '~'])
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

/// `7.3.4+deb13` of `7.3.4+deb13-cloud-amd64`.
fn without_flavour(release: &str) -> &str {
    release
        .split_once("-cloud")
        .map_or(release, |(base, _)| base)
}

fn headers_in_root(release: &str) -> String {
    format!("/usr/src/linux-headers-{release}")
}

fn source_in_root(release: &str) -> String {
    format!("/usr/src/linux-source-{}", series(release))
}

fn modules(folder: &Path, release: &str) -> PathBuf {
    folder.join("image/usr/lib/modules").join(release)
}

/// Fills a cache entry.
fn make(apt: &Apt, folder: &Path, release: &str, version: &str) -> Result<()> {
    let log = folder.join("log");
    eprintln!("preparing a build root for Linux {release}");
    let source = format!("linux-source-{}", series(release));
    let mut packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
    packages.push(format!("linux-headers-{release}={version}"));
    packages.push(format!("{source}={version}"));
    let root = Root::create(apt, folder.join("root"), &packages, &log)?;

    let image = folder.join("image");
    std::fs::create_dir(&image)?;
    let image_packages =
        ["binary", "modules"].map(|part| format!("linux-{part}-{release}={version}"));
    apt.unpack(&image_packages, &image, &log)?;
    ensure!(
        modules(folder, release).join("vmlinuz").exists(),
        "the packages of Linux {release} brought no image"
    );

    eprintln!("building the metadata of the kernel's Rust crates");
    let archive = format!("/usr/src/{source}.tar.xz");
    sys::run_logged(
        root.command("tar")
            .args(["-C", "/usr/src", "-xf", &archive]),
        &log,
    )?;
    sys::run_logged(root.command("rm").arg(&archive), &log)?;
    let headers = headers_in_root(release);
    let objects = "/build";
    sys::run_logged(root.command("mkdir").arg(objects), &log)?;
    sys::run_logged(
        root.command("cp")
            .args([&format!("{headers}/.config"), &format!("{objects}/.config")]),
        &log,
    )?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    for target in ["olddefconfig", "prepare"] {
        sys::run_logged(
            root.command("env")
                .args(toolchain())
                .arg("make")
                .arg(format!("-j{jobs}"))
                .args(["-C", &source_in_root(release)])
                .arg(format!("O={objects}"))
                .arg(format!("CC={CC}"))
                .arg(format!("HOSTCC={HOST_CC}"))
                .arg(target),
            &log,
        )?;
    }
    let in_root = |path: &str| root.path().join(path.trim_start_matches('/'));
    // The new configuration must be the stock one, or these are other compilers.
    sys::run_logged(
        root.command("diff").args([
            "--unified=0",
            &format!("{headers}/.config"),
            &format!("{objects}/.config"),
        ]),
        &log,
    )
    .with_context(|| format!("these compilers change the configuration of Linux {release}"))?;
    compare_symbols(
        &in_root(objects).join("rust"),
        &in_root(&headers).join("Module.symvers"),
    )?;

    let kbuild = format!("/usr/lib/linux-kbuild-{}", without_flavour(release));
    for (from, to) in [
        (format!("{objects}/rust"), format!("{headers}/rust")),
        (
            format!("{objects}/scripts/target.json"),
            format!("{kbuild}/scripts/target.json"),
        ),
    ] {
        sys::run_logged(root.command("mv").args([from, to]), &log)?;
    }
    sys::run_logged(root.command("rm").args(["-rf", objects]), &log)
}

/// The gate: every symbol that the rebuilt crates export must be exported by the
/// stock image too.
///
/// # Errors
/// Some are not; the error names a few.
fn compare_symbols(rust: &Path, symvers: &Path) -> Result<()> {
    let stock = std::fs::read_to_string(symvers)
        .with_context(|| format!("cannot read {}", symvers.display()))?;
    let stock: BTreeSet<&str> = stock
        .lines()
        .filter_map(|line| line.split('\t').nth(1))
        .collect();
    for name in EXPORTING_CRATES {
        let path = rust.join(format!("exports_{name}_generated.h"));
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let exports: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("EXPORT_SYMBOL_RUST_GPL("))
            .filter_map(|rest| rest.strip_suffix(");"))
            .collect();
        ensure!(!exports.is_empty(), "{} exports nothing", path.display());
        let missing: Vec<&str> = exports
            .iter()
            .copied()
            .filter(|symbol| !stock.contains(symbol))
            .collect();
        if !missing.is_empty() {
            bail!(
                "the rebuilt crate `{name}` is not the stock kernel's: {} of its {} symbols are \
                 not exported there, such as {}",
                missing.len(),
                exports.len(),
                missing
                    .iter()
                    .take(5)
                    .copied()
                    .collect::<Vec<_>>()
                    .join(", ")
            );
        }
        eprintln!(
            "  {name}: {} symbols, all of them exported by the stock image",
            exports.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{compare_symbols, series, without_flavour, EXPORTING_CRATES};

    #[test]
    fn names_are_taken_from_the_release() {
        assert_eq!(series("7.3.4+deb13-cloud-amd64"), "7.3");
        assert_eq!(series("7.4+deb13-cloud-amd64"), "7.4");
        assert_eq!(without_flavour("7.3.4+deb13-cloud-amd64"), "7.3.4+deb13");
    }

    #[test]
    fn a_symbol_that_the_stock_image_lacks_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        for name in EXPORTING_CRATES {
            let path = folder.path().join(format!("exports_{name}_generated.h"));
            std::fs::write(path, format!("EXPORT_SYMBOL_RUST_GPL(_R{name});\n")).expect("write");
        }
        let symvers = folder.path().join("Module.symvers");
        let line = |name: &str| format!("0x00000000\t_R{name}\tvmlinux\tEXPORT_SYMBOL_GPL\t\n");
        let all: String = EXPORTING_CRATES.iter().map(|name| line(name)).collect();
        std::fs::write(&symvers, all).expect("write");
        compare_symbols(folder.path(), &symvers).expect("all are there");
        std::fs::write(&symvers, line("core") + &line("kernel")).expect("write");
        let error = compare_symbols(folder.path(), &symvers).expect_err("some are missing");
        assert!(error.to_string().contains("_Rbindings"), "{error}");
    }
}
