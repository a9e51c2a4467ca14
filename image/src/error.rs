// SPDX-License-Identifier: GPL-2.0-only
//! What this crate's operations return when they do not succeed.

use std::io;

use layout::jbd2;

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on an image failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// What was to be opened.
        path: String,
        /// Why not; [`io::ErrorKind::ResourceBusy`] if it is mounted or in use.
        source: io::Error,
    },
    /// Reading, writing or flushing the device failed.
    #[error("{what} failed: {source}")]
    Io {
        /// What was tried, with the block where there is one.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no usable VexFS super block.
    #[error("super block at block {block}: {reason}")]
    Super {
        /// The block that was tried.
        block: u64,
        /// What is wrong with it.
        reason: layout::Invalid,
    },
    /// The filesystem claims more blocks than the device has.
    #[error("the filesystem has {blocks} blocks but the device only {device}")]
    DeviceTooSmall {
        /// Blocks of the filesystem.
        blocks: u64,
        /// Whole blocks of the device.
        device: u64,
    },
    /// The journal holds what it must not.
    #[error("journal block {log_block} (block {block}): {reason}")]
    Journal {
        /// The block, counted from the start of the journal.
        log_block: u32,
        /// The same, counted from the start of the device.
        block: u64,
        /// What is wrong.
        reason: JournalFault,
    },
    /// A transaction is larger than the journal allows.
    #[error("transaction of {needed} blocks is larger than the {limit} that the journal allows")]
    TooBig {
        /// Blocks that it would take in the journal.
        needed: u64,
        /// The most that it may take: a quarter of the journal.
        limit: u32,
    },
    /// The image was opened for reading, or its features allow only that.
    #[error("the filesystem is open for reading only")]
    ReadOnly,
    /// An earlier write to the journal failed; what is on the device is the state of the last commit.
    #[error("an earlier error stopped the journal; nothing more can be written")]
    Aborted,
    /// The filesystem itself refused, or is damaged.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A file outside the image could not be read or written.
    #[error("{path}: {source}")]
    Host {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A path does not lead to what is needed.
    #[error("{path}: {source}")]
    Path {
        /// The path, from the root of the image to where it failed.
        path: String,
        /// Why.
        source: engine::Error,
    },
}

/// What is wrong with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JournalFault {
    /// A structure is not what it should be.
    #[error("{0}")]
    Invalid(#[from] jbd2::Invalid),
    /// A block of a committed transaction does not match its checksum.
    #[error("{0} of committed transaction {1} does not match its checksum")]
    Checksum(&'static str, u32),
    /// A transaction wants to write where no metadata is.
    #[error("transaction {sequence} writes block {target}, which lies in the journal or outside the filesystem")]
    Target {
        /// Sequence of the transaction.
        sequence: u32,
        /// The block it wants to write.
        target: u64,
    },
}

impl Error {
    /// For `map_err`: an I/O error of `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what: what.into(),
            source,
        }
    }

    /// Whether the engine says that there is no such name, record or index.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Engine(engine::Error::NotFound)
                | Self::Path {
                    source: engine::Error::NotFound,
                    ..
                }
        )
    }
}
