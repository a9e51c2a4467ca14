// SPDX-License-Identifier: GPL-2.0-only
//! The two checksums of the format, computed by well-kept crates that use the processor's instructions, in the shapes that
//! `layout` expects. Nothing else.

/// CRC-32 (IEEE), continued, as [`layout::Crc32`].
pub fn crc32(seed: u32, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(data);
    hasher.finalize()
}

/// CRC-32C as the kernel's `crc32c(crc, data)`: continues a raw register, inverted at neither end. For
/// [`layout::jbd2::Crc32c`].
pub fn crc32c(register: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_of_the_check_string_and_in_two_parts() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }

    #[test]
    fn crc32c_of_the_check_string_and_in_two_parts() {
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(!crc32c(crc32c(!0, b"1234"), b"56789"), 0xe306_9283);
    }
}
