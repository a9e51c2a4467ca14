// SPDX-License-Identifier: GPL-2.0-only
//! Debian's package lists, in an apt configuration of our own beside the host's:
//! which versions exist now, and the packages themselves. Installs nothing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::architecture::{Architecture, HOST};
use crate::{cache, project, sys};

/// A release of Debian, with the suites that are used together.
pub struct Distribution {
    /// The suite that roots are made of.
    pub suite: &'static str,
    /// Suites of the same archive whose packages may be asked for.
    more: &'static [&'static str],
    /// The suite of the security archive.
    security: Option<&'static str>,
    /// The folder of its lists.
    folder: &'static str,
}

/// What guests and the build root of the usual kernel are made of.
pub const TRIXIE: Distribution = Distribution {
    suite: "trixie",
    more: &["trixie-updates", "trixie-backports"],
    security: Some("trixie-security"),
    folder: "apt",
};
/// The next release.
pub const FORKY: Distribution = Distribution {
    suite: "forky",
    more: &[],
    security: None,
    folder: "apt-forky",
};
/// Where development happens.
pub const SID: Distribution = Distribution {
    suite: "sid",
    more: &["experimental"],
    security: None,
    folder: "apt-sid",
};

/// The last release that has packer.
pub const BOOKWORM: Distribution = Distribution {
    suite: "bookworm",
    more: &["bookworm-updates"],
    security: Some("bookworm-security"),
    folder: "apt-bookworm",
};

/// Which of the kernels that the lists have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// What the cloud flavour's meta package of a suite depends on.
    Newest(&'static str),
    /// The newest cloud kernel of a series, such as `7.2`.
    Series(&'static str),
    /// The same, of a series that Debian builds without Rust: built again with it.
    Rebuilt(&'static str),
}

/// Settings of the host for fetching that roots are fetched with, too.
const FETCHING: &[&str] = &[
    "Acquire::Check-Date",
    "Acquire::Check-Valid-Until",
    "Acquire::http::Proxy",
    "Acquire::https::Proxy",
];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// How old the lists may be before they are fetched again.
const LISTS_LAST: Duration = Duration::from_secs(24 * 3600);

/// Debian's package lists.
pub struct Apt {
    distribution: &'static Distribution,
    architecture: &'static Architecture,
    folder: PathBuf,
}

impl Apt {
    /// [`TRIXIE`]'s lists; see [`of`](Self::of).
    ///
    /// # Errors
    /// As `of`.
    pub fn open(refresh: bool) -> Result<Self> {
        Self::of(&TRIXIE, refresh)
    }

    /// The lists of this machine's architecture; see [`of_architecture`](Self::of_architecture).
    ///
    /// # Errors
    /// As `of_architecture`.
    pub fn of(distribution: &'static Distribution, refresh: bool) -> Result<Self> {
        Self::of_architecture(distribution, HOST, refresh)
    }

    /// Opens the lists of a distribution for an architecture (names of packages are those of
    /// that architecture, and `name:amd64` those of this machine's), fetched anew when they are older than a day or when
    /// `refresh` asks for it. Without network, lists that exist are used.
    ///
    /// # Errors
    /// There are no lists yet and they cannot be fetched.
    pub fn of_architecture(
        distribution: &'static Distribution,
        architecture: &'static Architecture,
        refresh: bool,
    ) -> Result<Self> {
        let name = match architecture.is_foreign() {
            true => format!("{}-{}", distribution.folder, architecture.debian),
            false => distribution.folder.to_owned(),
        };
        let _lock = cache::lock(&name)?;
        let folder = project::cache()?.join(&name);
        for name in ["state/lists/partial", "cache/archives/partial", "etc"] {
            std::fs::create_dir_all(folder.join(name))?;
        }
        let apt = Self {
            distribution,
            architecture,
            folder,
        };
        std::fs::write(apt.folder.join("state/status"), "")?;
        let sources = sources(distribution, architecture);
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

    /// Whose lists these are.
    pub fn distribution(&self) -> &'static Distribution {
        self.distribution
    }

    /// For which architecture.
    pub fn architecture(&self) -> &'static Architecture {
        self.architecture
    }

    /// How the host fetches packages, as options of apt.
    ///
    /// # Errors
    /// apt-config fails.
    pub fn fetching(&self) -> Result<Vec<String>> {
        Ok(fetching(&sys::output(
            Command::new("apt-config").arg("dump"),
        )?))
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
                bail!(
                    "Debian {} has no package {package}",
                    self.distribution.suite
                );
            }
        }
        Ok(versions)
    }

    /// A kernel of the cloud flavour: its release (what `uname -r` prints) and the
    /// version of its packages.
    ///
    /// # Errors
    /// The package lists do not have it.
    pub fn kernel(&self, choice: Choice) -> Result<(String, String)> {
        match choice {
            Choice::Newest(suite) => {
                let meta = format!("linux-image-cloud-{}", self.architecture.debian);
                let text = self.show(&format!("{meta}/{suite}"))?;
                newest_image(&text)
                    .with_context(|| format!("{meta} of {suite} depends on no image"))
            }
            Choice::Series(series) | Choice::Rebuilt(series) => self.newest_of_series(series),
        }
    }

    fn newest_of_series(&self, series: &str) -> Result<(String, String)> {
        let prefix = "linux-headers-";
        let names = sys::output(
            self.command("apt-cache")
                .args(["pkgnames", &format!("{prefix}{series}")]),
        )?;
        let flavour = format!("-cloud-{}", self.architecture.debian);
        let mut best: Option<(String, String)> = None;
        for name in names.lines().filter(|name| name.ends_with(&flavour)) {
            let release = name.trim_start_matches(prefix);
            if crate::kernel::series(release) != series {
                continue;
            }
            let text = self.show(name)?;
            let version = field(&text, "Version").with_context(|| format!("{name}: no version"))?;
            let better = match &best {
                Some((_, other)) => is_newer(version, other)?,
                None => true,
            };
            if better {
                best = Some((release.to_owned(), version.to_owned()));
            }
        }
        best.with_context(|| format!("the lists have no cloud kernel of Linux {series}"))
    }

    /// The names of the packages that a package depends on.
    ///
    /// # Errors
    /// There is no such package.
    pub fn dependencies(&self, package: &str) -> Result<Vec<String>> {
        let text = self.show(package)?;
        let all = field(&text, "Depends").unwrap_or_default();
        Ok(all
            .split(", ")
            .filter_map(|dependency| dependency.split([' ', ':']).next())
            .map(str::to_owned)
            .collect())
    }

    /// What the lists say of a package (`name`, `name=version` or `name/suite`), its
    /// newest version first.
    fn show(&self, package: &str) -> Result<String> {
        sys::output(self.command("apt-cache").args(["show", package]))
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
            format!("APT::Architecture={}", self.architecture.debian),
            format!("APT::Architectures={}", architectures(self.architecture)),
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

/// The options of [`FETCHING`] in what `apt-config dump` prints.
fn fetching(dump: &str) -> Vec<String> {
    dump.lines()
        .filter_map(|line| {
            let (name, value) = line.strip_suffix(';')?.split_once(' ')?;
            let value = value.trim_matches('"');
            (FETCHING.contains(&name) && !value.is_empty()).then(|| format!("{name} \"{value}\""))
        })
        .collect()
}

/// A field of the first paragraph of a package list.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The release and the version of the image that a meta package depends on.
fn newest_image(text: &str) -> Option<(String, String)> {
    let version = field(text, "Version")?;
    let release = field(text, "Depends")?
        .split(", ")
        .filter_map(|dependency| dependency.split(' ').next())
        .find_map(|name| {
            name.strip_prefix("linux-image-")
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })?;
    Some((release.to_owned(), version.to_owned()))
}

/// Whether version `a` is newer than `b`, in Debian's order.
fn is_newer(a: &str, b: &str) -> Result<bool> {
    let status = Command::new("dpkg")
        .args(["--compare-versions", a, "gt", b])
        .status()
        .context("cannot start dpkg")?;
    Ok(status.success())
}

/// The architectures that the lists are fetched for: a foreign kernel's tools for building
/// are this machine's.
fn architectures(architecture: &Architecture) -> String {
    match architecture.is_foreign() {
        true => format!("{},{}", architecture.debian, HOST.debian),
        false => architecture.debian.to_owned(),
    }
}

/// The sources list: `$VEXFS_DEBIAN_MIRROR`, or Debian's own address.
fn sources(distribution: &Distribution, architecture: &Architecture) -> String {
    let mirror = std::env::var("VEXFS_DEBIAN_MIRROR")
        .unwrap_or_else(|_| "http://deb.debian.org/debian".to_owned());
    let security = std::env::var("VEXFS_DEBIAN_SECURITY_MIRROR")
        .unwrap_or_else(|_| "http://deb.debian.org/debian-security".to_owned());
    let options = format!("[arch={} signed-by={KEYRING}]", architectures(architecture));
    let line = |mirror: &str, suite: &str| format!("deb {options} {mirror} {suite} main\n");
    let mut text = line(&mirror, distribution.suite);
    for suite in distribution.more {
        text += &line(&mirror, suite);
    }
    if let Some(suite) = distribution.security {
        text += &line(&security, suite);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{fetching, field, is_newer, newest_image, sources, SID, TRIXIE};
    use crate::architecture::{AMD64, ARM64};

    const META: &str = "Package: linux-image-cloud-amd64\nVersion: 7.2.13-1\n\
        Depends: linux-base-cloud-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-cloud-amd64 (= 7.2.13-1)\n\n\
        Package: linux-image-cloud-amd64\nVersion: 7.1-1\n\
        Depends: linux-image-7.1+deb14-cloud-amd64 (= 7.1-1)\n";

    #[test]
    fn the_first_paragraph_is_the_newest() {
        assert_eq!(field(META, "Version"), Some("7.2.13-1"));
        assert_eq!(field(META, "Section"), None);
        let (release, version) = newest_image(META).expect("an image");
        assert_eq!(release, "7.2.13+deb14-cloud-amd64");
        assert_eq!(version, "7.2.13-1");
        assert_eq!(
            newest_image("Version: 1\nDepends: linux-image-cloud\n"),
            None
        );
    }

    #[test]
    fn candidates_of_a_release_are_older() {
        for (a, b, newer) in [
            ("7.3-1~exp1", "7.3~rc7-1~exp1", true),
            ("7.2.9-1", "7.2.12-1", false),
            ("7.2.12-1", "7.2.12-1", false),
        ] {
            assert_eq!(is_newer(a, b).expect("dpkg"), newer, "{a} {b}");
        }
    }

    #[test]
    fn sources_name_every_suite() {
        let trixie = sources(&TRIXIE, &AMD64);
        for suite in [
            "trixie",
            "trixie-updates",
            "trixie-backports",
            "trixie-security",
        ] {
            assert!(trixie.contains(&format!(" {suite} main\n")), "{trixie}");
        }
        let sid = sources(&SID, &ARM64);
        assert_eq!(sid.lines().count(), 2);
        assert_eq!(sid.matches("[arch=arm64,amd64 ").count(), 2, "{sid}");
    }

    #[test]
    fn the_host_s_way_of_fetching_is_found() {
        let dump = "Acquire \"\";\nAcquire::Check-Date \"false\";\nAcquire::http::Proxy \"\";\n\
            Acquire::Retries \"3\";\n";
        assert_eq!(fetching(dump), ["Acquire::Check-Date \"false\""]);
    }
}
