// SPDX-License-Identifier: GPL-2.0-only
//! vexfs.ko: a filesystem that keeps vectors with the files they describe and searches them.
//!
//! `vfs` has the safe interfaces to the kernel, and all the unsafe code but what `compat` needs to even out kernel versions; `glue` is VexFS on top of them and of the crates
//! `layout`, `engine` and `vector`, which the tools are made of too.

use kernel::prelude::*;

mod compat;
#[deny(unsafe_code)]
mod glue;
mod vfs;

module! {
    type: VexFsModule,
    name: "vexfs",
    authors: ["The VexFS developers"],
    description: "VexFS: files and their vectors, searched in the kernel",
    license: "GPL",
    alias: ["fs-vexfs"],
}

/// What the loaded module owns. The object lies in the module's static memory, as the registration demands.
#[pin_data]
struct VexFsModule {
    #[pin]
    registration: vfs::Registration<glue::VexFs>,
}

impl kernel::InPlaceModule for VexFsModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            registration <- vfs::Registration::new(),
        })
    }
}
