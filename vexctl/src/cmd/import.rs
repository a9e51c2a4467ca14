// SPDX-License-Identifier: GPL-2.0-only
//! `import`: many vectors, for one file or for those that lines name, in batches.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use indicatif::ProgressBar;

use super::rows::Rows;
use super::{find_index, shown, with_backend};
use crate::backend::{Access, Backend, FileRecords, NewRecord};
use crate::cli::{Cli, Import};
use crate::input::{Locations, Vectors};
use crate::model::{self, Changed};
use crate::output;

/// Records of a batch.
const BATCH_RECORDS: usize = 16_384;
/// Bytes of vectors of a batch.
const BATCH_BYTES: usize = 32 << 20;
/// Files of a batch, which are all open at a time.
const BATCH_FILES: usize = 256;

/// Runs the command.
///
/// # Errors
/// What could not be done, and why, and how much was.
pub fn run(cli: &Cli, args: &Import) -> Result<()> {
    let npy = &args.npy;
    let mut rows = Vectors::open(npy)?;
    let mut places = match (&args.target.jsonl, &args.target.file) {
        (Some(lines), _) => {
            check_lines(lines, npy, rows.rows())?;
            Places::Lines(Locations::open(lines)?, lines)
        }
        (None, Some(file)) => Places::File(target(cli, file)?),
        (None, None) => bail!("neither --file nor --jsonl"),
    };
    let progress = output::progress(cli.json, rows.rows());
    progress.set_message("importing");
    let mut stored = 0;
    let result = with_backend(cli, &args.index.path, Access::Manage, |backend| {
        let index = find_index(backend, &args.index.name)?;
        let mut rows = Rows::new(&mut rows, npy, &index)?;
        let mut import = Running {
            backend,
            index: &index,
            batch: Batch::default(),
            progress: &progress,
            stored: &mut stored,
        };
        import.all(&mut rows, &mut places)
    });
    progress.finish_and_clear();
    match result {
        Err(why) if stored > 0 => {
            return Err(why.context(format!("not all was imported, only {stored} records")))
        }
        result => result?,
    }
    let report = Changed {
        index: args.index.name.clone(),
        stored: Some(stored),
        ..Changed::default()
    };
    output::print(cli.json, &report)
}

/// The path of --file as the backend wants it: it is not relative to PATH.
fn target(cli: &Cli, file: &Path) -> Result<PathBuf> {
    if cli.img.is_some() {
        return Ok(Path::new("/").join(file));
    }
    std::path::absolute(file).with_context(|| shown(file))
}

/// Reads all lines, if they can be read twice, so that nothing is stored when one of
/// them is wrong or their number is.
fn check_lines(lines: &Path, npy: &Path, rows: Option<u64>) -> Result<()> {
    if !std::fs::metadata(lines).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    let mut locations = Locations::open(lines)?;
    while locations.next_location()?.is_some() {}
    let there = locations.lines_read();
    match rows {
        Some(rows) if rows != there => bail!(
            "{}: {there} lines, but {} has {rows} rows",
            shown(lines),
            shown(npy)
        ),
        _ => Ok(()),
    }
}

/// Where rows belong.
enum Places<'a> {
    /// All to one file.
    File(PathBuf),
    /// Each where its line says.
    Lines(Locations<BufReader<File>>, &'a Path),
}

impl Places<'_> {
    /// Of row `row`, which is asked for once, in turn.
    fn next(&mut self, row: u64) -> Result<(PathBuf, NewRecord)> {
        match self {
            Places::File(path) => {
                let (label, tag) = (row, 0);
                Ok((path.clone(), NewRecord { label, tag, row }))
            }
            Places::Lines(lines, file) => {
                let place = lines
                    .next_location()?
                    .with_context(|| format!("{}: no line for row {row}", shown(file)))?;
                let (label, tag) = (place.offset, place.tag);
                Ok((place.path.into(), NewRecord { label, tag, row }))
            }
        }
    }

    /// Whether all lines were used, after `rows` of them.
    fn end(&mut self, rows: u64) -> Result<()> {
        match self {
            Places::Lines(lines, file) => match lines.next_location()? {
                Some(_) => bail!("{}: more lines than the {rows} rows", shown(file)),
                None => Ok(()),
            },
            Places::File(_) => Ok(()),
        }
    }
}

/// Records that wait to be stored, by file.
#[derive(Default)]
struct Batch {
    files: Vec<FileRecords>,
    numbers: HashMap<PathBuf, usize>,
    records: usize,
    bytes: usize,
}

impl Batch {
    /// Adds a record. Those of one file keep their order, so that of two with the
    /// same label the later one stays.
    fn add(&mut self, file: PathBuf, record: NewRecord, vector: &[u8]) {
        let next = self.files.len();
        let number = *self.numbers.entry(file).or_insert_with_key(|file| {
            self.files.push(FileRecords {
                file: file.clone(),
                records: Vec::new(),
                vectors: Vec::new(),
            });
            next
        });
        if let Some(file) = self.files.get_mut(number) {
            file.records.push(record);
            file.vectors.extend_from_slice(vector);
        }
        self.records += 1;
        self.bytes += vector.len();
    }

    fn is_full(&self) -> bool {
        self.records >= BATCH_RECORDS
            || self.bytes >= BATCH_BYTES
            || self.files.len() >= BATCH_FILES
    }
}

/// An import under way.
struct Running<'a> {
    backend: &'a mut dyn Backend,
    index: &'a model::Index,
    batch: Batch,
    progress: &'a ProgressBar,
    /// Records stored.
    stored: &'a mut u64,
}

impl Running<'_> {
    fn all(&mut self, rows: &mut Rows<'_, BufReader<File>>, places: &mut Places<'_>) -> Result<()> {
        let mut vector = Vec::with_capacity(self.index.vector_bytes());
        loop {
            vector.clear();
            let row = rows.row();
            if !rows.next(&mut vector)? {
                break;
            }
            let (file, record) = places.next(row)?;
            self.batch.add(file, record, &vector);
            if self.batch.is_full() {
                self.store()?;
            }
        }
        self.store()?;
        places.end(rows.row())
    }

    fn store(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.backend
            .put_many(self.index, &batch.files, self.stored)?;
        self.progress.inc(batch.records as u64);
        Ok(())
    }
}
