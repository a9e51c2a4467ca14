// SPDX-License-Identifier: GPL-2.0-only
//! A hash table of pairs of numbers in memory that counts as the caller's: open addressing, linear probing, hashed with random numbers, since
//! the caller chooses what is looked up.

use crate::vfs::{task, Result};
use kernel::prelude::*;

/// Slots of a new table. A power of two, as all sizes are.
const FIRST: usize = 64;

type Slot<V> = Option<(u64, u64, V)>;

/// Values by pairs of numbers. At most half of the slots are in use.
pub(super) struct Table<V> {
    slots: KVVec<Slot<V>>,
    used: usize,
    /// Entries beyond which it is emptied instead of growing.
    limit: usize,
    seed: [u64; 2],
}

impl<V: Copy> Table<V> {
    /// An empty table. It forgets everything rather than hold more than `limit` entries.
    pub(super) fn new(limit: usize) -> Result<Self> {
        let mut seed = [0u64; 2];
        for word in &mut seed {
            let mut bytes = [0u8; 8];
            task::random(&mut bytes);
            *word = u64::from_ne_bytes(bytes);
        }
        Ok(Self {
            slots: empty(FIRST)?,
            used: 0,
            limit,
            seed,
        })
    }

    /// Empties it if it has more than `most` entries, so that it stays in the processor's cache.
    pub(super) fn trim(&mut self, most: usize) {
        if self.used > most {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
        self.used = 0;
    }

    /// The value of a pair.
    pub(super) fn get(&self, a: u64, b: u64) -> Option<V> {
        let at = self.place(a, b)?;
        let slot = self.slots.get(at)?;
        slot.map(|(_, _, value)| value)
    }

    /// Sets the value of a pair.
    pub(super) fn insert(&mut self, a: u64, b: u64, value: V) -> Result {
        if self.used >= self.limit {
            self.clear();
        }
        if self.used.saturating_mul(2) >= self.slots.len() {
            self.grow()?;
        }
        self.set(a, b, value);
        Ok(())
    }

    fn grow(&mut self) -> Result {
        let larger = empty(self.slots.len().saturating_mul(2))?;
        let old = core::mem::replace(&mut self.slots, larger);
        self.used = 0;
        for (a, b, value) in old.iter().flatten() {
            self.set(*a, *b, *value);
        }
        Ok(())
    }

    fn set(&mut self, a: u64, b: u64, value: V) {
        let Some(slot) = self.place(a, b).and_then(|at| self.slots.get_mut(at)) else {
            return;
        };
        if slot.is_none() {
            self.used = self.used.saturating_add(1);
        }
        *slot = Some((a, b, value));
    }

    /// The slot of a pair: the one that holds it, else the free one where it belongs.
    fn place(&self, a: u64, b: u64) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = self.hash(a, b) as usize & mask;
        for _ in 0..self.slots.len() {
            match self.slots.get(at)? {
                Some((x, y, _)) if *x != a || *y != b => at = at.wrapping_add(1) & mask,
                _ => return Some(at),
            }
        }
        None
    }

    /// Both numbers, stirred with the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    fn hash(&self, a: u64, b: u64) -> u64 {
        let [s, t] = self.seed;
        stir(stir(a ^ s).wrapping_add(b ^ t))
    }
}

fn stir(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn empty<V: Copy>(slots: usize) -> Result<KVVec<Slot<V>>> {
    Ok(KVVec::from_elem(None, slots, GFP_KERNEL_ACCOUNT)?)
}
