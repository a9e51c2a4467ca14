// SPDX-License-Identifier: GPL-2.0-only
//! The index that is measured: in an image in this process, or on a mount in the kernel. Both through what vexctl does its work with, so that what is
//! measured is what its users get.
//!
//! Row n of the data is the record with label n of one file.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use engine::inode::NewInode;
use image::device::FileDevice;
use image::format::{self, Options};
use image::{Image, Mode};
use layout::inode::mode;
use layout::BLOCK_SIZE;
use vector::{Element, Metric};
use vexctl::backend::{
    self, Access, Backend, Effort, FileRecords, Filter, NewIndex, NewRecord, Queries,
};
use vexctl::model;

use super::matrix::Matrix;
use super::protocol::Knobs;

const INDEX: &str = "ann";
const FILE: &str = "vectors";
const IMAGE: &str = "vexfs.img";
/// Records of a request, and bytes of their vectors: as `vexctl import`.
const BATCH_RECORDS: usize = 16_384;
const BATCH_BYTES: usize = 32 << 20;
/// The knob of the search tree: leaves to look at.
const KNOB: &str = "probes";
/// Its settings.
const PROBES: [u64; 18] = [
    2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 80, 96, 128, 192,
];

/// The knob of the graph: nodes of the beam.
const BEAM: &str = "beam";
/// Its settings, those of the peers' graphs.
const BEAMS: [u64; 18] = [
    10, 12, 14, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768,
];

/// Settings of one knob.
fn settings(knob: &str, values: &[u64]) -> Vec<Knobs> {
    let each = values.iter();
    each.map(|value| Knobs::from([(knob.to_owned(), *value)]))
        .collect()
}

/// How the index is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Every record is compared
    Exact,
    /// The search tree
    Tree,
    /// The graph of an optimised index
    Graph,
}

impl Kind {
    /// The settings to try, from careless to careful.
    fn knobs(self) -> Vec<Knobs> {
        match self {
            Kind::Exact => vec![Knobs::new()],
            Kind::Tree => settings(KNOB, &PROBES),
            Kind::Graph => settings(BEAM, &BEAMS),
        }
    }

    /// What the settings mean.
    ///
    /// # Errors
    /// A setting that this kind does not have.
    fn effort(self, knobs: &Knobs) -> Result<Effort> {
        let knob = match self {
            Kind::Exact => None,
            Kind::Tree => Some(KNOB),
            Kind::Graph => Some(BEAM),
        };
        if let Some(unknown) = knobs.keys().find(|name| Some(name.as_str()) != knob) {
            anyhow::bail!("{self:?} has no knob {unknown}");
        }
        Ok(match (self, knob.and_then(|knob| knobs.get(knob))) {
            (Kind::Exact, _) => Effort::All,
            (Kind::Tree | Kind::Graph, None) => Effort::Recall(uapi::search::SEARCH_RECALL),
            (Kind::Tree, Some(probes)) => Effort::Probes(u32::try_from(*probes)?),
            (Kind::Graph, Some(beam)) => Effort::Beam(u32::try_from(*beam)?),
        })
    }
}

/// What building has made.
pub struct Built {
    /// Bytes of the device that it occupies, with everything that belongs to it; `None` on a mount.
    pub disk_bytes: Option<u64>,
}

/// An index, of which at most one is open.
pub struct Store {
    kind: Kind,
    mount: Option<PathBuf>,
    open: Option<Opened>,
}

/// An open index.
struct Opened {
    index: model::Index,
    /// What searches go through.
    search: Box<dyn Backend>,
    /// What changes go through, if that is another one: on a mount a file that is open for writing cannot be searched.
    change: Option<Box<dyn Backend>>,
}

impl Opened {
    fn for_changes(&mut self) -> (&mut dyn Backend, &model::Index) {
        let backend = self.change.as_mut().unwrap_or(&mut self.search);
        (&mut **backend, &self.index)
    }
}

impl Store {
    /// Nothing yet.
    pub fn new(kind: Kind, mount: Option<PathBuf>) -> Self {
        Self {
            kind,
            mount,
            open: None,
        }
    }

    /// The settings to try.
    pub fn knobs(&self) -> Vec<Knobs> {
        self.kind.knobs()
    }

    /// Builds an index of these vectors, durably, in an image in the folder `store`, or on the mount.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn build(&mut self, base: &Matrix, store: &Path) -> Result<Built> {
        let Some(mount) = &self.mount else {
            let image = store.join(IMAGE);
            make_image(&image, base.bytes.len() as u64)?;
            let before = free_blocks(&image)?;
            self.fill(base, Some(&image), Path::new("/"))?;
            let blocks = before.saturating_sub(free_blocks(&image)?);
            return Ok(Built {
                disk_bytes: Some(blocks * BLOCK_SIZE as u64),
            });
        };
        let mount = mount.clone();
        std::fs::File::create(mount.join(FILE))?;
        self.fill(base, None, &mount)?;
        std::fs::File::open(mount.join(FILE))?.sync_all()?;
        Ok(Built { disk_bytes: None })
    }

    fn fill(&self, base: &Matrix, image: Option<&Path>, path: &Path) -> Result<()> {
        let mut backend = backend::open(image, path, Access::Manage)?;
        let mut result = fill(&mut *backend, base);
        if result.is_ok() && self.kind == Kind::Graph {
            result = backend.optimize(INDEX, &mut |_, _| {});
        }
        backend.finish()?;
        result
    }

    /// Opens what was built. With `changes`, for changing, too.
    ///
    /// # Errors
    /// It cannot be opened, or is not there.
    pub fn open(&mut self, store: &Path, changes: bool) -> Result<()> {
        let image = store.join(IMAGE);
        let (mut search, change) = match (&self.mount, changes) {
            (None, false) => (
                backend::open(Some(&image), Path::new("/"), Access::Read)?,
                None,
            ),
            (None, true) => {
                let file = Path::new("/").join(FILE);
                (backend::open(Some(&image), &file, Access::WriteFile)?, None)
            }
            (Some(mount), changes) => {
                let change =
                    changes.then(|| backend::open(None, &mount.join(FILE), Access::WriteFile));
                (
                    backend::open(None, mount, Access::Read)?,
                    change.transpose()?,
                )
            }
        };
        let index = search.info(INDEX)?;
        self.open = Some(Opened {
            index,
            search,
            change,
        });
        Ok(())
    }

    fn opened(&mut self) -> Result<&mut Opened> {
        self.open.as_mut().context("no index is open")
    }

    /// Appends the k nearest rows of each query to `rows`, nearest first; -1 where there are fewer.
    ///
    /// # Errors
    /// Whatever fails, or a setting that the kind of index does not have.
    pub fn search(
        &mut self,
        queries: &[u8],
        k: u32,
        knobs: &Knobs,
        rows: &mut Vec<i64>,
    ) -> Result<()> {
        let effort = self.kind.effort(knobs)?;
        let Opened { index, search, .. } = self.opened()?;
        let most = (uapi::search::SEARCH_HITS_MAX / k.max(1))
            .clamp(1, uapi::search::SEARCH_QUERIES_MAX) as usize;
        for vectors in queries.chunks(most * index.vector_bytes()) {
            let request = Queries {
                vectors,
                count: u32::try_from(vectors.len() / index.vector_bytes())?,
                k,
                filter: &Filter::default(),
                effort,
            };
            for hits in search.search(index, &request)? {
                let end = rows.len() + k as usize;
                rows.extend(hits.iter().map(|hit| hit.label as i64));
                rows.resize(end, -1);
            }
        }
        Ok(())
    }

    /// Stores vectors under new row numbers.
    ///
    /// # Errors
    /// Whatever fails.
    pub fn insert(&mut self, vectors: &[u8], rows: &[u64]) -> Result<()> {
        let file = match &self.mount {
            Some(mount) => mount.join(FILE),
            None => Path::new("/").join(FILE),
        };
        let (backend, index) = self.opened()?.for_changes();
        match rows {
            [row] => backend.put(index, record(*row), vectors),
            rows => put(backend, index, &file, vectors, rows.iter().copied()),
        }
    }

    /// Deletes rows.
    ///
    /// # Errors
    /// Whatever fails; also if a row is not there.
    pub fn delete(&mut self, rows: &[u64]) -> Result<()> {
        let (backend, index) = self.opened()?.for_changes();
        for row in rows {
            backend.delete(index, Some(*row))?;
        }
        Ok(())
    }

    /// Makes all changes durable.
    ///
    /// # Errors
    /// They may be lost.
    pub fn sync(&mut self) -> Result<()> {
        self.opened()?.for_changes().0.sync()
    }
}

fn fill(backend: &mut dyn Backend, base: &Matrix) -> Result<()> {
    backend.create(&NewIndex {
        name: INDEX,
        kind: vector::Kind::new(Element::F32, Metric::L2, base.dim)?,
        mode: 0o644,
    })?;
    let index = backend.info(INDEX)?;
    let count = (BATCH_BYTES / base.row_bytes()).clamp(1, BATCH_RECORDS);
    for first in (0..base.rows()).step_by(count) {
        let rows = first as u64..;
        put(
            backend,
            &index,
            Path::new(FILE),
            base.part(first, count),
            rows,
        )?;
    }
    Ok(())
}

fn put(
    backend: &mut dyn Backend,
    index: &model::Index,
    file: &Path,
    vectors: &[u8],
    rows: impl Iterator<Item = u64>,
) -> Result<()> {
    let count = vectors.len() / index.vector_bytes();
    let batch = FileRecords {
        file: file.to_owned(),
        records: rows.take(count).map(record).collect(),
        vectors: vectors.to_vec(),
    };
    backend.put_many(index, &[batch], &mut 0)
}

fn record(row: u64) -> NewRecord {
    NewRecord {
        label: row,
        tag: 0,
        row,
    }
}

/// An empty filesystem with room for so many bytes of vectors and what belongs to them, and the file in it.
fn make_image(path: &Path, vectors: u64) -> Result<()> {
    let blocks = (vectors / BLOCK_SIZE as u64) * 6 + (1 << 16);
    let device = FileDevice::create(path, blocks * BLOCK_SIZE as u64)?;
    format::format(&device, &Options::new(blocks))?;
    drop(device);
    let mut image = Image::open(path, Mode::ReadWrite)?;
    let new = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    image.create(Path::new("/").join(FILE), &new)?;
    Ok(image.close()?)
}

fn free_blocks(path: &Path) -> Result<u64> {
    Ok(Image::open(path, Mode::ReadOnly)?.space().free_blocks)
}
