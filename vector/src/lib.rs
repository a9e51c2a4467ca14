// SPDX-License-Identifier: GPL-2.0-only
//! VexFS vector mathematics and search without I/O.
