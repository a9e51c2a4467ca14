// SPDX-License-Identifier: GPL-2.0-only
//! A query against a partition: distance of its centroid, first look at all
//! entries, second look at some.

use super::lanes::Lanes;
use super::units::{unit, Units};
use super::{ordered, CentroidArgs, EstimateArgs, RefineArgs, Scan, PACK, UNIT};
use crate::math::sqrt::sqrt;

/// Units of one factor of a pack.
const FACTOR_UNITS: usize = PACK * 4 / UNIT;
/// Units of a pack beside its code: five factors and the numbers of the entries.
const OTHER_UNITS: usize = 5 * FACTOR_UNITS + PACK * 8 / UNIT;

/// The part of the error bounds stored with the codes (1.9 standard deviations) that a search allows for. What is lost by it is a small part of what is
/// lost by not looking at all partitions, and fewer entries need a second look.
const CONFIDENCE: f32 = 0.85;

/// How many entries before their turn the second look asks for their lines.
const AHEAD: usize = 4;

/// Those of them that the first look needs.
const FIRST_UNITS: usize = 3 * FACTOR_UNITS;

/// See `vexfs_ann_centroid`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn centroid<L: Lanes>(args: &CentroidArgs) {
    // SAFETY: the centroid is in the units from 1 on, sixteen elements each.
    unsafe {
        let mut units = Units::at(args.blocks, 1);
        let zero = L::splat(0.0);
        let (mut squares, mut products) = ([zero; 2], [zero; 2]);
        let count = args.padded / 16;
        let mut i = 0;
        while i < count {
            // As many as lie in one block.
            let (mut p, run) = units.run(count - i);
            let end = i + run;
            while i < end {
                let c = L::load(p.cast());
                let q = L::load(args.query.add(16 * i));
                let d = q.sub(c);
                squares[i & 1] = squares[i & 1].add(d.mul(d));
                if args.dot != 0 {
                    products[i & 1] = products[i & 1].add(q.mul(c));
                }
                p = p.add(UNIT);
                i += 1;
            }
        }
        let square = squares[0].add(squares[1]).sum();
        let common = if args.dot != 0 {
            0.0 - products[0].add(products[1]).sum()
        } else {
            square
        };
        *args.out = common;
        *args.out.add(1) = sqrt(f64::from(square)) as f32;
        *args.key = ordered(common);
    }
}

/// How far the next partition was fetched into the cache.
struct Ahead {
    units: Units,
    /// Units that are left of it.
    left: usize,
    /// Units up to where a pack ends for the first look.
    here: usize,
    /// Those of a pack.
    pack: usize,
}

impl Ahead {
    /// Nothing of it.
    ///
    /// # Safety
    /// As [`estimate`].
    #[inline(always)]
    unsafe fn of(args: &EstimateArgs) -> Ahead {
        Ahead {
            // SAFETY: by the caller.
            units: unsafe { Units::at(args.next, 0) },
            left: args.next_units,
            here: args.packs_at,
            pack: args.padded / 16 + FIRST_UNITS,
        }
    }

    /// Fetches `lines` more units, those that the first look does not need left out.
    ///
    /// # Safety
    /// As [`estimate`]; the features of `S`.
    #[inline(always)]
    unsafe fn fetch<S: Scan>(&mut self, lines: usize) {
        let mut lines = lines;
        while lines != 0 && self.left != 0 {
            let most = if self.here < self.left {
                self.here
            } else {
                self.left
            };
            let most = if lines < most { lines } else { most };
            // SAFETY: `left` units exist.
            let (mut p, run) = unsafe { self.units.run(most) };
            for _ in 0..run {
                // SAFETY: the features, by the caller; `p` stays in the run.
                unsafe {
                    S::fetch(p);
                    p = p.add(UNIT);
                }
            }
            lines -= run;
            self.left -= run;
            self.here -= run;
            if self.here == 0 {
                let rest = OTHER_UNITS - FIRST_UNITS;
                self.units.skip(rest);
                self.left = self.left.saturating_sub(rest);
                self.here = self.pack;
            }
        }
    }
}

/// Lines fetched with each pack beside a pack's: those before the first pack.
const SOME_UNITS: usize = 4;

/// See `vexfs_ann_estimate`. Returns how many entries were noted.
///
/// # Safety
/// As there; the features of `S`.
#[inline(always)]
pub(super) unsafe fn estimate<S: Scan>(args: &EstimateArgs) -> usize {
    let codes = args.padded / 16;
    let mut noted = 0;
    // SAFETY: every entry lies in a pack of `codes + OTHER_UNITS` units; the outputs
    // have room for all entries.
    unsafe {
        let (common, distance) = (*args.centroid, *args.centroid.add(1) * CONFIDENCE);
        let (common, distance) = (S::splat(common), S::splat(distance));
        let (unit, base) = (
            S::splat(*args.parameters),
            S::splat(*args.parameters.add(1)),
        );
        // The limit as a value: a key that is no value is no limit.
        let limit = S::splat(value(args.limit));
        let mut pack = 0;
        let mut ahead = Ahead::of(args);
        while pack * PACK < args.entries {
            // About as many lines of the next partition as were looked at of this one.
            ahead.fetch::<S>(codes + FIRST_UNITS + SOME_UNITS);
            let at = args.packs_at + pack * (codes + OTHER_UNITS);
            let mut units = Units::at(args.blocks, at);
            let sums = S::sums(&mut units, codes, args.table);
            // Where the factors lie, which may be in two blocks.
            let mut factors = [core::ptr::null::<f32>(); FIRST_UNITS];
            let (p, run) = units.run(FIRST_UNITS);
            for (i, factor) in factors.iter_mut().enumerate() {
                *factor = if i < run {
                    p.add(i * UNIT).cast()
                } else {
                    units.next().cast()
                };
            }
            let [add0, add1, scale0, scale1, error0, error1] = factors;
            let each = [(add0, scale0, error0), (add1, scale1, error1)];
            for (h, ((add, scale, error), sum)) in each.into_iter().zip(sums).enumerate() {
                let first = sum.mul(unit).add(base);
                let estimate = S::load(add).add(common);
                let estimate = estimate.add(S::load(scale).mul(first));
                let error = S::load(error).mul(distance);
                // Not at or above the limit, so that what is no number is looked at.
                let mut mask = estimate.sub(error).not_ge(limit);
                let left = args.entries - pack * PACK;
                let left = left.saturating_sub(16 * h);
                if left < 16 {
                    mask &= (1 << left) - 1;
                }
                if mask == 0 {
                    continue;
                }
                let number = (pack * PACK + 16 * h) as u16;
                S::store_numbers(mask, number, args.entry.add(noted));
                estimate.add(error).store_some(mask, args.upper.add(noted));
                first.store_some(mask, args.first.add(noted));
                noted += mask.count_ones() as usize;
            }
            pack += 1;
        }
    }
    noted
}

/// See `vexfs_ann_refine`.
///
/// # Safety
/// As there; the features of `S`.
#[inline(always)]
pub(super) unsafe fn refine<S: Scan>(args: &RefineArgs) {
    let codes = args.padded / 16;
    let extended = args.padded.div_ceil(128);
    // SAFETY: every entry named is one of the partition's.
    unsafe {
        let (step, middle) = (*args.parameters.add(2), *args.parameters.add(3));
        for i in 0..args.count {
            if i + AHEAD < args.count {
                // The lines of a later one.
                let entry = usize::from(*args.entry.add(i + AHEAD));
                let at = args.extended_at + entry * extended;
                for e in 0..extended {
                    S::fetch(unit(args.blocks, at + e));
                }
                let pack = args.packs_at + entry / PACK * (codes + OTHER_UNITS);
                let at = pack + codes + 3 * FACTOR_UNITS + entry % PACK / 16;
                S::fetch(unit(args.blocks, at));
                S::fetch(unit(args.blocks, at + FACTOR_UNITS));
            }
            let entry = usize::from(*args.entry.add(i));
            let mut units = Units::at(args.blocks, args.extended_at + entry * extended);
            let product = S::product(&mut units, extended, args.bytes);
            // v = 16 v1 + (low bits - 7.5)
            let low = (product as f32 - middle) * step;
            let inner = 16.0 * *args.first.add(i) + low;
            let (pack, lane) = (entry / PACK, entry % PACK);
            let at = args.packs_at + pack * (codes + OTHER_UNITS) + codes + 3 * FACTOR_UNITS;
            let lane_at = 4 * (lane % 16);
            let add = factor(args.blocks, at + lane / 16, lane_at);
            let scale = factor(args.blocks, at + FACTOR_UNITS + lane / 16, lane_at);
            *args.key.add(i) = ordered(add + *args.centroid + scale * inner);
        }
    }
}

/// The binary32 at byte `at` of unit `unit`.
///
/// # Safety
/// The unit must exist, and `at` be at most 60.
#[inline(always)]
unsafe fn factor(blocks: *const *const u8, unit: usize, at: usize) -> f32 {
    // SAFETY: by the caller.
    unsafe {
        let p = self::unit(blocks, unit).add(at);
        f32::from_bits(u32::from_le(p.cast::<u32>().read_unaligned()))
    }
}

/// The value of a key; what is greater than infinity's is infinity.
#[inline(always)]
fn value(key: u32) -> f32 {
    const SIGN: u32 = 1 << 31;
    const INFINITY: u32 = 0xff << 23;
    if key & SIGN == 0 {
        f32::from_bits(!key)
    } else if key & !SIGN > INFINITY {
        f32::INFINITY
    } else {
        f32::from_bits(key & !SIGN)
    }
}
