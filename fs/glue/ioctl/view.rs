// SPDX-License-Identifier: GPL-2.0-only
//! Vectors as extended attributes: `user.vexfs.<index>` is the record with label 0, as raw little-endian elements. So programs that copy
//! attributes copy vectors. The kernel has checked the file's permissions; the index's are checked here.

use super::record::{changed, check_vector, delete_one, store_one, NewRecord, Tag};
use super::rights::{self, Right};
use super::{by_name, failed};
use crate::glue::error::read_failed;
use crate::glue::mount::Failure;
use crate::glue::VexFs;
use crate::vfs::{attr::IdMap, code, INode, Result, SetMode};
use engine::{vector, Error};

/// The label that the view shows.
const LABEL: u64 = 0;

/// Copies the elements to `out` and returns their length in bytes; an empty `out` asks for that alone.
///
/// Errors: `ENODATA` if there is no such record or index, `EACCES`, `ERANGE`.
#[inline(never)]
pub(in crate::glue) fn get(inode: &INode<VexFs>, name: &[u8], out: &mut [u8]) -> Result<usize> {
    if !inode.is_file() {
        return Err(code::ENODATA);
    }
    let sb = inode.sb();
    let missing = |e| match e {
        Error::NotFound => code::ENODATA,
        e => read_failed(sb, inode.ino(), e),
    };
    let index = sb
        .mount()
        .read(|io| vector::find(io, name))
        .map_err(missing)?;
    rights::check(IdMap::none(), &index, Right::Search)?;
    let len = index.vector_bytes();
    let measure = out.is_empty();
    let found = sb.mount().read(|io| {
        let loaded = engine::inode::load(io, inode.ino())?;
        if measure {
            return super::record::exactly(io, &loaded, index.id, LABEL)?
                .map(|_| ())
                .ok_or(Error::NotFound);
        }
        vector::get(io, &loaded, &index, LABEL, out).map(|_| ())
    });
    found.map_err(missing)?;
    Ok(len)
}

/// Sets the elements, keeping the tag of a record that is there, or removes the record (`None`). Called with the inode's lock held.
///
/// Errors: `EOPNOTSUPP` if there is no such index (as for any name that a filesystem has no place for, so that copying programs say so and
/// go on) or the file is none that carries records, `EACCES`, `EINVAL` for what is no vector of the index, `EEXIST`, `ENODATA`, `ENOSPC`.
#[inline(never)]
pub(in crate::glue) fn set(
    inode: &INode<VexFs>,
    idmap: IdMap<'_>,
    name: &[u8],
    value: Option<&[u8]>,
    mode: SetMode,
) -> Result {
    let no_index = if value.is_some() {
        code::EOPNOTSUPP
    } else {
        code::ENODATA
    };
    if !inode.is_file() {
        return Err(no_index);
    }
    let index =
        by_name(inode.sb(), name).map_err(|e| if e == code::ENOENT { no_index } else { e })?;
    rights::check(idmap, &index, Right::Write)?;
    let result = match value {
        Some(elements) => {
            check_vector(&index, elements)?;
            store_one(
                inode,
                &index,
                mode,
                &NewRecord {
                    label: LABEL,
                    tag: Tag::Keep,
                    elements,
                },
            )
        }
        None => delete_one(inode, &index, LABEL),
    };
    let tid = result.map_err(|f| match f {
        Failure::Clean(Error::NotFound) => code::ENODATA,
        f => failed(f),
    })?;
    changed(inode, tid)
}
