"""Pseudo-labels of the public MMT code: Jaccard distances, eps, DBSCAN's labels, classifiers and k-means."""

import numpy as np
import pytest
from scipy import sparse

from duoreid.benchmarks.peers import dense_jaccard
from duoreid.core.agreement import agreement
from duoreid.core.dbscan import ROUNDING, dbscan, eps_from_share
from duoreid.core.jaccard import jaccard_similarity
from duoreid.core.kmeans import kmeans
from duoreid.core.methods.pseudo_labels import average, centroids_of, normalise
from tests.core import references
from tests.golden.numbers import arrays
from tests.tolerances import check_close, tolerance

NUMBERS = arrays("mmt/mmt-clustering")
SHARES = (0.0007, 0.0016, 0.006)
K1 = pytest.mark.parametrize("k1", [20, 30])
LABELS = {"labels": "eps_0.0016", "labels_0.006": "eps_0.006", "labels_eps_0.2": 0.2, "labels_eps_0.35": 0.35}
"""DBSCAN's labels, and the eps that they were made with."""


def ours(k1):
    return jaccard_similarity(NUMBERS["features"], k1=k1, k2=6, scale="farthest")


def theirs(k1):
    """The public code's Jaccard distances as the similarity that our functions take."""
    return sparse.csr_array(1 - NUMBERS[f"k1_{k1}/jaccard"])


def pairs_of(k1):
    return NUMBERS[f"k1_{k1}/jaccard"][np.triu_indices(400, 1)]


def test_features_are_the_mean_of_the_teachers():
    teachers = np.stack([NUMBERS["teacher1"], NUMBERS["teacher2"]])
    check_close("golden.mmt.features", average(teachers), NUMBERS["kmeans/features"])
    check_close("golden.mmt.features", normalise(average(teachers)), NUMBERS["features"])


@K1
def test_jaccard_distance(k1):
    check_close("golden.mmt.jaccard", 1 - ours(k1).toarray(), NUMBERS[f"k1_{k1}/jaccard"], scale=1)


@K1
def test_jaccard_without_the_division_is_another(k1):
    other = jaccard_similarity(NUMBERS["features"], k1=k1, k2=6).toarray()
    assert np.abs(1 - other - NUMBERS[f"k1_{k1}/jaccard"]).max() > 0.09


@K1
def test_the_definition_and_the_peer_of_the_benchmark(k1):
    features = NUMBERS["features"]
    expected = NUMBERS[f"k1_{k1}/jaccard"]
    check_close("golden.mmt.jaccard", references.jaccard(features, k1, 6, "farthest"), expected, scale=1)
    squared = dense_jaccard.squared_distances(features)
    loop = dense_jaccard.distances(squared, dense_jaccard.search(features, k1 + 1), k1=k1)
    check_close("golden.mmt.jaccard", loop, expected, scale=1)


def test_jaccard_with_the_distance_to_the_source():
    """What lambda mixes in, which no script of the public code asks for: it follows from the distances."""
    nearest = (2 - 2 * NUMBERS["features"].astype(np.float64) @ NUMBERS["source"].T.astype(np.float64)).min(axis=1)
    to_source = 1 - np.exp(-nearest)
    to_source /= to_source.max()
    mixed = 0.9 * (1 - ours(20).toarray()[:40]) + 0.1 * (to_source[:40, None] + to_source)
    check_close("golden.mmt.jaccard", mixed, NUMBERS["k1_20/jaccard_lambda_0.1"], scale=1)


@K1
@pytest.mark.parametrize("share", SHARES)
def test_eps(k1, share):
    expected = NUMBERS[f"k1_{k1}/eps_{share}_above_1e-6"]
    for similarity in (ours(k1), theirs(k1)):
        check_close("golden.mmt.eps", eps_from_share(similarity, share), expected)


@K1
@pytest.mark.parametrize("share", SHARES)
def test_the_public_eps_counts_pairs_at_rounding_distance(k1, share):
    """With k1 = 30 one pair of equal encodings came out at 2.4e-7 and counts, which moves eps by 1 %."""
    pairs = np.sort(pairs_of(k1)[pairs_of(k1) != 0]).astype(np.float64)
    check_close("golden.mmt.eps", pairs[: round(share * len(pairs))].mean(), NUMBERS[f"k1_{k1}/eps_{share}"])
    moved = NUMBERS[f"k1_{k1}/eps_{share}"] / NUMBERS[f"k1_{k1}/eps_{share}_above_1e-6"] - 1
    assert (moved == 0) == (k1 == 20)


@K1
def test_pairs_of_equal_encodings(k1):
    equal, rounded = NUMBERS[f"k1_{k1}/zero_pairs"], NUMBERS[f"k1_{k1}/pairs_above_0_up_to_1e-6"]
    assert (pairs_of(k1) == 0).sum() == equal
    assert (pairs_of(k1) != 0).sum() == NUMBERS[f"k1_{k1}/nonzero_pairs"]
    distances = 1 - ours(k1).toarray()[np.triu_indices(400, 1)]
    assert (distances <= ROUNDING).sum() == equal + rounded == 2


@K1
@pytest.mark.parametrize("name", LABELS)
def test_labels(k1, name):
    eps = LABELS[name] if isinstance(LABELS[name], float) else float(NUMBERS[f"k1_{k1}/{LABELS[name]}"])
    expected = NUMBERS[f"k1_{k1}/{name}"]
    np.testing.assert_array_equal(dbscan(theirs(k1), eps=eps, min_samples=4), expected)
    np.testing.assert_array_equal(dbscan(ours(k1), eps=eps, min_samples=4), expected)


@K1
def test_labels_from_the_pairs_within_a_radius(k1):
    pruned = jaccard_similarity(NUMBERS["features"], k1=k1, k2=6, scale="farthest", radius=0.35)
    np.testing.assert_array_equal(dbscan(pruned, eps=0.35), NUMBERS[f"k1_{k1}/labels_eps_0.35"])


@K1
def test_labels_agree_with_the_people(k1):
    labels, people = NUMBERS[f"k1_{k1}/labels_eps_0.35"], NUMBERS["true_identities"]
    assert agreement(dbscan(ours(k1), eps=0.35), people) == agreement(labels, people)
    assert agreement(labels, people).adjusted_rand > 0.1


@K1
def test_classifier_of_clusters(k1):
    centroids = normalise(centroids_of(NUMBERS["features"], NUMBERS[f"k1_{k1}/labels"]))
    check_close("golden.mmt.centroids", centroids, normalise(NUMBERS[f"k1_{k1}/centroids"]))


def test_classifier_of_kmeans():
    centroids = normalise(centroids_of(NUMBERS["kmeans/features"], NUMBERS["kmeans/labels"]))
    check_close("golden.mmt.centroids", centroids, NUMBERS["kmeans/classifier"])


def test_inertia_of_kmeans():
    """Of its labels exactly; ten starts of ours end where ten starts of scikit-learn do."""
    features, labels = NUMBERS["kmeans/features"].astype(np.float64), NUMBERS["kmeans/labels"]
    centres = np.stack([features[labels == label].mean(axis=0) for label in range(25)])
    check_close("golden.mmt.inertia", ((features - centres[labels]) ** 2).sum(), NUMBERS["kmeans/inertia"])
    worst = max(NUMBERS["kmeans/inertia"], *NUMBERS["kmeans/inertias_of_other_seeds"])
    for seed in (1, 2):
        clustering = kmeans(NUMBERS["kmeans/features"], 25, seed=seed, restarts=10)
        assert clustering.inertia <= worst * (1 + tolerance("golden.mmt.inertia"))
