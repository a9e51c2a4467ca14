// SPDX-License-Identifier: GPL-2.0-only
//! numpy arrays: `.npy` of format versions 1, 2 and 3 with little-endian binary16,
//! binary32 or binary64 elements, signed or unsigned bytes, or booleans, in C order,
//! one-dimensional (one vector) or two-dimensional (one vector a row). All come out
//! as binary32; only binary64 is rounded for that.
//!
//! The format: `\x93NUMPY`, major and minor version, length of the header (u16
//! little-endian in version 1, u32 since), the header as a Python dictionary literal
//! with the keys `descr`, `fortran_order` and `shape`, then the elements.
//! (numpy.lib.format, NEP 1.)

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::error::{InputError, Place, Problem};
use super::{append_finite, npy_header};

/// Longest header that is read. numpy itself warns of more than 10,000 bytes.
const HEADER_MAX: u32 = 65_536;

/// Greatest dimension of a vector.
const DIM_MAX: u64 = 4096;

/// Type of the elements in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    F16,
    F32,
    F64,
    I8,
    U8,
    Bool,
}

impl Element {
    const fn bytes(self) -> usize {
        match self {
            Element::I8 | Element::U8 | Element::Bool => 1,
            Element::F16 => 2,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }
}

/// Rows of a numpy array.
pub struct Npy<R> {
    reader: R,
    file: PathBuf,
    element: Element,
    dim: u32,
    rows: u64,
    /// Rows given out.
    row: u64,
    /// Where the first row begins.
    start: u64,
    /// One row as it is in the file.
    buffer: Vec<u8>,
}

impl<R: Read> Npy<R> {
    /// Reads the header. `file` is for messages; `bytes` is the file's length if it
    /// has one, which is then compared with what the header announces.
    ///
    /// # Errors
    /// The array is not of the kind that the module describes, or the length differs.
    pub fn new(mut reader: R, file: &Path, bytes: Option<u64>) -> Result<Self, InputError> {
        let wrong = |problem| InputError::new(file, Place::Start, problem);
        let mut magic = [0; 8];
        fill(&mut reader, &mut magic, Problem::NotNpy).map_err(wrong)?;
        let [0x93, b'N', b'U', b'M', b'P', b'Y', major, minor] = magic else {
            return Err(wrong(Problem::NotNpy));
        };
        let short = || Problem::NpyHeader("the file ends within it".into());
        let (length, fixed) = match (major, minor) {
            (1, 0) => {
                let mut length = [0; 2];
                fill(&mut reader, &mut length, short()).map_err(wrong)?;
                (u32::from(u16::from_le_bytes(length)), 10u64)
            }
            (2 | 3, 0) => {
                let mut length = [0; 4];
                fill(&mut reader, &mut length, short()).map_err(wrong)?;
                (u32::from_le_bytes(length), 12)
            }
            _ => return Err(wrong(Problem::NpyVersion(major, minor))),
        };
        if length > HEADER_MAX {
            return Err(wrong(Problem::NpyHeader(format!("{length} bytes long"))));
        }
        let mut header = vec![0; length as usize];
        fill(&mut reader, &mut header, short()).map_err(wrong)?;
        let header = npy_header::parse(&header)
            .map_err(|what| wrong(Problem::NpyHeader(what.to_string())))?;

        let element = match header.descr.as_str() {
            "<f2" => Element::F16,
            "<f4" => Element::F32,
            "|i1" => Element::I8,
            "|u1" => Element::U8,
            "|b1" => Element::Bool,
            "<f8" => Element::F64,
            _ => return Err(wrong(Problem::ElementType(header.descr))),
        };
        let (rows, dim) = match *header.shape.as_slice() {
            [dim] => (1, dim),
            [rows, dim] => (rows, dim),
            ref shape => return Err(wrong(Problem::Dimensions(shape.len()))),
        };
        if header.fortran_order && header.shape.len() > 1 {
            return Err(wrong(Problem::FortranOrder));
        }
        if dim == 0 || dim > DIM_MAX {
            return Err(wrong(Problem::Dim(i64::try_from(dim).unwrap_or(i64::MAX))));
        }
        let start = fixed + u64::from(length);
        let row_bytes = dim * element.bytes() as u64;
        let announced = rows
            .checked_mul(row_bytes)
            .and_then(|data| data.checked_add(start))
            .ok_or_else(|| wrong(Problem::NpyHeader(format!("{rows} rows"))))?;
        if let Some(found) = bytes.filter(|found| *found != announced) {
            return Err(wrong(Problem::Size { announced, found }));
        }
        if rows == 0 {
            return Err(wrong(Problem::Empty));
        }
        Ok(Npy {
            reader,
            file: file.to_owned(),
            element,
            dim: dim as u32, // at most DIM_MAX
            rows,
            row: 0,
            start,
            buffer: vec![0; row_bytes as usize],
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

    /// Number of rows, at least one.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// See [`Vectors::next_row`](super::Vectors::next_row).
    ///
    /// # Errors
    /// The file ends too early or does not end where it should; an element is not
    /// finite; reading fails.
    pub fn next_row(&mut self, out: &mut Vec<u8>) -> Result<bool, InputError> {
        let place = Place::Row {
            row: self.row,
            offset: self.start + self.row * self.buffer.len() as u64,
        };
        let wrong = |problem| InputError::new(&self.file, place, problem);
        if self.row == self.rows {
            return match fill(&mut self.reader, &mut [0], Problem::Truncated) {
                Err(Problem::Truncated) => Ok(false),
                Err(problem) => Err(wrong(problem)),
                Ok(()) => Err(wrong(Problem::Trailing)),
            };
        }
        fill(&mut self.reader, &mut self.buffer, Problem::Truncated).map_err(wrong)?;
        match self.element {
            Element::F16 => append_finite(
                elements(&self.buffer, |bytes| {
                    half::f16::from_le_bytes(bytes).to_f32()
                }),
                out,
            ),
            Element::I8 => append_finite(
                elements(&self.buffer, |bytes| f32::from(i8::from_le_bytes(bytes))),
                out,
            ),
            Element::U8 => append_finite(
                elements(&self.buffer, |bytes| f32::from(u8::from_le_bytes(bytes))),
                out,
            ),
            // numpy writes 0 and 1, and takes everything else for true.
            Element::Bool => append_finite(
                elements(&self.buffer, |[byte]| f32::from(u8::from(byte != 0))),
                out,
            ),
            Element::F32 => append_finite(elements(&self.buffer, f32::from_le_bytes), out),
            Element::F64 => append_finite(
                elements(&self.buffer, |bytes| f64::from_le_bytes(bytes) as f32),
                out,
            ),
        }
        .map_err(|element| wrong(Problem::NotFinite(element)))?;
        self.row += 1;
        Ok(true)
    }
}

/// The elements of a row, of `N` bytes each.
pub(super) fn elements<'a, const N: usize>(
    row: &'a [u8],
    value: impl Fn([u8; N]) -> f32 + 'a,
) -> impl Iterator<Item = f32> + 'a {
    row.chunks_exact(N)
        .filter_map(move |bytes| Some(value(bytes.try_into().ok()?)))
}

/// Fills `buffer`; `short` is the problem if the input ends before.
pub(super) fn fill(
    reader: &mut impl Read,
    buffer: &mut [u8],
    short: Problem,
) -> Result<(), Problem> {
    reader
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => short,
            _ => Problem::Io(error),
        })
}
