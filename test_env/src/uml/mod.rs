// SPDX-License-Identifier: GPL-2.0-only
//! User Mode Linux: the kernel of the stock package's source as an ordinary
//! program, which runs kernel code at the speed of the machine. One flavour has
//! what finds mistakes compiled in, one has nothing but speed. Builds kernels
//! and modules for them; guests are started by `guest`.
//!
//! The source and the compilers are those of the stock kernel's build root, whose
//! C library the program needs too: it runs inside that root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::chroot::Root;
use crate::guest::machine::ENDS_WITH_PARENT;
use crate::kernel::Kernel;
use crate::{cache, project, sys};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "user mode 1";

/// What all flavours have.
const COMMON: &str = include_str!("../../debug/common.config");

/// With the large code model LLVM puts data into sections of its own (`.lbss` and the
/// like), which the architecture's linker script does not know: they would lie behind what
/// the kernel takes for its end. Above all, lockdep would not know static locks for such,
/// and report a false defect before the first message of the boot, which turns it off. What
/// is compiled with another model (the vdso) must not complain.
const C_FLAGS: &str = "KCFLAGS=-mlarge-data-threshold=4294967295 -Wno-unused-command-line-argument";

/// The architecture's unwinder. For each word of the stack it asks whether that is an address
/// of code, which for all that is none means to look through the modules, under a lock that
/// lockdep follows; and it is asked at every allocation. For the traces that are kept, only
/// return addresses of frames count, so that no other word has to be asked about: the kernel
/// with all checks is several times as fast.
const UNWINDER: &str = "arch/um/kernel/stacktrace.c";
/// What replaces what in it. `dump_ops` are for traces that are kept.
const UNWINDER_CHANGES: [(&str, &str); 2] = [
    (
        "void dump_trace(struct task_struct *tsk,",
        "static const struct stacktrace_ops dump_ops;\n\nvoid dump_trace(struct task_struct *tsk,",
    ),
    (
        "\t\tif (__kernel_text_address(addr)) {",
        "\t\tif ((ops != &dump_ops || (unsigned long)sp == bp + sizeof(long)) &&\n\
         \t\t    __kernel_text_address(addr)) {",
    ),
];

/// What a kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Flavour {
    /// Finding mistakes: KASAN, lockdep, kmemleak, UBSAN, fault injection.
    Debug,
    /// Measuring: no checks, and the file systems to compare with.
    Bench,
    /// The suites of others: what they ask for, lockdep, and nothing that slows memory down.
    Suites,
}

impl Flavour {
    /// A name for folders and people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Bench => "bench",
            Self::Suites => "suites",
        }
    }

    /// Its configuration, over the architecture's default one.
    fn configuration(self) -> String {
        let own = match self {
            Self::Debug => include_str!("../../debug/debug.config"),
            Self::Bench => include_str!("../../debug/bench.config"),
            Self::Suites => include_str!("../../debug/suites.config"),
        };
        format!("{COMMON}{own}")
    }
}

/// A User Mode Linux kernel, with what is needed to build modules for it.
pub struct Uml {
    folder: PathBuf,
    root: Root,
    flavour: Flavour,
}

impl Uml {
    /// The kernel of this flavour from the source of `stock`, built if it is not in
    /// the cache.
    ///
    /// # Errors
    /// A step of the build fails, or the configuration cannot be had.
    pub fn prepare(stock: &Kernel, flavour: Flavour) -> Result<Self> {
        let root = stock.root()?;
        let source = stock.source();
        let mut inputs = vec![
            RECIPE.to_owned(),
            root.path().display().to_string(),
            source.display().to_string(),
            flavour.configuration(),
        ];
        if flavour == Flavour::Debug {
            inputs.push(format!("{UNWINDER_CHANGES:?}"));
        }
        let kind = format!("uml-{}", flavour.name());
        let folder = cache::entry(&kind, &inputs, |folder| {
            eprintln!("building the {} kernel (about ten minutes)", flavour.name());
            make(&root, &source, flavour, folder)
        })?;
        Ok(Self {
            folder,
            root,
            flavour,
        })
    }

    /// What it is for.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The program.
    pub fn image(&self) -> PathBuf {
        objects(&self.folder).join("linux")
    }

    /// A command that becomes the kernel once it has entered the root; its arguments
    /// are the kernel's. The folders are visible to the kernel at their own paths.
    pub fn boot(&self, folders: &[&Path]) -> Command {
        let shared_memory = Path::new("/dev/shm");
        let image = self.image();
        let mut binds = vec![shared_memory, self.folder.as_path()];
        binds.extend(folders);
        let [ends, with_parent @ ..] = ENDS_WITH_PARENT;
        let mut command = self.root.command_as_user(&binds, ends);
        command
            .args(with_parent)
            // The guest's memory is a file there.
            .args(["env", "TMPDIR=/dev/shm"])
            .arg(&image);
        command
    }

    /// Builds `vexfs.ko` for this kernel; returns its path.
    ///
    /// # Errors
    /// The build fails.
    pub fn build_module(&self) -> Result<PathBuf> {
        self.build_external(&project::root().join("fs"), "vexfs")
    }

    /// Builds the external module `name` of the folder `source`, which lies in the
    /// checkout; returns its path.
    ///
    /// # Errors
    /// The build fails.
    pub fn build_external(&self, source: &Path, name: &str) -> Result<PathBuf> {
        // Paths in the objects' dependencies are relative to the kernel's folder: another
        // kernel would not make them stale.
        let kernel = self.folder.file_name().unwrap_or_default();
        let objects = project::build_folder(&format!("{}/{name}", kernel.to_string_lossy()))?;
        let _lock = cache::lock_file(&objects.join("lock"))?;
        let checkout = project::root();
        let mut command = make_command(
            &self.root,
            &[&checkout, &objects, &self.folder],
            &self::objects(&self.folder),
        );
        command
            .arg(format!("M={}", source.display()))
            .arg(format!("MO={}", objects.display()))
            .args(["--no-print-directory", "modules"]);
        sys::run(&mut command)?;
        Ok(objects.join(format!("{name}.ko")))
    }
}

fn objects(folder: &Path) -> PathBuf {
    folder.join("objects")
}

/// `make` for the kernel in the root, in the folder `at`.
fn make_command(root: &Root, binds: &[&Path], at: &Path) -> Command {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = root.command_as_user(binds, "env");
    command
        .arg("RUSTC_BOOTSTRAP=1")
        .arg("make")
        // Rust and KASAN go together only where C is compiled by LLVM, too.
        .args(["ARCH=um", "LLVM=1", C_FLAGS])
        .arg(format!("-j{jobs}"))
        .arg("-C")
        .arg(at);
    command
}

/// Fills a cache entry.
fn make(root: &Root, source: &Path, flavour: Flavour, folder: &Path) -> Result<()> {
    let log = folder.join("log");
    let objects = objects(folder);
    std::fs::create_dir(&objects)?;
    let build = |target: &str| {
        let mut command = make_command(root, &[folder], source);
        command.arg(format!("O={}", objects.display())).arg(target);
        sys::run_logged(&mut command, &log)
    };
    if flavour == Flavour::Debug {
        let text = std::fs::read_to_string(source.join(UNWINDER)).context(UNWINDER)?;
        // What lies among the objects comes before the source of the same name.
        let place = objects.join(UNWINDER);
        std::fs::create_dir_all(place.parent().context("a file without a folder")?)?;
        std::fs::write(&place, changed(&text, &UNWINDER_CHANGES)?)?;
    }
    build("defconfig")?;
    let config = objects.join(".config");
    let wanted = flavour.configuration();
    let base = std::fs::read_to_string(&config)?;
    std::fs::write(&config, base + &wanted)?;
    build("olddefconfig")?;
    let found = std::fs::read_to_string(&config)?;
    let differing = differing(&wanted, &found);
    ensure!(
        differing.is_empty(),
        "the configuration cannot be had: {}",
        differing.join(", ")
    );
    build("linux")?;
    build("modules")?;
    // What modules are built with stays; what the kernel was linked from goes.
    sys::run_logged(
        Command::new("find")
            .arg(&objects)
            .args(["-type", "f", "-not", "-path", "*/scripts/*", "("])
            .args([
                "-name", "*.o", "-o", "-name", "*.a", "-o", "-name", ".*.cmd",
            ])
            .args(["-o", "-name", "vmlinux*", "-o", "-name", ".tmp_vmlinux*"])
            .args([")", "-delete"]),
        &log,
    )
    .context("cannot remove the objects")
}

/// A text with replacements, each of which has one place in it.
fn changed(text: &str, changes: &[(&str, &str)]) -> Result<String> {
    let mut text = text.to_owned();
    for (old, new) in changes {
        ensure!(
            text.matches(old).count() == 1,
            "the source has changed, there is no one place for `{old}`"
        );
        text = text.replace(old, new);
    }
    Ok(text)
}

/// The lines of a wanted configuration that the found one does not have.
pub(crate) fn differing(wanted: &str, found: &str) -> Vec<String> {
    let value = |name: &str| {
        found
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or("n")
    };
    wanted
        .lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter_map(|line| line.split_once('='))
        .filter(|(name, wish)| value(name) != *wish)
        .map(|(name, wish)| format!("{name} is {}, not {wish}", value(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{changed, differing, Flavour};

    #[test]
    fn a_source_that_has_changed_is_noticed() {
        assert_eq!(changed("a b c", &[("b", "x y")]).expect("one"), "a x y c");
        assert!(changed("a b b", &[("b", "x")]).is_err());
        assert!(changed("a c", &[("b", "x")]).is_err());
    }

    #[test]
    fn a_configuration_that_was_not_granted_is_noticed() {
        let found = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=m\nCONFIG_N=12\n";
        assert!(differing("# why\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_N=12\n", found).is_empty());
        assert_eq!(
            differing("CONFIG_AB=y\nCONFIG_B=y\nCONFIG_N=1\n", found),
            [
                "CONFIG_AB is m, not y",
                "CONFIG_B is n, not y",
                "CONFIG_N is 12, not 1"
            ]
        );
    }

    #[test]
    fn no_flavour_asks_for_the_same_twice() {
        for flavour in [Flavour::Debug, Flavour::Bench, Flavour::Suites] {
            let text = flavour.configuration();
            let mut names: Vec<&str> = text
                .lines()
                .filter_map(|line| Some(line.split_once('=')?.0))
                .collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{}", flavour.name());
        }
    }
}
