// SPDX-License-Identifier: GPL-2.0-only
//! 7.2: text for files such as /proc/mounts.

use kernel::bindings;
use kernel::types::Opaque;

/// A `struct seq_file` that is being written.
#[repr(transparent)]
pub struct SeqFile(Opaque<bindings::seq_file>);

impl SeqFile {
    /// What C calls `file`.
    ///
    /// # Safety
    /// `file` is valid for `'a`, and nobody else writes to it meanwhile.
    pub unsafe fn from_raw<'a>(file: *mut bindings::seq_file) -> &'a SeqFile {
        // SAFETY: By the caller's promise; the layout is the same.
        unsafe { &*file.cast() }
    }

    /// Writes text; [`seq_print!`](crate::seq_print) calls this.
    pub fn call_printf(&self, text: core::fmt::Arguments<'_>) {
        // SAFETY: The file is valid. The format takes the address of formatting arguments of Rust, which live until it returns.
        unsafe {
            bindings::seq_printf(
                self.0.get(),
                c"%pA".as_ptr().cast(),
                core::ptr::from_ref(&text).cast::<core::ffi::c_void>(),
            );
        }
    }
}

/// Writes formatted text to a [`SeqFile`].
#[macro_export]
macro_rules! seq_print {
    ($file:expr, $($text:tt)+) => {
        $file.call_printf(::core::format_args!($($text)+))
    };
}
