// SPDX-License-Identifier: GPL-2.0-only
//! The engine on an image under everything that can happen to it: random operations, power cuts, I/O errors, damaged blocks.

mod churn_tree;
mod common;
mod corpus;
mod graph;
mod graph_sweep;
mod hostile;
mod model;
mod power_cuts_rebuild;
mod power_cuts_tree;
mod seeded_tree;
mod slots_on_device;
