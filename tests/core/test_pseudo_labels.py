"""From features to pseudo-labels, and the ways in which that fails."""

from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.errors import UserError
from duoreid.core.methods.pseudo_labels import centroids_of, check_clusters, check_spread, labelling
from duoreid.core.random import rng
from duoreid.core.settings.transfer import AdaptConfig

KMEANS = AdaptConfig(clusters=6, identities=4, images=2)
DBSCAN = replace(KMEANS, clustering="dbscan", k1=10, k2=3, eps_share=0.15)


def blobs(identities=6, images=12, width=64, noise=0.05, networks=2):
    generator = rng(0, "test/blobs")
    centres = generator.normal(size=(identities, width))
    rows = np.repeat(centres / np.linalg.norm(centres, axis=1, keepdims=True), images, axis=0)
    features = rows + noise * generator.normal(size=(networks, *rows.shape))
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return features.astype(np.float32), np.repeat(np.arange(identities), images).astype(np.int32)


@pytest.mark.parametrize("config", [KMEANS, DBSCAN], ids=["kmeans", "dbscan"])
def test_clear_clusters_are_found_and_reported(config):
    features, identities = blobs()
    memory = {}
    labelled, centroids = labelling(features, identities, config, seed=1, epoch=0, memory=memory)
    assert labelled.classes == len(centroids) == 6
    assert labelled.facts["adjusted_rand"] == pytest.approx(1.0)
    assert labelled.facts["outliers"] <= (0 if config is KMEANS else 15)  # eps is the mean of the distances within
    mean = features.mean(axis=0)
    for label in range(6):
        np.testing.assert_allclose(
            centroids[label] / np.linalg.norm(centroids[label]),
            (unit := mean[labelled.labels == label].mean(axis=0)) / np.linalg.norm(unit),
            atol=1e-3,
        )


def test_eps_is_fixed_by_the_first_epoch():
    features, identities = blobs()
    memory = {}
    labelling(features, identities, DBSCAN, seed=1, epoch=0, memory=memory)
    first = memory["eps"]
    wider, _ = blobs(noise=0.1)
    labelling(wider, identities, DBSCAN, seed=1, epoch=1, memory=memory)
    assert memory["eps"] == first


def test_unknown_identities_are_left_out_of_the_agreement():
    features, identities = blobs()
    labelled, _ = labelling(features, np.full_like(identities, -1), KMEANS, seed=1, epoch=0, memory={})
    assert "adjusted_rand" not in labelled.facts


def test_centroids_leave_outliers_out():
    features = np.array([[1, 0], [3, 0], [0, 5], [100, 100]], np.float32)
    np.testing.assert_array_equal(centroids_of(features, np.array([0, 0, 1, -1])), [[2, 0], [0, 5]])
    assert centroids_of(features, np.full(4, -1)).shape == (0, 2)


def test_more_clusters_than_images():
    features, identities = blobs(networks=1)
    with pytest.raises(UserError, match=r"--clusters 73 .* 72 features"):
        labelling(features, identities, replace(KMEANS, clusters=73), seed=1, epoch=0, memory={})


def test_every_point_an_outlier():
    generator = rng(0, "test/noise")
    rows = generator.normal(size=(1, 60, 16)).astype(np.float32)
    with pytest.raises(UserError, match=r"all are outliers.*--eps-share"):
        labelling(rows, np.zeros(60, int), DBSCAN, seed=1, epoch=0, memory={"eps": 1e-9})


def test_one_cluster_only():
    features, identities = blobs(identities=1, images=40)
    with pytest.raises(UserError, match=r"1 cluster.*: lower --eps-share or raise --min-samples"):
        labelling(features, identities, replace(DBSCAN, eps_share=0.15), seed=1, epoch=0, memory={"eps": 0.99})


def test_too_few_images_for_the_neighbours():
    features, identities = blobs(identities=2, images=3, networks=1)
    with pytest.raises(UserError, match=r"--k1 10"):
        labelling(features, identities, DBSCAN, seed=1, epoch=0, memory={})


def test_features_that_are_not_finite():
    features, identities = blobs()
    features[0, 3, 2] = np.nan
    with pytest.raises(UserError, match=r"1 of the target's 72 features are not finite"):
        labelling(features, identities, KMEANS, seed=1, epoch=0, memory={})


@pytest.mark.parametrize("config", [KMEANS, DBSCAN], ids=["kmeans", "dbscan"])
def test_features_that_are_all_the_same(config):
    """Whatever their lengths: a network that has collapsed maps every image to one direction."""
    features = np.ones((2, 40, 16), np.float32) * np.linspace(1, 2, 40, dtype=np.float32)[:, None]
    with pytest.raises(UserError, match=r"all of the target's 40 features are the same .* has collapsed"):
        labelling(features, np.zeros(40, int), config, seed=1, epoch=0, memory={})
    features[:, 0, 0] += 0.01
    check_spread(features[0])


@pytest.mark.parametrize(
    ("labels", "classes", "advice"),
    [
        (np.zeros(50, int), 1, "lower --eps-share"),  # all fell together
        (np.full(50, -1), 0, "raise --eps-share"),  # nothing did
        (np.r_[np.zeros(4, int), np.full(46, -1)], 1, "raise --eps-share"),
    ],
)
def test_the_advice_of_dbscan_points_the_right_way(labels, classes, advice):
    with pytest.raises(UserError) as error:
        check_clusters(labels, classes, AdaptConfig(clustering="dbscan"))
    assert advice in str(error.value)
    assert {"lower": "raise", "raise": "lower"}[advice.split()[0]] + " --eps-share" not in str(error.value)
