// SPDX-License-Identifier: GPL-2.0-only
//! The way from the root to one leaf after the other, for walks over a whole tree in bounded steps between which the tree may change. It reads no block and knows
//! no partition: only the number of the child that is entered at every level.

use layout::partition::MAX_HEIGHT;

/// Which child is entered at every level above the leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    next: [u16; MAX_HEIGHT as usize],
}

/// What is seen on the way down, to know where the next way leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Whether every partition was entered by its last child.
    last: bool,
    /// The lowest level at which there is a further child; 0: there is none.
    deepest: usize,
}

impl Path {
    /// Begins a way down.
    pub fn way() -> Way {
        Way {
            last: true,
            deepest: 0,
        }
    }

    /// The child that is entered in a partition of level `level` with that many entries. Where the partition has become thinner, its last.
    pub fn child(&self, way: &mut Way, level: u8, entries: usize) -> usize {
        let at = usize::from(level);
        let next = self.next.get(at).copied().map_or(0, usize::from);
        let next = next.min(entries.saturating_sub(1));
        let is_last = next.saturating_add(1) >= entries;
        if !is_last {
            way.deepest = at;
        }
        way.last &= is_last;
        next
    }

    /// Whether the partition of level `level` on this way was on none before.
    pub fn is_first(&self, level: u8) -> bool {
        let mut below = self.next.iter().take(usize::from(level).saturating_add(1));
        below.all(|next| *next == 0)
    }

    /// Goes on to the next way, and answers whether there is one: the lowest partition that has a further child takes it, those below begin anew.
    pub fn advance(&mut self, way: &Way) -> bool {
        if way.last {
            *self = Path::default();
            return false;
        }
        for (level, next) in self.next.iter_mut().enumerate() {
            if level < way.deepest {
                *next = 0;
            } else if level == way.deepest {
                *next = next.saturating_add(1);
                break;
            }
        }
        true
    }

    /// As two words.
    pub fn to_words(self) -> [u64; 2] {
        let mut words = [0; 2];
        for (n, next) in self.next.iter().enumerate() {
            if let Some(word) = words.get_mut(n / 4) {
                *word |= u64::from(*next) << (n % 4 * 16);
            }
        }
        words
    }

    /// From two words, which may be anybody's.
    pub fn from_words(words: [u64; 2]) -> Path {
        let mut path = Path::default();
        for (n, next) in path.next.iter_mut().enumerate() {
            let word = words.get(n / 4).copied().unwrap_or(0);
            *next = (word >> (n % 4 * 16)) as u16;
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    /// Every leaf of a tree is on one way, and every partition is the first of its kind once.
    #[test]
    fn ways_reach_everything_once() {
        // Children of the root, and of each of these.
        let tree = [3usize, 1, 4];
        let mut path = Path::default();
        let (mut leaves, mut first) = (Vec::new(), [0; 3]);
        loop {
            assert_eq!(Path::from_words(path.to_words()), path);
            let mut way = Path::way();
            let root = path.child(&mut way, 2, tree.len());
            let leaf = path.child(&mut way, 1, tree[root]);
            leaves.push((root, leaf));
            for level in 0..3 {
                first[usize::from(level)] += u32::from(path.is_first(level));
            }
            if !path.advance(&way) {
                break;
            }
        }
        let all: Vec<_> = (0..3)
            .flat_map(|root| (0..tree[root]).map(move |leaf| (root, leaf)))
            .collect();
        assert_eq!(leaves, all);
        assert_eq!(first, [8, 3, 1]);
    }
}
