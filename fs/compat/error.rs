// SPDX-License-Identifier: GPL-2.0-only
//! Error numbers.

/// Error numbers as errors.
///
/// 7.3 has all of them; before, the kernel crate has those of `errno-base.h` and the kernel's internal ones.
#[cfg(linux_since = "7.3")]
pub(crate) mod code {
    pub(crate) use kernel::error::code::*;
}

/// Error numbers as errors.
#[cfg(not(linux_since = "7.3"))]
pub(crate) mod code {
    pub(crate) use kernel::error::code::*;

    use kernel::bindings;
    use kernel::error::Error;

    /// The errors that the kernel crate does not name, made as it makes its own.
    macro_rules! declare {
        ($($name:ident),+) => {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub(crate) const $name: Error = from_number(bindings::$name);
            )+
        };
    }

    #[cfg(not(linux_since = "7.2"))]
    declare!(EOVERFLOW);
    declare!(
        EDEADLK,
        ENAMETOOLONG,
        ENODATA,
        ENOTEMPTY,
        EOPNOTSUPP,
        ESHUTDOWN,
        ESTALE,
        EUCLEAN
    );

    /// The error of a positive number. The crate's own constructor is no `const fn` yet.
    const fn from_number(number: u32) -> Error {
        assert!(number > 0 && number <= bindings::MAX_ERRNO);
        // SAFETY: An `Error` is one negative number of C's type `int`, not 0 and at least `-MAX_ERRNO`, which was checked;
        // that it is stored as it is, the assertion below shows.
        unsafe { core::mem::transmute::<i32, Error>(-(number as i32)) }
    }

    const _: () = {
        // SAFETY: An `Error` is a plain number without padding; the sizes are compared by the compiler.
        let stored = unsafe { core::mem::transmute::<Error, i32>(EINVAL) };
        assert!(stored == -(bindings::EINVAL as i32));
    };
}
