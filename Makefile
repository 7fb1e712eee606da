# Reelwright. `make` lists what there is; everything happens inside .venv.

PYTHON ?= python3
PROMPT ?= a yellow star moves right over the sea
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := .ci/constraints.txt
# One thread for each of the two test processes: more would only wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help demo test check clean

help:
	@echo "make demo    a first video with the built-in tiny model (PROMPT=... for your own words)"
	@echo "make test    all tests"
	@echo "make check   lint, format, types and import rules"
	@echo "make clean   remove .venv and caches; outputs/ stays"
	@echo "PYTHON=python3.12 make ... takes another Python for a new .venv"

demo: .venv/.installed
	$(BIN)/reelwright generate cogvideox --prompt "$(PROMPT)" --guidance-scale 3 --seed 7

test: .venv/.installed-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadgroup

check: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.made:
	@command -v "$(PYTHON)" > /dev/null || \
	  { echo "There is no $(PYTHON). Install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1). Reelwright needs 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -m venv .venv || \
	  { echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@touch $@

# torch comes first and alone, at the version that the tests run with: whatever is resolved after it then fits
# around it instead of replacing a gigabyte. Users install without the constraints and get the whole range.
.venv/.installed: .venv/.made pyproject.toml $(CONSTRAINTS)
	$(PIP) install -c $(CONSTRAINTS) torch
	$(PIP) install -c $(CONSTRAINTS) -e .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) install -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@
