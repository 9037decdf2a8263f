# make demo, make test, make bench: each sets up what it needs from a bare python3 >= 3.10, quick when run again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The extras that development needs; a variable, since commas separate the arguments of `call`.
EXTRAS := .[calibrate,hf,html,parquet,zst]
# Dependency groups need pip 25.1. LOCKED=1 installs the versions of requirements.lock, with their hashes, instead of
# the newest ones that fit.
install = $(PIP) --upgrade 'pip>=25.1' && \
    $(if $(LOCKED),$(PIP) --require-hashes -r requirements.lock && $(PIP) --no-deps -e .,$(PIP) $(1))

SECONDS ?= 60
SEED ?= 1
RUNS ?= 20

.PHONY: help demo test bench bench-against fidelity fuzz fuzz-signals docs svg picture lock clean

help:
	@echo "make demo   replay a small trace and show its table"
	@echo "make test   ruff, mypy and pytest"
	@echo "make bench  speed and memory; TRACESIM_TRACES=DIR names real traces"
	@echo "make bench-against REV=v1.2.0  the engine loop beside that of another revision"
	@echo "make fuzz   random inputs, command lines, engines and screens; SECONDS=600 SEED=2"
	@echo "make fuzz-signals  kill runs at random moments while they save files; RUNS=200"
	@echo "make fidelity VLLM=0.31.0  compare with that version of vLLM; CASES=N random cases of each scheduler"
	@echo "make docs   build the documentation into site/, and open site/index.html to read it"
	@echo "make svg    draw docs/replay.svg again, from a real run"
	@echo "make picture  draw docs/charts.png again, from a real run; needs Chromium"
	@echo "make lock   write requirements.lock again, with the newest versions that fit pyproject.toml"
	@echo "make clean  remove the virtual environment and caches"

demo: $(VENV)/.runtime
	@$(BIN)/tracesim demo

test: $(VENV)/.development
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/pytest

bench: $(VENV)/.development
	@$(BIN)/pytest --quiet --benchmark-quiet tests/benchmarks/bench_speed.py

bench-against: $(VENV)/.development
	@$(BIN)/python tools/compare_revisions.py $(REV)

fuzz: $(VENV)/.development
	@$(BIN)/python tests/fuzz/fuzz.py --seconds $(SECONDS) --seed $(SEED)

fuzz-signals: $(VENV)/.development
	@$(BIN)/python tests/fuzz/fuzz_signals.py --runs $(RUNS)

fidelity: $(VENV)/.development
	@$(BIN)/python tools/check_fidelity.py $(or $(VLLM),0.32.0) $(if $(CASES),--cases $(CASES))

docs: $(VENV)/.documentation
	@$(BIN)/python tools/make_cli_reference.py docs/reference/command-line.md
	@$(BIN)/tracesim replay sample_traces/rush_hour.csv --engine vllm-v1 --num-gpu-blocks 4000 \
	    --clock linear:base=6ms,prefill=60us,decode=150us,context=8ns --slo ttft=1s,tpot=50ms \
	    --format summary --save-html docs/assets/rush_hour.html --force >/dev/null
	@$(BIN)/zensical build --clean --strict

svg: $(VENV)/.development
	@$(BIN)/python tools/make_screenshot.py

picture: $(VENV)/.development
	@$(BIN)/python tools/make_charts_picture.py

lock: $(BIN)/python
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --group lock
	@$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --group dev --group docs --extra calibrate --extra hf --extra html --extra parquet --extra zst \
	    --universal --python-version 3.10 --generate-hashes --custom-compile-command 'make lock' --output-file requirements.lock

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
	@$(call install,--group dev -e '$(EXTRAS)')
	@touch $@ $(VENV)/.runtime

$(VENV)/.documentation: pyproject.toml | same-python
	@$(BIN)/python -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make docs needs Python 3.11 or newer, and $(VENV) has " + sys.version.split()[0] + ": make clean, then make PYTHON=python3.12 docs")'
	@echo "Setting up $(VENV) for the documentation ..."
	@$(call install,--group docs -e '.[html]')
	@touch $@ $(VENV)/.runtime
