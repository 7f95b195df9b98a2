"""MVD in torch and in MindSpore: ten steps in float64 to 1e-9, one in float32, states that cross.

MindSpore's float64 takes most of a minute to compile and is long. Shorter: its float32 beside torch's float64 as truth,
here, and a state's round trip in tests/conformance.
"""

from functools import cache

import numpy as np
import pytest

from duoreid.core.contract.state import FIRST
from tests.conformance.examples_mvd import FULL, example_batch, example_state, fresh
from tests.conftest import learner_of
from tests.parity.gradients import check_as_close_as_torch
from tests.tolerances import check_close

STEPS, RATE = 10, 3.5e-4


@cache
def run(backend):
    """Ten steps in float64 -> (losses by name (STEPS,), state, embedding, gradients of the first step by name)."""
    learner, history = learner_of(backend, FULL, "float64"), {}
    state = fresh(example_state(FULL))
    learner.import_state(state)
    for step in range(STEPS):
        learner.step(example_batch(FULL, step % 4), RATE * (1 + step % 2), 0.0)
        for name, value in learner.losses().items():
            history.setdefault(name, []).append(value)
        if step == 0:
            first = gradients_of(state, learner.export_state())
    embedding = learner.embed([example_batch(FULL, 9).images[0]])
    return {name: np.array(values) for name, values in history.items()}, learner.export_state(), embedding, first


def gradients_of(before, after):
    """The gradients of "total", as Adam received them at its first step, without the weight decay."""
    names = [name.removeprefix(FIRST) for name in after if name.startswith(FIRST)]
    return {n: after[FIRST + n].astype(np.float64) / 0.1 - FULL.weight_decay * before[n].astype(float) for n in names}


@pytest.mark.long
def test_losses_weights_statistics_moments_and_embeddings_in_double_precision():
    (losses, state, embedding, _), (others, theirs, other, _) = run("torch"), run("mindspore")
    assert list(others) == list(losses)
    for name, values in losses.items():
        assert np.ptp(values) > 1e-3, f"{name} hardly moves"
        check_close("parity.float64", others[name], values, what=name)
    assert theirs.keys() == state.keys()
    for name, value in state.items():
        check_close("parity.float64", theirs[name], value, what=name)
    check_close("parity.float64", other, embedding)


@pytest.mark.long
def test_a_state_crosses_bit_for_bit_and_the_other_backend_goes_on():
    _, state, _, _ = run("torch")
    ends = {}
    for backend in ("torch", "mindspore"):
        learner = learner_of(backend, FULL, "float64")
        learner.import_state(state)
        for name, value in learner.export_state().items():
            np.testing.assert_array_equal(value, state[name], err_msg=name)
        learner.step(example_batch(FULL, 5), RATE, 0.0)
        ends[backend] = learner.losses() | learner.export_state()
    for name, value in ends["torch"].items():
        check_close("parity.float64", ends["mindspore"][name], value, what=name)


@cache
def single(backend):
    """One step in float32 -> (losses, state, gradients), and the embedding before it."""
    learner, state = learner_of(backend, FULL), fresh(example_state(FULL))
    learner.import_state(state)
    embedding = learner.embed([example_batch(FULL, 9).images[0]])
    learner.step(example_batch(FULL, 0), RATE, 0.0)
    losses, after = learner.losses(), learner.export_state()
    return losses, after, gradients_of(state, after), embedding


def test_one_step_in_single_precision():
    (losses, state, _, embedding), (others, theirs, _, other) = single("torch"), single("mindspore")
    assert list(others) == list(losses)
    for name, value in losses.items():
        check_close("parity.losses.float32", others[name], value, scale=losses["total"], what=name)
    for name, value in state.items():
        if ".running_" in name:
            check_close("network.train.float32", theirs[name], value, what=name)
    assert np.abs(embedding[0, 0] - embedding[0, 1]).max() > 0.01, "all images embed alike"
    check_close("parity.embedding.float32", other, embedding)


def test_gradients_are_as_close_to_the_truth_as_torch_s():
    """Whole gradient and tensor by tensor."""
    true, torch, mindspore = run("torch")[3], single("torch")[2], single("mindspore")[2]
    check_as_close_as_torch(true, torch, mindspore)
