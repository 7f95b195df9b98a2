"""The networks of the public MVD codes, read as their files would be, in a learner of either backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import pytest

from duoreid.benchmarks.golden import mvd
from duoreid.benchmarks.golden.values import digest, direction
from duoreid.core.checkpoints.layouts_mvd import JointFile, public_of
from duoreid.core.contract.learner import Batch
from duoreid.core.contract.state import at_rest
from tests.conftest import probe_of
from tests.golden.numbers import document

DOCUMENTS = {"torch code": "mvd/mvd-torch", "port": "mvd/mvd-mindspore"}
PRECISIONS = {"torch": "float64", "mindspore": "float32"}  # MindSpore's single operations are float32 on a CPU


@cache
def file_of(code: str) -> JointFile:
    """Return the networks out of a file of one of the codes."""
    made = public_of(mvd.contents_of(document(DOCUMENTS[code])))
    assert made is not None
    return made


def learner_of(backend: str, code: str, *, group: int | None = None) -> Any:
    """Return a learner with the networks of a code, without dropout; nothing is compiled.

    group: of batch norm, half of a step as on two devices; None for one device.
    """
    made = file_of(code)
    config = made.learner_config()
    section = replace(config.section, dropout=0.0, mixed_groups=group is not None)
    network = replace(config.network, batch_norm_group=group or 0)
    config = replace(config, height=128, width=64, section=section, network=network)
    probe, precision = probe_of(backend), PRECISIONS[backend]
    if backend == "mindspore":
        runtime = probe.open_runtime(probe.RuntimeConfig(device="cpu", mode="pynative", precision=precision))
        learner = import_module("duoreid.backends.mindspore.learner").MindSporeLearner(config, runtime, 0)
    else:
        learner = probe.make_learner(config, precision=precision)
    learner.import_state(at_rest(config) | made.tensors)
    return learner


GROUPS = {"torch code": 8, "port": None}
"""Batch-norm group of the learner that serves both tests: two devices, and one."""

SIZES = {"torch code": (256, 128), "port": (288, 144)}
"""Height and width of the pictures that the recorded test features are of."""

CROSSED = pytest.mark.long
"""A code's numbers in the other framework than its own. Shorter: each in its own framework, and the two backends' steps
of MVD held to each other by tests/parity, to float64 by tests/conformance."""


class Step(NamedTuple):
    """Test features float32 (8, 8192) before a step, and its losses, gradients and running statistics by our names."""

    features: np.ndarray
    losses: dict[str, float]
    gradients: dict[str, np.ndarray]
    running: dict[str, np.ndarray]


@cache
def step(backend: str, code: str, group: int | None) -> Step:
    """Return what one learner computes of the recorded pictures: to make its 82 million weights takes as long."""
    learner = learner_of(backend, code, group=group)
    features = learner.embed(np.split(mvd.embedded_pictures(*SIZES[code]), 4))[0]
    views, labels = mvd.training_pictures()
    losses, gradients = probe_of(backend).gradients_of(learner, Batch(views, labels))
    running = {name: value for name, value in learner.export_state().items() if ".running_" in name}
    return Step(features, losses, gradients, running)


def gradients(code: str, own_step: Step, recorded: dict[str, list[float]]) -> Iterator[tuple[str, float, float]]:
    """Yield (name, difference of the norms, of the dot products), relative to the recorded norm.

    Tensors whose gradient is zero in exact arithmetic, biases in front of a norm, are left out.
    """
    layout = file_of(code).layout
    largest = max(norm for norm, _ in recorded.values())
    for theirs, (norm, dot) in recorded.items():
        if norm > 1e-6 * largest:
            own_norm, own_dot = digest(theirs, own_step.gradients[layout.ours(theirs)])
            yield theirs, abs(own_norm - norm) / norm, abs(own_dot - dot) / norm


def statistics(code: str, own_step: Step, recorded: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Yield (name, difference of the dot products) of the running statistics."""
    layout = file_of(code).layout
    for theirs, dot in recorded.items():
        own = own_step.running[layout.ours(theirs)].astype(np.float64)
        yield theirs, abs(float((own * direction(theirs, own.shape)).sum()) - dot)
