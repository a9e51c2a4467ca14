// SPDX-License-Identifier: GPL-2.0-only
//! Runs Packer: the package tree and a key of this build's own go in, an image comes
//! out. The image is kept until an input changes, or somebody writes to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{Host, BASE, CONFIGURATION};
use crate::cache::{self, digest};
use crate::guest::{defects, Accel};
use crate::{project, sys};

/// Raised when what is done here changes, so that older images are not used.
const RECIPE: &str = "machine image 1";

/// How often an emulated machine may try; see [`crate::guest::Guest::start`].
const ATTEMPTS: u32 = 2;

/// What `make install` and `make uninstall` need, beside what was built.
const TREE: &[&str] = &["Makefile", "Cargo.toml", "docs/man", "uapi/vexfs.h"];

/// The package tree, as a folder and as the archive that the machine unpacks.
pub struct Tree {
    pub folder: PathBuf,
    archive: PathBuf,
}

impl Tree {
    /// Collects it in `work`.
    pub fn stage(work: &Path, bin: &Path, module: &Path) -> Result<Self> {
        let folder = work.join("tree");
        cache::remove(&folder)?;
        let products = [
            (bin.to_owned(), "build/bin"),
            (module.to_owned(), "build/vexfs.ko"),
        ];
        let sources = TREE.iter().map(|&name| (project::root().join(name), name));
        for (from, name) in sources.chain(products) {
            let to = folder.join(name);
            std::fs::create_dir_all(to.parent().unwrap_or(&folder))?;
            sys::run(Command::new("cp").args(["-rT", "--"]).arg(from).arg(to))?;
        }
        let archive = work.join("vexfs.tar");
        sys::run(
            Command::new("tar")
                .args(["--create", "--sort=name", "--mtime=@0", "--numeric-owner"])
                .args(["--owner=0", "--group=0", "--mode=go=rX,u+rw"])
                .arg("--file")
                .arg(&archive)
                .arg("--directory")
                .arg(&folder)
                .arg("."),
        )?;
        Ok(Self { folder, archive })
    }
}

/// The kernel that Packer booted shows a defect: lines of its log.
#[derive(Debug)]
struct Died(String);

impl std::fmt::Display for Died {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Died {}

/// A key for SSH, removed when dropped.
pub struct Key {
    folder: tempfile::TempDir,
    /// The public half, a line.
    pub public: String,
}

impl Key {
    /// Makes a key in the work folder.
    pub fn make(host: &Host) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("key-")
            .tempdir_in(host.work())?;
        let file = folder.path().join("key");
        // Not as the user: ssh-keygen wants to find him in the root's passwd.
        sys::output(
            host.root()
                .command("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "vexfs", "-f"])
                .arg(host.shown(&file)),
        )?;
        let owner = format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid());
        sys::run(sys::as_root("chown").arg(owner).arg(&file))?;
        let public = std::fs::read_to_string(file.with_extension("pub"))?;
        Ok(Self {
            folder,
            public: public.trim().to_owned(),
        })
    }

    /// The private half.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("key")
    }
}

/// The image, `vexfs.qcow2` in the folder of products.
///
/// # Errors
/// Packer fails; its log is kept.
pub fn image(host: &Host, base: &Path, tree: &Tree, accel: Accel) -> Result<PathBuf> {
    let image = host.products.join("vexfs.qcow2");
    let stamp = host.work().join("inputs");
    let inputs = [
        RECIPE.to_owned(),
        base.display().to_string(),
        host.root.display().to_string(),
        digest(&super::configuration())?,
        digest(&tree.archive)?,
    ]
    .join("\n");
    let changed = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified());
    let fresh = std::fs::read_to_string(&stamp).is_ok_and(|known| known == inputs)
        && matches!((changed(&image), changed(&stamp)), (Ok(image), Ok(stamp)) if image <= stamp);
    if !fresh {
        let start = Instant::now();
        let mut attempts = if accel == Accel::Tcg { ATTEMPTS } else { 1 };
        loop {
            attempts -= 1;
            match make(host, tree, accel, &image) {
                Ok(()) => break,
                // Nothing but the stock kernel runs there.
                Err(error) if attempts > 0 && error.is::<Died>() => {
                    eprintln!("once more, emulation died: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        std::fs::write(&stamp, inputs)?;
        println!("    Packer took {} s", start.elapsed().as_secs());
    }
    Ok(image)
}

fn make(host: &Host, tree: &Tree, accel: Accel, image: &Path) -> Result<()> {
    let output = host.work().join("output");
    let console = host.work().join("console");
    let log = host.work().join("log");
    cache::remove(&output)?;
    for file in [&console, &log] {
        std::fs::write(file, "")?;
    }
    let key = Key::make(host)?;
    let (accelerator, cpu) = match accel {
        Accel::Kvm => ("kvm", "host"),
        Accel::Tcg => ("tcg", "max"),
    };
    eprintln!("Packer makes the image; its log is {}", log.display());
    let work = host.shown(host.work());
    let mut command = host.root().command_as_user(&[], "env");
    command
        .arg(format!("TMPDIR={}", work.display()))
        .arg(format!("PACKER_CACHE_DIR={}/cache", work.display()))
        .arg(format!("PACKER_CONFIG_DIR={}/config", work.display()))
        .arg("CHECKPOINT_DISABLE=1")
        .args(["packer", "build", "-color=false"]);
    for (name, value) in [
        ("image", format!("{BASE}/disk.raw")),
        ("kernel", format!("{BASE}/vmlinuz")),
        ("initrd", format!("{BASE}/initrd.img")),
        ("tree", host.shown(&tree.archive).display().to_string()),
        ("scripts", CONFIGURATION.to_owned()),
        ("key_file", host.shown(&key.file()).display().to_string()),
        ("public_key", key.public.clone()),
        ("accelerator", accelerator.to_owned()),
        ("cpu", cpu.to_owned()),
        ("console", host.shown(&console).display().to_string()),
        ("output", host.shown(&output).display().to_string()),
    ] {
        command.args(["-var", &format!("{name}={value}")]);
    }
    command.arg(format!("{CONFIGURATION}/vexfs.pkr.hcl"));
    let result = sys::run_logged(&mut command, &log);
    let printed = std::fs::read(&console).unwrap_or_default();
    let found = defects(&String::from_utf8_lossy(&printed));
    if !found.is_empty() {
        return Err(Died(found.join("\n")).into());
    }
    result.with_context(|| format!("end of the console:\n{}", sys::tail(&printed)))?;
    let made = output.join("vexfs.qcow2");
    std::fs::rename(&made, image).with_context(|| format!("Packer made no {}", made.display()))?;
    cache::remove(&output)
}
