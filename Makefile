# The two commands a newcomer needs are `make train` and `make test`; each makes .venv when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: train train-mindspore test test-long test-fast fast-core fast-others test-backends test-processes test-runs test-core test-golden-mmt test-golden-mvd test-numpy2 test-numpy2-others test-cuda lint format check clean

train: $(VENV)/.torch  ## train, adapt and test on the synthetic pair with torch
	$(BIN)/duoreid train --backend torch $(ARGS)

train-mindspore: $(VENV)/.all  ## the same with MindSpore
	$(BIN)/duoreid train --backend mindspore $(ARGS)

# One thread each, two at a time: threads that wait for each other on shared cores cost more than they bring. The
# largest come first, so that both cores stay busy to the end. What MindSpore has compiled serves every test of its process: those of one
# network belong together, conformance and parity too.
GROUPS := test-backends test-core test-runs test-golden-mmt test-golden-mvd
TWO_AT_A_TIME := --no-print-directory --jobs=2 --output-sync=target
WHICH := -m "not long"

test: $(VENV)/.all  ## both backends: every claim but those whose proof takes long
	@echo "Six groups of tests, two at a time, each printed when it has ended: 9 to 12 minutes on 2 quiet cores."
	@OMP_NUM_THREADS=1 $(MAKE) $(TWO_AT_A_TIME) $(GROUPS) test-numpy2

test-long: $(VENV)/.all  ## the others: marked `long`, or of several processes or a killed one; CI runs both
	@echo "The long tests, in the same groups: some 11 minutes on 2 quiet cores."
	@OMP_NUM_THREADS=1 $(MAKE) $(TWO_AT_A_TIME) test-processes $(GROUPS) test-numpy2-others WHICH="-m long"

test-fast: $(VENV)/.all  ## for every edit: neither MindSpore nor whole runs
	@OMP_NUM_THREADS=1 $(MAKE) $(TWO_AT_A_TIME) fast-core fast-others

SLOW := $(addprefix --ignore tests/,core/test_web.py core/test_algorithm_benchmarks.py datasets/test_synthetic.py \
	datasets/test_crew.py golden/test_mmt_trainer.py golden/test_mvd_features.py golden/test_mvd_step.py)
FAST := $(SLOW) $(WHICH) -k "not mindspore"
FILES := $(wildcard tests/core/test_formats*.py tests/core/test_hostile_*.py)

fast-core:
	$(BIN)/python -m pytest tests/core $(addprefix --ignore ,$(FILES)) $(FAST) $(ARGS)

fast-others:  ## FILES of core are here so that both take as long
	$(BIN)/python -m pytest $(FILES) tests/datasets tests/serving tests/report tests/golden tests/test_architecture.py $(FAST) $(ARGS)

# Several processes, or one that is killed, stopped, or succeeded by another: the long ones with the others.
PROCESSES := $(addprefix tests/,test_faults.py test_faults_mindspore.py test_resume.py test_processes.py \
	parity/test_processes.py)

test-backends:  ## both against float64, and against each other
	$(BIN)/python -m pytest tests/conformance tests/parity --ignore tests/parity/test_processes.py $(WHICH) $(ARGS)

# MindSpore's backend sets this limit of oneDNN, which torch's obeys as well from then on: set from the beginning, a run
# here and one in a child process choose the same kernels, and can be compared bit by bit.

test-processes:
	ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(PROCESSES) $(ARGS)

test-runs:
	ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest $(filter-out $(PROCESSES),$(wildcard tests/test_*.py)) $(WHICH) $(ARGS)

MMT := $(wildcard tests/golden/test_mmt_*.py)
MVD := $(wildcard tests/golden/test_mvd_*.py)

test-golden-mmt:  ## beside the public code's numbers
	$(BIN)/python -m pytest $(MMT) $(WHICH) $(ARGS)

test-golden-mvd:
	$(BIN)/python -m pytest $(MVD) $(WHICH) $(ARGS)

test-core:
	$(BIN)/python -m pytest tests --ignore tests/conformance --ignore tests/parity --ignore-glob 'tests/test_*.py' \
		$(addprefix --ignore ,$(MMT) $(MVD)) $(WHICH) $(ARGS)

WITHOUT_MINDSPORE := --ignore tests/conformance/test_ascend.py \
	--ignore-glob 'tests/conformance/test_mindspore_*.py' -k "not mindspore"

# MindSpore keeps numpy below 2. Beside the environment lies a newer one, which PYTHONPATH puts in front of it.
NUMPY2 := 2.4.6
FIRST := PYTHONPATH=$(abspath $(VENV)/numpy-$(NUMPY2))$(if $(PYTHONPATH),:$(PYTHONPATH))
NUMBERS := $(foreach name,dbscan evaluate feature_files jaccard kmeans losses losses_mvd neighbours products \
	pseudo_labels random ranking rerank snapshot state,tests/core/test_$(name).py) \
	tests/conformance/test_losses.py tests/test_train.py::test_mmt_from_nothing_to_a_table
OTHERS := $(foreach name,agreement approximate augment checkpoint divergence equal_rows float64 grouping mining openset \
	sampling sampling_reference,tests/core/test_$(name).py) \
	$(addprefix tests/datasets/test_,batches.py cache.py cross_modal.py decode.py folder.py listing.py mars.py protocols.py \
	readers.py) tests/conformance/test_optimiser.py
UNDER_NUMPY2 := -k "not mindspore and not several_processes" -m "not long"

test-numpy2: $(VENV)/numpy-$(NUMPY2)/.done  ## core's numbers and a training with torch under numpy 2
	$(FIRST) $(BIN)/python -c "import numpy as np; exit(np.__version__ != '$(NUMPY2)' and f'numpy $(NUMPY2) expected: {np}')"
	$(FIRST) $(BIN)/python -m pytest $(NUMBERS) $(UNDER_NUMPY2) $(ARGS)

test-numpy2-others: $(VENV)/numpy-$(NUMPY2)/.done  ## the rest of core and the datasets under numpy 2
	$(FIRST) $(BIN)/python -m pytest $(OTHERS) $(UNDER_NUMPY2) $(ARGS)

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

$(VENV)/numpy-$(NUMPY2)/.done: | $(VENV)/.all
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) numpy==$(NUMPY2)
	touch $@

clean:
	rm -rf $(VENV) *.egg-info
