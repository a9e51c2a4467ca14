// SPDX-License-Identifier: GPL-2.0-only
//! VexFS over an image file or block device in userspace.
