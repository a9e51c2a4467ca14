// SPDX-License-Identifier: GPL-2.0-only
//! From paths inside an image to inodes, and back.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use engine::dir::path::PathSearch;
use engine::{dir, inode, symlink};
use layout::inode::{FileType, Inode};
use layout::{ino, NAME_MAX};

use crate::error::{Error, Result};
use crate::image::Image;

/// Symbolic links followed in one path, as in Linux.
const MAX_LINKS: u32 = 40;

impl Image {
    /// Loads an inode by number.
    ///
    /// # Errors
    /// [`engine::Error::Stale`] if it is not in use.
    pub fn inode(&self, ino: u64) -> Result<Inode> {
        self.read(|io| inode::load(io, ino))
    }

    /// The inode at `path`, counted from the root of the image whether or not it begins with a slash. Symbolic links are followed.
    ///
    /// # Errors
    /// [`Error::Path`] with the engine's reason, such as [`engine::Error::NotFound`] or [`engine::Error::NotDirectory`].
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Inode> {
        self.walk(path.as_ref(), true)
    }

    /// Like [`Image::resolve`], but a symbolic link at the end is the result itself.
    ///
    /// # Errors
    /// As for [`Image::resolve`].
    pub fn resolve_no_follow(&self, path: impl AsRef<Path>) -> Result<Inode> {
        self.walk(path.as_ref(), false)
    }

    /// The directory in which the last name of `path` stands or would stand, and that name.
    ///
    /// # Errors
    /// As for [`Image::resolve`]; [`engine::Error::Range`] if `path` ends in `.`, `..` or is the root.
    pub fn resolve_parent<'p>(&self, path: &'p Path) -> Result<(Inode, &'p [u8])> {
        let name = match path.file_name() {
            Some(name) if !ends_in_dot(path) => name.as_bytes(),
            _ => return Err(at(path, engine::Error::Range("the path ends in no name"))),
        };
        let parent = self.walk(path.parent().unwrap_or(Path::new("")), true)?;
        Ok((parent, name))
    }

    /// A path of inode `ino`, from the root of the image, with a slash in front.
    ///
    /// # Errors
    /// [`engine::Error::NotFound`] if it has no name; [`engine::Error::Stale`].
    pub fn path_of(&self, ino: u64) -> Result<Vec<u8>> {
        let mut buf = vec![0; 4096];
        loop {
            match dir::path::any(self.blocks(), ino, &mut buf) {
                Ok(start) => {
                    buf.drain(..start);
                    return Ok(buf);
                }
                // Paths have no largest length; directories nest as deep as they like.
                Err(engine::Error::BufferTooSmall) if buf.len() < (1 << 24) => {
                    buf = vec![0; buf.len() * 4]
                }
                Err(error) => return self.read(|_| Err(error)),
            }
        }
    }

    /// A path of an inode that leads through the folder `through`; `None` if none does.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn path_through(&self, ino: u64, through: u64) -> Result<Option<Vec<u8>>> {
        let mut buf = vec![0; 1 << 16];
        let mut position = dir::parents::Position::default();
        loop {
            let mut met = false;
            let found = self.read(|io| {
                let inode = engine::inode::load(io, ino)?;
                dir::path::find(io, &inode, &mut position, 1, &mut buf, |folder| {
                    met |= folder.ino == through;
                    Ok(true)
                })
            })?;
            match found {
                PathSearch::Found(start) if met => {
                    buf.drain(..start);
                    return Ok(Some(buf));
                }
                PathSearch::Found(_) | PathSearch::More => {}
                PathSearch::None { too_long: true } if buf.len() < (1 << 24) => {
                    buf = vec![0; buf.len() * 4];
                    position = dir::parents::Position::default();
                }
                PathSearch::None { .. } => return Ok(None),
            }
        }
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`engine::Error::Range`] if it is none.
    pub fn read_link(&self, link: &Inode) -> Result<Vec<u8>> {
        if link.file_type() != FileType::Symlink {
            return Err(engine::Error::Range("not a symbolic link").into());
        }
        let mut buf = vec![0; symlink::TARGET_MAX];
        let len = self.read(|io| symlink::read(io, link, &mut buf))?;
        buf.truncate(len);
        Ok(buf)
    }

    fn walk(&self, path: &Path, follow_last: bool) -> Result<Inode> {
        // Names still to go, the next one last.
        let mut names = names_reversed(path.as_os_str().as_bytes());
        let mut here = self.inode(ino::ROOT)?;
        let mut links = 0;
        while let Some(name) = names.pop() {
            let next = self.step(&here, &name).map_err(|error| match error {
                Error::Engine(source) => at(path, source),
                other => other,
            })?;
            let follow = follow_last || !names.is_empty();
            if next.file_type() != FileType::Symlink || !follow {
                here = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(at(path, engine::Error::Loop));
            }
            let target = self.read_link(&next)?;
            if target.first() == Some(&b'/') {
                here = self.inode(ino::ROOT)?;
            }
            names.extend(names_reversed(&target));
        }
        if path.as_os_str().as_bytes().last() == Some(&b'/') && !here.is_dir() {
            return Err(at(path, engine::Error::NotDirectory));
        }
        Ok(here)
    }

    fn step(&self, here: &Inode, name: &[u8]) -> Result<Inode> {
        if !here.is_dir() {
            return Err(engine::Error::NotDirectory.into());
        }
        match name {
            b"." => Ok(*here),
            b".." if here.ino == ino::ROOT => Ok(*here),
            b".." => self.read(|io| inode::load(io, dir::parents::parent_of(io, here)?)),
            _ if name.len() > NAME_MAX => Err(engine::Error::NameTooLong.into()),
            _ => self.read(|io| {
                let entry = dir::lookup(io, here, name)?.ok_or(engine::Error::NotFound)?;
                inode::load_named(io, entry.ino)
            }),
        }
    }
}

fn names_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path
        .split(|&byte| byte == b'/')
        .filter(|name| !name.is_empty());
    names.rev().map(<[u8]>::to_vec).collect()
}

fn ends_in_dot(path: &Path) -> bool {
    // `Path` drops a `.` at the end; mkdir("a/.") must not make `a`.
    let last = path
        .as_os_str()
        .as_bytes()
        .rsplit(|&byte| byte == b'/')
        .find(|name| !name.is_empty());
    matches!(last, Some(b"." | b".."))
}

fn at(path: &Path, source: engine::Error) -> Error {
    Error::Path {
        path: OsStr::to_string_lossy(path.as_os_str()).into_owned(),
        source,
    }
}
