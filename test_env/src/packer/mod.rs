// SPDX-License-Identifier: GPL-2.0-only
//! A virtual machine's image with VexFS installed: Packer makes it from a Debian of
//! our own ([`base`], [`build`]; the configuration is test_env/packer), and a machine
//! that boots from it shows that it works ([`machine`], [`smoke`]).
//!
//! Packer and what it calls live in a root of the last Debian that has the package, so
//! that it is the same one on every host. That version has its builders compiled in:
//! nothing is downloaded beside packages.

mod base;
mod build;
mod machine;
mod smoke;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::apt::{Apt, BOOKWORM};
use crate::chroot::Root;
use crate::guest::{Accel, Setup};
use crate::report::{Count, Report};
use crate::{cache, module, project, tools};

/// Raised when the recipe below changes, so that old entries are not used.
const RECIPE: &str = "packer root 1";

/// Packer, and the programs that it or we call.
const PACKAGES: &[&str] = &["openssh-client", "packer", "qemu-system-x86", "qemu-utils"];

/// Where the root shows the folder of our products.
const PRODUCTS: &str = "/build";
/// Where the root shows test_env/packer.
const CONFIGURATION: &str = "/configuration";
/// Where the root shows the image to start from, and what boots it.
const BASE: &str = "/base";

/// Makes the image if its inputs have changed, boots it, and runs its tests.
///
/// # Errors
/// The image cannot be made, or the machine does not come up.
pub fn run() -> Result<Count> {
    let setup = Setup::prepare()?;
    let accel = Accel::probe(&setup)?;
    let bin = tools::build()?;
    let module = module::build(setup.kernel())?;
    let apt = Apt::open(false)?;
    let base = base::prepare(&apt)?;
    let _lock = cache::lock_file(&project::build()?.join("packer.lock"))?;
    let host = Host::prepare(&base)?;
    let tree = build::Tree::stage(host.work(), &bin, &module)?;
    let image = build::image(&host, &base, &tree, accel)?;
    println!("image {}", image.display());
    let report = Report::default();
    smoke::run(&host, &image, &tree, accel, &report)?;
    Ok(report.count())
}

/// The root with Packer in it.
struct Host {
    root: PathBuf,
    binds: Vec<(PathBuf, PathBuf)>,
    /// The folder of our products.
    products: PathBuf,
    /// In it, the folder of what is needed meanwhile, and of logs.
    work: PathBuf,
}

impl Host {
    fn prepare(base: &Path) -> Result<Self> {
        let apt = Apt::of(&BOOKWORM, false)?;
        let mut inputs = vec![RECIPE.to_owned()];
        inputs.extend(apt.versions(PACKAGES)?);
        let entry = cache::entry("packer-root", &inputs, |folder| {
            eprintln!("preparing a root with Packer");
            let packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
            Root::create(&apt, folder.join("root"), &packages, &folder.join("log"))?;
            Ok(())
        })?;
        let products = project::build()?;
        Ok(Self {
            root: entry.join("root"),
            binds: vec![
                // For /dev/kvm.
                ("/dev".into(), "/dev".into()),
                (products.clone(), PRODUCTS.into()),
                (configuration(), CONFIGURATION.into()),
                (base.to_owned(), BASE.into()),
            ],
            work: project::build_folder("packer")?,
            products,
        })
    }

    /// The root, with the folders that the constants above name.
    fn root(&self) -> Root {
        Root::at(self.root.clone()).with(self.binds.iter().cloned())
    }

    fn work(&self) -> &Path {
        &self.work
    }

    /// Where the root shows one of our products.
    fn shown(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.products)
            .map_or_else(|_| path.to_owned(), |rest| Path::new(PRODUCTS).join(rest))
    }
}

/// What Packer is told, and what it runs.
fn configuration() -> PathBuf {
    project::root().join("test_env/packer")
}
