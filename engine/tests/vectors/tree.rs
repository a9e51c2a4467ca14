// SPDX-License-Identifier: GPL-2.0-only
//! The search tree in named situations: growth, thinning, dropping, and what a search finds.

use crate::memory::{ForSearch, Memory};
use crate::world::World;
use engine::vector::drop_index::drop_credits;
use engine::vector::tree::{
    complete_credits, is_complete, make_room_credits, plan_room, take_down_credits, tidy_credits,
    Aim, Effort, Fetched, Progress,
};
use layout::vector::{Index, Metric};
use std::collections::BTreeSet;
use vector::{Candidate, Compute as _, Distance, Queries, Rank, TopK};

/// Random numbers of a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// About normal, mean 0.
    pub fn normal(&mut self) -> f32 {
        let sum: f32 = (0..6)
            .map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32)
            .sum();
        (sum - 3.0) * 1.41
    }
}

/// Vectors in clusters, whose centres lie in clusters themselves.
pub struct Clusters {
    dim: u32,
    centres: Vec<Vec<f32>>,
    random: Random,
}

impl Clusters {
    pub fn new(dim: u32, count: usize, seed: u64) -> Clusters {
        let mut random = Random::new(seed);
        let centres = (0..count)
            .map(|_| (0..dim).map(|_| 2.0 * random.normal()).collect())
            .collect();
        Clusters {
            dim,
            centres,
            random,
        }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let n = self.random.next() as usize % self.centres.len();
        (0..self.dim as usize)
            .flat_map(|i| (self.centres[n][i] + self.random.normal()).to_le_bytes())
            .collect()
    }
}

/// Ranks of the `k` nearest live records, by the tree.
fn by_tree(w: &World, index: &Index, query: &[u8], k: usize, probes: usize) -> Vec<Rank> {
    let io = &w.fs.io;
    let mut memory = ForSearch::new(index, probes, k + 22);
    let compute = memory.compute;
    let mut search = memory.search(index, query, probes);
    while search.step(io, &compute, index).unwrap() == Progress::More {}
    let mut entries = vec![Candidate::default(); k];
    let mut top = TopK::new(&mut entries);
    let mut norms = [0];
    let queries = Queries::prepare(&compute, &kind(index), query, &mut norms).unwrap();
    let mut buf = vec![0; 40_000];
    loop {
        match search.fetch(io, index, &mut buf).unwrap() {
            Fetched::Batch(batch) => offer(w, &queries, &batch, &mut top),
            Fetched::Done => break,
            Fetched::Changed => panic!("nothing changed"),
        }
    }
    top.into_sorted().iter().map(|c| c.rank).collect()
}

fn offer(w: &World, queries: &Queries<'_>, batch: &engine::vector::Batch<'_>, top: &mut TopK<'_>) {
    let compute = vector::Userspace::detect();
    let mut distances = vec![Distance::INVALID; batch.count()];
    let at = engine::vector::Batch::ELEMENTS.min(batch.bytes().len());
    let vectors = vector::Batch::new(
        queries.kind(),
        batch.bytes(),
        at,
        batch.stride(),
        batch.count(),
    )
    .unwrap();
    compute
        .distances(queries, &vectors, &mut distances)
        .unwrap();
    for (n, distance) in distances.iter().enumerate() {
        let h = batch.header(n).unwrap();
        if engine::vector::is_live(&w.fs.io, &h).unwrap() {
            top.offer(Candidate {
                rank: Rank {
                    distance: *distance,
                    inode: h.ino,
                    label: h.label,
                },
                tag: h.tag,
                location: 0,
            });
        }
    }
}

/// What the vectors of an index are.
fn kind(index: &Index) -> vector::Kind {
    vector::Kind::from_codes(index.element as u32, index.metric as u32, index.dim).unwrap()
}

/// Ranks of the `k` nearest live records, by all of them.
fn exact(w: &World, index: &Index, query: &[u8], k: usize) -> Vec<Rank> {
    let compute = vector::Userspace::detect();
    let mut norms = [0];
    let queries = Queries::prepare(&compute, &kind(index), query, &mut norms).unwrap();
    let mut entries = vec![Candidate::default(); k];
    let mut top = TopK::new(&mut entries);
    let mut buf = vec![0; 1 << 18];
    let mut pos = engine::vector::ScanPos::default();
    while let Some(batch) = engine::vector::scan(&w.fs.io, index, &mut pos, &mut buf).unwrap() {
        offer(w, &queries, &batch, &mut top);
    }
    top.into_sorted().iter().map(|c| c.rank).collect()
}

/// Part of the true nearest that the tree finds, over `queries`.
pub fn recall(w: &World, id: u32, queries: &[Vec<u8>], k: usize, probes: usize) -> f64 {
    let index = w.index(id);
    assert!(is_complete(&index));
    let mut hits = 0;
    let mut all = 0;
    for query in queries {
        let truth: BTreeSet<Rank> = exact(w, &index, query, k).into_iter().collect();
        let found = by_tree(w, &index, query, k, probes);
        assert!(found.windows(2).all(|p| p[0] <= p[1]));
        assert_eq!(found.len(), truth.len(), "a result is short");
        hits += found.iter().filter(|r| truth.contains(r)).count();
        all += truth.len();
    }
    hits as f64 / all as f64
}

#[test]
fn a_tree_grows_and_finds() {
    for (dim, records, metric, bound) in [
        (1, 1500, Metric::L2, 0.98),
        (3, 1500, Metric::L2, 0.97),
        (16, 3000, Metric::L2, 0.97),
        (100, 2000, Metric::Cosine, 0.97),
        (100, 2000, Metric::Dot, 0.97),
        (384, 1200, Metric::Cosine, 0.98),
        // As many clusters as members of one, in few leaves: most of a query's neighbours are elsewhere.
        (4096, 150, Metric::L2, 0.75),
    ] {
        let mut w = World::with_tree(60_000, 2);
        w.metric = metric;
        let id = w.create("t", dim).unwrap();
        let mut clusters = Clusters::new(dim, 30, u64::from(dim));
        for label in 0..records {
            let ino = w.inos[label as usize % 2];
            w.put(ino, id, label, label, &clusters.next()).unwrap();
        }
        w.check();
        let tree = w.index(id).tree;
        let queries: Vec<_> = (0..30).map(|_| clusters.next()).collect();
        let few = recall(&w, id, &queries, 10, 4);
        let all = recall(&w, id, &queries, 10, tree.partitions as usize);
        println!(
            "dim {dim} {metric:?}: {} partitions, height {}, recall@10 {few:.3} with 4 probes, {all:.3} with all; {:?}",
            tree.partitions, tree.height, w.tightest
        );
        assert!(tree.height >= 2);
        assert!(few >= bound && all >= 0.99, "{few}, {all}");
    }
}

/// Deleting nearly everything and putting other vectors, over and over: the tree follows, in shape and in what it finds.
#[test]
fn a_tree_lives_through_churn() {
    let dim = 16;
    let mut w = World::with_tree(20_000, 2);
    let id = w.create("t", dim).unwrap();
    let ino = w.inos[0];
    for round in 0..6u64 {
        let mut clusters = Clusters::new(dim, 20, round);
        let records = [2500, 300, 2000, 40, 1200, 3000][round as usize];
        for label in 0..records {
            w.put(ino, id, label, round, &clusters.next()).unwrap();
        }
        for label in records..2500 {
            w.delete(ino, id, label).unwrap();
        }
        w.check();
        let before = w.index(id).tree;
        assert!(w.tidy(id, 10_000).unwrap(), "tidying comes to an end");
        w.check();
        let tree = w.index(id).tree;
        let queries: Vec<_> = (0..20).map(|_| clusters.next()).collect();
        let found = recall(&w, id, &queries, 10, 6);
        println!(
            "round {round}: {records} records, {} partitions of {} after tidying, height {}, recall@10 {found:.3}",
            tree.partitions, before.partitions, tree.height
        );
        assert!(u64::from(tree.partitions) <= records / 24 + 3);
        assert!(found >= 0.93, "{found}");
    }
    for label in 0..3000 {
        w.delete(ino, id, label).unwrap();
    }
    assert!(w.tidy(id, 10_000).unwrap());
    assert_eq!(w.index(id).tree.root, 0, "an empty index has no tree");
    w.check();
    w.wind_up();
}

/// What is left of a vector in the tree goes with it.
#[test]
fn entries_end_with_their_records() {
    let mut w = World::with_tree(20_000, 2);
    let id = w.create("t", 100).unwrap();
    let (a, b) = (w.inos[0], w.inos[1]);
    let mut clusters = Clusters::new(100, 5, 1);
    for label in 0..400 {
        let ino = if label % 4 == 0 { b } else { a };
        w.put(ino, id, label, 0, &clusters.next()).unwrap();
    }
    assert_eq!(w.index(id).tree.entries, 400);
    w.kill(a).unwrap();
    assert_eq!(w.index(id).tree.entries, 400, "until they are reclaimed");
    // Over a dead record, and over a live one.
    w.put(a, id, 1, 1, &clusters.next()).unwrap();
    w.put(b, id, 4, 1, &clusters.next()).unwrap();
    w.check();
    assert!(w.reclaim(a, 7, 1000).unwrap());
    assert_eq!(w.index(id).tree.entries, 101);
    w.check();
    // Without a builder a record loses its entry, and with one gets it again.
    w.tree = false;
    w.put(b, id, 4, 2, &clusters.next()).unwrap();
    w.put(b, id, 1000, 2, &clusters.next()).unwrap();
    assert!(!is_complete(&w.index(id)));
    w.check();
    w.tree = true;
    w.put(b, id, 4, 3, &clusters.next()).unwrap();
    w.put(b, id, 1000, 3, &clusters.next()).unwrap();
    assert!(is_complete(&w.index(id)));
    w.check();
    w.wind_up();
}

/// A division that was computed before its partition changed is computed again.
#[test]
fn a_plan_that_is_out_of_date_is_made_anew() {
    // What happens between the plan and carrying it out.
    type Between = fn(&mut World, u64, u32, &mut Clusters);
    let between: [(&str, Between); 4] = [
        ("nothing", |_, _, _, _| {}),
        ("a member has another vector", |w, ino, id, clusters| {
            w.put(ino, id, 5, 1, &clusters.next()).unwrap();
        }),
        (
            "a member goes, and another comes",
            |w, ino, id, clusters| {
                w.delete(ino, id, 7).unwrap();
                w.put(ino, id, 1000, 1, &clusters.next()).unwrap();
            },
        ),
        ("it is divided already", |w, ino, id, clusters| {
            w.put(ino, id, 1000, 1, &clusters.next()).unwrap();
        }),
    ];
    for (what, change) in between {
        let mut w = World::with_tree(20_000, 1);
        let id = w.create("t", 48).unwrap();
        let ino = w.inos[0];
        let mut clusters = Clusters::new(48, 3, 1);
        let root = loop {
            let index = w.index(id);
            if index.tree.entries == 192 {
                break index.tree.root;
            }
            let label = index.tree.entries;
            w.put(ino, id, label, 0, &clusters.next()).unwrap();
        };
        assert_eq!(w.index(id).tree.partitions, 1);
        let mut memory = Memory::new(&w.index(id));
        let plan = plan_room(&w.fs.io, id, root, &mut memory.builder()).unwrap();
        assert!(plan.is_some());
        change(&mut w, ino, id, &mut clusters);
        println!("{what}");
        w.carry_out(id, root, plan, &mut memory).unwrap();
        assert_eq!(w.index(id).tree.partitions, 3, "{what}");
        w.check();
        w.wind_up();
    }
}

/// Every step fits the largest transaction of the smallest journal that the kernel mounts with, whatever the dimension.
#[test]
fn steps_fit_the_smallest_journal() {
    const LARGEST: u32 = 960;
    let mut w = World::with_tree(20_000, 1);
    for (n, dim) in [1, 24, 100, 384, 1000, 1536, 4096].into_iter().enumerate() {
        let id = w.create(&format!("t{n}"), dim).unwrap();
        let mut clusters = Clusters::new(dim, 3, 1);
        for label in 0..40 {
            w.put(w.inos[0], id, label, 0, &clusters.next()).unwrap();
        }
        let (io, index) = (&w.fs.io, w.index(id));
        for (step, credits) in [
            ("put", engine::vector::put_credits(io, &index)),
            ("delete", engine::vector::delete_credits(io, &index, 1)),
            ("delete 16", engine::vector::delete_credits(io, &index, 16)),
            ("divide", make_room_credits(&index)),
            ("tidy", tidy_credits(&index)),
            ("complete", complete_credits(&index)),
            ("take down", take_down_credits(&index)),
            ("drop", drop_credits(io, 16)),
            (
                "finish",
                engine::orphan::finish_credits(io, &w.inode(w.inos[0])),
            ),
        ] {
            let credits = credits.unwrap();
            println!("dimension {dim}, {step}: {credits} blocks");
            assert!(
                credits <= LARGEST,
                "dimension {dim}, {step}: {credits} blocks"
            );
        }
    }
}

/// However much is asked for, what a search keeps in memory has a bound.
#[test]
fn candidates_are_bounded() {
    let mut w = World::with_tree(20_000, 1);
    let id = w.create("t", 8).unwrap();
    let mut index = w.index(id);
    index.tree.partitions = u32::MAX;
    for k in [1, 10, 1000, 10_000] {
        let mut effort = Effort::of(&index, Aim::Probes(1), k);
        let mut rounds = 0;
        while effort.pays(&index) {
            assert!(effort.wanted <= 8192, "{k}: {effort:?}");
            effort = effort.more();
            rounds += 1;
        }
        assert_eq!(rounds == 0, k == 10_000, "{k}");
    }
}

/// A device whose longest runs of free blocks are of six, too short for a partition of the index on it, and the runs of up to eight that were taken; those of eight
/// lack their first six.
pub fn fragmented() -> (World, u32, Vec<(u64, u32)>) {
    let mut w = World::with_tree(1024 + 2000, 1);
    let id = w.create("frag", 1000).unwrap();
    let mut taken = Vec::new();
    while let Ok((start, len)) = w.fs.with(|cx| engine::space::alloc(cx, 0, 1, 8)) {
        taken.push((start, len));
    }
    for (start, len) in &taken {
        if *len == 8 {
            w.fs.with(|cx| engine::space::free(cx, *start, 6)).unwrap();
        }
    }
    (w, id, taken)
}

/// A record is put although there is no run of blocks for a partition; only the tree does not know it.
#[test]
fn a_fragmented_disk_has_records_without_entries() {
    let (mut w, id, _) = fragmented();
    let mut clusters = Clusters::new(1000, 5, 1);
    for label in 0..50 {
        w.put(w.inos[0], id, label, 0, &clusters.next()).unwrap();
    }
    let index = w.index(id);
    assert_eq!(
        (index.records, index.tree.entries, index.tree.root),
        (50, 0, 0)
    );
}

/// A search that pauses while the tree changes under it begins anew, and finds what is there.
#[test]
fn a_search_survives_changes_between_its_steps() {
    let mut w = World::with_tree(20_000, 1);
    let id = w.create("t", 16).unwrap();
    let ino = w.inos[0];
    let mut clusters = Clusters::new(16, 10, 3);
    for label in 0..1000 {
        w.put(ino, id, label, 0, &clusters.next()).unwrap();
    }
    let query = clusters.next();
    let index = w.index(id);
    let mut memory = ForSearch::new(&index, 100, 30);
    let compute = memory.compute;
    let mut search = memory.search(&index, &query, 100);
    let mut buf = vec![0; 40_000];
    let (mut restarts, mut label) = (0, 1000);
    let mut seen = BTreeSet::new();
    for step in 0.. {
        // A busy writer: every put may divide a partition, every delete end a segment.
        if step % 7 == 0 && label < 2000 {
            for _ in 0..25 {
                w.put(ino, id, label, 0, &clusters.next()).unwrap();
                w.delete(ino, id, label - 1000).unwrap();
                label += 1;
            }
            w.tidy(id, 3).unwrap();
        }
        let mut index = w.index(id);
        if search.step(&w.fs.io, &compute, &index).unwrap() == Progress::More {
            continue;
        }
        if restarts == 0 {
            // Enough for a division between finding and fetching.
            for _ in 0..300 {
                w.put(ino, id, label, 0, &clusters.next()).unwrap();
                label += 1;
            }
            index = w.index(id);
        }
        match search.fetch(&w.fs.io, &index, &mut buf).unwrap() {
            Fetched::Batch(batch) => {
                seen.extend((0..batch.count()).map(|n| batch.header(n).unwrap().label));
            }
            Fetched::Changed => {
                restarts += 1;
                seen.clear();
            }
            Fetched::Done => break,
        }
    }
    assert_ne!(restarts, 0, "a fetch meets a changed tree");
    let index = w.index(id);
    let nearest = exact(&w, &index, &query, 10);
    let missing = nearest.iter().filter(|r| !seen.contains(&r.label)).count();
    assert_eq!(missing, 0, "of ten");
    w.check();
}
