# make            what there is
# make demo       two hosts, one mesh, and SSH between them, shown
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

TARGET := $(or $(CARGO_TARGET_DIR),target)
CARGO_DENY := 0.20.2
MACHINES := vm installed
ON_MACHINES := $(MACHINES:%=--test %)
# At once, so that what all of it needs is built once.
TESTED := --workspace --bins --tests $(ON_MACHINES)
export PATH := $(CURDIR)/.lab/tools/bin:$(PATH)

.PHONY: help demo test test-here $(MACHINES:%=test-%) bench deb rpm lint deny vm-test prepare root

help:
	@echo 'make demo        a mesh of two hosts in namespaces, and SSH between them (needs root)'
	@echo 'make demo KEEP=1 the same, and leaves it running for you to look around'
	@echo 'make demo VM=1   the same in a virtual machine, on kernel WireGuard (needs no root)'
	@echo 'make test        formatting, lints, licences, and every test (needs root)'
	@echo 'make bench       logins, transfers and forwards beside sshd on the same hosts (needs root)'
	@echo 'make bench TABLES="bulk keys"   only these tables; TABLES=list names them'
	@echo 'make bench TABLES=fleet   control with 10,000 simulated nodes'
	@echo 'make deb         packages for Debian and Ubuntu, in $(TARGET)/packages'
	@echo 'make rpm         packages for Fedora and RHEL, in $(TARGET)/packages'
	@echo 'make vm-test     only the tests on kernel WireGuard, in virtual machines (needs root)'

demo: export KEEP := $(KEEP)
demo:
ifdef VM
	@tests/lab/packages build lab vm
else
	@tests/lab/packages build lab
endif
	@patches/russh/prepare
	cargo build --release --workspace --bins
ifdef VM
	@tests/lab/vm/run env MESHD_LAB_WIREGUARD=kernel $(TARGET)/release/demo
else ifeq ($(shell id -u),0)
	@$(TARGET)/release/demo
else
	@sudo KEEP=$(KEEP) $(TARGET)/release/demo
endif

test: root prepare lint deny
	cargo build $(TESTED)
	@$(MAKE) --jobs=3 --keep-going --no-print-directory test-here $(MACHINES:%=test-%)

vm-test: root prepare
	cargo build $(TESTED)
	cargo test --workspace $(ON_MACHINES) --no-fail-fast

# The parts of `make test`, at the same time.
test-here: export MAKEFLAGS :=
test-here:
	cargo test --workspace --no-fail-fast

$(MACHINES:%=test-%): export MAKEFLAGS :=
$(MACHINES:%=test-%): test-%:
	@cargo test --workspace --test $* >$(TARGET)/test-$*.log 2>&1 && failed= || failed=1; \
		cat $(TARGET)/test-$*.log; [ -z "$$failed" ]

bench: root prepare
	cargo build --release --workspace --bins
ifneq ($(TABLES),fleet)
	@$(TARGET)/release/bench $(TABLES)
endif
ifneq ($(filter fleet,$(or $(TABLES),fleet)),)
	cargo bench --workspace --bench fleet
endif

# Paths of this machine would end up in the programs: two machines would not build the same.
deb rpm: export RUSTFLAGS := --remap-path-prefix=$(CURDIR)=meshd --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo
deb rpm: export CFLAGS := -ffile-prefix-map=$(or $(CARGO_HOME),$(HOME)/.cargo)=cargo -ffile-prefix-map=$(abspath $(TARGET))=target
deb rpm:
	@tests/lab/packages build packages
	@patches/russh/prepare
	cargo build --release --bins -p meshd -p meshd-broker -p meshd-helper -p meshd-control --target-dir $(TARGET)/packaged
	@packaging/build $@ $(TARGET)/packaged/release $(TARGET)/packages
	@ls -l $(TARGET)/packages/*.$@

root:
	@[ "$$(id -u)" = 0 ] || { echo 'The lab makes namespaces and accounts in them, so this must run as root: sudo make ...' >&2; exit 1; }

prepare:
	@tests/lab/packages build lab booted browser clients packages pages vm
	@patches/russh/prepare

lint: prepare
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace $(ON_MACHINES) -- -D warnings

deny:
	@[ "$$(cargo-deny --version 2>/dev/null)" = 'cargo-deny $(CARGO_DENY)' ] || \
		cargo install --quiet --locked --debug --root .lab/tools cargo-deny --version $(CARGO_DENY)
	cargo deny check licenses bans sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories; \
		else echo 'The advisory database is out of reach from here: advisories are NOT checked.'; fi
