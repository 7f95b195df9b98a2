"""States cross between the backends: bit for bit, through files too, and training goes on as if nothing happened."""

import numpy as np
import pytest

from duoreid.core.checkpoints import files as checkpoint
from tests.conformance.examples import MMT, example_state
from tests.conftest import learner_of
from tests.parity.trajectories import train
from tests.tolerances import check_close

DIRECTIONS = pytest.mark.parametrize(("giver", "taker"), [("torch", "mindspore"), ("mindspore", "torch")])
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "float64"])


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)
        assert np.asarray(state[name]).dtype == np.asarray(value).dtype, name


@DIRECTIONS
@PRECISIONS
def test_a_trained_state_crosses_bit_for_bit(giver, taker, precision, tmp_path):
    """Whoever saves it: the file has the same bytes."""
    state = train(giver, MMT, precision, 2, state=example_state(MMT)).state
    assert state["adam.step"] == 9
    checkpoint.save(tmp_path / "state.safetensors", state, {})
    loaded, _ = checkpoint.load(tmp_path / "state.safetensors")
    learner = learner_of(taker, MMT, precision)
    learner.import_state(example_state(MMT, seed=8))
    learner.import_state(loaded)
    assert_same(learner.export_state(), state)
    checkpoint.save(tmp_path / "again.safetensors", learner.export_state(), {})
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "state.safetensors").read_bytes()


@DIRECTIONS
def test_a_run_that_changes_its_backend_is_the_straight_run(giver, taker):
    middle = train(giver, MMT, "float64", 2).state
    changed = train(taker, MMT, "float64", 2, state=middle, first=2)
    straight = train("torch", MMT, "float64", 4)
    for name, values in straight.losses.items():
        check_close("parity.float64", changed.losses[name], values[2:], what=name)
    for name, value in straight.state.items():
        check_close("parity.float64", changed.state[name], value, what=name)
