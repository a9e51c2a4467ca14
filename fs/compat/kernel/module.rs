// SPDX-License-Identifier: GPL-2.0-only
//! 6.14: modules whose object is initialised in place.

use kernel::error::Error;
use kernel::init::PinInit;
use kernel::ThisModule;

/// A module whose object does not move. Here the object is in memory of its own; from 6.14 on it is in the module's.
pub trait InPlaceModule: Sync + Send {
    /// Makes the object when the module is loaded.
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error>;
}

/// 6.14: what the compiler knows of a module. Here it is only a mark.
pub trait ModuleMetadata {}

impl<M: InPlaceModule> ModuleMetadata for M {}

/// Declares the module with the keys of today: several authors (6.15).
#[macro_export]
macro_rules! module {
    (
        type: $type:tt,
        name: $name:tt,
        authors: [$author:tt],
        description: $description:tt,
        license: $license:tt,
        alias: $alias:tt,
    ) => {
        $crate::macros::module! {
            type: PinnedModule,
            name: $name,
            author: $author,
            description: $description,
            license: $license,
            alias: $alias,
        }

        /// The module's object where it does not move.
        struct PinnedModule {
            _object: ::core::pin::Pin<$crate::alloc::KBox<$type>>,
        }

        impl $crate::Module for PinnedModule {
            fn init(module: &'static $crate::ThisModule) -> $crate::error::Result<Self> {
                use $crate::init::InPlaceInit as _;
                let object = <$type as $crate::InPlaceModule>::init(module);
                Ok(Self {
                    _object: $crate::alloc::KBox::try_pin_init(
                        object,
                        $crate::alloc::flags::GFP_KERNEL,
                    )?,
                })
            }
        }
    };
}
