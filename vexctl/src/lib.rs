// SPDX-License-Identifier: GPL-2.0-only
//! The parts of vexctl that are of use, and tested, without its command line.

pub mod input;
