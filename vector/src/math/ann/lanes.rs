// SPDX-License-Identifier: GPL-2.0-only
//! Sixteen binary32 lanes, as an interface that the instruction sets implement,
//! so that what is computed is written once. Each operation is the IEEE 754 one,
//! or a selection defined here; none is fused. So all implementations give the
//! same bits, and `portable` defines them.

/// Sixteen binary32 values.
///
/// The methods are unsafe because an implementation may need CPU features; they
/// are inlined into functions that have them.
pub(super) trait Lanes: Copy {
    /// Reads sixteen values.
    ///
    /// # Safety
    /// `p` must be readable for sixteen values, without alignment; the CPU must have the features of the implementation.
    unsafe fn load(p: *const f32) -> Self;
    /// Writes sixteen values.
    ///
    /// # Safety
    /// `p` must be writable for sixteen values, without alignment; the features as for [`Lanes::load`].
    unsafe fn store(self, p: *mut f32);
    /// The same value in all lanes.
    ///
    /// # Safety
    /// The features as for [`Lanes::load`]; so for all that follow.
    unsafe fn splat(v: f32) -> Self;
    /// `self + o`.
    ///
    /// # Safety
    /// Features.
    unsafe fn add(self, o: Self) -> Self;
    /// `self - o`.
    ///
    /// # Safety
    /// Features.
    unsafe fn sub(self, o: Self) -> Self;
    /// `self * o`, rounded.
    ///
    /// # Safety
    /// Features.
    unsafe fn mul(self, o: Self) -> Self;
    /// `self` where it is greater than `o`, else `o`; so `o` where one is NaN.
    ///
    /// # Safety
    /// Features.
    unsafe fn max(self, o: Self) -> Self;
    /// `self` where it is less than `o`, else `o`; so `o` where one is NaN.
    ///
    /// # Safety
    /// Features.
    unsafe fn min(self, o: Self) -> Self;
    /// Without the signs.
    ///
    /// # Safety
    /// Features.
    unsafe fn abs(self) -> Self;
    /// The sign changed in every lane whose bit is set.
    ///
    /// # Safety
    /// Features.
    unsafe fn flip(self, mask: u16) -> Self;
    /// Lane `i` becomes lane `i ^ H`; `H` is 1, 2, 4 or 8.
    ///
    /// # Safety
    /// Features.
    unsafe fn swap<const H: usize>(self) -> Self;
    /// A bit for every lane where not `self >= o`: less, or one is NaN.
    ///
    /// # Safety
    /// Features.
    unsafe fn not_ge(self, o: Self) -> u16;
    /// The integer parts, towards zero. All lanes must lie within -2^24..2^24.
    ///
    /// # Safety
    /// Features.
    unsafe fn whole(self) -> Self;
    /// The value in every lane whose bit is set, 0 in the others.
    ///
    /// # Safety
    /// Features.
    unsafe fn select(mask: u16, v: f32) -> Self;
    /// Writes the lanes whose bits are set, one behind the other. What follows them, up to sixteen values in all, may be
    /// overwritten.
    ///
    /// # Safety
    /// `p` must be writable for sixteen values, without alignment; features.
    #[inline(always)]
    unsafe fn store_some(self, mask: u16, p: *mut f32) {
        let (mut lanes, mut left, mut at) = ([0.0f32; 16], mask, 0);
        // SAFETY: sixteen values are writable, by the caller, and no mask has more bits.
        unsafe {
            self.store(lanes.as_mut_ptr());
            while left != 0 {
                *p.add(at) = lanes[left.trailing_zeros() as usize & 15];
                left &= left - 1;
                at += 1;
            }
        }
    }
    /// Writes `first` plus the number of each lane whose bit is set, as [`Lanes::store_some`].
    ///
    /// # Safety
    /// `p` must be writable for sixteen values, without alignment; features.
    #[inline(always)]
    unsafe fn store_numbers(mask: u16, first: u16, p: *mut u16) {
        let (mut left, mut at) = (mask, 0);
        while left != 0 {
            // SAFETY: sixteen values are writable, by the caller.
            unsafe { *p.add(at) = first.wrapping_add(left.trailing_zeros() as u16) };
            left &= left - 1;
            at += 1;
        }
    }
    /// The integer parts as bytes. All lanes must lie within 0..256.
    ///
    /// # Safety
    /// `p` must be writable for sixteen bytes; features.
    unsafe fn store_bytes(self, p: *mut u8);
    /// The sum: `l` with `l + 8`, then with `l + 4`, `l + 2`, `l + 1`.
    ///
    /// # Safety
    /// Features.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: features, by the caller; the array has sixteen values.
        unsafe {
            let s = self.add(self.swap::<8>());
            let s = s.add(s.swap::<4>());
            let s = s.add(s.swap::<2>());
            let s = s.add(s.swap::<1>());
            s.first()
        }
    }
    /// The greatest lane by [`Lanes::max`].
    ///
    /// # Safety
    /// Features.
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        // SAFETY: features, by the caller.
        unsafe {
            let s = self.max(self.swap::<8>());
            let s = s.max(s.swap::<4>());
            let s = s.max(s.swap::<2>());
            let s = s.max(s.swap::<1>());
            s.first()
        }
    }
    /// Lane 0.
    ///
    /// # Safety
    /// Features.
    unsafe fn first(self) -> f32;
}

/// Plain Rust: the definition.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 16]);

impl Portable {
    #[inline(always)]
    fn with(self, o: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut r = self;
        for (a, b) in r.0.iter_mut().zip(o.0) {
            *a = f(*a, b);
        }
        r
    }

    /// From integers, which must be below 2^24 in magnitude.
    ///
    /// # Safety
    /// `p` must be readable for sixteen values.
    #[inline(always)]
    pub(super) unsafe fn from_integers(p: *const i32) -> Self {
        // SAFETY: sixteen values are readable, by the caller.
        let v = unsafe { p.cast::<[i32; 16]>().read_unaligned() };
        let mut r = [0.0; 16];
        for (a, b) in r.iter_mut().zip(v) {
            *a = b as f32;
        }
        Portable(r)
    }
}

impl Lanes for Portable {
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: sixteen values are readable, by the caller.
        Portable(unsafe { p.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: sixteen values are writable, by the caller.
        unsafe { p.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        Portable([v; 16])
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        self.with(o, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        self.with(o, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        self.with(o, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        self.with(o, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        self.with(o, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.with(self, |a, _| f32::from_bits(a.to_bits() & !(1 << 31)))
    }
    #[inline(always)]
    unsafe fn flip(self, mask: u16) -> Self {
        let mut r = self;
        for (i, v) in r.0.iter_mut().enumerate() {
            *v = f32::from_bits(v.to_bits() ^ (u32::from(mask) >> i & 1) << 31);
        }
        r
    }
    #[inline(always)]
    unsafe fn swap<const H: usize>(self) -> Self {
        let mut r = self;
        for (i, v) in r.0.iter_mut().enumerate() {
            *v = self.0[(i ^ H) & 15];
        }
        r
    }
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)] // NaN must give a set bit.
    unsafe fn not_ge(self, o: Self) -> u16 {
        let mut mask = 0;
        for (i, (a, b)) in self.0.iter().zip(o.0).enumerate() {
            mask |= u16::from(!(*a >= b)) << i;
        }
        mask
    }
    #[inline(always)]
    unsafe fn whole(self) -> Self {
        self.with(self, |a, _| a as i32 as f32)
    }
    #[inline(always)]
    unsafe fn select(mask: u16, v: f32) -> Self {
        let mut r = [0.0; 16];
        for (i, a) in r.iter_mut().enumerate() {
            *a = if mask >> i & 1 != 0 { v } else { 0.0 };
        }
        Portable(r)
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8) {
        let mut r = [0u8; 16];
        for (a, b) in r.iter_mut().zip(self.0) {
            *a = b as i32 as u8;
        }
        // SAFETY: sixteen bytes are writable, by the caller.
        unsafe { p.cast::<[u8; 16]>().write_unaligned(r) }
    }
    #[inline(always)]
    unsafe fn first(self) -> f32 {
        self.0[0]
    }
}
