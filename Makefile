# `make` alone prints the targets. All of them write inside this folder only: the virtual environment to .venv,
# temporary files to .tmp, caches beside them. Another interpreter: `make PYTHON=python3.12 test`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

ifeq ($(origin PYTHON),environment)
PYTHON := python3
endif
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export TMPDIR := $(CURDIR)/.tmp
export XDG_CACHE_HOME := $(CURDIR)/.tmp/cache
export PIP_NO_CACHE_DIR := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

# What is set in somebody's shell must not decide what a test sees, or where pip installs.
unexport VIRTUAL_ENV CONDA_PREFIX BASH_ENV ENV CDPATH COVERAGE_PROCESS_START
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_VIRTUALENV PIP_PYTHON PIP_NO_BINARY PIP_ONLY_BINARY PIP_NO_DEPS PIP_CONSTRAINT \
	PIP_REQUIREMENT
unexport FORCE_COLOR CLICOLOR_FORCE PY_COLORS NO_COLOR COLUMNS LINES
unexport $(filter PYTHON% PYTEST% MYPY% RUFF% HYPOTHESIS% PY_IGNORE_IMPORTMISMATCH,$(.VARIABLES))
# The program's own settings count for `demo`, and for nothing that is tested or measured.
PLAIN := env $(patsubst %,-u %,$(filter RESURGAM_%,$(.VARIABLES)))

.PHONY: help
help: ## print this list
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1|\2/p' Makefile \
		| while IFS='|' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

define LINT
$(BIN)/python -m ruff check
$(BIN)/python -m ruff format --check
$(BIN)/python -m mypy
endef

.PHONY: test
test: $(READY) ## set up .venv if need be, then lint and run all tests (what CI runs)
	@mkdir -p "$(TMPDIR)"
	$(LINT)
	$(PLAIN) $(BIN)/python -m pytest -n 4 --hypothesis-profile=ci

.PHONY: coverage
coverage: $(READY) ## run the tests of the core; fail where they leave out a branch of it
	@mkdir -p "$(TMPDIR)"
	$(PLAIN) $(BIN)/python -m coverage run -m pytest -q --hypothesis-profile=ci tests/recovery
	$(BIN)/python -m coverage report

HISTORY := tests/projections $(wildcard tests/coordinator/test_*_command.py) tests/coordinator/test_histories.py

.PHONY: duckdb
duckdb: ## run the tests of the history with DuckDB 2.0, in an environment of its own
	@mkdir -p "$(TMPDIR)"
	$(PYTHON) -m venv "$(TMPDIR)/duckdb"
	"$(TMPDIR)"/duckdb/bin/python -m pip install --quiet --require-hashes -r requirements.lock
	"$(TMPDIR)"/duckdb/bin/python -m pip install --quiet --no-deps "duckdb>=2,<3"
	"$(TMPDIR)"/duckdb/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(PLAIN) "$(TMPDIR)"/duckdb/bin/python -m pytest -n 2 --hypothesis-profile=ci $(HISTORY)

.PHONY: lint
lint: $(READY) ## ruff, its formatter, and mypy
	@mkdir -p "$(TMPDIR)"
	$(LINT)

.PHONY: format
format: $(READY) ## let ruff format the code and repair what it can
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

.PHONY: demo
demo: $(READY) ## run the example shop's tests on three workers, and kill some of them
	@mkdir -p "$(TMPDIR)"
	$(BIN)/resurgam demo --num-workers 3 --run-time 60

SEEDS := 0:1000
OPTIONS :=

.PHONY: simulate
simulate: $(READY) ## run the system in virtual time under faults: SEEDS=0:10000, OPTIONS="--faults 200"
	@mkdir -p "$(TMPDIR)"
	$(PLAIN) $(BIN)/resurgam simulate --seeds $(SEEDS) $(OPTIONS)

.PHONY: bench
bench: $(READY) ## run every measurement in bench/, one after the other
	@mkdir -p "$(TMPDIR)"
	@shopt -s nullglob; for script in bench/[!_]*.py; do echo "== $$script"; $(PLAIN) $(BIN)/python "$$script"; done

.PHONY: venv
venv: $(READY) ## set up .venv from the lock, which every other target does by itself

# The check is expanded only when the recipe runs, and ends make with a single line.
USABLE = $(shell $(PYTHON) -c 'import sys, venv, ensurepip; print(sys.version_info >= (3, 11))' 2>/dev/null)

$(READY): requirements.lock pyproject.toml
	$(if $(filter True,$(USABLE)),,$(error Resurgam needs Python 3.11 or later with the venv module, and $(PYTHON) is not that: install python3 and python3-venv, or name another with PYTHON=))
	@mkdir -p "$(TMPDIR)"
	$(PYTHON) -m venv $$($(BIN)/python -m pip --version >/dev/null 2>&1 || echo --clear) $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: ## resolve pyproject.toml into requirements.lock; UPGRADE=--upgrade takes what is newest
	@mkdir -p "$(TMPDIR)"
	$(PYTHON) -m venv --clear "$(TMPDIR)/lock"
	"$(TMPDIR)"/lock/bin/python -m pip install --quiet uv
	"$(TMPDIR)"/lock/bin/uv pip compile --no-cache --quiet --generate-hashes --extra dev --python-version 3.11 --universal \
		--no-emit-index-url --no-header $(UPGRADE) -o requirements.lock pyproject.toml
	rm -rf "$(TMPDIR)/lock"

.PHONY: clean
clean: ## remove what tests and tools left behind, all but .venv
	rm -rf .tmp .resurgam .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove .venv too
	rm -rf $(VENV)
