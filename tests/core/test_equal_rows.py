"""Equal rows: the graph that keeps one row for many says what the whole one does, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from scipy import sparse

from duoreid.core.clusters import cluster
from duoreid.core.dbscan import dbscan, eps_from_share
from duoreid.core.grouping import certainty_of, group
from duoreid.core.jaccard import encoding_of, jaccard_graph, jaccard_similarity, similarity_of
from duoreid.core.methods import pseudo_labels
from duoreid.core.neighbours import search
from duoreid.core.numeric.equal_rows import Graph, equal_rows
from duoreid.core.settings.transfer import ClusterConfig
from tests.core import references
from tests.core.features import clustered, exact_unit_rows, generators


def repeated(random, count, groups, share, features=exact_unit_rows):
    """Return (count, D) features of which so large a share lies in groups of equal rows, in any order."""
    rows = features(random, count)
    equal = random.permutation(count)[: int(share * count)]
    rows[equal] = rows[random.integers(0, count, groups)][random.integers(0, groups, len(equal))]
    return rows


def on_circles(random, count):
    return clustered(random, count, 5)[0]


def directly(features, k1, k2, radius=None):
    """Return the similarity by the sums of all pairs of points, of which equal rows are pairs like others."""
    indices, similarities, _ = search(features, min(max(k1 + 1, k2), len(features)))
    return similarity_of(encoding_of(features, indices, similarities, None, k1, k2), radius)


def same(one, two):
    """Return whether two sparse matrices have the same entries, to the bit."""
    two = sparse.csr_array(two)
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("indptr", "indices", "data"))


cases = given(
    generators,
    strategies.integers(20, 90),
    strategies.integers(1, 4),
    strategies.sampled_from([0.5, 0.9, 1.0]),
    strategies.integers(1, 6),
    strategies.integers(1, 4),
)


@settings(max_examples=20, deadline=None)
@cases
def test_the_graph_is_that_of_the_definition(random, count, groups, share, k1, k2):
    features = repeated(random, count, groups, share)
    graph = jaccard_graph(features, k1=k1, k2=k2)
    expected = references.jaccard(features, k1, k2)
    np.testing.assert_allclose(1 - graph.expanded().toarray(), expected, atol=3e-7)


@settings(max_examples=20, deadline=None)
@cases
def test_the_graph_has_the_bits_of_all_pairs(random, count, groups, share, k1, k2):
    features = repeated(random, count, groups, share, on_circles)
    for radius in (None, 0.6):
        graph = jaccard_graph(features, k1=k1, k2=k2, radius=radius)
        whole = directly(features, k1, k2, radius)
        assert same(graph.expanded(), whole)
        assert same(jaccard_similarity(features, k1=k1, k2=k2, radius=radius), whole)


@settings(max_examples=20, deadline=None)
@cases
def test_clusters_of_the_graph_are_those_of_all_pairs(random, count, groups, share, k1, k2):
    graph = jaccard_graph(repeated(random, count, groups, share, on_circles), k1=k1, k2=k2)
    whole = graph.expanded()
    for part in (0.02, 0.3, 1.0):
        try:
            expected = eps_from_share(whole, part)
        except ValueError:
            with pytest.raises(ValueError, match="no two different points"):
                eps_from_share(graph, part)
            continue
        assert eps_from_share(graph, part) == expected
    for eps in (0.0, 0.3, 0.5, 0.8, *(1 - np.unique(whole.data.astype(np.float64))[:3])):
        for least in (1, 2, 5):
            labels = dbscan(whole, eps=eps, min_samples=least)
            np.testing.assert_array_equal(dbscan(graph, eps=eps, min_samples=least), labels)
    labels[random.random(count) < 0.2] = 0  # points of one class may be in several groups
    np.testing.assert_allclose(certainty_of(graph, labels), certainty_of(whole, labels), atol=1e-6)


def test_points_of_a_class_beyond_eps_are_apart():
    """Three points of one class at 0.6 from each other, a fourth at 0.2 from all of them."""
    alone = Graph(sparse.csr_array(np.float32([[0.4, 0.8], [0.8, 1]])), np.array([0, 0, 1, 0]))
    for eps, least in ((0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2), (0.2, 3), (0.2, 4), (0.7, 4)):
        expected = dbscan(alone.expanded(), eps=eps, min_samples=least)
        np.testing.assert_array_equal(dbscan(alone, eps=eps, min_samples=least), expected)
    assert dbscan(alone, eps=0.1, min_samples=1).tolist() == [0, 1, 2, 3]
    assert dbscan(alone, eps=0.2, min_samples=4).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("threshold", [None, 0.5, 0.99])
def test_groups_and_clusters_of_equal_rows(threshold):
    features = repeated(np.random.default_rng(1), 120, 2, 0.6, on_circles)
    settings = {"k1": 5, "k2": 3}
    groups = group(features, eps=0.5, min_samples=3, threshold=threshold, **settings)
    whole = directly(features, 5, 3)
    linked = whole.toarray() * (features @ features.T >= (-1 if threshold is None else threshold))
    np.fill_diagonal(linked, 1)
    expected = dbscan(sparse.csr_array(linked), eps=0.5, min_samples=3)
    np.testing.assert_array_equal(groups.labels, expected)
    if threshold is None:
        np.testing.assert_array_equal(cluster(features, eps=0.5, min_samples=3, **settings), expected)
    config = ClusterConfig(clustering="dbscan", jaccard_scale="none", min_samples=3, **settings)
    labels, _, eps = pseudo_labels.cluster(features, config, seed=0, epoch=0, eps=None)
    whole = directly(pseudo_labels.normalise(features), 5, 3)
    assert eps == eps_from_share(whole, config.eps_share)
    np.testing.assert_array_equal(labels, dbscan(whole, eps=eps, min_samples=3))


def test_memory_grows_with_the_points_not_with_their_pairs():
    """8,000 rows in ten groups have 6.4 million pairs; 1,000 equal ones beside 1,000 in clusters a million more."""
    random = np.random.default_rng(0)
    ten = exact_unit_rows(random, 10)[random.integers(0, 10, 8000)]
    half = clustered(random, 2000, 80)[0]
    equal = random.permutation(2000)[:1000]
    half[equal] = half[equal[0]]
    kept = jaccard_graph(np.delete(half, equal[1:], axis=0)).similarity.nnz
    for rows, pairs, most in ((ten, 1000, 40e6), (half, 1.5 * kept, 60e6)):
        tracemalloc.start()
        graph = jaccard_graph(rows)
        dbscan(graph, eps=eps_from_share(graph))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert graph.similarity.nnz < pairs
        assert peak < most


def test_equal_rows_are_found():
    random = np.random.default_rng(2)
    rows = random.integers(0, 2, (300, 6)).astype(np.float32)
    rows[:, 1] = 0
    rows[7, 0] = -0.0 if rows[7, 0] == 0 else rows[7, 0]
    _, number = np.unique(rows.view(np.uint32), axis=0, return_inverse=True)
    expected = [np.flatnonzero(number.ravel() == value) for value in range(number.max() + 1)]
    for more_than in (0, 5, 9):
        sets = sorted(map(tuple, equal_rows(rows, more_than)))
        assert sets == sorted(tuple(one) for one in expected if len(one) > more_than)
    assert equal_rows(np.eye(5, dtype=np.float32), 1) == []
