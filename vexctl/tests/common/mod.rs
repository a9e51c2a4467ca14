// SPDX-License-Identifier: GPL-2.0-only
//! What the tests of the program share: an image with files in it, arrays as numpy
//! writes them, and running vexctl as its users do.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use engine::inode::NewInode;
use image::device::FileDevice;
use image::format::{self, Options};
use image::{Image, Mode};
use layout::inode::mode;
use serde_json::Value;

/// Blocks of a test image: 64 MiB, sparse.
const BLOCKS: u64 = 16_384;

/// A folder with an image in it.
pub struct Fixture {
    folder: tempfile::TempDir,
    pub img: PathBuf,
}

impl Fixture {
    /// An image with empty regular files at `files`, whose directories are made.
    pub fn new(files: &[&str]) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let img = folder.path().join("fs.img");
        let device = FileDevice::create(&img, BLOCKS * 4096).unwrap();
        let options = Options {
            uuid: *b"vexctl-test-uuid",
            hash_seed: *b"vexctl-test-seed",
            journal_blocks: Some(2048),
            bytes_per_inode: Some(4096),
            ..Options::new(BLOCKS)
        };
        format::format(&device, &options).unwrap();
        drop(device);
        let fixture = Fixture { folder, img };
        fixture.change(|image| {
            for file in files {
                add_file(image, file);
            }
        });
        fixture
    }

    /// Opens the image in this process.
    pub fn change(&self, work: impl FnOnce(&mut Image)) {
        let mut image = Image::open(&self.img, Mode::ReadWrite).unwrap();
        work(&mut image);
        image.close().unwrap();
    }

    /// A file of the host with these bytes.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A numpy array of binary32.
    pub fn npy(&self, name: &str, rows: &[Vec<f32>]) -> PathBuf {
        self.write(name, npy(rows))
    }

    /// TEXMEX vectors.
    pub fn fvecs(&self, name: &str, rows: &[Vec<f32>]) -> PathBuf {
        let bytes: Vec<u8> = rows
            .iter()
            .flat_map(|row| [(row.len() as i32).to_le_bytes().to_vec(), bytes(row)].concat())
            .collect();
        self.write(name, bytes)
    }

    /// Runs `vexctl --img IMAGE` with these arguments.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vexctl"));
        command.arg("--img").arg(&self.img).args(arguments);
        command.output().unwrap()
    }

    /// The standard output of a run that must succeed without a word on standard error.
    pub fn text<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", output.status);
        assert_eq!(error, "");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON of a run that must succeed.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Value {
        let mut all = vec![OsStr::new("--json")];
        all.extend(arguments.iter().map(AsRef::as_ref));
        let value: Value = serde_json::from_str(&self.text(&all)).unwrap();
        assert_eq!(value["version"], 1);
        value
    }

    /// Standard error of a run that must end with `status` and print nothing else.
    pub fn refused<S: AsRef<OsStr>>(&self, status: i32, arguments: &[S]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        assert!(!error.trim().is_empty());
        error
    }

    /// Makes an index.
    pub fn index(&self, name: &str, dim: usize, metric: &str) {
        let dim = dim.to_string();
        self.text(&[
            "index", "create", "/", name, "--dim", &dim, "--metric", metric,
        ]);
    }
}

/// Words for [`Fixture::run`], of which some are paths.
#[macro_export]
macro_rules! words {
    ($($word:expr),* $(,)?) => { [$(std::ffi::OsString::from($word)),*] };
}

/// Makes an empty regular file, and its directories if they are not there.
pub fn add_file(image: &mut Image, path: &str) {
    let path = Path::new("/").join(path);
    let mut above: Vec<_> = path.ancestors().skip(1).collect();
    above.pop();
    for directory in above.into_iter().rev() {
        if image.resolve(directory).is_err() {
            image.mkdir(directory).unwrap();
        }
    }
    let new = NewInode {
        mode: mode::REGULAR | 0o644,
        ..NewInode::default()
    };
    image.create(&path, &new).unwrap();
}

/// Elements as they lie in files.
pub fn bytes(row: &[f32]) -> Vec<u8> {
    row.iter()
        .flat_map(|element| element.to_le_bytes())
        .collect()
}

/// A two-dimensional numpy array.
pub fn npy(rows: &[Vec<f32>]) -> Vec<u8> {
    let dim = rows.first().map_or(0, Vec::len);
    let mut header = format!(
        "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {dim}), }}",
        rows.len()
    );
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(rows.iter().flat_map(|row| bytes(row)));
    file
}

/// Numbers that look random and are the same every time (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From -1 to 1.
    pub fn element(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn rows(&mut self, count: usize, dim: usize) -> Vec<Vec<f32>> {
        (0..count)
            .map(|_| (0..dim).map(|_| self.element()).collect())
            .collect()
    }
}

/// A distance by its definition, in binary64.
pub fn distance(metric: &str, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(x, y)| (f64::from(*x), f64::from(*y)));
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    match metric {
        "l2" => pairs().map(|(x, y)| (x - y) * (x - y)).sum(),
        "cosine" => 1.0 - dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt()),
        "dot" => -dot(a, b),
        _ => panic!("{metric}"),
    }
}

/// The hits of each query: path, label and distance.
pub fn hits(value: &Value) -> Vec<Vec<(String, u64, f64)>> {
    let queries = value["queries"].as_array().unwrap();
    let hit = |hit: &Value| {
        (
            hit["path"].as_str().unwrap().to_owned(),
            hit["label"].as_u64().unwrap(),
            hit["distance"].as_f64().unwrap(),
        )
    };
    (0u64..)
        .zip(queries)
        .map(|(number, query)| {
            assert_eq!(query["query"], number);
            query["hits"].as_array().unwrap().iter().map(hit).collect()
        })
        .collect()
}
