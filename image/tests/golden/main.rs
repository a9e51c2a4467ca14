// SPDX-License-Identifier: GPL-2.0-only
//! The golden image: what mkfs and a fixed program of operations write, byte for byte, one file for each format version. A change of the bytes
//! without a new [`FORMAT_VERSION`] fails here, and every image of an earlier version that this code claims to read must stay readable.
//!
//! The file is the list of the blocks in use (number, 4,096 bytes; ascending), compressed with gzip. Left out are the log blocks of the closed journal, which hold the
//! time of their commits. A new version's file is written by running this test with `VEXFS_BLESS=1` in the environment, which
//! never replaces one that is there.

use engine::inode::NewInode;
use engine::vector::{self, NewIndex};
use engine::xattr::{self, SetFlags};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::Compression;
use image::checksum::crc32;
use image::device::{Device, MemDevice};
use image::format::{self, Options};
use image::ops::NewRecord;
use image::{superblock, Image, Mode};
use layout::attr::Namespace;
use layout::efforts::Efforts;
use layout::inode::{mode, Time};
use layout::superblock::Super;
use layout::vector::{Element, Metric};
use layout::{Block, BLOCK_SIZE, FORMAT_VERSION};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::rc::Rc;

/// Size of the filesystem.
const BLOCKS: u64 = 2048;
/// Every time in the image.
const NOW: Time = Time {
    sec: 1_767_225_600,
    nsec: 123_456_789,
};
const MAX_FILE: usize = 10_000;
/// The oldest version that is read.
const OLDEST: u32 = 4;

const FILE: NewInode<'static> = NewInode {
    mode: mode::REGULAR | 0o640,
    uid: 1000,
    gid: 100,
    rdev: 0,
    flags: 0,
    project: 0,
    default_index: 0,
    target: &[],
};

type Blocks = BTreeMap<u64, Block>;

fn golden(version: u32) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    dir.join(format!("v{version}.img.gz"))
}

/// Elements of vector `n`.
fn elements(n: u8) -> Vec<u8> {
    (0..4u8)
        .flat_map(|i| (f32::from(n) + f32::from(i) / 4.0).to_le_bytes())
        .collect()
}

fn contents(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"VexFS "[i % 6]).collect()
}

/// Makes the image.
fn make() -> Blocks {
    let dev = Rc::new(MemDevice::new(BLOCKS * BLOCK_SIZE as u64));
    let options = Options {
        uuid: *b"\x01\x23\x45\x67\x89\xab\x4d\xef\x81\x23golden",
        hash_seed: *b"golden hash seed",
        label: "golden".into(),
        journal_blocks: Some(1024),
        bytes_per_inode: Some(16_384),
        now: NOW.sec,
        ..Options::new(BLOCKS)
    };
    format::format(&*dev, &options).unwrap();
    let mut image = Image::open_device(Box::new(Rc::clone(&dev)), Mode::ReadWrite).unwrap();
    image.set_time(Some(NOW));
    program(&mut image);
    image.close().unwrap();
    // The one time that cannot be set: when it was opened.
    let mut raw = superblock::read(&*dev, 0).unwrap().raw;
    raw.mounted_at.set(NOW.sec);
    superblock::write(&*dev, 0, &raw).unwrap();

    let geo = superblock::read(&*dev, 0).unwrap().geometry;
    let log = geo.journal_start + 1..geo.system_end;
    let numbers = dev.written_blocks().into_iter();
    let mut blocks = Blocks::new();
    for number in numbers.filter(|n| !log.contains(n)) {
        let mut data = [0; BLOCK_SIZE];
        dev.read_at(number * BLOCK_SIZE as u64, &mut data).unwrap();
        if data.iter().any(|b| *b != 0) {
            blocks.insert(number, data);
        }
    }
    blocks
}

/// Something of everything that the format can hold.
fn program(image: &mut Image) {
    image.mkdir("dir").unwrap();
    let inline = image.create("dir/inline", &FILE).unwrap();
    image.write_at(inline.ino, 0, b"small enough").unwrap();
    let file = image.create("dir/file", &FILE).unwrap();
    image.write_at(file.ino, 0, &contents(9000)).unwrap();
    image.write_at(file.ino, 100_000, &contents(5000)).unwrap();
    image.link(file.ino, "second name").unwrap();
    image.symlink("short", b"dir/file").unwrap();
    image.symlink("long", "x/".repeat(150).as_bytes()).unwrap();
    let device = NewInode {
        mode: mode::CHAR | 0o666,
        rdev: 0x103,
        ..FILE
    };
    image.create("null", &device).unwrap();
    // Enough names for a tree of two levels.
    for n in 0..70 {
        let name = format!("a name long enough to fill nodes quickly, number {n:03}");
        image.create(name, &FILE).unwrap();
    }
    for (name, len) in [(&b"small"[..], 10), (b"large", 3000)] {
        let value = contents(len);
        image
            .with_txn(|cx| {
                let any = SetFlags::Any;
                xattr::set(cx, file.ino, Namespace::User, name, &value, any).map(|_| ())
            })
            .unwrap();
    }
    let new = NewIndex {
        name: b"notes",
        dim: 4,
        element: Element::F32,
        metric: Metric::L2,
        mode: 0o644,
        uid: 1000,
        gid: 100,
    };
    let index = image.with_txn(|cx| vector::create(cx, &new)).unwrap().id;
    let efforts = Efforts::new([40, 110, 300]).unwrap();
    image.set_efforts(index, efforts).unwrap();
    for n in 0..8 {
        let record = NewRecord {
            label: n.into(),
            tag: 7,
            elements: &elements(n),
        };
        image.put_records(file.ino, index, &[record]).unwrap();
    }
    image
        .with_txn(|cx| {
            let mut inode = engine::inode::load(cx.io, file.ino)?;
            let mut index = vector::load(cx.io, index)?;
            vector::delete(cx, &mut inode, &mut index, 3)?;
            engine::inode::store(cx, &inode)
        })
        .unwrap();
    // A graph, and a record put since.
    image.optimize_index(index, |_| {}).unwrap();
    let record = NewRecord {
        label: 5,
        tag: 7,
        elements: &elements(5),
    };
    image.put_records(file.ino, index, &[record]).unwrap();
    // And something removed again.
    image.create("gone", &FILE).unwrap();
    image.unlink("gone").unwrap();
}

fn compress(blocks: &Blocks) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    for (number, data) in blocks {
        out.write_all(&number.to_le_bytes()).unwrap();
        out.write_all(data).unwrap();
    }
    out.finish().unwrap()
}

fn decompress(bytes: &[u8]) -> Blocks {
    let mut list = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut list).unwrap();
    let record = |r: &[u8]| {
        let (number, data) = r.split_at(8);
        let number = u64::from_le_bytes(number.try_into().unwrap());
        (number, data.try_into().unwrap())
    };
    list.chunks_exact(8 + BLOCK_SIZE).map(record).collect()
}

fn stored(version: u32) -> Blocks {
    let path = golden(version);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    decompress(&bytes)
}

fn device(blocks: &Blocks) -> MemDevice {
    let dev = MemDevice::new(BLOCKS * BLOCK_SIZE as u64);
    for (number, data) in blocks {
        dev.write_at(number * BLOCK_SIZE as u64, data).unwrap();
    }
    dev
}

#[test]
fn the_bytes_are_those_of_this_format_version() {
    let now = make();
    let path = golden(FORMAT_VERSION);
    if std::env::var_os("VEXFS_BLESS").is_some() && !path.exists() {
        std::fs::write(&path, compress(&now)).unwrap();
    }
    let size = std::fs::metadata(&path).map(|m| m.len() as usize).unwrap();
    assert!(
        size < MAX_FILE,
        "{size} bytes are too many for a golden image"
    );
    println!("{} blocks in {size} bytes", now.len());

    let golden = stored(FORMAT_VERSION);
    let mut different = Vec::new();
    let numbers: std::collections::BTreeSet<_> = now.keys().chain(golden.keys()).collect();
    for number in numbers {
        match (golden.get(number), now.get(number)) {
            (Some(a), Some(b)) => {
                let bytes: Vec<_> = (0..BLOCK_SIZE).filter(|i| a[*i] != b[*i]).collect();
                if let (Some(first), Some(last)) = (bytes.first(), bytes.last()) {
                    let n = bytes.len();
                    different.push(format!("block {number}: {n} bytes from {first} to {last}"));
                }
            }
            (a, _) => {
                let what = if a.is_some() { "no longer" } else { "now" };
                different.push(format!("block {number} is {what} written"));
            }
        }
    }
    assert!(
        different.is_empty(),
        "The bytes on disk changed, and FORMAT_VERSION did not:\n{}\nIf the meaning of a byte changed, raise \
         layout::FORMAT_VERSION and run this test once with VEXFS_BLESS=1. If only the choice of places did, remove {} first.",
        different.join("\n"),
        path.display()
    );
}

#[test]
fn making_it_twice_gives_the_same_bytes() {
    assert!(make() == make());
}

#[test]
fn images_of_all_versions_can_be_read() {
    for version in OLDEST..=FORMAT_VERSION {
        let dev = Rc::new(device(&stored(version)));
        let sb = Super::parse(&stored(version)[&0], 0, crc32).unwrap();
        assert_eq!(sb.raw.version.get(), version);
        let image = Image::open_device(Box::new(Rc::clone(&dev)), Mode::ReadOnly).unwrap();
        let read = |path: &str| {
            image
                .read_all(&image.resolve(path).unwrap(), 1 << 20)
                .unwrap()
        };
        assert_eq!(read("dir/inline"), b"small enough");
        let file = read("second name");
        assert_eq!(file.len(), 105_000);
        assert!(file[..9000] == contents(9000) && file[100_000..] == contents(5000));
        assert!(file[9000..100_000].iter().all(|b| *b == 0));
        let link = image.resolve_no_follow("long").unwrap();
        assert_eq!(image.read_link(&link).unwrap(), "x/".repeat(150).as_bytes());
        assert_eq!(image.list(&image.resolve("/").unwrap()).unwrap().len(), 75);

        let ino = image.resolve("dir/file").unwrap();
        let (index, vectors, attribute) = image
            .read(|io| {
                let index = vector::find(io, b"notes")?;
                let mut out = [0; 16];
                let (_, tag) = vector::get(io, &ino, &index, 5, &mut out)?;
                assert_eq!((tag, &out[..]), (7, &elements(5)[..]));
                let mut value = [0; 4000];
                let n = xattr::get(io, &ino, Namespace::User, b"large", &mut value)?;
                Ok((index, ino.vectors, value[..n].to_vec()))
            })
            .unwrap();
        assert_eq!((index.records, vectors), (7, 7));
        assert_eq!((index.tree.entries, index.tree.partitions), (7, 1));
        assert_eq!(index.efforts.hundredths(), Some([40, 112, 304]));
        let graph = image.graph_root(index.id).unwrap().unwrap();
        assert_eq!((graph.nodes, graph.live, graph.fresh), (7, 6, 1));
        assert_eq!(attribute, contents(3000));
        println!("version {version}: read");
    }
}

#[test]
fn older_versions_are_refused() {
    for version in 1..OLDEST {
        let blocks = stored(version);
        let refused = Super::parse(&blocks[&0], 0, crc32).map(|_| ());
        println!("version {version}: {refused:?}");
        assert!(refused.is_err());
        let dev = Rc::new(device(&blocks));
        assert!(Image::open_device(Box::new(dev), Mode::ReadOnly).is_err());
    }
}

/// Collects what the checker says.
struct Problems(Vec<String>);

impl fsck_vexfs::Observer for Problems {
    fn problem(&mut self, problem: &fsck_vexfs::Problem) {
        self.0.push(problem.to_string());
    }
}

#[test]
fn the_checker_finds_nothing() {
    let mut problems = Problems(Vec::new());
    let dev = device(&stored(FORMAT_VERSION));
    fsck_vexfs::check(&dev, &fsck_vexfs::Options::default(), &mut problems);
    assert!(problems.0.is_empty(), "{}", problems.0.join("\n"));
}
