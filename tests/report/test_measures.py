"""What a report measures: ranked lists, similarities, cameras, clusters and maps, against plain definitions."""

from __future__ import annotations

import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from duoreid.core.data import Search
from duoreid.core.errors import UserError
from duoreid.core.protocols import rank_draw
from duoreid.core.report import cameras, clusters, heat, lists, mapping
from duoreid.core.report.draws import LOWEST, ranked, scan
from duoreid.core.report.gather import threshold_of
from duoreid.core.threshold import Point, Threshold
from tests.report.examples import draw, material, split


@pytest.mark.parametrize("ignore", ["same-camera", "same-place", "nothing"])
def test_the_lists_rank_as_the_test_does(ignore):
    """Average precision counted from whole lists is that of the protocol: so they hide what it hides."""
    one = draw(3, ignore)
    expected = rank_draw(one.features, one.dataset, one.search, one.trial, max_rank=1).average_precision
    for shown in ranked(one, np.arange(len(one.trial.query)), depth=1000):
        same = np.array([other.same for other in shown.nearest])
        places = np.flatnonzero(same) + 1
        average = (np.arange(1, len(places) + 1) / places).mean() if len(places) else np.nan
        assert average == pytest.approx(expected[shown.query], nan_ok=True)


def test_an_unknown_rule_is_refused():
    one = draw(3)
    with pytest.raises(UserError, match="unknown rule 'same-camra'"):
        one._replace(search=Search("test", one.search.trials, "same-camra")).visible(np.array([0]))


@pytest.mark.parametrize("ignore", ["same-camera", "nothing"])
def test_a_scan_counts_what_whole_lists_show(ignore, monkeypatch):
    monkeypatch.setattr("duoreid.core.report.draws.ENTRIES", 200)  # several blocks
    one = draw(4, ignore)
    scanned = scan(one)
    pairs = [0, 0]
    for shown in ranked(one, np.arange(len(one.trial.query)), depth=1000):
        same = np.array([other.same for other in shown.nearest])
        assert scanned.first_right[shown.query] == (same.argmax() + 1 if same.any() else 0)
        assert scanned.first_wrong[shown.query] == ((~same).argmax() + 1 if (~same).any() else 0)
        assert scanned.matches[shown.query] == same.sum()
        pairs[0] += int(same.sum())
        pairs[1] += int((~same).sum())
    assert [scanned.same.sum(), scanned.different.sum()] == pairs
    values = [other.similarity for shown in ranked(one, np.arange(20), 1000) for other in shown.nearest if other.same]
    assert scanned.same.tolist() == np.histogram(values, scanned.edges)[0].tolist()
    assert scanned.edges[0] == LOWEST


def test_hardest_and_best_show_each_person_once():
    one = draw(6)
    scanned, people = scan(one), one.identities[0]
    for choose, sign in ((lists.hardest, 1), (lists.best, -1)):
        queries = choose(scanned, people)
        assert len(set(people[queries])) == len(queries)
        scores = sign * scanned.precision[queries]
        assert (np.diff(scores) >= 0).all()
        assert scores[0] == np.nanmin(sign * scanned.precision)
    assert np.isfinite(scanned.precision[lists.at_random(scanned, 1)]).all()
    assert lists.at_random(scanned, 1).tolist() == lists.at_random(scanned, 1).tolist()


def test_pairs_of_cameras_are_tests_of_their_own():
    one = draw(7)
    pairs = cameras.pairs(one)
    own, other = one.cameras
    people, gallery = one.identities
    for i, here in enumerate(pairs.query_cameras):
        for j, there in enumerate(pairs.gallery_cameras):
            count = 0
            for query in np.flatnonzero(own == here):
                seen = (other == there) & (people[query] == gallery) & (other != own[query])
                count += bool(seen.any())
            assert pairs.queries[i, j] == count
            assert np.isnan(pairs.mean_ap[i, j]) == (count == 0)
    assert np.isnan(np.diag(pairs.mean_ap)).all()  # the test ignores a query's own camera
    worst = pairs.worst()
    assert worst is None or pairs.queries[worst] >= cameras.FEWEST


def test_the_worst_pair_is_named_and_framed():
    scores = np.array([[np.nan, 0.2], [0.9, np.nan]])
    pairs = cameras.Pairs(np.array([1, 2]), np.array([1, 2]), scores, scores, np.array([[0, 9], [9, 0]]))
    assert pairs.worst() == (0, 1)
    few = cameras.Pairs(np.array([1, 2]), np.array([1, 2]), scores, scores, np.array([[0, 2], [9, 0]]))
    assert few.worst() == (1, 0)  # two queries are too few to name a pair by


def test_mistakes_of_clusters_by_brute_force():
    random = np.random.default_rng(8)
    labels, people = random.integers(-1, 5, 60), random.integers(0, 6, 60)
    kept = labels >= 0
    for mistakes_of, wholes, parts in ((clusters.merges, labels, people), (clusters.splits, people, labels)):
        for mistake in mistakes_of(labels, people, 100):
            rows = np.flatnonzero((wholes == mistake.of) & kept)
            assert mistake.pairs == sum(parts[a] != parts[b] for a in rows for b in rows if a < b)
            assert sorted(np.concatenate([group for _, group in mistake.groups])) == rows.tolist()
            assert all((parts[group] == name).all() for name, group in mistake.groups)
        pairs = [mistake.pairs for mistake in mistakes_of(labels, people, 100)]
        assert pairs == sorted(pairs, reverse=True)
    assert np.isnan(clusters.purity(np.full(3, -1), np.arange(3)))


def test_pca_is_that_of_the_singular_values():
    rows = np.random.default_rng(9).standard_normal((50, 7)) * np.arange(1, 8)
    points, shares = mapping.pca(rows)
    _, values, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    assert np.allclose(np.abs(points), np.abs((rows - rows.mean(0)) @ axes[:2].T))
    assert np.allclose(shares, (values**2 / (values**2).sum())[:2])
    with pytest.raises(ValueError, match="at least two features of two numbers"):
        mapping.pca(np.zeros((1, 7)))


def test_a_map_holds_whole_people():
    people = np.repeat(np.arange(40), 10)
    rows = mapping.chosen(people, 1, points=100)
    assert len(rows) == 100
    assert set(np.unique(people[rows], return_counts=True)[1]) == {10}


def test_umap_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"pip install 'duoreid\[umap\]'"):
        mapping.umap(np.zeros((4, 3)), 1)
    asked = {}

    class Map:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, rows):
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Map))
    assert mapping.umap(np.ones((4, 3)), 5).shape == (4, 2)
    assert asked == {"metric": "cosine", "random_state": 5, "n_jobs": 1}


def test_the_strength_of_a_place_is_a_length():
    maps = np.random.default_rng(1).standard_normal((2, 5, 4, 2)).astype(np.float32)
    strength = heat.strength(maps, "tiny")
    assert strength[1, 3, 0] == pytest.approx(np.linalg.norm(maps[1, :, 3, 0]))
    with pytest.raises(UserError, match="no places in a plane"):
        heat.strength(maps[:, 0], "vit")


def test_an_overlay_is_bright_where_the_map_is_strong():
    images, maps = np.full((1, 32, 16, 3), 100, np.uint8), np.zeros((1, 4, 2), np.float32)
    maps[0, 0, 0] = 1.0
    made = heat.overlay(images, maps)
    assert made.shape == images.shape
    assert made[0, 2, 2].sum() > made[0, 30, 14].sum() + 100
    assert (heat.overlay(images, np.ones((1, 4, 2))) == heat.overlay(images, np.ones((1, 4, 2)))[0, 0, 0]).all()
    with pytest.raises(ValueError, match="one map for each picture"):
        heat.overlay(images, np.zeros((2, 4, 2)))


def test_cameras_that_are_unknown_have_no_table():
    one = draw(7)
    test = split(one.dataset.test.identities, np.full(len(one.dataset.test), -1, np.int32))
    blind = one._replace(dataset=type(one.dataset)("example", "", test, test, one.dataset.searches))
    assert "does not say which camera" in cameras.blocks(blind)[0].words


def test_a_threshold_is_only_what_was_calibrated():
    opened = material().opened
    size = len(opened.dataset.searches[0].trials[0].gallery)
    point = Point(0.01, size, 0.4, (0.3, 0.5), (0.0, 0.02), 0.9, (0.8, 1.0), False)
    threshold = Threshold(0.01, (point, replace(point, size=100 * size, threshold=0.7)), "folder", 50, 300, 1400, "3f")
    assert threshold_of({"threshold": threshold.to_dict()}, opened) == pytest.approx(0.4)  # that of this gallery's size
    assert threshold_of({}, opened) is None
    assert threshold_of({"threshold": None}, opened) is None
    with pytest.raises(UserError, match="calibrate the model again"):
        threshold_of({"threshold": {"far": 0.01}}, opened)
