// SPDX-License-Identifier: GPL-2.0-only
//! A filesystem as a few maps, a source of random operations that are done to it and to an image, and the comparison of the two. The image is also
//! checked by fsck, which shares no code with the engine.

use std::collections::BTreeMap;
use std::rc::Rc;

use engine::inode::NewInode;
use engine::namei::RenameFlags;
use engine::vector::NewIndex;
use fsck_vexfs::{check, Observer, Problem};
use image::device::{Device, MemDevice};
use image::format::{self, Options};
use image::ops::NewRecord;
use image::{Error, Image, Result};
use layout::inode::{mode, FileType};
use layout::vector::{Element, Metric};
use layout::BLOCK_SIZE;

/// Elements of a vector in the tests' index, f32.
const DIM: usize = 8;
const INDEX: &[u8] = b"index";

/// A deterministic source of numbers (PCG's multiplier, high bits only).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A file, under one or more names.
#[derive(Clone, Debug, Default)]
struct File {
    data: Rc<Vec<u8>>,
    /// Label -> tag and elements.
    records: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Later changes in place may already be visible: only the length is sure.
    vague: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(u64),
    Symlink(Vec<u8>),
}

/// What the filesystem should hold: paths (`/` is not among them) and files.
#[derive(Clone, Debug, Default)]
pub struct Model {
    nodes: BTreeMap<String, Node>,
    files: BTreeMap<u64, File>,
    next: u64,
}

/// What is at a path, for comparison.
#[derive(Debug, PartialEq)]
enum Item {
    Directory,
    Symlink(Vec<u8>),
    File {
        /// The first of its names stands for the inode.
        first_name: String,
        links: u32,
        size: u64,
        data: Option<Rc<Vec<u8>>>,
        records: BTreeMap<u64, (u64, Vec<u8>)>,
    },
}

impl Model {
    /// Notes that files differ in place from what they were in this state.
    fn blur(&mut self, id: u64) {
        if let Some(file) = self.files.get_mut(&id) {
            file.vague = true;
        }
    }

    fn drop_unnamed(&mut self) {
        let named: Vec<u64> = self
            .nodes
            .values()
            .filter_map(|node| match node {
                Node::File(id) => Some(*id),
                _ => None,
            })
            .collect();
        self.files.retain(|id, _| named.contains(id));
    }

    fn items(&self) -> BTreeMap<String, Item> {
        let mut first = BTreeMap::new();
        let mut links = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let Node::File(id) = node {
                first.entry(*id).or_insert_with(|| path.clone());
                *links.entry(*id).or_insert(0) += 1;
            }
        }
        let item = |node: &Node| match node {
            Node::Directory => Item::Directory,
            Node::Symlink(target) => Item::Symlink(target.clone()),
            Node::File(id) => {
                let file = &self.files[id];
                Item::File {
                    first_name: first[id].clone(),
                    links: links[id],
                    size: file.data.len() as u64,
                    data: (!file.vague).then(|| Rc::clone(&file.data)),
                    records: file.records.clone(),
                }
            }
        };
        self.nodes
            .iter()
            .map(|(path, node)| (path.clone(), item(node)))
            .collect()
    }

    /// The first difference between this and `image`; contents of vague files are not compared.
    pub fn difference(&self, image: &Image) -> Option<String> {
        let mut expected = self.items();
        let mut found = items_of(image);
        for (path, item) in &mut found {
            if let (Item::File { data, .. }, Some(Item::File { data: None, .. })) =
                (item, expected.get(path))
            {
                *data = None;
            }
        }
        for (path, item) in &mut expected {
            let there = found.remove(path);
            if there.as_ref() != Some(item) {
                return Some(format!(
                    "{path}: expected {}, found {}",
                    short(Some(item)),
                    short(there.as_ref())
                ));
            }
        }
        found
            .iter()
            .next()
            .map(|(path, item)| format!("{path}: unexpected {}", short(Some(item))))
    }

    fn directories(&self) -> Vec<String> {
        let mut all = vec![String::new()];
        all.extend(
            self.nodes
                .iter()
                .filter(|(_, node)| matches!(node, Node::Directory))
                .map(|(path, _)| path.clone()),
        );
        all
    }

    fn is_empty_directory(&self, path: &str) -> bool {
        let below = format!("{path}/");
        !self.nodes.keys().any(|other| other.starts_with(&below))
    }
}

/// An item without its bytes.
fn short(item: Option<&Item>) -> String {
    match item {
        None => "nothing".into(),
        Some(Item::File {
            first_name,
            links,
            size,
            data,
            records,
        }) => format!(
            "file of {size} bytes (crc {:?}), {links} links, as {first_name}, records {:?}",
            data.as_ref().map(|data| image::checksum::crc32(0, data)),
            records
                .iter()
                .map(|(label, (tag, _))| (label, tag))
                .collect::<Vec<_>>()
        ),
        Some(item) => format!("{item:?}"),
    }
}

fn items_of(image: &Image) -> BTreeMap<String, Item> {
    let index = image.find_index(INDEX).ok();
    let mut items = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut pending = vec![(String::new(), image.resolve("/").unwrap())];
    while let Some((path, directory)) = pending.pop() {
        for entry in image.list(&directory).unwrap() {
            let path = format!("{path}/{}", String::from_utf8(entry.name).unwrap());
            let inode = image.inode(entry.ino).unwrap();
            assert_eq!(inode.file_type(), entry.file_type, "{path}");
            match entry.file_type {
                FileType::Directory => {
                    items.insert(path.clone(), Item::Directory);
                    pending.push((path, inode));
                }
                FileType::Symlink => {
                    items.insert(path, Item::Symlink(image.read_link(&inode).unwrap()));
                }
                _ => inodes.entry(entry.ino).or_default().push(path),
            }
        }
    }
    for (ino, mut names) in inodes {
        names.sort();
        let inode = image.inode(ino).unwrap();
        let data = Rc::new(image.read_all(&inode, 1 << 30).unwrap());
        let listed = image.records(&inode).unwrap();
        let records = listed.iter().map(|record| {
            let (elements, tag) = image
                .get_record(&inode, index.as_ref().unwrap(), record.label)
                .unwrap();
            assert_eq!(tag, record.tag);
            (record.label, (tag, elements))
        });
        let records: BTreeMap<_, _> = records.collect();
        assert_eq!(inode.vectors, records.len() as u64, "{names:?}");
        for name in &names {
            let item = Item::File {
                first_name: names[0].clone(),
                links: inode.links,
                size: inode.size,
                data: Some(Rc::clone(&data)),
                records: records.clone(),
            };
            items.insert(name.clone(), item);
        }
    }
    items
}

/// A new filesystem in memory, with the tests' index.
pub fn formatted(blocks: u64) -> MemDevice {
    let device = MemDevice::new(blocks * BLOCK_SIZE as u64);
    let options = Options {
        uuid: [7; 16],
        hash_seed: [9; 16],
        journal_blocks: Some(1024),
        ..Options::new(blocks)
    };
    format::format(&device, &options).unwrap();
    let shared = Rc::new(device);
    let mut image =
        Image::open_device(Box::new(Rc::clone(&shared)), image::Mode::ReadWrite).unwrap();
    image
        .create_index(&NewIndex {
            name: INDEX,
            dim: DIM as u32,
            element: Element::F32,
            metric: Metric::L2,
            mode: 0o644,
            uid: 0,
            gid: 0,
        })
        .unwrap();
    image.close().unwrap();
    Rc::into_inner(shared).unwrap()
}

/// Runs fsck over a device; panics with what it finds.
pub fn fsck(device: &dyn Device, what: &str) {
    struct Collect(Vec<String>);
    impl Observer for Collect {
        fn problem(&mut self, problem: &Problem) {
            self.0.push(problem.to_string());
        }
    }
    let mut found = Collect(Vec::new());
    let summary = check(device, &fsck_vexfs::Options::default(), &mut found);
    assert!(
        summary.sb.is_some() && found.0.is_empty(),
        "{what}: fsck found {:#?}",
        found.0
    );
}

/// Does one random operation to `image` and `model`, and checks that both agree on whether it is possible. `synced` is the state of the last sync, of which the operation
/// may change file data in place.
pub fn step(image: &mut Image, model: &mut Model, synced: &mut Model, random: &mut Random) {
    match random.below(20) {
        0..=2 => create(image, model, random),
        3 => make_directory(image, model, random),
        4..=6 => write(image, model, synced, random),
        7 => truncate(image, model, synced, random),
        8..=9 => unlink(image, model, random),
        10 => remove_directory(image, model, random),
        11..=12 => rename(image, model, random),
        13 => link(image, model, random),
        14 => symlink(image, model, random),
        15..=16 => put_records(image, model, random),
        17 => delete_record(image, model, random),
        18 => many_names(image, model, random),
        _ => give_up(image, model, random),
    }
}

/// Some path: in a directory that exists, a name that may or may not exist.
fn any_path(model: &Model, random: &mut Random) -> String {
    let directories = model.directories();
    let directory = &directories[random.below(directories.len() as u64) as usize];
    let depth = directory.matches('/').count() as u64;
    format!(
        "{directory}/{}{}",
        ["n", "a longer name "][(depth % 2) as usize],
        random.below(12)
    )
}

fn any_file(model: &Model, random: &mut Random) -> Option<(String, u64)> {
    let files: Vec<_> = model
        .nodes
        .iter()
        .filter_map(|(path, node)| match node {
            Node::File(id) => Some((path, *id)),
            _ => None,
        })
        .collect();
    let (path, id) = files.get(random.below(files.len().max(1) as u64) as usize)?;
    Some(((*path).clone(), *id))
}

/// Both succeed, or both do not; and then for one of the engine's clean reasons.
fn agree<T>(result: Result<T>, possible: bool, what: &str) -> bool {
    match result {
        Ok(_) => assert!(possible, "{what} should have failed"),
        Err(Error::Engine(error) | Error::Path { source: error, .. }) if error.is_clean() => {
            assert!(!possible, "{what}: {error}");
        }
        Err(error) => panic!("{what}: {error}"),
    }
    possible
}

fn create(image: &mut Image, model: &mut Model, random: &mut Random) {
    let path = any_path(model, random);
    let new = NewInode {
        mode: mode::REGULAR | 0o640,
        ..NewInode::default()
    };
    if agree(
        image.create(&path, &new),
        !model.nodes.contains_key(&path),
        &format!("create {path}"),
    ) {
        model.next += 1;
        model.nodes.insert(path, Node::File(model.next));
        model.files.insert(model.next, File::default());
    }
}

fn make_directory(image: &mut Image, model: &mut Model, random: &mut Random) {
    let path = any_path(model, random);
    if agree(
        image.mkdir(&path),
        !model.nodes.contains_key(&path),
        &format!("mkdir {path}"),
    ) {
        model.nodes.insert(path, Node::Directory);
    }
}

fn write(image: &mut Image, model: &mut Model, synced: &mut Model, random: &mut Random) {
    let Some((path, id)) = any_file(model, random) else {
        return;
    };
    let largest = [100, 300, 5000, 60_000][random.below(4) as usize];
    let (at, len) = (
        random.below(largest) as usize,
        1 + random.below(largest) as usize,
    );
    let salt = random.below(1 << 20);
    let data: Vec<u8> = (0..len as u64)
        .map(|i| ((i + salt).wrapping_mul(0x9e37_79b9) >> 13) as u8)
        .collect();
    let inode = image.resolve(&path).unwrap();
    image.write_at(inode.ino, at as u64, &data).unwrap();
    let file = model.files.get_mut(&id).unwrap();
    if at < file.data.len() {
        synced.blur(id);
    }
    let contents = Rc::make_mut(&mut file.data);
    contents.resize(contents.len().max(at + len), 0);
    contents[at..at + len].copy_from_slice(&data);
}

fn truncate(image: &mut Image, model: &mut Model, synced: &mut Model, random: &mut Random) {
    let Some((path, id)) = any_file(model, random) else {
        return;
    };
    let size = [0, random.below(160), random.below(100_000)][random.below(3) as usize];
    let inode = image.resolve(&path).unwrap();
    image.set_size(inode.ino, size).unwrap();
    let file = model.files.get_mut(&id).unwrap();
    if (size as usize) < file.data.len() {
        synced.blur(id);
    }
    Rc::make_mut(&mut file.data).resize(size as usize, 0);
    if size == 0 {
        file.records.clear();
    }
}

fn unlink(image: &mut Image, model: &mut Model, random: &mut Random) {
    let path = any_path(model, random);
    let possible = matches!(
        model.nodes.get(&path),
        Some(Node::File(_) | Node::Symlink(_))
    );
    if agree(image.unlink(&path), possible, &format!("unlink {path}")) {
        model.nodes.remove(&path);
        model.drop_unnamed();
    }
}

fn remove_directory(image: &mut Image, model: &mut Model, random: &mut Random) {
    let path = any_path(model, random);
    let possible =
        matches!(model.nodes.get(&path), Some(Node::Directory)) && model.is_empty_directory(&path);
    if agree(image.rmdir(&path), possible, &format!("rmdir {path}")) {
        model.nodes.remove(&path);
    }
}

fn rename(image: &mut Image, model: &mut Model, random: &mut Random) {
    let (from, to) = (any_path(model, random), any_path(model, random));
    let flags = [
        RenameFlags::Replace,
        RenameFlags::Replace,
        RenameFlags::NoReplace,
        RenameFlags::Exchange,
    ][random.below(4) as usize];
    let (source, target) = (
        model.nodes.get(&from).cloned(),
        model.nodes.get(&to).cloned(),
    );
    let below = |path: &str, other: &str| path.starts_with(&format!("{other}/"));
    let fits = match (&source, &target, flags) {
        (None, _, _)
        | (Some(_), None, RenameFlags::Exchange)
        | (Some(_), Some(_), RenameFlags::NoReplace) => false,
        (Some(_), Some(_), RenameFlags::Exchange) | (Some(_), None, _) => true,
        (Some(Node::Directory), Some(Node::Directory), _) => {
            from == to || model.is_empty_directory(&to)
        }
        (Some(Node::Directory), Some(_), _) | (Some(_), Some(Node::Directory), _) => false,
        (Some(_), Some(_), _) => true,
    };
    let loops = below(&to, &from) || (flags == RenameFlags::Exchange && below(&from, &to));
    let result = image.rename(&from, &to, flags);
    if !agree(
        result,
        fits && !loops,
        &format!("rename {from} {to} {flags:?}"),
    ) {
        return;
    }
    let same = match (&source, &target) {
        (Some(Node::File(a)), Some(Node::File(b))) => a == b,
        _ => from == to,
    };
    if same {
        return;
    }
    let mut moved = take(model, &from, &to);
    if flags == RenameFlags::Exchange {
        moved.append(&mut take(model, &to, &from));
    } else {
        model.nodes.remove(&to);
    }
    model.nodes.append(&mut moved);
    model.drop_unnamed();
}

/// Takes `from` and all below it out of the model, with its paths as they are below `to`.
fn take(model: &mut Model, from: &str, to: &str) -> BTreeMap<String, Node> {
    let below = format!("{from}/");
    let paths: Vec<String> = model
        .nodes
        .keys()
        .filter(|path| *path == from || path.starts_with(&below))
        .cloned()
        .collect();
    paths
        .into_iter()
        .map(|path| {
            (
                format!("{to}{}", &path[from.len()..]),
                model.nodes.remove(&path).unwrap(),
            )
        })
        .collect()
}

fn link(image: &mut Image, model: &mut Model, random: &mut Random) {
    let Some((from, id)) = any_file(model, random) else {
        return;
    };
    let to = any_path(model, random);
    let inode = image.resolve(&from).unwrap();
    if agree(
        image.link(inode.ino, &to),
        !model.nodes.contains_key(&to),
        &format!("link {from} {to}"),
    ) {
        model.nodes.insert(to, Node::File(id));
    }
}

fn symlink(image: &mut Image, model: &mut Model, random: &mut Random) {
    let path = any_path(model, random);
    let longest = [20, 300, 4000][random.below(3) as usize];
    let target = vec![b'x'; 1 + random.below(longest) as usize];
    if agree(
        image.symlink(&path, &target),
        !model.nodes.contains_key(&path),
        &format!("symlink {path}"),
    ) {
        model.nodes.insert(path, Node::Symlink(target));
    }
}

fn put_records(image: &mut Image, model: &mut Model, random: &mut Random) {
    let Some((path, id)) = any_file(model, random) else {
        return;
    };
    let file = model.files.get_mut(&id).unwrap();
    let count = [1, 1, 40][random.below(3) as usize];
    let records: Vec<(u64, u64, Vec<u8>)> = (0..count)
        .map(|_| {
            let value = random.below(1000) as f32;
            let elements = (0..DIM)
                .flat_map(|i| (value + i as f32).to_le_bytes())
                .collect();
            (random.below(100), random.below(1 << 30), elements)
        })
        .collect();
    let new: Vec<NewRecord<'_>> = records
        .iter()
        .map(|(label, tag, elements)| NewRecord {
            label: *label,
            tag: *tag,
            elements,
        })
        .collect();
    let index = image.find_index(INDEX).unwrap().id;
    image
        .put_records(image.resolve(&path).unwrap().ino, index, &new)
        .unwrap();
    file.records.extend(
        records
            .into_iter()
            .map(|(label, tag, elements)| (label, (tag, elements))),
    );
}

fn delete_record(image: &mut Image, model: &mut Model, random: &mut Random) {
    let Some((path, id)) = any_file(model, random) else {
        return;
    };
    let file = model.files.get_mut(&id).unwrap();
    let label = random.below(100);
    let index = image.find_index(INDEX).unwrap().id;
    let ino = image.resolve(&path).unwrap().ino;
    let possible = file.records.remove(&label).is_some();
    agree(
        image.delete_record(ino, index, label),
        possible,
        &format!("delete record {label} of {path}"),
    );
}

/// A directory with many names, so that its tree gets nodes; or none of them any more, so that these are freed.
fn many_names(image: &mut Image, model: &mut Model, random: &mut Random) {
    let directory = "/many";
    match model.nodes.get(directory) {
        None => {
            image.mkdir(directory).unwrap();
            model.nodes.insert(directory.into(), Node::Directory);
        }
        Some(Node::Directory) => {}
        Some(_) => return,
    }
    let remove = random.below(2) == 0;
    for n in 0..90 {
        let path = format!("{directory}/{n} {}", "x".repeat(60));
        if remove && model.nodes.remove(&path).is_some() {
            image.unlink(&path).unwrap();
            model.drop_unnamed();
        } else if !remove && !model.nodes.contains_key(&path) {
            image.symlink(&path, b"y").unwrap();
            model.nodes.insert(path, Node::Symlink(b"y".to_vec()));
        }
    }
}

/// A transaction that does something and is then given up.
fn give_up(image: &mut Image, model: &Model, random: &mut Random) {
    let free = (image.space().free_blocks, image.space().free_inodes);
    let victim = any_file(model, random).map(|(path, _)| image.resolve(path).unwrap().ino);
    let count = random.below(60);
    let ino = image.resolve("/").unwrap().ino;
    let result = image.with_txn(|cx| {
        for n in 0..count {
            let new = NewInode {
                mode: mode::DIRECTORY | 0o755,
                ..NewInode::default()
            };
            engine::namei::create(cx, ino, format!("given up {n}").as_bytes(), &new)?;
        }
        if let Some(victim) = victim {
            // Frees blocks at once.
            engine::namei::set_size(cx, victim, 0)?;
        }
        Err::<(), _>(engine::Error::Internal("given up"))
    });
    assert!(
        matches!(
            result,
            Err(Error::Engine(engine::Error::Internal("given up")))
        ),
        "{:?}",
        result.err()
    );
    assert_eq!((image.space().free_blocks, image.space().free_inodes), free);
}
