// SPDX-License-Identifier: GPL-2.0-only
//! Arrays of numpy: vectors to read, row numbers to write.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use vexctl::input::Vectors;

/// Vectors in memory, as little-endian binary32 elements.
#[derive(Debug, Default)]
pub struct Matrix {
    /// Elements of a row.
    pub dim: u32,
    /// The rows, end to end.
    pub bytes: Vec<u8>,
}

impl Matrix {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let mut vectors = Vectors::open(path)?;
        let dim = vectors.dim();
        let mut bytes = Vec::new();
        bytes.reserve_exact(vectors.rows().unwrap_or(0) as usize * dim as usize * 4);
        while vectors.next_row(&mut bytes)? {}
        Ok(Self { dim, bytes })
    }

    /// Bytes of a row; 4 where there is none, so that it divides.
    pub fn row_bytes(&self) -> usize {
        self.dim.max(1) as usize * 4
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }

    /// The bytes of `count` rows from `first` on, or of as many as there are.
    pub fn part(&self, first: usize, count: usize) -> &[u8] {
        let end = first.saturating_add(count).min(self.rows());
        let start = first.min(end);
        &self.bytes[start * self.row_bytes()..end * self.row_bytes()]
    }
}

/// Writes `columns` numbers a row as int64.
///
/// # Errors
/// The file cannot be written.
pub fn write_rows(path: &Path, numbers: &[i64], columns: usize) -> Result<()> {
    let mut header = format!(
        "{{'descr': '<i8', 'fortran_order': False, 'shape': ({}, {columns}), }}",
        numbers.len() / columns.max(1)
    );
    // The elements begin at a multiple of 64, after 10 bytes, the header and a line end.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    for number in numbers {
        out.write_all(&number.to_le_bytes())?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::{write_rows, Matrix};

    #[test]
    fn parts_end_with_the_matrix() {
        let matrix = Matrix {
            dim: 2,
            bytes: (0..24).collect(),
        };
        assert_eq!(matrix.rows(), 3);
        assert_eq!(matrix.part(1, 1), &matrix.bytes[8..16]);
        assert_eq!(matrix.part(2, 5), &matrix.bytes[16..]);
        assert_eq!(matrix.part(7, 5), &[] as &[u8]);
    }

    #[test]
    fn row_numbers_are_as_numpy_writes_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.npy");
        write_rows(&path, &[1, -1, 3, 4], 2).unwrap();
        let file = std::fs::read(&path).unwrap();
        let (header, elements) = file.split_at(file.len() - 32);
        assert_eq!(header.len() % 64, 0);
        assert!(String::from_utf8_lossy(header).contains("'shape': (2, 2)"));
        assert_eq!(elements[8..16], (-1i64).to_le_bytes());
    }
}
