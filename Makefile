# Everything a checkout needs: each target sets up what it uses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test check format docs bench soak clean

help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## an environment in .venv with everything that is needed

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: $(READY)  ## the abandoned-carts flow on a generated stream, checked against the expected triggers
	@$(BIN)/python -m headway generate shop events --events 100000 --out-of-order 2s --quiet
	@rm -rf .headway/make-run
	$(BIN)/headway run flows/abandoned_carts.py --set input='events/shop-*.jsonl' --set output=triggers.jsonl --state .headway/make-run --drain
	@$(BIN)/headway generate check events/expected.jsonl triggers.jsonl

test: $(READY)  ## all tests but the long ones
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not soak'

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## the reference page from the docstrings
	$(BIN)/python docs/build_reference.py

bench: $(READY)  ## the figures of the benchmark table
	$(BIN)/python -m benchmarks

soak: $(READY)  ## the tests that take long: 200 cycles of kill and restart
	$(BIN)/python -m pytest -q -m soak

clean:  ## remove what was made, but not .venv
	rm -rf build dist .headway events triggers.jsonl .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
