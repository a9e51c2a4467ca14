# SPDX-License-Identifier: GPL-2.0-only
# What people type. The work is done by cargo, by Kbuild (fs/Kbuild), and by
# `cargo xtask` (test_env/), which prepares kernels and guests as needed.

.PHONY: all tools module test demo shell check clean help toolchain
.DEFAULT_GOAL := all

XTASK := cargo xtask

all: tools module ## The tools in build/bin, the kernel module in build/vexfs.ko

tools: toolchain ## The tools alone
	$(XTASK) tools

module: toolchain ## The module alone, for Debian's stock trixie-backports kernel
	$(XTASK) module

test: toolchain ## All tests: the workspace's, then those in guests
	$(XTASK) test

demo: toolchain ## From mkfs to search in a guest, with a power cut in the middle
	$(XTASK) demo

shell: toolchain ## A shell in a guest with the module, the tools and the demo's disk
	$(XTASK) guest shell

check: toolchain ## Format, lints of userspace and kernel code, shellcheck
	$(XTASK) check

clean: ## Remove what was built; what was prepared from packages stays in the cache
	rm -rf build
	cargo clean

toolchain:
	@test_env/bootstrap.sh

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18
