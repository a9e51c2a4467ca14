// SPDX-License-Identifier: GPL-2.0-only
//! The part of pass 6 that reads graphs: root and extents, every node and its record leading to each other, its vector and the codes of its neighbours computed again, erased
//! nodes erased, and every record either in a node or in the list of fresh ones.

use super::tree::{rotated, Located};
use super::Found;
use crate::check::Check;
use crate::problem::{Code, Problem};
use layout::block::{read_header, BlockKind};
use layout::graph::{
    fresh, get_code, get_vector, node_reference, reference, referred_node, NodeHeader, NodeShape,
    Root, State, Tombstone, DEGREE, EXTENT_BLOCKS,
};
use layout::ino;
use layout::partition::{record_reference, referred_record, Shape, Units as _, UNIT};
use layout::vector::Index;
use layout::Block;
use std::collections::{BTreeMap, HashSet};
use vector::ann::Rotation;
use vector::{Compute, Kind, Userspace};

/// Checks the graphs of all indexes.
pub fn run(check: &mut Check<'_>, found: &mut Found) {
    let indexes: Vec<Index> = found.indexes.values().copied().collect();
    for ((id, n), start) in &found.extents {
        let graph = found.indexes.get(id).map_or(0, |index| index.graph);
        if graph == 0 && !found.bad.contains(id) {
            let problem = Problem::new(Code::GraphBad).index(*id).block(*start);
            check.report(problem.detail(format!("extent {n} of no graph")));
            check.lost_blocks = true;
        }
    }
    for index in indexes {
        let (Ok(shape), Ok(partitions)) = (NodeShape::new(index.dim), Shape::new(index.dim)) else {
            continue;
        };
        let kind = Kind::from_codes(index.element as u32, index.metric as u32, index.dim);
        let Ok(kind) = kind else {
            continue;
        };
        let mine = (index.id, 0)..=(index.id, u64::MAX);
        let segments = found.located.range(mine);
        let segments: BTreeMap<u64, &Located> =
            segments.map(|((_, start), l)| (*start, l)).collect();
        let extents = found.extents.range((index.id, 0)..=(index.id, u32::MAX));
        let whole = segments.len() as u64 == u64::from(index.segments)
            && !index.dropping
            && !found.bad.contains(&index.id);
        let mut graph = Graph {
            check,
            index,
            shape,
            partitions,
            kind,
            segments,
            extents: extents.map(|((_, n), start)| (*n, *start)).collect(),
            whole,
            signs: vec![0; Rotation::memory(&partitions)],
        };
        if index.graph == 0 {
            graph.no_nodes();
        } else {
            graph.run();
        }
    }
}

/// A graph that is being read.
struct Graph<'a, 'b, 's> {
    check: &'a mut Check<'b>,
    index: Index,
    shape: NodeShape,
    partitions: Shape,
    kind: Kind,
    segments: BTreeMap<u64, &'s Located>,
    extents: Vec<(u32, u64)>,
    /// Whether nodes can be compared with records.
    whole: bool,
    signs: Vec<u16>,
}

/// A node.
struct Node {
    blocks: Vec<Block>,
    first: usize,
    header: Option<NodeHeader>,
    tombstone: Option<Tombstone>,
}

impl Node {
    /// Whether some of its units are zero.
    fn is_zero(&self, mut units: std::ops::Range<usize>) -> bool {
        units.all(|unit| self.blocks[..].unit(self.first + unit) == Some(&[0; UNIT]))
    }
}

impl Graph<'_, '_, '_> {
    fn report(&mut self, code: Code, block: u64, what: impl Into<String>) {
        let problem = Problem::new(code).index(self.index.id).block(block);
        self.check.report(problem.detail(what));
    }

    /// Without a graph no slot may name a node.
    fn no_nodes(&mut self) {
        if !self.whole {
            return;
        }
        let mut wrong = Vec::new();
        for (start, segment) in &self.segments {
            for (slot, node) in segment.nodes.iter().enumerate() {
                if *node != 0 && segment.used[slot] {
                    wrong.push((referred_node(*node).0, slot, *start));
                }
            }
        }
        for (block, slot, start) in wrong {
            let what = format!("none for slot {slot} of segment {start}");
            self.report(Code::GraphNode, block, what);
        }
    }

    fn run(&mut self) {
        let at = self.index.graph;
        let geometry = self.check.reader.sb.geometry;
        let mut marked = geometry.is_data(at, 1) && self.check.mark(at, 1, ino::INDEX_TABLE);
        for (n, start) in self.extents.clone() {
            let len = u64::from(EXTENT_BLOCKS);
            if !geometry.is_data(start, len) {
                self.check.lost_blocks = true;
                self.report(Code::GraphBad, start, format!("extent {n}: no data blocks"));
                marked = false;
            } else {
                marked &= self.check.mark(start, len, ino::INDEX_TABLE);
            }
        }
        if !marked {
            return self.report(Code::GraphBad, at, "blocks that are not its own");
        }
        let data = match self.check.reader.block(at, BlockKind::GraphRoot) {
            Ok(data) => data,
            Err(why) => return self.report(Code::GraphBad, at, why.to_string()),
        };
        let owner = read_header(&data, BlockKind::GraphRoot).map_or(0, |h| h.owner);
        let root = match Root::read(&data) {
            Ok(root) if owner == u64::from(self.index.id) => root,
            _ => return self.report(Code::GraphBad, at, "root of another index's graph"),
        };
        let numbers = self.extents.iter().map(|(n, _)| *n);
        let room = root.extents as usize * self.shape.per_extent();
        if !numbers.eq(0..root.extents) || root.nodes > room as u64 {
            let what = format!("{} nodes in {} extents", root.nodes, self.extents.len());
            return self.report(Code::IndexGraph, at, what);
        }
        if self.whole {
            self.nodes(&root);
            self.fresh(&root, &data);
        }
    }

    /// The reference of node `n`.
    fn numbered(&self, n: u64) -> u64 {
        let each = self.shape.per_extent() as u64;
        let start = self.extents[(n / each) as usize].1;
        let (block, place) = self.shape.place((n % each) as usize);
        node_reference(start + block, place)
    }

    /// Whether a reference leads to one of the first `nodes` nodes.
    fn is_node(&self, reference: u64, nodes: u64) -> bool {
        let (block, _) = referred_node(reference);
        let inside = |start: u64| (start..start + u64::from(EXTENT_BLOCKS)).contains(&block);
        let Some(at) = self.extents.iter().position(|(_, start)| inside(*start)) else {
            return false;
        };
        let each = self.shape.per_extent() as u64;
        let first = at as u64 * each;
        (first..nodes.min(first + each)).any(|n| self.numbered(n) == reference)
    }

    fn read(&self, reference: u64) -> Result<Node, String> {
        let (start, n) = referred_node(reference);
        let mut blocks = Vec::with_capacity(self.shape.blocks());
        for number in start..start + self.shape.blocks() as u64 {
            let block = self
                .check
                .reader
                .block(number, BlockKind::Graph)
                .map_err(|why| format!("block {number}: {why}"))?;
            let owner = read_header(&block, BlockKind::Graph).map_or(0, |h| h.owner);
            if owner != u64::from(self.index.id) {
                return Err(format!("block {number} is another index's"));
            }
            blocks.push(*block);
        }
        let first = self.shape.first_unit(n);
        let unit = blocks[..].unit(first).ok_or("short block")?;
        let header = NodeHeader::read(unit).map_err(|e| e.0)?;
        let tombstone = Tombstone::read(unit).map_err(|e| e.0)?;
        let index = header.map(|h| h.index).or(tombstone.map(|t| t.index));
        if index.is_some_and(|index| index != self.index.id) {
            return Err("node of another index".into());
        }
        Ok(Node {
            blocks,
            first,
            header,
            tombstone,
        })
    }

    fn nodes(&mut self, root: &Root) {
        let (mut live, mut gone) = (0, 0);
        for n in 0..root.nodes {
            let reference = self.numbered(n);
            let block = referred_node(reference).0;
            let node = match self.read(reference) {
                Ok(node) => node,
                Err(why) => {
                    self.report(Code::GraphBad, block, format!("node {n}: {why}"));
                    continue;
                }
            };
            match (node.header, node.tombstone) {
                (Some(header), _) => {
                    live += 1;
                    self.node(root, n, &node, &header);
                }
                (None, Some(tombstone)) => {
                    gone += 1;
                    if let Some(why) = self.tombstone(root, &node, &tombstone) {
                        self.report(Code::GraphNotErased, block, format!("node {n}: {why}"));
                    }
                }
                (None, None) => {
                    if !node.is_zero(0..self.shape.units()) {
                        self.report(Code::GraphNotErased, block, format!("node {n}"));
                    }
                }
            }
        }
        if root.state != State::Clearing && (root.live, root.gone) != (live, gone) {
            let what = format!(
                "{} nodes, not {live}, and {} of records that are gone, not {gone}",
                root.live, root.gone
            );
            self.report(Code::IndexGraph, self.index.graph, what);
        }
        let entry = root.entry;
        if root.state == State::Ready && !root.stale {
            let there = self.is_node(entry, root.nodes)
                && self.read(entry).is_ok_and(|node| node.header.is_some());
            if !there {
                self.report(Code::IndexGraph, self.index.graph, "no node to begin at");
            }
        }
    }

    /// What is wrong with a tombstone.
    fn tombstone(&self, root: &Root, node: &Node, tombstone: &Tombstone) -> Option<&'static str> {
        if !node.is_zero(1..self.shape.references_at()) {
            return Some("something of its vector or of codes");
        }
        for n in 0..DEGREE {
            let to = reference(&self.shape, &node.blocks[..], node.first, n).ok()?;
            let there = n < usize::from(tombstone.neighbours);
            if (to != 0) != there {
                return Some("bytes without a meaning");
            }
            if there && root.state != State::Clearing && !self.is_node(to, root.nodes) {
                return Some("a neighbour that is none of the nodes");
            }
        }
        None
    }

    fn node(&mut self, root: &Root, n: u64, node: &Node, header: &NodeHeader) {
        let reference = self.numbered(n);
        let block = referred_node(reference).0;
        let (start, slot) = referred_record(header.record);
        let segment = self.segments.get(&start).copied();
        let at = slot as usize;
        let there =
            |s: &&Located| s.used.get(at) == Some(&true) && s.nodes.get(at) == Some(&reference);
        let Some(segment) = segment.filter(there) else {
            let what = format!("node {n} for slot {slot} of segment {start}");
            return self.report(Code::GraphNode, block, what);
        };
        let padded = self.shape.padded();
        let mut vector = vec![0; padded];
        if get_vector(&self.shape, &node.blocks[..], node.first, &mut vector).is_err() {
            return;
        }
        let kind = (&self.index, &self.partitions, &self.kind);
        // What cannot be read, or fails its checksum, has been reported.
        if let Some(right) = rotated(self.check, kind, &mut self.signs, segment, start, slot) {
            if right != vector {
                self.report(Code::GraphVector, block, format!("node {n}"));
            }
        }
        let linked = match root.state {
            State::Making => !header.linked,
            State::Linking => header.linked == (n < root.linked),
            State::Ready => header.linked,
            State::Clearing => true,
        };
        if !linked {
            self.report(Code::GraphNeighbour, block, format!("node {n}: not linked"));
        }
        for place in 0..DEGREE {
            if let Some(why) = self.neighbour(root, node, header, place, &vector) {
                self.report(
                    Code::GraphNeighbour,
                    block,
                    format!("node {n}, neighbour {place}: {why}"),
                );
            }
        }
    }

    /// What is wrong with a neighbour of a node.
    fn neighbour(
        &self,
        root: &Root,
        node: &Node,
        header: &NodeHeader,
        place: usize,
        centre: &[u32],
    ) -> Option<&'static str> {
        let (shape, units) = (&self.shape, &node.blocks[..]);
        let mut code = vec![0; shape.padded()];
        let factors = get_code(shape, units, node.first, place, &mut code).ok()?;
        let to = reference(shape, units, node.first, place).ok()?;
        let there = place < usize::from(header.neighbours);
        if !there || !header.linked {
            let zero = factors == [0; 2] && code.iter().all(|u| *u == 0);
            return (!zero || (to != 0) != there).then_some("bytes without a meaning");
        }
        // When a graph is freed, its last nodes go first.
        if !self.is_node(to, root.nodes) {
            return (root.state != State::Clearing).then_some("none of the nodes");
        }
        let other = self.read(to).ok()?;
        if other.header.is_none() {
            let known = other.tombstone.is_some() || root.state == State::Clearing;
            return (!known).then_some("code of a node that was erased");
        }
        let mut vector = vec![0; shape.padded()];
        get_vector(shape, &other.blocks[..], other.first, &mut vector).ok()?;
        let (mut expected, mut result) = (vec![0; shape.padded()], Ok([0; 2]));
        Userspace::detect().with_fpu(&mut |fpu| {
            result = fpu.encode_top(self.kind.metric(), &vector, centre, &mut expected);
        });
        let same = code.iter().zip(&expected).all(|(a, b)| *a == *b & 16);
        (result != Ok(factors) || !same).then_some("code or factors of another vector")
    }

    /// The list of fresh records; and that every record is in it or has a node.
    fn fresh(&mut self, root: &Root, data: &Block) {
        let mut listed = HashSet::new();
        for n in 0..root.fresh as usize {
            let refers = fresh(data, n).unwrap_or(0);
            let (start, slot) = referred_record(refers);
            let segment = self.segments.get(&start);
            let at = slot as usize;
            let right = segment
                .is_some_and(|s| s.used.get(at) == Some(&true) && s.nodes.get(at) == Some(&0));
            if !right || !listed.insert(refers) {
                let what = format!("slot {slot} of segment {start} in the list");
                self.report(Code::GraphFresh, self.index.graph, what);
            }
        }
        if root.stale || !matches!(root.state, State::Linking | State::Ready) {
            return;
        }
        let mut missed = Vec::new();
        for (start, segment) in &self.segments {
            for (slot, used) in segment.used.iter().enumerate() {
                let refers = record_reference(*start, slot as u32);
                if *used && segment.nodes[slot] == 0 && !listed.contains(&refers) {
                    missed.push(format!("slot {slot} of segment {start} in neither"));
                }
            }
        }
        for what in missed {
            self.report(Code::GraphFresh, self.index.graph, what);
        }
    }
}
