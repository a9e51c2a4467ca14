// SPDX-License-Identifier: GPL-2.0-only
//! What engine operations return when they do not succeed, and which of it leaves a transaction intact.

use layout::Invalid;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// No free blocks (ENOSPC).
    NoSpace,
    /// No free inodes (ENOSPC).
    NoInodes,
    /// The name, record or index exists (EEXIST).
    Exists,
    /// No such name, record or index (ENOENT; ENODATA for attributes).
    NotFound,
    /// The directory is not empty (ENOTEMPTY).
    NotEmpty,
    /// A directory is needed (ENOTDIR).
    NotDirectory,
    /// A directory will not do (EISDIR).
    IsDirectory,
    /// The inode is not (or no longer) in use, or its generation is another (ESTALE).
    Stale,
    /// A number or length outside what is allowed (EINVAL), with the reason.
    Range(&'static str),
    /// A name too long (ENAMETOOLONG).
    NameTooLong,
    /// Too many links (EMLINK).
    TooManyLinks,
    /// The caller's buffer is too small (ERANGE).
    BufferTooSmall,
    /// A file or offset too large (EFBIG).
    TooLarge,
    /// More names with one hash than the format can hold (EUCLEAN would be wrong: ENOSPC).
    HashFull,
    /// The work does not fit one transaction; split it (the caller's business, EAGAIN).
    TooBig,
    /// The search tree has no room for a record before this partition (0: the first one) has been divided or made, which is a transaction of
    /// its own (`vector::tree::make_room`; the caller's business, EAGAIN).
    Full {
        /// First block of the partition.
        partition: u64,
    },
    /// Moving a directory below itself, or other impossible moves (EINVAL).
    Loop,
    /// Reading or writing a block failed (EIO).
    Io {
        /// The block.
        block: u64,
    },
    /// A block holds what it must not (EUCLEAN).
    Corrupt {
        /// The block, 0 if not known.
        block: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// No memory (ENOMEM).
    NoMemory,
    /// The journal was aborted or the filesystem is read-only (EROFS).
    ReadOnly,
    /// A rule of the engine itself was broken, with the place (EIO; a bug).
    Internal(&'static str),
}

impl Error {
    /// Whether nothing was changed in the transaction before this was returned, so that it may go on. Everything
    /// else means that the transaction must be given up.
    pub fn is_clean(&self) -> bool {
        !matches!(
            self,
            Error::Io { .. }
                | Error::Corrupt { .. }
                | Error::NoMemory
                | Error::ReadOnly
                | Error::Internal(_)
        )
    }

    /// What an error is once the operation has changed something: a clean one would claim what is no longer true, and
    /// is a bug, since operations check first. For `map_err` on everything after the first change.
    pub fn late(self) -> Error {
        if self.is_clean() {
            Error::Internal("a check that came too late failed")
        } else {
            self
        }
    }

    /// `what` was found in `block`.
    pub fn corrupt(block: u64, what: &'static str) -> Error {
        Error::Corrupt { block, what }
    }

    /// Turns a layout complaint about `block` into an error; for `map_err`.
    pub fn at(block: u64) -> impl Fn(Invalid) -> Error {
        move |e| Error::Corrupt { block, what: e.0 }
    }
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::NoSpace => f.write_str("no space left"),
            Error::NoInodes => f.write_str("no free inodes left"),
            Error::Exists => f.write_str("exists already"),
            Error::NotFound => f.write_str("not found"),
            Error::NotEmpty => f.write_str("directory not empty"),
            Error::NotDirectory => f.write_str("not a directory"),
            Error::IsDirectory => f.write_str("is a directory"),
            Error::Stale => f.write_str("inode is no longer in use"),
            Error::Range(why) => f.write_str(why),
            Error::NameTooLong => f.write_str("name too long"),
            Error::TooManyLinks => f.write_str("too many links"),
            Error::BufferTooSmall => f.write_str("buffer too small"),
            Error::TooLarge => f.write_str("file too large"),
            Error::HashFull => f.write_str("too many names share one hash"),
            Error::TooBig => f.write_str("too large for one transaction"),
            Error::Full { .. } => f.write_str("no room in a partition of the search tree"),
            Error::Loop => f.write_str("a directory cannot be moved below itself"),
            Error::Io { block } => write!(f, "I/O error at block {block}"),
            Error::Corrupt { block, what } => write!(f, "block {block}: {what}"),
            Error::NoMemory => f.write_str("out of memory"),
            Error::ReadOnly => f.write_str("filesystem is read-only"),
            Error::Internal(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl core::error::Error for Error {}

/// Shorthand.
pub type Result<T, E = Error> = core::result::Result<T, E>;
