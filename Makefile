# One command each; all set-up on a machine that has only Python (3.10 or newer) and make.
# make PYTHON=python3.12 VENV=.venv-3.12 test: another interpreter, in an environment of its own.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
GROUP ?= dev
LOWEST_VENV ?= .venv-lowest
PYTHON ?= $(shell .ci/find-python 3.11 3.12 3.13 3.10 3)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(VENV)/bin/python -m pip install -qq --no-input
READY := $(VENV)/.ready

.PHONY: help setup demo test lint format types tests fuzz bench bento test-lowest test-nightly clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create or update the environment in .venv

# An old pip does not know dependency groups: it is upgraded first, inside the environment.
$(READY): pyproject.toml
	@if [ ! -x $(VENV)/bin/python ]; then \
		test -n "$(PYTHON)" || { echo "no Python 3.10 or newer was found; say which: make PYTHON=..." >&2; exit 2; }; \
		echo "creating $(VENV) with $(PYTHON)"; \
		"$(PYTHON)" -m venv $(VENV) || { echo "python needs its venv module (on Debian: python3-venv)" >&2; exit 2; }; \
	fi
	@echo "installing bento-rollout and what its development needs into $(VENV)"
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) --editable ".[all]" --group $(GROUP)
	@touch $(READY)

demo: $(READY) ## two real models, real traffic: weights, flip, rollback, promotion by evidence; people who decide; drift; four places
	@$(VENV)/bin/python -m services.demo

test: lint types tests ## everything: lint, format, types, tests

lint: $(READY) ## ruff, and whether the code is formatted
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(READY) ## let ruff format and mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: $(READY) ## mypy --strict
	$(VENV)/bin/mypy

tests: $(READY) ## the tests alone; ARGS="-k flip" chooses
	$(VENV)/bin/python -m pytest $(ARGS)

fuzz: $(READY) ## a million bad inputs for the parsers of sealed artifacts; ARGS="--seed 1" repeats a run
	@$(VENV)/bin/python -m tests.fuzz $(ARGS)

bench: $(READY) ## every benchmark, one after another (they need a quiet machine)
	@failed=0; for name in assign evidence ledger ledger_http overhead flip start slow_candidate process service late shadow artifacts rollback decisions automation reviews console degrees drift replicas; do echo "== $$name"; \
		$(VENV)/bin/python -m benchmarks.$$name || failed=1; done; exit $$failed

bento: $(READY) ## bentoml build of the service in services/ (trains and seals the models first if there are none)
	@$(VENV)/bin/python -m services.train --if-missing
	$(VENV)/bin/bentoml build

test-lowest: $(READY) ## unit and contract suites with exactly the declared lower bounds
	@rm -rf $(LOWEST_VENV)
	@$(VENV)/bin/python -m venv $(LOWEST_VENV)
	@$(LOWEST_VENV)/bin/python -m pip install -qq --no-input --upgrade "pip>=25.1"
	@$(VENV)/bin/python .ci/lowest.py > $(LOWEST_VENV)/constraints.txt
	@echo "lower bounds:" $$(cat $(LOWEST_VENV)/constraints.txt)
	@$(LOWEST_VENV)/bin/python -m pip install -qq --no-input --constraint $(LOWEST_VENV)/constraints.txt --editable ".[all]" --group test
	$(LOWEST_VENV)/bin/python -m pytest tests/unit tests/contract tests/console/test_console.py tests/console/test_sessions.py $(ARGS)

test-nightly: $(READY) ## what is too large for every day: long tests, torch (a wheel with CUDA), artifacts of gigabytes
	@$(PIP) torch
	BENTO_ROLLOUT_TEST_NIGHTLY=1 $(VENV)/bin/python -m pytest -m nightly
	BENTO_ROLLOUT_TEST_GIB=4 $(VENV)/bin/python -m pytest -s tests/unit/test_artifacts_loaders.py tests/unit/test_artifacts_large.py $(ARGS)

clean: ## remove environments, caches and what runs left behind
	rm -rf .venv .venv-* .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
