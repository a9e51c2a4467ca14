// SPDX-License-Identifier: GPL-2.0-only
//! A regular file or a block device. It takes care that nobody else uses it: a block device is opened exclusively (refused while mounted or
//! in use by another subsystem), a regular file is locked against other VexFS tools.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{fallocate, FallocateFlags, Flock, FlockArg, OFlag};

use super::{check_range, Device};

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading. Works on a mounted block device too; the caller gets whatever is on the disk at the moment.
    Read,
    /// For reading and writing, with nobody else.
    Write,
}

/// A regular file or block device.
#[derive(Debug)]
pub struct FileDevice {
    file: Flock<File>,
    size: u64,
}

impl FileDevice {
    /// Opens `path`, which must be a regular file or a block device.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if the device is mounted or otherwise in use; errors of open(2).
    pub fn open(path: &Path, access: Access) -> io::Result<Self> {
        let kind = std::fs::metadata(path)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a regular file nor a block device",
            ));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        if kind.is_block_device() && access == Access::Write {
            // Without O_CREAT, O_EXCL on a block device means: not while it is mounted or held by a driver.
            options.custom_flags(OFlag::O_EXCL.bits());
        }
        let mut file = options.open(path)?;
        // The same for both kinds: a block device reports its size as the end of the file.
        let size = file.seek(SeekFrom::End(0))?;
        let lock = match access {
            Access::Read => FlockArg::LockSharedNonblock,
            Access::Write => FlockArg::LockExclusiveNonblock,
        };
        let file = Flock::lock(file, lock).map_err(|(_, errno)| {
            if errno == Errno::EWOULDBLOCK {
                io::Error::new(io::ErrorKind::ResourceBusy, "in use by another program")
            } else {
                errno.into()
            }
        })?;
        Ok(Self { file, size })
    }

    /// Makes a new sparse file of `size` bytes and opens it for writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if `path` exists; errors of open(2) and ftruncate(2).
    pub fn create(path: &Path, size: u64) -> io::Result<Self> {
        File::create_new(path)?.set_len(size)?;
        Self::open(path, Access::Write)
    }
}

impl Device for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, buf.len() as u64)?;
        self.file.write_all_at(buf, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<bool> {
        check_range(self.size, offset, len)?;
        // On a block device the kernel zeroes the range with the device's own command, or fails if it has none.
        let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else {
            return Ok(false);
        };
        match fallocate(self.file.as_raw_fd(), mode, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL | Errno::ENODEV) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written_and_refuses_the_outside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let device = FileDevice::create(&path, 1 << 20).unwrap();
        device.write_at(4096, b"hello").unwrap();
        device.flush().unwrap();
        let mut buf = [1; 6];
        device.read_at(4095, &mut buf).unwrap();
        assert_eq!(&buf, b"\0hello");
        assert!(device.write_at((1 << 20) - 1, b"xx").is_err());
        assert!(device.read_at(u64::MAX, &mut buf).is_err());
        assert!(device.discard(0, 1 << 20).unwrap());
        device.read_at(4095, &mut buf).unwrap();
        assert_eq!(buf, [0; 6]);
    }

    #[test]
    fn a_file_open_for_writing_is_refused_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let writer = FileDevice::create(&path, 1 << 20).unwrap();
        for access in [Access::Read, Access::Write] {
            assert_eq!(
                FileDevice::open(&path, access).unwrap_err().kind(),
                io::ErrorKind::ResourceBusy
            );
        }
        drop(writer);
        let reader = FileDevice::open(&path, Access::Read).unwrap();
        FileDevice::open(&path, Access::Read).unwrap();
        assert!(reader.write_at(0, b"x").is_err());
    }

    #[test]
    fn a_directory_is_no_device() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            FileDevice::open(dir.path(), Access::Read)
                .unwrap_err()
                .kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
