// SPDX-License-Identifier: GPL-2.0-only
//! Request structures and arrays between the caller's memory and the kernel's, with the rules for versions by size. It may not
//! know what a request means.
//!
//! Nothing of the caller's memory is read twice: another thread of his may change it at any time.

use crate::compat::zeroed_bytes;
use crate::vfs::{code, IoctlArg, Result};
use core::mem::size_of;
use kernel::error::Error;
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};
use uapi::{BadRequest, Request};

/// The errno for a bad request.
pub(in crate::glue) fn bad(e: BadRequest) -> Error {
    match e {
        BadRequest::TooNew => code::E2BIG,
        _ => code::EINVAL,
    }
}

/// A request as it came in, checked.
pub(in crate::glue) struct Incoming<T> {
    /// The structure; its `size` is this kernel's.
    pub(in crate::glue) body: T,
    arg: IoctlArg,
    /// Bytes of the caller's structure.
    size: usize,
}

/// Reads a request and checks all that needs no looking up.
///
/// Errors: `EFAULT`, `EINVAL`, `E2BIG`.
pub(in crate::glue) fn read<T: Request>(arg: IoctlArg) -> Result<Incoming<T>> {
    let mut size = [0u8; 4];
    arg.user(size.len()).reader().read_slice(&mut size)?;
    let size = u32::from_ne_bytes(size);
    let known = uapi::request::bytes_to_copy::<T>(size).map_err(bad)?;
    let mut body = T::new_zeroed();
    let bytes = body.as_mut_bytes();
    let mut reader = arg.user(size as usize).reader();
    reader.read_slice(bytes.get_mut(..known).ok_or(code::EINVAL)?)?;
    while !reader.is_empty() {
        let mut word = [0u8; 8];
        reader.read_slice(&mut word)?;
        if word != [0; 8] {
            return Err(code::E2BIG);
        }
    }
    // The caller's may have changed since it was looked at.
    layout::bytes::put(bytes, 0, &(size_of::<T>() as u32).to_ne_bytes()).ok_or(code::EINVAL)?;
    body.check().map_err(bad)?;
    Ok(Incoming {
        body,
        arg,
        size: size as usize,
    })
}

impl<T: Request> Incoming<T> {
    /// Writes the structure back, as much of it as the caller has, but for its `size`.
    pub(in crate::glue) fn write_back(&self) -> Result {
        let bytes = self.body.as_bytes();
        let end = bytes.len().min(self.size);
        let out = bytes.get(4..end).ok_or(code::EINVAL)?;
        write(self.arg.value() as u64, 4, out)
    }
}

/// `len` bytes of the caller's memory, `offset` bytes behind `address`.
pub(in crate::glue) fn user(address: u64, offset: usize, len: usize) -> Result<UserSlice> {
    let start = usize::try_from(address)
        .ok()
        .and_then(|a| a.checked_add(offset))
        .ok_or(code::EFAULT)?;
    Ok(UserSlice::new(UserPtr::from_addr(start), len))
}

/// Fills `out` from the caller's memory, `offset` bytes behind `address`.
pub(in crate::glue) fn copy_in(address: u64, offset: usize, out: &mut [u8]) -> Result {
    user(address, offset, out.len())?.reader().read_slice(out)
}

/// Writes `data` to the caller's memory, `offset` bytes behind `address`.
pub(in crate::glue) fn write(address: u64, offset: usize, data: &[u8]) -> Result {
    user(address, offset, data.len())?
        .writer()
        .write_slice(data)
}

/// A buffer of `len` zero bytes that counts as the caller's memory.
pub(in crate::glue) fn buffer(len: usize) -> Result<KVVec<u8>> {
    Ok(zeroed_bytes(len, GFP_KERNEL_ACCOUNT)?)
}
