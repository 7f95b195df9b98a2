"""What MVD's learners take, keep and return: the feature of the test, states, and batches that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from duoreid.core.contract.state import expected_shapes, initial
from tests.conformance.comparison_mvd import PRECISION, RATE, as_float64, close, moved, trained_of, variants
from tests.conformance.examples_mvd import CONFIGS, FULL, example_batch, example_state, variant
from tests.conformance.reference_mvd import embedding
from tests.conftest import learner_of, probe_of
from tests.tolerances import check_close

# Features of the test


@variants("full", "reference, attention", "the PyTorch code's", "the port's", "all the others")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_feature_is_the_four_observations(backend, name, precision):
    if precision == "float64" and backend == "mindspore":
        pytest.skip("tests/parity holds it to torch's, beside the steps that it is compiled for")
    config = CONFIGS[name]
    learner, images = learner_of(backend, config, precision), example_batch(config, 3).images
    learner.import_state(example_state(config))
    images = np.concatenate([images[0], images[1, :3]])
    features = learner.embed([images[:5], images[5:]])
    assert features.shape == (1, 11, 4 * 16)
    assert features.dtype == precision
    kind = "network.float64" if precision == "float64" else "network.test.float32"
    check_close(kind, features[0], embedding(config, example_state(config), images))


# State


@variants("full", "reference, attention", "sgd, slow backbone", "all the others")
def test_state_round_trip_and_exact_resume(backend, name):
    config = CONFIGS[name]
    learner, state = learner_of(backend, config), example_state(config)
    learner.import_state(state)
    exported = learner.export_state()
    assert exported.keys() == expected_shapes(config).keys() == state.keys()
    for tensor, value in state.items():
        np.testing.assert_array_equal(exported[tensor], value, err_msg=tensor)
    for step in range(2):
        learner.step(example_batch(config, step), RATE, 0.0)
    middle = learner.export_state()
    learner.step(example_batch(config, 2), RATE, 0.0)
    straight = learner.export_state()
    learner.import_state(middle)
    learner.step(example_batch(config, 2), RATE, 0.0)
    again = learner.export_state()
    for tensor, value in straight.items():
        np.testing.assert_array_equal(again[tensor], value, err_msg=tensor)
    assert straight[f"{config.optimiser}.step"] == 10


@variants("full", "sgd, slow backbone", "all the others")
def test_imported_moments_move_their_own_numbers(backend, name):
    """Each number of a tensor by its own moment, however a backend lays tensors out in memory."""
    config = CONFIGS[name]
    learner = learner_of(backend, config, PRECISION[backend])
    learner.import_state(example_state(config))
    before = as_float64(learner.export_state())
    learner.step(example_batch(config), RATE, 0.0)
    after = as_float64(learner.export_state())
    for tensor in trained_of(config):
        expected = moved(config, before, after, tensor, 8)
        close(backend, "step.parameters", after[tensor], expected, what=tensor)


def test_a_new_learner_has_the_canonical_initial_state(backend):
    config = variant(channel_attention=True)
    state = probe_of(backend).make_learner(config, seed=4).export_state()
    for tensor, value in initial(config, 4).items():
        np.testing.assert_array_equal(state[tensor], value, err_msg=tensor)


# What is refused


def test_centroids_are_refused(backend):
    with pytest.raises(ValueError, match="true labels"):
        learner_of(backend, FULL).relabel(np.zeros((4, 16), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda batch: batch._replace(noise=None), "noise for 64 rows of z, got none"),
        (lambda batch: batch._replace(noise=batch.noise[:-1]), "noise for 64 rows of z, got 63 rows"),
        (lambda batch: batch._replace(images=batch.images[:1]), r"mvd takes 2 views .*visible.*infrared.*got 1"),
    ],
)
def test_a_batch_that_is_not_whole_is_refused(backend, change, message):
    learner = learner_of(backend, FULL)
    learner.import_state(example_state(FULL))
    with pytest.raises(ValueError, match=message):
        learner.step(change(example_batch(FULL)), RATE, 0.0)
