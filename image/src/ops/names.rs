// SPDX-License-Identifier: GPL-2.0-only
//! Making, listing, moving and removing names.

use std::path::Path;

use engine::inode::{self, NewInode, SetAttributes};
use engine::{dir, namei};
use layout::inode::{mode, FileType, Inode};

use crate::error::Result;
use crate::image::Image;

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The inode.
    pub ino: u64,
    /// Its type.
    pub file_type: FileType,
    /// The position of the entry: list from the next number on to continue after it.
    pub cookie: u64,
    /// The name.
    pub name: Vec<u8>,
}

impl Image {
    /// Makes an inode with a name. Its type comes from the mode in `new`.
    ///
    /// # Errors
    /// [`engine::Error::Exists`] and the others of [`namei::create`]; those of [`Image::resolve_parent`].
    pub fn create(&mut self, path: impl AsRef<Path>, new: &NewInode<'_>) -> Result<Inode> {
        let (parent, name) = self.resolve_parent(path.as_ref())?;
        self.create_in(parent.ino, name, new)
    }

    /// Makes an inode with the name `name` in directory `parent`.
    ///
    /// # Errors
    /// Those of [`namei::create`].
    pub fn create_in(&mut self, parent: u64, name: &[u8], new: &NewInode<'_>) -> Result<Inode> {
        let credits = namei::create_credits(&self.inode(parent)?, new.target.len());
        self.with_credits(
            credits,
            |cx| Ok(namei::create(cx, parent, name, new)?.inode),
        )
    }

    /// Makes a directory, with mode 0755, owned by root.
    ///
    /// # Errors
    /// As for [`Image::create`].
    pub fn mkdir(&mut self, path: impl AsRef<Path>) -> Result<Inode> {
        let new = NewInode {
            mode: mode::DIRECTORY | 0o755,
            ..NewInode::default()
        };
        self.create(path, &new)
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// As for [`Image::create`].
    pub fn symlink(&mut self, path: impl AsRef<Path>, target: &[u8]) -> Result<Inode> {
        let new = NewInode {
            mode: mode::SYMLINK | 0o777,
            target,
            ..NewInode::default()
        };
        self.create(path, &new)
    }

    /// Gives an inode one more name.
    ///
    /// # Errors
    /// Those of [`namei::link`] and [`Image::resolve_parent`].
    pub fn link(&mut self, ino: u64, path: impl AsRef<Path>) -> Result<Inode> {
        let (parent, name) = self.resolve_parent(path.as_ref())?;
        let inode = self.inode(ino)?;
        let credits = self.read(|io| namei::link_credits(io, &inode, &parent))?;
        self.with_credits(credits, |cx| {
            Ok(namei::link(cx, ino, parent.ino, name)?.inode)
        })
    }

    /// Removes a name that is no directory's; what has no name left is freed.
    ///
    /// # Errors
    /// Those of [`namei::unlink`] and [`Image::resolve_parent`].
    pub fn unlink(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let (parent, name) = self.resolve_parent(path.as_ref())?;
        self.remove_in(&parent, name, false)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// Those of [`namei::rmdir`] and [`Image::resolve_parent`].
    pub fn rmdir(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let (parent, name) = self.resolve_parent(path.as_ref())?;
        self.remove_in(&parent, name, true)
    }

    fn remove_in(&mut self, parent: &Inode, name: &[u8], is_dir: bool) -> Result<()> {
        let credits = self.read(|io| {
            let entry = dir::lookup(io, parent, name)?.ok_or(engine::Error::NotFound)?;
            namei::remove::remove_credits(io, parent, &inode::load_named(io, entry.ino)?)
        })?;
        let removed = self.with_credits(credits, |cx| {
            if is_dir {
                namei::rmdir(cx, parent.ino, name)
            } else {
                namei::unlink(cx, parent.ino, name)
            }
        })?;
        if removed.inode.links == 0 {
            self.finish_orphan(removed.inode.ino)?;
        }
        Ok(())
    }

    /// Renames. What had the new name before is freed, if that was its last.
    ///
    /// # Errors
    /// Those of [`namei::rename`] and [`Image::resolve_parent`].
    pub fn rename(
        &mut self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        flags: namei::RenameFlags,
    ) -> Result<()> {
        let (old_dir, old_name) = self.resolve_parent(from.as_ref())?;
        let (new_dir, new_name) = self.resolve_parent(to.as_ref())?;
        let renamed = self.with_txn(|cx| {
            namei::rename(cx, old_dir.ino, old_name, new_dir.ino, new_name, flags)
        })?;
        match renamed.target {
            Some(target) if target.links == 0 => self.finish_orphan(target.ino),
            _ => Ok(()),
        }
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// Those of [`inode::set_attributes`].
    pub fn set_attributes(&mut self, ino: u64, set: &SetAttributes) -> Result<Inode> {
        self.with_credits(inode::SET_ATTRIBUTES_CREDITS, |cx| {
            inode::set_attributes(cx, ino, set)
        })
    }

    /// The entries of a directory without `.` and `..`, in the order of their cookies.
    ///
    /// # Errors
    /// [`engine::Error::NotDirectory`], [`engine::Error::Corrupt`].
    pub fn list(&self, directory: &Inode) -> Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        self.read(|io| {
            dir::read(io, directory, 0, |cookie, entry| {
                entries.push(DirEntry {
                    ino: entry.ino,
                    file_type: entry.file_type,
                    cookie,
                    name: entry.name.to_vec(),
                });
                Ok(true)
            })
        })?;
        Ok(entries)
    }
}
