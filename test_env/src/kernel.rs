// SPDX-License-Identifier: GPL-2.0-only
//! Stock kernels and what is needed to build a Rust module for them: Debian's
//! image and headers, and the metadata of the kernel's Rust crates, which
//! dkms/kernel-tree.sh makes from the source package.
//!
//! The compilers are those of the distribution that the kernel comes from, in a
//! root that all kernels of it share; what belongs to one kernel is in an entry of
//! its own and shown to commands in that root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::apt::{Apt, Choice, Distribution, TRIXIE};
use crate::architecture::{Architecture, ARM64, HOST};
use crate::chroot::{Bind, Root};
use crate::{cache, project, sys};

mod rebuilt;

/// Raised when the recipes below change, so that old entries are not used.
const RECIPE: &str = "kernel environment 2";
/// As above.
const ROOT_RECIPE: &str = "build root 1";

/// The beginning of the package of the programs that the kernel's build uses.
const KBUILD: &str = "linux-kbuild-";
/// Rust's standard library, for an architecture.
const RUST_LIBRARY: &str = "libstd-rust-dev";

/// What builds kernels and modules, beside the compiler that the headers ask for.
const PACKAGES: &[&str] = &[
    "bc",
    "bindgen",
    "bison",
    "clang",
    "cpio",
    "flex",
    "kmod",
    "libclang-dev",
    "libelf-dev",
    "libssl-dev",
    "lld",
    "llvm",
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

/// A kernel by what users call it: it has another version every week.
pub struct Variety {
    /// What people say.
    pub name: &'static str,
    /// Whose compilers built it.
    pub distribution: &'static Distribution,
    /// What it runs on.
    pub architecture: &'static Architecture,
    /// Which of the kernels there.
    pub choice: Choice,
    /// Whether its unpacked source is kept, which is large.
    pub keep_source: bool,
}

/// The kernel that everything is tested with.
pub const DEFAULT: Variety = Variety {
    name: "trixie-backports",
    distribution: &TRIXIE,
    architecture: HOST,
    choice: Choice::Newest("trixie-backports"),
    keep_source: true,
};

/// The same for 64-bit ARM.
pub const ON_ARM64: Variety = Variety {
    name: "arm64",
    architecture: &ARM64,
    keep_source: false,
    ..DEFAULT
};

/// A kernel with everything needed to build a module for it.
pub struct Kernel {
    folder: PathBuf,
    release: String,
    architecture: &'static Architecture,
    build_root: PathBuf,
}

impl Kernel {
    /// The [`DEFAULT`] kernel, prepared if it is not in the cache.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn prepare(apt: &Apt) -> Result<Self> {
        Self::of(&DEFAULT, apt)
    }

    /// A kernel of the distribution and architecture whose lists are given, prepared if it is not in
    /// the cache.
    ///
    /// # Errors
    /// A step of the preparation fails; the error says which.
    pub fn of(variety: &Variety, apt: &Apt) -> Result<Self> {
        if let Choice::Rebuilt(series) = variety.choice {
            return rebuilt::of(apt, series);
        }
        let (release, version) = apt.kernel(variety.choice)?;
        let packages = apt.dependencies(&format!("linux-headers-{release}"))?;
        let compiler = compiler(&packages)
            .with_context(|| format!("the headers of Linux {release} name no compiler"))?;
        let build_root = build_root(apt, &compiler)?;
        let inputs = [
            RECIPE.to_owned(),
            format!("linux {release} {version} {}", variety.keep_source),
            include_str!("../../dkms/kernel-tree.sh").to_owned(),
            build_root.display().to_string(),
        ];
        let folder = cache::entry("kernel", &inputs, |folder| {
            let kernel = Self {
                folder: folder.to_owned(),
                release: release.clone(),
                architecture: apt.architecture(),
                build_root: build_root.clone(),
            };
            kernel.make(apt, &version, &packages, &compiler, variety.keep_source)
        })?;
        Ok(Self {
            folder,
            release,
            architecture: apt.architecture(),
            build_root,
        })
    }

    /// The C compiler of its architecture that the configuration names, in the build root.
    ///
    /// # Errors
    /// As [`compilers`](Self::compilers).
    pub fn cross_compiler(&self) -> Result<String> {
        let (_, compiler) = self.compilers()?;
        let name = compiler.split(' ').next().unwrap_or_default();
        Ok(format!("{}-{name}", self.architecture.gnu))
    }

    /// What it runs on.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// What `uname -r` prints.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Whether it is older than this series.
    pub fn is_before(&self, major: u32, minor: u32) -> bool {
        let mut numbers = series(&self.release)
            .split('.')
            .map(|number| number.parse().unwrap_or(0))
            .collect::<Vec<u32>>();
        numbers.resize(2, 0);
        numbers < vec![major, minor]
    }

    /// Debian's build root with compilers, and this kernel's headers in their place.
    ///
    /// # Errors
    /// The entry in the cache cannot be read.
    pub fn root(&self) -> Result<Root> {
        let mut binds: Vec<Bind> = vec![(self.folder.clone(), self.folder.clone())];
        let packages = match self.is_rebuilt() {
            true => &[][..],
            false => &["usr/src", "usr/lib"],
        };
        for parent in packages {
            for entry in std::fs::read_dir(self.packages().join(parent))? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    let place = Path::new("/").join(parent).join(entry.file_name());
                    binds.push((entry.path(), place));
                }
            }
        }
        Ok(Root::at(self.build_root.join("root")).with(binds))
    }

    /// The kernel's own modules, and the image beside them.
    pub fn modules(&self) -> PathBuf {
        self.folder
            .join("image/usr/lib/modules")
            .join(&self.release)
    }

    /// The image.
    pub fn image(&self) -> PathBuf {
        self.modules().join("vmlinuz")
    }

    /// The kernel's source tree. Only a [`Variety`] that says so has it.
    pub fn source(&self) -> PathBuf {
        self.folder.join("source")
    }

    /// The stock list of exported symbols.
    pub fn symvers(&self) -> PathBuf {
        self.headers().join("Module.symvers")
    }

    /// The compilers that the kernel was built with, Rust's and C's, as its
    /// configuration has them: `1.85.1`, `gcc-14 14.2.0`.
    ///
    /// # Errors
    /// The configuration cannot be read, or does not say.
    pub fn compilers(&self) -> Result<(String, String)> {
        let path = self.headers().join(".config");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        compilers(&text, self.architecture)
            .with_context(|| format!("{} names no compilers", path.display()))
    }

    /// The program that is the kernel's C compiler.
    fn c_compiler(&self) -> Result<String> {
        let config = std::fs::read_to_string(self.headers().join(".config"))?;
        let text = configured(&config, "CONFIG_CC_VERSION_TEXT");
        let name = text.and_then(|text| text.split(' ').next());
        Ok(name
            .context("the configuration names no compiler")?
            .to_owned())
    }

    /// `make` for an external module in `source`, objects in `objects`; both must
    /// lie below one of `binds`.
    ///
    /// # Errors
    /// As [`root`](Self::root).
    pub fn make_module(&self, binds: &[&Path], source: &Path, objects: &Path) -> Result<Command> {
        let mut command = self.root()?.command_as_user(binds, "env");
        command
            .args(["RUSTC_BOOTSTRAP=1", "make", "-C"])
            .arg(self.folder.join("tree"))
            .arg(format!("M={}", source.display()))
            .arg(format!("MO={}", objects.display()));
        if self.is_rebuilt() {
            // Debian's headers say this by themselves.
            command.arg(format!("CC={}", self.c_compiler()?));
        }
        Ok(command)
    }

    /// How the kernel's build is told of another architecture; the headers of one know theirs.
    fn variables(&self, compiler: &str) -> Vec<String> {
        let architecture = self.architecture;
        if !architecture.is_foreign() {
            return Vec::new();
        }
        let mut variables = vec![
            format!("ARCH={}", architecture.kernel),
            format!("CROSS_COMPILE={}-", architecture.gnu),
            format!("HOSTCC={compiler}"),
        ];
        variables.extend(
            architecture
                .variables
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        variables
    }

    /// What the packages of headers and source were unpacked to.
    fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    /// Whether it was built here, not by Debian, so that it has a tree but no packages.
    fn is_rebuilt(&self) -> bool {
        !self.packages().exists()
    }

    fn headers(&self) -> PathBuf {
        if self.is_rebuilt() {
            return self.folder.join("tree");
        }
        self.packages()
            .join("usr/src")
            .join(format!("linux-headers-{}", self.release))
    }

    /// Fills the cache entry; `packages` are those that the headers depend on, with `compiler`
    /// among them.
    fn make(
        &self,
        apt: &Apt,
        version: &str,
        packages: &[String],
        compiler: &str,
        keep_source: bool,
    ) -> Result<()> {
        let log = self.folder.join("log");
        let release = &self.release;
        eprintln!("preparing headers, source and image of Linux {release}");
        let source = format!("linux-source-{}", series(release));
        let with_version = |name: &String| format!("{name}={version}");
        let mut wanted = vec![format!("linux-headers-{release}"), source.clone()];
        wanted.extend(
            packages
                .iter()
                .filter(|name| is_for_building(name))
                .map(|name| match self.architecture.is_foreign() {
                    // Its programs run on this machine.
                    true if name.starts_with(KBUILD) => format!("{name}:{}", HOST.debian),
                    _ => name.clone(),
                }),
        );
        std::fs::create_dir(self.packages())?;
        let wanted: Vec<String> = wanted.iter().map(with_version).collect();
        apt.unpack(&wanted, &self.packages(), &log)?;

        let image = self.folder.join("image");
        std::fs::create_dir(&image)?;
        let wanted = ["binary", "modules"].map(|part| format!("linux-{part}-{release}={version}"));
        apt.unpack(&wanted, &image, &log)?;
        ensure!(
            self.image().exists(),
            "the packages of Linux {release} brought no image"
        );

        let archive = self.packages().join(format!("usr/src/{source}.tar.xz"));
        let mut unpacked = archive.clone();
        if keep_source {
            unpacked = self.source();
            std::fs::create_dir(&unpacked)?;
            sys::run_logged(
                sys::as_root("tar")
                    .args(["--strip-components=1", "-C"])
                    .arg(&unpacked)
                    .arg("-xf")
                    .arg(&archive),
                &log,
            )?;
        }
        eprintln!("building the metadata of the Rust crates of Linux {release}");
        let scripts = project::root().join("dkms");
        let root = self.root()?.with([(scripts.clone(), scripts.clone())]);
        sys::run_logged(
            root.command("env")
                .args(self.variables(compiler))
                .arg(scripts.join("kernel-tree.sh"))
                .arg(Path::new("/usr/src").join(format!("linux-headers-{release}")))
                .arg(&unpacked)
                .arg(self.folder.join("tree")),
            &log,
        )?;
        let text = std::fs::read_to_string(&log)?;
        for line in text.lines().filter(|line| line.ends_with("stock kernel")) {
            eprintln!("  {line}");
        }
        sys::run(sys::as_root("rm").arg(&archive))
    }
}

/// The root with compilers for the kernels of a distribution, and for an architecture's
/// programs if it is not this machine's.
fn build_root(apt: &Apt, compiler: &str) -> Result<PathBuf> {
    let architecture = apt.architecture();
    let suite = apt.distribution().suite;
    let cross_compiler = format!("{compiler}-{}", architecture.gnu);
    let mut packages = vec![compiler];
    packages.extend(PACKAGES);
    if !architecture.is_foreign() {
        let mut inputs = vec![ROOT_RECIPE.to_owned(), suite.to_owned()];
        inputs.extend(apt.versions(&packages)?);
        return cache::entry("build-root", &inputs, |folder| {
            eprintln!("preparing a build root of {suite}");
            make_root(apt, folder, &packages)
        });
    }
    let host = Apt::of(apt.distribution(), false)?;
    packages.push(&cross_compiler);
    packages.extend(architecture.packages);
    // Rust's standard library is the one package of that architecture.
    let library = apt.versions(&[RUST_LIBRARY])?;
    let name = format!("{suite} for {}", architecture.debian);
    let mut inputs = vec![ROOT_RECIPE.to_owned(), name.clone()];
    inputs.extend(host.versions(&packages)?);
    inputs.extend(library.iter().cloned());
    cache::entry("build-root", &inputs, |folder| {
        eprintln!("preparing a build root of {name}");
        make_root(&host, folder, &packages)?;
        apt.unpack(&library, &folder.join("root"), &folder.join("log"))
    })
}

fn make_root(apt: &Apt, folder: &Path, packages: &[&str]) -> Result<()> {
    let packages: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
    Root::create(apt, folder.join("root"), &packages, &folder.join("log"))?;
    Ok(())
}

/// The package of the C compiler among those that headers depend on: `gcc-14` or,
/// newer, `gcc-14-for-host`.
fn compiler(packages: &[String]) -> Option<String> {
    packages
        .iter()
        .map(|name| name.trim_end_matches("-for-host"))
        .find(|name| {
            name.strip_prefix("gcc-")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        })
        .map(str::to_owned)
}

/// Whether a package that headers depend on is a part of them.
fn is_for_building(package: &str) -> bool {
    package.starts_with("linux-headers-") || package.starts_with(KBUILD)
}

/// The text that an option has in a configuration.
fn configured<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix("=\"")?
            .strip_suffix('"')
    })
}

/// The versions of rustc and of the C compiler in a configuration.
fn compilers(config: &str, architecture: &Architecture) -> Option<(String, String)> {
    let rustc = configured(config, "CONFIG_RUSTC_VERSION_TEXT")?;
    let rustc = rustc.strip_prefix("rustc ")?.split(' ').next()?;
    let c = configured(config, "CONFIG_CC_VERSION_TEXT")?;
    let name = c.split(' ').next()?;
    let name = name
        .trim_start_matches(architecture.gnu)
        .trim_start_matches('-');
    let version = c.rsplit(' ').next()?;
    Some((rustc.to_owned(), format!("{name} {version}")))
}

/// `7.3` of `7.3.4+deb13-cloud-amd64`.
pub(crate) fn series(release: &str) -> String {
    release
        .split(['.', '+', '-', '~'])
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Output};

    use super::{compiler, compilers, is_for_building, series};
    use crate::architecture::{AMD64, ARM64};

    /// The crates whose exports are compared.
    const EXPORTING_CRATES: [&str; 4] = ["core", "bindings", "kernel", "helpers"];

    fn kernel_tree(arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dkms/kernel-tree.sh");
        Command::new(script)
            .args(arguments)
            .output()
            .expect("the script starts")
    }

    fn path(path: &Path) -> &str {
        path.to_str().expect("UTF-8")
    }

    #[test]
    fn series_are_compared_as_numbers() {
        let kernel = |release: &str| super::Kernel {
            folder: "/".into(),
            release: release.to_owned(),
            architecture: &AMD64,
            build_root: "/".into(),
        };
        assert!(kernel("6.12.117+deb13-cloud-amd64-rust").is_before(6, 13));
        assert!(kernel("6.9.1").is_before(6, 12));
        assert!(!kernel("7.2.12+deb13-cloud-amd64").is_before(7, 2));
        assert!(!kernel("7.10-cloud-amd64").is_before(7, 2));
    }

    #[test]
    fn series_are_taken_from_the_release() {
        assert_eq!(series("7.3.4+deb13-cloud-amd64"), "7.3");
        assert_eq!(series("7.4+deb13-cloud-amd64"), "7.4");
        assert_eq!(series("7.3-cloud-amd64"), "7.3");
    }

    #[test]
    fn packages_are_taken_from_dependencies() {
        let old = ["linux-base", "linux-kbuild-6.12.1", "gcc-14"].map(str::to_owned);
        assert_eq!(compiler(&old).as_deref(), Some("gcc-14"));
        let new = ["gcc-16-for-host", "linux-headers-7.2.12-common"].map(str::to_owned);
        assert_eq!(compiler(&new).as_deref(), Some("gcc-16"));
        assert_eq!(compiler(&["gcc-for-host".to_owned()]), None);
        let parts: Vec<&str> = old
            .iter()
            .chain(&new)
            .map(String::as_str)
            .filter(|name| is_for_building(name))
            .collect();
        assert_eq!(
            parts,
            ["linux-kbuild-6.12.1", "linux-headers-7.2.12-common"]
        );
    }

    #[test]
    fn compilers_are_taken_from_the_configuration() {
        let config = "CONFIG_CC_VERSION_TEXT=\"x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0\"\n\
            CONFIG_RUSTC_VERSION_TEXT=\"rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)\"\n";
        let expected = ("1.85.1".to_owned(), "gcc-14 14.2.0".to_owned());
        assert_eq!(compilers(config, &AMD64), Some(expected.clone()));
        let config = config.replace("x86_64-linux-gnu-", "aarch64-linux-gnu-");
        assert_eq!(compilers(&config, &ARM64), Some(expected));
        assert_eq!(compilers("CONFIG_X=y\n", &AMD64), None);
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
        let compare = || {
            let arguments = ["--compare-symbols", path(folder.path()), path(&symvers)];
            let output = kernel_tree(&arguments);
            (output.status.success(), output.stderr)
        };
        std::fs::write(&symvers, all).expect("write");
        assert!(compare().0, "all are there");
        std::fs::write(&symvers, line("core") + &line("kernel")).expect("write");
        let (good, errors) = compare();
        let errors = String::from_utf8_lossy(&errors).into_owned();
        assert!(!good && errors.contains("_Rbindings"), "{errors}");
    }

    #[test]
    fn another_configuration_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let (stock, new) = (folder.path().join("stock"), folder.path().join("new"));
        let config = |revision: &str, rust: &str| {
            format!(
                "CONFIG_CC_VERSION_TEXT=\"gcc-16 (Debian 16.2.0-{revision}) 16.2.0\"\n\
                 CONFIG_GCC_VERSION=160200\nCONFIG_AS_VERSION=2470{revision}\n\
                 CONFIG_RUSTC_VERSION={rust}\n"
            )
        };
        let compare = |other: String| {
            std::fs::write(&stock, config("3", "109701")).expect("write");
            std::fs::write(&new, other).expect("write");
            kernel_tree(&["--compare-configurations", path(&stock), path(&new)])
                .status
                .success()
        };
        assert!(compare(config("4", "109701")), "other revisions");
        assert!(!compare(config("3", "109801")), "another rustc");
    }
}
