// SPDX-License-Identifier: GPL-2.0-only
//! The catalogue of everything that can be wrong with a filesystem. A problem's number and name never change their meaning and are never
//! used again for another: scripts rely on them. The first digit of a number is the pass that finds it.

use std::fmt;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is damaged.
    Warning,
    /// Something is damaged.
    Error,
    /// Damage that ends the check.
    Fatal,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Fatal => "fatal",
        }
    }
}

macro_rules! catalogue {
    ($($number:literal $name:ident $severity:ident $sentence:literal)*) => {
        /// A kind of problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Code {
            $(#[doc = $sentence] $name = $number,)*
        }

        impl Code {
            /// All problems, by number.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// Its name, as scripts see it.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity,)* }
            }

            /// What it means, for people.
            pub fn sentence(self) -> &'static str {
                match self { $(Code::$name => $sentence,)* }
            }
        }
    };
}

catalogue! {
    1 SuperBad Error "the super block cannot be used"
    2 SuperNone Fatal "no usable super block was found"
    3 SuperBackupBad Error "a copy of the super block cannot be used"
    4 SuperBackupDiffers Error "a copy of the super block differs from the super block"
    5 SuperReserved Error "reserved bytes of the super block are not zero"
    6 SuperState Error "the super block has a state or error behaviour that does not exist"
    7 SuperErrors Warning "errors were met while the filesystem was mounted"
    8 SuperText Error "a text in the super block is not UTF-8 followed by zeros"
    9 DeviceTooSmall Error "the device is smaller than the filesystem"
    10 SuperReadOnlyFeatures Warning "the filesystem has features that this program does not know"

    101 JournalSuper Error "the journal's super block cannot be used"
    102 JournalUuid Error "the journal carries another filesystem's UUID"
    103 JournalLog Error "the journal holds a damaged transaction; the check goes on without replaying it"
    104 JournalErrno Warning "the kernel aborted the journal"

    201 GdtBad Error "a block of group descriptors cannot be used"
    202 GdtOwner Error "a block of group descriptors belongs to other groups"
    203 GroupCounts Error "a group descriptor counts more than its group has"
    204 GroupSystem Error "a group inside the system area has a descriptor that says otherwise"
    205 InodeBlockUnreadable Error "a block of an inode table cannot be read"
    206 InodeChecksum Error "an inode's checksum does not match"
    207 InodeBad Error "an inode is damaged"
    208 InodeReservedMissing Error "an inode that the filesystem itself needs is missing or of the wrong type"
    209 InodeReservedUsed Error "a reserved inode is in use"
    210 InodeDevice Error "an inode that is no device has a device number"
    211 InodeBlocks Error "an inode counts another number of blocks than it uses"
    212 InodeSize Error "the size of an inode does not fit its type"
    220 TreeOutside Error "a tree leads to a block where no node can be"
    221 TreeNodeBad Error "a node of a tree cannot be used"
    222 TreeOwner Error "a node of a tree belongs to another inode"
    223 TreeKind Error "a node of a tree is of another kind of tree"
    224 TreeLevel Error "a node of a tree is of another level than its parent says"
    225 TreeRange Error "a node of a tree holds keys that do not belong below its parent"
    226 TreeEmpty Error "a node of a tree is empty"
    227 TreeThin Error "the root of a tree has a single child"
    228 TreeValues Error "values of a leaf overlap, or free bytes of it are not accounted for"
    230 ExtentBad Error "an extent is damaged"
    231 ExtentOrder Error "extents of a file overlap"
    232 ExtentOutside Error "an extent lies outside the data area of a group"
    233 ExtentType Error "an inode that is no regular file has extents"
    240 BlockShared Error "a block is used twice"

    301 DirentBad Error "a directory entry is damaged"
    302 DirentHash Error "a directory entry's cookie is not one of its name's"
    303 DirentDuplicate Error "a name stands twice in a directory"
    304 DirentDangling Error "a directory entry leads to an inode that is not in use"
    305 DirentReserved Error "a directory entry leads to a reserved inode"
    306 DirentType Error "a directory entry has another type than its inode"
    307 DirentRemoved Error "a removed directory has entries"
    308 DirSize Error "a directory counts another number of entries than it has"
    310 ParentBad Error "a parent pointer is damaged"
    311 ParentMissing Error "a directory entry has no parent pointer"
    312 ParentName Error "a parent pointer has another name than its directory entry"
    313 ParentDangling Error "a parent pointer has no directory entry"
    320 LinkCount Error "an inode counts another number of links than it has"
    321 Unattached Error "an inode has links, but no name"
    322 DirLinked Error "a directory has more than one name"
    323 DirCycle Error "directories contain each other in a circle"

    401 OrphanBad Error "an entry of the orphan tree is damaged"
    402 OrphanFree Error "the orphan tree names an inode that is not in use"
    403 OrphanReserved Error "the orphan tree names a reserved inode"
    404 OrphanUnlisted Error "an inode without links is not in the orphan tree"
    405 OrphanCount Error "the orphan tree's inode counts another number of orphans"

    501 AttrKey Error "an attribute tree holds a key of no known class"
    502 XattrBad Error "an extended attribute is damaged"
    503 XattrHash Error "an extended attribute stands under another name's hash"
    504 XattrDuplicate Error "an extended attribute stands twice"
    505 XattrChunks Error "parts of an extended attribute are missing or too many"
    506 SymlinkTarget Error "the target of a symbolic link is incomplete or holds NUL"

    601 IndexKey Error "the index table holds a key of no known class"
    602 IndexBad Error "an index is damaged"
    603 IndexNameBad Error "an entry of the index names is damaged or leads nowhere"
    604 IndexNameMissing Error "an index cannot be found by its name"
    605 IndexCounter Error "the counter of index numbers is below a number in use"
    606 SegmentRefBad Error "a reference to a segment is damaged, or its index is missing"
    607 SegmentHeader Error "a segment's header cannot be used"
    608 SegmentDiffers Error "a segment's header and the index table do not agree"
    609 SegmentOutside Error "a segment lies outside the data area of a group"
    610 IndexSegments Error "an index counts another number of segments than it has"
    611 IndexFree Error "an index counts another number of free slots than it has"
    612 IndexRecords Error "an index counts another number of records than it has"
    613 RecordBad Error "an entry of the vector map is damaged"
    614 RecordIndex Error "a record belongs to an index that does not exist"
    615 RecordSlot Error "a record leads to a slot that does not exist or is free"
    616 RecordShared Error "two records lead to one slot"
    617 RecordInode Error "a record belongs to an inode that is not in use"
    618 SlotUnmapped Error "a slot is in use, but no record leads to it"
    619 SlotChecksum Error "a slot's checksum does not match"
    620 SlotHeader Error "a slot belongs to another record"
    621 SlotStale Error "a record is dead, but its inode does not wait to be finished"
    622 SlotNotErased Error "a free slot is not erased"
    623 SlotElements Error "a vector holds what its index does not accept"
    624 InodeVectors Error "an inode counts another number of vector records than it has"
    625 SegmentUnreadable Error "slots of a segment cannot be read"
    626 LocationsBad Error "locations of slots cannot be used, or a free slot has one"
    627 PartitionBad Error "a partition of a search tree cannot be used"
    628 PartitionEntry Error "an entry of a search tree and a record do not lead to each other"
    629 PartitionCode Error "a code in a search tree is not its vector's"
    630 PartitionNotErased Error "a place without entry in a search tree is not erased"
    631 IndexTree Error "an index counts other entries or partitions than its search tree has"
    632 GraphBad Error "the root, an extent or a node of a graph cannot be used"
    633 GraphNode Error "a node of a graph and a record do not lead to each other"
    634 GraphVector Error "a node of a graph has another vector than its record"
    635 GraphNeighbour Error "a neighbour in a graph is none of its nodes, or its code is not its vector's"
    636 GraphNotErased Error "a node of a graph without record is not erased"
    637 GraphFresh Error "a record has neither a node nor a place in the list of its graph, or the list is wrong"
    638 IndexGraph Error "a graph counts other nodes than it has"

    701 BlockBitmapBad Error "a block bitmap cannot be used"
    702 BlockFree Error "blocks in use are free in the block bitmap"
    703 BlockLeaked Error "blocks that nothing uses are in use in the block bitmap"
    704 BlockPadding Error "bits of a block bitmap that stand for no data block are clear"
    705 BlockUninit Error "a group whose blocks were never used holds blocks in use"
    706 FreeBlocks Error "a group descriptor counts another number of free blocks than there are"
    707 InodeBitmapBad Error "an inode bitmap cannot be used"
    708 InodeFree Error "an inode in use is free in the inode bitmap"
    709 InodeLeaked Error "an inode that is not in use is in use in the inode bitmap"
    710 InodePadding Error "bits of an inode bitmap beyond the last inode are clear"
    711 InodeUninit Error "a group whose inodes were never used holds inodes in use"
    712 FreeInodes Error "a group descriptor counts another number of free inodes than there are"
    713 GroupDirs Error "a group descriptor counts another number of directories than there are"
    714 InodeBeyondTable Error "an inode is in use beyond the initialised inode table"
}

impl Code {
    /// Its number.
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The pass that finds it.
    pub fn pass(self) -> u8 {
        (self.number() / 100) as u8
    }
}

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub code: Code,
    /// The block it was found in or is about.
    pub block: Option<u64>,
    /// The inode it is about.
    pub ino: Option<u64>,
    /// The allocation group.
    pub group: Option<u32>,
    /// The vector index.
    pub index: Option<u32>,
    /// Numbers and names, for people.
    pub detail: String,
}

impl Problem {
    /// A problem of which nothing more is known.
    pub fn new(code: Code) -> Problem {
        Problem {
            code,
            block: None,
            ino: None,
            group: None,
            index: None,
            detail: String::new(),
        }
    }

    /// With its block.
    pub fn block(mut self, block: u64) -> Problem {
        self.block = Some(block);
        self
    }

    /// With its inode.
    pub fn ino(mut self, ino: u64) -> Problem {
        self.ino = Some(ino);
        self
    }

    /// With its group.
    pub fn group(mut self, group: u32) -> Problem {
        self.group = Some(group);
        self
    }

    /// With its index.
    pub fn index(mut self, index: u32) -> Problem {
        self.index = Some(index);
        self
    }

    /// With details.
    pub fn detail(mut self, detail: impl Into<String>) -> Problem {
        self.detail = detail.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[{:03}] {}: ",
            self.code.number(),
            self.code.severity().as_str()
        )?;
        if let Some(n) = self.ino {
            write!(f, "inode {n}: ")?;
        }
        if let Some(n) = self.index {
            write!(f, "index {n}: ")?;
        }
        if let Some(n) = self.group {
            write!(f, "group {n}: ")?;
        }
        if let Some(n) = self.block {
            write!(f, "block {n}: ")?;
        }
        f.write_str(self.code.sentence())?;
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_ascending() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{pair:?}");
        }
    }

    #[test]
    fn the_documentation_lists_them_all() {
        let page = include_str!("../../docs/fsck-problems.md");
        let rows = page
            .lines()
            .filter(|l| l.starts_with("| ") && l.as_bytes()[2].is_ascii_digit());
        let expected = Code::ALL.iter().map(|code| {
            let severity = code.severity().as_str();
            let number = code.number();
            format!(
                "| {number:03} | {} | {severity} | {} |",
                code.name(),
                code.sentence()
            )
        });
        assert!(
            rows.eq(expected),
            "docs/fsck-problems.md does not have the rows of the catalogue"
        );
    }

    #[test]
    fn a_problem_reads_as_a_sentence() {
        let p = Problem::new(Code::LinkCount).ino(17).detail("3, not 2");
        assert_eq!(
            p.to_string(),
            "[320] error: inode 17: an inode counts another number of links than it has (3, not 2)"
        );
    }
}
