// SPDX-License-Identifier: GPL-2.0-only
//! The `.fvecs` format of the TEXMEX data sets: every row is its dimension (int32,
//! little-endian) followed by that many binary32 elements. All rows of a file have
//! the same dimension.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::append_finite;
use super::error::{InputError, Place, Problem};
use super::npy::fill;

/// Greatest dimension of a vector.
const DIM_MAX: i32 = 4096;

/// Rows of an `.fvecs` file.
pub struct Fvecs<R> {
    reader: R,
    file: PathBuf,
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
    pub fn new(mut reader: R, file: &Path, bytes: Option<u64>) -> Result<Self, InputError> {
        let wrong = |problem| InputError::new(file, Place::Start, problem);
        let mut dim = [0; 4];
        fill(&mut reader, &mut dim, Problem::Empty).map_err(wrong)?;
        let dim = i32::from_le_bytes(dim);
        if !(1..=DIM_MAX).contains(&dim) {
            return Err(wrong(Problem::Dim(dim.into())));
        }
        let dim = dim.unsigned_abs();
        let row_bytes = 4 + u64::from(dim) * 4;
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
            dim,
            rows,
            row: 0,
            begun: true,
            buffer: vec![0; dim as usize * 4],
        })
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
        let elements = self
            .buffer
            .chunks_exact(4)
            .filter_map(|bytes| Some(f32::from_le_bytes(bytes.try_into().ok()?)));
        append_finite(elements, out).map_err(|element| wrong(Problem::NotFinite(element)))?;
        self.row += 1;
        self.begun = false;
        Ok(true)
    }
}
