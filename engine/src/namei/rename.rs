// SPDX-License-Identifier: GPL-2.0-only
//! Rename: moving a name, replacing what has the new one, or exchanging two names.
//!
//! A replaced entry keeps its cookie and only changes its inode, so a reader of the directory sees the name exactly once.

use super::load_entry;
use super::remove::{check_removable, lose_credits, lose_name};
use crate::cx::Cx;
use crate::dir::path::is_below;
use crate::dir::{self, parents, Entry};
use crate::error::{Error, Result};
use crate::inode::{self, BLANK, STORE_CREDITS};
use crate::io::{ReadBlocks, Transaction};
use crate::tree::{self, Which};
use crate::{orphan, space};
use layout::dirent::Dirent;
use layout::inode::Inode;

/// What a rename may do about the new name, as renameat2(2) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameFlags {
    /// Replace what has it.
    #[default]
    Replace,
    /// RENAME_NOREPLACE: fail if something has it.
    NoReplace,
    /// RENAME_EXCHANGE: give it the old name; fail if nothing has it.
    Exchange,
}

/// The inodes after a rename.
#[derive(Clone, Copy, Debug)]
pub struct Renamed {
    /// Where the old name was.
    pub old_dir: Inode,
    /// Where the new name is; `None` if it is the same directory.
    pub new_dir: Option<Inode>,
    /// What was moved.
    pub source: Inode,
    /// What had the new name: replaced (an orphan if it has no links), or exchanged. `None` if nothing had it, or the names were links
    /// to one inode and nothing was done.
    pub target: Option<Inode>,
}

impl Default for Renamed {
    /// A place for a result.
    fn default() -> Self {
        Renamed {
            old_dir: BLANK,
            new_dir: None,
            source: BLANK,
            target: None,
        }
    }
}

/// The directory of the new name.
fn dest<'a>(old_dir: &'a mut Inode, new_dir: &'a mut Option<Inode>) -> &'a mut Inode {
    new_dir.as_mut().unwrap_or(old_dir)
}

/// One end of a rename.
#[derive(Clone, Copy)]
struct End<'a> {
    dir: u64,
    cookie: u64,
    name: &'a [u8],
}

/// Renames `old_name` in directory `old_dir` to `new_name` in directory `new_dir`. Two names of one inode: nothing happens, as POSIX
/// wants it.
///
/// Errors, clean: [`Error::NotFound`], [`Error::Exists`] (with [`RenameFlags::NoReplace`]), [`Error::NotDirectory`], [`Error::IsDirectory`],
/// [`Error::NotEmpty`], [`Error::Loop`] (a directory would come to lie below itself), [`Error::TooManyLinks`], [`Error::HashFull`],
/// [`Error::NameTooLong`], [`Error::Range`], [`Error::NoSpace`], [`Error::Stale`].
pub fn rename<T: Transaction>(
    cx: &mut Cx<'_, T>,
    old_dir: u64,
    old_name: &[u8],
    new_dir: u64,
    new_name: &[u8],
    flags: RenameFlags,
) -> Result<Renamed> {
    let mut at = Renamed::default();
    rename_into(cx, old_dir, old_name, new_dir, new_name, flags, &mut at)?;
    Ok(at)
}

/// As [`rename`], with the result in a place of the caller's, for callers whose stack is small: a [`Renamed`] has almost 2 KiB. After an
/// error it holds nothing of meaning.
pub fn rename_into<T: Transaction>(
    cx: &mut Cx<'_, T>,
    old_dir: u64,
    old_name: &[u8],
    new_dir: u64,
    new_name: &[u8],
    flags: RenameFlags,
    at: &mut Renamed,
) -> Result<()> {
    dir::load_into(cx.io, old_dir, &mut at.old_dir)?;
    let from = dir::lookup(cx.io, &at.old_dir, old_name)?.ok_or(Error::NotFound)?;
    at.new_dir = None;
    if new_dir != old_dir {
        dir::load_into(cx.io, new_dir, at.new_dir.insert(BLANK))?;
    }
    let to = dir::lookup(cx.io, at.new_dir.as_ref().unwrap_or(&at.old_dir), new_name)?;
    load_entry(cx.io, &from, &mut at.source)?;
    at.target = None;
    match (flags, &to) {
        (RenameFlags::NoReplace, Some(_)) => return Err(Error::Exists),
        (RenameFlags::Exchange, None) => return Err(Error::NotFound),
        (_, Some(to)) if to.ino == from.ino => return Ok(()),
        (_, Some(to)) => load_entry(cx.io, to, at.target.insert(BLANK))?,
        (_, None) => {}
    }
    check_places(cx.io, at, flags)?;
    let from = End {
        dir: old_dir,
        cookie: from.cookie,
        name: old_name,
    };
    match (flags, to) {
        (RenameFlags::Exchange, Some(to)) => {
            let to = End {
                dir: new_dir,
                cookie: to.cookie,
                name: new_name,
            };
            exchange(cx, at, from, to)?;
        }
        _ => relocate(cx, at, from, new_dir, new_name, to)?,
    }
    finish(cx, at)
}

/// Checks that no directory comes to lie below itself, and that the directories and inodes are all different, as they must be to
/// be changed as copies.
fn check_places<R: ReadBlocks>(io: &R, at: &Renamed, flags: RenameFlags) -> Result<()> {
    let new_dir = at.new_dir.as_ref().map_or(at.old_dir.ino, |d| d.ino);
    let target = at.target.as_ref();
    if at.source.ino == at.old_dir.ino || target.is_some_and(|t| t.ino == new_dir) {
        return Err(Error::corrupt(
            inode::home_block(io, at.source.ino),
            "a directory is an entry of itself",
        ));
    }
    if at.new_dir.is_none() {
        return Ok(());
    }
    if at.source.is_dir() && is_below(io, new_dir, at.source.ino)? {
        return Err(Error::Loop);
    }
    if let Some(target) = target.filter(|t| t.is_dir()) {
        if is_below(io, at.old_dir.ino, target.ino)? {
            return Err(match flags {
                RenameFlags::Exchange => Error::Loop,
                _ => Error::NotEmpty,
            });
        }
    }
    Ok(())
}

/// Moves a name, and replaces what has the new one.
fn relocate<T: Transaction>(
    cx: &mut Cx<'_, T>,
    at: &mut Renamed,
    from: End<'_>,
    new_dir_ino: u64,
    new_name: &[u8],
    to: Option<Entry>,
) -> Result<()> {
    let Renamed {
        old_dir,
        new_dir,
        source,
        target,
    } = at;
    let moves_dir = source.is_dir();
    match target {
        Some(t) if moves_dir => check_removable(cx.io, t)?,
        Some(t) if t.is_dir() => return Err(Error::IsDirectory),
        _ => {}
    }
    let gains_subdir = moves_dir && target.is_none() && new_dir.is_some();
    if gains_subdir && !inode::can_link(dest(old_dir, new_dir)) {
        return Err(Error::TooManyLinks);
    }
    let cookie = match to {
        Some(to) => to.cookie,
        None => dir::new_cookie(cx.io, dest(old_dir, new_dir), new_name)?,
    };
    let mut need = tree::new_blocks(source, Which::Attr)
        .saturating_add(tree::new_blocks(dest(old_dir, new_dir), Which::Data));
    if target.is_some() {
        need = need.saturating_add(orphan::new_blocks(cx.io)?);
    }
    space::require(cx, need)?;

    let entry = Dirent {
        ino: source.ino,
        file_type: source.file_type(),
        name: new_name,
    };
    if let Some(target) = target {
        dir::retarget(cx, dest(old_dir, new_dir), cookie, &entry)?;
        lose_name(cx, dest(old_dir, new_dir), target, cookie)?;
        inode::store(cx, target)?;
    } else {
        dir::insert(cx, dest(old_dir, new_dir), cookie, &entry)?;
    }
    dir::remove(cx, old_dir, from.cookie).map_err(Error::late)?;
    parents::remove(cx, source, from.dir, from.cookie).map_err(Error::late)?;
    parents::add(cx, source, new_dir_ino, cookie, new_name).map_err(Error::late)?;
    if moves_dir {
        // The source leaves the old directory's count and enters the new one's; a replaced directory has left it.
        inode::drop_link(cx.io, old_dir)?;
        inode::add_link(dest(old_dir, new_dir))?;
    }
    Ok(())
}

/// Exchanges two names.
fn exchange<T: Transaction>(
    cx: &mut Cx<'_, T>,
    at: &mut Renamed,
    from: End<'_>,
    to: End<'_>,
) -> Result<()> {
    let Renamed {
        old_dir,
        new_dir,
        source,
        target,
    } = at;
    let target = target
        .as_mut()
        .ok_or(Error::Internal("exchange without a target"))?;
    let (s, t) = (source.is_dir(), target.is_dir());
    if new_dir.is_some() && s != t {
        let gains = if s {
            dest(old_dir, new_dir)
        } else {
            &mut *old_dir
        };
        if !inode::can_link(gains) {
            return Err(Error::TooManyLinks);
        }
    }
    let need = tree::new_blocks(source, Which::Attr)
        .saturating_add(tree::new_blocks(target, Which::Attr))
        .saturating_add(tree::new_blocks(old_dir, Which::Data))
        .saturating_add(tree::new_blocks(dest(old_dir, new_dir), Which::Data));
    space::require(cx, need)?;

    let here = Dirent {
        ino: target.ino,
        file_type: target.file_type(),
        name: from.name,
    };
    let there = Dirent {
        ino: source.ino,
        file_type: source.file_type(),
        name: to.name,
    };
    dir::retarget(cx, old_dir, from.cookie, &here)?;
    dir::retarget(cx, dest(old_dir, new_dir), to.cookie, &there).map_err(Error::late)?;
    parents::remove(cx, source, from.dir, from.cookie).map_err(Error::late)?;
    parents::add(cx, source, to.dir, to.cookie, to.name).map_err(Error::late)?;
    parents::remove(cx, target, to.dir, to.cookie).map_err(Error::late)?;
    parents::add(cx, target, from.dir, from.cookie, from.name).map_err(Error::late)?;
    if s && !t {
        inode::drop_link(cx.io, old_dir)?;
        inode::add_link(dest(old_dir, new_dir))?;
    } else if t && !s {
        inode::drop_link(cx.io, dest(old_dir, new_dir))?;
        inode::add_link(old_dir)?;
    }
    inode::touch(target, cx.now);
    inode::store(cx, target)
}

/// Times, and storing of what both kinds of rename change.
fn finish<T: Transaction>(cx: &mut Cx<'_, T>, at: &mut Renamed) -> Result<()> {
    inode::touch(&mut at.source, cx.now);
    inode::store(cx, &at.source)?;
    inode::touch_contents(&mut at.old_dir, cx.now);
    inode::store(cx, &at.old_dir)?;
    if let Some(dir) = &mut at.new_dir {
        inode::touch_contents(dir, cx.now);
        inode::store(cx, dir)?;
    }
    Ok(())
}

/// Blocks that [`rename`] may change: `new_dir` may be the same directory; `target` is what has the new name now.
pub fn rename_credits<R: ReadBlocks>(
    io: &R,
    old_dir: &Inode,
    new_dir: &Inode,
    source: &Inode,
    target: Option<&Inode>,
) -> Result<u32> {
    let lost = match target {
        // An exchange moves its parent pointer instead of losing it.
        Some(t) => lose_credits(io, t)?.saturating_add(tree::credits(t, Which::Attr)),
        None => 0,
    };
    Ok(tree::credits(old_dir, Which::Data)
        .saturating_add(tree::credits(new_dir, Which::Data))
        .saturating_add(tree::credits(source, Which::Attr).saturating_mul(2))
        .saturating_add(lost)
        .saturating_add(STORE_CREDITS.saturating_mul(4)))
}
