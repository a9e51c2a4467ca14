// SPDX-License-Identifier: GPL-2.0-only
//! Disks of a guest: what QEMU is told about each. The volatile kind is served
//! by `volatile`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::volatile::Volatile;

/// A disk to attach. The first one is /dev/vdb in the guest.
#[derive(Clone)]
pub enum Disk {
    /// A file. What the guest wrote before it was killed is there, flushed or not.
    File(PathBuf),
    /// A file behind a disk cache that loses at a power cut what was not flushed.
    Volatile(Arc<Volatile>),
    /// A file that the guest can read only.
    ReadOnly(PathBuf),
}

impl Disk {
    /// A disk on an existing file.
    pub fn file(path: &Path) -> Self {
        Self::File(path.to_owned())
    }

    /// A disk on a new sparse file of `bytes` bytes, replacing what was there.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, bytes: u64) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        file.set_len(bytes)?;
        Ok(Self::File(path.to_owned()))
    }

    /// A disk on an existing file, behind a cache that a power cut empties.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn volatile(path: &Path) -> Result<(Self, Arc<Volatile>)> {
        let volatile = Arc::new(Volatile::open(path)?);
        Ok((Self::Volatile(Arc::clone(&volatile)), volatile))
    }

    /// The host's arguments to QEMU for this disk; a volatile disk's server is started
    /// on a socket in `folder`.
    pub(super) fn arguments(&self, index: usize, folder: &Path) -> Result<Vec<String>> {
        let id = format!("disk{index}");
        let drive = match self {
            // What survives a killed QEMU is in the host's page cache: `unsafe` only
            // forgoes waiting for the host's own disk.
            Self::File(path) => format!(
                "file={},format=raw,cache=unsafe,discard=unmap",
                escape(path)
            ),
            Self::ReadOnly(path) => format!(
                "file={},format=raw,readonly=on,file.locking=off",
                escape(path)
            ),
            Self::Volatile(volatile) => {
                let socket = folder.join(format!("{id}.nbd"));
                volatile.serve(&socket)?;
                format!(
                    "driver=nbd,server.type=unix,server.path={},cache.direct=off,discard=unmap",
                    escape(&socket)
                )
            }
        };
        Ok(drive_arguments(&id, &drive, &id))
    }
}

/// Arguments for a virtio-blk disk with a serial number.
pub(super) fn drive_arguments(id: &str, drive: &str, serial: &str) -> Vec<String> {
    vec![
        "-drive".into(),
        format!("if=none,id={id},{drive}"),
        "-device".into(),
        format!("virtio-blk-pci,drive={id},serial={serial}"),
    ]
}

/// A path as a value in QEMU's option lists, where a comma is doubled.
pub(crate) fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}
