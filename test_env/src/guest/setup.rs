// SPDX-License-Identifier: GPL-2.0-only
//! What guests are made of: kernel, root file system, process 1, and what is shared with
//! them. Starts none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{anyhow, Context, Result};

use super::Accel;
use crate::apt::Apt;
use crate::kernel::Kernel;
use crate::uml::{Flavour, Uml};
use crate::{cache, host, module, rootfs, sys, tools};

/// Everything that guests are made of, prepared once.
pub struct Setup {
    pub(super) release: String,
    pub(super) kernel: Kernel,
    /// What guests run instead of the stock kernel.
    pub(super) user_mode: Option<Uml>,
    pub(super) root_image: PathBuf,
    pub(super) initramfs: PathBuf,
    /// What guests see under /host.
    host_image: Mutex<Option<PathBuf>>,
    folder: tempfile::TempDir,
}

impl Setup {
    /// Prepares kernel, root file system and agent.
    ///
    /// # Errors
    /// A step fails; the error says which.
    pub fn prepare() -> Result<Self> {
        Self::assemble(None)
    }

    /// Prepares as [`prepare`](Self::prepare) does, for guests that are User Mode Linux.
    ///
    /// # Errors
    /// As `prepare`.
    pub fn user_mode(flavour: Flavour) -> Result<Self> {
        Self::assemble(Some(flavour))
    }

    fn assemble(flavour: Option<Flavour>) -> Result<Self> {
        host::prepare()?;
        let apt = Apt::open(false)?;
        let kernel = Kernel::prepare(&apt)?;
        let user_mode = flavour
            .map(|flavour| Uml::prepare(&kernel, flavour))
            .transpose()?;
        Self::with_kernels(&apt, kernel, user_mode)
    }

    /// Prepares guests with a kernel of any distribution; `apt` has [`TRIXIE`]'s lists.
    ///
    /// [`TRIXIE`]: crate::apt::TRIXIE
    ///
    /// # Errors
    /// A step fails; the error says which.
    pub fn with_kernel(apt: &Apt, kernel: Kernel) -> Result<Self> {
        Self::with_kernels(apt, kernel, None)
    }

    fn with_kernels(apt: &Apt, kernel: Kernel, user_mode: Option<Uml>) -> Result<Self> {
        let root_image = rootfs::image(apt, &kernel)?;
        Self::with_root(kernel, user_mode, root_image)
    }

    /// Prepares guests whose root is an image that the caller made; it has the kernel's
    /// modules and a folder /host. They run `user_mode` if there is one.
    ///
    /// # Errors
    /// The agent cannot be built, or a file cannot be written.
    pub fn with_root(kernel: Kernel, user_mode: Option<Uml>, root_image: PathBuf) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let initramfs = folder.path().join("initramfs");
        // User Mode Linux has the drivers of its disks built in.
        let drivers = user_mode.is_none().then_some(&kernel);
        std::fs::write(&initramfs, rootfs::initramfs(drivers)?)?;
        let setup = Self {
            release: kernel.release().to_owned(),
            kernel,
            user_mode,
            root_image,
            initramfs,
            host_image: Mutex::new(None),
            folder,
        };
        setup.share(&[])?;
        Ok(setup)
    }

    /// Prepares as [`prepare`](Self::prepare) does, and adds the products.
    ///
    /// # Errors
    /// A build fails.
    pub fn with_products() -> Result<Self> {
        // The first time, one of the two fetches and unpacks while the other compiles.
        let (bin, setup) = std::thread::scope(|scope| {
            let bin = scope.spawn(tools::build);
            let setup = Self::prepare();
            (bin.join(), setup)
        });
        let setup = setup?;
        bin.map_err(|_| anyhow!("the build of the tools panicked"))??;
        setup.add_products()?;
        Ok(setup)
    }

    /// Builds what guests are there for and shares it: /host/vexfs.ko, and the tools
    /// in /host/bin.
    ///
    /// # Errors
    /// A build fails.
    pub fn add_products(&self) -> Result<()> {
        let bin = tools::build()?;
        let module = match &self.user_mode {
            Some(kernel) => kernel.build_module()?,
            None => module::build(&self.kernel)?,
        };
        self.share(&[(&bin, "bin"), (&module, "vexfs.ko")])
    }

    /// The stock kernel, which the guests run or whose source theirs is made of.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The guests' kernel where that is User Mode Linux.
    pub fn uml(&self) -> Option<&Uml> {
        self.user_mode.as_ref()
    }

    /// What the machines of QEMU that are started from now on are made of, in words that are
    /// others when any of it is; but for this program and what it makes of them.
    ///
    /// # Errors
    /// A file cannot be read, or QEMU does not start.
    pub fn inputs(&self) -> Result<Vec<String>> {
        let qemu = self.kernel.architecture().qemu;
        Ok(vec![
            // Names of entries in the cache are made of their inputs.
            self.kernel.image().display().to_string(),
            self.root_image.display().to_string(),
            cache::digest(&self.initramfs)?,
            cache::digest(&self.folder.path().join("host"))?,
            sys::output(Command::new(qemu).arg("--version"))?,
            format!("{:?}", Accel::probe(self)?),
        ])
    }

    /// The image of what is shared at this moment.
    pub(super) fn shared(&self) -> Result<PathBuf> {
        self.host_image
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .context("nothing is shared")
    }

    /// Makes files and folders of this machine visible under /host to guests that
    /// start from now on, beside those shared before. Each is copied under the name
    /// beside it.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn share(&self, files: &[(&Path, &str)]) -> Result<()> {
        let tree = self.folder.path().join("host");
        std::fs::create_dir_all(&tree)?;
        for (from, name) in files {
            let to = tree.join(name);
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent)?;
            }
            sys::run(Command::new("cp").args(["-rTL", "--"]).arg(from).arg(&to))?;
        }
        let mut image = self
            .host_image
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = std::fs::read_dir(self.folder.path())?.count();
        let path = self.folder.path().join(format!("host{number}.img"));
        rootfs::make_image(&tree, &path, 0, false, &self.folder.path().join("log"))?;
        *image = Some(path);
        Ok(())
    }
}
