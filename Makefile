# Everything a checkout needs: each target sets up what it uses.
PYTHON ?= python3
MINUTES ?= 10
TESTS ?= not soak and not slow
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
SOURCES := setup.py src/headway/basics/compiled.py $(wildcard src/headway/basics/*.p* src/headway/runtime/*.p* src/headway/types/*.p* state/*.p*)

# What is compiled is tested as plain Python too.
TWINS := tests/test_contract.py tests/test_state_machine.py tests/test_state_stage.py tests/test_state_timers.py \
	tests/test_compiled.py tests/test_connectors_lines.py src/headway/runtime src/headway/state

.DEFAULT_GOAL := help
.PHONY: help setup run demo services test check format docs bench soak clean

help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BUILT) $(READY)  ## an environment in .venv with everything that is needed

# What it takes to run flows, and no more: who only tries Headway waits less.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing Headway and what it stands on in $(VENV): a minute or less"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt cython setuptools
	@HEADWAY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation --editable .
	@touch $@

$(READY): $(INSTALLED)
	@echo "Installing what tests and checks need in $(VENV): a minute or two"
	@HEADWAY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation --editable '.[dev]'
	@touch $@

# The hot modules; without a C compiler they run as the Python that they are, and the next call tries again.
$(BUILT): $(INSTALLED) $(SOURCES)
	@echo "Compiling what has changed of the hot modules: all of them take half a minute"
	@$(BIN)/python setup.py --quiet build_ext --inplace
	@if ls src/headway/basics/*.so >/dev/null 2>&1; then touch $@; else rm -f $@; fi

run: $(BUILT)  ## the abandoned-carts flow on a generated stream, checked against the expected triggers
	@echo "Generating 100,000 shop events in events/, and running flows/abandoned_carts.py on them"
	@$(BIN)/python -m headway generate shop events --events 100000 --out-of-order 2s --quiet
	@rm -rf .headway/make-run
	$(BIN)/headway run flows/abandoned_carts.py --set input='events/shop-*.jsonl' --set output=triggers.jsonl --state .headway/make-run --drain
	@$(BIN)/headway generate check events/expected.jsonl triggers.jsonl

$(VENV)/.demo: $(INSTALLED)
	@HEADWAY_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--no-build-isolation --editable '.[http,serve]'
	@touch $@

demo: $(BUILT) $(VENV)/.demo  ## a little shop that explains itself: HTTP, a decision, a webhook, a durable function, two kill -9
	@$(BIN)/headway demo

services: $(READY)  ## install and try the servers that some tests need: PostgreSQL, MariaDB, Kafka, NATS, Redis, RabbitMQ, Mosquitto, Temporal, Restate, Apicurio
	@$(BIN)/python -m tests.services

test: $(BUILT) $(READY)  ## the tests that take less than ten minutes together; TESTS='not soak' also runs the slow ones
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m '$(TESTS)'
	HEADWAY_PURE=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m '$(TESTS)' $(TWINS)

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## the reference page from the docstrings
	$(BIN)/python docs/build_reference.py

bench: $(BUILT) $(READY)  ## the figures of the benchmark table
	$(BIN)/python -m benchmarks

soak: $(BUILT) $(READY)  ## random flows, faults and rescales for MINUTES=10, then the tests that take long
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --report soak-report.json
	$(BIN)/python -m pytest -q -m soak

clean:  ## remove what was made, but not .venv
	rm -rf build dist .headway events triggers.jsonl soak-report.json .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src state operators flows -name '*.so' -delete
	rm -f $(BUILT)
	find . -name __pycache__ -prune -exec rm -rf {} +
