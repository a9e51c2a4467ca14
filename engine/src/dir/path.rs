// SPDX-License-Identifier: GPL-2.0-only
//! From an inode up to the root: full paths, with a say for the caller at every directory, and whether one directory lies
//! below another. It only reads.
//!
//! Climbing follows parent pointers, which come from disk: a loop among them is found by Brent's algorithm (R. P. Brent, "An improved
//! Monte Carlo factorization algorithm", 1980) after at most a few rounds, with two numbers of memory.

use crate::dir::is_root;
use crate::dir::parents::{self, parent_of, Position};
use crate::error::{Error, Result};
use crate::inode;
use crate::io::ReadBlocks;
use layout::bytes;
use layout::inode::Inode;

/// Finds out whether a sequence of inode numbers runs in a circle.
struct LoopCheck {
    saved: u64,
    steps: u64,
    limit: u64,
}

impl LoopCheck {
    fn new() -> LoopCheck {
        LoopCheck {
            saved: 0,
            steps: 0,
            limit: 1,
        }
    }

    /// The sequence reached `ino`. Inode numbers are not 0, so the first `saved` matches none.
    fn step<R: ReadBlocks>(&mut self, io: &R, ino: u64) -> Result<()> {
        if ino == self.saved {
            return Err(Error::corrupt(
                inode::home_block(io, ino),
                "parent pointers of directories run in a circle",
            ));
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps >= self.limit {
            self.saved = ino;
            self.steps = 0;
            self.limit = self.limit.saturating_mul(2);
        }
        Ok(())
    }
}

/// Whether directory `dir` is `ancestor` or lies below it.
pub fn is_below<R: ReadBlocks>(io: &R, dir: u64, ancestor: u64) -> Result<bool> {
    let mut at = dir;
    let mut check = LoopCheck::new();
    let mut inode = inode::BLANK;
    loop {
        if at == ancestor {
            return Ok(true);
        }
        if is_root(at) {
            return Ok(false);
        }
        check.step(io, at)?;
        inode::load_named_into(io, at, &mut inode)?;
        at = parent_of(io, &inode)?;
    }
}

/// What [`find`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathSearch {
    /// A path: it fills the buffer from this offset to the end.
    Found(usize),
    /// As many names as asked for were tried without success: call again.
    More,
    /// No name is left. `too_long`: one of them would have been allowed but did not fit the buffer.
    None {
        /// Whether a larger buffer could have helped.
        too_long: bool,
    },
}

/// Looks for a path of `inode` (a copy just loaded) all of whose directories `allow` lets pass: from the directory of the name up
/// to and including the root. It tries the inode's names in turn from `position`, at most `tries` of them, and moves `position` on.
///
/// The path begins with `/`, is not terminated by NUL, and is written to the end of `buf`. The root's path is `/`, and
/// `allow` is not asked for it. Directories that the buffer has no room for are not asked for either: the name counts as too long if
/// those before them let it pass.
///
/// Nothing but `buf` bounds the depth of directories, and nothing but `tries` the number of names: callers hold the metadata
/// lock and should choose both with care.
pub fn find<R: ReadBlocks>(
    io: &R,
    inode: &Inode,
    position: &mut Position,
    tries: u32,
    buf: &mut [u8],
    mut allow: impl FnMut(&Inode) -> Result<bool>,
) -> Result<PathSearch> {
    let end = buf.len();
    if is_root(inode.ino) {
        return Ok(match put_before(buf, end, &[]) {
            Some(at) => PathSearch::Found(at),
            None => PathSearch::None { too_long: true },
        });
    }
    let mut left = tries;
    let mut too_long = false;
    let mut result = None;
    parents::each(io, inode, *position, |p| {
        let Some(rest) = left.checked_sub(1) else {
            result = Some(PathSearch::More);
            return Ok(false);
        };
        left = rest;
        *position = Position::after(p.dir, p.cookie);
        let Some(at) = put_before(buf, end, p.name) else {
            too_long = true;
            return Ok(true);
        };
        match climb(io, p.dir, buf, at, &mut allow)? {
            Climb::Root(at) => result = Some(PathSearch::Found(at)),
            Climb::Denied => {}
            Climb::TooLong => too_long = true,
        }
        Ok(result.is_none())
    })?;
    Ok(result.unwrap_or(PathSearch::None { too_long }))
}

/// One path of inode `ino`, whatever its directories' permissions are: the bytes of `buf` from the returned offset on.
///
/// Errors, clean: [`Error::Stale`], [`Error::NotFound`] if it has no name, [`Error::BufferTooSmall`].
pub fn any<R: ReadBlocks>(io: &R, ino: u64, buf: &mut [u8]) -> Result<usize> {
    let inode = inode::load(io, ino)?;
    let mut position = Position::default();
    match find(io, &inode, &mut position, u32::MAX, buf, |_| Ok(true))? {
        PathSearch::Found(at) => Ok(at),
        PathSearch::None { too_long: true } => Err(Error::BufferTooSmall),
        _ => Err(Error::NotFound),
    }
}

enum Climb {
    /// The root was reached; the path begins here.
    Root(usize),
    Denied,
    TooLong,
}

/// Puts the names of directory `dir` and of those above it before `at`.
fn climb<R: ReadBlocks>(
    io: &R,
    dir: u64,
    buf: &mut [u8],
    at: usize,
    allow: &mut impl FnMut(&Inode) -> Result<bool>,
) -> Result<Climb> {
    let mut at = at;
    let mut next = dir;
    let mut check = LoopCheck::new();
    let mut dir = inode::BLANK;
    loop {
        inode::load_named_into(io, next, &mut dir)?;
        if !dir.is_dir() {
            return Err(Error::corrupt(
                inode::home_block(io, dir.ino),
                "a parent pointer leads to no directory",
            ));
        }
        if !allow(&dir)? {
            return Ok(Climb::Denied);
        }
        if is_root(dir.ino) {
            return Ok(Climb::Root(at));
        }
        check.step(io, dir.ino)?;
        let mut above = None;
        parents::each(io, &dir, Position::default(), |p| {
            above = Some((p.dir, put_before(buf, at, p.name)));
            Ok(false)
        })?;
        match above.ok_or(parents::orphaned(io, &dir))? {
            (parent, Some(start)) => (next, at) = (parent, start),
            (_, None) => return Ok(Climb::TooLong),
        }
    }
}

/// Puts `/` and `name` before `at`; returns where they begin, `None` if there is no room.
fn put_before(buf: &mut [u8], at: usize, name: &[u8]) -> Option<usize> {
    let start = at.checked_sub(name.len())?.checked_sub(1)?;
    bytes::put(buf, start, b"/")?;
    bytes::put(buf, start.saturating_add(1), name)?;
    Some(start)
}
