// SPDX-License-Identifier: GPL-2.0-only
//! Debian's package lists, in an apt configuration of our own beside the host's:
//! which versions exist now, and the packages themselves. Installs nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::{cache, project, sys};

/// The suite that build root and guests are made of.
pub const SUITE: &str = "trixie";
/// The suite that the kernel comes from.
pub const KERNEL_SUITE: &str = "trixie-backports";

const ARCHITECTURE: &str = "amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old the lists may be before they are fetched again.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// Debian's package lists.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// Opens the lists, fetched anew when they are older than a day or when
    /// `refresh` asks for it. Without network, lists that exist are used.
    ///
    /// # Errors
    /// There are no lists yet and they cannot be fetched.
    pub fn open(refresh: bool) -> Result<Self> {
        let _lock = cache::lock("apt")?;
        let folder = project::cache()?.join("apt");
        for name in ["state/lists/partial", "cache/archives/partial", "etc"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let apt = Self { folder };
        std::fs::write(apt.folder.join("state/status"), "")?;
        let sources = sources();
        // Other sources, other lists: the stamp is named in the sources file.
        let stamp = apt.folder.join("fetched");
        let known = std::fs::read_to_string(apt.sources_file()).unwrap_or_default();
        let age = std::fs::metadata(&stamp)
            .ok()
            .and_then(|data| data.modified().ok())
            .and_then(|time| time.elapsed().ok());
        let fresh = known == sources && age.is_some_and(|age| age < LISTS_LAST);
        if fresh && !refresh {
            return Ok(apt);
        }
        std::fs::write(apt.sources_file(), &sources)?;
        let log = apt.folder.join("update.log");
        let mut update = apt.command("apt-get");
        update.args(["--quiet", "--error-on=any", "update"]);
        match sys::run_logged(&mut update, &log) {
            Ok(()) => {
                File::create(&stamp)?;
            }
            Err(error) if known == sources && stamp.exists() => {
                eprintln!("package lists could not be renewed, using those of before: {error:#}");
            }
            Err(error) => return Err(error).context("cannot fetch Debian's package lists"),
        }
        Ok(apt)
    }

    /// The lines of the sources list, as a file.
    pub fn sources_file(&self) -> PathBuf {
        self.folder.join("etc/sources.list")
    }

    /// The candidate versions of packages, as `name=version`.
    ///
    /// # Errors
    /// A package does not exist.
    pub fn versions(&self, packages: &[&str]) -> Result<Vec<String>> {
        let text = sys::output(
            self.command("apt-cache")
                .args(["show", "--no-all-versions"])
                .args(packages),
        )?;
        let mut versions = Vec::new();
        let mut name = "";
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("Package: ") {
                name = value;
            } else if let Some(value) = line.strip_prefix("Version: ") {
                versions.push(format!("{name}={value}"));
            }
        }
        for package in packages {
            if !versions
                .iter()
                .any(|v| v.split_once('=').is_some_and(|(name, _)| name == *package))
            {
                bail!("Debian {SUITE} has no package {package}");
            }
        }
        Ok(versions)
    }

    /// The newest kernel of the cloud flavour in [`KERNEL_SUITE`]: its release
    /// (what `uname -r` prints) and the version of its packages.
    ///
    /// # Errors
    /// The package lists do not have it.
    pub fn newest_kernel(&self) -> Result<(String, String)> {
        let meta = format!("linux-image-cloud-{ARCHITECTURE}");
        let text = sys::output(
            self.command("apt-cache")
                .args(["show", &format!("{meta}/{KERNEL_SUITE}")]),
        )?;
        // The newest comes first; its paragraph ends with an empty line.
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        let version = field("Version: ").with_context(|| format!("{meta} has no version"))?;
        let release = field("Depends: ")
            .unwrap_or_default()
            .split(", ")
            .filter_map(|dependency| dependency.split(' ').next())
            .find_map(|name| {
                name.strip_prefix("linux-image-")
                    .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            })
            .with_context(|| format!("{meta} {version} depends on no image"))?;
        Ok((release.to_owned(), version.to_owned()))
    }

    /// Downloads packages (`name=version`) and unpacks their files into `folder`.
    ///
    /// # Errors
    /// A package cannot be had, or does not unpack.
    pub fn unpack(&self, packages: &[String], folder: &Path, log: &Path) -> Result<()> {
        let archives = tempfile::tempdir_in(&self.folder)?;
        let mut download = self.command("apt-get");
        download
            .args(["--quiet", "download"])
            .args(packages)
            .current_dir(archives.path());
        sys::run_logged(&mut download, log)?;
        for entry in std::fs::read_dir(archives.path())? {
            sys::run_logged(
                sys::as_root("dpkg-deb")
                    .arg("--extract")
                    .arg(entry?.path())
                    .arg(folder),
                log,
            )?;
        }
        Ok(())
    }

    /// apt with our lists. Everything else (proxies, checks of dates) stays as the
    /// host's administrator configured it.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let folder = self.folder.display();
        for option in [
            format!("APT::Architecture={ARCHITECTURE}"),
            format!("APT::Architectures={ARCHITECTURE}"),
            "APT::Sandbox::User=root".to_owned(),
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={folder}/state/status"),
            format!("Dir::Cache={folder}/cache"),
            format!("Dir::Etc::sourcelist={folder}/etc/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// The sources list: `$VEXFS_DEBIAN_MIRROR`, or Debian's own address.
fn sources() -> String {
    let mirror = std::env::var("VEXFS_DEBIAN_MIRROR")
        .unwrap_or_else(|_| "http://deb.debian.org/debian".to_owned());
    let security = std::env::var("VEXFS_DEBIAN_SECURITY_MIRROR")
        .unwrap_or_else(|_| "http://deb.debian.org/debian-security".to_owned());
    let options = format!("[arch={ARCHITECTURE} signed-by={KEYRING}]");
    format!(
        "deb {options} {mirror} {SUITE} main\n\
         deb {options} {mirror} {SUITE}-updates main\n\
         deb {options} {security} {SUITE}-security main\n\
         deb {options} {mirror} {KERNEL_SUITE} main\n"
    )
}
