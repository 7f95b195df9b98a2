"""The batch-hard miner against a brute-force reference, and the definition of distances."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies

from duoreid.core.mining import batch_hard, euclidean_distances
from duoreid.core.random import rng
from tests.core.features import generators


def brute_force(distances, labels):
    positive, negative = [], []
    for anchor, label in enumerate(labels):
        same = [j for j in range(len(labels)) if labels[j] == label]
        other = [j for j in range(len(labels)) if labels[j] != label]
        positive.append(max(same, key=lambda j: (distances[anchor, j], -j)))
        negative.append(min(other, key=lambda j: (distances[anchor, j], j)))
    return positive, negative


@pytest.mark.parametrize("levels", [2, 3, 1000])
@pytest.mark.parametrize("identities", [2, 5, 20])
def test_batch_hard_equals_brute_force_with_ties(levels, identities):
    for step in range(20):
        generator = rng(0, "test", levels, 100 * identities + step)
        labels = generator.integers(0, identities, 24)
        labels[:2] = 0, 1
        distances = generator.integers(0, levels, (24, 24)) / levels
        positive, negative = batch_hard(distances, labels)
        expected = brute_force(distances, labels)
        np.testing.assert_array_equal(positive, expected[0])
        np.testing.assert_array_equal(negative, expected[1])
        assert positive.dtype == negative.dtype == np.int64


@settings(max_examples=100, deadline=None)
@given(
    generators,
    strategies.integers(2, 24),
    strategies.sampled_from([1, 2, 5, 10**6]),
    strategies.sampled_from([np.float16, np.float32, np.float64, np.int64]),
    strategies.sampled_from([np.int32, np.uint8, np.int64]),
    strategies.booleans(),
)
def test_batch_hard_equals_brute_force_on_any_type_and_layout(random, count, levels, dtype, label_type, sliced):
    labels = random.integers(random.integers(1, count + 1), size=count)
    labels[random.integers(count)] = 30  # a second identity at least
    distances = random.integers(levels, size=(count, 2 * count)) % 2048  # whole in half precision too
    distances = np.asfortranarray(distances.astype(dtype))[:, ::2] if sliced else distances[:, :count].astype(dtype)
    before = distances.copy()
    positive, negative = batch_hard(distances, labels.astype(label_type))
    assert (positive.tolist(), negative.tolist()) == brute_force(before, labels)
    np.testing.assert_array_equal(distances, before)


def test_all_equal_distances_give_the_first_indices():
    positive, negative = batch_hard(np.ones((5, 5), np.float32), np.array([3, 3, 1, 1, 3]))
    assert positive.tolist() == [0, 0, 2, 2, 0]
    assert negative.tolist() == [2, 2, 0, 0, 2]


def test_an_anchor_without_another_image_is_its_own_positive():
    distances = euclidean_distances(np.array([[0.0], [1.0], [5.0]]))
    positive, negative = batch_hard(distances, np.array([0, 0, 1]))
    assert positive.tolist() == [1, 0, 2]
    assert negative.tolist() == [2, 2, 1]


def test_mining_follows_a_permutation_of_the_batch():
    generator = rng(1, "test")
    distances = euclidean_distances(generator.normal(size=(12, 4)))
    labels, order = np.arange(12) % 4, generator.permutation(12)
    positive, negative = batch_hard(distances, labels)
    permuted = batch_hard(distances[np.ix_(order, order)], labels[order])
    np.testing.assert_array_equal(order[permuted[0]], positive[order])
    np.testing.assert_array_equal(order[permuted[1]], negative[order])


def test_mining_leaves_its_input_untouched():
    distances = euclidean_distances(rng(2, "test").normal(size=(6, 3)))
    before = distances.copy()
    batch_hard(distances, np.array([0, 0, 1, 1, 2, 2]))
    np.testing.assert_array_equal(distances, before)


def test_batch_hard_refuses_a_batch_without_negatives():
    with pytest.raises(ValueError, match="at least 2 identities"):
        batch_hard(np.ones((4, 4)), np.zeros(4, int))
    with pytest.raises(ValueError, match="at least 2 identities"):
        batch_hard(np.ones((0, 0)), np.zeros(0, int))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_batch_hard_refuses_distances_that_are_not_finite(value):
    distances = np.ones((4, 4))
    distances[2, 1] = value
    with pytest.raises(ValueError, match="finite"):
        batch_hard(distances, np.array([0, 0, 1, 1]))


def test_batch_hard_refuses_wrong_shapes_and_labels():
    with pytest.raises(ValueError, match=r"\(B, B\)"):
        batch_hard(np.ones((4, 3)), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="integer labels"):
        batch_hard(np.ones((4, 4)), np.array([0.0, 0.0, 1.0, 1.0]))


def test_distances_by_hand():
    distances = euclidean_distances(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]))
    np.testing.assert_allclose(distances[0], [1e-6, 5, 5], rtol=1e-12)
    assert distances[1, 2] == pytest.approx(1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_equal_the_direct_form_and_keep_the_precision(dtype):
    generator = rng(3, "test")
    x, y = generator.normal(size=(7, 5)).astype(dtype), generator.normal(size=(4, 5)).astype(dtype)
    direct = np.linalg.norm(x[:, None].astype(float) - y[None], axis=2)
    distances = euclidean_distances(x, y)
    assert distances.dtype == dtype
    np.testing.assert_allclose(distances, direct, rtol=1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_diagonal_is_exact_whatever_the_scale(dtype):
    features = (100 * rng(4, "test").normal(size=(16, 64))).astype(dtype)
    assert (np.diagonal(euclidean_distances(features)) == dtype(np.sqrt(1e-12))).all()


def test_distances_between_two_arrays_keep_their_diagonal():
    x = rng(5, "test").normal(size=(4, 3))
    np.testing.assert_allclose(np.diagonal(euclidean_distances(x, x + np.array([3, 0, 4]))), 5)


def test_distances_refuse_widths_that_differ():
    with pytest.raises(ValueError, match="one width"):
        euclidean_distances(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="one width"):
        euclidean_distances(np.ones(3))
