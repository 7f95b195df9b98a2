import numpy as np
import pytest
from hypothesis import given, settings, strategies
from scipy import sparse

from duoreid.core.dbscan import dbscan, eps_from_share
from duoreid.core.jaccard import jaccard_similarity
from tests.core import references
from tests.core.features import clustered, generators


def random_similarity(random, count, density):
    values = random.integers(1, 5, (count, count)) / 4 * (random.random((count, count)) < density)
    values = np.triu(values, 1)
    return sparse.csr_array((values + values.T + np.eye(count)).astype(np.float32))


def by_definition(distances, eps, min_samples):
    """Grow clusters from core points in index order."""
    count = len(distances)
    near = [np.flatnonzero(row <= eps) for row in distances]
    labels, clusters = np.full(count, -1), 0
    for start in range(count):
        if labels[start] >= 0 or len(near[start]) < min_samples:
            continue
        labels[start], stack = clusters, [start]
        while stack:
            point = stack.pop()
            if len(near[point]) < min_samples:
                continue
            for other in near[point]:
                if labels[other] < 0:
                    labels[other] = clusters
                    stack.append(other)
        clusters += 1
    return labels


@settings(max_examples=150, deadline=None)
@given(
    generators,
    strategies.integers(0, 40),
    strategies.floats(0, 0.5),
    strategies.sampled_from([0, 0.25, 0.4, 0.5, 0.75, 0.9, 1, 1.5]),
    strategies.integers(1, 6),
)
def test_equals_the_definition(random, count, density, eps, min_samples):
    similarity = random_similarity(random, count, density)
    labels = dbscan(similarity, eps=eps, min_samples=min_samples)
    np.testing.assert_array_equal(labels, by_definition(1.0 - similarity.toarray(), eps, min_samples))
    assert labels.dtype == np.int32


@settings(max_examples=40, deadline=None)
@given(generators, strategies.integers(1, 60), strategies.floats(0, 0.4), strategies.sampled_from([0.3, 0.5, 0.75]))
def test_equals_scikit_learn(random, count, density, eps):
    cluster = pytest.importorskip("sklearn.cluster")
    similarity = random_similarity(random, count, density)
    reference = cluster.DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit(1.0 - similarity.toarray())
    np.testing.assert_array_equal(dbscan(similarity, eps=eps), reference.labels_)


@settings(max_examples=60, deadline=None)
@given(generators, strategies.integers(2, 40), strategies.floats(0, 1), strategies.floats(1e-4, 1))
def test_eps_equals_the_dense_mean(random, count, density, share):
    similarity = random_similarity(random, count, density)
    distances = 1.0 - similarity.toarray().astype(np.float64)
    if not (distances[np.triu_indices(count, 1)] > 1e-6).any():
        with pytest.raises(ValueError, match="other than 0"):
            eps_from_share(similarity, share)
        return
    assert eps_from_share(similarity, share) == pytest.approx(references.eps_from_share(distances, share), rel=1e-12)


def test_eps_leaves_out_equal_encodings_however_they_are_rounded():
    distances = np.float32([[0, 0, 0.3, 0.5], [0, 0, 0.4, 0.6], [0.3, 0.4, 0, 1], [0.5, 0.6, 1, 0]])
    for rounding in (0, 2e-7):
        distances[0, 1] = distances[1, 0] = rounding
        similarity = sparse.csr_array(1 - distances)
        assert eps_from_share(similarity, 0.4) == pytest.approx(0.35, abs=1e-6)


def test_finds_clusters_of_clustered_features():
    features, member = clustered(np.random.default_rng(1), 400, 10, noise=0.2)
    similarity = jaccard_similarity(features)
    labels = dbscan(similarity, eps=0.5)
    assert len(np.unique(np.stack([labels, member]), axis=1).T) == 10
    assert (labels == dbscan(jaccard_similarity(features, radius=0.6), eps=0.5)).all()


def test_border_point_joins_the_first_cluster():
    distances = np.ones((9, 9))
    for group in ([0, 1, 2, 3], [5, 6, 7, 8]):
        distances[np.ix_(group, group)] = 0.2
    distances[4, [8, 3]] = distances[[8, 3], 4] = 0.2
    np.fill_diagonal(distances, 0)
    assert dbscan(sparse.csr_array(1 - distances), eps=0.25).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_a_point_counts_itself_even_without_a_diagonal():
    pair = sparse.csr_array(np.float32([[0, 0.9], [0.9, 0]]))
    assert dbscan(pair, eps=0.2, min_samples=2).tolist() == [0, 0]


def test_input_is_not_modified_and_unsorted_duplicates_are_understood():
    similarity = sparse.csr_array(
        (np.float32([0.5, 1, 0.4, 0.9, 1]), np.array([1, 0, 1, 0, 1]), np.array([0, 3, 5])), shape=(2, 2)
    )
    before = similarity.data.copy()
    assert dbscan(similarity, eps=0.15, min_samples=2).tolist() == [0, 0]
    np.testing.assert_array_equal(similarity.data, before)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: dbscan(np.eye(3), eps=0.5), "scipy.sparse"),
        (lambda: dbscan(sparse.csr_array((2, 3)), eps=0.5), "square"),
        (lambda: dbscan(sparse.eye_array(3).tocsr(), eps=-1), "eps"),
        (lambda: dbscan(sparse.eye_array(3).tocsr(), eps=float("nan")), "eps"),
        (lambda: dbscan(sparse.eye_array(3).tocsr(), eps=0.5, min_samples=0), "min_samples"),
        (lambda: dbscan(sparse.csr_array([[1.0, 0.9], [0, 1]]), eps=0.5), "symmetric"),
        (lambda: dbscan(sparse.csr_array([[1, np.nan], [np.nan, 1]]), eps=0.5), r"\[0, 1\]"),
        (lambda: eps_from_share(sparse.eye_array(3).tocsr(), 0), "share"),
        (lambda: eps_from_share(sparse.csr_array((0, 0)), 0.1), "other than 0"),
    ],
)
def test_refuses(call, text):
    with pytest.raises(ValueError, match=text):
        call()
