// SPDX-License-Identifier: GPL-2.0-only
//! What is remembered of the inodes from the pass that reads them for those that relate them: some 50 bytes for each in use, the
//! names that lead to them, and which of them could not be read, so that one damaged block does not look like a thousand problems.

use layout::inode::FileType;

/// An inode in use.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Its number.
    pub ino: u64,
    /// Its type.
    pub file_type: FileType,
    /// Its links, as it says.
    pub links: u32,
    /// Its generation.
    pub generation: u32,
    /// Its vector epoch.
    pub epoch: u32,
    /// Its size; for directories the number of entries, as it says.
    pub size: u64,
    /// Its vector records, as it says.
    pub vectors: u64,
    /// Its data fork was read without losses.
    pub data_whole: bool,
    /// Its attribute fork was read without losses.
    pub attr_whole: bool,
    /// Its attribute fork holds more than parent pointers.
    pub has_attributes: bool,
}

/// What is known of an inode number.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// In use.
    Used(&'a Info),
    /// Not in use, or no inode number at all.
    Free,
    /// It could not be read.
    Unknown,
}

/// All inodes, by number.
#[derive(Default)]
pub struct Inodes {
    used: Vec<Info>,
    /// Ranges (first, one past the last) that could not be read.
    unknown: Vec<(u64, u64)>,
}

impl Inodes {
    /// Adds an inode; numbers must come in ascending order.
    pub fn add(&mut self, info: Info) {
        debug_assert!(self.used.last().is_none_or(|l| l.ino < info.ino));
        self.used.push(info);
    }

    /// Remembers that `count` inodes from `first` could not be read; in ascending order.
    pub fn add_unknown(&mut self, first: u64, count: u64) {
        match self.unknown.last_mut() {
            Some(last) if last.1 == first => last.1 = first + count,
            _ => self.unknown.push((first, first + count)),
        }
    }

    /// What is known of inode `ino`.
    pub fn get(&self, ino: u64) -> Known<'_> {
        if let Ok(i) = self.used.binary_search_by_key(&ino, |info| info.ino) {
            return Known::Used(&self.used[i]);
        }
        let i = self.unknown.partition_point(|range| range.0 <= ino);
        if i > 0 && ino < self.unknown[i - 1].1 {
            return Known::Unknown;
        }
        Known::Free
    }

    /// Whether any could not be read.
    pub fn any_unknown(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// All in use.
    pub fn used(&self) -> &[Info] {
        &self.used
    }
}

/// A name of an inode, from a directory entry or a parent pointer. Equal ones belong together; the name stands as a hash, since names
/// are only compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The inode that is named.
    pub ino: u64,
    /// The directory.
    pub dir: u64,
    /// The entry's cookie.
    pub cookie: u64,
    /// SipHash of the name.
    pub name: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_ranges_join_and_are_found() {
        let mut inodes = Inodes::default();
        inodes.add_unknown(17, 8);
        inodes.add_unknown(25, 8);
        inodes.add_unknown(100, 1);
        assert_eq!(inodes.unknown.len(), 2);
        for ino in [17, 25, 32, 100] {
            assert!(matches!(inodes.get(ino), Known::Unknown), "{ino}");
        }
        for ino in [0, 16, 33, 99, 101, u64::MAX] {
            assert!(matches!(inodes.get(ino), Known::Free), "{ino}");
        }
    }
}
