// SPDX-License-Identifier: GPL-2.0-only
//! Who else uses a device or image file at the moment: mounts, swap, loop devices, device mapper and RAID. Read from /proc and /sys; opens
//! nothing and locks nothing (that is [`crate::device::FileDevice`]'s part, and it refuses what slips through here).

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

/// A use of a device that forbids writing to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// It, or a part of it, is mounted.
    Mounted {
        /// Where.
        at: PathBuf,
        /// Whether that mount is read-only.
        read_only: bool,
    },
    /// It, or a part of it, is swap space.
    Swap,
    /// A loop device stands on the file.
    Loop(String),
    /// Another driver holds the device (device mapper, RAID, bcache).
    Held(String),
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Use::Mounted { at, read_only } => {
                let how = if *read_only { " read-only" } else { "" };
                write!(f, "is mounted{how} on {}", at.display())
            }
            Use::Swap => f.write_str("is in use as swap space"),
            Use::Loop(name) => write!(f, "is in use by loop device /dev/{name}"),
            Use::Held(name) => write!(f, "is in use by {name}"),
        }
    }
}

/// A line of /proc/self/mountinfo.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// `major:minor` of the filesystem's device; some filesystems have a number of their own here.
    device: String,
    at: PathBuf,
    source: PathBuf,
    read_only: bool,
}

/// Undoes the kernel's octal escapes (`\040` for a space).
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// Reads a line of mountinfo: id, parent, device, root, mount point, options, optional fields, `-`, type, source, super options
/// (proc_pid_mountinfo(5)).
fn parse_mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ');
    let device = front.nth(2)?.to_owned();
    let at = unescape(front.nth(1)?);
    let mut back = back.split(' ');
    let source = unescape(back.nth(1)?);
    let read_only = back.next()?.split(',').any(|option| option == "ro");
    Some(Mount {
        device,
        at,
        source,
        read_only,
    })
}

/// Everything that uses `path`, a block device or a regular file. Empty if nothing is known to, or if `path` does not exist.
///
/// # Errors
/// Of reading /proc/self/mountinfo. What else is missing in /proc or /sys counts as not in use.
pub fn find(path: &Path) -> std::io::Result<Vec<Use>> {
    let Ok(meta) = fs::metadata(path) else {
        return Ok(Vec::new());
    };
    let real = fs::canonicalize(path)?;
    let mut uses = Vec::new();
    // The devices whose mounts count: the device and its partitions, or the loop devices on a file.
    let mut numbers = BTreeSet::new();
    if meta.file_type().is_block_device() {
        let own = format!("{}:{}", major(meta.rdev()), minor(meta.rdev()));
        let sys = PathBuf::from(format!("/sys/dev/block/{own}"));
        numbers.insert(own);
        for dir in children(&sys) {
            if dir.join("partition").exists() {
                numbers.extend(read_line(&dir.join("dev")));
            }
        }
        for holder in children(&sys.join("holders")) {
            uses.push(Use::Held(file_name(&holder)));
        }
    } else {
        for dir in children(Path::new("/sys/block")) {
            let backing = read_line(&dir.join("loop/backing_file"));
            if backing.is_some_and(|b| unescape(&b) == real) {
                numbers.extend(read_line(&dir.join("dev")));
                uses.push(Use::Loop(file_name(&dir)));
            }
        }
    }
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        if let Some(mount) = parse_mount(line) {
            if numbers.contains(&mount.device) || mount.source == real {
                uses.push(Use::Mounted {
                    at: mount.at,
                    read_only: mount.read_only,
                });
            }
        }
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let swap = |line: &str| {
        let path = unescape(line.split_whitespace().next()?);
        let meta = fs::metadata(&path).ok()?;
        let number = format!("{}:{}", major(meta.rdev()), minor(meta.rdev()));
        let same_device = meta.file_type().is_block_device() && numbers.contains(&number);
        (same_device || fs::canonicalize(path).ok()? == real).then_some(())
    };
    if swaps.lines().skip(1).any(|line| swap(line).is_some()) {
        uses.push(Use::Swap);
    }
    Ok(uses)
}

fn children(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read_line(path: &Path) -> Option<String> {
    Some(
        fs::read_to_string(path)
            .ok()?
            .trim_end_matches('\n')
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_lines_as_the_manual_has_them() {
        let line = "36 35 98:0 /mnt1 /mnt/two\\040words rw,noatime master:1 - ext3 /dev/root ro,errors=continue";
        assert_eq!(
            parse_mount(line),
            Some(Mount {
                device: "98:0".into(),
                at: "/mnt/two words".into(),
                source: "/dev/root".into(),
                read_only: true,
            })
        );
        let line = "1 2 0:30 / /tmp rw - tmpfs tmpfs rw,size=8k";
        assert_eq!(parse_mount(line).map(|m| m.read_only), Some(false));
        assert_eq!(parse_mount("nonsense"), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape("a\\134b\\9"), PathBuf::from("a\\b\\9"));
        assert_eq!(unescape("\\"), PathBuf::from("\\"));
    }

    #[test]
    fn what_is_mounted_here_is_found_and_a_new_file_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(find(file.path()).unwrap(), []);
        assert_eq!(find(Path::new("/no/such/file")).unwrap(), []);
    }
}
