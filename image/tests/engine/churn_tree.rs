// SPDX-License-Identifier: GPL-2.0-only
//! A search tree after all of its records were deleted and others put in their place ten times over, beside one that was built of the same records at once:
//! it must find as much in as many leaves, and take no more space.

use std::rc::Rc;

use engine::inode::NewInode;
use engine::vector::tree::is_complete;
use image::ops::NewRecord;
use image::{Image, Mode};
use layout::inode::mode;

use crate::common::{fsck, Random};
use crate::corpus::{
    ask, default_probes, normal, with_index, Clusters, Name, Records, CLUSTERS, DIM, NAME,
};

const BLOCKS: u64 = 30_000;
const JOURNAL: u32 = 4096;
const RECORDS: usize = 4000;
const ROUNDS: usize = 10;
/// Records that go and come between two looks for thin partitions.
const AT_ONCE: usize = 100;
const QUERIES: usize = 50;

/// What a tree is worth.
#[derive(Debug)]
struct Worth {
    recall: f64,
    partitions: u32,
    /// Blocks in use, the records' own included.
    blocks: u64,
}

/// An image with one file for all records.
struct Store {
    device: Rc<image::device::MemDevice>,
    image: Image,
    index: u32,
    file: u64,
    empty: u64,
}

impl Store {
    fn new() -> Self {
        let device = Rc::new(with_index(BLOCKS, JOURNAL));
        let mut image = Image::open_device(Box::new(Rc::clone(&device)), Mode::ReadWrite).unwrap();
        let new = NewInode {
            mode: mode::REGULAR | 0o644,
            ..NewInode::default()
        };
        let file = image.create("/file", &new).unwrap().ino;
        image.sync().unwrap();
        Self {
            index: image.find_index(NAME).unwrap().id,
            empty: image.space().free_blocks,
            device,
            image,
            file,
        }
    }

    fn put(&mut self, vectors: &[(u64, Rc<[u8]>)]) {
        let new: Vec<NewRecord<'_>> = vectors
            .iter()
            .map(|(label, elements)| NewRecord {
                label: *label,
                tag: 0,
                elements,
            })
            .collect();
        self.image.put_records(self.file, self.index, &new).unwrap();
    }

    fn worth(&mut self, records: &Records, queries: &[Rc<[u8]>], probes: usize) -> Worth {
        self.image.sync().unwrap();
        let index = self.image.find_index(NAME).unwrap();
        assert!(is_complete(&index));
        assert_eq!(index.records, records.len() as u64);
        let (_, recall) = ask(&self.image, &index, records, queries, probes);
        Worth {
            recall,
            partitions: index.tree.partitions,
            blocks: self.empty - self.image.space().free_blocks,
        }
    }
}

/// Deletes and puts records at random; `drift` is how far the clusters' centres have moved in the end, in their own size.
fn churned_and_fresh(drift: f32) -> (Worth, Worth) {
    let mut random = Random::new(77);
    let mut clusters = Clusters::new(&mut random);
    let courses: Vec<Vec<f32>> = (0..CLUSTERS)
        .map(|_| (0..DIM).map(|_| 3.0 * normal(&mut random)).collect())
        .collect();
    let mut store = Store::new();
    let mut live: Vec<(u64, Rc<[u8]>)> = (0..RECORDS as u64)
        .map(|label| {
            let cluster = random.below(CLUSTERS);
            (label, clusters.vector(cluster, &mut random))
        })
        .collect();
    store.put(&live);
    let mut label = RECORDS as u64;
    let steps = RECORDS * ROUNDS / AT_ONCE;
    for _ in 0..steps {
        for (centre, course) in clusters.centres.iter_mut().zip(&courses) {
            for (x, way) in centre.iter_mut().zip(course) {
                *x += way * drift / steps as f32;
            }
        }
        for _ in 0..AT_ONCE {
            let (gone, _) = live.swap_remove(random.below(live.len() as u64) as usize);
            store
                .image
                .delete_record(store.file, store.index, gone)
                .unwrap();
        }
        let new: Vec<(u64, Rc<[u8]>)> = (0..AT_ONCE)
            .map(|_| {
                label += 1;
                let cluster = random.below(CLUSTERS);
                (label, clusters.vector(cluster, &mut random))
            })
            .collect();
        store.put(&new);
        live.extend(new);
        store.image.tidy_index(store.index).unwrap();
    }
    let queries: Vec<_> = (0..QUERIES as u64)
        .map(|n| clusters.vector(n % CLUSTERS, &mut random))
        .collect();

    let mut fresh = Store::new();
    fresh.put(&live);
    fresh.image.tidy_index(fresh.index).unwrap();
    let probes = default_probes(&fresh.image.find_index(NAME).unwrap());
    let named = |file: u64| -> Records {
        let name = |label| -> Name { (file, label) };
        live.iter()
            .map(|(label, v)| (name(*label), Rc::clone(v)))
            .collect()
    };
    let worth = [store, fresh].map(|mut store| {
        let worth = store.worth(&named(store.file), &queries, probes);
        store.image.close().unwrap();
        fsck(&*store.device, "after churn");
        worth
    });
    println!(
        "drift {drift}, {probes} leaves looked at: churned {:?}, fresh {:?}",
        worth[0], worth[1]
    );
    let [churned, fresh] = worth;
    (churned, fresh)
}

fn compare(drift: f32) {
    let (churned, fresh) = churned_and_fresh(drift);
    assert!(churned.recall >= 0.9 * fresh.recall && churned.recall >= 0.9);
    assert!(f64::from(churned.partitions) <= 1.1 * f64::from(fresh.partitions));
    assert!(churned.blocks as f64 <= 1.1 * fresh.blocks as f64);
}

#[test]
fn replacing_all_records_ten_times_leaves_a_tree_as_good_as_new() {
    compare(0.0);
}

#[test]
fn so_does_replacing_them_by_others_from_elsewhere() {
    compare(1.0);
}
