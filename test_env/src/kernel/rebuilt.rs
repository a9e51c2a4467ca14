// SPDX-License-Identifier: GPL-2.0-only
//! Kernels that Debian builds without Rust, built again with it: from the source package,
//! with Debian's configuration less what guests do not need (../../kernels). What comes
//! out has the same places as a stock kernel's entry in the cache.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use super::{build_root, compiler, Kernel};
use crate::apt::{Apt, Choice};
use crate::chroot::Root;
use crate::{cache, sys, uml};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "rebuilt kernel 1";

/// What is changed in Debian's configuration of a series.
const CONFIGURATIONS: &[(&str, &str)] = &[("6.12", include_str!("../../kernels/6.12.config"))];

/// Makes the configuration. Arguments: Debian's, what is put over it, the new file.
const CONFIGURE: &str = "\
sed 's/^\\(CONFIG_[A-Za-z0-9_]*\\)=m$/# \\1 is not set/' \"$1\" > \"$3\"
printf '%s' \"$2\" >> \"$3\"
";

/// Leaves of the source and the objects what modules are built with. Arguments: the two.
const PRUNE: &str = "\
cd \"$1\"
for name in *; do
  case $name in arch | include | rust | scripts | tools | Makefile | Kbuild) ;; *) rm -rf \"$name\" ;; esac
done
find arch -mindepth 1 -maxdepth 1 -not -name x86 -exec rm -rf {} +
cd \"$2\"
rm -f vmlinux* .tmp_vmlinux* arch/x86/boot/bzImage
find . -type f -not -path './scripts/*' \\( -name '*.o' -o -name '*.a' -o -name '.*.cmd' -o -name '*.ko' \\) -delete
";

/// The newest kernel of `series` in the lists, rebuilt if it is not in the cache.
pub(super) fn of(apt: &Apt, series: &'static str) -> Result<Kernel> {
    let (stock, version) = apt.kernel(Choice::Rebuilt(series))?;
    let wanted = CONFIGURATIONS.iter().find(|(name, _)| *name == series);
    let Some((_, changes)) = wanted else {
        bail!("there is no configuration for Linux {series}");
    };
    let packages = apt.dependencies(&format!("linux-headers-{stock}"))?;
    let compiler = compiler(&packages)
        .with_context(|| format!("the headers of Linux {stock} name no compiler"))?;
    let build_root = build_root(apt, &compiler)?;
    let release = format!("{stock}-rust");
    let changes = format!(
        "{changes}CONFIG_LOCALVERSION=\"{}\"\nCONFIG_LOCALVERSION_AUTO=n\n",
        local_version(&release)
    );
    let inputs = [
        RECIPE.to_owned(),
        format!("linux {release} {version}"),
        CONFIGURE.to_owned() + PRUNE,
        changes.clone(),
        build_root.display().to_string(),
    ];
    let folder = cache::entry("kernel-rebuilt", &inputs, |folder| {
        eprintln!("building Linux {release} (fifteen minutes of two processors)");
        let archives = folder.join("packages");
        std::fs::create_dir(&archives)?;
        let source = format!("linux-source-{series}");
        let wanted = [source.clone(), format!("linux-headers-{stock}")];
        let wanted = wanted.map(|name| format!("{name}={version}"));
        apt.unpack(&wanted, &archives, &folder.join("log"))?;
        let archives = archives.join("usr/src");
        let recipe = Recipe {
            root: Root::at(build_root.join("root")),
            folder,
            release: &release,
            compiler: &compiler,
        };
        recipe.configure(
            &archives.join(format!("{source}.tar.xz")),
            &archives.join(format!("linux-headers-{stock}/.config")),
            &changes,
        )?;
        recipe.build()
    })?;
    Ok(Kernel {
        folder,
        release,
        architecture: apt.architecture(),
        build_root,
    })
}

/// What the steps of a build have in common.
struct Recipe<'a> {
    root: Root,
    folder: &'a Path,
    release: &'a str,
    compiler: &'a str,
}

impl Recipe<'_> {
    fn log(&self) -> std::path::PathBuf {
        self.folder.join("log")
    }

    /// `make` in `place`, in the root.
    fn make(&self, place: &Path, arguments: &[&str]) -> Result<()> {
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let here = (self.folder.to_owned(), self.folder.to_owned());
        let root = Root::at(self.root.path().to_owned()).with([here]);
        let mut command = root.command("make");
        command
            .arg("-C")
            .arg(place)
            .arg(format!("-j{jobs}"))
            .arg(format!("CC=x86_64-linux-gnu-{}", self.compiler))
            .arg(format!("HOSTCC={}", self.compiler))
            .args(arguments);
        sys::run_logged(&mut command, &self.log())
    }

    /// Unpacks the source and configures it for objects in `tree`.
    fn configure(&self, archive: &Path, stock: &Path, changes: &str) -> Result<()> {
        let (source, tree) = (self.folder.join("source"), self.folder.join("tree"));
        std::fs::create_dir(&source)?;
        std::fs::create_dir(&tree)?;
        let mut unpack = sys::as_root("tar");
        unpack.args(["--strip-components=1", "-C"]).arg(&source);
        sys::run_logged(unpack.arg("-xf").arg(archive), &self.log())?;
        let config = tree.join(".config");
        sys::run_logged(
            Command::new("sh")
                .args(["-euc", CONFIGURE, "configure"])
                .args([stock.as_os_str(), changes.as_ref(), config.as_os_str()]),
            &self.log(),
        )?;
        self.make(&source, &[&format!("O={}", tree.display()), "olddefconfig"])?;
        let found = std::fs::read_to_string(&config)?;
        let differing = uml::differing(changes, &found);
        ensure!(
            differing.is_empty(),
            "the configuration cannot be had: {}",
            differing.join(", ")
        );
        sys::run(
            sys::as_root("rm")
                .arg("-r")
                .arg(self.folder.join("packages")),
        )
    }

    /// Builds what was configured, puts image and modules into their place, and removes what is needed
    /// no more.
    fn build(&self) -> Result<()> {
        let (source, tree) = (self.folder.join("source"), self.folder.join("tree"));
        self.make(&tree, &["bzImage", "modules"])?;
        let install = self.folder.join("image/usr");
        std::fs::create_dir_all(&install)?;
        let path = format!("INSTALL_MOD_PATH={}", install.display());
        self.make(&tree, &[&path, "modules_install"])?;
        let modules = install.join("lib/modules").join(self.release);
        ensure!(
            modules.is_dir(),
            "what was built is not Linux {}",
            self.release
        );
        let image = tree.join("arch/x86/boot/bzImage");
        sys::run(sys::as_root("cp").arg(image).arg(modules.join("vmlinuz")))?;
        sys::run(sys::as_root("rm").arg("-f").arg(modules.join("build")))?;
        sys::run_logged(
            sys::as_root("sh")
                .args(["-euc", PRUNE, "prune"])
                .args([source, tree]),
            &self.log(),
        )
    }
}

/// What follows the version's three numbers in a release.
fn local_version(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    end.and_then(|end| release.get(end..)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{local_version, CONFIGURATIONS};

    #[test]
    fn the_release_is_version_and_local_version() {
        assert_eq!(
            local_version("6.12.117+deb13-cloud-amd64-rust"),
            "+deb13-cloud-amd64-rust"
        );
        assert_eq!(local_version("6.12.1"), "");
    }

    #[test]
    fn configurations_name_nothing_twice() {
        for (series, text) in CONFIGURATIONS {
            let mut names: Vec<&str> = text
                .lines()
                .filter_map(|line| Some(line.split_once('=')?.0))
                .collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{series}");
            assert!(text.contains("CONFIG_RUST=y\nCONFIG_MODVERSIONS=n\n"));
        }
    }
}
