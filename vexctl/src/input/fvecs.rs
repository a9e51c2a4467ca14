// SPDX-License-Identifier: GPL-2.0-only
//! The `.fvecs` and `.bvecs` formats of the TEXMEX data sets: every row is its dimension
//! (int32, little-endian) followed by that many elements, binary32 or unsigned bytes.
//! All rows of a file have the same dimension. (Their `.ivecs` files hold numbers of
//! rows, the answers to queries, and no vectors.)

use std::io::Read;
use std::path::{Path, PathBuf};

use super::append_finite;
use super::error::{InputError, Place, Problem};
use super::npy::{elements, fill};

/// Greatest dimension of a vector.
const DIM_MAX: i32 = 4096;

/// Type of the elements in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `.fvecs`.
    F32,
    /// `.bvecs`.
    U8,
}

impl Element {
    const fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::U8 => 1,
        }
    }
}

/// Rows of an `.fvecs` or `.bvecs` file.
pub struct Fvecs<R> {
    reader: R,
    file: PathBuf,
    element: Element,
    dim: u32,
    rows: Option<u64>,
    /// Rows given out.
    row: u64,
    /// Whether the dimension of the next row has been read and found right.
    begun: bool,
    /// Elements of one row as they are in the file.
    buffer: Vec<u8>,
}

impl<R: Read> Fvecs<R> {
    /// Reads the first row's dimension. `file` is for messages; `bytes` is the file's
    /// length if it has one, which must then be a whole number of rows.
    ///
    /// # Errors
    /// The file is empty, its length not that of whole rows, or the dimension not
    /// within 1..=4096.
    pub fn new(
        mut reader: R,
        element: Element,
        file: &Path,
        bytes: Option<u64>,
    ) -> Result<Self, InputError> {
        let wrong = |problem| InputError::new(file, Place::Start, problem);
        let mut dim = [0; 4];
        fill(&mut reader, &mut dim, Problem::Empty).map_err(wrong)?;
        let dim = i32::from_le_bytes(dim);
        if !(1..=DIM_MAX).contains(&dim) {
            return Err(wrong(Problem::Dim(dim.into())));
        }
        let dim = dim.unsigned_abs();
        let row_bytes = 4 + u64::from(dim) * element.bytes() as u64;
        let rows = bytes.map(|bytes| bytes / row_bytes);
        if let (Some(found), Some(rows)) = (bytes, rows) {
            if found % row_bytes != 0 {
                let place = Place::Row {
                    row: rows,
                    offset: rows * row_bytes,
                };
                return Err(InputError::new(file, place, Problem::Truncated));
            }
        }
        Ok(Fvecs {
            reader,
            file: file.to_owned(),
            element,
            dim,
            rows,
            row: 0,
            begun: true,
            buffer: vec![0; dim as usize * element.bytes()],
        })
    }

    /// Whether the elements are unsigned bytes.
    pub fn is_bytes(&self) -> bool {
        self.element == Element::U8
    }

    /// Elements of every row.
    pub fn dim(&self) -> u32 {
        self.dim
    }

    /// Number of rows, if the length of the file is known.
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// See [`Vectors::next_row`](super::Vectors::next_row).
    ///
    /// # Errors
    /// A row of another dimension; the file ends within a row; an element is not
    /// finite; reading fails.
    pub fn next_row(&mut self, out: &mut Vec<u8>) -> Result<bool, InputError> {
        let place = Place::Row {
            row: self.row,
            offset: self.row * (4 + self.buffer.len() as u64),
        };
        let wrong = |problem| InputError::new(&self.file, place, problem);
        if !self.begun {
            // The end of the file is the end of the rows, but only here.
            let mut first = [0];
            match fill(&mut self.reader, &mut first, Problem::Truncated) {
                Err(Problem::Truncated) => return Ok(false),
                other => other.map_err(wrong)?,
            }
            let mut others = [0; 3];
            fill(&mut self.reader, &mut others, Problem::Truncated).map_err(wrong)?;
            let ([a], [b, c, d]) = (first, others);
            let found = i32::from_le_bytes([a, b, c, d]);
            if i64::from(found) != i64::from(self.dim) {
                return Err(wrong(Problem::DimChanged {
                    expected: self.dim,
                    found: found.into(),
                }));
            }
        }
        fill(&mut self.reader, &mut self.buffer, Problem::Truncated).map_err(wrong)?;
        match self.element {
            Element::F32 => append_finite(elements(&self.buffer, f32::from_le_bytes), out),
            Element::U8 => append_finite(self.buffer.iter().copied().map(f32::from), out),
        }
        .map_err(|element| wrong(Problem::NotFinite(element)))?;
        self.row += 1;
        self.begun = false;
        Ok(true)
    }
}
