// SPDX-License-Identifier: GPL-2.0-only
//! Rows of an input file as vectors of an index: compared with its dimension, turned
//! into its elements, and checked. It may not know where they go.

use std::io::BufRead;
use std::path::Path;

use anyhow::{bail, ensure, Context as _, Result};
use half::f16;
use vector::{Element, Kind};

use super::shown;
use crate::input::Vectors;
use crate::model::printable;
use crate::model::Index;

/// Rows of a file for an index.
pub struct Rows<'a, R: BufRead> {
    vectors: &'a mut Vectors<R>,
    file: &'a Path,
    kind: Kind,
    /// A row as the reader gives it.
    values: Vec<u8>,
    /// Number of the next row.
    row: u64,
    /// Every byte of the input is eight elements.
    packed: bool,
}

impl<'a, R: BufRead> Rows<'a, R> {
    /// The rows of `file`, none of which was read.
    ///
    /// # Errors
    /// Its vectors are of another dimension than the index's.
    pub fn new(vectors: &'a mut Vectors<R>, file: &'a Path, index: &Index) -> Result<Self> {
        let kind = index.kind;
        let packed = kind.element() == Element::Binary
            && vectors.is_bytes()
            && vectors.dim() as usize == kind.vector_bytes()
            && vectors.dim() != kind.dim();
        ensure!(
            packed || vectors.dim() == kind.dim(),
            "{}: vectors of {} elements, but those of index {} have {}",
            shown(file),
            vectors.dim(),
            printable(index.name.as_bytes()),
            kind.dim()
        );
        Ok(Rows {
            vectors,
            file,
            kind,
            values: Vec::new(),
            row: 0,
            packed,
        })
    }

    /// Number of the row that comes next, from 0.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// Appends the next vector to `out` and answers whether there was one. After an error `out` may end with a part of one.
    ///
    /// # Errors
    /// What is wrong with the row.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool> {
        self.values.clear();
        if !self.vectors.next_row(&mut self.values)? {
            return Ok(false);
        }
        let start = out.len();
        let values = self
            .values
            .chunks_exact(4)
            .filter_map(|v| v.try_into().ok());
        self.convert(values.map(f32::from_le_bytes), out)
            .and_then(|()| {
                let vector = out.get(start..).unwrap_or_default();
                Ok(vector::validate(&self.kind, vector)?)
            })
            .with_context(|| format!("{}: row {}", shown(self.file), self.row))?;
        self.row += 1;
        Ok(true)
    }

    /// Appends the elements for some values.
    fn convert(&self, values: impl Iterator<Item = f32>, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        for (element, value) in values.enumerate() {
            match self.kind.element() {
                Element::F32 => out.extend(value.to_le_bytes()),
                Element::F16 => {
                    let half = f16::from_f32(value);
                    ensure!(
                        half.is_finite(),
                        "element {element} is {value}, too large for f16"
                    );
                    out.extend(half.to_le_bytes());
                }
                Element::I8 => {
                    // Exact for every whole number that fits.
                    let byte = value as i8;
                    if f32::from(byte) != value {
                        bail!("element {element} is {value}, not a whole number from -128 to 127");
                    }
                    out.extend(byte.to_le_bytes());
                }
                // The values of bytes are 0 to 255.
                Element::Binary if self.packed => out.push(value as u8),
                Element::Binary => {
                    ensure!(
                        value == 0.0 || value == 1.0,
                        "element {element} is {value}, not a bit"
                    );
                    if element % 8 == 0 {
                        out.push(0);
                    }
                    if let Some(byte) = out.get_mut(start + element / 8) {
                        *byte |= u8::from(value == 1.0) << (element % 8);
                    }
                }
            }
        }
        Ok(())
    }
}
