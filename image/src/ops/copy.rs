// SPDX-License-Identifier: GPL-2.0-only
//! Copying files and trees of the host into an image: to make an image with contents without mounting it. Extended attributes are not copied.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use engine::inode::{NewInode, SetAttributes};
use layout::inode::{mode, FileType, Inode, Time};

use crate::error::{Error, Result};
use crate::image::Image;

/// How a tree is copied.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions {
    /// Keep user and group; else everything belongs to root.
    pub owner: bool,
    /// Keep the times of last access and change; else everything is new.
    pub times: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            owner: true,
            times: true,
        }
    }
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Directories, the top one included.
    pub directories: u64,
    /// Regular files.
    pub files: u64,
    /// Further names of files copied before.
    pub links: u64,
    /// Symbolic links and device nodes, pipes and sockets.
    pub others: u64,
    /// Bytes in files.
    pub bytes: u64,
}

/// Bytes read from the host at a time.
const PIECE: usize = 8 << 20;

impl Image {
    /// Copies the file or tree `from` of the host to `to`, which must not exist; its directory must. The names of a directory are copied in the order of their bytes, so equal trees
    /// give equal images.
    ///
    /// # Errors
    /// [`Error::Host`] if something cannot be read; those of [`Image::create`] and [`Image::write_at`].
    pub fn copy_in(&mut self, from: &Path, to: &Path, options: CopyOptions) -> Result<CopyReport> {
        let mut report = CopyReport::default();
        let mut seen = HashMap::new();
        let (parent, name) = self.resolve_parent(to)?;
        let mut pending = vec![(from.to_path_buf(), parent.ino, name.to_vec())];
        // Directories get their times last, when nothing changes in them any more.
        let mut directories = Vec::new();
        while let Some((from, parent, name)) = pending.pop() {
            let meta = fs::symlink_metadata(&from).map_err(host(&from))?;
            let inode =
                self.copy_one(&from, &meta, parent, &name, options, &mut seen, &mut report)?;
            if meta.is_dir() {
                let mut children = fs::read_dir(&from)
                    .and_then(|entries| {
                        entries
                            .map(|entry| Ok(entry?.file_name()))
                            .collect::<io::Result<Vec<_>>>()
                    })
                    .map_err(host(&from))?;
                children.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
                pending.extend(
                    children
                        .into_iter()
                        .map(|child| (from.join(&child), inode.ino, child.as_bytes().to_vec())),
                );
                directories.push((inode.ino, meta));
            }
        }
        for (ino, meta) in directories.iter().rev() {
            self.copy_times(*ino, meta, options)?;
        }
        Ok(report)
    }

    #[allow(clippy::too_many_arguments)] // what one step of the walk has, and nothing that belongs together
    fn copy_one(
        &mut self,
        from: &Path,
        meta: &Metadata,
        parent: u64,
        name: &[u8],
        options: CopyOptions,
        seen: &mut HashMap<(u64, u64), u64>,
        report: &mut CopyReport,
    ) -> Result<Inode> {
        let several = !meta.is_dir() && meta.nlink() > 1;
        if several {
            if let Some(&ino) = seen.get(&(meta.dev(), meta.ino())) {
                report.links += 1;
                let credits = {
                    let (inode, parent) = (self.inode(ino)?, self.inode(parent)?);
                    self.read(|io| engine::namei::link_credits(io, &inode, &parent))?
                };
                return self.with_credits(credits, |cx| {
                    Ok(engine::namei::link(cx, ino, parent, name)?.inode)
                });
            }
        }
        let target = if meta.is_symlink() {
            fs::read_link(from).map_err(host(from))?
        } else {
            PathBuf::new()
        };
        let kind = meta.file_type();
        let node = kind.is_char_device() || kind.is_block_device();
        let new = NewInode {
            mode: (meta.mode() & u32::from(mode::TYPE | 0o7777)) as u16,
            uid: if options.owner { meta.uid() } else { 0 },
            gid: if options.owner { meta.gid() } else { 0 },
            rdev: if node { encode_device(meta.rdev()) } else { 0 },
            target: target.as_os_str().as_bytes(),
            ..NewInode::default()
        };
        let inode = self.create_in(parent, name, &new)?;
        match inode.file_type() {
            FileType::Directory => report.directories += 1,
            FileType::Regular => {
                report.files += 1;
                report.bytes += self.copy_contents(from, inode.ino)?;
            }
            _ => report.others += 1,
        }
        if several {
            seen.insert((meta.dev(), meta.ino()), inode.ino);
        }
        if !meta.is_dir() {
            self.copy_times(inode.ino, meta, options)?;
        }
        Ok(inode)
    }

    /// Copies contents; runs of zeros that are whole pieces stay holes.
    fn copy_contents(&mut self, from: &Path, ino: u64) -> Result<u64> {
        let mut file = File::open(from).map_err(host(from))?;
        let mut piece = vec![
            0;
            PIECE.min(
                file.metadata()
                    .map_or(PIECE, |meta| meta.len() as usize + 1)
            )
        ];
        let mut at = 0;
        let mut written = 0;
        loop {
            let len = read_full(&mut file, &mut piece).map_err(host(from))?;
            if piece[..len].iter().any(|&byte| byte != 0) {
                self.write_at(ino, at, &piece[..len])?;
                written = at + len as u64;
            }
            at += len as u64;
            if len < piece.len() {
                break;
            }
        }
        if at > written {
            self.set_size(ino, at)?;
        }
        Ok(at)
    }

    fn copy_times(&mut self, ino: u64, meta: &Metadata, options: CopyOptions) -> Result<()> {
        if !options.times {
            return Ok(());
        }
        let time = |sec, nsec: i64| {
            Some(Time {
                sec,
                nsec: u32::try_from(nsec).unwrap_or(0),
            })
        };
        let set = SetAttributes {
            atime: time(meta.atime(), meta.atime_nsec()),
            mtime: time(meta.mtime(), meta.mtime_nsec()),
            ctime: Some(self.now()),
            ..SetAttributes::default()
        };
        self.set_attributes(ino, &set)?;
        Ok(())
    }
}

fn read_full(file: &mut File, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// A device number as the kernel stores it in 32 bits (`new_encode_dev`).
fn encode_device(device: u64) -> u32 {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    (minor & 0xff) as u32 | (major << 8) as u32 | ((minor & !0xff) << 12) as u32
}

fn host(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Host {
        path: path.display().to_string(),
        source,
    }
}
