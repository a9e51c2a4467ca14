// SPDX-License-Identifier: GPL-2.0-only
//! Engine errors as errno, and what an error in metadata does to the mount: a message that says what and where, a note in
//! the super block for fsck, and what the mount option `errors=` asks for.

use super::mount::Mount;
use super::VexFs;
use crate::vfs::{code, task, SuperBlock};
use engine::Error;
use kernel::prelude::*;
use layout::superblock::OnError;

/// A value with `core`'s `Display`, for the kernel's messages.
pub(super) struct Shown<T>(pub(super) T);

impl<T: core::fmt::Display> kernel::fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// The errno for an engine error.
pub(super) fn errno(e: Error) -> kernel::error::Error {
    match e {
        Error::NoSpace | Error::NoInodes | Error::HashFull => code::ENOSPC,
        Error::Exists => code::EEXIST,
        Error::NotFound => code::ENOENT,
        Error::NotEmpty => code::ENOTEMPTY,
        Error::NotDirectory => code::ENOTDIR,
        Error::IsDirectory => code::EISDIR,
        Error::Stale => code::ESTALE,
        Error::Range(_) | Error::Loop => code::EINVAL,
        Error::NameTooLong => code::ENAMETOOLONG,
        Error::TooManyLinks => code::EMLINK,
        Error::BufferTooSmall => code::ERANGE,
        Error::TooLarge => code::EFBIG,
        Error::TooBig | Error::Full { .. } => code::EAGAIN,
        Error::Corrupt { .. } => code::EUCLEAN,
        Error::NoMemory => code::ENOMEM,
        Error::ReadOnly => code::EROFS,
        Error::Io { .. } | Error::Internal(_) => code::EIO,
    }
}

/// A reading operation on inode `ino` failed. Damage is reported and acted on; other errors are only converted.
pub(super) fn read_failed(sb: &SuperBlock<VexFs>, ino: u64, e: Error) -> kernel::error::Error {
    if matches!(
        e,
        Error::Corrupt { .. } | Error::Internal(_) | Error::Io { .. }
    ) {
        metadata_error(sb, ino, e, false);
    }
    errno(e)
}

/// A transaction on inode `ino` failed after it had changed something: what the journal holds of it must not be written.
pub(super) fn change_failed(sb: &SuperBlock<VexFs>, ino: u64, e: Error) -> kernel::error::Error {
    metadata_error(sb, ino, e, true);
    errno(e)
}

/// Whether the mount was stopped by an error. If jbd2 has stopped the journal by itself, after an I/O error, that is reported and acted on
/// once, here.
pub(super) fn is_stopped(sb: &SuperBlock<VexFs>) -> bool {
    let mount = sb.mount();
    if mount.journal().is_aborted() && mount.set_failed() {
        pr_err!(
            "error (device {}): the journal was stopped by an I/O error\n",
            sb.id()
        );
        if mount.on_error() == OnError::Panic {
            task::panic_machine(c"vexfs: journal error, and the mount option errors=panic");
        }
        mount.note_error(
            0,
            Error::Io {
                block: mount.sb().geometry.journal_start,
            },
        );
        if !sb.is_read_only() {
            pr_err!("(device {}): mounted read-only from now on\n", sb.id());
            sb.force_read_only();
        }
    }
    mount.has_failed()
}

/// Reports `e` and acts on it. `torn`: the running transaction holds half of an operation, so that there is no going on,
/// whatever the mount option says.
fn metadata_error(sb: &SuperBlock<VexFs>, ino: u64, e: Error, torn: bool) {
    let mount = sb.mount();
    let first = !mount.journal().is_aborted() && !mount.has_failed();
    if first || !matches!(e, Error::ReadOnly) {
        pr_err!("error (device {}): inode {}: {}\n", sb.id(), ino, Shown(e));
    }
    let on_error = mount.on_error();
    if on_error == OnError::Panic && first {
        task::panic_machine(c"vexfs: metadata error, and the mount option errors=panic");
    }
    mount.note_error(ino, e);
    if torn || on_error != OnError::Continue {
        stop(sb, mount, e);
    }
}

/// Stops the journal and makes the mount read-only.
fn stop(sb: &SuperBlock<VexFs>, mount: &Mount, e: Error) {
    if sb.is_read_only() && mount.has_failed() {
        return;
    }
    mount.set_failed();
    mount.journal().abort(errno(e));
    if !sb.is_read_only() {
        pr_err!("(device {}): mounted read-only from now on\n", sb.id());
        sb.force_read_only();
    }
}
