# The two commands a newcomer needs are `make train` and `make test`; each makes .venv when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: train train-mindspore test test-long test-fast fast-core fast-others test-backends test-processes test-runs test-core test-numpy2 test-cuda lint format check clean

train: $(VENV)/.torch  ## train, adapt and test on the synthetic pair with torch
	$(BIN)/duoreid train --backend torch $(ARGS)

train-mindspore: $(VENV)/.all  ## the same with MindSpore
	$(BIN)/duoreid train --backend mindspore $(ARGS)

# One thread each, two at a time: threads that wait for each other on shared cores cost more than they bring. In this
# order both cores stay busy to the end. What MindSpore has compiled serves every test of its process: those of one
# network belong together, conformance and parity too.
GROUPS := test-backends test-processes test-runs test-core
TWO_AT_A_TIME := --no-print-directory --jobs=2 --output-sync=target
WHICH := -m "not long"

test: $(VENV)/.all  ## both backends: every claim but those whose proof takes long
	@echo "Four groups of tests, two at a time, each printed when it has ended: some 12 minutes on 2 cores."
	@OMP_NUM_THREADS=1 $(MAKE) $(TWO_AT_A_TIME) $(GROUPS)

test-long: $(VENV)/.all  ## the others, marked `long`; CI runs both
	@echo "The long tests, in the same groups: some 10 minutes on 2 cores."
	@OMP_NUM_THREADS=1 $(MAKE) $(TWO_AT_A_TIME) $(GROUPS) WHICH="-m long"

test-fast: $(VENV)/.all  ## for every edit: neither MindSpore nor whole runs
	@OMP_NUM_THREADS=1 $(MAKE) $(TWO_AT_A_TIME) fast-core fast-others

SLOW := $(addprefix --ignore tests/,core/test_web.py core/test_algorithm_benchmarks.py datasets/test_synthetic.py \
	datasets/test_crew.py golden/test_mmt_trainer.py golden/test_mvd_features.py golden/test_mvd_step.py)
FAST := $(SLOW) $(WHICH) -k "not mindspore"

fast-core:
	$(BIN)/python -m pytest tests/core $(FAST) $(ARGS)

fast-others:
	$(BIN)/python -m pytest tests/datasets tests/serving tests/report tests/golden tests/test_architecture.py $(FAST) $(ARGS)

# Several processes, or one that is killed, stopped, or succeeded by another.
PROCESSES := $(addprefix tests/,test_faults.py test_faults_mindspore.py test_resume.py test_processes.py \
	parity/test_processes.py)

test-backends:  ## both against float64, and against each other
	$(BIN)/python -m pytest tests/conformance tests/parity --ignore tests/parity/test_processes.py $(WHICH) $(ARGS)

# MindSpore's backend sets this limit of oneDNN, which torch's obeys as well from then on: set from the beginning, a run
# here and one in a child process choose the same kernels, and can be compared bit by bit.

test-processes:
	ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(PROCESSES) $(WHICH) $(ARGS)

test-runs:
	ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(filter-out $(PROCESSES),$(wildcard tests/test_*.py)) $(WHICH) $(ARGS)

test-core:
	$(BIN)/python -m pytest tests --ignore tests/conformance --ignore tests/parity --ignore-glob 'tests/test_*.py' $(WHICH) $(ARGS)

WITHOUT_MINDSPORE := --ignore tests/conformance/test_ascend.py \
	--ignore-glob 'tests/conformance/test_mindspore_*.py' -k "not mindspore"

test-numpy2: $(VENV)-numpy2/.done  ## core, datasets and the torch backend under numpy 2, where MindSpore cannot be
	$(VENV)-numpy2/bin/python -m pytest tests/core tests/datasets tests/conformance tests/test_train.py \
		$(WITHOUT_MINDSPORE) $(ARGS)

test-cuda:  ## torch on a CUDA device against float64, in the environment of PYTHON
	$(PYTHON) -m pytest tests/conformance $(WITHOUT_MINDSPORE) --torch-device cuda $(ARGS)

lint: $(VENV)/.all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint test test-long  ## what CI runs

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable ".[torch]"
	touch $@

$(VENV)/.all: setup.cfg constraints.txt | $(BIN)/python
	$(PIP) --editable ".[torch,mindspore,dev,export,benchmarks]"
	touch $@ $(VENV)/.torch

$(VENV)-numpy2/.done: setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)-numpy2
	grep -vE '^(numpy|mindspore)==' constraints.txt > $(VENV)-numpy2/constraints.txt
	$(VENV)-numpy2/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(VENV)-numpy2/constraints.txt "numpy>=2" --editable ".[torch,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-numpy2 *.egg-info
