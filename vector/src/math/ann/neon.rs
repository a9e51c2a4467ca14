// SPDX-License-Identifier: GPL-2.0-only
//! The code kernels' lanes and scans with NEON (Advanced SIMD of 64-bit ARM). Bit for bit
//! what `lanes` and `portable` define.
//!
//! NEON belongs to every aarch64 target of programs, so nothing here asks for it.
#![allow(unused_unsafe)] // Intrinsics without pointers are safe since Rust 1.87.

use core::arch::aarch64::*;
use core::arch::asm;

use super::lanes::Lanes;
use super::units::Units;
use super::{Scan, PACK, UNIT};

/// Registers of sixteen lanes: 0..4, 4..8, 8..12 and 12..16.
const PARTS: usize = 4;

/// Sixteen lanes.
#[derive(Clone, Copy)]
pub(super) struct Neon([float32x4_t; PARTS]);

impl Neon {
    #[inline(always)]
    fn map(self, f: impl Fn(float32x4_t) -> float32x4_t) -> Self {
        let [a, b, c, d] = self.0;
        Neon([f(a), f(b), f(c), f(d)])
    }

    #[inline(always)]
    fn with(self, o: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        let ([a, b, c, d], [e, g, h, i]) = (self.0, o.0);
        Neon([f(a, e), f(b, g), f(c, h), f(d, i)])
    }
}

/// All ones in the lanes of part `part` whose bit is set.
#[inline(always)]
fn lanes_of(mask: u16, part: usize) -> uint32x4_t {
    // SAFETY: NEON belongs to the target; the array has four values.
    unsafe {
        let bits = [1u32, 2, 4, 8];
        let mask = vdupq_n_u32(u32::from(mask) >> (4 * part));
        vtstq_u32(mask, vld1q_u32(bits.as_ptr()))
    }
}

// Every block below: SAFETY is that NEON belongs to the target, and that pointers are
// good for sixteen elements (the contract of the trait), which all parts lie in.
impl Lanes for Neon {
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: see above.
        unsafe {
            Neon([
                vld1q_f32(p),
                vld1q_f32(p.add(4)),
                vld1q_f32(p.add(8)),
                vld1q_f32(p.add(12)),
            ])
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        let [a, b, c, d] = self.0;
        // SAFETY: see above.
        unsafe {
            vst1q_f32(p, a);
            vst1q_f32(p.add(4), b);
            vst1q_f32(p.add(8), c);
            vst1q_f32(p.add(12), d);
        }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        // SAFETY: see above.
        unsafe { Neon([vdupq_n_f32(v); PARTS]) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        // SAFETY: see above.
        self.with(o, |a, b| unsafe { vaddq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        // SAFETY: see above.
        self.with(o, |a, b| unsafe { vsubq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        // SAFETY: see above.
        self.with(o, |a, b| unsafe { vmulq_f32(a, b) })
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        // Not vmaxq_f32, which gives NaN where one is NaN.
        // SAFETY: see above.
        self.with(o, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        // As for `max`.
        // SAFETY: see above.
        self.with(o, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: see above.
        self.map(|a| unsafe { vabsq_f32(a) })
    }
    #[inline(always)]
    unsafe fn flip(self, mask: u16) -> Self {
        let mut r = self;
        for (part, v) in r.0.iter_mut().enumerate() {
            // SAFETY: see above.
            unsafe {
                let sign = vandq_u32(lanes_of(mask, part), vdupq_n_u32(1 << 31));
                *v = vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(*v), sign));
            }
        }
        r
    }
    #[inline(always)]
    unsafe fn swap<const H: usize>(self) -> Self {
        let [a, b, c, d] = self.0;
        match H {
            // SAFETY: see above.
            1 => self.map(|v| unsafe { vrev64q_f32(v) }),
            // SAFETY: see above.
            2 => self.map(|v| unsafe { vextq_f32::<2>(v, v) }),
            4 => Neon([b, a, d, c]),
            _ => Neon([c, d, a, b]),
        }
    }
    #[inline(always)]
    unsafe fn not_ge(self, o: Self) -> u16 {
        let bits = [1u32, 2, 4, 8];
        let mut mask = 0;
        for (part, (a, b)) in self.0.into_iter().zip(o.0).enumerate() {
            // SAFETY: see above; the array has four values.
            let four = unsafe {
                let bits = vld1q_u32(bits.as_ptr());
                vaddvq_u32(vbicq_u32(bits, vcgeq_f32(a, b)))
            };
            mask |= (four as u16) << (4 * part);
        }
        mask
    }
    #[inline(always)]
    unsafe fn whole(self) -> Self {
        // SAFETY: see above.
        self.map(|a| unsafe { vcvtq_f32_s32(vcvtq_s32_f32(a)) })
    }
    #[inline(always)]
    unsafe fn select(mask: u16, v: f32) -> Self {
        // SAFETY: see above.
        unsafe {
            let v = vreinterpretq_u32_f32(vdupq_n_f32(v));
            let part = |n| vreinterpretq_f32_u32(vandq_u32(v, lanes_of(mask, n)));
            Neon([part(0), part(1), part(2), part(3)])
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        let [a, b, c, d] = self.0;
        // SAFETY: see above; the values fit into bytes.
        unsafe {
            let pair = |a, b| {
                let (a, b) = (vcvtq_u32_f32(a), vcvtq_u32_f32(b));
                vmovn_u16(vcombine_u16(vmovn_u32(a), vmovn_u32(b)))
            };
            vst1q_u8(p, vcombine_u8(pair(a, b), pair(c, d)));
        }
    }
    #[inline(always)]
    unsafe fn first(self) -> f32 {
        // SAFETY: see above.
        unsafe { vgetq_lane_f32::<0>(self.0[0]) }
    }
}

impl Scan for Neon {
    #[inline(always)]
    unsafe fn sums(units: &mut Units, count: usize, table: *const u8) -> [Self; 2] {
        // SAFETY: the caller guarantees `count` units and as many tables of 64
        // bytes.
        unsafe {
            let nibble = vdupq_n_u8(15);
            let mut total = [vdupq_n_u32(0); PACK / 4];
            let mut done = 0;
            while done < count {
                // 64 units are 256 look-ups of at most 255: no sum overflows 16 bits.
                let end = if count - done > 64 { done + 64 } else { count };
                // Entries 0..8, 8..16, 16..24 and 24..32.
                let mut sums = [vdupq_n_u16(0); PACK / 8];
                while done < end {
                    let p = units.next();
                    for s in 0..4 {
                        let c = vld1q_u8(p.add(16 * s));
                        let t = vld1q_u8(table.add(done * UNIT + 16 * s));
                        let x = vqtbl1q_u8(t, vandq_u8(c, nibble));
                        let y = vqtbl1q_u8(t, vshrq_n_u8::<4>(c));
                        sums[0] = vaddw_u8(sums[0], vget_low_u8(x));
                        sums[1] = vaddw_high_u8(sums[1], x);
                        sums[2] = vaddw_u8(sums[2], vget_low_u8(y));
                        sums[3] = vaddw_high_u8(sums[3], y);
                    }
                    done += 1;
                }
                for (i, sum) in sums.into_iter().enumerate() {
                    total[2 * i] = vaddw_u16(total[2 * i], vget_low_u16(sum));
                    total[2 * i + 1] = vaddw_high_u16(total[2 * i + 1], sum);
                }
            }
            const { assert!(PACK == 8 * PARTS) };
            let [a, b, c, d, e, f, g, h] = total.map(|sum| vcvtq_f32_u32(sum));
            [Neon([a, b, c, d]), Neon([e, f, g, h])]
        }
    }

    #[inline(always)]
    unsafe fn fetch(p: *const u8) {
        // SAFETY: a prefetch is a hint, and never faults.
        unsafe {
            asm!("prfm pldl1keep, [{0}]", in(reg) p, options(nostack, preserves_flags, readonly));
        }
    }

    #[inline(always)]
    unsafe fn product(units: &mut Units, count: usize, bytes: *const i8) -> i32 {
        // SAFETY: the caller guarantees `count` units and 128 bytes for each.
        unsafe {
            let nibble = vdupq_n_u8(15);
            let mut sum = vdupq_n_s32(0);
            for i in 0..count {
                let p = units.next();
                let q = bytes.add(128 * i);
                // Sixteen products of at most 15 * 128 in each lane: they fit 16 bits.
                let mut products = vdupq_n_s16(0);
                for s in 0..4 {
                    let c = vld1q_u8(p.add(16 * s));
                    let low = vreinterpretq_s8_u8(vandq_u8(c, nibble));
                    let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(c));
                    let l = vld1q_s8(q.add(16 * s));
                    let h = vld1q_s8(q.add(64 + 16 * s));
                    products = vmlal_s8(products, vget_low_s8(low), vget_low_s8(l));
                    products = vmlal_high_s8(products, low, l);
                    products = vmlal_s8(products, vget_low_s8(high), vget_low_s8(h));
                    products = vmlal_high_s8(products, high, h);
                }
                sum = vpadalq_s16(sum, products);
            }
            vaddvq_s32(sum)
        }
    }
}
