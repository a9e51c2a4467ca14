// SPDX-License-Identifier: GPL-2.0-only
//! A filesystem that is not mounted: the engine in this process, over a device or image
//! file. Searching goes by the graph of an index that was optimised, else by the search tree, or over all records if they are few or not all
//! in the tree, with the same mathematics as in the kernel. Permissions are not looked at.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{anyhow, ensure, Context as _, Error, Result};
use engine::vector::tree::{Completion, Seen, Verification};
use engine::vector::usage;
use image::in_use::{self, Use};
use image::{Image, Mode};
use layout::efforts::{Efforts, EFFORTS};
use layout::graph::{State, EXTENT_BLOCKS};
use layout::inode::{FileType, Inode};
use layout::partition::Shape;
use layout::vector::{Element, Index, Metric as DiskMetric};
use layout::BLOCK_SIZE;
use vector::{Candidate, Distance, Kind, Metric, TopK, Userspace};

use super::compare::Comparison;
use super::conditions::Conditions;
use super::{Access, Backend, Built, FileRecords, NewIndex, NewRecord, Queries, Verified, STEPS};
use crate::model::{self, printable};

/// A path in an image, open.
pub struct ImageBackend {
    image: Image,
    path: PathBuf,
    writable: bool,
    /// Indexes of which records may have gone.
    changed: BTreeSet<u32>,
}

impl ImageBackend {
    /// Opens an image, and finds the path in it.
    ///
    /// # Errors
    /// The image cannot be opened, or is mounted; the path does not exist.
    pub fn open(img: &Path, path: &Path, access: Access) -> Result<Self> {
        let writable = access != Access::Read;
        let shown = printable(img.as_os_str().as_encoded_bytes());
        for user in in_use::find(img).with_context(|| shown.clone())? {
            let changes = match user {
                Use::Mounted { read_only, .. } => writable || !read_only,
                Use::Swap => true,
                // These change nothing by themselves; what is mounted on them is found too.
                Use::Loop(_) | Use::Held(_) => false,
            };
            ensure!(!changes, "{shown}: {user}");
        }
        let mode = if writable {
            Mode::ReadWrite
        } else {
            Mode::ReadOnly
        };
        let image = Image::open(img, mode).map_err(|error| match error {
            // It names the file itself.
            image::Error::Open { .. } => Error::new(error),
            error => Error::new(error).context(shown),
        })?;
        let backend = ImageBackend {
            image,
            path: Path::new("/").join(path),
            writable,
            changed: BTreeSet::new(),
        };
        if let Err(error) = backend.image.resolve(&backend.path) {
            Box::new(backend).finish()?;
            return Err(Error::new(error));
        }
        Ok(backend)
    }

    /// The regular file at `path`.
    fn file(&self, path: &Path) -> Result<Inode> {
        let inode = self.image.resolve(path).map_err(without_path)?;
        match inode.file_type() {
            FileType::Regular => Ok(inode),
            FileType::Directory => Err(anyhow!("is a directory; only regular files have records")),
            _ => Err(anyhow!("not a regular file")),
        }
    }

    fn find(&self, name: &str) -> Result<Index> {
        self.image.find_index(name.as_bytes()).map_err(|error| {
            if error.is_not_found() {
                anyhow!("no such index")
            } else {
                Error::new(error)
            }
        })
    }

    /// How far the search tree of an index is built.
    fn built(&self, index: &model::Index) -> Result<Built> {
        let index = self.find(&index.name)?;
        Ok(Built {
            entries: index.tree.entries,
            records: index.records,
            ..Built::default()
        })
    }

    fn describe(&self, index: &Index) -> Result<model::Index> {
        let usage = self.image.read(|io| usage(io, index))?;
        let graph = self.image.graph_root(index.id)?.map(|root| model::Graph {
            state: match (root.state, root.stale) {
                (State::Making | State::Linking, _) => "unfinished",
                (State::Ready, false) => "in use",
                (State::Ready, true) => "outdated",
                (State::Clearing, _) => "being freed",
            },
            nodes: root.live,
            fresh: root.fresh,
            gone: root.gone,
            bytes: (u64::from(root.extents) * u64::from(EXTENT_BLOCKS) + 1) * BLOCK_SIZE as u64,
        });
        Ok(model::Index {
            name: index.name.as_str().to_owned(),
            id: index.id,
            kind: kind(index)?,
            mode: index.mode.into(),
            uid: index.uid,
            gid: index.gid,
            records: index.records,
            slots: usage.slots,
            segments: index.segments,
            bytes: usage.blocks.saturating_mul(BLOCK_SIZE as u64),
            created: index.made_at,
            tree: model::Tree {
                entries: index.tree.entries,
                partitions: index.tree.partitions,
                height: index.tree.height.into(),
                bytes: u64::from(index.tree.partitions)
                    * (Shape::new(index.dim)
                        .map_err(engine::Error::at(0))?
                        .blocks()
                        * BLOCK_SIZE) as u64,
            },
            efforts: index.efforts.hundredths(),
            graph,
        })
    }

    /// The path of each file among the candidates, through a folder if one is given, without a slash in front.
    fn paths(
        &self,
        answers: &[&mut [Candidate]],
        through: Option<u64>,
    ) -> Result<HashMap<u64, Rc<[u8]>>> {
        let mut paths = HashMap::new();
        let mut last = None;
        for candidate in answers.iter().flat_map(|answer| answer.iter()) {
            let inode = candidate.rank.inode;
            if last.replace(inode) == Some(inode) || paths.contains_key(&inode) {
                continue;
            }
            let path = match through {
                None => self.image.path_of(inode),
                Some(folder) => {
                    let path = self.image.path_through(inode, folder);
                    path.map(Option::unwrap_or_default)
                }
            };
            let mut path = path.with_context(|| format!("path of inode {inode}"))?;
            if path.first() == Some(&b'/') {
                path.remove(0);
            }
            paths.insert(inode, path.into());
        }
        Ok(paths)
    }
}

impl Backend for ImageBackend {
    fn create(&mut self, new: &NewIndex<'_>) -> Result<()> {
        let new = engine::vector::NewIndex {
            name: new.name.as_bytes(),
            dim: new.kind.dim(),
            element: match new.kind.element() {
                vector::Element::F32 => Element::F32,
                vector::Element::F16 => Element::F16,
                vector::Element::I8 => Element::I8,
                vector::Element::Binary => Element::Binary,
            },
            metric: match new.kind.metric() {
                Metric::L2 => DiskMetric::L2,
                Metric::Cosine => DiskMetric::Cosine,
                Metric::Dot => DiskMetric::Dot,
                Metric::Hamming => DiskMetric::Hamming,
            },
            mode: new.mode,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        match self.image.create_index(&new) {
            Ok(_) => Ok(()),
            Err(image::Error::Engine(engine::Error::Exists)) => {
                Err(anyhow!("an index of that name exists already"))
            }
            Err(error) => Err(Error::new(error)),
        }
    }

    fn list(&mut self) -> Result<Vec<model::Index>> {
        let indexes = self.image.list_indexes()?;
        indexes.iter().map(|index| self.describe(index)).collect()
    }

    fn info(&mut self, name: &str) -> Result<model::Index> {
        self.describe(&self.find(name)?)
    }

    fn drop_index(&mut self, name: &str) -> Result<()> {
        let id = self.find(name)?.id;
        Ok(self.image.drop_index(id)?)
    }

    fn optimize(&mut self, name: &str, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let id = self.find(name)?.id;
        let told = |made: image::ops::Made| progress(made.done, made.all);
        Ok(self.image.optimize_index(id, told)?)
    }

    fn put(&mut self, index: &model::Index, record: NewRecord, vector: &[u8]) -> Result<()> {
        let file = self.file(&self.path)?;
        let new = image::ops::NewRecord {
            label: record.label,
            tag: record.tag,
            elements: vector,
        };
        self.changed.insert(index.id);
        Ok(self.image.put_records(file.ino, index.id, &[new])?)
    }

    fn get(&mut self, index: &model::Index, label: u64) -> Result<(Vec<u8>, u64)> {
        let file = self.file(&self.path)?;
        let index = self.find(&index.name)?;
        let result = self.image.get_record(&file, &index, label);
        result.map_err(no_record(&index, label))
    }

    fn delete(&mut self, index: &model::Index, label: Option<u64>) -> Result<u64> {
        let file = self.file(&self.path)?;
        let index = self.find(&index.name)?;
        let labels = match label {
            Some(label) => vec![label],
            None => {
                let records = self.image.records(&file)?;
                let here = records.iter().filter(|record| record.index == index.id);
                here.map(|record| record.label).collect()
            }
        };
        self.changed.insert(index.id);
        for label in &labels {
            let result = self.image.delete_record(file.ino, index.id, *label);
            result.map_err(no_record(&index, *label))?;
        }
        Ok(labels.len() as u64)
    }

    fn put_many(
        &mut self,
        index: &model::Index,
        batch: &[FileRecords],
        stored: &mut u64,
    ) -> Result<()> {
        if self.find(&index.name)?.records == 0 {
            let vectors: Vec<&[u8]> = batch
                .iter()
                .flat_map(|each| each.vectors.chunks_exact(index.vector_bytes()))
                .collect();
            self.image.seed_index(index.id, &vectors)?;
        }
        self.changed.insert(index.id);
        for each in batch {
            let shown = || printable(each.file.as_os_str().as_encoded_bytes());
            let file = self.file(&self.path.join(&each.file)).with_context(shown)?;
            let records: Vec<_> = each
                .records
                .iter()
                .zip(each.vectors.chunks_exact(index.vector_bytes()))
                .map(|(record, elements)| image::ops::NewRecord {
                    label: record.label,
                    tag: record.tag,
                    elements,
                })
                .collect();
            self.image
                .put_records(file.ino, index.id, &records)
                .with_context(shown)?;
            *stored += records.len() as u64;
        }
        Ok(())
    }

    fn search(
        &mut self,
        index: &model::Index,
        queries: &Queries<'_>,
    ) -> Result<Vec<Vec<model::Hit>>> {
        let index = self.find(&index.name)?;
        let kind = kind(&index)?;
        let compute = Userspace::detect();
        let (count, k) = (queries.count as usize, queries.k as usize);
        let mut norms = vec![0; count];
        let prepared = vector::Queries::prepare(&compute, &kind, queries.vectors, &mut norms)?;

        // No more hits than records: k may be large, and memory is not to be.
        let k = k.min(usize::try_from(index.records).unwrap_or(usize::MAX));
        let mut entries = vec![Candidate::default(); count.saturating_mul(k)];
        let mut best: Vec<TopK<'_>> = Vec::with_capacity(count);
        let mut rest = entries.as_mut_slice();
        for _ in 0..count {
            let (own, others) = rest.split_at_mut(k);
            best.push(TopK::new(own));
            rest = others;
        }

        let conditions = Conditions::new(&self.image, &self.path, queries.filter)?;
        let mut comparison = Comparison::new(&self.image, &index, &compute, &conditions);
        comparison.search(&prepared, queries.effort, k, &mut best)?;
        let farthest = queries.filter.distance.map(Distance::from_f64);
        let too_far = |hit: &Candidate| farthest.is_some_and(|most| hit.rank.distance > most);
        let mut answers: Vec<_> = best.into_iter().map(TopK::into_sorted).collect();
        for answer in &mut answers {
            let near = answer.partition_point(|hit| !too_far(hit));
            *answer = std::mem::take(answer).get_mut(..near).unwrap_or_default();
        }
        let paths = self.paths(&answers, conditions.subtree)?;
        Ok(answers.iter().map(|answer| found(answer, &paths)).collect())
    }

    fn verify(&mut self, index: &model::Index, at: &mut [u64; 4]) -> Result<Verified> {
        let mut place = Verification::from_words(*at);
        let mut seen = Seen::default();
        let result = self
            .image
            .verify_index(index.id, &mut place, &mut seen, STEPS);
        *at = place.to_words();
        let problem = match result {
            Err(image::Error::Engine(engine::Error::Corrupt { block, what })) => {
                Some((block, what.to_owned()))
            }
            result => {
                result?;
                None
            }
        };
        Ok(Verified {
            partitions: seen.partitions,
            entries: seen.entries,
            records: seen.records,
            missing: seen.missing,
            // Nobody else changes it.
            state: 1,
            done: place.is_done() || problem.is_some(),
            problem,
        })
    }

    fn complete(&mut self, index: &model::Index, at: &mut u64) -> Result<Built> {
        let mut place = Completion::from_word(*at);
        let result = self.image.complete_index(index.id, &mut place, STEPS);
        *at = place.to_word();
        let no_room = match result {
            Err(image::Error::Engine(engine::Error::NoSpace)) => true,
            result => {
                result?;
                false
            }
        };
        Ok(Built {
            done: place.done,
            no_room,
            ..self.built(index)?
        })
    }

    fn take_down(&mut self, index: &model::Index) -> Result<Built> {
        let done = self.image.take_down_index(index.id, STEPS)?;
        Ok(Built {
            done,
            ..self.built(index)?
        })
    }

    fn note_efforts(&mut self, index: &model::Index, efforts: [u32; EFFORTS]) -> Result<()> {
        let efforts = Efforts::new(efforts).map_err(|why| anyhow!(why.0))?;
        let id = self.find(&index.name)?.id;
        self.image.set_efforts(id, efforts).map_err(Error::new)
    }

    fn stat(&mut self) -> Result<model::Stat> {
        let mut sum = model::Stat {
            source: "image",
            isa: Userspace::detect().isa().name(),
            ..model::Stat::default()
        };
        for index in self.list()? {
            sum.indexes += 1;
            sum.records = sum.records.saturating_add(index.records);
            sum.slots = sum.slots.saturating_add(index.slots);
            sum.segments = sum.segments.saturating_add(index.segments.into());
            sum.bytes = sum.bytes.saturating_add(index.bytes);
        }
        Ok(sum)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.image.sync()?)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if !self.writable {
            return Ok(());
        }
        // What records that are gone left in graphs goes with them: nobody else does it before the next mount.
        for id in std::mem::take(&mut self.changed) {
            match self.image.sweep_graph(id) {
                Err(image::Error::Engine(engine::Error::NotFound)) | Ok(()) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(self.image.close()?)
    }
}

/// Hits, from candidates whose `location` is the generation.
fn found(answer: &[Candidate], paths: &HashMap<u64, Rc<[u8]>>) -> Vec<model::Hit> {
    let mut last: Option<(u64, Rc<[u8]>)> = None;
    let mut path = |inode: u64| match &last {
        Some((of, path)) if *of == inode => Rc::clone(path),
        _ => {
            let path = paths.get(&inode).cloned().unwrap_or_default();
            last = Some((inode, Rc::clone(&path)));
            path
        }
    };
    let hit = |hit: &Candidate| model::Hit {
        path: path(hit.rank.inode),
        label: hit.rank.label,
        tag: hit.tag,
        inode: hit.rank.inode,
        generation: hit.location as u32,
        distance: hit.rank.distance.to_f64(),
    };
    answer.iter().map(hit).collect()
}

/// The reason alone: the caller names the path.
fn without_path(error: image::Error) -> Error {
    match error {
        image::Error::Path { source, .. } => Error::new(source),
        error => Error::new(error),
    }
}

fn no_record(index: &Index, label: u64) -> impl FnOnce(image::Error) -> Error + '_ {
    move |error| {
        if error.is_not_found() {
            let name = index.name.as_str();
            anyhow!("no record with label {label} in index {name}")
        } else {
            Error::new(error)
        }
    }
}

/// What the vectors of an index are.
fn kind(index: &Index) -> Result<Kind> {
    Ok(Kind::from_codes(
        index.element as u32,
        index.metric as u32,
        index.dim,
    )?)
}
