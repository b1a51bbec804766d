# Two commands are enough: `make demo` trains and shows, `make test` checks. Both install what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE
export TOKENIZERS_PARALLELISM := false
export HF_HUB_OFFLINE := 1

.PHONY: setup demo test test-slow test-deepspeed check bench

setup: $(VENV)/installed

# PyTorch is installed first: its version in the constraints has a CPU build, a free choice would not.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/latentvr demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder -m 'not slow'

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

# Needs g++ and `.venv/bin/pip install --constraint constraints.txt '.[deepspeed]'`.
test-deepspeed: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow tests/e2e/test_deepspeed.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pydoclint --quiet latentvr

bench: setup
	$(BIN)/python -m benchmarks
