// SPDX-License-Identifier: GPL-2.0-only
//! What dividing a partition needs: which of two centres a row is nearer to, and by
//! how much; and the mean of rows.

use super::lanes::Lanes;
use super::{ordered, MeanArgs, SidesArgs};

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
