// SPDX-License-Identifier: GPL-2.0-only
//! Entries of the cache: folders made once for given inputs, by one process at
//! a time, and visible only when they are complete. Knows nothing of contents.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::{project, sys};

/// Days after which an entry that nobody used makes room.
const KEEP_DAYS: u64 = 14;

/// A lock held by one process at a time, released when dropped or at exit.
pub struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

/// Takes the lock `name`, waiting for whoever holds it.
///
/// # Errors
/// The lock file cannot be opened.
pub fn lock(name: &str) -> Result<Lock> {
    lock_file(&project::cache()?.join(format!("{name}.lock")))
}

/// Takes the lock that is the file `path`, waiting for whoever holds it.
///
/// # Errors
/// The file cannot be opened.
pub fn lock_file(path: &Path) -> Result<Lock> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusive) {
        Ok(lock) => Ok(Lock(lock)),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The folder of kind `kind` for `inputs`; `make` fills it if it is not there.
///
/// # Errors
/// Whatever `make` returns; nothing is left of the entry then but its log.
pub fn entry(
    kind: &str,
    inputs: &[String],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let cache = project::cache()?;
    let path = place(&cache, kind, inputs);
    let complete = path.join("complete");
    // What is there need not wait for another entry that is being made.
    if complete.exists() {
        return touched(path);
    }
    let _lock = lock(kind)?;
    if !complete.exists() {
        remove(&path)?;
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        std::fs::write(path.join("inputs"), inputs.join("\n") + "\n")?;
        if let Err(error) = make(&path) {
            let log = path.join("log");
            if log.exists() {
                std::fs::copy(&log, cache.join(format!("{kind}-failed.log")))?;
            }
            remove(&path)?;
            return Err(error);
        }
        prune(&cache, kind, &path)?;
    }
    touched(path)
}

/// Removes the entry of kind `kind` for `inputs`, if there is one.
///
/// # Errors
/// It cannot be removed.
pub fn forget(kind: &str, inputs: &[String]) -> Result<()> {
    let _lock = lock(kind)?;
    remove(&place(&project::cache()?, kind, inputs))
}

fn place(cache: &Path, kind: &str, inputs: &[String]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    cache.join(format!("{kind}-{:016x}", hasher.finish()))
}

/// An entry, marked as used now: the time of the mark says when it was.
fn touched(path: PathBuf) -> Result<PathBuf> {
    let complete = path.join("complete");
    File::create(&complete).with_context(|| format!("cannot touch {}", complete.display()))?;
    Ok(path)
}

/// Removes entries of the kind that nobody used for a while.
fn prune(cache: &Path, kind: &str, keep: &Path) -> Result<()> {
    for entry in std::fs::read_dir(cache)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_kind = name.strip_prefix(kind).is_some_and(|rest| {
            rest.strip_prefix('-')
                .is_some_and(|key| key.len() == 16 && key.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        if !is_kind || path == keep {
            continue;
        }
        let age = std::fs::metadata(path.join("complete"))
            .ok()
            .and_then(|data| data.modified().ok())
            .and_then(|time| time.elapsed().ok());
        if age.is_some_and(|age| age.as_secs() > KEEP_DAYS * 24 * 3600) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a folder that root may own parts of. It stays on its own file system,
/// so that nothing mounted below could be emptied.
///
/// # Errors
/// The folder cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    let ours = metadata.uid() == nix::unistd::geteuid().as_raw();
    if ours && std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    sys::run(
        sys::as_root("rm")
            .args(["-rf", "--one-file-system", "--"])
            .arg(path),
    )
}

/// A hash of a file, or of all files below a folder and their names.
///
/// # Errors
/// One cannot be read.
pub fn digest(path: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    hash(path, &mut hasher)?;
    Ok(format!("{:016x}", hasher.finish()))
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    path.file_name().hash(hasher);
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        entries.sort();
        entries.len().hash(hasher);
        return entries.iter().try_for_each(|entry| hash(entry, hasher));
    }
    std::fs::read(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .hash(hasher);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_digest_sees_names_and_contents() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let mut seen = std::collections::BTreeSet::new();
        std::fs::create_dir(path.join("a")).expect("create");
        assert!(seen.insert(digest(path).expect("digest")));
        std::fs::write(path.join("a/b"), "1").expect("write");
        assert!(seen.insert(digest(path).expect("digest")));
        std::fs::write(path.join("a/b"), "2").expect("write");
        assert!(seen.insert(digest(path).expect("digest")));
        std::fs::rename(path.join("a/b"), path.join("a/c")).expect("rename");
        assert!(seen.insert(digest(path).expect("digest")));
        assert!(!seen.insert(digest(path).expect("digest")));
        assert!(digest(&path.join("none")).is_err());
    }
}
