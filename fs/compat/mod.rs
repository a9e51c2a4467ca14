// SPDX-License-Identifier: GPL-2.0-only
//! Differences between kernel versions, in one place: `vfs` and `glue` are written for the newest kernel that is supported, and
//! this gives them under one name what older kernels do differently. Knows nothing of filesystems.
//!
//! fs/Kbuild sets `cfg(linux_since = "7.3")` when the kernel is of that version or newer. Versions are those of the mainline
//! release that brought a change; README.md lists them all.

mod alloc;
mod dir;
mod error;
mod file;
mod inode;
mod module;
mod write_back;

pub(crate) use self::alloc::zeroed_bytes;
pub(crate) use self::dir::{create_callback, mkdir_callback, MakeCallbacks};
pub(crate) use self::error::code;
pub(crate) use self::file::{mappable, MapCallback};
pub(crate) use self::inode::{ino_from_raw, raw_ino};
pub(crate) use self::module::this_module;
pub(crate) use self::write_back::{write_pages, WriteBackCallbacks};
