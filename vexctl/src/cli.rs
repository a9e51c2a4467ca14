// SPDX-License-Identifier: GPL-2.0-only
//! The command line: what can be said, and the checks that need nothing but the words
//! themselves. What is wrong with them ends with exit status 2.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use vector::{Element, Kind, Metric};

/// Manage and query the vector indexes of a VexFS filesystem.
///
/// An index holds vectors of one dimension, which are compared by one metric. A
/// record of an index belongs to a regular file and has a label, which is unique for
/// the file, a tag and a vector. Records live and die with their file.
///
/// Commands work on a mounted filesystem, and with --img on a device or image file
/// that is not mounted, without the kernel module, and with the same answers.
#[derive(Debug, Parser)]
#[command(
    name = "vexctl",
    version,
    disable_help_subcommand = true,
    after_long_help = format!("Exit status:\n{EXIT_STATUS}")
)]
pub struct Cli {
    /// Work on this device or image file, which is not mounted; paths are then those
    /// inside of it
    ///
    /// For a command that only reads, the file is not changed: if its journal has
    /// something to replay, that happens in memory. Permissions are not looked at:
    /// who may read the image may read all of it.
    #[arg(long, global = true, value_name = "FILE")]
    pub img: Option<PathBuf>,

    /// Print results as JSON
    ///
    /// One object, whose member "version" is 1. Later versions of vexctl add members
    /// and neither remove nor rename any without raising that number.
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Exit status, for help and manual.
pub const EXIT_STATUS: &str = "  0  done
  1  not done, or not all of it: the reason is on standard error
  2  the command line is wrong";

/// JSON output, for the manual.
pub const JSON_OUTPUT: &str = "\
Every result is one object with \"version\": 1 and these members:

  index list          indexes: [{name, id, dim, metric, element,
                      mode, uid, gid, records, slots, segments,
                      bytes, created, tree: {entries,
                      partitions, height, bytes}}]
  index create, info  index: such an object
  index drop          index: the name, dropped
  index verify        index, right, partitions, entries, records,
                      missing: records without an entry,
                      counted: whether totals were compared,
                      problem: {block, reason} or null
  index build,        index, entered, removed: entries that
    rebuild           were, tree: as above
  put, import         index, stored: number of records
  del                 index, deleted: number of records
  get                 path, index, label, tag, elements: [numbers]
  search              index, metric, k, queries: [{query: row,
                      hits: [{path, label, tag, inode,
                      generation, distance}]}]
  bench               index, records, k, queries, efforts:
                      [{effort, recall, rate, microseconds}]
  stat                source, isa, indexes, records, slots,
                      segments, bytes; on a mount since_mount:
                      {queries, distances, puts, deletes}

Distances are binary64, printed in full. Paths of hits are
relative to the root of the filesystem.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe, verify, rebuild and drop indexes
    #[command(subcommand, disable_help_subcommand = true)]
    Index(IndexCommand),
    /// Store the vector of a record of a file
    Put(Put),
    /// Print a record of a file
    Get(Record),
    /// Delete a record of a file, or all of them
    Del(Del),
    /// Store many vectors, as records of one file or of many
    Import(Import),
    /// Find the records that are nearest to vectors
    Search(Search),
    /// Measure how much of its own exact answers an index finds, and how fast
    Bench(Bench),
    /// Print what the filesystem's vector part holds and did
    Stat(Stat),
    /// Print a script that completes vexctl's commands in a shell
    Completions(Completions),
    /// Print the manual page, or write all of them into a folder
    Man(Man),
}

/// The commands for indexes.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Create an empty index
    Create(Create),
    /// List all indexes in the order of their creation
    List(Place),
    /// Describe an index
    Info(Named),
    /// Hold the search tree of an index to its records
    ///
    /// Every record must have one entry and every entry one record, which name each other; every code is computed again from
    /// its vector and compared bit by bit. On a mount, searches, puts and deletes go on meanwhile; totals are compared if
    /// nothing has changed. The first thing wrong ends it, with exit status 1. fsck.vexfs checks all of a filesystem.
    Verify(Named),
    /// Enter records into the search tree that have no entry in it
    ///
    /// Records are put without an entry when free space is too fragmented for a partition of the tree; as long as there are
    /// any, searches compare all records. Searches, puts and deletes go on meanwhile. What was done stays, also after a crash.
    Build(Named),
    /// Take the search tree of an index down, and build it anew
    ///
    /// Searches, puts and deletes go on meanwhile, but until it is done searches compare all records: their answers are exact, and
    /// slower. After a crash or an interruption, index build goes on.
    Rebuild(Named),
    /// Measure what searching an index takes, and have searches follow it
    ///
    /// Asks the queries of a file with ever more leaves of the search tree, compares the answers with exact ones, and notes in
    /// the index how many leaves a recall of 0.9, 0.95 and 0.99 took. From then on search --recall goes by that, in place of
    /// a guess that is made for text embeddings; also when the index has grown. Only the owner of the index may note it.
    Calibrate(Calibrate),
    /// Drop an index with all of its records
    Drop(Named),
}

/// A filesystem, by any path in it.
#[derive(Debug, Args)]
pub struct Place {
    /// Any path on the mount, or in the image
    pub path: PathBuf,
}

/// An index of a filesystem.
#[derive(Debug, Args)]
pub struct Named {
    /// Any path on the mount, or in the image
    pub path: PathBuf,

    /// Name of the index
    #[arg(value_parser = index_name)]
    pub name: String,
}

/// `index calibrate`.
#[derive(Debug, Args)]
#[group(id = "with", required = true, multiple = false, args = ["npy", "forget"])]
pub struct Calibrate {
    /// The filesystem and the index.
    #[command(flatten)]
    pub index: Named,

    /// The queries, as for search; of more than 10000 the first
    ///
    /// They should be like those that will be asked, and not vectors of the index.
    #[arg(long, visible_alias = "queries", value_name = "QUERIES")]
    pub npy: Option<PathBuf>,

    /// Hits wanted for each query, 1 to 10000
    #[arg(short, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::search::SEARCH_K_MAX)))]
    pub k: u32,

    /// Forget what was measured
    #[arg(long)]
    pub forget: bool,
}

/// `index create`.
#[derive(Debug, Args)]
pub struct Create {
    /// The filesystem and the index.
    #[command(flatten)]
    pub index: Named,

    /// Elements of a vector, 1 to 4096
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::DIM_MAX)))]
    pub dim: u32,

    /// Type of the elements
    #[arg(long, value_name = "T", default_value = "f32")]
    pub element: ElementName,

    /// What a distance is: hamming for binary elements, one of the others for all other elements
    #[arg(long, value_name = "M")]
    pub metric: MetricName,

    /// Permission bits, octal: read to search and get, write to put and delete
    ///
    /// The umask does not apply. What a search shows of other users' files is
    /// decided by the permissions of those files and their directories.
    #[arg(long, value_name = "OCTAL", default_value = "644", value_parser = mode)]
    pub mode: u16,
}

impl Create {
    /// What the vectors of the index are to be.
    ///
    /// # Errors
    /// Elements and metric do not go together.
    pub fn kind(&self) -> Result<Kind, vector::Error> {
        Kind::new(self.element.into(), self.metric.into(), self.dim)
    }
}

/// Names of element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ElementName {
    /// Floats of 32 bits
    F32,
    /// Floats of 16 bits (IEEE 754 binary16)
    F16,
    /// Whole numbers from -128 to 127
    I8,
    /// Bits
    Binary,
}

impl From<ElementName> for Element {
    fn from(name: ElementName) -> Element {
        match name {
            ElementName::F32 => Element::F32,
            ElementName::F16 => Element::F16,
            ElementName::I8 => Element::I8,
            ElementName::Binary => Element::Binary,
        }
    }
}

/// Names of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricName {
    /// The squared Euclidean distance
    L2,
    /// One minus the cosine of the angle, 0 to 2
    Cosine,
    /// The negated inner product
    Dot,
    /// The number of bits that differ
    Hamming,
}

impl From<MetricName> for Metric {
    fn from(name: MetricName) -> Metric {
        match name {
            MetricName::L2 => Metric::L2,
            MetricName::Cosine => Metric::Cosine,
            MetricName::Dot => Metric::Dot,
            MetricName::Hamming => Metric::Hamming,
        }
    }
}

/// A record.
#[derive(Debug, Args)]
pub struct Record {
    /// The regular file that it belongs to
    pub file: PathBuf,

    /// Name of the index
    #[arg(value_parser = index_name)]
    pub name: String,

    /// The record's label
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub label: u64,
}

/// `put`.
#[derive(Debug, Args)]
pub struct Put {
    /// The record.
    #[command(flatten)]
    pub record: Record,

    /// The vector: a file of one row, in a format that import knows; - for standard input
    #[arg(long, visible_alias = "vectors", value_name = "V")]
    pub npy: PathBuf,

    /// A number to keep with the record
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub tag: u64,
}

/// `del`.
#[derive(Debug, Args)]
pub struct Del {
    /// The record.
    #[command(flatten)]
    pub record: Record,

    /// Delete all records that the file has in the index
    #[arg(long, conflicts_with = "label")]
    pub all: bool,
}

/// `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The filesystem and the index; paths of --jsonl are relative to PATH.
    #[command(flatten)]
    pub index: Named,

    /// The vectors: a numpy array (.npy), TEXMEX vectors (.fvecs, .bvecs) or JSON (.json,
    /// .jsonl); - for standard input
    ///
    /// A numpy array has floats, bytes or booleans, and one vector or one a row. JSON is an
    /// array of numbers for each vector, one after the other or in an array. A name that
    /// ends with none of these is of a numpy array or of JSON.
    #[arg(long, visible_alias = "vectors", value_name = "ROWS")]
    pub npy: PathBuf,

    /// Where they belong.
    #[command(flatten)]
    pub target: ImportTarget,
}

/// Where the rows of an import belong.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ImportTarget {
    /// Make the rows records of this file, labelled by row number, from 0
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Make each row a record of the file that its line in LINES names
    ///
    /// A line is a JSON object with "path" (relative to PATH), "offset" (the byte
    /// offset of the passage in that file, which becomes the label) and optionally
    /// "tag". There must be as many lines as rows.
    #[arg(long, value_name = "LINES")]
    pub jsonl: Option<PathBuf>,
}

/// `search`.
#[derive(Debug, Args)]
pub struct Search {
    /// The filesystem and the index.
    #[command(flatten)]
    pub index: Named,

    /// The queries, one a row: a numpy array (.npy), TEXMEX vectors (.fvecs, .bvecs) or
    /// JSON (.json, .jsonl); - for standard input
    ///
    /// A numpy array has floats, bytes or booleans, and one vector or one a row. JSON is an
    /// array of numbers for each vector, one after the other or in an array. A name that
    /// ends with none of these is of a numpy array or of JSON.
    #[arg(long, visible_alias = "queries", value_name = "QUERIES")]
    pub npy: PathBuf,

    /// Hits wanted for each query, 1 to 10000
    #[arg(short, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::search::SEARCH_K_MAX)))]
    pub k: u32,

    /// Compare with every record of the index
    ///
    /// Without it a part of the index's search tree is looked at, which may miss some
    /// of the nearest records. Distances are exact either way.
    #[arg(long, conflicts_with_all = ["recall", "probes"])]
    pub exact: bool,

    /// The part of the nearest records that is to be found: 0.5 to 1
    ///
    /// An aim, not a promise: what a search misses depends on the vectors. For
    /// certainty there is --exact.
    #[arg(long, value_name = "PART", default_value = "0.95", value_parser = recall)]
    pub recall: u32,

    /// Leaves of the search tree to look at, in place of a recall
    #[arg(long, value_name = "N", conflicts_with = "recall", value_parser = clap::value_parser!(u32).range(1..))]
    pub probes: Option<u32>,

    /// Only records with labels from FROM to TO, both included
    #[arg(long, value_name = "FROM..TO", value_parser = range::<u64>, help_heading = "Conditions")]
    pub labels: Option<(u64, u64)>,

    /// Only records whose tag, as far as MASK has bits, is VALUE (0x.. is hexadecimal)
    #[arg(long, value_name = "MASK=VALUE", value_parser = tag_bits, help_heading = "Conditions")]
    pub tag: Option<(u64, u64)>,

    /// Only files of this user
    #[arg(long, value_name = "NUMBER", help_heading = "Conditions")]
    pub uid: Option<u32>,

    /// Only files that were modified between FROM and TO, in seconds since 1970, both
    /// included
    #[arg(long, value_name = "FROM..TO", value_parser = range::<i64>, allow_hyphen_values = true, help_heading = "Conditions")]
    pub modified: Option<(i64, i64)>,

    /// Only files in this folder and those below it; the path begins at PATH
    #[arg(long, value_name = "FOLDER", help_heading = "Conditions")]
    pub within: Option<PathBuf>,

    /// Only records that are not farther away than this
    #[arg(long, value_name = "DISTANCE", value_parser = distance, allow_hyphen_values = true, help_heading = "Conditions")]
    pub distance: Option<f64>,
}

/// `bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// The filesystem and the index.
    #[command(flatten)]
    pub index: Named,

    /// The queries, as for search; of more than 10000 the first
    ///
    /// They should be like those that will be asked, and not vectors of the index.
    #[arg(long, visible_alias = "queries", value_name = "QUERIES")]
    pub npy: PathBuf,

    /// Hits wanted for each query, 1 to 10000
    #[arg(short, value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(uapi::search::SEARCH_K_MAX)))]
    pub k: u32,

    /// Recalls to aim at, in place of some from 0.9 to 0.995; may be given again
    #[arg(long, value_name = "PART", value_parser = recall)]
    pub recall: Vec<u32>,

    /// Numbers of leaves to look at, too; may be given again
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub probes: Vec<u32>,

    /// Seconds for each line of the table
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
}

/// `stat`.
#[derive(Debug, Args)]
pub struct Stat {
    /// The filesystem.
    #[command(flatten)]
    pub place: Place,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Write the pages of vexctl and of all its commands into this folder
    #[arg(value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// FROM..TO, either of which may be missing.
fn range<X>(text: &str) -> Result<(X, X), String>
where
    X: std::str::FromStr + PartialOrd + Bounds,
{
    let (from, to) = text
        .split_once("..")
        .ok_or_else(|| "a range is FROM..TO, FROM.. or ..TO".to_owned())?;
    let number = |text: &str, missing| match text {
        "" => Ok(missing),
        text => text
            .parse()
            .map_err(|_| format!("{text:?} is no whole number in range")),
    };
    let (from, to) = (number(from, X::LEAST)?, number(to, X::MOST)?);
    match from <= to {
        true => Ok((from, to)),
        false => Err("the range is empty".to_owned()),
    }
}

/// The ends of a type's numbers.
pub trait Bounds {
    /// The smallest.
    const LEAST: Self;
    /// The greatest.
    const MOST: Self;
}

impl Bounds for u64 {
    const LEAST: u64 = u64::MIN;
    const MOST: u64 = u64::MAX;
}

impl Bounds for i64 {
    const LEAST: i64 = i64::MIN;
    const MOST: i64 = i64::MAX;
}

/// MASK=VALUE.
fn tag_bits(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (mask, value) = text
        .split_once('=')
        .and_then(|(mask, value)| Some((number(mask)?, number(value)?)))
        .ok_or_else(|| "a condition on tags is MASK=VALUE, two numbers".to_owned())?;
    match value & !mask {
        0 => Ok((mask, value)),
        _ => Err("the value has bits that the mask has not, so no tag meets it".to_owned()),
    }
}

/// A time.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a time is a number of seconds, at most 3600".to_owned()),
    }
}

/// A distance.
fn distance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(distance) if !distance.is_nan() => Ok(distance),
        _ => Err("a distance is a number".to_owned()),
    }
}

/// A part of one, in ten thousandths.
fn recall(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.5..=1.0).contains(&part) => Ok((part * 10_000.0).round() as u32),
        _ => Err("a recall is a number from 0.5 to 1".to_owned()),
    }
}

fn index_name(text: &str) -> Result<String, String> {
    uapi::name::name_field(text)
        .map(|_| text.to_owned())
        .map_err(|_| {
            "an index name has 1 to 63 bytes, without '/', and no white space at its ends"
                .to_owned()
        })
}

fn mode(text: &str) -> Result<u16, String> {
    u16::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "an octal number of at most 777".to_owned())
}
