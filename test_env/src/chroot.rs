// SPDX-License-Identifier: GPL-2.0-only
//! A Debian root folder: made by mmdebstrap, entered by chroot. Mounts live in a
//! mount namespace of the command that needs them, so none is ever left behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::apt::Apt;
use crate::sys;

/// Mounts what a command in the root needs, in its own mount namespace, and
/// becomes that command. Arguments: the root, the number of folders to bind, each
/// of them before its place in the root, then what to execute.
const ENTER: &str = "\
root=$1; binds=$2; shift 2
mount -t proc proc \"$root/proc\"
while [ \"$binds\" -gt 0 ]; do
  mkdir -p \"$root$2\"
  mount --bind \"$1\" \"$root$2\"
  binds=$((binds - 1)); shift 2
done
exec chroot \"$@\"
";

/// A folder of the host, and where a root shows it.
pub type Bind = (PathBuf, PathBuf);

/// A root folder.
pub struct Root {
    path: PathBuf,
    /// What its commands see beside its own files.
    binds: Vec<Bind>,
}

impl Root {
    /// The root that exists at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            binds: Vec::new(),
        }
    }

    /// The same root with folders of the host in it.
    #[must_use]
    pub fn with(mut self, binds: impl IntoIterator<Item = Bind>) -> Self {
        self.binds.extend(binds);
        self
    }

    /// Makes a root at `path` with the given packages (`name` or `name=version`).
    ///
    /// # Errors
    /// mmdebstrap fails; the end of its output is in the error.
    pub fn create(apt: &Apt, path: PathBuf, packages: &[String], log: &Path) -> Result<Self> {
        sys::run_logged(
            debootstrap(apt, "minbase", packages)?
                // What a crash spoils is not marked complete, and made anew.
                .arg("--dpkgopt=force-unsafe-io")
                .arg(apt.distribution().suite)
                .arg(&path)
                .arg(apt.sources_file()),
            log,
        )?;
        Ok(Self::at(path))
    }

    /// Unpacks packages, and those that they depend on, into a root at `path` for an
    /// architecture whose programs this machine cannot run: none is configured, and
    /// there are no packages but these.
    ///
    /// # Errors
    /// mmdebstrap fails; the end of its output is in the error.
    pub fn extract(apt: &Apt, path: PathBuf, packages: &[String], log: &Path) -> Result<Self> {
        sys::run_logged(
            debootstrap(apt, "extract", packages)?
                .arg(apt.distribution().suite)
                .arg(&path)
                .arg(apt.sources_file()),
            log,
        )?;
        Ok(Self::at(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command in the root, as root.
    pub fn command(&self, program: &str) -> Command {
        self.enter(&[], None, program)
    }

    /// A command in the root as the user who called us, with folders of the host
    /// visible at their own paths.
    pub fn command_as_user(&self, binds: &[&Path], program: &str) -> Command {
        let owner = format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid());
        self.enter(binds, Some(owner), program)
    }

    fn enter(&self, binds: &[&Path], user: Option<String>, program: &str) -> Command {
        let mut command = sys::as_root("unshare");
        command
            .args([
                "--mount",
                "--propagation=private",
                "sh",
                "-euc",
                ENTER,
                "enter",
            ])
            .arg(&self.path)
            .arg((self.binds.len() + binds.len()).to_string());
        for (from, to) in &self.binds {
            command.arg(from).arg(to);
        }
        for bind in binds {
            command.args([bind, bind]);
        }
        if let Some(user) = user {
            command.arg(format!("--userspec={user}"));
            // /dev/kvm is open to a group.
            let groups = nix::unistd::getgroups().unwrap_or_default();
            let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
            command.arg(format!("--groups={}", groups.join(",")));
        }
        command.arg(&self.path).args([
            "env",
            "-i",
            "HOME=/tmp",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            program,
        ]);
        command
    }
}

/// mmdebstrap without its last arguments: suite, root and sources.
fn debootstrap(apt: &Apt, variant: &str, packages: &[String]) -> Result<Command> {
    let mut command = sys::as_root("mmdebstrap");
    command
        .arg("--mode=root")
        .arg(format!("--variant={variant}"))
        .arg(format!("--architectures={}", apt.architecture().debian))
        .args([
            "--aptopt=APT::Install-Recommends false",
            "--skip=check/empty",
        ])
        .args(apt.fetching()?.iter().map(|o| format!("--aptopt={o}")))
        .arg(format!("--include={}", packages.join(",")));
    Ok(command)
}
