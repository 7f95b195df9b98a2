import numpy as np
import pytest
from hypothesis import given, settings, strategies

from duoreid.core.neighbours import nearest
from tests.core import references
from tests.core.features import clustered, exact_unit_rows, generators


@settings(max_examples=60, deadline=None)
@given(generators, strategies.integers(1, 60), strategies.data())
def test_equals_sorting_with_ties_and_duplicates(random, count, data):
    features = exact_unit_rows(random, count)
    k = data.draw(strategies.integers(1, count))
    indices, similarities = nearest(features, k)
    expected = references.rankings_of(features)[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(similarities, np.take_along_axis(features @ features.T, expected, 1))
    assert indices.dtype == np.int32
    assert similarities.dtype == np.float32


@pytest.mark.parametrize(("tile", "k"), [(200, 33), (64, 90), (1399, 5)])
def test_many_tiles_equal_one_full_sort(tile, k, monkeypatch):
    monkeypatch.setattr("duoreid.core.neighbours.TILE", tile)
    random = np.random.default_rng(0)
    features = np.repeat(exact_unit_rows(random, 350), 2, axis=0)[random.permutation(700)]
    indices, similarities = nearest(features, k)
    expected = references.rankings_of(features)[:, :k]
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(similarities, np.take_along_axis(features @ features.T, expected, 1))


def test_all_points_equal():
    features = np.tile(np.float32([1, 0]), (300, 1))
    indices, similarities = nearest(features, 5)
    assert (indices[:, 0] == np.arange(300)).all()
    assert (indices[250, 1:] == [0, 1, 2, 3]).all()
    assert (similarities == 1).all()


@pytest.mark.parametrize("convert", [np.float16, np.float64, lambda a: np.asfortranarray(a), lambda a: a[:, ::-1]])
def test_other_layouts_and_input_untouched(convert):
    features = exact_unit_rows(np.random.default_rng(1), 50)
    converted = convert(features) if not isinstance(convert, type) else features.astype(convert)
    before = converted.copy()
    np.testing.assert_array_equal(nearest(converted, 7)[0], nearest(features, 7)[0])
    np.testing.assert_array_equal(converted, before)


def test_similarities_are_those_of_float64_up_to_rounding():
    features, _ = clustered(np.random.default_rng(2), 500, 20, width=256)
    indices, similarities = nearest(features, 20)
    exact = features.astype(np.float64) @ features.T.astype(np.float64)
    np.testing.assert_allclose(similarities, np.take_along_axis(exact, indices, 1), atol=2e-6)
    assert (np.diff(similarities[:, 1:], axis=1) <= 0).all()


@pytest.mark.parametrize(
    ("features", "k", "text"),
    [
        (np.eye(3, dtype=np.float32), 4, r"k is 4 and features has \(3, 3\)"),
        (np.eye(3, dtype=np.float32), 0, "k must be an integer of at least 1"),
        (2 * np.eye(3, dtype=np.float32), 1, "L2-normalised"),
        (np.full((2, 2), np.nan, np.float32), 1, "finite"),
        (np.zeros(3, np.float32), 1, r"\(N, D\)"),
        (np.array([["a"]]), 1, "real numbers"),
    ],
)
def test_refuses(features, k, text):
    with pytest.raises(ValueError, match=text):
        nearest(features, k)
