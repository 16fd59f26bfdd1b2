# Two commands do all the set-up on a fresh machine with Python 3.10 to 3.13:
#   make demo    the whole way on a virtual patient, with a table of truth against result
#   make test    the tests
# Each makes its own environment in .venv/ and can be repeated.

PYTHON ?= $(shell for p in python3 python3.12 python3.13 python3.11 python3.10 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt
OUT ?= demo-output
SEED ?= 1
JOBS ?= 2

.PHONY: demo test lint docs validate benchmark tables constraints clean help

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed and was not found; set PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# Stamps: an environment is set up again only when what it is made of has changed.
$(VENV)/demo.stamp: pyproject.toml setup.py constraints.txt | $(BIN)/python
	@echo "Installing the library (about a minute) ..."
	$(PIP) -q -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp Tools/install_torch.py
	@echo "Installing what the tests need (a few minutes) ..."
	@$(BIN)/python Tools/install_torch.py constraints.txt
	$(PIP) -q -e ".[test,dev]"
	@$(PIP) -q -e ".[slicer-test]" || echo "slicer-core or PySide6 is not to be had here: the MRML and GUI tests will skip."
	@touch $@

demo: $(VENV)/demo.stamp
	$(BIN)/theranostic-dose demo --out $(OUT) --seed $(SEED)

test: $(VENV)/test.stamp lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

validate: $(VENV)/test.stamp
	$(BIN)/theranostic-dose validate --out docs/validation

benchmark: $(VENV)/test.stamp
	$(BIN)/theranostic-dose benchmark

constraints:
	$(BIN)/python Tools/make_constraints.py

clean:
	rm -rf $(VENV) build dist *.egg-info $(OUT)
