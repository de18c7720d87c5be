# Palaver's workshop. `make` alone lists the targets; each of them sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

HOST =
PORT ?= 8080
ARGS =
PYTHON ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
JS := tests/interop/js

# Held where every test ran: 95 % overall, and all of the pure code.
COVERAGE := $(BIN)/coverage report --format=total
PURE := src/palaver/model/*,src/palaver/protocols/*

# What is done is remembered in files: nothing is installed twice for the same pyproject.toml.
MADE := $(VENV)/.made
READY_TO_SERVE := $(VENV)/.ready-to-serve
READY_TO_TEST := $(VENV)/.ready-to-test
OLDER_PEER := $(VENV)/peers/a2a-0.3/.ready
JS_PEERS := $(JS)/node_modules/.ready
COMPILED := .venv-compiled
MADE_COMPILED := $(COMPILED)/.made
READY_COMPILED := $(COMPILED)/.ready

.PHONY: help serve test check format bench docs setup compiled peers clean

help: ## list the targets
	@echo "Palaver: make <target>"
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/  \1\t\2/' | expand -t 12

serve: $(READY_TO_SERVE) ## serve the demo agent (PORT=8080 HOST=127.0.0.1 ARGS="--store memory:")
	@echo "serve: palaver on port $(PORT); Ctrl-C stops it"
	@exec $(BIN)/palaver serve $(if $(HOST),--host $(HOST)) --port $(PORT) $(ARGS)

# Each worker takes neighbours, so that what a file shares is started once, and steals what is left.
# Two hundred servers start: bytecode is kept, or each of them would compile Palaver.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY_TO_TEST) peers ## run every test, with coverage (ARGS="-k name")
	@echo "test: pytest on every core, with branch coverage"
	@$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term $(ARGS)
	@$(if $(ARGS),:,$(COVERAGE) --fail-under=95 && $(COVERAGE) --include='$(PURE)' --fail-under=100)

check: $(READY_TO_TEST) ## format, lint, types and the arrows of the tree
	@echo "check: ruff format, ruff, mypy, import-linter"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache --no-logo # its cache errs when a module appears under a known name

format: $(READY_TO_TEST) ## write the format and the safe fixes
	@echo "format: ruff writes"
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(READY_TO_TEST) ## run the benchmarks, one after the other
	@echo "bench: every program in benchmarks/"
	@programs=$$(grep -l '__main__' benchmarks/*.py 2>/dev/null || true); \
	if [ -z "$$programs" ]; then echo "bench: there is no program in benchmarks/"; fi; \
	for program in $$programs; do echo "bench: $$program"; $(BIN)/python "$$program" $(ARGS); done

docs: $(READY_TO_TEST) ## check the documents: links, and every command and program in them
	@echo "docs: pytest tests/docs"
	@$(BIN)/python -m pytest tests/docs $(ARGS)

setup: $(READY_TO_TEST) ## build .venv with everything for development
	@echo "setup: $(VENV) is ready"

compiled: $(READY_COMPILED) ## install Palaver with its audio path compiled into .venv-compiled (needs a C compiler)
	@echo "compiled: run it with $(COMPILED)/bin/palaver serve --asp-port 8765"

clean: ## remove what make and the tools have written
	@echo "clean: .venv, .venv-compiled, caches, reports, node_modules of the tests"
	@rm -rf $(VENV) $(COMPILED) __pycache__ $(JS)/node_modules build dist htmlcov .coverage .coverage.* coverage.xml
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests benchmarks examples fuzz -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- the environment -----------------------------------------------------------------------

# The first Python that is new enough. A name on PATH may be a launcher with nothing behind it,
# so each one is asked. Debian can lack ensurepip: then the system's own pip fills the venv.
$(MADE):
	@python=""; \
	for name in $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14); do \
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: Palaver needs Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	echo "setup: $(VENV) with $$("$$python" --version)"; \
	if ! "$$python" -m venv --clear $(VENV) >/dev/null 2>&1; then \
		"$$python" -m venv --clear --without-pip $(VENV); \
		"$$python" -m pip --quiet --quiet --python $(BIN)/python install pip; \
	fi
	@$(PIP) install --upgrade pip
	@touch $@

$(READY_TO_SERVE): pyproject.toml | $(MADE)
	@echo "setup: what serving needs (once)"
	@$(PIP) install --editable '.[espeak]'
	@touch $@

$(READY_TO_TEST): pyproject.toml | $(MADE)
	@echo "setup: what development needs (once, a minute or two)"
	@$(PIP) install --editable '.[brotli,espeak,dense,timeline,onnx]' --group dev
	@touch $(READY_TO_SERVE) $@

# Beside .venv, whose install in place is never compiled: what is edited there is what runs.
$(MADE_COMPILED): | $(MADE)
	@if ! command -v cc >/dev/null && ! command -v gcc >/dev/null; then \
		echo "make: to compile, install a C compiler, such as gcc; without one Palaver runs interpreted" >&2; exit 1; \
	fi
	@$(BIN)/python -m venv --clear --without-pip $(COMPILED)
	@touch $@

$(READY_COMPILED): pyproject.toml hatch_build.py $(shell find src -type f -not -name '*.pyc') | $(MADE_COMPILED)
	@echo "compiled: a wheel of the sources, and what it needs, into $(COMPILED) (a minute)"
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(PIP) --python $(COMPILED)/bin/python install '.[dense,espeak]' --group bench
	@touch $@

# --- the peers of the interoperability tests ------------------------------------------------

peers: $(OLDER_PEER) $(if $(and $(wildcard $(JS)/package.json),$(shell command -v npm)),$(JS_PEERS))
	@if [ -f $(JS)/package.json ] && ! command -v npm >/dev/null; then \
		echo "peers: node and npm are not installed: the tests against JavaScript peers will be skipped"; \
	fi

# Two versions of one package cannot share an environment: the older one stands beside it.
$(OLDER_PEER): | $(MADE)
	@echo "peers: a2a-sdk 0.3.26 into $(@D) (once)"
	@rm -rf $(@D)
	@$(PIP) install --target $(@D) 'a2a-sdk==0.3.26'
	@touch $@

$(JS_PEERS): $(wildcard $(JS)/package.json $(JS)/package-lock.json)
	@echo "peers: JavaScript peers into $(JS)/node_modules (once)"
	@cd $(JS) && npm $(if $(wildcard $(JS)/package-lock.json),ci,install) --no-audit --no-fund --loglevel=error
	@touch $@
