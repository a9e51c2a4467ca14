// SPDX-License-Identifier: GPL-2.0-only
//! The ioctl interface.
use super::VexFs;
use crate::vfs::{attr::IdMap, code, FileRef, INode, IoctlArg, Result, SetMode};
pub(super) enum Right { Search, Write }
pub(super) fn may_use(_index: &layout::vector::Index, _right: Right) -> bool { true }
pub(super) fn get_view(_inode: &INode<VexFs>, _index: &[u8], _out: &mut [u8]) -> Result<usize> { Err(code::ENODATA) }
pub(super) fn set_view(_inode: &INode<VexFs>, _idmap: IdMap<'_>, _index: &[u8], _value: Option<&[u8]>, _mode: SetMode) -> Result { Err(code::ENODATA) }
pub(super) fn serve(_file: &FileRef<'_, VexFs>, _cmd: u32, _arg: IoctlArg) -> Result<i64> { Err(code::ENOTTY) }
