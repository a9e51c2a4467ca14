// SPDX-License-Identifier: GPL-2.0-only
//! Where commands are carried out: on a mount by the kernel, or on an image by the
//! engine in this process. Commands know only the trait.
//!
//! | module | what |
//! |---|---|
//! | [`kernel`] | a mount, through ioctls |
//! | [`image`] | a device or image file that is not mounted |
//! | [`compare`] | searching an index there |
//! | `sys` | the ioctl itself, and all the unsafe code there is |

pub mod compare;
mod conditions;
pub mod image;
pub mod kernel;
mod sys;

use std::path::{Path, PathBuf};

use anyhow::Result;
use layout::efforts::EFFORTS;
use vector::Kind;

use crate::model;

/// What a command is going to do, which decides how its path is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Ask about indexes, or the records of the path.
    Read,
    /// Create or drop indexes, or change records of other files.
    Manage,
    /// Change records of the path, which is a file.
    WriteFile,
}

/// What an index to be made is like.
#[derive(Clone, Debug)]
pub struct NewIndex<'a> {
    /// Name.
    pub name: &'a str,
    /// What its vectors are.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u16,
}

/// A record to be stored, without its vector.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord {
    /// Label.
    pub label: u64,
    /// Tag.
    pub tag: u64,
    /// Row of the input that it comes from, for messages.
    pub row: u64,
}

/// Records of one file to be stored.
#[derive(Debug)]
pub struct FileRecords {
    /// The file: relative to the path that the backend was opened with, or absolute.
    pub file: PathBuf,
    /// The records.
    pub records: Vec<NewRecord>,
    /// Their vectors, end to end.
    pub vectors: Vec<u8>,
}

/// Query vectors, checked by the caller.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    /// The vectors, end to end.
    pub vectors: &'a [u8],
    /// How many there are; with `k` hits each, within the bounds of
    /// [`uapi::search::Search`].
    pub count: u32,
    /// Hits wanted for each.
    pub k: u32,
    /// How much is done to miss none.
    pub effort: Effort,
    /// What hits must meet.
    pub filter: &'a Filter,
}

/// Conditions that a hit must meet; those that are `None` it need not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Smallest and greatest label.
    pub labels: Option<(u64, u64)>,
    /// Bits of the tag that matter, and what they must be.
    pub tag: Option<(u64, u64)>,
    /// Owner of the file.
    pub uid: Option<u32>,
    /// Earliest and latest modification of the file, in seconds since 1970.
    pub modified: Option<(i64, i64)>,
    /// A folder, from the path that the filesystem was opened at.
    pub within: Option<PathBuf>,
    /// Greatest distance.
    pub distance: Option<f64>,
}

impl Filter {
    /// As the kernel takes it; `subtree` is the open folder.
    #[must_use]
    pub fn request(&self, subtree: i32) -> uapi::Filter {
        use uapi::filter::{
            FILTER_DISTANCE, FILTER_LABEL, FILTER_MTIME, FILTER_SUBTREE, FILTER_TAG, FILTER_UID,
        };
        let given = [
            (self.labels.is_some(), FILTER_LABEL),
            (self.tag.is_some(), FILTER_TAG),
            (self.uid.is_some(), FILTER_UID),
            (self.modified.is_some(), FILTER_MTIME),
            (self.within.is_some(), FILTER_SUBTREE),
            (self.distance.is_some(), FILTER_DISTANCE),
        ];
        let conditions = given.iter().filter(|(given, _)| *given);
        let (label_min, label_max) = self.labels.unwrap_or_default();
        let (tag_mask, tag_value) = self.tag.unwrap_or_default();
        let (mtime_min, mtime_max) = self.modified.unwrap_or_default();
        uapi::Filter {
            size: size_of::<uapi::Filter>() as u32,
            conditions: conditions.fold(0, |all, (_, bit)| all | bit),
            label_min,
            label_max,
            tag_mask,
            tag_value,
            uid: self.uid.unwrap_or_default(),
            subtree,
            mtime_min,
            mtime_max,
            distance_max: self.distance.unwrap_or_default().to_bits(),
            reserved: [0; 4],
        }
    }
}

/// How much of an index a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Every record is compared.
    All,
    /// So many leaves of the search tree, at least one.
    Probes(u32),
    /// A beam of so many nodes of the graph of an optimised index; as the usual recall, if it has none. In images only.
    Beam(u32),
    /// As many leaves as this part of the hits needs, in ten thousandths.
    Recall(u32),
}

/// Steps of upkeep between two looks at how far it got.
const STEPS: u32 = 64;

/// A part of verifying an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Partitions seen.
    pub partitions: u64,
    /// Entries seen.
    pub entries: u64,
    /// Records seen.
    pub records: u64,
    /// Records among them without an entry.
    pub missing: u64,
    /// If it is 0, or another one than before, something has changed meanwhile.
    pub state: u64,
    /// Everything was seen, or something wrong.
    pub done: bool,
    /// What is wrong, and in which block.
    pub problem: Option<(u64, String)>,
}

/// A part of building a search tree, or of taking one down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Built {
    /// Entries of the tree now.
    pub entries: u64,
    /// Records of the index now.
    pub records: u64,
    /// There is nothing more to do.
    pub done: bool,
    /// It cannot go on: no run of free blocks is long enough for a partition.
    pub no_room: bool,
}

/// A filesystem, opened at a path in it. Methods on records act on that path unless
/// they name files themselves.
pub trait Backend {
    /// Makes an index, owned by the caller.
    ///
    /// # Errors
    /// Why not, without the name.
    fn create(&mut self, new: &NewIndex<'_>) -> Result<()>;

    /// All indexes, in the order of their creation.
    ///
    /// # Errors
    /// Why not.
    fn list(&mut self) -> Result<Vec<model::Index>>;

    /// The index called `name`.
    ///
    /// # Errors
    /// Why not, without the name; also if there is none.
    fn info(&mut self, name: &str) -> Result<model::Index>;

    /// Drops an index.
    ///
    /// # Errors
    /// Why not, without the name.
    fn drop_index(&mut self, name: &str) -> Result<()>;

    /// Makes the graph of an index, in place of the one that it may have, and tells `progress` how many steps are done, of how many.
    ///
    /// # Errors
    /// Why not, without the name.
    fn optimize(&mut self, name: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;

    /// Stores a record of the path.
    ///
    /// # Errors
    /// Why not, without the path.
    fn put(&mut self, index: &model::Index, record: NewRecord, vector: &[u8]) -> Result<()>;

    /// Reads a record of the path: its vector and its tag.
    ///
    /// # Errors
    /// Why not, without the path.
    fn get(&mut self, index: &model::Index, label: u64) -> Result<(Vec<u8>, u64)>;

    /// Deletes the record of this label, or all records of the path; returns how many.
    ///
    /// # Errors
    /// Why not, without the path; also if there is no record of the label.
    fn delete(&mut self, index: &model::Index, label: Option<u64>) -> Result<u64>;

    /// Stores records of files, and adds to `stored` how many, also if not all are.
    ///
    /// # Errors
    /// Why not, with the file, and the row if it is known.
    fn put_many(
        &mut self,
        index: &model::Index,
        batch: &[FileRecords],
        stored: &mut u64,
    ) -> Result<()>;

    /// The nearest records of each query, nearest first, equally distant ones by
    /// inode, then by label.
    ///
    /// # Errors
    /// Why not.
    fn search(
        &mut self,
        index: &model::Index,
        queries: &Queries<'_>,
    ) -> Result<Vec<Vec<model::Hit>>>;

    /// Holds a part of the search tree of an index to its records. `at` is zeros to begin with, and says afterwards
    /// where to go on.
    ///
    /// # Errors
    /// Why not, without the name. Something wrong with the index is none.
    fn verify(&mut self, index: &model::Index, at: &mut [u64; 4]) -> Result<Verified>;

    /// Enters some records without an entry into the search tree of an index. `at` is 0 to begin with, and says
    /// afterwards where to go on.
    ///
    /// # Errors
    /// Why not, without the name.
    fn complete(&mut self, index: &model::Index, at: &mut u64) -> Result<Built>;

    /// Takes a part of the search tree of an index down.
    ///
    /// # Errors
    /// Why not, without the name.
    fn take_down(&mut self, index: &model::Index) -> Result<Built>;

    /// Notes how many leaves searches of an index must look at for [`layout::efforts::MEASURED_RECALLS`], in hundredths of the root of the number
    /// of partitions; zeros: forgets it.
    ///
    /// # Errors
    /// Why not, without the name.
    fn note_efforts(&mut self, index: &model::Index, efforts: [u32; EFFORTS]) -> Result<()>;

    /// Counters.
    ///
    /// # Errors
    /// Why not.
    fn stat(&mut self) -> Result<model::Stat>;

    /// Makes durable what was done so far.
    ///
    /// # Errors
    /// It may be lost.
    fn sync(&mut self) -> Result<()>;

    /// Ends the work, whether it succeeded or not, and leaves the filesystem as
    /// others expect it.
    ///
    /// # Errors
    /// What was done may not be kept.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// Opens a filesystem at `path`: of the image, if there is one, else of a mount.
///
/// # Errors
/// Why it cannot be opened, with the path or image.
pub fn open(img: Option<&Path>, path: &Path, access: Access) -> Result<Box<dyn Backend>> {
    Ok(match img {
        Some(img) => Box::new(image::ImageBackend::open(img, path, access)?),
        None => Box::new(kernel::KernelBackend::open(path, access)?),
    })
}
