// SPDX-License-Identifier: GPL-2.0-only
//! From a vector to its code, after RaBitQ (Gao and Long, SIGMOD 2024) and its
//! extension to several bits (Gao et al., SIGMOD 2025).
//!
//! With r the vector less the centroid c, every dimension gets u = floor(t r + 16),
//! kept within 0..=31, and v = u - 15.5, where t is chosen among `STEPS` values to
//! make the angle between v and r small. The top bit of u is the sign of r; alone it
//! stands for v1 = +-0.5. As <r, v> and <v, c> are known here exactly, what a search
//! has to compute for a query q is <v, q>:
//!
//! ```text
//! <r, q - c>  is estimated by  F (<v, q> - <v, c>),   F = |r|^2 / <r, v>,
//! |q - x|^2 = |q - c|^2 + |r|^2 - 2 <r, q - c>,
//! -<q, x>   = -<q, c> - <r, c> - <r, q - c>.
//! ```
//!
//! The error of the one-bit estimate of <r, q - c> is, but for a probability that
//! falls with the square of the number's exponent, below
//! `EPSILON |r| |q - c| sqrt((1 - a^2) / a^2 / (n - 1))`, a = <r, v> / |r| |v|.
//!
//! Factors, in this order: what is added and what multiplies <v1, q>, the error
//! for |q - c| = 1, what is added and what multiplies <v, q>.

use super::lanes::Lanes;
use super::EncodeArgs;
use crate::math::sqrt::sqrt;

/// Standard deviations that the bound allows for, as in the paper.
const EPSILON: f32 = 1.9;
/// Scales tried.
const STEPS: usize = 24;
/// From a scale to the next, as a part of the first.
const STEP: f32 = 0.09;

/// Scales tried in one pass over the dimensions: they do not wait for each other. Not more: what is larger is copied with
/// memcpy, which is not there.
const AT_ONCE: usize = 2;
const _: () = assert!(STEPS % AT_ONCE == 0);

/// Sums over all dimensions that one scale gives.
#[derive(Clone, Copy)]
struct Sums {
    /// <r, v>
    rv: f32,
    /// |v|^2
    vv: f32,
}

/// See `vexfs_ann_encode`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn encode<L: Lanes>(args: &EncodeArgs) {
    let n = args.padded;
    // SAFETY: `vector`, `centroid` and `code` have `padded` elements, `factors` five.
    unsafe {
        let zero = L::splat(0.0);
        let (mut rr, mut rc, mut greatest) = (zero, zero, zero);
        for_each::<L>(args, |_, r, c| {
            rr = rr.add(r.mul(r));
            rc = rc.add(r.mul(c));
            greatest = greatest.max(r.abs());
        });
        let (rr, rc, greatest) = (rr.sum(), rc.sum(), greatest.greatest());
        let factors = args.factors;
        if !(rr > 0.0 && greatest > 0.0) {
            // The vector is its centroid: any code will do, as nothing depends on it.
            for i in 0..n {
                args.code.add(i).write_volatile(16);
            }
            let add = if args.dot != 0 { 0.0 - rc } else { 0.0 };
            *factors = add;
            *factors.add(1) = 0.0;
            *factors.add(2) = 0.0;
            *factors.add(3) = add;
            *factors.add(4) = 0.0;
            return;
        }

        let (mut best, mut scale) = (-1.0f32, 0.0f32);
        for first in 0..STEPS / AT_ONCE {
            let mut t = [0.0; AT_ONCE];
            for (i, t) in t.iter_mut().enumerate() {
                let step = first * AT_ONCE + i;
                *t = 16.0 / greatest * (1.0 + STEP * step as f32);
            }
            let sums = sums::<L>(args, &t);
            for (t, s) in t.iter().zip(&sums) {
                // The square of the cosine, less the constant 1 / |r|^2.
                let quality = s.rv * s.rv / s.vv;
                if quality > best {
                    (best, scale) = (quality, *t);
                }
            }
        }
        let (mut rv, mut vc, mut rv1, mut v1c) = (zero, zero, zero, zero);
        let (t, middle) = (L::splat(scale), L::splat(15.5));
        let (half, top) = (L::splat(0.5), L::splat(16.0));
        for_each::<L>(args, |i, r, c| {
            let u = level(r, t);
            u.store_bytes(args.code.add(i));
            let v = u.sub(middle);
            rv = rv.add(r.mul(v));
            vc = vc.add(v.mul(c));
            let v1 = half.flip(u.not_ge(top));
            rv1 = rv1.add(r.mul(v1));
            v1c = v1c.add(v1.mul(c));
        });
        let (rv, vc, rv1, v1c) = (rv.sum(), vc.sum(), rv1.sum(), v1c.sum());

        let (f1, f5) = (rr / rv1, rr / rv);
        // |v1|^2 = n / 4, so (1 - a^2) / a^2 = |r|^2 n / 4 / <r, v1>^2 - 1.
        let spread = f64::from(rr) * (n as f64 * 0.25) / (f64::from(rv1) * f64::from(rv1)) - 1.0;
        let spread = if spread > 0.0 { spread } else { 0.0 };
        let error = sqrt(f64::from(rr) * spread / (n as f64 - 1.0)) as f32 * EPSILON;
        let (add, times) = if args.dot != 0 {
            (0.0 - rc, 1.0)
        } else {
            (rr, 2.0)
        };
        *factors = add + times * f1 * v1c;
        *factors.add(1) = 0.0 - times * f1;
        *factors.add(2) = times * error;
        *factors.add(3) = add + times * f5 * vc;
        *factors.add(4) = 0.0 - times * f5;
    }
}

/// `floor(r t + 16)` within 0..=31, as a whole number.
///
/// # Safety
/// The features of `L`.
#[inline(always)]
unsafe fn level<L: Lanes>(r: L, t: L) -> L {
    // SAFETY: features, by the caller.
    unsafe {
        // The constant second: a NaN becomes 0.
        let u = r.mul(t).add(L::splat(16.0)).max(L::splat(0.0));
        u.min(L::splat(31.0)).whole()
    }
}

/// <r, v> and |v|^2 for the scales `t`.
///
/// # Safety
/// As [`encode`].
#[inline(always)]
unsafe fn sums<L: Lanes>(args: &EncodeArgs, t: &[f32; AT_ONCE]) -> [Sums; AT_ONCE] {
    // SAFETY: as the caller's.
    unsafe {
        let (zero, middle) = (L::splat(0.0), L::splat(15.5));
        // Plain loops: a closure of the library's would be compiled without the features.
        let mut scales = [zero; AT_ONCE];
        for (scale, t) in scales.iter_mut().zip(t) {
            *scale = L::splat(*t);
        }
        let (mut rv, mut vv) = ([zero; AT_ONCE], [zero; AT_ONCE]);
        for_each::<L>(args, |_, r, _| {
            for ((t, rv), vv) in scales.iter().zip(&mut rv).zip(&mut vv) {
                let v = level(r, *t).sub(middle);
                *rv = rv.add(r.mul(v));
                *vv = vv.add(v.mul(v));
            }
        });
        let mut sums = [Sums { rv: 0.0, vv: 0.0 }; AT_ONCE];
        for ((sums, rv), vv) in sums.iter_mut().zip(&rv).zip(&vv) {
            sums.rv = rv.sum();
            sums.vv = vv.sum();
        }
        sums
    }
}

/// Gives every sixteen dimensions to `f`: where they begin, the vector less the
/// centroid, the centroid.
///
/// # Safety
/// As [`encode`].
#[inline(always)]
unsafe fn for_each<L: Lanes>(args: &EncodeArgs, mut f: impl FnMut(usize, L, L)) {
    let mut i = 0;
    while i < args.padded {
        // SAFETY: `padded` is a multiple of 16, and both have that many elements.
        let (x, c) = unsafe { (L::load(args.vector.add(i)), L::load(args.centroid.add(i))) };
        // SAFETY: features, by the caller.
        f(i, unsafe { x.sub(c) }, c);
        i += 16;
    }
}
