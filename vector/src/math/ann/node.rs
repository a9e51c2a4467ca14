// SPDX-License-Identifier: GPL-2.0-only
//! A query against a node of a graph: the distance of its own vector, and estimates for all of its neighbours at once. And what
//! choosing neighbours needs: distances of rows from another, and which rows are hidden behind one that was chosen.
//!
//! The codes of the neighbours are relative to the node's vector c, as those of a partition's entries are to its centroid, so an
//! estimate is |q - c|^2 + add + scale <v1, q>, with the factors of `encode`.

use super::units::Units;
use super::{ordered, ApartArgs, NodeArgs, Scan, PACK, UNIT};

/// Units of the two factors of a pack.
const FACTOR_UNITS: usize = 2 * PACK * 4 / UNIT;

/// See `vexfs_ann_node`.
///
/// # Safety
/// As there; the features of `S`.
#[inline(always)]
pub(super) unsafe fn node<S: Scan>(args: &NodeArgs) {
    // SAFETY: the node's units exist from `at` on, by the caller; `key` has room for one value, `keys` for 32.
    unsafe {
        let count = args.padded / 16;
        let mut units = Units::at(args.blocks, args.at + 1);
        let zero = S::splat(0.0);
        let mut squares = [zero; 2];
        let mut i = 0;
        while i < count {
            // As many as lie in one block.
            let (mut p, run) = units.run(count - i);
            let end = i + run;
            while i < end {
                let d = S::load(args.query.add(16 * i)).sub(S::load(p.cast()));
                squares[i & 1] = squares[i & 1].add(d.mul(d));
                p = p.add(UNIT);
                i += 1;
            }
        }
        let own = squares[0].add(squares[1]).sum();
        *args.key = ordered(own);

        let sums = S::sums(&mut units, count, args.table);
        let (unit, base) = (
            S::splat(*args.parameters),
            S::splat(*args.parameters.add(1)),
        );
        let own = S::splat(own);
        // The factors may lie in two blocks.
        let mut factors = [core::ptr::null::<f32>(); FACTOR_UNITS];
        for factor in &mut factors {
            *factor = units.next().cast();
        }
        let [add0, add1, scale0, scale1] = factors;
        let each = [(add0, scale0), (add1, scale1)];
        let mut values = [0.0f32; PACK];
        for (h, ((add, scale), sums)) in each.into_iter().zip(sums).enumerate() {
            let first = sums.mul(unit).add(base);
            let estimate = S::load(add).add(own);
            let estimate = estimate.add(S::load(scale).mul(first));
            estimate.store(values.as_mut_ptr().add(16 * h));
        }
        for (i, value) in values.iter().enumerate() {
            *args.keys.add(i) = ordered(*value);
        }
    }
}

/// See `vexfs_ann_apart`.
///
/// # Safety
/// As there; the features of `S`.
#[inline(always)]
pub(super) unsafe fn apart<S: Scan>(args: &ApartArgs) {
    let n = args.padded;
    for row in 0..args.count {
        // SAFETY: there are `count` rows and a centre of `padded` elements, and as many distances and outputs.
        unsafe {
            let x = args.rows.add(row * n);
            let mut sum = [S::splat(0.0); 2];
            let mut i = 0;
            while i < n {
                let d = S::load(x.add(i)).sub(S::load(args.centre.add(i)));
                sum[(i / 16) & 1] = sum[(i / 16) & 1].add(d.mul(d));
                i += 16;
            }
            let distance = sum[0].add(sum[1]).sum();
            let out = args.out.add(row);
            if args.relative == 0 {
                *out = ordered(distance);
                continue;
            }
            // What lies at the node's own place is hidden by all.
            let own = f32::from_bits(*args.own.add(row) & !(1 << 31));
            let part = if own > 0.0 { distance / own } else { 0.0 };
            let part = ordered(part);
            if part < *out {
                *out = part;
            }
        }
    }
}
