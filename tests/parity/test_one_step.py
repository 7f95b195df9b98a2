"""One step in float32, torch against MindSpore, from the same state and the same bytes."""

from functools import cache

import numpy as np
import pytest

from duoreid.core.contract.state import FIRST
from tests.conformance.examples import BASELINE, MMT, example_batch, example_state, fresh, views_of
from tests.conftest import learner_of
from tests.parity.gradients import check_as_close_as_torch
from tests.tolerances import check_close

BATCHES = 3


@cache
def gradients(backend, precision):
    """The gradients of "total" of several batches from one state, as Adam received them: name -> (batches, ...)."""
    learner, state, samples = learner_of(backend, MMT, precision), fresh(example_state(MMT)), {}
    for index in range(BATCHES):
        learner.import_state(state)
        learner.step(example_batch(20 + index), 1e-4, 0.5)
        for name, value in learner.export_state().items():
            if name.startswith(FIRST):
                weight = state[name.removeprefix(FIRST)].astype(np.float64)
                samples.setdefault(name.removeprefix(FIRST), []).append(value / 0.1 - MMT.weight_decay * weight)
    return {name: np.stack(values) for name, values in samples.items()}


@pytest.mark.parametrize("config", [MMT, BASELINE], ids=["mmt", "baseline"])
def test_embeddings(config):
    features = {}
    for backend in ("torch", "mindspore"):
        learner = learner_of(backend, config)
        learner.import_state(example_state(config))
        features[backend] = learner.embed([example_batch(30).images[0]])
    assert np.abs(features["torch"][-1, 0] - features["torch"][-1, 1]).max() > 0.01, "all images embed alike"
    check_close("parity.embedding.float32", features["mindspore"], features["torch"])


@pytest.mark.parametrize("config", [MMT, BASELINE], ids=["mmt", "baseline"])
def test_losses_and_statistics(config):
    ends = {}
    for backend in ("torch", "mindspore"):
        learner = learner_of(backend, config)
        learner.import_state(example_state(config))
        learner.step(example_batch(31, views=views_of(config)), 1e-4, 0.5)
        ends[backend] = learner.losses(), learner.export_state()
    (losses, state), (expected, expected_state) = ends["mindspore"], ends["torch"]
    assert list(losses) == list(expected)
    for name, value in expected.items():
        check_close("parity.losses.float32", losses[name], value, what=name)
    for name, value in expected_state.items():
        if ".running_" in name:
            check_close("network.train.float32", state[name], value, what=name)


def test_double_precision_gradients_agree_and_are_the_truth():
    torch, mindspore = gradients("torch", "float64"), gradients("mindspore", "float64")
    assert torch.keys() == mindspore.keys()
    for name, value in torch.items():
        check_close("parity.float64", mindspore[name], value, what=name)


def test_gradients_are_as_close_to_the_truth_as_torch_s():
    """Whole gradient and tensor by tensor."""
    true, torch, mindspore = (
        gradients(*key) for key in (("torch", "float64"), ("torch", "float32"), ("mindspore", "float32"))
    )
    check_as_close_as_torch(true, torch, mindspore)
