// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! What all request structures have in common.

use core::fmt;

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What is wrong with a request structure, before anything was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// `size` is below the first version's, or not a multiple of 8. `EINVAL`.
    Size,
    /// An unknown flag is set. `EINVAL`.
    Flags,
    /// A reserved field is not zero. `EINVAL`.
    Reserved,
    /// The index name is empty, too long, not UTF-8 or has a forbidden character. `EINVAL`.
    Name,
    /// A count, dimension, capacity or entry size is out of range. `EINVAL`.
    Range,
    /// Bytes behind the part that is known are not zero. `E2BIG`.
    TooNew,
}

impl BadRequest {
    /// The errno to answer with, positive: `E2BIG` (7) or `EINVAL` (22).
    pub const fn errno(self) -> i32 {
        match self {
            BadRequest::TooNew => 7,
            _ => 22,
        }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadRequest::Size => "structure of an impossible size",
            BadRequest::Flags => "unknown flag",
            BadRequest::Reserved => "reserved field is not zero",
            BadRequest::Name => "not an index name",
            BadRequest::Range => "count, dimension, capacity or entry size out of range",
            BadRequest::TooNew => "field of a newer version is not zero",
        })
    }
}

impl core::error::Error for BadRequest {}

/// A structure that is passed to an ioctl of its own.
pub trait Request:
    zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::KnownLayout + zerocopy::Immutable
{
    /// The request number.
    const NUMBER: u32;
    /// The structure's size in version 1, which the number encodes for ever.
    const MIN_SIZE: usize;
    /// All flags that this version knows.
    const FLAGS: u32;

    /// Checks all that can be checked without looking anything up: size, flags,
    /// reserved fields, names, ranges. What is *out* is not looked at.
    ///
    /// # Errors
    /// The first violation.
    fn check(&self) -> Result<(), BadRequest>;
}

/// Longest structure that is accepted, however many zeros it ends with.
pub const SIZE_MAX: usize = 4096;

/// How many bytes of a caller's structure of `size` bytes the kernel copies into
/// its `T` (the rest of which stays zero). Bytes from there to `size` must then be
/// found to be zero, else [`BadRequest::TooNew`]. After copying, the kernel's own
/// `size` field should be set to the size of `T`.
///
/// # Errors
/// [`BadRequest::Size`]; [`BadRequest::TooNew`] if it is beyond [`SIZE_MAX`].
pub fn bytes_to_copy<T: Request>(size: u32) -> Result<usize, BadRequest> {
    let size = size as usize;
    if size < T::MIN_SIZE || size % 8 != 0 {
        return Err(BadRequest::Size);
    }
    if size > SIZE_MAX {
        return Err(BadRequest::TooNew);
    }
    Ok(size.min(core::mem::size_of::<T>()))
}

/// The first eight bytes of every request structure.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// Bytes of the caller's structure.
    pub size: u32,
    /// Flags of the request.
    pub flags: u32,
}

/// The part of `check` that is the same everywhere.
pub(crate) fn check_common<T: Request>(
    size: u32,
    flags: u32,
    reserved: &[u64],
) -> Result<(), BadRequest> {
    bytes_to_copy::<T>(size)?;
    if flags & !T::FLAGS != 0 {
        return Err(BadRequest::Flags);
    }
    if reserved.iter().any(|word| *word != 0) {
        return Err(BadRequest::Reserved);
    }
    Ok(())
}

/// A range check that reads as one.
pub(crate) fn require(condition: bool) -> Result<(), BadRequest> {
    if condition {
        Ok(())
    } else {
        Err(BadRequest::Range)
    }
}
