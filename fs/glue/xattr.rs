// SPDX-License-Identifier: GPL-2.0-only
//! Extended attributes, and the view of vectors in them: `user.vexfs.<index>` is the record with label 0 of the file in that
//! index, as raw little-endian elements. So setfattr, `cp -a`, `rsync -X` and `tar --xattrs` carry vectors without knowing VexFS.

use super::error::{errno, read_failed};
use super::inode::{refresh, transact};
use super::ioctl::{self, Right};
use super::VexFs;
use crate::vfs::{
    attr::IdMap, code, INode, ListXattr, Namespace, Result, SetMode, XattrOperations,
};
use engine::xattr::{self, SetFlags};
use engine::{vector, Error};
use layout::attr::Namespace as Ns;

/// What stands before the name of an index.
const VECTOR_PREFIX: &[u8] = b"vexfs.";

/// The index that a name of `user.` means.
fn index_name(ns: Namespace, name: &[u8]) -> Option<&[u8]> {
    (ns == Namespace::User)
        .then(|| name.strip_prefix(VECTOR_PREFIX))
        .flatten()
}

fn engine_ns(ns: Namespace) -> Ns {
    match ns {
        Namespace::User => Ns::User,
        Namespace::Trusted => Ns::Trusted,
        Namespace::Security => Ns::Security,
    }
}

/// As the kernel wants it: a missing attribute is `ENODATA`.
fn no_data(e: Error) -> kernel::error::Error {
    match e {
        Error::NotFound => code::ENODATA,
        e => errno(e),
    }
}

impl XattrOperations for VexFs {
    fn get_xattr(inode: &INode<Self>, ns: Namespace, name: &[u8], out: &mut [u8]) -> Result<usize> {
        let sb = inode.sb();
        if let Some(index) = index_name(ns, name) {
            return ioctl::get_view(inode, index, out);
        }
        let got = sb.mount().read(|io| {
            xattr::get(
                io,
                &engine::inode::load(io, inode.ino())?,
                engine_ns(ns),
                name,
                out,
            )
        });
        got.map_err(|e| {
            if e.is_clean() {
                no_data(e)
            } else {
                read_failed(sb, inode.ino(), e)
            }
        })
    }

    fn set_xattr(
        inode: &INode<Self>,
        idmap: IdMap<'_>,
        ns: Namespace,
        name: &[u8],
        value: Option<&[u8]>,
        mode: SetMode,
    ) -> Result {
        if let Some(index) = index_name(ns, name) {
            return ioctl::set_view(inode, idmap, index, value, mode);
        }
        set(inode, ns, name, value, mode)
    }
}

/// Sets or removes an attribute that is none of a vector.
#[inline(never)]
fn set(
    inode: &INode<VexFs>,
    ns: Namespace,
    name: &[u8],
    value: Option<&[u8]>,
    mode: SetMode,
) -> Result {
    let sb = inode.sb();
    let ctime = inode.touch_ctime();
    let now = layout::inode::Time {
        sec: ctime.sec,
        nsec: ctime.nsec,
    };
    let flags = match mode {
        SetMode::Any => SetFlags::Any,
        SetMode::Create => SetFlags::Create,
        SetMode::Replace => SetFlags::Replace,
    };
    let len = value.map_or(0, <[u8]>::len);
    let credits = |io: &super::blocks::Reader<'_>| {
        let loaded = engine::inode::load(io, inode.ino())?;
        xattr::set_credits(io, &loaded, engine_ns(ns), name, len)
    };
    let done = transact(sb, inode.ino(), credits, |cx| {
        cx.now = now;
        match value {
            Some(value) => xattr::set(cx, inode.ino(), engine_ns(ns), name, value, flags),
            None => xattr::remove(cx, inode.ino(), engine_ns(ns), name),
        }
    });
    let (changed, tid) = done.map_err(|f| match f {
        super::mount::Failure::Clean(e) => no_data(e),
        f => f.into(),
    })?;
    refresh(inode, &changed, tid);
    Ok(())
}

/// Names the attributes of an inode, vectors included.
pub(super) fn list(inode: &INode<VexFs>, out: &mut ListXattr<'_>) -> Result {
    let sb = inode.sb();
    let mut full = None;
    let listed = sb.mount().read(|io| {
        let loaded = engine::inode::load(io, inode.ino())?;
        xattr::list(io, &loaded, |ns, name, _| {
            let ns = match ns {
                Ns::User => Namespace::User,
                Ns::Trusted => Namespace::Trusted,
                Ns::Security => Namespace::Security,
                Ns::System => return Ok(true),
            };
            if let Err(e) = out.add(ns, name) {
                full = Some(e);
            }
            Ok(full.is_none())
        })?;
        if loaded.vectors == 0 || full.is_some() {
            return Ok(());
        }
        // Label 0 of every index; the names are those of the caller's rights only, as reading is.
        let mut name = [0u8; 6 + layout::vector::INDEX_NAME_MAX];
        vector::for_each(io, &loaded, vector::RecordPos::START, |record| {
            if record.label == 0 {
                let index = vector::load(io, record.index)?;
                if ioctl::may_use(&index, Right::Search) {
                    let text = index.name.as_bytes();
                    let end = VECTOR_PREFIX.len().saturating_add(text.len());
                    let fits = layout::bytes::put(&mut name, 0, VECTOR_PREFIX)
                        .and_then(|()| layout::bytes::put(&mut name, VECTOR_PREFIX.len(), text));
                    if let (Some(()), Some(name)) = (fits, name.get(..end)) {
                        if let Err(e) = out.add(Namespace::User, name) {
                            full = Some(e);
                        }
                    }
                }
            }
            Ok(full.is_none())
        })
    });
    listed.map_err(|e| read_failed(sb, inode.ino(), e))?;
    full.map_or(Ok(()), Err)
}
