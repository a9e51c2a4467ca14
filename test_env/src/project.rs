// SPDX-License-Identifier: GPL-2.0-only
//! Where things are: the checkout, its build folder, the cache. Creates folders
//! and nothing else.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout that this program was compiled from.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Where the products go: `$VEXFS_BUILD`, or `build` in the checkout.
///
/// # Errors
/// The folder cannot be created.
pub fn build() -> Result<PathBuf> {
    let folder =
        std::env::var_os("VEXFS_BUILD").map_or_else(|| root().join("build"), PathBuf::from);
    make(folder)
}

/// A folder in [`build`].
///
/// # Errors
/// The folder cannot be created.
pub fn build_folder(name: &str) -> Result<PathBuf> {
    make(build()?.join(name))
}

/// What can be made again from packages: `vexfs` in the user's cache folder.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set, or the folder cannot be created.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    make(base.join("vexfs"))
}

fn make(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}
