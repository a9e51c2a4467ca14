#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Makes a folder in which Rust modules for a stock Debian kernel can be built.
#
# Debian's headers leave out the metadata of the kernel's Rust crates. This makes
# it again from the source package, with the configuration and the compiler of
# the stock build, and accepts it only if the configuration comes out unchanged and
# every symbol that the crates export is exported by the stock kernel too: without
# module versions a difference would go unnoticed until something breaks. The
# headers themselves are not touched; the new folder has links to them.
#
#   kernel-tree.sh HEADERS SOURCE TREE
#       HEADERS  folder of a linux-headers package, such as /lib/modules/VERSION/build
#       SOURCE   the archive of the linux-source package, or its unpacked folder
#       TREE     the folder to make; what was there is replaced
#   kernel-tree.sh --compare-symbols RUST SYMVERS
#       the last check alone, of the folder rust/ of a build
#   kernel-tree.sh --compare-configurations STOCK NEW
#       the other check alone
#
# HOSTCC is the compiler for programs of the build; by default it is the kernel's.
set -eu

fail() {
	echo "kernel-tree.sh: $*" >&2
	exit 1
}

# The compiler's name in a configuration.
compiler() {
	sed -n 's/^CONFIG_CC_VERSION_TEXT="\([^ "]*\).*/\1/p' "$1"
}

# What may differ: the text of the compiler's version has the revision of its
# package (its version is in CONFIG_GCC_VERSION, too); and assembler and linker may
# be newer, for all options that depend on them are compared.
comparable() {
	grep -v -e '^CONFIG_CC_VERSION_TEXT=' -e '^CONFIG_AS_VERSION=' -e '^CONFIG_LD_VERSION=' "$1"
}

compare_configurations() {
	comparable "$1" > "$scratch/stock.config"
	comparable "$2" > "$scratch/new.config"
	diff --unified=0 "$scratch/stock.config" "$scratch/new.config" ||
		fail "these compilers and programs change the kernel's configuration"
}

compare_symbols() {
	cut -f 2 "$2" | LC_ALL=C sort > "$scratch/stock"
	for crate in core bindings kernel helpers; do
		sed -n 's/^EXPORT_SYMBOL_RUST_GPL(\(.*\));$/\1/p' "$1/exports_${crate}_generated.h" |
			LC_ALL=C sort > "$scratch/rebuilt"
		# From some version on, rustc puts all functions of the bindings into the
		# crates that call them.
		if [ ! -s "$scratch/rebuilt" ]; then
			[ "$crate" = bindings ] || fail "the rebuilt crate $crate exports nothing"
			continue
		fi
		LC_ALL=C comm -13 "$scratch/stock" "$scratch/rebuilt" > "$scratch/missing"
		total=$(wc -l < "$scratch/rebuilt")
		if [ -s "$scratch/missing" ]; then
			fail "the rebuilt crate $crate is not the stock kernel's: $(wc -l < "$scratch/missing")" \
				"of its $total symbols are not exported there, such as $(head -n 3 "$scratch/missing" | tr '\n' ' ')"
		fi
		echo "$crate: $total symbols, all of them exported by the stock kernel"
	done
}

# Links in folder $2 to everything in folder $1 but the names that follow.
link_all() (
	from=$1 to=$2
	shift 2
	mkdir -p "$to"
	for path in "$from"/* "$from"/.[!.]*; do
		[ -e "$path" ] || continue
		for name; do
			[ "${path##*/}" != "$name" ] || continue 2
		done
		ln -s "$path" "$to/"
	done
)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case ${1-} in
--compare-symbols)
	[ $# -eq 3 ] || fail "usage: --compare-symbols RUST SYMVERS"
	compare_symbols "$2" "$3"
	exit
	;;
--compare-configurations)
	[ $# -eq 3 ] || fail "usage: --compare-configurations STOCK NEW"
	compare_configurations "$2" "$3"
	exit
	;;
esac
[ $# -eq 3 ] || fail "usage: HEADERS SOURCE TREE"

headers=$(realpath "$1")
source=$(realpath "$2")
tree=$(realpath -m "$3")
new=$tree.new
[ -f "$headers/.config" ] || fail "$headers is not a folder of kernel headers"
common=$(sed -n 's,^include \(.*\)/Makefile$,\1,p' "$headers/Makefile")
[ -d "$common" ] || fail "$headers/Makefile names no folder of common headers"
cc=$(compiler "$headers/.config")
[ -n "$cc" ] || fail "$headers/.config does not say its compiler"
grep -q '^CONFIG_RUST=y' "$headers/.config" || fail "this kernel was built without Rust"
! grep -q '^CONFIG_MODVERSIONS=y' "$headers/.config" ||
	fail "this kernel checks versions of symbols, which rebuilt crates do not have"

rm -rf "$new"
mkdir -p "$new/objects"
trap 'rm -rf "$scratch" "$new"' EXIT
if [ -f "$source" ]; then
	mkdir "$new/source"
	tar -C "$new/source" --strip-components=1 -xf "$source"
	source=$new/source
fi

cp "$headers/.config" "$new/objects/.config"
for target in olddefconfig prepare; do
	make -C "$source" O="$new/objects" -j "$(nproc)" CC="$cc" HOSTCC="${HOSTCC:-$cc}" $target
done
compare_configurations "$headers/.config" "$new/objects/.config"
compare_symbols "$new/objects/rust" "$headers/Module.symvers"

link_all "$headers" "$new/tree" Makefile rust scripts
link_all "$headers/scripts" "$new/tree/scripts" target.json
mv "$new/objects/rust" "$new/tree/rust"
[ ! -f "$new/objects/scripts/target.json" ] ||
	mv "$new/objects/scripts/target.json" "$new/tree/scripts/"
printf 'KBUILD_OUTPUT=%s\ninclude %s/Makefile\n' "$tree" "$common" > "$new/tree/Makefile"
rm -rf "$tree"
mv "$new/tree" "$tree"
