// SPDX-License-Identifier: GPL-2.0-only
//! The calls of the code kernels: from slices whose lengths the callers have
//! checked, or check here, to argument blocks. No computation, no decision.

use super::{Centroid, Noted, Query, Rotation};
use crate::math::ann::{
    vexfs_ann_apart, vexfs_ann_centroid, vexfs_ann_encode, vexfs_ann_estimate, vexfs_ann_mean,
    vexfs_ann_nearest, vexfs_ann_node, vexfs_ann_prepare, vexfs_ann_refine, vexfs_ann_rotate,
    vexfs_ann_sides, ApartArgs, CentroidArgs, EncodeArgs, EstimateArgs, MeanArgs, NearestArgs,
    NodeArgs, PrepareArgs, RefineArgs, RotateArgs, SidesArgs, FACTORS, PARAMETERS,
};
use crate::{Fpu, Kind, Metric};
use layout::graph::DEGREE;
use layout::partition::UNITS;
use layout::Block;

impl Fpu {
    /// `vector` is one of `kind`, with at most `padded` elements; `out` has just as many.
    pub(super) fn call_rotate(
        &self,
        rotation: &Rotation<'_>,
        kind: &Kind,
        vector: &[u8],
        out: &mut [u32],
    ) {
        debug_assert!(kind.dim() as usize <= out.len() && out.len() == rotation.padded);
        let args = RotateArgs {
            isa: self.isa() as u32,
            normalise: u32::from(kind.metric() == Metric::Cosine),
            element: kind.element().code(),
            zero: 0,
            dim: kind.dim() as usize,
            padded: rotation.padded,
            vector: vector.as_ptr(),
            signs: rotation.signs.as_ptr(),
            out: out.as_mut_ptr().cast(),
        };
        // SAFETY: the lengths are as above, by the only caller, and those of a
        // Rotation by its invariants; a u32 is good for a binary32. The invariant
        // of Fpu covers registers and features.
        unsafe { vexfs_ann_rotate(&args) }
    }

    /// All three have the same length, a multiple of 16.
    pub(super) fn call_encode(
        &self,
        dot: bool,
        vector: &[u32],
        centroid: &[u32],
        code: &mut [u8],
    ) -> [u32; FACTORS] {
        debug_assert!(vector.len() == centroid.len() && vector.len() == code.len());
        let mut factors = [0; FACTORS];
        let args = EncodeArgs {
            isa: self.isa() as u32,
            dot: u32::from(dot),
            padded: vector.len(),
            vector: vector.as_ptr().cast(),
            centroid: centroid.as_ptr().cast(),
            code: code.as_mut_ptr(),
            factors: factors.as_mut_ptr().cast(),
        };
        // SAFETY: the lengths are as above, by the only caller. Fpu as before.
        unsafe { vexfs_ann_encode(&args) };
        factors
    }

    /// The lengths are those of `QueryMemory::lengths`.
    pub(super) fn call_prepare(
        &self,
        rotated: &[u32],
        table: &mut [u8],
        bytes: &mut [u8],
    ) -> [u32; PARAMETERS] {
        let mut parameters = [0; PARAMETERS];
        let args = PrepareArgs {
            isa: self.isa() as u32,
            zero: 0,
            padded: rotated.len(),
            query: rotated.as_ptr().cast(),
            table: table.as_mut_ptr(),
            bytes: bytes.as_mut_ptr().cast(),
            parameters: parameters.as_mut_ptr().cast(),
        };
        // SAFETY: the lengths are as above, by the only caller. Fpu as before.
        unsafe { vexfs_ann_prepare(&args) };
        parameters
    }

    /// The blocks of the centroid are present.
    pub(super) fn call_centroid(&self, query: &Query<'_>, blocks: &[Option<&Block>]) -> Centroid {
        let (mut key, mut values) = (0, [0; 2]);
        let args = CentroidArgs {
            isa: self.isa() as u32,
            dot: u32::from(query.dot),
            padded: query.shape.padded(),
            query: query.rotated.as_ptr().cast(),
            blocks: pointers(blocks),
            out: values.as_mut_ptr().cast(),
            key: &mut key,
        };
        // SAFETY: the units of the centroid lie in blocks that are present, by the
        // only caller; those of Query by its invariants. Fpu as before.
        unsafe { vexfs_ann_centroid(&args) };
        Centroid { key, values }
    }

    /// The blocks of the packs of `entries` entries are present, and these not more than the capacity.
    #[allow(clippy::too_many_arguments)] // as Fpu::estimate
    pub(super) fn call_estimate(
        &self,
        query: &Query<'_>,
        centroid: &Centroid,
        blocks: &[Option<&Block>],
        entries: usize,
        limit: u32,
        next: &[Option<&Block>],
        noted: &mut Noted,
    ) -> usize {
        // Those before the first that is missing.
        let next_blocks = next.iter().take_while(|b| b.is_some()).count();
        let args = EstimateArgs {
            isa: self.isa() as u32,
            limit,
            padded: query.shape.padded(),
            blocks: pointers(blocks),
            packs_at: query.shape.packs_at(),
            entries,
            table: query.table.as_ptr(),
            parameters: query.parameters.as_ptr().cast(),
            centroid: centroid.values.as_ptr().cast(),
            next: pointers(next),
            next_units: next_blocks.saturating_mul(UNITS),
            entry: noted.entry.as_mut_ptr(),
            upper: noted.upper.as_mut_ptr().cast(),
            first: noted.first.as_mut_ptr().cast(),
        };
        // SAFETY: the units of the packs lie in blocks that are present, by the only
        // caller; the arrays of Noted have room for the entries of any partition;
        // those of Query by its invariants. Fpu as before.
        unsafe { vexfs_ann_estimate(&args) }
    }

    /// The blocks of the entries noted are present.
    pub(super) fn call_refine(
        &self,
        query: &Query<'_>,
        centroid: &Centroid,
        blocks: &[Option<&Block>],
        noted: &mut Noted,
    ) {
        let args = RefineArgs {
            isa: self.isa() as u32,
            zero: 0,
            padded: query.shape.padded(),
            blocks: pointers(blocks),
            packs_at: query.shape.packs_at(),
            extended_at: query.shape.extended_at(),
            bytes: query.bytes.as_ptr().cast(),
            parameters: query.parameters.as_ptr().cast(),
            centroid: centroid.values.as_ptr().cast(),
            count: noted.count,
            entry: noted.entry.as_ptr(),
            first: noted.first.as_ptr().cast(),
            key: noted.key.as_mut_ptr(),
        };
        // SAFETY: the units of the entries lie in blocks that are present, by the
        // only caller; `count` is at most the arrays' length, by the invariant of
        // Noted; those of Query by its invariants. Fpu as before.
        unsafe { vexfs_ann_refine(&args) }
    }

    /// The units of the node, from `at` on, lie in blocks that are present.
    pub(super) fn call_node(
        &self,
        query: &Query<'_>,
        blocks: &[Option<&Block>],
        at: usize,
        keys: &mut [u32; DEGREE],
    ) -> u32 {
        let mut key = 0;
        let args = NodeArgs {
            isa: self.isa() as u32,
            zero: 0,
            padded: query.shape.padded(),
            query: query.rotated.as_ptr().cast(),
            blocks: pointers(blocks),
            at,
            table: query.table.as_ptr(),
            parameters: query.parameters.as_ptr().cast(),
            key: &mut key,
            keys: keys.as_mut_ptr(),
        };
        // SAFETY: the units lie in blocks that are present, by the only caller; those of
        // Query by its invariants. Fpu as before.
        unsafe { vexfs_ann_node(&args) };
        key
    }

    /// As many rows as `out` has entries, or as there are, and as `own` has, if that is given; nothing if `centre` is not a row.
    pub(super) fn call_apart(
        &self,
        rows: &[u32],
        centre: &[u32],
        own: Option<&[u32]>,
        out: &mut [u32],
    ) {
        let padded = centre.len();
        if padded == 0 || padded % 16 != 0 {
            return;
        }
        let most = own.map_or(usize::MAX, <[u32]>::len);
        let args = ApartArgs {
            isa: self.isa() as u32,
            relative: u32::from(own.is_some()),
            padded,
            count: (rows.len() / padded).min(out.len()).min(most),
            rows: rows.as_ptr().cast(),
            centre: centre.as_ptr().cast(),
            own: own.map_or(core::ptr::null(), <[u32]>::as_ptr),
            out: out.as_mut_ptr(),
        };
        // SAFETY: `count` rows, outputs and, if they are looked at, distances exist, and a centre. Fpu as before.
        unsafe { vexfs_ann_apart(&args) }
    }

    /// As many rows as `keys` has entries, or as there are; nothing if `centres` is not two rows.
    pub(super) fn call_sides(
        &self,
        padded: usize,
        rows: &[u32],
        centres: &[u32],
        keys: &mut [u32],
    ) {
        if padded == 0 || padded % 16 != 0 || centres.len() != padded.saturating_mul(2) {
            return;
        }
        let args = SidesArgs {
            isa: self.isa() as u32,
            zero: 0,
            padded,
            count: (rows.len() / padded).min(keys.len()),
            rows: rows.as_ptr().cast(),
            centres: centres.as_ptr().cast(),
            key: keys.as_mut_ptr(),
        };
        // SAFETY: `count` rows and keys exist, and two centres. Fpu as before.
        unsafe { vexfs_ann_sides(&args) }
    }

    /// As many rows as `nearest` has entries, or as there are; nothing if `centres` is not from 1 to 256 rows.
    pub(super) fn call_nearest(
        &self,
        padded: usize,
        rows: &[u32],
        centres: &[u32],
        nearest: &mut [u8],
    ) {
        let centre_count = centres.len().checked_div(padded).unwrap_or(0);
        if padded % 16 != 0 || !(1..=256).contains(&centre_count) {
            return;
        }
        let args = NearestArgs {
            isa: self.isa() as u32,
            zero: 0,
            padded,
            count: (rows.len() / padded).min(nearest.len()),
            rows: rows.as_ptr().cast(),
            centre_count,
            centres: centres.as_ptr().cast(),
            nearest: nearest.as_mut_ptr(),
        };
        // SAFETY: `count` rows and bytes exist, and as many centres. Fpu as before.
        unsafe { vexfs_ann_nearest(&args) }
    }

    /// The mean of the rows whose byte in `side` is `which`; nothing if there is none, or `out` is not a row.
    pub(super) fn call_mean(
        &self,
        padded: usize,
        rows: &[u32],
        side: &[u8],
        which: u32,
        out: &mut [u32],
    ) {
        if padded == 0 || padded % 16 != 0 || out.len() != padded {
            return;
        }
        let args = MeanArgs {
            isa: self.isa() as u32,
            which,
            padded,
            count: (rows.len() / padded).min(side.len()),
            rows: rows.as_ptr().cast(),
            side: side.as_ptr(),
            out: out.as_mut_ptr().cast(),
        };
        // SAFETY: `count` rows and bytes exist, and `out` is a row. Fpu as before.
        unsafe { vexfs_ann_mean(&args) }
    }
}

// The kernels stand alone (vector/math.rs); their numbers are the format's.
#[cfg(not(vector_math_external))]
const _: () = assert!(
    crate::math::ann::PACK == layout::partition::PACK
        && crate::math::ann::UNIT == layout::partition::UNIT
        && crate::math::ann::UNITS == layout::partition::UNITS
        && FACTORS == layout::partition::FACTORS
);

/// The blocks as the kernels take them. An absent one is a null pointer, by the
/// layout that Rust guarantees for options of references, and not looked at.
fn pointers(blocks: &[Option<&Block>]) -> *const *const u8 {
    blocks.as_ptr().cast()
}
