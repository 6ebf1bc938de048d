# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
IN_ENV := source dev/env.sh &&

.PHONY: setup demo test lint bench clean help

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

setup:           ## everything that the other targets need, into .venv and install/ (idempotent)
	@$(PYTHON) dev/bootstrap.py

demo: setup      ## a simulated robot, the node and what it sees (DEMO_SECONDS=20 ends it)
	@$(IN_ENV) loc3r demo

lint: setup      ## style and types
	@$(IN_ENV) ruff check . && ruff format --check . && mypy

test: lint       ## the checks and the whole test suite
	@$(IN_ENV) python -m pytest

bench: setup     ## the benchmarks; docs/performance.md holds their results
	@$(IN_ENV) loc3r bench

clean:           ## remove what the other targets made
	rm -rf .venv build install log out .pytest_cache .mypy_cache .ruff_cache .hypothesis
