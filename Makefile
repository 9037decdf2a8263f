# make demo, make test, make bench: each sets up what it needs from a bare python3 >= 3.10, quick when run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test bench docs svg clean

help:
	@echo "make demo   replay a small trace and show its table"
	@echo "make test   ruff, mypy and pytest"
	@echo "make bench  speed and memory; TRACESIM_TRACES=DIR names real traces"
	@echo "make docs   build the documentation into site/, and open site/index.html to read it"
	@echo "make svg    make docs/replay.svg anew, from a real run"
	@echo "make clean  remove the virtual environment and caches"

demo: $(VENV)/.runtime
	@$(BIN)/tracesim replay sample_traces/milestone.jsonl --tokenizer char

test: $(VENV)/.development
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pytest

bench: $(VENV)/.development
	@$(BIN)/pytest --quiet --benchmark-quiet tests/benchmarks/bench_speed.py

docs: $(VENV)/.documentation
	@$(BIN)/python tools/make_cli_reference.py docs/reference/command-line.md
	@$(BIN)/zensical build --clean --strict

svg: $(VENV)/.development
	@$(BIN)/python tools/make_screenshot.py

clean:
	rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("tracesim needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

# PYTHON=... is for making the environment: one that is there already has its own.
same-python: $(BIN)/python
ifneq ($(origin PYTHON),file)
	@test "$$($(PYTHON) -V)" = "$$($(BIN)/python -V)" || { \
	    echo "$(VENV) has $$($(BIN)/python -V), and $(PYTHON) is $$($(PYTHON) -V): make clean first" >&2; exit 2; }
endif

$(VENV)/.runtime: pyproject.toml | same-python
	@echo "Setting up $(VENV) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.development: pyproject.toml | same-python
	@echo "Setting up $(VENV) for development ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.documentation: pyproject.toml | same-python
	@echo "Setting up $(VENV) for the documentation ..."
	@$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.runtime
