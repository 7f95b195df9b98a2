import numpy as np
import pytest
from hypothesis import given, settings, strategies

from duoreid.core.rerank import rerank, rerank_blocks
from tests.core import references
from tests.core.features import clustered, exact_unit_rows, generators


def by_definition(query, gallery, k1, k2, weight):
    features = np.concatenate([query, gallery]).astype(np.float64)
    original = np.maximum(0, 2 - 2 * features @ features.T)
    original /= np.maximum(original.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    weights = references.encodings(original, references.rankings_of(features), k1, k2)
    shared = np.minimum(weights[: len(query), None], weights[None, len(query) :]).sum(axis=2)
    return (1 - weight) * (1 - shared / (2 - shared)) + weight * original[: len(query), len(query) :]


@settings(max_examples=40, deadline=None)
@given(
    generators,
    strategies.integers(1, 12),
    strategies.integers(1, 40),
    strategies.integers(1, 25),
    strategies.integers(1, 7),
    strategies.floats(0, 1),
)
def test_equals_the_definition(random, queries, items, k1, k2, weight):
    query, gallery = exact_unit_rows(random, queries), exact_unit_rows(random, items)
    expected = by_definition(query, gallery, k1, k2, weight)
    np.testing.assert_allclose(rerank(query, gallery, k1=k1, k2=k2, weight=weight), expected, atol=1e-6)


def test_defaults_and_blocks_on_clusters():
    random = np.random.default_rng(0)
    features, _ = clustered(random, 260, 12, width=64)
    query, gallery = features[:60], features[60:]
    result = rerank(3 * query, gallery)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, by_definition(query, gallery, 20, 6, 0.3), atol=3e-6)
    assert [start for start, _ in rerank_blocks(query, gallery)] == [0]


def test_improves_on_the_original_ranking():
    random = np.random.default_rng(1)
    features, member = clustered(random, 600, 30, noise=0.9)
    query, gallery = features[:100], features[100:]
    relevant = member[:100, None] == member[None, 100:]

    def hits(distances):
        return np.take_along_axis(relevant, np.argsort(distances, axis=1)[:, :15], 1).mean()

    assert hits(rerank(query, gallery)) > hits(-query @ gallery.T)


def test_empty_sides():
    some, none = np.eye(3, dtype=np.float32), np.zeros((0, 3), np.float32)
    assert rerank(none, some).shape == (0, 3)
    assert rerank(some, none).shape == (3, 0)


@pytest.mark.parametrize(
    ("query", "options", "text"),
    [
        (np.eye(2), {}, "as many columns"),
        (np.zeros((1, 3)), {}, "query row 0 has no direction"),
        (np.eye(3), {"weight": 2}, "weight"),
        (np.eye(3), {"k1": 0}, "k1"),
        (np.full((1, 3), np.inf), {}, "finite"),
    ],
)
def test_refuses(query, options, text):
    with pytest.raises(ValueError, match=text):
        rerank(query, np.eye(3), **options)
