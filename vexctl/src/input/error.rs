// SPDX-License-Identifier: GPL-2.0-only
//! What can be wrong with an input file, and where in it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An input file cannot be used: which one, where, why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {place}{problem}", file.display())]
pub struct InputError {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What is wrong there. Part of the message, hence not a `source` beside it.
    pub problem: Problem,
}

impl InputError {
    pub(crate) fn new(file: &Path, place: Place, problem: Problem) -> InputError {
        InputError {
            file: file.to_owned(),
            place,
            problem,
        }
    }
}

/// A place in an input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole, or its header.
    Start,
    /// A row of vectors.
    Row {
        /// Which one, from 0.
        row: u64,
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
    },
    /// A line of text.
    Line {
        /// Which one, from 1, as editors count.
        line: u64,
        /// Where it begins, in bytes from the start of the file.
        offset: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Start => Ok(()),
            Place::Row { row, offset } => write!(f, "row {row} (at byte {offset}): "),
            Place::Line { line, offset } => write!(f, "line {line} (at byte {offset}): "),
        }
    }
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// It does not begin as a numpy array does.
    #[error("not a numpy array (.npy)")]
    NotNpy,
    /// It is of no format that is known by its name or its first byte.
    #[error("neither a numpy array (.npy) nor JSON arrays")]
    Unknown,
    /// Numbers of rows in place of vectors.
    #[error("an .ivecs file holds numbers of rows, the answers to queries, and no vectors")]
    Ivecs,
    /// A numpy format of the future.
    #[error("version {0}.{1} of the .npy format is not known")]
    NpyVersion(u8, u8),
    /// The description of the array makes no sense.
    #[error("damaged .npy header: {0}")]
    NpyHeader(String),
    /// The elements are of a type that is not read.
    #[error("elements of type '{0}'; little-endian floats ('<f2', '<f4', '<f8'), bytes ('|i1', '|u1') and booleans ('|b1') can be read")]
    ElementType(String),
    /// The array lies column by column.
    #[error("the array is in Fortran order; save it with numpy.ascontiguousarray")]
    FortranOrder,
    /// The array is neither a vector nor a table of them.
    #[error("the array has {0} dimensions; one (a vector) or two (rows of vectors) can be read")]
    Dimensions(usize),
    /// The vectors are too short or too long.
    #[error("vectors of {0} elements; 1 to 4096 are possible")]
    Dim(i64),
    /// A row is not as long as those before.
    #[error("{found} elements, but the rows before have {expected}")]
    DimChanged {
        /// Of the rows before.
        expected: u32,
        /// Of this one.
        found: i64,
    },
    /// The file ends too early.
    #[error("the file ends within the row")]
    Truncated,
    /// The file's length does not fit its header.
    #[error("the header announces {announced} bytes, the file has {found}")]
    Size {
        /// Bytes that the file should have.
        announced: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// Something follows the last row.
    #[error("something follows the last row")]
    Trailing,
    /// An element without a value.
    #[error("element {0} is infinite, not a number, or too large for binary32")]
    NotFinite(u32),
    /// The file has no row at all.
    #[error("the file has no rows")]
    Empty,
    /// A line is not what it should be.
    #[error("not a JSON object with \"path\" and \"offset\": {0}")]
    Json(String),
    /// Text that is not an array of numbers, or of such arrays.
    #[error("not JSON arrays of numbers: {0}")]
    JsonArrays(&'static str),
    /// A line of absurd length.
    #[error("the line is longer than {0} bytes")]
    LineLength(usize),
    /// The path leads out of the tree that it should be in.
    #[error("path {0:?} must be relative, without '..' and not empty")]
    Path(String),
}
