// SPDX-License-Identifier: GPL-2.0-only
//! The conditions of a search over an image: what the kernel asks of a record and its file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use anyhow::{anyhow, Context as _, Error, Result};
use image::Image;
use layout::segment::SlotHeader;

use super::Filter;
use crate::model::printable;

/// Conditions, and what is known of files already.
pub struct Conditions {
    request: uapi::Filter,
    /// Inode of the folder that paths must lead through.
    pub subtree: Option<u64>,
    files: RefCell<HashMap<u64, bool>>,
}

impl Conditions {
    /// For an image that was opened at `path`.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn new(image: &Image, path: &Path, filter: &Filter) -> Result<Self> {
        let subtree = filter.within.as_deref().map(|folder| {
            let shown = || printable(folder.as_os_str().as_encoded_bytes());
            let inode = image.resolve(path.join(folder)).map_err(Error::new);
            match inode.with_context(shown)? {
                inode if inode.is_dir() => Ok(inode.ino),
                _ => Err(anyhow!("not a folder")).with_context(shown),
            }
        });
        Ok(Self {
            request: filter.request(-1),
            subtree: subtree.transpose()?,
            files: RefCell::default(),
        })
    }

    /// Whether a record lives and meets them all, but for the distance. `lives` is asked whether it does, if that matters.
    ///
    /// # Errors
    /// Those of reading the image, and of `lives`.
    pub fn admits(
        &self,
        image: &Image,
        record: &SlotHeader,
        lives: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        if !self.request.admits(record.label, record.tag) || !lives()? {
            return Ok(false);
        }
        if !self.request.asks_files() {
            return Ok(true);
        }
        if let Some(verdict) = self.files.borrow().get(&record.ino) {
            return Ok(*verdict);
        }
        let inode = image.read(|io| engine::inode::load(io, record.ino))?;
        let mut verdict = self.request.admits_file(inode.uid, inode.mtime.sec);
        if let Some(folder) = self.subtree.filter(|_| verdict) {
            verdict = image.path_through(record.ino, folder)?.is_some();
        }
        self.files.borrow_mut().insert(record.ino, verdict);
        Ok(verdict)
    }
}
