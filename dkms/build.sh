#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Builds vexfs.ko for DKMS, in the copy of the source tree that this lies in.
#
#   dkms/build.sh RELEASE HEADERS
#       RELEASE  what uname -r prints
#       HEADERS  the folder of its headers
#
# The tree with the metadata of the kernel's Rust crates (kernel-tree.sh) takes a
# minute or two to make, so it is kept for the next version of the module:
# in /var/cache/vexfs, or where VEXFS_KERNEL_TREES says. The folder can be removed at
# any time.
set -eu

release=$1
headers=$2
here=$(cd "$(dirname "$0")/.." && pwd)
trees=${VEXFS_KERNEL_TREES:-/var/cache/vexfs}
tree=$trees/$release

# linux-source-7.3 for 7.3.4+deb13-cloud-amd64.
series=$(echo "$release" | sed 's/^\([0-9]*\)\.\([0-9]*\).*/\1.\2/')
archive=/usr/src/linux-source-$series.tar.xz
if [ ! -f "$archive" ]; then
	echo "build.sh: $archive is missing: install linux-source-$series" >&2
	exit 1
fi

# Made again when the kernel, the source or the compiler is another one.
inputs=$(sha256sum "$headers/.config" "$headers/Module.symvers" "$here/dkms/kernel-tree.sh" &&
	stat --format='%n %s %Y' "$archive" && rustc --version && bindgen --version)
if [ ! -f "$tree/inputs" ] || [ "$(cat "$tree/inputs")" != "$inputs" ]; then
	mkdir -p "$trees"
	"$here/dkms/kernel-tree.sh" "$headers" "$archive" "$tree"
	echo "$inputs" > "$tree/inputs"
fi
# The tree is enough for the compilers; RUSTC_BOOTSTRAP is how the kernel itself
# gets at what it needs of a stable compiler.
RUSTC_BOOTSTRAP=1 make -C "$tree" M="$here/fs" -j "$(nproc)" modules
