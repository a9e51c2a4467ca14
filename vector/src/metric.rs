// SPDX-License-Identifier: GPL-2.0-only
//! The metrics of an index.

use core::fmt;

use crate::math::{METRIC_COSINE, METRIC_DOT, METRIC_HAMMING, METRIC_L2};
use crate::Error;

/// How far apart two vectors are. Smaller is nearer for every metric.
///
/// The codes are those of the on-disk format, the ioctl ABI and the math object. docs/decisions/010-distance-definition.md has the
/// reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Metric {
    /// Squared Euclidean distance, sum of `(x - q)^2`. Not its root, as in faiss
    /// and hnswlib.
    L2 = METRIC_L2,
    /// `1 - x.q / (|x| |q|)`, 0 to 2. Vectors need not have unit length, but
    /// they need a length other than zero.
    Cosine = METRIC_COSINE,
    /// `-(x.q)`, the negated inner product.
    Dot = METRIC_DOT,
    /// The number of bits that differ; of bits only.
    Hamming = METRIC_HAMMING,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 4] = [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Hamming];

    /// The metric's code.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The name that tools show and accept.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::L2 => "l2",
            Metric::Cosine => "cosine",
            Metric::Dot => "dot",
            Metric::Hamming => "hamming",
        }
    }

    /// The metric of this name.
    pub fn from_name(name: &str) -> Option<Metric> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

impl TryFrom<u32> for Metric {
    type Error = Error;

    fn try_from(code: u32) -> Result<Metric, Error> {
        match code {
            METRIC_L2 => Ok(Metric::L2),
            METRIC_COSINE => Ok(Metric::Cosine),
            METRIC_DOT => Ok(Metric::Dot),
            METRIC_HAMMING => Ok(Metric::Hamming),
            _ => Err(Error::UnknownMetric { code }),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
