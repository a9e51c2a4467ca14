// SPDX-License-Identifier: GPL-2.0-only
//! Reading vectors and their places from files that users bring.
//!
//! | module | reads |
//! |---|---|
//! | [`npy`] | numpy arrays of floats, bytes or booleans, one- or two-dimensional |
//! | [`fvecs`] | the TEXMEX formats: every row an int32 dimension and its elements |
//! | [`json`] | JSON: an array of arrays, one array, or a line for each |
//! | [`jsonl`] | JSON lines that name the file and the byte offset of a row |
//! | [`error`] | what can be wrong, and where in which file |
//!
//! Everything is streamed: memory does not grow with the file. The readers give
//! rows of little-endian binary32 values, all finite, and may not know about indexes;
//! `cmd::rows` makes vectors of an index of them.

pub mod error;
pub mod fvecs;
pub mod json;
pub mod jsonl;
pub mod npy;
mod npy_header;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd as _;
use std::path::Path;

pub use error::{InputError, Place, Problem};
pub use jsonl::{Location, Locations};

/// Rows of one dimension from a file of any format that is known.
pub enum Vectors<R: BufRead> {
    /// A numpy array.
    Npy(npy::Npy<R>),
    /// TEXMEX vectors.
    Fvecs(fvecs::Fvecs<R>),
    /// JSON arrays.
    Json(json::Json<R>),
}

impl Vectors<BufReader<File>> {
    /// Opens `path`, or standard input if it is `-`. The format is the one that the name
    /// ends with; if it ends with none, or there is none, the first byte says whether it
    /// is a numpy array or JSON.
    ///
    /// # Errors
    /// Whatever is wrong with the file up to its first row.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let (reader, bytes) = match path.as_os_str().as_encoded_bytes() {
            b"-" => standard_input(path)?,
            _ => open(path)?,
        };
        Vectors::new(reader, path, bytes)
    }
}

impl<R: BufRead> Vectors<R> {
    /// Reads from `reader`, the file `path` of `bytes` bytes, if that is known.
    ///
    /// # Errors
    /// Whatever is wrong with the file up to its first row.
    pub fn new(mut reader: R, path: &Path, bytes: Option<u64>) -> Result<Self, InputError> {
        use fvecs::Element;
        let wrong = |problem| InputError::new(path, Place::Start, problem);
        let of_texmex =
            |reader, element| fvecs::Fvecs::new(reader, element, path, bytes).map(Vectors::Fvecs);
        match path.extension().and_then(OsStr::to_str) {
            Some("npy") => npy::Npy::new(reader, path, bytes).map(Vectors::Npy),
            Some("fvecs") => of_texmex(reader, Element::F32),
            Some("bvecs") => of_texmex(reader, Element::U8),
            Some("ivecs") => Err(wrong(Problem::Ivecs)),
            Some("json" | "jsonl" | "ndjson") => json::Json::new(reader, path).map(Vectors::Json),
            _ => {
                let start = reader.fill_buf();
                match start.map_err(|error| wrong(Problem::Io(error)))?.first() {
                    Some(0x93) => npy::Npy::new(reader, path, bytes).map(Vectors::Npy),
                    Some(b'[' | b' ' | b'\t' | b'\r' | b'\n') => {
                        json::Json::new(reader, path).map(Vectors::Json)
                    }
                    _ => Err(wrong(Problem::Unknown)),
                }
            }
        }
    }

    /// Elements of every row.
    pub fn dim(&self) -> u32 {
        match self {
            Vectors::Npy(npy) => npy.dim(),
            Vectors::Fvecs(fvecs) => fvecs.dim(),
            Vectors::Json(json) => json.dim(),
        }
    }

    /// Number of rows, if that is known before all are read (of JSON, and of TEXMEX
    /// vectors from a pipe, it is not).
    pub fn rows(&self) -> Option<u64> {
        match self {
            Vectors::Npy(npy) => Some(npy.rows()),
            Vectors::Fvecs(fvecs) => fvecs.rows(),
            Vectors::Json(_) => None,
        }
    }

    /// Whether the elements are unsigned bytes.
    pub fn is_bytes(&self) -> bool {
        match self {
            Vectors::Npy(npy) => npy.is_bytes(),
            Vectors::Fvecs(fvecs) => fvecs.is_bytes(),
            Vectors::Json(_) => false,
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
            Vectors::Json(json) => json.next_row(out),
        }
    }
}

/// Standard input, which may be a file or a pipe.
fn standard_input(path: &Path) -> Result<(BufReader<File>, Option<u64>), InputError> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|error| InputError::new(path, Place::Start, Problem::Io(error)))?;
    // Of a file something may have been read already, so its length says nothing.
    Ok((BufReader::with_capacity(1 << 18, File::from(fd)), None))
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
