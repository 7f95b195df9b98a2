"""Search, Jaccard graph and labels that several processes share: those of one, to the last bit."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from duoreid.core import approximate, neighbours
from duoreid.core.approximate import search_approximate
from duoreid.core.errors import FailedElsewhereError, UserError
from duoreid.core.jaccard import jaccard_graph
from duoreid.core.methods.pseudo_labels import labelling
from duoreid.core.numeric import sharing
from duoreid.core.numeric.keys import NOTHING, keys_of
from duoreid.core.numeric.sharing import ALONE, exchange, merged_keys, packed, unpacked
from tests.core.features import clustered
from tests.core.test_processes import on_processes
from tests.core.test_pseudo_labels import DBSCAN, KMEANS, blobs

SIZES = [2, 3]


def points(count):
    return clustered(np.random.default_rng(3), count, max(1, count // 20), width=32)[0]


def equal(arrays, expected):
    for one, other in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 700, 1500])
def test_an_exact_search(size, count, monkeypatch):
    monkeypatch.setattr(neighbours, "TILE", 200)
    features = points(count)
    expected = neighbours.search(features, min(20, count), lowest=True)
    for nearest in on_processes(
        size, lambda job: neighbours.search(features, min(20, count), lowest=True, processes=job)
    ):
        equal(nearest, expected)


@pytest.mark.parametrize("size", SIZES)
def test_an_approximate_search(size, monkeypatch):
    monkeypatch.setattr(approximate, "DEAR", np.inf)
    features = points(3000)
    search = partial(search_approximate, features, 15, recall=0.9, cells=40, lowest=True)
    expected = search()
    assert 0.8 < expected.recall < 1, "it is approximate"
    for nearest in on_processes(size, lambda job: search(processes=job)):
        equal(
            (nearest.indices, nearest.similarities, nearest.lowest),
            (expected.indices, expected.similarities, expected.lowest),
        )
        assert (nearest.recall, nearest.visited) == (expected.recall, expected.visited)


@pytest.mark.parametrize("scale", [None, "farthest"])
@pytest.mark.parametrize("radius", [None, 0.6])
def test_a_graph(scale, radius, monkeypatch):
    monkeypatch.setattr("duoreid.core.jaccard.TERMS", 2000)
    features = np.concatenate([points(400), np.repeat(points(2), 30, axis=0)])
    expected = jaccard_graph(features, k1=12, k2=4, scale=scale, radius=radius)
    for graph in on_processes(
        3, lambda job: jaccard_graph(features, k1=12, k2=4, scale=scale, radius=radius, processes=job)
    ):
        np.testing.assert_array_equal(graph.classes, expected.classes)
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(graph.similarity, part), getattr(expected.similarity, part))


@pytest.mark.parametrize("config", [KMEANS, DBSCAN], ids=["kmeans", "dbscan"])
def test_labels_of_every_epoch(config):
    features, identities = blobs()
    for epoch, eps in ((0, {}), (1, {"eps": 0.5})):
        memory = dict(eps)
        expected, centroids = labelling(features, identities, config, seed=1, epoch=epoch, memory=memory)

        def act(job, epoch=epoch, eps=eps):
            own = dict(eps)
            return *labelling(features, identities, config, seed=1, epoch=epoch, memory=own, processes=job), own

        for labelled, theirs, own in on_processes(2, act):
            equal((labelled.labels, theirs), (expected.labels, centroids))
            assert (labelled.classes, own) == (expected.classes, memory)
            assert {**labelled.facts, "cluster_seconds": 0} == {**expected.facts, "cluster_seconds": 0}


def test_what_cannot_be_clustered_is_said_once():
    features, identities = blobs()
    config = replace(DBSCAN, k1=len(identities))
    errors = on_processes(
        2, lambda job: labelling(features, identities, config, seed=1, epoch=0, memory={}, processes=job)
    )
    assert [type(error) for error in errors] == [UserError, FailedElsewhereError]
    assert "needs more than that many features to cluster" in str(errors[0])


BETTER = np.nextafter(np.float32(0.9), np.float32(1))


def test_a_neighbour_that_two_processes_found_counts_once():
    """On unlike processors a product may come out otherwise: the better one stays."""
    rows = np.full((2, 1, 3), NOTHING)
    rows[0, 0, :2] = keys_of(np.array([0.9, 0.5], np.float32), np.array([7, 4]))
    rows[1, 0, :2] = keys_of(np.array([BETTER, 0.7], np.float32), np.array([7, 1]))
    for merged in on_processes(2, lambda job: merged_keys(rows[job.index], job)):
        expected = keys_of(np.array([BETTER, 0.7, 0.5], np.float32), np.array([7, 1, 4]))
        np.testing.assert_array_equal(merged, expected[None])


def test_messages_of_any_length_arrive_whole(monkeypatch):
    monkeypatch.setattr(sharing, "MESSAGE", 3)
    contents = [b"", b"abcdefghijklmnopqrstu", b"xyz"]
    assert on_processes(3, lambda job: exchange(contents[job.index], job)) == [contents] * 3
    assert on_processes(3, lambda job: exchange(b"", job)) == [[b""] * 3] * 3
    assert exchange(b"abc", ALONE) == [b"abc"]
    arrays = [np.zeros((0, 3), np.float32), np.arange(5), np.array([True])]
    equal(unpacked(packed(arrays)), arrays)
