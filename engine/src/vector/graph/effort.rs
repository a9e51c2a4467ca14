// SPDX-License-Identifier: GPL-2.0-only
//! How wide a beam is for the recall that somebody wants. Pure numbers; what a search really missed, only a comparison with an exact one tells.

use super::search::MAX_BEAM;
use crate::vector::tree::Aim;
use layout::vector::Index;

/// Nodes of the beam by recall, in ten thousandths, for ten records of 16,384. Chosen to err on the cautious side; docs/decisions/013 has what was found with it.
const BY_RECALL: [(u32, u32); 7] = [
    (5_000, 12),
    (9_000, 32),
    (9_500, 56),
    (9_800, 96),
    (9_900, 144),
    (9_950, 224),
    (10_000, 640),
];
/// Records of that many bits: the beam grows with their number.
const BITS: u32 = 14;

/// Nodes of the beam for the `k` nearest records of an index; `None` if somebody wants the search tree, or more than a graph is searched for.
pub fn beam(index: &Index, aim: Aim, k: usize) -> Option<usize> {
    let beam = match aim {
        Aim::Probes(_) => return None,
        Aim::Beam(beam) => beam.max(k),
        Aim::Recall(recall) => {
            let bits = u64::BITS
                .saturating_sub(index.records.leading_zeros())
                .max(BITS);
            let scaled = wide(recall)
                .saturating_mul(u64::from(bits))
                .div_ceil(u64::from(BITS));
            let scaled = usize::try_from(scaled).unwrap_or(usize::MAX);
            scaled.max(k.saturating_add(k / 2))
        }
    };
    let beam = beam.max(1);
    (beam <= MAX_BEAM).then_some(beam)
}

/// The table's value for a recall, between two entries by their straight line.
fn wide(recall: u32) -> u64 {
    let mut before = (0, 0);
    for next in BY_RECALL {
        if recall <= next.0 {
            let width = next.0.saturating_sub(before.0);
            let height: u32 = next.1.saturating_sub(before.1);
            let part = height
                .saturating_mul(recall.saturating_sub(before.0))
                .checked_div(width)
                .unwrap_or(0);
            return u64::from(before.1.saturating_add(part));
        }
        before = next;
    }
    u64::from(before.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_recall_takes_a_wider_beam() {
        let mut last = 0;
        for recall in (0..=10_000).step_by(50) {
            let now = wide(recall);
            assert!(now >= last, "{recall}: {now} after {last}");
            last = now;
        }
        assert_eq!(wide(9_500), 56);
        assert_eq!(wide(u32::MAX), 640);
    }
}
