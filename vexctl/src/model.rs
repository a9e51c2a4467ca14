// SPDX-License-Identifier: GPL-2.0-only
//! What commands find out, once: text and JSON are two ways to write the same values.
//! It may not know where they come from.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;

use layout::efforts::EFFORTS;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

mod calibration;

pub use calibration::{Calibration, Measured};

/// Number of the JSON output's version.
pub const VERSION: u32 = 1;

/// A command's result.
pub trait Report: Serialize {
    /// Writes it for people.
    ///
    /// # Errors
    /// Those of `out`.
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// An index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its number; never used again, and greater for a later index.
    pub id: u32,
    /// What its vectors are.
    #[serde(flatten, serialize_with = "as_kind")]
    pub kind: vector::Kind,
    /// Permission bits.
    #[serde(serialize_with = "as_octal")]
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Records, those included that went with their file and are still to be removed.
    pub records: u64,
    /// Records for which there is room, used and free.
    pub slots: u64,
    /// Segments.
    pub segments: u32,
    /// Bytes of the device that they occupy.
    pub bytes: u64,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// The search tree.
    pub tree: Tree,
    /// Leaves of the tree that searches look at for a recall of 0.9, 0.95 and 0.99, in hundredths of the root of the number of
    /// partitions, if that was measured.
    pub efforts: Option<[u32; EFFORTS]>,
    /// Its graph, if it was optimised; not told by a mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<Graph>,
}

/// The search tree of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tree {
    /// Entries. If they are fewer than the records, searches compare all records.
    pub entries: u64,
    /// Partitions.
    pub partitions: u32,
    /// Levels.
    pub height: u32,
    /// Bytes of the device that it occupies.
    pub bytes: u64,
}

/// The graph of an index that was optimised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// "in use"; "unfinished" or "being freed" if that was interrupted; "outdated" if too many records were put since.
    pub state: &'static str,
    /// Records with a node.
    pub nodes: u64,
    /// Records put since, at which every search looks.
    pub fresh: u32,
    /// Records that are gone, of which codes are left until the next sweep.
    pub gone: u64,
    /// Bytes of the device that it occupies.
    pub bytes: u64,
}

impl Index {
    /// Bytes of a vector.
    #[must_use]
    pub fn vector_bytes(&self) -> usize {
        self.kind.vector_bytes()
    }
}

/// `index list`.
#[derive(Debug, Serialize)]
pub struct IndexList {
    /// All indexes.
    pub indexes: Vec<Index>,
}

impl Report for IndexList {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.indexes.is_empty() {
            return writeln!(out, "no indexes");
        }
        let rows: Vec<[String; 7]> = self
            .indexes
            .iter()
            .map(|index| {
                [
                    printable(index.name.as_bytes()),
                    index.kind.dim().to_string(),
                    index.kind.element().to_string(),
                    index.kind.metric().to_string(),
                    index.records.to_string(),
                    bytes(index.bytes),
                    format!("{:03o}", index.mode),
                ]
            })
            .collect();
        let head = [
            "name", "dim", "element", "metric", "records", "size", "mode",
        ];
        let right = [false, true, false, false, true, true, true];
        write_table(out, head, right, &rows)
    }
}

/// `index info`, and what `index create` made.
#[derive(Debug, Serialize)]
pub struct IndexInfo {
    /// The index.
    pub index: Index,
}

impl Report for IndexInfo {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let index = &self.index;
        writeln!(out, "name      {}", printable(index.name.as_bytes()))?;
        writeln!(out, "number    {}", index.id)?;
        writeln!(
            out,
            "vectors   {} x {}",
            index.kind.dim(),
            index.kind.element()
        )?;
        writeln!(out, "metric    {}", index.kind.metric())?;
        writeln!(
            out,
            "records   {} (room for {})",
            index.records, index.slots
        )?;
        writeln!(
            out,
            "space     {} in {} segments",
            bytes(index.bytes),
            index.segments
        )?;
        let tree = &index.tree;
        match tree.height {
            0 => writeln!(out, "tree      none yet")?,
            height => writeln!(
                out,
                "tree      {} in {} partitions of {height} levels, {} entries{}",
                bytes(tree.bytes),
                tree.partitions,
                tree.entries,
                if tree.entries < index.records {
                    ": not all records, so searches compare all of them"
                } else {
                    ""
                }
            )?,
        }
        match index.efforts {
            None => writeln!(out, "efforts   not measured")?,
            Some(efforts) => {
                let share = |leaves| f64::from(leaves) / 100.0;
                let [low, middle, high] = efforts.map(share);
                writeln!(
                    out,
                    "efforts   {low}, {middle}, {high} times the root of the partitions for recall 0.9, 0.95, 0.99"
                )?;
            }
        }
        if let Some(graph) = &index.graph {
            let state = graph.state;
            let space = bytes(graph.bytes);
            let (nodes, fresh, gone) = (graph.nodes, graph.fresh, graph.gone);
            writeln!(
                out,
                "graph     {state}: {space}, {nodes} nodes, {fresh} records put since, {gone} gone"
            )?;
        }
        writeln!(out, "mode      {:03o}", index.mode)?;
        writeln!(out, "owner     {}:{}", index.uid, index.gid)?;
        writeln!(out, "created   {}", utc(index.created))
    }
}

/// What a command changed, in numbers.
#[derive(Debug, Default, Serialize)]
pub struct Changed {
    /// The index.
    pub index: String,
    /// Records stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    /// Records deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Whether the index was dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

impl Report for Changed {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let index = printable(self.index.as_bytes());
        if let Some(stored) = self.stored {
            writeln!(out, "{} stored in {index}", records(stored))?;
        }
        if let Some(deleted) = self.deleted {
            writeln!(out, "{} deleted from {index}", records(deleted))?;
        }
        if self.dropped {
            writeln!(out, "{index} dropped")?;
        }
        Ok(())
    }
}

/// `index verify`.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The index.
    pub index: String,
    /// Whether nothing is wrong with it.
    pub right: bool,
    /// Partitions seen.
    pub partitions: u64,
    /// Entries seen.
    pub entries: u64,
    /// Records seen.
    pub records: u64,
    /// Those of them without an entry.
    pub missing: u64,
    /// Whether these numbers were compared with what the index counts.
    pub counted: bool,
    /// The first thing that is wrong.
    pub problem: Option<Problem>,
}

/// Something wrong with an index.
#[derive(Debug, Serialize)]
pub struct Problem {
    /// In which block, if it is in one.
    pub block: Option<u64>,
    /// What.
    pub reason: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.block {
            Some(block) => write!(f, "block {block}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Report for Verification {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let index = printable(self.index.as_bytes());
        writeln!(
            out,
            "{index}: {} seen, {} of them without an entry; {} entries in {} partitions",
            records(self.records),
            self.missing,
            self.entries,
            self.partitions
        )?;
        if !self.right {
            return Ok(());
        }
        let totals = match self.counted {
            true => "",
            false => "; totals were not compared, for something changed meanwhile",
        };
        writeln!(out, "{index}: nothing wrong{totals}")
    }
}

/// `index build`, `index rebuild`.
#[derive(Debug, Serialize)]
pub struct Building {
    /// The index.
    pub index: String,
    /// Entries that were removed.
    pub removed: u64,
    /// Entries that were made.
    pub entered: u64,
    /// What came of it.
    pub tree: Tree,
}

impl Report for Building {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let index = printable(self.index.as_bytes());
        if self.removed != 0 {
            writeln!(out, "{index}: {} entries removed", self.removed)?;
        }
        writeln!(
            out,
            "{index}: {} entered; the tree has {} entries in {} partitions",
            records(self.entered),
            self.tree.entries,
            self.tree.partitions
        )
    }
}

/// `get`.
#[derive(Debug, Serialize)]
pub struct Record {
    /// The file, as the user named it.
    pub path: String,
    /// The index.
    pub index: String,
    /// The record's label.
    pub label: u64,
    /// The record's tag.
    pub tag: u64,
    /// The elements.
    pub elements: Vec<f32>,
}

impl Report for Record {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "label {}, tag {}, {} elements",
            self.label,
            self.tag,
            self.elements.len()
        )?;
        for line in self.elements.chunks(8) {
            let words: Vec<String> = line.iter().map(f32::to_string).collect();
            writeln!(out, "{}", words.join(" "))?;
        }
        Ok(())
    }
}

/// `search`.
#[derive(Debug, Serialize)]
pub struct Search {
    /// The index.
    pub index: String,
    /// Its metric.
    #[serde(serialize_with = "as_text")]
    pub metric: vector::Metric,
    /// Hits wanted for each query.
    pub k: u32,
    /// The answers.
    pub queries: Vec<Answer>,
}

/// `bench`.
#[derive(Debug, Serialize)]
pub struct Bench {
    /// The index.
    pub index: String,
    /// Its records.
    pub records: u64,
    /// Hits wanted for each query.
    pub k: u32,
    /// Queries.
    pub queries: u32,
    /// Exact first.
    pub efforts: Vec<BenchLine>,
}

/// What an effort led to.
#[derive(Debug, Serialize)]
pub struct BenchLine {
    /// What was asked for.
    pub effort: String,
    /// The part of the exact answers that was found.
    pub recall: f64,
    /// Queries in a second.
    pub rate: f64,
    /// Time of a query.
    pub microseconds: f64,
}

impl Report for Bench {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} records, {} queries, the {} nearest of each",
            self.records, self.queries, self.k
        )?;
        let exact = self.efforts.first().map_or(1.0, |line| line.rate);
        let rows: Vec<[String; 5]> = self
            .efforts
            .iter()
            .map(|line| {
                [
                    line.effort.clone(),
                    format!("{:.4}", line.recall),
                    format!("{:.0}", line.rate),
                    format!("{:.1}", line.microseconds),
                    format!("{:.1}", line.rate / exact),
                ]
            })
            .collect();
        let head = ["effort", "recall", "queries/s", "us/query", "times exact"];
        write_table(out, head, [false, true, true, true, true], &rows)
    }
}

/// The answer to a query.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// The query's row.
    pub query: u64,
    /// The nearest records, nearest first.
    pub hits: Vec<Hit>,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// A path of its file, from the root of the mount, without a slash in front. What
    /// is not UTF-8 in it is replaced.
    #[serde(serialize_with = "as_lossy")]
    pub path: Rc<[u8]>,
    /// The record's label.
    pub label: u64,
    /// The record's tag.
    pub tag: u64,
    /// Inode number of the file.
    pub inode: u64,
    /// Generation of the inode.
    pub generation: u32,
    /// Distance to the query.
    pub distance: f64,
}

impl Report for Search {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let several = self.queries.len() > 1;
        for (number, answer) in self.queries.iter().enumerate() {
            if several {
                let gap = if number == 0 { "" } else { "\n" };
                writeln!(out, "{gap}query {}", answer.query)?;
            }
            let rows: Vec<[String; 4]> = (1..)
                .zip(&answer.hits)
                .map(|(rank, hit): (u32, _)| {
                    [
                        rank.to_string(),
                        significant(hit.distance),
                        hit.label.to_string(),
                        printable(&hit.path),
                    ]
                })
                .collect();
            let head = ["rank", "distance", "label", "path"];
            write_table(out, head, [true, true, true, false], &rows)?;
        }
        Ok(())
    }
}

/// `stat`.
#[derive(Debug, Default, Serialize)]
pub struct Stat {
    /// `kernel` or `image`: who counted.
    pub source: &'static str,
    /// The instruction set that distances are computed with.
    pub isa: &'static str,
    /// Indexes.
    pub indexes: u64,
    /// Records of all indexes.
    pub records: u64,
    /// Records for which there is room, used and free.
    pub slots: u64,
    /// Segments of all indexes.
    pub segments: u64,
    /// Bytes of the device that they occupy.
    pub bytes: u64,
    /// What was done since the filesystem was mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_mount: Option<Activity>,
}

/// Counters of a mount.
#[derive(Debug, Serialize)]
pub struct Activity {
    /// Queries answered.
    pub queries: u64,
    /// Distances computed.
    pub distances: u64,
    /// Records put.
    pub puts: u64,
    /// Records deleted by request.
    pub deletes: u64,
}

impl Report for Stat {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "indexes    {}", self.indexes)?;
        writeln!(out, "records    {} (room for {})", self.records, self.slots)?;
        writeln!(
            out,
            "space      {} in {} segments",
            bytes(self.bytes),
            self.segments
        )?;
        writeln!(out, "distances  {} ({})", self.isa, self.source)?;
        if let Some(done) = &self.since_mount {
            writeln!(
                out,
                "since the mount: {} queries, {} distances, {} records put, {} deleted",
                done.queries, done.distances, done.puts, done.deletes
            )?;
        }
        Ok(())
    }
}

fn as_text<S: Serializer>(value: &vector::Metric, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.name())
}

/// `dim`, `metric` and `element`.
fn as_kind<S: Serializer>(kind: &vector::Kind, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry("dim", &kind.dim())?;
    map.serialize_entry("metric", kind.metric().name())?;
    map.serialize_entry("element", kind.element().name())?;
    map.end()
}

fn as_octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

fn as_lossy<S: Serializer>(path: &Rc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(path))
}

fn records(count: u64) -> String {
    match count {
        1 => "1 record".to_owned(),
        _ => format!("{count} records"),
    }
}

/// A size for people.
fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// Text for a terminal: control characters, and bytes that are not UTF-8, are
/// escaped, for names in a filesystem are anybody's.
#[must_use]
pub fn printable(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Six significant digits, as C's `%#.6g`.
#[must_use]
pub fn significant(value: f64) -> String {
    let scientific = format!("{value:.5e}");
    let exponent = scientific
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    match exponent {
        // From -5 to 5 there are 10 to 0 digits behind the point.
        Some(exponent @ -5..=5) => format!("{value:.*}", (5 - exponent) as usize),
        _ => scientific,
    }
}

/// Seconds since 1970 as date and time of day, UTC.
#[must_use]
pub fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // H. Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days.
    // Years begin in March there, so that the leap day is a year's last.
    let day = i128::from(days) + 719_468;
    let era = day.div_euclid(146_097);
    let day = day.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i128::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

/// Columns as wide as their widest cell, two spaces apart; the last one is not padded.
fn write_table<const N: usize>(
    out: &mut dyn Write,
    head: [&str; N],
    right: [bool; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let mut widths = head.map(|word| word.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(widths).zip(right) {
            let _ = if right {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{printable, significant, utc};

    #[test]
    fn significant_digits() {
        for (value, text) in [
            (0.0, "0.00000"),
            (0.123_456_789, "0.123457"),
            (-1.0, "-1.00000"),
            (999_999.4, "999999"),
            (999_999.5, "1.00000e6"),
            (0.000_012_345_678, "0.0000123457"),
            (1.5e-9, "1.50000e-9"),
            (12.0, "12.0000"),
        ] {
            assert_eq!(significant(value), text, "{value}");
        }
    }

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_827_696, "2000-02-29 12:34:56 UTC"),
            (1_709_164_800, "2024-02-29 00:00:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
        // What a damaged disk might say must not overflow.
        for extreme in [i64::MIN, i64::MAX] {
            assert!(utc(extreme).ends_with("UTC"));
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(printable("a b/ü".as_bytes()), "a b/ü");
        assert_eq!(printable(b"a\n\x1b[2J\xff\xc3"), "a\\n\\u{1b}[2J\\xff\\xc3");
    }
}
