// SPDX-License-Identifier: GPL-2.0-only
//! The structure that the kernel keeps about this module.

use kernel::bindings;

/// The module `M`, as an owner of tables of functions.
///
/// 7.3 has a function for it; before, the `module!` macro made a private constant.
#[cfg(linux_since = "7.3")]
pub(crate) const fn this_module<M: kernel::ModuleMetadata>() -> *mut bindings::module {
    kernel::module::this_module::<M>().as_ptr()
}

/// The module `M`, as an owner of tables of functions.
#[cfg(not(linux_since = "7.3"))]
pub(crate) const fn this_module<M: kernel::ModuleMetadata>() -> *mut bindings::module {
    // Only its address is taken, so that its members have no C types does not matter.
    #[allow(improper_ctypes)]
    extern "C" {
        // Defined by modpost in the object that is linked to every module. There is one module here, so it is `M`.
        static __this_module: kernel::types::Opaque<bindings::module>;
    }
    // SAFETY: It exists from before the module's first instruction until after its last; no reference to its contents is made.
    unsafe { __this_module.get() }
}
