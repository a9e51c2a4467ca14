# SPDX-License-Identifier: GPL-2.0-only
# What people type. The work is done by cargo, by Kbuild (fs/Kbuild), and by
# `cargo xtask` (test_env/), which prepares kernels and guests as needed.

.PHONY: all tools module test test-arm64 test-dkms test-debug bench-kernel bench-ann bench-growth nightly matrix demo shell check clean help toolchain \
	install install-tools install-module install-dkms uninstall \
	xfstests pjdfstest ltp test-stress packer
.DEFAULT_GOAL := all

XTASK := cargo xtask

all: tools module ## The tools in build/bin, the kernel module in build/vexfs.ko

tools: toolchain ## The tools alone
	$(XTASK) tools

module: toolchain ## The module alone, for Debian's stock trixie-backports kernel
	$(XTASK) module

test: toolchain ## The workspace's tests, those in guests, and a selection in the debug kernel
	$(XTASK) test

matrix: toolchain ## Every supported kernel: build, boot, smoke test (KERNEL=name for one; FRESH=1, WRITE=1)
	$(XTASK) matrix$(if $(KERNEL), --kernel $(KERNEL))$(if $(FRESH), --fresh)$(if $(WRITE), --write)

test-arm64: toolchain ## Tests of the vector code for 64-bit ARM, emulated
	$(XTASK) test-arm64

test-dkms: toolchain ## The module through make install-dkms and DKMS, in a guest
	$(XTASK) test-dkms

packer: toolchain ## A virtual machine's image with VexFS (build/vexfs.qcow2), by Packer; booted and tested
	$(XTASK) packer

test-debug: toolchain ## Guest tests in a debug kernel (KASAN, lockdep, kmemleak, faults); FILTER=part of a name
	$(XTASK) test-debug $(FILTER)

bench-kernel: toolchain ## The native-speed kernel to measure with, and a small workload in it
	$(XTASK) bench-kernel

bench-ann: toolchain ## Recall and speed beside other libraries: SETS=, PEERS=, DATA=folder, OPTIONS=--help
	$(or $(PYTHON),python3) bench/ann/bench.py $(if $(DATA),--data "$(DATA)") $(if $(SETS),--sets "$(SETS)") \
		$(if $(PEERS),--peers "$(PEERS)") $(OPTIONS)

bench-growth: toolchain ## What searching and putting cost with 10,000, 100,000 and 1,000,000 vectors: DIM=, OPTIONS=--help
	$(or $(PYTHON),python3) bench/ann/bench.py --alone --peers vexfs-tree --output $(or $(VEXFS_BUILD),build)/bench-growth \
		--sets "$(foreach rows,10k 100k 1m,gen$(rows)-$(or $(DIM),128))" $(OPTIONS)

# XFSTESTS=, PJDFSTEST= and LTP= as below; what is not given is not run.
nightly: toolchain ## Every target that checks or tests, whatever fails; a table at the end (STEPS= for some)
	$(XTASK) nightly $(STEPS)

demo: toolchain ## From mkfs to search in a guest, with a power cut in the middle
	$(XTASK) demo

shell: toolchain ## A shell in a guest with the module, the tools and the demo's disk
	$(XTASK) guest shell

# The suites of others are given as ready-built trees (docs/testing.md).
suite_kernel = $(if $(KERNEL),--kernel $(KERNEL))
xfstests: toolchain ## xfstests: XFSTESTS=tree TESTS="-g quick"
	$(XTASK) suite $(suite_kernel) $(SUITE_OPTIONS) $(if $(XFSTESTS),--tree $(XFSTESTS)) xfstests $(TESTS)

pjdfstest: toolchain ## pjdfstest: PJDFSTEST=tree
	$(XTASK) suite $(suite_kernel) $(SUITE_OPTIONS) $(if $(PJDFSTEST),--tree $(PJDFSTEST)) pjdfstest $(TESTS)

ltp: toolchain ## The Linux Test Project: LTP=tree TESTS="fs"
	$(XTASK) suite $(suite_kernel) $(SUITE_OPTIONS) $(if $(LTP),--tree $(LTP)) ltp $(TESTS)

test-stress: toolchain ## stress-ng and fio; fsx and fsstress with XFSTESTS=tree
	$(XTASK) suite $(suite_kernel) $(SUITE_OPTIONS) $(if $(XFSTESTS),--tree $(XFSTESTS)) stress $(TESTS)

check: toolchain ## Format, lints of userspace and kernel code, shellcheck
	$(XTASK) check

# ---------------------------------------------------------------------------
# Installation
# ---------------------------------------------------------------------------
# Installs what `make all` made; DESTDIR is put in front of every path, and then
# nothing is done to the running system.
prefix ?= /usr/local
# mkfs(8) and fsck(8) look for mkfs.vexfs and fsck.vexfs in /sbin, whatever the
# prefix is; mount(8) needs no helper. Where /usr is merged, /sbin is this:
sbindir ?= /usr/sbin
bindir ?= $(prefix)/bin
mandir ?= $(prefix)/share/man
includedir ?= $(prefix)/include
bashcompletiondir ?= $(prefix)/share/bash-completion/completions
zshcompletiondir ?= $(prefix)/share/zsh/site-functions
fishcompletiondir ?= $(prefix)/share/fish/vendor_completions.d
# modprobe and DKMS know no prefix; /lib is a link here, too.
modulesdir ?= /usr/lib/modules
dkmsdir ?= /usr/src

INSTALL ?= install
BUILD := $(or $(VEXFS_BUILD),build)
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# The kernel that vexfs.ko was built for.
RELEASE = $(shell modinfo --field vermagic $(BUILD)/vexfs.ko | cut -d ' ' -f 1)
MANUALS := $(notdir $(wildcard docs/man/*.[18]))
dkmstree := $(DESTDIR)$(dkmsdir)/vexfs-$(VERSION)

install: install-tools install-module ## Tools, manuals and module (DESTDIR=, prefix=)

install-tools: ## Tools, manuals, completions and the C header alone
	$(INSTALL) -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(includedir) \
		$(DESTDIR)$(mandir)/man1 $(DESTDIR)$(mandir)/man8 \
		$(DESTDIR)$(bashcompletiondir) $(DESTDIR)$(zshcompletiondir) $(DESTDIR)$(fishcompletiondir)
	$(INSTALL) -m 755 $(BUILD)/bin/mkfs.vexfs $(BUILD)/bin/fsck.vexfs $(DESTDIR)$(sbindir)
	$(INSTALL) -m 755 $(BUILD)/bin/vexctl $(DESTDIR)$(bindir)
	$(INSTALL) -m 644 docs/man/*.1 $(DESTDIR)$(mandir)/man1
	$(INSTALL) -m 644 docs/man/*.8 $(DESTDIR)$(mandir)/man8
	$(INSTALL) -m 644 uapi/vexfs.h $(DESTDIR)$(includedir)
	$(BUILD)/bin/vexctl completions bash > $(DESTDIR)$(bashcompletiondir)/vexctl
	$(BUILD)/bin/vexctl completions zsh > $(DESTDIR)$(zshcompletiondir)/_vexctl
	$(BUILD)/bin/vexctl completions fish > $(DESTDIR)$(fishcompletiondir)/vexctl.fish

# The kernel loads the module at the first mount, by its alias fs-vexfs.
install-module: ## The module alone, for the kernel that it was built for
	$(INSTALL) -D -m 644 $(BUILD)/vexfs.ko $(DESTDIR)$(modulesdir)/$(RELEASE)/updates/vexfs.ko
	$(if $(DESTDIR),,depmod $(RELEASE))

install-dkms: ## The module's source; DKMS builds it for every kernel with Rust
	rm -rf $(dkmstree)
	$(INSTALL) -d $(dkmstree)/dkms
	sed 's/@VERSION@/$(VERSION)/' dkms/dkms.conf.in > $(dkmstree)/dkms.conf
	$(INSTALL) -m 755 dkms/build.sh dkms/kernel-tree.sh $(dkmstree)/dkms
	for file in $$(cd $(CURDIR) && find fs layout/src engine/src uapi/src vector/src vector/math.rs \
			-type f \( -name '*.rs' -o -name '*.[ch]' -o -name Kbuild -o -name bindings_parameters \)); do \
		$(INSTALL) -D -m 644 $$file $(dkmstree)/$$file || exit 1; \
	done
	test ! -d $(BUILD)/vendor || cp -r $(BUILD)/vendor $(dkmstree)/
	$(if $(DESTDIR),,dkms add vexfs/$(VERSION) && dkms autoinstall)

uninstall: ## Remove what the install targets installed, with the same DESTDIR and prefix
	$(if $(DESTDIR),,! dkms status vexfs/$(VERSION) 2> /dev/null | grep -q . || dkms remove vexfs/$(VERSION) --all)
	rm -rf $(dkmstree)
	rm -f $(DESTDIR)$(sbindir)/mkfs.vexfs $(DESTDIR)$(sbindir)/fsck.vexfs $(DESTDIR)$(bindir)/vexctl \
		$(DESTDIR)$(includedir)/vexfs.h $(DESTDIR)$(bashcompletiondir)/vexctl \
		$(DESTDIR)$(zshcompletiondir)/_vexctl $(DESTDIR)$(fishcompletiondir)/vexctl.fish
	cd $(DESTDIR)$(mandir) 2> /dev/null && rm -f $(foreach page,$(MANUALS),man$(subst .,,$(suffix $(page)))/$(page)) || true
	for module in $(DESTDIR)$(modulesdir)/*/updates/vexfs.ko; do \
		[ -e "$$module" ] || continue; \
		rm "$$module"; \
		$(if $(DESTDIR),,depmod $$(basename "$${module%/updates/vexfs.ko}");) \
	done

clean: ## Remove what was built; what was prepared from packages stays in the cache
	rm -rf build
	cargo clean

toolchain:
	@test_env/bootstrap.sh

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 26
