// SPDX-License-Identifier: GPL-2.0-only
//! What vectors of an index are: type of elements, metric, dimension; and which
//! combinations there are.

use core::fmt;

use crate::math::{ELEMENT_BINARY, ELEMENT_F16, ELEMENT_F32, ELEMENT_I8};
use crate::{Error, Metric};

/// The greatest dimension of an index.
pub const MAX_DIM: u32 = 4096;

/// A type of elements. The codes are those of the on-disk format, the ioctl ABI and
/// the math object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Element {
    /// IEEE 754 binary32, little-endian.
    F32 = ELEMENT_F32,
    /// IEEE 754 binary16, little-endian.
    F16 = ELEMENT_F16,
    /// Signed bytes.
    I8 = ELEMENT_I8,
    /// Bits, the first one lowest in the first byte (numpy: `packbits(..., bitorder="little")`); zeros fill the last byte.
    Binary = ELEMENT_BINARY,
}

impl Element {
    /// All of them.
    pub const ALL: [Element; 4] = [Element::F32, Element::F16, Element::I8, Element::Binary];

    /// The type's code.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The name that tools show and accept.
    pub const fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::I8 => "i8",
            Element::Binary => "binary",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Element> {
        Self::ALL.into_iter().find(|element| element.name() == name)
    }

    /// The type of this code.
    pub fn from_code(code: u32) -> Option<Element> {
        Self::ALL.into_iter().find(|element| element.code() == code)
    }

    /// Bytes of a vector of `dim` elements.
    ///
    /// # Errors
    /// [`Error::Dimension`] if `dim` is not within `1..=MAX_DIM`.
    pub const fn vector_bytes(self, dim: u32) -> Result<usize, Error> {
        if dim == 0 || dim > MAX_DIM {
            return Err(Error::Dimension { dim });
        }
        let dim = dim as usize;
        Ok(match self {
            Element::F32 => dim * 4,
            Element::F16 => dim * 2,
            Element::I8 => dim,
            Element::Binary => dim.div_ceil(8),
        })
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Vectors that can be compared with each other: of one type and dimension, by one metric.
///
/// # Invariants
/// The dimension is within `1..=MAX_DIM`; bits go with hamming, everything else with the other metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    element: Element,
    metric: Metric,
    dim: u32,
    bytes: usize,
}

impl Kind {
    /// Vectors of `dim` elements.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::Combination`].
    pub const fn new(element: Element, metric: Metric, dim: u32) -> Result<Kind, Error> {
        let bytes = match element.vector_bytes(dim) {
            Ok(bytes) => bytes,
            Err(error) => return Err(error),
        };
        if matches!(element, Element::Binary) != matches!(metric, Metric::Hamming) {
            return Err(Error::Combination { element, metric });
        }
        Ok(Kind {
            element,
            metric,
            dim,
            bytes,
        })
    }

    /// From codes, as the disk and the ioctl ABI carry them.
    ///
    /// # Errors
    /// [`Error::UnknownElement`], [`Error::UnknownMetric`], and those of [`Kind::new`].
    pub fn from_codes(element: u32, metric: u32, dim: u32) -> Result<Kind, Error> {
        let element = Element::from_code(element).ok_or(Error::UnknownElement { code: element })?;
        Kind::new(element, Metric::try_from(metric)?, dim)
    }

    /// Type of the elements.
    pub const fn element(&self) -> Element {
        self.element
    }
    /// How they are compared.
    pub const fn metric(&self) -> Metric {
        self.metric
    }
    /// Elements of a vector.
    pub const fn dim(&self) -> u32 {
        self.dim
    }
    /// Bytes of a vector.
    pub const fn vector_bytes(&self) -> usize {
        self.bytes
    }
}
