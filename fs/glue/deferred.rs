// SPDX-License-Identifier: GPL-2.0-only
//! Blocks that were freed and may not be handed out again yet: by transactions which are not durable, for a crash
//! could bring back their old owner while they hold somebody else's data; or with zeros that only the journal has, which it
//! would write over their new owner's data.
//!
//! jbd2 has at most one running and one committing transaction, so a group has at most two bitmaps of the first sort here, and entries
//! leave as their transactions commit. Of the second sort a group has one, which waits for the youngest of its transactions to leave the
//! journal. It may not know what was freed or why.

use crate::vfs::Tid;
use engine::bitmap::WORDS;
use engine::io::Reuse;
use kernel::prelude::*;

/// Blocks of one group freed by one transaction, or by several up to it.
struct Entry {
    tid: Tid,
    reuse: Reuse,
    group: u32,
    count: u32,
    bits: KBox<[u64; WORDS as usize]>,
}

/// All deferred blocks of a mount.
pub(super) struct Deferred {
    entries: KVec<Entry>,
    /// Deferred blocks of each group.
    counts: KVVec<u32>,
    total: u64,
}

impl Deferred {
    /// Nothing deferred, in `groups` groups.
    pub(super) fn new(groups: u32) -> Result<Self> {
        Ok(Self {
            entries: KVec::new(),
            counts: KVVec::from_elem(0, groups as usize, GFP_KERNEL)?,
            total: 0,
        })
    }

    /// Blocks in all.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Blocks in `group`.
    pub(super) fn in_group(&self, group: u32) -> u32 {
        self.counts.get(group as usize).copied().unwrap_or(0)
    }

    /// Word `word` of the group's deferred blocks.
    pub(super) fn word(&self, group: u32, word: u32) -> u64 {
        let bits = |e: &Entry| e.bits.get(word as usize).copied().unwrap_or(0);
        self.entries
            .iter()
            .filter(|e| e.group == group)
            .fold(0, |w, e| w | bits(e))
    }

    /// What has to happen until all blocks can be handed out; `None` if there are none here.
    pub(super) fn waits_for(&self) -> Option<Reuse> {
        let erased = self.entries.iter().find(|e| e.reuse == Reuse::AtHome);
        erased.or(self.entries.first()).map(|e| e.reuse)
    }

    /// Transaction `tid` freed `len` blocks of `group` from `first` on.
    pub(super) fn add(
        &mut self,
        tid: Tid,
        group: u32,
        first: u32,
        len: u32,
        reuse: Reuse,
    ) -> Result {
        let found = self.entries.iter().position(|e| {
            e.group == group && e.reuse == reuse && (e.tid == tid || reuse == Reuse::AtHome)
        });
        if found.is_none() {
            let bits = KBox::new([0; WORDS as usize], GFP_KERNEL)?;
            self.entries.push(
                Entry {
                    tid,
                    reuse,
                    group,
                    count: 0,
                    bits,
                },
                GFP_KERNEL,
            )?;
        }
        let last = self.entries.len().saturating_sub(1);
        let entry = self.entries.get_mut(found.unwrap_or(last)).ok_or(EINVAL)?;
        entry.tid = tid;
        for bit in first..first.saturating_add(len) {
            if let Some(w) = entry.bits.get_mut((bit / 64) as usize) {
                *w |= 1 << (bit % 64);
            }
        }
        entry.count = entry.count.saturating_add(len);
        if let Some(n) = self.counts.get_mut(group as usize) {
            *n = n.saturating_add(len);
        }
        self.total = self.total.saturating_add(u64::from(len));
        Ok(())
    }

    /// Lets blocks go that `may_reuse` allows to.
    pub(super) fn release(&mut self, may_reuse: impl Fn(Tid, Reuse) -> bool) {
        let mut i = 0;
        while let Some(entry) = self.entries.get(i) {
            if !may_reuse(entry.tid, entry.reuse) {
                i = i.saturating_add(1);
                continue;
            }
            if let Some(n) = self.counts.get_mut(entry.group as usize) {
                *n = n.saturating_sub(entry.count);
            }
            self.total = self.total.saturating_sub(u64::from(entry.count));
            if self.entries.remove(i).is_err() {
                break;
            }
        }
    }
}
