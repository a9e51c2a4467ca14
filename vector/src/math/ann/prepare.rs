// SPDX-License-Identifier: GPL-2.0-only
//! What a search computes of its query once, for all partitions.
//!
//! - The *table* gives <sign bits, q> by look-up: for every four dimensions, the sum
//!   of the query's elements for each of the sixteen patterns of bits, less the
//!   smallest of them, in units of the greatest difference / 255, rounded.
//! - The *bytes* are the query in units of its greatest element / 127, rounded.
//! - The *parameters* lead back: [unit of the table, what to add to a sum of look-ups
//!   times that unit to get <v1, q>, unit of the bytes, 7.5 times the sum of the
//!   bytes].

use super::lanes::Lanes;
use super::PrepareArgs;

/// See `vexfs_ann_prepare`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn prepare<L: Lanes>(args: &PrepareArgs) {
    let (n, q) = (args.padded, args.query);
    // SAFETY: `query` has `padded` elements, a multiple of 16; the table 4 times as
    // many bytes, `bytes` as many rounded up to 128, `parameters` four values.
    unsafe {
        let zero = L::splat(0.0);
        let (mut sum, mut below, mut greatest) = (zero, zero, zero);
        let mut width = zero;
        let mut i = 0;
        while i < n {
            let x = L::load(q.add(i));
            sum = sum.add(x);
            below = below.add(x.min(zero));
            let a = x.abs();
            greatest = greatest.max(a);
            // Sums of four neighbours, in all four lanes.
            let a = a.add(a.swap::<1>());
            width = width.max(a.add(a.swap::<2>()));
            i += 16;
        }
        let (sum, below) = (sum.sum(), below.sum());
        let unit = positive(width.greatest() / 255.0);
        let inverse = L::splat(1.0 / unit);
        let half = L::splat(0.5);
        let most = L::splat(255.0);
        // Which patterns have bit 0, 1, 2, 3: zero or one, a factor for each lane.
        let bits = [
            L::select(0xaaaa, 1.0),
            L::select(0xcccc, 1.0),
            L::select(0xf0f0, 1.0),
            L::select(0xff00, 1.0),
        ];
        let mut group = 0;
        while group < n / 4 {
            let mut entry = zero;
            let mut low = zero;
            for (b, bit) in bits.iter().enumerate() {
                let x = L::splat(*q.add(4 * group + b));
                entry = entry.add(bit.mul(x));
                low = low.add(x.min(zero));
            }
            let entry = entry.sub(low).mul(inverse).add(half);
            // The constant second: a NaN becomes 255, and then 0 or 255; any will do.
            let entry = entry.max(zero).min(most);
            entry.store_bytes(args.table.add(16 * group));
            group += 1;
        }

        let step = positive(greatest.greatest() / 127.0);
        let inverse = 1.0 / step;
        let mut total = 0i32;
        for i in 0..n {
            let x = *q.add(i) * inverse;
            // Within -127.5..127.5; a NaN becomes 0.
            let v = (if x < 0.0 { x - 0.5 } else { x + 0.5 }) as i32 as i8;
            *args.bytes.add(i) = v;
            total += i32::from(v);
        }
        for i in n..n.div_ceil(128) * 128 {
            args.bytes.add(i).write_volatile(0);
        }
        *args.parameters = unit;
        *args.parameters.add(1) = below - 0.5 * sum;
        *args.parameters.add(2) = step;
        *args.parameters.add(3) = 7.5 * total as f32;
    }
}

/// The value, or 1 if it is zero or not a number: a query without elements.
#[inline(always)]
fn positive(v: f32) -> f32 {
    if v > 0.0 {
        v
    } else {
        1.0
    }
}
