# Each target says what it does: `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test check format lint types pins data train bench-sweep clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Three stages, each a stamp, so that `make demo` does not wait for torch.
$(VENV)/.serving: requirements.txt local/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	$(PIP) -r local/requirements.txt
	touch $@

$(VENV)/.train: train/requirements.txt $(VENV)/.serving
	$(PIP) -r train/requirements.txt
	touch $@

$(VENV)/.tests: tests/requirements.txt $(VENV)/.train
	$(PIP) -r tests/requirements.txt
	touch $@

setup: $(VENV)/.tests  ## install everything into .venv

format: $(VENV)/.tests  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.tests
	$(BIN)/mypy

check: lint types  ## format, lint, types, unit and integration tests: under two minutes
	$(BIN)/python -m pytest -q -m "not slow and not docker and not browser" tests/unit tests/integration

test: lint types  ## every test
	$(BIN)/python -m pytest -q

bench-sweep: $(VENV)/.train  ## time the sweep against the workshop's way: DATA=folder [WEIGHTS=file]
	$(BIN)/python -m benchmarks.sweep --data $(DATA) $(if $(WEIGHTS),--weights $(WEIGHTS))

pins: $(VENV)/.tests  ## write requirements.txt anew from requirements.in
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-options --no-header \
		--strip-extras --output-file requirements.txt requirements.in

clean:  ## remove what was built, keep what was trained
	rm -rf $(VENV) .venv-sam .aws-sam .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
