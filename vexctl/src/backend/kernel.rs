// SPDX-License-Identifier: GPL-2.0-only
//! A mounted filesystem: requests to the kernel, and what its error numbers mean.
//! What the caller may do is decided there.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{anyhow, bail, ensure, Context as _, Error, Result};
use layout::efforts::EFFORTS;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::fstatfs;
use uapi::maintenance::{BUILD_TAKE_DOWN, REASON_SIZE};
use uapi::record::{PutRecord, DELETE_ALL};
use uapi::search::Hit;
use uapi::stats::{ISA_AVX2, ISA_AVX512, ISA_NEON, ISA_PORTABLE};
use uapi::{
    Delete, IndexBuild, IndexCreate, IndexDrop, IndexEfforts, IndexInfo, IndexVerify, Stats,
};
use vector::{Distance, Isa, Kind};

use super::sys::{self, Name};
use super::{Access, Backend, Built, FileRecords, NewIndex, NewRecord, Queries, Verified, STEPS};
use crate::model::{self, printable};

/// Indexes listed in one request.
const LIST: usize = 64;

/// Bytes of paths that the first request of a search has room for: so many for each
/// hit, within bounds. If they do not suffice, the answer says what does.
const PATH_BYTES: usize = 64;
const PATHS_MIN: usize = 4 << 10;
const PATHS_MAX: usize = 8 << 20;

/// A path of a mount, open.
pub struct KernelBackend {
    at: File,
    /// Memory for paths, kept for the next search.
    paths: Vec<u8>,
}

impl KernelBackend {
    /// Opens a path of a mounted VexFS.
    ///
    /// # Errors
    /// It cannot be opened so, or it is on another filesystem.
    pub fn open(path: &Path, access: Access) -> Result<Self> {
        let write = access == Access::WriteFile;
        let shown = || printable(path.as_os_str().as_encoded_bytes());
        let at = OpenOptions::new()
            .read(!write)
            .write(write)
            .custom_flags(special_files().bits())
            .open(path)
            .map_err(
                |error| match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::UnknownErrno => Error::new(error),
                    errno => said(errno),
                },
            )
            .with_context(shown)?;
        let filesystem = fstatfs(&at).map_err(said).with_context(shown)?;
        ensure!(
            filesystem.filesystem_type().0 == i64::from(layout::superblock::STATFS_MAGIC),
            "{}: not on a VexFS filesystem (one that is not mounted takes --img)",
            shown()
        );
        Ok(KernelBackend {
            at,
            paths: Vec::new(),
        })
    }

    /// Opens a folder to search in.
    fn folder(&self, path: &Path) -> Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | special_files();
        sys::open_at(self.fd(), path, flags)
            .map_err(said)
            .with_context(|| printable(path.as_os_str().as_encoded_bytes()))
    }

    /// Some steps of building a search tree, or of taking one down.
    fn build(&self, index: &model::Index, flags: u32, at: &mut u64) -> Result<Built> {
        let mut request = IndexBuild {
            size: size_of::<IndexBuild>() as u32,
            flags,
            name: name_field(&index.name)?,
            cursor: *at,
            steps: STEPS,
            done: 0,
            entries: 0,
            records: 0,
            reserved: [0; 4],
        };
        let no_room = match sys::plain(self.fd(), &mut request) {
            Err(Errno::ENOSPC) => true,
            result => {
                result.map_err(of_index)?;
                false
            }
        };
        *at = request.cursor;
        Ok(Built {
            entries: request.entries,
            records: request.records,
            done: request.done != 0,
            no_room,
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.at.as_fd()
    }
}

/// A FIFO must not make us wait for a partner, nor a terminal become ours. Both are
/// refused by the request that follows.
fn special_files() -> OFlag {
    OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC
}

impl Backend for KernelBackend {
    fn create(&mut self, new: &NewIndex<'_>) -> Result<()> {
        let mut request = IndexCreate {
            size: size_of::<IndexCreate>() as u32,
            flags: 0,
            name: name_field(new.name)?,
            dim: new.kind.dim(),
            element: new.kind.element().code(),
            metric: new.kind.metric().code(),
            mode: new.mode.into(),
            reserved: [0; 4],
        };
        sys::plain(self.fd(), &mut request).map_err(|errno| match errno {
            Errno::EEXIST => anyhow!("an index of that name exists already"),
            Errno::EACCES => {
                anyhow!("only who may write to the root directory of the mount can create an index")
            }
            errno => said(errno),
        })
    }

    fn list(&mut self) -> Result<Vec<model::Index>> {
        let mut indexes = Vec::new();
        let mut entries = [info_request([0; uapi::NAME_SIZE]); LIST];
        let mut cursor = 0;
        loop {
            let (count, last) = sys::index_list(self.fd(), cursor, &mut entries).map_err(said)?;
            cursor = last;
            if count == 0 {
                return Ok(indexes);
            }
            for entry in entries.iter().take(count) {
                indexes.push(described(entry)?);
            }
        }
    }

    fn info(&mut self, name: &str) -> Result<model::Index> {
        let mut request = info_request(name_field(name)?);
        sys::plain(self.fd(), &mut request).map_err(of_index)?;
        described(&request)
    }

    fn drop_index(&mut self, name: &str) -> Result<()> {
        let mut request = IndexDrop {
            size: size_of::<IndexDrop>() as u32,
            flags: 0,
            name: name_field(name)?,
            reserved: [0; 2],
        };
        sys::plain(self.fd(), &mut request).map_err(of_index)
    }

    fn optimize(&mut self, _: &str, _: &mut dyn FnMut(u64, u64)) -> Result<()> {
        anyhow::bail!("only an index of an image can be optimised: unmount it, and use --img")
    }

    fn put(&mut self, index: &model::Index, record: NewRecord, vector: &[u8]) -> Result<()> {
        let name = name_field(&index.name)?;
        sys::put(self.fd(), &name, record.label, record.tag, vector).map_err(of_index)
    }

    fn get(&mut self, index: &model::Index, label: u64) -> Result<(Vec<u8>, u64)> {
        let name = name_field(&index.name)?;
        let mut vector = vec![0; index.vector_bytes()];
        let (bytes, tag) =
            sys::get(self.fd(), &name, label, &mut vector).map_err(of_record(index, label))?;
        ensure!(
            bytes == vector.len(),
            "the kernel answered with {bytes} bytes in place of {}",
            vector.len()
        );
        Ok((vector, tag))
    }

    fn delete(&mut self, index: &model::Index, label: Option<u64>) -> Result<u64> {
        let mut request = Delete {
            size: size_of::<Delete>() as u32,
            flags: if label.is_none() { DELETE_ALL } else { 0 },
            name: name_field(&index.name)?,
            label: label.unwrap_or(0),
            deleted: 0,
            reserved: [0; 2],
        };
        sys::delete(self.fd(), &mut request).map_err(of_record(index, label.unwrap_or(0)))
    }

    fn put_many(
        &mut self,
        index: &model::Index,
        batch: &[FileRecords],
        stored: &mut u64,
    ) -> Result<()> {
        let name = name_field(&index.name)?;
        // Open until the request is done: the records name their files by these.
        let mut files: Vec<OwnedFd> = Vec::with_capacity(batch.len());
        let mut records = Vec::new();
        let mut rows = Vec::new();
        let mut vectors = Vec::new();
        for each in batch {
            let flags = OFlag::O_WRONLY | special_files();
            let fd = sys::open_at(self.fd(), &each.file, flags)
                .map_err(said)
                .with_context(|| printable(each.file.as_os_str().as_encoded_bytes()))?;
            records.extend(each.records.iter().map(|record| PutRecord {
                label: record.label,
                tag: record.tag,
                fd: fd.as_raw_fd(),
                reserved0: 0,
            }));
            rows.extend(each.records.iter().map(|record| (&each.file, record.row)));
            vectors.extend_from_slice(&each.vectors);
            files.push(fd);
        }
        if records.is_empty() {
            return Ok(());
        }
        let (done, result) = sys::put_many(self.fd(), &name, &records, &vectors);
        *stored += done as u64;
        drop(files);
        match (result.map_err(of_index), rows.get(done)) {
            (Err(why), Some((file, row))) => {
                let file = printable(file.as_os_str().as_encoded_bytes());
                Err(why).with_context(|| format!("{file}: row {row}"))
            }
            (Err(why), None) => Err(why),
            (Ok(()), Some(_)) => bail!("the kernel stored only {done} of {} records", rows.len()),
            (Ok(()), None) => Ok(()),
        }
    }

    fn search(
        &mut self,
        index: &model::Index,
        queries: &Queries<'_>,
    ) -> Result<Vec<Vec<model::Hit>>> {
        ensure!(
            !matches!(queries.effort, super::Effort::Beam(_)),
            "a beam is for images: a mount searches the tree"
        );
        let name = name_field(&index.name)?;
        let folder = queries.filter.within.as_deref();
        let folder = folder.map(|path| self.folder(path)).transpose()?;
        let subtree = folder.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        let how = (queries.effort, &queries.filter.request(subtree));
        let k = queries.k as usize;
        // There cannot be more hits than records, but k is what the request says.
        let mut hits = vec![NO_HIT; queries.count as usize * k];
        let mut counts = vec![0; queries.count as usize];
        if self.paths.is_empty() {
            let wanted = hits.len().saturating_mul(PATH_BYTES);
            self.paths.resize(wanted.clamp(PATHS_MIN, PATHS_MAX), 0);
        }
        let used = loop {
            let mut results = sys::Results {
                hits: &mut hits,
                counts: &mut counts,
                paths: &mut self.paths,
            };
            let (used, result) =
                sys::search(self.at.as_fd(), &name, how, queries.vectors, &mut results);
            match result {
                // Names may grow before the next try.
                Err(Errno::ERANGE) if used > self.paths.len() => {
                    self.paths.resize(used.saturating_add(used / 8), 0)
                }
                result => {
                    result.map_err(of_index)?;
                    break used;
                }
            }
        };
        let paths = self.paths.get(..used).context(NONSENSE)?;
        let mut answers = Vec::with_capacity(counts.len());
        for (hits, count) in hits.chunks(k.max(1)).zip(&counts) {
            let hits = hits.get(..*count as usize).context(NONSENSE)?;
            answers.push(
                hits.iter()
                    .map(|hit| found(hit, paths))
                    .collect::<Option<Vec<_>>>()
                    .context(NONSENSE)?,
            );
        }
        Ok(answers)
    }

    fn verify(&mut self, index: &model::Index, at: &mut [u64; 4]) -> Result<Verified> {
        let mut request = IndexVerify {
            size: size_of::<IndexVerify>() as u32,
            flags: 0,
            name: name_field(&index.name)?,
            cursor: *at,
            steps: STEPS,
            done: 0,
            partitions: 0,
            entries: 0,
            records: 0,
            missing: 0,
            state: 0,
            block: 0,
            reason: [0; REASON_SIZE],
            reserved: [0; 4],
        };
        sys::plain(self.fd(), &mut request).map_err(of_index)?;
        *at = request.cursor;
        let reason = request.reason.split(|byte| *byte == 0).next();
        let reason = reason.filter(|reason| !reason.is_empty()).map(printable);
        Ok(Verified {
            partitions: request.partitions,
            entries: request.entries,
            records: request.records,
            missing: request.missing,
            state: request.state,
            done: request.done != 0,
            problem: reason.map(|reason| (request.block, reason)),
        })
    }

    fn complete(&mut self, index: &model::Index, at: &mut u64) -> Result<Built> {
        self.build(index, 0, at)
    }

    fn take_down(&mut self, index: &model::Index) -> Result<Built> {
        self.build(index, BUILD_TAKE_DOWN, &mut 0)
    }

    fn note_efforts(&mut self, index: &model::Index, efforts: [u32; EFFORTS]) -> Result<()> {
        let mut request = IndexEfforts {
            size: size_of::<IndexEfforts>() as u32,
            flags: 0,
            name: name_field(&index.name)?,
            efforts,
            reserved0: 0,
            reserved: [0; 2],
        };
        sys::plain(self.fd(), &mut request).map_err(of_index)
    }

    fn stat(&mut self) -> Result<model::Stat> {
        let mut request = Stats {
            size: size_of::<Stats>() as u32,
            flags: 0,
            isa: 0,
            indexes: 0,
            records: 0,
            segments: 0,
            slots: 0,
            bytes: 0,
            queries: 0,
            distances: 0,
            puts: 0,
            deletes: 0,
            reserved: [0; 6],
        };
        sys::plain(self.fd(), &mut request).map_err(said)?;
        Ok(model::Stat {
            source: "kernel",
            isa: match request.isa {
                ISA_PORTABLE => Isa::Portable.name(),
                ISA_AVX2 => Isa::Avx2.name(),
                ISA_AVX512 => Isa::Avx512.name(),
                ISA_NEON => Isa::Neon.name(),
                _ => "unknown",
            },
            indexes: request.indexes.into(),
            records: request.records,
            slots: request.slots,
            segments: request.segments,
            bytes: request.bytes,
            since_mount: Some(model::Activity {
                queries: request.queries,
                distances: request.distances,
                puts: request.puts,
                deletes: request.deletes,
            }),
        })
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.at.sync_all()?)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        // The filesystem goes on without us.
        Ok(())
    }
}

const NONSENSE: &str = "the kernel's answer makes no sense";

const NO_HIT: Hit = Hit {
    inode: 0,
    label: 0,
    tag: 0,
    distance: 0,
    generation: 0,
    path_offset: 0,
    path_len: 0,
    reserved0: 0,
};

/// A hit, if its path lies within `paths`.
fn found(hit: &Hit, paths: &[u8]) -> Option<model::Hit> {
    let path = paths
        .get(hit.path_offset as usize..)?
        .get(..hit.path_len as usize)?;
    Some(model::Hit {
        path: path.into(),
        label: hit.label,
        tag: hit.tag,
        inode: hit.inode,
        generation: hit.generation,
        distance: Distance::from_f64_bits(hit.distance).to_f64(),
    })
}

fn name_field(name: &str) -> Result<Name> {
    uapi::name::name_field(name).map_err(Error::new)
}

fn info_request(name: Name) -> IndexInfo {
    IndexInfo {
        size: size_of::<IndexInfo>() as u32,
        flags: 0,
        name,
        id: 0,
        dim: 0,
        element: 0,
        metric: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        segments: 0,
        records: 0,
        slots: 0,
        bytes: 0,
        created: 0,
        tree_entries: 0,
        tree_bytes: 0,
        tree_partitions: 0,
        tree_height: 0,
        efforts: [0; EFFORTS],
        reserved: 0,
    }
}

fn described(info: &IndexInfo) -> Result<model::Index> {
    let kind = Kind::from_codes(info.element, info.metric, info.dim)
        .context("the index has vectors of a kind that this vexctl does not know")?;
    Ok(model::Index {
        name: uapi::parse_name(&info.name).context(NONSENSE)?.to_owned(),
        id: info.id,
        kind,
        mode: info.mode,
        uid: info.uid,
        gid: info.gid,
        records: info.records,
        slots: info.slots,
        segments: info.segments,
        bytes: info.bytes,
        created: info.created,
        tree: model::Tree {
            entries: info.tree_entries,
            partitions: info.tree_partitions,
            height: info.tree_height,
            bytes: info.tree_bytes,
        },
        efforts: (info.efforts != [0; EFFORTS]).then(|| info.efforts.map(u32::from)),
        graph: None,
    })
}

/// The meaning of an error number of any request.
fn said(errno: Errno) -> Error {
    match errno {
        Errno::ENOTTY => {
            anyhow!("not a file that the kernel's VexFS answers for, or its version is too old")
        }
        Errno::EUCLEAN => anyhow!("the filesystem is damaged; the kernel log says where"),
        errno => anyhow!(errno.desc()),
    }
}

/// That of a request for which `ENOENT` is about the index.
fn of_index(errno: Errno) -> Error {
    match errno {
        Errno::ENOENT => anyhow!("no such index"),
        Errno::EACCES => anyhow!("the index's permissions do not allow it"),
        Errno::EPERM => anyhow!("only the owner of the index may do that"),
        Errno::EOPNOTSUPP => anyhow!("not a regular file"),
        errno => said(errno),
    }
}

/// That of a request for a record of an index that was there just now.
fn of_record(index: &model::Index, label: u64) -> impl FnOnce(Errno) -> Error + '_ {
    move |errno| match errno {
        Errno::ENOENT => anyhow!("no record with label {label} in index {}", index.name),
        errno => of_index(errno),
    }
}
