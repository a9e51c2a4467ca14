// SPDX-License-Identifier: GPL-2.0-only
//! JSON lines that say where each row of vectors belongs: one object a line with
//! `"path"` (relative to the directory imported into), `"offset"` (the byte offset of
//! the passage, which becomes the label) and optionally `"tag"`. Other members are
//! for others and ignored.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::error::{InputError, Place, Problem};

/// Longest line. Lines may carry the passage itself.
const LINE_MAX: usize = 16 << 20;

/// Where a row of vectors belongs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Location {
    /// The file, relative and without `..`.
    pub path: String,
    /// The record's label: the byte offset of the passage in the file.
    pub offset: u64,
    /// The record's tag.
    #[serde(default)]
    pub tag: u64,
}

/// The lines of a file, one after the other.
pub struct Locations<R> {
    reader: R,
    file: PathBuf,
    /// Lines given out.
    line: u64,
    /// Where the next line begins.
    offset: u64,
    buffer: Vec<u8>,
}

impl Locations<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let (reader, _) = super::open(path)?;
        Ok(Locations::new(reader, path))
    }
}

impl<R: BufRead> Locations<R> {
    /// Reads from `reader`; `file` is for messages.
    pub fn new(reader: R, file: &Path) -> Self {
        Locations {
            reader,
            file: file.to_owned(),
            line: 0,
            offset: 0,
            buffer: Vec::new(),
        }
    }

    /// The next line, or `None` after the last. Empty lines are errors, for a line
    /// that counts for nothing would shift all that follow against their vectors.
    ///
    /// # Errors
    /// What is wrong with the line, and where it is.
    pub fn next_location(&mut self) -> Result<Option<Location>, InputError> {
        self.buffer.clear();
        let place = Place::Line {
            line: self.line + 1,
            offset: self.offset,
        };
        let wrong = |problem| InputError::new(&self.file, place, problem);
        let length = self
            .reader
            .by_ref()
            .take(LINE_MAX as u64 + 1)
            .read_until(b'\n', &mut self.buffer)
            .map_err(|error| wrong(Problem::Io(error)))?;
        if length == 0 {
            return Ok(None);
        }
        if length > LINE_MAX {
            return Err(wrong(Problem::LineLength(LINE_MAX)));
        }
        let location: Location = serde_json::from_slice(&self.buffer)
            .map_err(|error| wrong(Problem::Json(reason(&error))))?;
        let path = Path::new(&location.path);
        let inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || path.file_name().is_none() || location.path.contains('\0') {
            return Err(wrong(Problem::Path(location.path)));
        }
        self.line += 1;
        self.offset += length as u64;
        Ok(Some(location))
    }

    /// Lines given out so far.
    pub fn lines_read(&self) -> u64 {
        self.line
    }
}

impl<R: BufRead> Iterator for Locations<R> {
    type Item = Result<Location, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_location().transpose()
    }
}

/// The reason without "at line 1 column n", which would mislead: every line is
/// parsed on its own. The column is worth keeping.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) if error.column() > 0 => format!("{what} (column {})", error.column()),
        Some((what, _)) => what.to_owned(),
        None => text,
    }
}
