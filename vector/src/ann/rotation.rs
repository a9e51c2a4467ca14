// SPDX-License-Identifier: GPL-2.0-only
//! The random rotation of an index, from its seed. What it does to a vector is in
//! `math::ann::rotate`.

use super::expect;
use crate::math::ann::ROUNDS;
use crate::{Error, Kind};
use layout::partition::Shape;

/// The signs that a rotation is made of.
///
/// # Invariants
/// `signs` has `ROUNDS * padded / 16` entries; `padded` is a [`Shape`]'s.
#[derive(Clone, Copy, Debug)]
pub struct Rotation<'a> {
    pub(super) padded: usize,
    pub(super) signs: &'a [u16],
}

impl<'a> Rotation<'a> {
    /// Entries of the memory that [`Rotation::derive`] needs.
    pub const fn memory(shape: &Shape) -> usize {
        shape.padded() / 16 * ROUNDS
    }

    /// The rotation of a seed: bits of the sequence SplitMix64 (Steele, Lea, Flood,
    /// 2014), the lowest first.
    ///
    /// # Errors
    /// [`Error::Length`] if `signs` does not have [`Rotation::memory`] entries.
    pub fn derive(shape: &Shape, seed: u64, signs: &'a mut [u16]) -> Result<Self, Error> {
        expect(signs.len(), Self::memory(shape))?;
        let mut state = seed;
        for four in signs.chunks_mut(4) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            for sign in four {
                *sign = z as u16;
                z >>= 16;
            }
        }
        Ok(Rotation {
            padded: shape.padded(),
            signs,
        })
    }
}

impl crate::Fpu {
    /// Rotates a vector, under cosine after dividing it by its norm; bits count as 1 and -1, so that
    /// the squared distance is four times hamming's. `out` receives `padded` values.
    ///
    /// # Errors
    /// [`Error::Length`] if `vector` is not one of `kind`, or `out` not as long as the padded dimension;
    /// [`Error::Dimension`] if the rotation is of another padded dimension.
    pub fn rotate(
        &self,
        rotation: &Rotation<'_>,
        kind: &Kind,
        vector: &[u8],
        out: &mut [u32],
    ) -> Result<(), Error> {
        expect(out.len(), rotation.padded)?;
        expect(vector.len(), kind.vector_bytes())?;
        if (kind.dim() as usize).next_multiple_of(16) != rotation.padded {
            return Err(Error::Dimension { dim: kind.dim() });
        }
        self.call_rotate(rotation, kind, vector, out);
        Ok(())
    }
}
