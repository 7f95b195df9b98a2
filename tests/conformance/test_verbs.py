"""The six verbs of each backend: what they return, what they keep, what they leave alone."""

import numpy as np
import pytest

from duoreid.core.contract.state import FIRST, SECOND, check_state, expected_shapes, initial
from duoreid.core.methods.registry import spec_of
from duoreid.core.random import rng
from tests.conformance.examples import BASELINE, CAPACITY, MMT, SHALLOW, example_batch, example_state, views_of
from tests.conformance.reference import embeddings
from tests.conftest import learner_of, probe_of
from tests.tolerances import check_close

RATE, EMA = 3.5e-4, 0.9
CONFIGS = {"mmt": MMT, "baseline": BASELINE}
PRECISIONS = pytest.mark.parametrize("precision", ["float32", "float64"])
METHODS = pytest.mark.parametrize("method", CONFIGS)


def loaded(backend, method, precision="float32"):
    """Return the shared learner with the example state in it."""
    learner = learner_of(backend, CONFIGS[method], precision)
    learner.import_state(example_state(CONFIGS[method]))
    return learner


def steps(learner, method, first=0, count=2):
    for index in range(first, first + count):
        learner.step(example_batch(index, views=views_of(CONFIGS[method])), RATE * (1 + index), EMA)


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value, err_msg=name)


# -- embed ----------------------------------------------------------------------------------------------------


@PRECISIONS
def test_embeddings_are_the_teachers_in_test_mode(backend, precision):
    learner, images = loaded(backend, "mmt", precision), example_batch(3).images[0]
    features = learner.embed([images])
    assert features.dtype == precision
    expected = embeddings(MMT, example_state(MMT), ("teacher1", "teacher2"), images)
    check_close("network.float64" if precision == "float64" else "network.test.float32", features, expected)


def test_the_baseline_embeds_with_its_student(backend):
    images = example_batch(3).images[0]
    features = loaded(backend, "baseline").embed([images])
    check_close("network.test.float32", features, embeddings(BASELINE, example_state(BASELINE), ("student",), images))


def test_embeddings_do_not_depend_on_chunks(backend):
    learner, images = loaded(backend, "mmt"), example_batch(3).images[0]
    whole, parts = learner.embed([images]), learner.embed(chunk for chunk in (images[:5], images[5:]))
    check_close("embed.chunks.float32", parts, whole)


def test_embedding_takes_views_of_larger_arrays(backend):
    """Every second image of a larger array, mirrored: rows and columns that do not lie one after the other."""
    learner, images = loaded(backend, "mmt"), example_batch(4).images
    pool = np.concatenate([images[0], images[1]])
    chunk = pool[::2, :, ::-1]
    assert not chunk.flags.c_contiguous
    np.testing.assert_array_equal(learner.embed([chunk]), learner.embed([chunk.copy()]))


def test_embedding_changes_nothing(backend):
    learner, images = loaded(backend, "mmt"), example_batch(3).images[0]
    steps(learner, "mmt")
    plain = learner.export_state()
    learner.import_state(example_state(MMT))
    learner.embed([images])
    steps(learner, "mmt", count=1)
    learner.embed([images])
    steps(learner, "mmt", first=1, count=1)
    learner.embed([images])
    assert_same(learner.export_state(), plain)


def test_embedding_follows_training(backend):
    learner, images = loaded(backend, "mmt"), example_batch(3).images[0]
    before = learner.embed([images])
    steps(learner, "mmt")
    after = learner.embed([images])
    expected = embeddings(MMT, learner.export_state(), ("teacher1", "teacher2"), images)
    check_close("network.test.float32", after, expected)
    with pytest.raises(AssertionError, match="differs by"):
        check_close("network.test.float32", before, expected)


def test_results_are_copies(backend):
    """What a verb returned does not change when training goes on, and what it took is not written to."""
    learner, images = loaded(backend, "mmt"), example_batch(3).images[0]
    state, batch = learner.export_state(), example_batch(0)
    embedded = learner.embed([images])
    kept = {name: value.copy() for name, value in state.items()}, embedded.copy()
    steps(learner, "mmt")
    assert_same(state, kept[0])
    np.testing.assert_array_equal(embedded, kept[1])
    np.testing.assert_array_equal(batch.images, example_batch(0).images)
    learner.import_state(state)
    steps(learner, "mmt")
    assert_same(state, kept[0])
    state["teacher1.bn1.weight"][:] = 7
    assert (learner.export_state()["teacher1.bn1.weight"] != 7).any()


# -- losses ---------------------------------------------------------------------------------------------------


def test_losses_are_means_since_the_last_call(backend):
    learner, single = loaded(backend, "mmt"), []
    assert learner.losses() == {}
    for index in range(3):
        steps(learner, "mmt", first=index, count=1)
        single.append(learner.losses())
    assert learner.losses() == {}
    learner.import_state(example_state(MMT))
    steps(learner, "mmt", count=3)
    means = learner.losses()
    assert set(means) == {"hard_ce", "hard_triplet", "soft_ce", "soft_triplet", "total"}
    for name, value in means.items():
        each = [losses[name] for losses in single]
        assert isinstance(value, float)
        assert max(each) - min(each) > 1e-3 * abs(value), f"{name} hardly moves: any of the three would pass"
        assert value == pytest.approx(np.mean(each), rel=1e-6)
    assert learner.losses() == {}


# -- relabel --------------------------------------------------------------------------------------------------


def centroids(count, width=256):
    return (5 * rng(count, "centroids").standard_normal((count, width))).astype(np.float32)


@METHODS
@pytest.mark.parametrize("count", [4, CAPACITY])
def test_relabel(backend, method, count):
    learner = loaded(backend, method)
    steps(learner, method)
    before = learner.export_state()
    learner.relabel(centroids(count))
    after, chosen = learner.export_state(), spec_of(method)
    rows = centroids(count).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for role in chosen.all:
        weight = after[f"{role}.classifier.weight"]
        check_close("ema.float32", weight[:count], rows)
        assert (weight[count:] == 0).all()
    assert after["classes"] == count
    assert after["adam.step"] == 0
    for name, value in before.items():
        if name.startswith((FIRST, SECOND)):
            assert not after[name].any(), name
        elif not name.endswith("classifier.weight") and name not in ("classes", "adam.step"):
            np.testing.assert_array_equal(after[name], value, err_msg=name)


@METHODS
def test_training_after_relabel_is_training_from_what_was_exported(backend, method):
    """The optimiser is fresh on the device too, not only in the exported numbers, and the new classes are live."""
    learner = loaded(backend, method)
    steps(learner, method)
    learner.relabel(centroids(9))
    state = learner.export_state()
    learner.losses()
    steps(learner, method, first=2)
    straight, losses = learner.export_state(), learner.losses()
    learner.import_state(example_state(CONFIGS[method]))
    learner.import_state(state)
    steps(learner, method, first=2)
    assert_same(learner.export_state(), straight)
    assert learner.losses() == losses
    assert straight["adam.step"] == 2
    learner.import_state(state | {"classes": np.int64(6)})
    steps(learner, method, first=2)
    assert learner.losses()["hard_ce"] < 0.99 * losses["hard_ce"], "three dead classes count in the softmax"


def test_relabel_beyond_the_capacity(backend):
    learner = probe_of(backend).make_learner(SHALLOW)
    learner.import_state(example_state(SHALLOW))
    steps(learner, "baseline", count=1)
    before = learner.export_state()
    learner.relabel(centroids(CAPACITY + 3, 16))
    state = learner.export_state()
    capacity = len(state["student.classifier.weight"])
    assert capacity >= CAPACITY + 3
    check_state(state, learner.config)
    assert learner.config.capacity == capacity
    assert (state["classes"], state["adam.step"]) == (CAPACITY + 3, 0)
    for name, value in before.items():
        if name.startswith("student.") and not name.endswith("classifier.weight"):
            np.testing.assert_array_equal(state[name], value, err_msg=name)
    steps(learner, "baseline")
    assert np.isfinite(learner.losses()["total"])
    moved = learner.export_state()["student.classifier.weight"] - state["student.classifier.weight"]
    assert np.abs(moved[CAPACITY : CAPACITY + 3]).min(axis=0).max() > 0, "the new rows do not train"
    assert learner.embed([example_batch().images[0]]).shape == (1, 8, 16)


# -- state ----------------------------------------------------------------------------------------------------


def test_a_new_learner_has_the_canonical_initial_state(backend):
    learner = probe_of(backend).make_learner(BASELINE, seed=4)
    assert_same(learner.export_state(), initial(BASELINE, 4))


@PRECISIONS
def test_state_round_trip_is_bitwise(backend, precision):
    learner, state = loaded(backend, "mmt", precision), example_state(MMT)
    exported = learner.export_state()
    assert exported.keys() == expected_shapes(MMT).keys()
    assert_same(exported, state)
    for name in ("adam.step", "classes"):
        assert np.asarray(exported[name]).dtype == np.int64
    floats = {value.dtype.name for name, value in exported.items() if name not in ("adam.step", "classes")}
    assert floats == {precision}


@METHODS
def test_a_resumed_run_is_the_straight_run(backend, method):
    learner = loaded(backend, method)
    steps(learner, method)
    middle = learner.export_state()
    steps(learner, method, first=2)
    straight = learner.export_state()
    assert straight["adam.step"] == 11
    learner.import_state(example_state(CONFIGS[method]) | {"adam.step": np.int64(100)})
    steps(learner, method, count=1)
    learner.import_state(middle)
    assert_same(learner.export_state(), middle)
    steps(learner, method, first=2)
    assert_same(learner.export_state(), straight)


def test_moments_of_another_optimiser_state_matter(backend):
    """The example's moments and step count reach the device: without them the step would be another one."""
    learner = loaded(backend, "mmt")
    steps(learner, "mmt", count=1)
    true = learner.export_state()["student1.conv1.weight"]
    state = example_state(MMT)
    zeros = {name: np.zeros_like(value) for name, value in state.items() if name.startswith(FIRST)}
    for change in (zeros, {"adam.step": np.int64(0)}):
        learner.import_state(state | change)
        steps(learner, "mmt", count=1)
        assert np.abs(learner.export_state()["student1.conv1.weight"] - true).max() > 0.1 * RATE
