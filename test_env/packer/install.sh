#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# In the machine that becomes the image: installs VexFS from the package tree with
# its own target, and a boot loader.
set -eu

tree=$(mktemp -d -p /var/tmp)
tar --extract --file=/var/tmp/vexfs.tar --directory="$tree"
make -C "$tree" install prefix=/usr
rm -r "$tree" /var/tmp/vexfs.tar

grub-install --target=i386-pc --no-floppy /dev/vda
update-grub
