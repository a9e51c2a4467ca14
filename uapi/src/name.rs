// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//! Names of indexes, as they stand in request structures.

use crate::BadRequest;

/// Bytes of a name field: 63 and a NUL at least.
pub const NAME_SIZE: usize = 64;

/// The name in a field: 1 to 63 bytes of UTF-8 without NUL and '/', no white space
/// at either end, and zeros after it.
///
/// # Errors
/// [`BadRequest::Name`].
pub fn parse_name(field: &[u8; NAME_SIZE]) -> Result<&str, BadRequest> {
    let len = field
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(BadRequest::Name)?;
    let (name, rest) = field.split_at_checked(len).ok_or(BadRequest::Name)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(BadRequest::Name);
    }
    let name = core::str::from_utf8(name).map_err(|_| BadRequest::Name)?;
    if name.is_empty() || name.contains('/') || name.trim() != name {
        return Err(BadRequest::Name);
    }
    Ok(name)
}

/// The field that holds `name`.
///
/// # Errors
/// [`BadRequest::Name`] if [`parse_name`] would refuse it.
pub fn name_field(name: &str) -> Result<[u8; NAME_SIZE], BadRequest> {
    let mut field = [0; NAME_SIZE];
    // One byte must stay zero.
    let (text, _) = field
        .split_at_mut_checked(NAME_SIZE - 1)
        .ok_or(BadRequest::Name)?;
    if name.len() > text.len() || name.contains('\0') {
        return Err(BadRequest::Name);
    }
    for (to, from) in text.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    parse_name(&field)?;
    Ok(field)
}
