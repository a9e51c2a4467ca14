// SPDX-License-Identifier: GPL-2.0-only
//! Vectors as JSON (RFC 8259): an array of arrays of numbers, one array of numbers, or several of
//! these one after the other, with white space between them (JSON lines). Just that
//! grammar is parsed, row by row, so that memory does not grow with the file. All rows
//! have the same dimension. `NaN` and `Infinity`, which some programs write and JSON does
//! not know, are refused as what they are.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::append_finite;
use super::error::{InputError, Place, Problem};

/// Greatest dimension of a vector.
const DIM_MAX: usize = 4096;

/// Longest number. A binary64 printed in full without an exponent is shorter.
const NUMBER_MAX: usize = 1100;

/// Vectors from JSON.
pub struct Json<R> {
    text: Text<R>,
    file: PathBuf,
    /// Whether the rows are the elements of an array.
    table: bool,
    /// Elements of the next row; nothing after the last.
    next: Vec<f32>,
    /// Where that row begins.
    at: u64,
    dim: u32,
    /// Rows given out.
    row: u64,
}

impl<R: BufRead> Json<R> {
    /// Reads the first row; `file` is for messages.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub fn new(reader: R, file: &Path) -> Result<Self, InputError> {
        let mut json = Json {
            text: Text {
                reader,
                offset: 0,
                token: 0,
                line: 1,
            },
            file: file.to_owned(),
            table: false,
            next: Vec::new(),
            at: 0,
            dim: 0,
            row: 0,
        };
        let found = json.first().map_err(|found| json.located(found))?;
        if !found {
            return Err(InputError::new(file, Place::Start, Problem::Empty));
        }
        json.dim = json.next.len() as u32; // at most DIM_MAX
        Ok(json)
    }

    /// Elements of every row.
    pub fn dim(&self) -> u32 {
        self.dim
    }

    /// See [`Vectors::next_row`](super::Vectors::next_row).
    ///
    /// # Errors
    /// A row of another dimension, or of something else than numbers; the file ends within
    /// a row; an element is not finite; reading fails.
    pub fn next_row(&mut self, out: &mut Vec<u8>) -> Result<bool, InputError> {
        if self.next.is_empty() {
            return Ok(false);
        }
        let place = Place::Row {
            row: self.row,
            offset: self.at,
        };
        let found = self.next.len();
        if found != self.dim as usize {
            let problem = Problem::DimChanged {
                expected: self.dim,
                found: found as i64, // at most DIM_MAX
            };
            return Err(InputError::new(&self.file, place, problem));
        }
        append_finite(self.next.iter().copied(), out)
            .map_err(|element| InputError::new(&self.file, place, Problem::NotFinite(element)))?;
        self.row += 1;
        self.following().map_err(|found| self.located(found))?;
        Ok(true)
    }

    /// Reads the first row. Whether there is one.
    fn first(&mut self) -> Result<bool, Found> {
        let Some(first) = self.text.token()? else {
            return Ok(false);
        };
        self.at = self.text.offset;
        self.text.expect(first, b'[', "'[' expected")?;
        let second = self.text.token()?;
        if second == Some(b'[') {
            self.table = true;
            self.at = self.text.offset;
            self.text.take();
        } else if second == Some(b']') {
            self.text.take();
            // Of no rows, or a row without elements: nothing to use either way.
            return self.end().map(|()| false);
        }
        self.elements().map(|()| true)
    }

    /// Reads the row after the one that was given out. None is left if that was the last.
    fn following(&mut self) -> Result<(), Found> {
        self.next.clear();
        if self.table {
            let ended = "the array of rows has no end";
            let expected = "',' or ']' expected after a row";
            match self.text.token()?.ok_or(Found::Text(ended))? {
                b']' => {
                    self.text.take();
                    return self.end();
                }
                other => self.text.expect(other, b',', expected)?,
            }
        }
        let Some(first) = self.text.token()? else {
            return match self.table {
                true => Err(Found::Text("a row expected after ','")),
                false => Ok(()),
            };
        };
        self.at = self.text.offset;
        self.text.expect(first, b'[', "'[' expected, a row")?;
        self.elements()
    }

    /// Only white space may follow.
    fn end(&mut self) -> Result<(), Found> {
        match self.text.token()? {
            None => Ok(()),
            Some(_) => Err(Found::Text("something follows the ']'")),
        }
    }

    /// Reads elements up to the `]` of the row.
    fn elements(&mut self) -> Result<(), Found> {
        if self.text.token()? == Some(b']') {
            return Err(Found::Row(Problem::Dim(0)));
        }
        loop {
            if self.next.len() == DIM_MAX {
                return Err(Found::Row(Problem::Dim(DIM_MAX as i64 + 1)));
            }
            let element = self.text.number(self.next.len() as u32)?;
            self.next.push(element);
            let ended = Found::Row(Problem::Truncated);
            match self.text.token()?.ok_or(ended)? {
                b']' => {
                    self.text.take();
                    return Ok(());
                }
                other => {
                    let expected = "',' or ']' expected after a number";
                    self.text.expect(other, b',', expected)?;
                }
            }
        }
    }

    /// What was found, with its place.
    fn located(&self, found: Found) -> InputError {
        let line = Place::Line {
            line: self.text.line,
            offset: self.text.token,
        };
        let row = Place::Row {
            row: self.row,
            offset: self.at,
        };
        match found {
            Found::Io(error) => InputError::new(&self.file, line, Problem::Io(error)),
            Found::Text(what) => InputError::new(&self.file, line, Problem::JsonArrays(what)),
            Found::Row(problem) => InputError::new(&self.file, row, problem),
        }
    }
}

/// What is wrong, without its place.
enum Found {
    /// The file cannot be read.
    Io(std::io::Error),
    /// The text is wrong at the token that was read last.
    Text(&'static str),
    /// The row is.
    Row(Problem),
}

/// What is not parsed yet.
struct Text<R> {
    reader: R,
    /// Bytes read.
    offset: u64,
    /// Where the last token begins.
    token: u64,
    /// Line of the next byte, from 1.
    line: u64,
}

impl<R: BufRead> Text<R> {
    /// The next byte, which stays the next.
    fn peek(&mut self) -> Result<Option<u8>, Found> {
        loop {
            match self.reader.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Found::Io(error)),
                Ok(bytes) => return Ok(bytes.first().copied()),
            }
        }
    }

    /// Leaves a byte behind, one that was looked at and is no line's end.
    fn take(&mut self) {
        self.reader.consume(1);
        self.offset += 1;
    }

    /// The next byte that is not white space.
    fn token(&mut self) -> Result<Option<u8>, Found> {
        loop {
            match self.peek()? {
                Some(b'\n') => self.line += 1,
                Some(b' ' | b'\t' | b'\r') => {}
                other => {
                    self.token = self.offset;
                    return Ok(other);
                }
            }
            self.take();
        }
    }

    /// Leaves `byte`, the next one, behind, if it is the one that is wanted.
    fn expect(&mut self, byte: u8, wanted: u8, otherwise: &'static str) -> Result<(), Found> {
        if byte != wanted {
            return Err(Found::Text(otherwise));
        }
        self.take();
        Ok(())
    }

    /// Reads a number, element `element` of its row.
    fn number(&mut self, element: u32) -> Result<f32, Found> {
        let mut word = String::new();
        let first = self.token()?;
        first.ok_or(Found::Row(Problem::Truncated))?;
        while let Some(byte) = self.peek()? {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
                break;
            }
            if word.len() == NUMBER_MAX {
                return Err(Found::Text("a number of absurd length"));
            }
            word.push(char::from(byte));
            self.take();
        }
        match word.as_str() {
            "NaN" | "Infinity" | "-Infinity" => Err(Found::Row(Problem::NotFinite(element))),
            number if is_number(number) => {
                number.parse().map_err(|_| Found::Text("a number expected"))
            }
            _ => Err(Found::Text("a number expected")),
        }
    }
}

/// Whether the word is a number of JSON's: `-`, digits without a zero in front, perhaps `.` and
/// digits, perhaps an exponent.
fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let word = word.strip_prefix('-').unwrap_or(word);
    let (word, exponent) = match word.split_once(['e', 'E']) {
        Some((word, exponent)) => (word, Some(exponent)),
        None => (word, None),
    };
    let (whole, fraction) = match word.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (word, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}
