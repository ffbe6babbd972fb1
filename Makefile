# Each target wraps plain commands that the README also shows.
VENV := .venv
PYTHON := $(VENV)/bin/python

.PHONY: demo test test-all faults lint

demo: $(VENV)/ready
	$(VENV)/bin/tune-gate launch

test: $(if $(filter $(VENV)/%,$(PYTHON)),$(VENV)/ready)
	$(PYTHON) -m pytest -m "not slow"

test-all: $(VENV)/ready
	$(PYTHON) -m pytest

faults: $(VENV)/ready
	$(PYTHON) -m tests.faults.campaign --kills local=130 multi-node=80 --seed 0 --lanes 3 --report tests/faults/REPORT.md

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo

$(VENV)/ready: pyproject.toml
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -e '.[dev]'
	touch $@
