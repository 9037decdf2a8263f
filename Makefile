# make demo, make test: each sets up what it needs from a bare python3 >= 3.10, and is quick when run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test svg clean

help:
	@echo "make demo   replay a small trace and show its table"
	@echo "make test   ruff, mypy and pytest"
	@echo "make svg    make docs/replay.svg anew, from a real run"
	@echo "make clean  remove the virtual environment and caches"

demo: $(VENV)/.runtime
	@$(BIN)/tracesim replay sample_traces/milestone.jsonl --tokenizer char

test: $(VENV)/.development
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pytest

svg: $(VENV)/.development
	@$(BIN)/python tools/make_screenshot.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("tracesim needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.development: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) for development ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.runtime
