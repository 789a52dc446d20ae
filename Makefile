# SPDX-License-Identifier: GPL-2.0-only
# make setup   packages, virtual environment, kernel headers
# make demo    a search under traffic on this machine, in under 90 s
# make test    linters, types, tests; the kernel tests want root or sudo
# make bench   every suite; SUITE=compile for one, ARGS="--quick --json FILE" to pass options
# make vm-smoke, vm-test, vm-matrix   in QEMU, with Debian's kernels (docs/vm.md); ARGS="--kernel 6.12"
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.setup
SUITE ?= all

# as root: as it is; else by sudo, which must not leave files of root's in this tree
define as_root
if [ "$$(id -u)" = 0 ]; then exec $(1); \
elif command -v sudo >/dev/null; then exec sudo -E env PYTHONDONTWRITEBYTECODE=1 $(1); \
else echo "make $@: this needs root: run it as root, or install sudo" >&2; exit 5; fi
endef

.PHONY: setup demo test lint unit kernel bench vm-smoke vm-test vm-matrix clean

setup: $(STAMP)
	@:

$(STAMP): pyproject.toml scripts/setup.sh
	@scripts/setup.sh
	@touch $@

demo: setup
	@$(call as_root,$(BIN)/iridescent demo $(ARGS))

test: lint unit kernel

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: lint
	$(BIN)/pytest tests/unit

kernel: unit
	@$(call as_root,$(BIN)/pytest -p no:cacheprovider tests/kernel)

bench: setup
	@$(call as_root,$(BIN)/iridescent bench $(SUITE) $(ARGS))

vm-smoke vm-test vm-matrix: setup
	@scripts/setup-vm.sh
	@$(call as_root,env PYTHONDONTWRITEBYTECODE=1 $(BIN)/python -m vagrant.vm $(@:vm-%=%) $(ARGS))

clean:
	rm -rf .venv build dist out .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
