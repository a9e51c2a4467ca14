#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Sees to it that there is a cargo new enough for the workspace and a linker for
# it; everything else is installed by `cargo xtask` when it is needed. On Debian
# and Ubuntu it installs what is missing, elsewhere it says what that is.
set -eu

# The `rust-version` of Cargo.toml, which is the kernel's minimum too.
minimum=85

fresh_enough() {
	version=$(cargo --version 2>/dev/null) || return 1
	minor=$(printf '%s\n' "$version" | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
	[ -n "$minor" ] && [ "$minor" -ge "$minimum" ]
}

if command -v cc >/dev/null && fresh_enough; then
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	echo "VexFS needs a C compiler and Rust 1.$minimum or newer (https://rustup.rs)." >&2
	exit 1
fi

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

install_packages() {
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get --quiet --yes install --no-install-recommends "$@" </dev/null
}

# Minor version of a package's candidate, or nothing.
candidate() {
	apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}1\.\([0-9]*\)\..*/\2/p'
}

echo "installing a Rust toolchain" >&2
as_root apt-get --quiet update </dev/null
install_packages gcc libc6-dev ca-certificates git
if ! fresh_enough; then
	rustc=$(candidate rustc)
	web=$(candidate rustc-web)
	if [ "${rustc:-0}" -ge "$minimum" ]; then
		install_packages cargo rustc rustfmt rust-clippy
	elif apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
		install_packages rustup
		rustup default stable
	elif [ "${web:-0}" -ge "$minimum" ]; then
		install_packages cargo-web rustc-web
	fi
fi
if ! fresh_enough; then
	echo "No package of this release is Rust 1.$minimum or newer; install it from https://rustup.rs." >&2
	exit 1
fi
