// SPDX-License-Identifier: GPL-2.0-only
//! VexFS without I/O: B+tree, allocator, inodes, directories, extents, xattrs, vector store.
