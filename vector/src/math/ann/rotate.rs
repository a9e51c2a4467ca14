// SPDX-License-Identifier: GPL-2.0-only
//! The random rotation: four rounds of random signs, a fast Walsh-Hadamard
//! transform over a power of two of the elements (the first ones and the last ones
//! in turn), and, where that is not all of them, a rotation by 45 degrees of pairs
//! from both halves. Orthogonal, and to a code as good as a random orthogonal
//! matrix, at the price of `n log n` additions instead of `n^2` multiplications.
//! Source: the sign-Hadamard rotations of Ailon and Chazelle ("The fast
//! Johnson-Lindenstrauss transform", 2009), the pair step after Kac's walk.

use super::lanes::Lanes;
use super::{RotateArgs, ROUNDS};
use crate::math::element::{Element, F16, F32, I8};
use crate::math::sqrt::sqrt;
use crate::math::{ELEMENT_BINARY, ELEMENT_F16, ELEMENT_I8};

/// See `vexfs_ann_rotate`.
///
/// # Safety
/// As there; the features of `L`.
#[inline(always)]
pub(super) unsafe fn rotate<L: Lanes>(args: &RotateArgs) {
    let (n, out) = (args.padded, args.out);
    // SAFETY: `vector` has `dim` elements, `out` has `padded`, not fewer.
    unsafe {
        match args.element {
            ELEMENT_F16 => values::<F16>(args),
            ELEMENT_I8 => values::<I8>(args),
            ELEMENT_BINARY => {
                for i in 0..args.dim {
                    let bit = *args.vector.add(i / 8) >> (i % 8) & 1;
                    *out.add(i) = if bit != 0 { 1.0 } else { -1.0 };
                }
            }
            _ => values::<F32>(args),
        }
        for i in args.dim..n {
            // Volatile: or a compiler makes it a call of memset, which is not there.
            out.add(i).write_volatile(0.0);
        }
    }
    if args.normalise != 0 {
        // SAFETY: `vector` has `dim` elements.
        let norm = sqrt(f64::from_bits(unsafe {
            crate::math::vexfs_math_norm2(args.vector, args.dim, args.element)
        }));
        for i in 0..args.dim {
            // SAFETY: `out` has `padded` elements, not fewer than `dim`.
            unsafe { *out.add(i) = (f64::from(*out.add(i)) / norm) as f32 };
        }
    }
    // The greatest power of two that fits; `padded` is a multiple of 16.
    let mut power = 16;
    while power * 2 <= n {
        power *= 2;
    }
    let factor = 1.0 / sqrt(power as f64) as f32;
    for round in 0..ROUNDS {
        // SAFETY: there are `n / 16` masks a round; the ranges lie within `out`.
        unsafe {
            let signs = args.signs.add(round * (n / 16));
            for i in 0..n / 16 {
                let p = out.add(16 * i);
                L::load(p).flip(*signs.add(i)).store(p);
            }
            let first = if round % 2 == 0 { 0 } else { n - power };
            hadamard::<L>(out.add(first), power, factor);
            if power != n {
                pairs::<L>(out, n);
            }
        }
    }
}

/// Writes the values of the elements to `out`.
///
/// # Safety
/// As [`rotate`]; `vector` has elements of type `E`.
#[inline(always)]
unsafe fn values<E: Element>(args: &RotateArgs) {
    for i in 0..args.dim {
        // SAFETY: `vector` has `dim` elements, and `out` room for as many.
        unsafe { *args.out.add(i) = E::value(args.vector.add(i * E::SIZE)) };
    }
}

/// The transform of `n` elements, a power of two from 16 on, times `factor`.
///
/// # Safety
/// `p` must be good for `n` elements; the features of `L`.
#[inline(always)]
unsafe fn hadamard<L: Lanes>(p: *mut f32, n: usize, factor: f32) {
    // SAFETY: all addresses lie below `p + n`.
    unsafe {
        let factor = L::splat(factor);
        for i in 0..n / 16 {
            let x = L::load(p.add(16 * i));
            // Lane l becomes the sum of the pair where the bit of l is clear, else
            // the difference: the partner plus the lane with its sign changed.
            let x = x.swap::<1>().add(x.flip(0xaaaa));
            let x = x.swap::<2>().add(x.flip(0xcccc));
            let x = x.swap::<4>().add(x.flip(0xf0f0));
            let x = x.swap::<8>().add(x.flip(0xff00));
            x.mul(factor).store(p.add(16 * i));
        }
        let mut half = 16;
        while half < n {
            let mut first = 0;
            while first < n {
                let mut i = first;
                while i < first + half {
                    let (a, b) = (L::load(p.add(i)), L::load(p.add(i + half)));
                    a.add(b).store(p.add(i));
                    a.sub(b).store(p.add(i + half));
                    i += 16;
                }
                first += 2 * half;
            }
            half *= 2;
        }
    }
}

/// Rotates the pairs (i, n - h + i), i below h, by 45 degrees; h is half of `n`,
/// rounded down to whole lanes.
///
/// # Safety
/// `p` must be good for `n` elements; the features of `L`.
#[inline(always)]
unsafe fn pairs<L: Lanes>(p: *mut f32, n: usize) {
    let half = n / 32 * 16;
    // SAFETY: both ranges lie below `p + n`, and do not overlap.
    unsafe {
        let factor = L::splat(core::f32::consts::FRAC_1_SQRT_2);
        let mut i = 0;
        while i < half {
            let (x, y) = (p.add(i), p.add(n - half + i));
            let (a, b) = (L::load(x), L::load(y));
            a.add(b).mul(factor).store(x);
            a.sub(b).mul(factor).store(y);
            i += 16;
        }
    }
}
