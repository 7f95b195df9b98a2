import numpy as np
import pytest
from hypothesis import example, given, settings, strategies

from duoreid.core.jaccard import jaccard_similarity
from duoreid.core.neighbours import nearest, search
from tests.core import references
from tests.core.features import clustered, exact_unit_rows, generators

SCALES = strategies.sampled_from([None, "farthest"])
ROUNDING = 3e-7  # the similarity is stored as float32; the weights come from float32 similarities


@settings(max_examples=40, deadline=None)
@given(generators, strategies.integers(1, 35), strategies.integers(1, 50), strategies.integers(1, 8), SCALES)
@example(np.random.default_rng(0), 1, 30, 6, None)
@example(np.random.default_rng(0), 1, 30, 6, "farthest")
def test_equals_the_definition_with_ties_and_duplicates(random, count, k1, k2, scale):
    features = exact_unit_rows(random, count)
    similarity = jaccard_similarity(features, k1=k1, k2=k2, scale=scale)
    np.testing.assert_allclose(1 - similarity.toarray(), references.jaccard(features, k1, k2, scale), atol=ROUNDING)


@settings(max_examples=20, deadline=None)
@given(generators, strategies.integers(20, 90), strategies.sampled_from([5, 20, 25, 30]), SCALES)
def test_equals_the_definition_on_clusters(random, count, k1, scale):
    features, _ = clustered(random, count, 6)
    similarity = jaccard_similarity(features, k1=k1, scale=scale)
    np.testing.assert_allclose(1 - similarity.toarray(), references.jaccard(features, k1, 6, scale), atol=2e-6)


@settings(max_examples=30, deadline=None)
@given(generators, strategies.integers(2, 80), strategies.floats(0, 1), SCALES)
def test_radius_keeps_exactly_the_pairs_within(random, count, radius, scale):
    features, _ = clustered(random, count, 5)
    whole = jaccard_similarity(features, k1=12, scale=scale).toarray()
    pruned = jaccard_similarity(features, k1=12, scale=scale, radius=radius).toarray()
    np.testing.assert_array_equal(pruned, np.where(1 - whole.astype(np.float64) <= radius, whole, 0))


def test_symmetric_sorted_and_one_on_the_diagonal():
    features, _ = clustered(np.random.default_rng(3), 1500, 60)
    similarity = jaccard_similarity(features)
    assert similarity.dtype == np.float32
    assert similarity.has_canonical_format
    assert (similarity.diagonal() == 1).all()
    assert abs(similarity - similarity.T).nnz == 0
    assert similarity.data.min() > 0
    assert similarity.data.max() <= 1


def test_order_of_the_points_does_not_matter():
    random = np.random.default_rng(4)
    features, _ = clustered(random, 300, 12)
    order = random.permutation(300)
    shuffled = jaccard_similarity(features[order]).toarray()
    np.testing.assert_allclose(shuffled, jaccard_similarity(features).toarray()[np.ix_(order, order)], atol=1e-6)


def test_duplicates_are_at_distance_zero():
    features = np.repeat(np.eye(40, dtype=np.float32), 7, axis=0)
    similarity = jaccard_similarity(features, k1=6, k2=3).toarray()
    np.testing.assert_array_equal(similarity, np.kron(np.eye(40), np.ones((7, 7))))


def test_input_is_not_modified_and_may_be_of_any_layout():
    features = exact_unit_rows(np.random.default_rng(5), 60)
    expected = jaccard_similarity(features, k1=10).toarray()
    for converted in (features.astype(np.float16), features.astype(np.float64), np.asfortranarray(features)):
        before = converted.copy()
        np.testing.assert_array_equal(jaccard_similarity(converted, k1=10).toarray(), expected)
        np.testing.assert_array_equal(converted, before)


def test_the_scale_decides_the_weights():
    """Three points in a row, all of one set: the weights of each are exp(-d^2), or exp(-d^2 / max d^2)."""
    angle = np.array([0.0, 0.4, 1.2])
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    squared = 2 - 2 * np.cos(angle[:, None] - angle)
    for scale, divided in ((None, squared), ("farthest", squared / squared.max(axis=1, keepdims=True))):
        weights = np.exp(-divided)
        weights /= weights.sum(axis=1, keepdims=True)
        shared = np.minimum(weights[:, None], weights).sum(axis=2)
        similarity = jaccard_similarity(features, k1=2, k2=1, scale=scale).toarray()
        np.testing.assert_allclose(similarity, shared / (2 - shared), atol=ROUNDING)


def test_points_that_coincide_have_no_farthest():
    features = np.repeat(np.float32([[0.6, 0.8]]), 5, axis=0)
    np.testing.assert_array_equal(jaccard_similarity(features, k1=2, scale="farthest").toarray(), np.ones((5, 5)))


def test_neighbours_with_the_farthest_may_be_given():
    features, _ = clustered(np.random.default_rng(7), 150, 9)
    neighbours = search(features, 30, lowest=True)
    given = jaccard_similarity(features, k1=20, scale="farthest", neighbours=neighbours)
    np.testing.assert_array_equal(given.toarray(), jaccard_similarity(features, k1=20, scale="farthest").toarray())
    plain = jaccard_similarity(features, k1=20, neighbours=neighbours)
    np.testing.assert_array_equal(plain.toarray(), jaccard_similarity(features, k1=20).toarray())
    for wrong in (neighbours[:2], (*neighbours[:2], neighbours[2][:9])):
        with pytest.raises(ValueError, match=r"lowest similarity \(150,\)"):
            jaccard_similarity(features, k1=20, scale="farthest", neighbours=wrong)


def test_neighbours_may_be_given():
    features, _ = clustered(np.random.default_rng(6), 200, 9)
    neighbours = nearest(features, 40)
    given = jaccard_similarity(features, k1=20, neighbours=neighbours)
    np.testing.assert_array_equal(given.toarray(), jaccard_similarity(features, k1=20).toarray())
    with pytest.raises(ValueError, match=r"\(200, 51 or more\)"):
        jaccard_similarity(features, k1=50, neighbours=neighbours)
    with pytest.raises(ValueError, match="begin with the point itself"):
        jaccard_similarity(features, k1=20, neighbours=(neighbours[0][:, ::-1], neighbours[1]))


def test_empty():
    assert jaccard_similarity(np.zeros((0, 4), np.float32)).shape == (0, 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k1": 0}, "k1 must be an integer"),
        ({"k2": 0}, "k2 must be an integer"),
        ({"k1": 2.5}, "k1 must be an integer"),
        ({"scale": "nearest"}, "scale must be None .* is 'nearest'"),
        ({"radius": 1.5}, "radius"),
        ({"radius": float("nan")}, "radius"),
    ],
)
def test_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        jaccard_similarity(np.eye(3, dtype=np.float32), **options)
