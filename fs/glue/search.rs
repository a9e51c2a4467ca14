// SPDX-License-Identifier: GPL-2.0-only
//! Exact search.
use super::VexFs;
use crate::vfs::{code, FileRef, IoctlArg, Result};
pub(super) fn serve(_file: &FileRef<'_, VexFs>, _arg: IoctlArg) -> Result { Err(code::ENOTTY) }
