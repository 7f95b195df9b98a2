# The two commands a newcomer needs are `make train` and `make test`; each makes .venv when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: train train-mindspore test lint format check benchmarks clean

train: $(VENV)/.torch  ## train, adapt and test on the synthetic pair with torch
	$(BIN)/python -m backends.torch.train $(ARGS)

train-mindspore: $(VENV)/.all  ## the same with MindSpore
	$(BIN)/python -m backends.mindspore.train $(ARGS)

test: $(VENV)/.all  ## every test, both backends
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test  ## what CI runs

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable ".[torch]"
	touch $@

$(VENV)/.all: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable ".[torch,mindspore,dev,export]"
	touch $@ $(VENV)/.torch

clean:
	rm -rf $(VENV) *.egg-info
