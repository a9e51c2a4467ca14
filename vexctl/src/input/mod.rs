// SPDX-License-Identifier: GPL-2.0-only
//! Reading vectors and their places from files that users bring.
//!
//! | module | reads |
//! |---|---|
//! | [`npy`] | numpy arrays of floats, bytes or booleans, one- or two-dimensional |
//! | [`fvecs`] | the TEXMEX format: every row an int32 dimension and binary32 elements |
//! | [`jsonl`] | JSON lines that name the file and the byte offset of a row |
//! | [`error`] | what can be wrong, and where in which file |
//!
//! Everything is streamed: memory does not grow with the file. The readers give
//! rows of little-endian binary32 values, all finite, and may not know about indexes;
//! `cmd::rows` makes vectors of an index of them.

pub mod error;
pub mod fvecs;
pub mod jsonl;
pub mod npy;
mod npy_header;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

pub use error::{InputError, Place, Problem};
pub use jsonl::{Location, Locations};

/// Rows of one dimension from a file of any format that is known.
pub enum Vectors<R: Read> {
    /// A numpy array.
    Npy(npy::Npy<R>),
    /// TEXMEX vectors.
    Fvecs(fvecs::Fvecs<R>),
}

impl Vectors<BufReader<File>> {
    /// Opens `path` as `.fvecs` if it is called so, as `.npy` otherwise.
    ///
    /// # Errors
    /// Whatever is wrong with the file up to its first row.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let (reader, bytes) = open(path)?;
        if path.extension() == Some(OsStr::new("fvecs")) {
            fvecs::Fvecs::new(reader, path, bytes).map(Vectors::Fvecs)
        } else {
            npy::Npy::new(reader, path, bytes).map(Vectors::Npy)
        }
    }
}

impl<R: Read> Vectors<R> {
    /// Elements of every row.
    pub fn dim(&self) -> u32 {
        match self {
            Vectors::Npy(npy) => npy.dim(),
            Vectors::Fvecs(fvecs) => fvecs.dim(),
        }
    }

    /// Number of rows, if that is known before all are read (for a pipe of fvecs it
    /// is not).
    pub fn rows(&self) -> Option<u64> {
        match self {
            Vectors::Npy(npy) => Some(npy.rows()),
            Vectors::Fvecs(fvecs) => fvecs.rows(),
        }
    }

    /// Whether the elements are unsigned bytes.
    pub fn is_bytes(&self) -> bool {
        match self {
            Vectors::Npy(npy) => npy.is_bytes(),
            Vectors::Fvecs(_) => false,
        }
    }

    /// Appends the next row to `out`, `dim() * 4` bytes, and answers whether there
    /// was one. After an error the reader is of no further use, and `out` may end
    /// with a part of a row.
    ///
    /// # Errors
    /// What is wrong with the row, and where it is.
    pub fn next_row(&mut self, out: &mut Vec<u8>) -> Result<bool, InputError> {
        match self {
            Vectors::Npy(npy) => npy.next_row(out),
            Vectors::Fvecs(fvecs) => fvecs.next_row(out),
        }
    }
}

/// A buffered reader, and the length of the file if it has one.
pub(crate) fn open(path: &Path) -> Result<(BufReader<File>, Option<u64>), InputError> {
    let failed = |error| InputError::new(path, Place::Start, Problem::Io(error));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let bytes = metadata.is_file().then_some(metadata.len());
    Ok((BufReader::with_capacity(1 << 18, file), bytes))
}

/// Appends binary32 elements after looking at each.
///
/// # Errors
/// The number of the first element that is infinite or not a number.
pub(crate) fn append_finite(
    elements: impl Iterator<Item = f32>,
    out: &mut Vec<u8>,
) -> Result<(), u32> {
    for (number, element) in (0..).zip(elements) {
        if !element.is_finite() {
            return Err(number);
        }
        out.extend_from_slice(&element.to_le_bytes());
    }
    Ok(())
}
