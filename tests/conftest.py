"""Fixtures that conformance and parity tests share: the backends, and learners that are built once.

A backend that cannot be imported is a failure, never a skip.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from duoreid.core.settings.config import LearnerConfig
from duoreid.core.settings.transfer import AdaptConfig, ClusterConfig

BACKENDS = ["torch", "mindspore"]
_devices: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where conformance is tested: see `make test-cuda`."""
    for name in BACKENDS:
        words = f"device of {name} in the tests that take the fixtures `backend` and `probe` (default: cpu)"
        parser.addoption(f"--{name}-device", default="cpu", help=words)


def pytest_configure(config: pytest.Config) -> None:
    """Note the devices."""
    _devices.update({name: config.getoption(f"--{name}-device") for name in BACKENDS})


LONG = {
    "tests/conformance/test_mindspore_rules.py::test_one_compilation_of_mvd_across_epochs": "MMT's is short",
    "tests/conformance/test_step.py::test_gradients[mindspore-mmt]": "tests/parity holds them to float64",
    "tests/conformance/test_step.py::test_the_second_view_of_the_source_method_moves_statistics[mindspore]": "torch's",
    "tests/conformance/test_verbs.py::test_relabel_beyond_the_capacity[mindspore]": "torch's is short",
    "tests/datasets/test_crew.py::test_a_signal_leaves_nothing_running[1-129]": "SIGTERM's and SIGINT's",
    "tests/datasets/test_crew.py::test_a_script_without_a_guard[standard input]": "a file's",
    "tests/docs/test_docs.py::test_blocks_run_or_are_accepted[docs/runs.md]": "README's commands are short",
    "tests/docs/test_docs.py::test_blocks_run_or_are_accepted[docs/training.md]": "README's commands are short",
    "tests/docs/test_docs.py::test_blocks_run_or_are_accepted[docs/using.md]": "README's commands are short",
    "tests/parity/test_processes.py::test_both_processes_hold_the_same_bytes[mindspore-source/0/float32]": "torch's",
    "tests/test_backbone_exam.py::test_a_tensor_without_weight_decay_has_none[mindspore]": "torch's",
    "tests/test_backbone_exam.py::test_training_evaluation_export_and_import[mindspore]": "torch's",
    "tests/test_export.py::test_files_of_mvd_s_tensors_are_read_back_whole[mindspore-npz]": "the .ckpt's",
    "tests/test_export.py::test_mindir[gem-uint8]": "the other graph's",
    "tests/test_train_mvd.py::test_a_diverging_run_of_mindspore_ends_in_one_message": "conformance has the check",
    "tests/test_resume.py::test_killed_again_and_again[torch]": "tests/test_faults.py kills once",
}
"""Cases of tests whose other cases are short, marked `long` here: how they are called, and what stands beside them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of LONG."""
    for item in items:
        if item.nodeid in LONG:
            item.add_marker(pytest.mark.long)


@cache
def probe_of(name: str) -> ModuleType:
    """Return a backend's probe: NumPy in, NumPy out, computed on the device of --NAME-device."""
    probe = importlib.import_module(f"duoreid.backends.{name}.probe")
    chosen = probe.RuntimeConfig(device=_devices[name])
    probe.compute_on(replace(chosen, deterministic=True) if hasattr(chosen, "deterministic") else chosen)
    return probe


@cache
def _learner(name: str, config: LearnerConfig, precision: str) -> Any:
    return probe_of(name).make_learner(config, precision=precision)


READ = ("hard_ce", "hard_triplet", "soft_ce", "soft_triplet", "smoothing")
"""Settings of a stage's section that the device halves of MMT and of its baseline read."""


def as_a_device_sees(config: LearnerConfig) -> LearnerConfig:
    """Return a configuration whose section of stage 2 says nothing but what a device half reads of it."""
    if type(config.section) not in (ClusterConfig, AdaptConfig):
        return config
    read = {name: getattr(config.section, name) for name in READ if hasattr(config.section, name)}
    return replace(config, section=replace(type(config.section)(), **read))


def learner_of(name: str, config: LearnerConfig, precision: str = "float32") -> Any:
    """Return the learner of a backend and configuration, built once a session: import a state before use.

    A test that changes the capacity must make a learner of its own.
    """
    learner = _learner(name, as_a_device_sees(config), precision)
    learner.losses()
    return learner


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of one backend after the other."""
    return request.param


@pytest.fixture
def probe(backend: str) -> ModuleType:
    """The probe of one backend after the other."""
    return probe_of(backend)


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the smallest network of a run in this process be one that takes MindSpore less time to compile."""
    from tests.conformance import examples  # which defines it

    monkeypatch.setitem(examples.BACKBONES, "tiny", examples.BACKBONES["shallow"])


@pytest.fixture(scope="session")
def _work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def elsewhere(_work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a temporary folder: MindSpore writes reports of failed compilations into the working directory."""
    monkeypatch.chdir(_work)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A checkpoint of an adaptation and its state, for tests of the evaluate command."""
    from tests import evaluated  # which loads a dataset's readers

    return evaluated.save(tmp_path_factory.mktemp("saved"))
