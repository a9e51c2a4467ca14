// SPDX-License-Identifier: GPL-2.0-only
//! The sums in plain Rust: the definition that the SIMD paths must match bit for
//! bit, and the path for CPUs without them. Written so that a compiler may put
//! the lanes into whatever registers the target has.

use super::element::{Element, F16, F32, I8};
use super::finish::finish;
use super::{Args, ELEMENT_F16, ELEMENT_I8, LANES, METRIC_COSINE, METRIC_L2};

/// Element `i` of the vector at `p`.
///
/// # Safety
/// The vector must have more than `i` elements.
#[inline(always)]
unsafe fn element<E: Element>(p: *const u8, i: usize) -> f64 {
    // SAFETY: the caller guarantees that element `i` lies within the vector.
    f64::from(unsafe { E::value(p.add(i * E::SIZE)) })
}

/// Adds the lanes in the order that the module documentation of `math` fixes.
#[inline(always)]
fn reduce(lanes: &[f64; LANES]) -> f64 {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = *lanes;
    let (c0, c1, c2, c3) = (
        (a0 + b0) + (a4 + b4),
        (a1 + b1) + (a5 + b5),
        (a2 + b2) + (a6 + b6),
        (a3 + b3) + (a7 + b7),
    );
    (c0 + c2) + (c1 + c3)
}

/// The sum over all `i` of `term(i)`, in lanes.
#[inline(always)]
fn sum(dim: usize, term: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    let whole = dim - dim % LANES;
    let mut base = 0;
    while base < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += term(base + l);
        }
        base += LANES;
    }
    for (l, lane) in lanes.iter_mut().enumerate() {
        if whole + l < dim {
            *lane += term(whole + l);
        }
    }
    reduce(&lanes)
}

/// The squared norm of a vector.
///
/// # Safety
/// `x` must be readable for `dim` elements.
pub(super) unsafe fn norm2(x: *const u8, dim: usize, kind: u32) -> f64 {
    // SAFETY: the contract is the same.
    unsafe {
        match kind {
            ELEMENT_F16 => norm2_of::<F16>(x, dim),
            ELEMENT_I8 => norm2_of::<I8>(x, dim),
            _ => norm2_of::<F32>(x, dim),
        }
    }
}

/// The same for one type.
///
/// # Safety
/// As [`norm2`].
#[inline(always)]
unsafe fn norm2_of<E: Element>(x: *const u8, dim: usize) -> f64 {
    sum(dim, |i| {
        // SAFETY: `sum` asks for terms below `dim` only.
        let x = unsafe { element::<E>(x, i) };
        x * x
    })
}

/// See `vexfs_math_distances`.
///
/// # Safety
/// As there.
pub(super) unsafe fn distances(args: &Args) {
    // SAFETY: the contract is the same.
    unsafe {
        match args.element {
            ELEMENT_F16 => distances_of::<F16>(args),
            ELEMENT_I8 => distances_of::<I8>(args),
            _ => distances_of::<F32>(args),
        }
    }
}

/// The same for one type.
///
/// # Safety
/// As [`distances`].
#[inline(always)]
unsafe fn distances_of<E: Element>(args: &Args) {
    let dim = args.dim;
    let mut out = args.out;
    for j in 0..args.query_count {
        // SAFETY: `j` is below `query_count`.
        let q = unsafe { args.queries.add(j * args.query_stride) };
        let qq = if args.metric == METRIC_COSINE {
            // SAFETY: as above; for cosine there is a norm for every query.
            f64::from_bits(unsafe { *args.norms.add(j) })
        } else {
            0.0
        };
        for i in 0..args.vector_count {
            // SAFETY: `i` is below `vector_count`.
            let x = unsafe { args.vectors.add(i * args.vector_stride) };
            let total = if args.metric == METRIC_L2 {
                sum(dim, |i| {
                    // SAFETY: `sum` asks for terms below `dim` only.
                    let d = unsafe { element::<E>(x, i) - element::<E>(q, i) };
                    d * d
                })
            } else {
                // SAFETY: as above.
                sum(dim, |i| unsafe { element::<E>(x, i) * element::<E>(q, i) })
            };
            let xx = if args.metric == METRIC_COSINE {
                // SAFETY: `x` has `dim` elements.
                unsafe { norm2_of::<E>(x, dim) }
            } else {
                0.0
            };
            // SAFETY: `out` has room for `query_count * vector_count` values and
            // this is number `j * vector_count + i`.
            unsafe {
                *out = finish(args.metric, total, xx, qq);
                out = out.add(1);
            }
        }
    }
}
