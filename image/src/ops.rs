// SPDX-License-Identifier: GPL-2.0-only
//! What the tools do with an image, by path or inode number: the engine's operations with the loops, the data I/O and the finishing of
//! orphans that the kernel does around them. Nobody's permissions are checked: who can write the device can write everything.

mod copy;
mod file;
mod graph;
mod names;
mod path;
mod search;
mod search_tree;
mod vectors;

pub use copy::{CopyOptions, CopyReport};
pub use graph::{GraphSweep, Made};
pub use names::DirEntry;
pub use search::{GraphSearcher, Searcher};
pub use vectors::NewRecord;
