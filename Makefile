# The few commands that people need.
PYTHON ?= python

.PHONY: lint types test long docs
lint:
	ruff check .
	ruff format --check .

# A default editable install hides submodules from mypy, so types and import layers are checked on a built wheel.
types:
	$(PYTHON) tests/packaging/check_installed.py

test:
	$(PYTHON) -m pytest

long:
	$(PYTHON) -m pytest -m long

# The pages that are written from the code.
docs:
	$(PYTHON) docs/generate.py
