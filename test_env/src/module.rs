// SPDX-License-Identifier: GPL-2.0-only
//! The kernel module: build, lint, and the list of its panic paths. Kbuild does
//! the work (fs/Kbuild); this only calls it in the kernel's build root.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::kernel::Kernel;
use crate::{cache, project, sys, vendor};

/// Builds the module; returns `build/vexfs.ko`, which has no debug information.
/// The one in the folder of objects beside it has.
///
/// # Errors
/// The build fails.
pub fn build(kernel: &Kernel) -> Result<PathBuf> {
    let module = project::build()?.join("vexfs.ko");
    build_to(kernel, &module)?;
    Ok(module)
}

/// [`build`] with another place for the module.
///
/// # Errors
/// The build fails.
pub fn build_to(kernel: &Kernel, module: &Path) -> Result<()> {
    let objects = project::build_folder(&format!("fs/{}", kernel.release()))?;
    let _lock = cache::lock_file(&objects.join("lock"))?;
    make(kernel, &objects, &[])?;
    let folder = module.parent().context("the module has no folder")?;
    let strip = format!("{}-strip", kernel.architecture().gnu);
    sys::run(
        kernel
            .root()?
            .command_as_user(&[&objects, folder], &strip)
            .args(["--strip-debug", "-o"])
            .arg(module)
            .arg(objects.join("vexfs.ko")),
    )
}

/// Lints the module's Rust code; a warning is an error.
///
/// # Errors
/// Clippy or the compiler found something.
pub fn clippy(kernel: &Kernel) -> Result<()> {
    let objects = project::build_folder(&format!("fs-clippy/{}", kernel.release()))?;
    let _lock = cache::lock_file(&objects.join("lock"))?;
    make(kernel, &objects, &["CLIPPY=1", "KRUSTFLAGS=-Dwarnings"])
}

fn make(kernel: &Kernel, objects: &Path, variables: &[&str]) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let root = project::root();
    // Kbuild keeps objects apart from sources since 6.13.
    let apart = !kernel.is_before(6, 13);
    let source = match apart {
        true => root.join("fs"),
        false => copy_of_sources(&root, objects)?,
    };
    // What the kernel has of zerocopy came with 7.2.
    let vendor = match kernel.is_before(7, 2) {
        true => Some(vendor::prepare()?),
        false => None,
    };
    let binds: Vec<&Path> = [root.as_path(), objects]
        .into_iter()
        .chain(vendor.as_deref())
        .collect();
    let mut command = kernel.make_module(&binds, &source, objects)?;
    if let Some(folder) = &vendor {
        command.arg(format!("VENDOR={}", folder.display()));
    }
    command
        .arg(format!("-j{jobs}"))
        .args(["--no-print-directory", "modules"])
        .args(variables);
    sys::run(&mut command)?;
    if !apart {
        std::fs::copy(source.join("vexfs.ko"), objects.join("vexfs.ko"))?;
    }
    Ok(())
}

/// A copy of what the module is built from, beside its objects; returns that of fs/.
fn copy_of_sources(root: &Path, objects: &Path) -> Result<PathBuf> {
    let folder = objects.join("sources");
    std::fs::create_dir_all(&folder)?;
    sys::run(
        Command::new("cp")
            .args(["-r", "--update", "--preserve=timestamps"])
            .args(["fs", "layout", "engine", "uapi", "vector"].map(|name| root.join(name)))
            .arg(&folder),
    )?;
    Ok(folder.join("fs"))
}

/// A place from which a panic can be reached.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct PanicPath {
    /// The panicking function of `core`, demangled.
    pub target: String,
    /// The object that refers to it.
    pub object: String,
    /// The function that refers to it, demangled.
    pub caller: String,
}

/// The panicking symbols that the module refers to, and from where.
///
/// # Errors
/// The module was not built, or binutils fail.
pub fn panics(kernel: &Kernel) -> Result<(BTreeSet<String>, Vec<PanicPath>)> {
    let objects = project::build_folder(&format!("fs/{}", kernel.release()))?;
    let module = objects.join("vexfs.ko");
    ensure!(
        module.exists(),
        "{} is not there: `make module` first",
        module.display()
    );
    let undefined = sys::output(Command::new("nm").arg("-u").arg(&module))?;
    let symbols: BTreeSet<String> = undefined
        .lines()
        .filter_map(|line| line.split_whitespace().last())
        .filter(|symbol| is_panicking(symbol))
        .map(str::to_owned)
        .collect();
    let mut paths = BTreeSet::new();
    for entry in std::fs::read_dir(&objects)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // vexfs.o is all the others linked together.
        if !name.ends_with(".o")
            || name.ends_with(".mod.o")
            || name == "vexfs.o"
            || name.starts_with('.')
        {
            continue;
        }
        paths.extend(references(&path, &name)?);
    }
    Ok((symbols, paths.into_iter().collect()))
}

/// The references of one object to panicking symbols.
fn references(object: &Path, name: &str) -> Result<Vec<PanicPath>> {
    let text = sys::output(
        Command::new("objdump")
            .args(["--disassemble", "--reloc", "--no-show-raw-insn"])
            .arg(object),
    )?;
    let mut demangled: BTreeMap<String, String> = BTreeMap::new();
    let mut caller = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once(" <").filter(|_| line.ends_with(">:")) {
            caller = rest.trim_end_matches(">:");
        } else if let Some((_, rest)) = line.split_once("R_X86_64_") {
            let symbol = rest.split_whitespace().last().unwrap_or_default();
            let symbol = symbol.split(['-', '+']).next().unwrap_or_default();
            if is_panicking(symbol) {
                found.push((symbol.to_owned(), caller.to_owned()));
            }
        }
    }
    for mangled in found.iter().flat_map(|(symbol, caller)| [symbol, caller]) {
        if let Entry::Vacant(entry) = demangled.entry(mangled.clone()) {
            let shown = sys::output(Command::new("c++filt").arg(mangled))?;
            entry.insert(shown.trim().to_owned());
        }
    }
    let show = |mangled: &String| demangled.get(mangled).unwrap_or(mangled).clone();
    Ok(found
        .iter()
        .map(|(symbol, caller)| PanicPath {
            target: show(symbol),
            object: name.to_owned(),
            caller: show(caller),
        })
        .collect())
}

/// Whether a (v0-mangled) symbol is a function that panics.
fn is_panicking(symbol: &str) -> bool {
    // In v0 mangling an identifier is its length in decimal, then its text.
    symbol.contains("9panicking")
        || symbol == "rust_build_error"
        || symbol.starts_with("_R")
            && [
                "_fail",
                "_failed",
                "_overflow",
                "already_borrowed",
                "already_mutably_borrowed",
            ]
            .iter()
            .any(|ending| symbol.ends_with(ending))
        || symbol.contains("13unwrap_failed")
        || symbol.contains("13expect_failed")
}

/// Prints what [`panics`] finds.
///
/// # Errors
/// As [`panics`].
pub fn print_panics(kernel: &Kernel) -> Result<usize> {
    let (symbols, paths) = panics(kernel).context("cannot list the panic paths")?;
    let mut last = "";
    for path in &paths {
        if path.target != last {
            println!("{}", path.target);
            last = &path.target;
        }
        println!("    {}: {}", path.object, path.caller);
    }
    println!(
        "{} panicking symbols in vexfs.ko, {} places that refer to them",
        symbols.len(),
        paths.len()
    );
    Ok(symbols.len())
}

#[cfg(test)]
mod tests {
    use super::is_panicking;

    #[test]
    fn panicking_symbols_are_recognised() {
        for symbol in [
            "_RNvNtCs2lKf6AS60Zg_4core9panicking5panic",
            "_RNvNtCs2lKf6AS60Zg_4core9panicking18panic_bounds_check",
            "_RNvNtNtCs2lKf6AS60Zg_4core5slice5index24slice_end_index_len_fail",
            "_RNvNtCs2lKf6AS60Zg_4core6result13unwrap_failed",
            "rust_build_error",
        ] {
            assert!(is_panicking(symbol), "{symbol}");
        }
        for symbol in [
            "memset",
            "_RNvNtCsb5MLIFMWygY_6kernel5print11call_printk",
            "jbd2_journal_start",
        ] {
            assert!(!is_panicking(symbol), "{symbol}");
        }
    }
}
