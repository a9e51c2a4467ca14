// SPDX-License-Identifier: GPL-2.0-only
//! What dividing vectors needs: which of two centres a row is nearer to, and by
//! how much; which of many is nearest; and the mean of rows.

use super::lanes::Lanes;
use super::{ordered, MeanArgs, NearestArgs, SidesArgs};

/// See `vexfs_ann_sides`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn sides<L: Lanes>(args: &SidesArgs) {
    let n = args.padded;
    for row in 0..args.count {
        // SAFETY: there are `count` rows and two centres of `padded` elements.
        unsafe {
            let x = args.rows.add(row * n);
            let mut sum = [L::splat(0.0); 2];
            let mut i = 0;
            while i < n {
                let v = L::load(x.add(i));
                let a = v.sub(L::load(args.centres.add(i)));
                let b = v.sub(L::load(args.centres.add(n + i)));
                sum[0] = sum[0].add(a.mul(a));
                sum[1] = sum[1].add(b.mul(b));
                i += 16;
            }
            *args.key.add(row) = ordered(sum[0].sum() - sum[1].sum());
        }
    }
}

/// See `vexfs_ann_nearest`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn nearest<L: Lanes>(args: &NearestArgs) {
    let n = args.padded;
    for row in 0..args.count {
        // SAFETY: there are `count` rows, and `centre_count` centres, of `padded` elements; those of the last four that do not exist
        // are the last one again.
        unsafe {
            let x = args.rows.add(row * n);
            let (mut best, mut least) = (0, f32::INFINITY);
            let mut centre = 0;
            while centre < args.centre_count {
                // Four at a time: each value of the row is read once for them, and their sums do not wait for each other.
                let last = args.centre_count - 1;
                let at = |k: usize| {
                    let k = centre + k;
                    let k = if k < last { k } else { last };
                    args.centres.add(k * n)
                };
                let four = [at(0), at(1), at(2), at(3)];
                let mut sums = [L::splat(0.0); 4];
                let mut i = 0;
                while i < n {
                    let v = L::load(x.add(i));
                    for (sum, centre) in sums.iter_mut().zip(four) {
                        let d = v.sub(L::load(centre.add(i)));
                        *sum = sum.add(d.mul(d));
                    }
                    i += 16;
                }
                for (k, sum) in sums.iter().enumerate() {
                    let sum = sum.sum();
                    if sum < least && centre + k <= last {
                        (best, least) = (centre + k, sum);
                    }
                }
                centre += 4;
            }
            // Volatile, or rows without values would become a call of memset, which these kernels do not have.
            args.nearest.add(row).write_volatile(best as u8);
        }
    }
}

/// See `vexfs_ann_mean`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn mean<L: Lanes>(args: &MeanArgs) {
    let n = args.padded;
    let mut count = 0u32;
    for row in 0..args.count {
        // SAFETY: there is a byte for every row.
        count += u32::from(u32::from(unsafe { *args.side.add(row) }) == args.which);
    }
    if count == 0 {
        return;
    }
    let factor = 1.0 / count as f32;
    let mut i = 0;
    while i < n {
        // SAFETY: `i` is a multiple of 16 below `padded`, which is one, too.
        unsafe {
            let mut sum = L::splat(0.0);
            for row in 0..args.count {
                if u32::from(*args.side.add(row)) == args.which {
                    sum = sum.add(L::load(args.rows.add(row * n + i)));
                }
            }
            sum.mul(L::splat(factor)).store(args.out.add(i));
        }
        i += 16;
    }
}
