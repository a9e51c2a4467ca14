// SPDX-License-Identifier: GPL-2.0-only
//! The passes, in the order they run. Each reports the problems whose numbers begin with its own.
//!
//! | pass | module |
//! |---|---|
//! | 0 | [`superblock`] |
//! | 1 | [`journal`] |
//! | 2 | [`inodes`]: group descriptors, inodes, both trees of each |
//! | 3 | [`directories`]: entries, parent pointers, links, reachability |
//! | 4 | [`orphans`] |
//! | 5 | [`attributes`]: extended attributes, targets of symbolic links |
//! | 6 | [`vectors`]: indexes, segments, records, slots |
//! | 7 | [`bitmaps`]: bitmaps and counts against what was found in use |

pub mod attributes;
pub mod bitmaps;
pub mod directories;
pub mod inodes;
pub mod journal;
pub mod orphans;
pub mod superblock;
pub mod vectors;
