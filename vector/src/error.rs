// SPDX-License-Identifier: GPL-2.0-only
//! What can be wrong with vectors and batches.

use core::fmt;

/// Why a vector or a batch was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The dimension is not within `1..=MAX_DIM`.
    Dimension {
        /// The dimension given.
        dim: u32,
    },
    /// The bytes are not the dimension's elements.
    Length {
        /// Bytes that were expected (at least).
        expected: usize,
        /// Bytes given.
        actual: usize,
    },
    /// An element is infinite or not a number.
    NotFinite {
        /// Which one, from 0.
        element: usize,
    },
    /// All elements are zero, and the metric needs a direction.
    NoDirection,
    /// Queries and vectors are of different kinds.
    Kind,
    /// Bits beyond the dimension are set.
    Padding,
    /// There is no such metric for these elements.
    Combination {
        /// The type of elements.
        element: crate::Element,
        /// The metric.
        metric: crate::Metric,
    },
    /// No type of elements has this code.
    UnknownElement {
        /// The code given.
        code: u32,
    },
    /// No metric has this code.
    UnknownMetric {
        /// The code given.
        code: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Dimension { dim } => write!(
                f,
                "dimension {dim} is not between 1 and {}",
                crate::MAX_DIM
            ),
            Error::Length { expected, actual } => {
                write!(f, "{expected} bytes expected, {actual} given")
            }
            Error::NotFinite { element } => {
                write!(f, "element {element} is infinite or not a number")
            }
            Error::NoDirection => {
                f.write_str("all elements are zero: a cosine distance needs a direction")
            }
            Error::Kind => f.write_str("queries and vectors are of different kinds"),
            Error::Padding => f.write_str("bits beyond the dimension are set"),
            Error::Combination { element, metric } => write!(
                f,
                "{metric} is no metric of {element} vectors: bits go with hamming, everything else with l2, cosine and dot"
            ),
            Error::UnknownElement { code } => write!(f, "no type of elements has the code {code}"),
            Error::UnknownMetric { code } => write!(f, "no metric has the code {code}"),
        }
    }
}

impl core::error::Error for Error {}
